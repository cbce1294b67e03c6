// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The queues against a driver of their own.

use proptest::prelude::*;

use super::super::Gsp;
use super::super::testing::{CMDQ, Driver, MSGQ, SLOTS, info, registry, word_at};

#[test]
fn both_rings_wrap() {
    let mut d = Driver::booted();
    // 7 and 63 are not coprime: elements of 2 pages reach every alignment of the ring's end.
    for i in 0..200u32 {
        let function = 0x55;
        let payload = vec![i as u8; 4000 + (i as usize % 3) * 3000];
        let reply = d.call(function, &payload);
        assert_eq!((reply.result, reply.payload), (0x56, payload));
    }
    d.clean();
}

#[test]
fn continuation_records_go_both_ways() {
    let mut d = Driver::booted();
    // An RM control of 150000 bytes: three elements in, and the same out.
    let size = 150_000;
    let mut m: Vec<u8> =
        [0xc1d0_0000u32, 1, 0x1234, 0, size, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
    m.extend((0..size).map(|i| (i * 7) as u8));
    let reply = d.call(76, &m);
    assert_eq!(reply.payload.len(), m.len());
    assert_eq!(reply.payload[24..], m[24..]);
    assert_eq!(word_at(&reply.payload, 12), 0x23);
    d.violated("rm-handle");
}

#[test]
fn a_registry_may_be_split() {
    let mut d = Driver::new();
    d.push(72, &[]);
    d.push(73, &registry(100_000));
    d.gsp.start(&mut d.hw, info());
    d.violated("system-info");
    assert_eq!(d.pop().map(|r| r.function), Some(0x1002));
}

#[test]
fn every_defect_has_its_rule() {
    type Change = fn(&mut [u8]);
    let cases: [(&str, Change); 7] = [
        ("rpc-sequence", |e| e[36] = 99),
        ("rpc-elem-count", |e| e[40] = 2),
        ("rpc-version", |e| e[51] = 4),
        ("rpc-signature", |e| e[52] = 0),
        ("rpc-length", |e| e[56..60].copy_from_slice(&0x2_0000u32.to_le_bytes())),
        ("rpc-length", |e| e[56..60].copy_from_slice(&31u32.to_le_bytes())),
        ("rpc-continuation", |e| e[60] = 71),
    ];
    for (rule, change) in cases {
        let mut d = Driver::booted();
        d.element(65, &[0; 1656], change);
        d.gsp.doorbell(&mut d.hw);
        d.violated(rule);
        // Only a wrong sequence number leaves a message that can be answered.
        assert_eq!(d.pop().is_some(), rule == "rpc-sequence", "{rule}");
    }
}

#[test]
fn checksums_and_pointers_are_checked() {
    let mut d = Driver::booted();
    d.element(65, &[0; 1656], |_| {});
    let at = CMDQ + 0x1000 + u64::from(d.write - 1) * 0x1000 + 100;
    d.put(at, &[1]);
    d.gsp.doorbell(&mut d.hw);
    d.violated("rpc-checksum");
    d.put(CMDQ + 16, &SLOTS.to_le_bytes());
    d.gsp.doorbell(&mut d.hw);
    d.violated("queue-pointer");
    assert_eq!(d.pop(), None);
}

#[test]
fn a_cut_off_request_is_told_and_the_next_one_served() {
    let mut d = Driver::booted();
    let mut m = vec![0; 0x10000 - 80];
    m[16..20].copy_from_slice(&0x2_0000u32.to_le_bytes());
    d.element(76, &m, |_| {});
    d.push(65, &[0; 1656]);
    d.gsp.doorbell(&mut d.hw);
    d.violated("rpc-continuation");
    assert_eq!(d.pop().map(|r| (r.function, r.payload.len())), Some((65, 1656)));
}

#[test]
fn a_full_message_ring_is_retried() {
    let mut d = Driver::booted();
    // Replies of 16 pages each, unread: the ring holds 3 of them.
    for _ in 0..6 {
        d.push(0x55, &[1; 60_000]);
        d.gsp.doorbell(&mut d.hw);
    }
    assert!(d.gsp.deadline().is_some());
    for i in 0..6 {
        assert!(d.pop().is_some_and(|r| r.payload == [1; 60_000]), "reply {i}");
        d.gsp.step(&mut d.hw);
    }
    assert_eq!((d.pop(), d.gsp.deadline()), (None, None));
    d.clean();
}

#[test]
fn broken_headers_stop_the_boot() {
    let cases = [(CMDQ + 4, 0x50000u32), (CMDQ + 8, 0x800), (CMDQ + 12, 62), (CMDQ + 20, 0)];
    for (at, value) in cases {
        let mut d = Driver::new();
        d.put(at, &value.to_le_bytes());
        d.gsp.start(&mut d.hw, info());
        d.violated("queue-header");
        assert!(!d.gsp.running);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Arbitrary shared memory: the GSP may complain, but not panic or hang.
    #[test]
    fn arbitrary_memory_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0x2000),
        pointers: [u8; 2],
        at in 0u64..0x43,
    ) {
        let mut d = Driver::booted();
        d.put(CMDQ - 0x1000 + at * 0x1000, &bytes);
        d.put(CMDQ + 16, &u32::from(pointers[0]).to_le_bytes());
        d.put(CMDQ + 0x20, &u32::from(pointers[1]).to_le_bytes());
        d.gsp.doorbell(&mut d.hw);
        d.gsp.step(&mut d.hw);
        d.gsp = Gsp::default();
        d.gsp.start(&mut d.hw, info());
        d.gsp.doorbell(&mut d.hw);
        let _ = MSGQ;
    }

    /// Arbitrary requests that are well-formed elements.
    #[test]
    fn arbitrary_requests_never_panic(
        function in prop_oneof![Just(4u32), Just(10), Just(47), Just(65), Just(70), Just(71),
            Just(72), Just(73), Just(76), Just(103), any::<u32>()],
        mut payload in proptest::collection::vec(any::<u8>(), 0..600),
        known: bool,
        cmd in 0usize..6,
    ) {
        let mut d = Driver::booted();
        if known && payload.len() > 60 {
            let handles = [0xc200_0005u32, 0xabcd_2080];
            let cmds = [0x2080_012bu32, 0x2080_0138, 0x2080_1112, 0x2080_0301, 0xc56f, 0x7e];
            payload[0..4].copy_from_slice(&handles[0].to_le_bytes());
            payload[4..8].copy_from_slice(&handles[1].to_le_bytes());
            payload[8..12].copy_from_slice(&cmds[cmd].to_le_bytes());
            let size = payload.len() as u32 - 24;
            payload[16..20].copy_from_slice(&size.to_le_bytes());
        }
        d.push(function, &payload);
        d.gsp.doorbell(&mut d.hw);
        d.gsp.stop(&mut d.hw);
    }
}
