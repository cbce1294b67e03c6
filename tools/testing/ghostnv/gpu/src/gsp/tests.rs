// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Boot, faults, events and shutdown.

use super::testing::{Driver, info, registry, word_at};
use crate::env::fault::FaultPlan;

fn faults(d: &mut Driver, script: &str) {
    d.hw.env.faults = FaultPlan::parse(script).expect("script");
}

#[test]
fn static_info_is_served_after_boot() {
    let mut d = Driver::booted();
    let reply = d.call(65, &[0; 1656]);
    assert_eq!(reply.result, 0);
    assert_eq!(word_at(&reply.payload, 344), 2);
    assert!(reply.payload[1260..].starts_with(b"NVIDIA GeForce RTX 3090\0"));
    d.clean();
}

#[test]
fn requests_wait_for_the_boot_sequence() {
    let mut d = Driver::new();
    d.gsp.start(&mut d.hw, info());
    assert_eq!(d.pop(), None);
    let reply = d.call(65, &[0; 1656]);
    assert_eq!(reply.result, 0x40);
    d.violated("rpc-order");
    d.push(73, &registry(4));
    d.gsp.doorbell(&mut d.hw);
    assert_eq!(d.pop(), None);
}

#[test]
fn the_fault_plan_spoils_replies() {
    let one = |action: &str| format!("[[fault]]\nkind='rpc'\nfunction=65\naction='{action}'\n");
    for action in ["swallow", "delay", "status", "garbage"] {
        let mut d = Driver::booted();
        faults(&mut d, &format!("{}ms=20\nstatus=0x55\n", one(action)));
        d.push(65, &[0; 1656]);
        d.gsp.doorbell(&mut d.hw);
        match action {
            "swallow" => assert_eq!(d.pop(), None),
            "delay" => {
                assert_eq!(d.pop(), None);
                while d.hw.env.clock.ns() <= d.gsp.deadline().expect("deadline") {}
                d.gsp.step(&mut d.hw);
                assert_eq!(d.pop().map(|r| r.payload.len()), Some(1656));
            }
            "status" => assert_eq!(d.pop().map(|r| r.result), Some(0x55)),
            _ => assert_eq!(d.pop().map(|r| r.payload), Some(vec![0xff; 1656])),
        }
        assert_eq!(d.hw.env.faults.total_fired(), 1);
        assert_eq!(d.call(65, &[0; 1656]).result, 0);
    }
}

#[test]
fn an_event_is_held_back_for_a_reply() {
    for (selector, first) in [("", 0u32), ("selector=0x20800a1c", 0x2080_0a1c)] {
        let mut d = Driver::booted();
        faults(
            &mut d,
            &format!(
                "[[fault]]\nkind='event'\nevent=0x1006\nsize=272\n\
                 [[fault]]\nkind='rpc'\nfunction=0x1006\naction='behind'\n{selector}"
            ),
        );
        d.gsp.step(&mut d.hw);
        assert_eq!(d.pop(), None);
        if first != 0 {
            assert_eq!(d.call(65, &[0; 1656]).function, 65);
            assert_eq!(d.pop(), None);
        }
        let mut control = [0; 24];
        control[8..12].copy_from_slice(&first.to_le_bytes());
        d.call(76, &control);
        assert_eq!(d.pop().map(|r| (r.function, r.payload.len())), Some((0x1006, 272)));
        assert_eq!(d.hw.env.faults.fired(), [1, 1]);
        assert_eq!((d.call(65, &[0; 1656]).function, d.pop()), (65, None));
    }
}

#[test]
fn only_so_many_replies_wait() {
    let mut d = Driver::booted();
    faults(&mut d, "[[fault]]\nkind='rpc'\naction='delay'\nms=60000\ncount=1000000");
    for _ in 0..super::rpc::MAX_DELAYED {
        d.push(10, &[0; 16]);
        d.gsp.doorbell(&mut d.hw);
        assert_eq!(d.pop(), None);
    }
    assert_eq!(d.call(10, &[0; 16]).function, 10);
}

#[test]
fn a_fault_script_sends_events() {
    let mut d = Driver::booted();
    faults(
        &mut d,
        "[[fault]]\nkind='event'\nindex=0x77\nafter=1\n[[fault]]\nkind='event'\nevent=0x1006\n\
         words=[31, 1]\nsize=272\nafter=1\n",
    );
    d.gsp.step(&mut d.hw);
    assert_eq!(d.pop(), None);
    assert_eq!(d.call(65, &[0; 1656]).result, 0);
    let posted = d.pop().expect("POST_EVENT");
    assert_eq!((posted.function, posted.payload.len()), (0x1003, 32));
    assert_eq!(super::testing::word_at(&posted.payload, 8), 0x77);
    let logged = d.pop().expect("OS_ERROR_LOG");
    assert_eq!((logged.function, logged.payload.len(), logged.payload[0]), (0x1006, 272, 31));
    assert_eq!(d.pop(), None);
    d.clean();
}

#[test]
fn boot_can_stop_at_the_queue_and_before_init_done() {
    for stage in ["queue", "init-done"] {
        let mut d = Driver::new();
        faults(&mut d, &format!("[[fault]]\nkind='boot'\nstage='{stage}'\n"));
        d.push(72, &[0; 928]);
        d.push(73, &registry(4));
        d.gsp.start(&mut d.hw, info());
        assert_eq!((d.pop(), d.hw.env.faults.total_fired()), (None, 1));
    }
}

#[test]
fn unloading_halts_the_core_and_frees_everything() {
    let mut d = Driver::booted();
    let reply = d.call(47, &[0; 8]);
    assert_eq!(reply.result, 0);
    assert_eq!(d.hw.gsp_falcon.mailbox[0], 0x8000_0000);
    assert!(!d.gsp.running);
    d.push(65, &[0; 1656]);
    d.gsp.doorbell(&mut d.hw);
    assert_eq!(d.pop(), None);
    d.clean();
}

#[test]
fn a_suspended_client_is_there_after_resume() {
    let mut d = Driver::booted();
    assert_eq!(d.alloc(0xc1d0_0000, 0, 0xc1d0_0000, 0, &[]), 0);
    let reply = d.call(47, &[1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!((reply.result, d.gsp.running), (0, false));
    d.gsp.stop(&mut d.hw);
    d.gsp.reset();
    d.hw.reset();
    d.hw.gsp_falcon.start_riscv();
    d.rmargs(true);
    d.put(super::testing::LIBOS, &[0; 64]);
    d.gsp.start(&mut d.hw, super::BootInfo { resume: true, ..info() });
    assert_eq!(d.pop(), None);
    while d.hw.env.clock.ns() <= d.gsp.deadline().expect("deadline") {}
    d.gsp.step(&mut d.hw);
    assert_eq!(d.pop().map(|r| r.function), Some(0x1002));
    assert_eq!(d.pop().map(|r| r.function), Some(0x1001));
    assert_eq!(d.free(0xc1d0_0000, 0xc1d0_0000), 0);
    d.clean();
}

#[test]
fn resume_needs_a_suspend() {
    let mut d = Driver::new();
    d.rmargs(true);
    d.gsp.start(&mut d.hw, super::BootInfo { resume: true, ..info() });
    d.violated("gsp-resume");
}

#[test]
fn events_reach_who_asked() {
    const CLIENT: u32 = 0xc200_0005;
    const SUBDEVICE: u32 = 0xabcd_2080;
    let mut d = Driver::booted();
    let params = [CLIENT, 0, 0x7e, 0x0400_0001, 0, 0].map(u32::to_le_bytes).concat();
    assert_eq!(d.alloc(CLIENT, SUBDEVICE, 0x7e_0000, 0x7e, &params), 0);
    d.gsp.post_event(&mut d.hw, 1, &[1, 2, 3]);
    assert_eq!(d.pop(), None);
    let once = [1u32, 1, 0, 0, 0].map(u32::to_le_bytes).concat();
    assert_eq!(d.control(CLIENT, SUBDEVICE, 0x2080_0301, &once).0, 0);
    d.gsp.post_event(&mut d.hw, 1, &[1, 2, 3]);
    d.gsp.post_event(&mut d.hw, 1, &[4]);
    let event = d.pop().expect("event");
    assert_eq!((event.function, event.payload.len()), (0x1003, 35));
    assert_eq!(event.payload[29..32], [1, 2, 3]);
    assert_eq!(d.pop(), None);
    d.clean();
}
