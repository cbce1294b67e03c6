// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What stops a channel, and what the driver is told.

use super::*;

/// Runs words on a channel of its own; the error number and the rule, if it died.
fn outcome(engine: u32, words: &[u32]) -> Option<(u32, String)> {
    let mut rig = Rig::new();
    let (ch, good) = (rig.channel(1, engine), rig.channel(2, engine));
    for class in [0xc797, 0xc7c0, 0xa140, 0x902d] {
        rig.host.attach(ch, class).unwrap();
    }
    rig.push(ch, words);
    rig.settle();
    let errors = rig.host.take_errors();
    // The channel is dead, its neighbour is not.
    rig.push(ch, &release(DATA + 0x1_0000, 1));
    rig.push(good, &release(DATA + 0x1_0010, 1));
    assert_eq!(rig.settle(), Step::Idle);
    assert_eq!(rig.read(DATA + 0x1_0000), u64::from(errors.is_empty()), "{words:x?}");
    assert_eq!(rig.read(DATA + 0x1_0010), 1);
    assert!(errors.len() <= 1);
    let rules: Vec<_> = rig.env.judge.violations.keys().map(ToString::to_string).collect();
    let error = errors.first()?;
    assert_eq!((error.chid, error.rm_type), (1, engine));
    Some((error.except, rules.join(" ")))
}

#[test]
fn host_errors() {
    let cases = [
        (vec![0x4000_0000], 32, "pbdma-error"),
        (inc(0, 0x04, &[0]), 32, "pbdma-error"),
        (inc(0, 0x3c, &[0]), 32, "pbdma-error"),
        (inc(0, 0x7c, &[0]), 32, "pbdma-error"),
        (inc(0, 0x80, &[1]), 32, "pbdma-error"),
        (inc(5, 0x100, &[0]), 32, "pbdma-error"),
        (inc(0, 0x28, &[0, 0, 0, 0x1f << 27]), 32, "pbdma-error"),
        // Alignment: 64-bit to 8, time stamps to 16; an operation that does not exist.
        (sem(DATA + 4, 1, 1 | 1 << 24), 32, "pbdma-error"),
        (sem(DATA + 8, 1, 1 | 1 << 25), 32, "pbdma-error"),
        (sem(DATA, 1, 7), 32, "pbdma-error"),
        (sem(DATA, 1, 6 | 6 << 27), 32, "pbdma-error"),
        (sem(0x40_0000, 1, 1), 31, "semaphore-fault"),
        (inc(4, 0, &[0xc5b5]), 32, "copy-method"),
        (inc(4, 0x104, &[0]), 32, "copy-method"),
    ];
    for (words, except, rule) in cases {
        assert_eq!(outcome(CE2, &words), Some((except, rule.to_string())), "{words:x?}");
    }
}

#[test]
fn graphics_errors() {
    let i2m = |words: &[u32]| {
        let setup = inc(1, 0x180, &[8, 1, 0, DATA as u32, 8]);
        [setup, inc(1, 0x1b0, &[0x11]), words.to_vec()].concat()
    };
    let cases = [
        (inc(0, 0, &[0xc7c0]), Some((69, "class-error"))),
        (inc(0, 0, &[0xc797]), None),
        (inc(1, 0x1b00, &[0, DATA as u32 + 4, 1, 0]), Some((69, "class-error"))),
        (i2m(&inc(1, 0x1b4, &[1])), None),
        (i2m(&[inc(1, 0x1b4, &[1]), inc(1, 0x100, &[0])].concat()), Some((69, "class-error"))),
        (inc(4, 0x104, &[0]), Some((32, "copy-method"))),
    ];
    for (words, want) in cases {
        let want = want.map(|(except, rule)| (except, rule.to_string()));
        assert_eq!(outcome(GR, &words), want, "{words:x?}");
    }
}

#[test]
fn a_ring_that_cannot_be() {
    // (GPFIFO address, GP_PUT, entry, error, rule)
    let cases = [
        (0x40_0000, 1, 0, 31, "gpfifo-fault"),
        (0x2_0000, 64, 0, 32, "gp-put-range"),
        (0x2_0000, 1, 1 << 32, 32, "pbdma-error"),
        (0x2_0000, 1, 0x40_0000 | 1 << 42, 31, "pushbuffer-fault"),
    ];
    for (gpfifo, put, entry, except, rule) in cases {
        let mut rig = Rig::new();
        let spec = ChannelSpec { gpfifo, ..rig.spec(0, CE2) };
        rig.host.create(&mut rig.env, spec).unwrap();
        rig.host.schedule(0, true).unwrap();
        rig.write(0x2_0000, &u64::to_le_bytes(entry));
        rig.write(0x1_008c, &u32::to_le_bytes(put));
        rig.ring(0);
        assert_eq!(rig.settle(), Step::Idle);
        let errors = rig.host.take_errors();
        assert_eq!(errors.first().map(|e| e.except), Some(except), "{rule}");
        assert!(rig.env.judge.caught(rule), "{rule}");
    }
}

#[test]
fn an_injected_fault_is_not_the_drivers() {
    let mut rig = Rig::new();
    let text = format!("[[fault]]\nkind = \"mmu-fault\"\nva = {DATA}\n");
    rig.env.faults = crate::env::fault::FaultPlan::parse(&text).unwrap();
    let ch = rig.channel(1, CE2);
    rig.push(ch, &release(DATA, 1));
    rig.settle();
    assert_eq!(rig.host.take_errors().first().map(|e| e.except), Some(31));
    assert_eq!(rig.env.judge.count(), 0);
}

#[test]
fn what_rm_may_not_ask_for() {
    let mut rig = Rig::new();
    rig.channel(1, CE2);
    let good = rig.spec(2, CE2);
    let cases = [
        (rig.spec(1, CE2), Err(HostError::InUse)),
        (ChannelSpec { chid: 4096, ..good.clone() }, Err(HostError::Invalid)),
        (ChannelSpec { runlist: 0, ..good.clone() }, Err(HostError::Invalid)),
        (ChannelSpec { entries: 0, ..good.clone() }, Err(HostError::Invalid)),
        (ChannelSpec { entries: 48, ..good.clone() }, Err(HostError::Invalid)),
        (ChannelSpec { gpfifo: 4, ..good.clone() }, Err(HostError::Invalid)),
        (good, Ok(())),
    ];
    for (spec, want) in cases {
        assert_eq!(rig.host.create(&mut rig.env, spec.clone()), want, "{spec:?}");
    }
    assert_eq!(rig.host.schedule(9, true), Err(HostError::NoChannel));
    assert_eq!(rig.host.destroy(&mut rig.env, 9), Err(HostError::NoChannel));
}
