// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who runs when: turns, blocked channels, releases and launches.

use super::*;

#[test]
fn progress_is_written_back() {
    let mut rig = Rig::new();
    let ch = rig.channel(1, CE2);
    rig.push(ch, &inc(0, 0x50, &[0x1234]));
    let at = rig.push(ch, &release(DATA, 7));
    assert_eq!(rig.settle(), Step::Idle);
    assert_eq!(rig.read(DATA), 7);
    let end = at as u32 + 24;
    for (off, want) in [(0x88, 2), (0x44, end), (0x40, end), (0x58, end), (0x48, 0x1234)] {
        assert_eq!(rig.userd(ch, off), want, "USERD+{off:#x}");
    }
    assert_eq!(rig.env.judge.count(), 0);
}

#[test]
fn data_may_follow_in_the_next_segment() {
    let mut rig = Rig::new();
    let ch = rig.channel(1, CE2);
    let words = release(DATA, 7);
    rig.push(ch, &words[..3]);
    rig.push(ch, &words[3..]);
    assert_eq!(rig.settle(), Step::Idle);
    assert_eq!(rig.read(DATA), 7);
}

#[test]
fn segments_are_fetched_ahead_unless_sync_holds_them() {
    for sync in [0, 1 << 63] {
        let mut rig = Rig::new();
        let ch = rig.channel(1, CE2);
        let at = 0x18_0000;
        let words = |value| release(DATA, value).into_iter().flat_map(u32::to_le_bytes);
        rig.write(at, &words(1).collect::<Vec<_>>());
        rig.push(ch, &sem(DATA + 16, 1, 0));
        rig.entry(ch, at | 6 << 42 | sync);
        assert_eq!(rig.settle(), Step::Blocked);
        rig.write(at, &words(2).collect::<Vec<_>>());
        rig.write(DATA + 16, &[1]);
        assert_eq!(rig.settle(), Step::Idle);
        let held = sync != 0;
        assert_eq!(rig.read(DATA), [1, 2][usize::from(held)]);
        assert_eq!(rig.env.judge.caught("pushbuffer-prefetched"), !held);
    }
}

#[test]
fn a_blocked_channel_waits_and_others_do_not() {
    let mut rig = Rig::new();
    let (waits, other) = (rig.channel(1, CE2), rig.channel(2, CE2));
    rig.push(waits, &sem(DATA, 5, 3 | 1 << 12));
    rig.push(waits, &release(DATA + 16, 1));
    rig.push(other, &release(DATA + 32, 1));
    assert_eq!(rig.settle(), Step::Blocked);
    assert_eq!((rig.read(DATA + 16), rig.read(DATA + 32)), (0, 1));
    rig.push(other, &release(DATA, 6));
    assert_eq!(rig.settle(), Step::Idle);
    assert_eq!(rig.read(DATA + 16), 1);
}

#[test]
fn the_cpu_can_release_too() {
    let mut rig = Rig::new();
    let ch = rig.channel(1, GR);
    rig.push(ch, &sem(DATA, 5, 1 << 24));
    assert_eq!(rig.settle(), Step::Blocked);
    rig.write(DATA, &5u64.to_le_bytes());
    assert_eq!(rig.settle(), Step::Idle);
}

#[test]
fn a_runaway_channel_stops_nobody() {
    let mut rig = Rig::new();
    let (runaway, neighbour, elsewhere) =
        (rig.channel(1, CE2), rig.channel(2, CE2), rig.channel(3, CE3));
    // A fill of 128 TiB.
    let hi = (SPARSE >> 32) as u32;
    rig.push(runaway, &inc(4, 0x408, &[hi, 0, 0, 0x7fff_fffc, 0x1fff_ffff, 0xffff]));
    rig.push(runaway, &inc(4, 0x700, &[1, 0, 4 | 3 << 16]));
    rig.push(runaway, &inc(4, 0x300, &[0x786]));
    assert_eq!(rig.step(0), Step::Busy);
    for n in 1..4 {
        rig.push(neighbour, &release(DATA, n));
        rig.push(elsewhere, &release(DATA + 16, n));
        // One turn of the runaway and one of each other channel.
        rig.step(0);
        rig.step(0);
        assert_eq!((rig.read(DATA), rig.read(DATA + 16)), (u64::from(n), u64::from(n)));
    }
    assert_eq!(rig.step(1_000_000), Step::Busy);
    rig.host.destroy(&mut rig.env, runaway).unwrap();
    assert_eq!(rig.settle(), Step::Idle);
    assert_eq!(rig.env.judge.count(), 0);
}

#[test]
fn only_a_waiting_release_sees_the_copy() {
    let mut rig = Rig::new();
    let ch = rig.channel(1, CE2);
    // The copy engine's own time stamp says when the copy was done.
    rig.push(ch, &inc(4, 0x240, &[0, DATA as u32, 1]));
    rig.push(ch, &inc(4, 0x400, &[0, 0x10_0000, 0, DATA as u32 + 0x1000, 0, 0, 0x8_0000, 1]));
    rig.push(ch, &inc(4, 0x300, &[0x196]));
    rig.push(ch, &sem(DATA + 16, 1, 1 | 1 << 25));
    rig.push(ch, &sem(DATA + 32, 1, 1 | 1 << 25 | 1 << 20));
    assert_eq!(rig.settle(), Step::Idle);
    let [copied, at_once, waited] = [8, 24, 40].map(|off| rig.read(DATA + off));
    assert!(at_once < copied, "{at_once} {copied}");
    assert!(copied <= waited, "{copied} {waited}");
}

#[test]
fn nothing_happens_without_doorbell_or_schedule() {
    let mut rig = Rig::new();
    let ch = rig.channel(1, CE2);
    rig.host.schedule(ch, false).unwrap();
    rig.push(ch, &release(DATA, 7));
    assert!(rig.env.judge.caught("doorbell-unscheduled"));
    rig.settle();
    assert_eq!(rig.read(DATA), 0);
    rig.host.schedule(ch, true).unwrap();
    rig.settle();
    assert_eq!(rig.read(DATA), 7);
    // GP_PUT alone moves nothing.
    rig.write(0x1_0000 + 512 + 0x8c, &3u32.to_le_bytes());
    rig.settle();
    assert_eq!(rig.userd(ch, 0x88), 1);
    for token in [0, 1 << 16 | 2, 1 << 30 | 1 << 16 | 1] {
        rig.host.doorbell(&mut rig.env, token);
    }
    assert_eq!(rig.env.judge.notes["doorbell-bad-token"], 3);
    assert_eq!(rig.settle(), Step::Idle);
}

#[test]
fn interrupts_go_to_the_engines_vector() {
    // (engine, pushbuffer, vector)
    let none: [u32; 0] = [];
    let launch = |word| [inc(4, 0x418, &[0, 0]), inc(4, 0x300, &[word])].concat();
    let cases = [
        (GR, inc(0, 0x20, &[0]), Some(0)),
        (CE2, inc(0, 0x20, &[0]), Some(3)),
        (CE3, launch(0x40), Some(4)),
        (GR, launch(0x40), Some(1)),
        // A channel of a GRCE is on the graphics runlist.
        (GRCE1, inc(0, 0x20, &[0]), Some(0)),
        (GRCE1, launch(0x40), Some(2)),
        (CE2, launch(0x6), None),
        (CE2, none.to_vec(), None),
    ];
    for (engine, words, vector) in cases {
        let mut rig = Rig::new();
        let ch = rig.channel(1, engine);
        rig.push(ch, &words);
        assert_eq!(rig.settle(), Step::Idle);
        let leaf = rig.intr.read(0x1000).unwrap();
        assert_eq!(leaf, vector.map_or(0, |v| 1 << v), "{engine} {words:x?}");
        assert_eq!(rig.host.take_errors().len(), 0);
    }
}

#[test]
fn a_privileged_channel_invalidates_translations() {
    for privileged in [false, true] {
        let mut rig = Rig::new();
        let spec = ChannelSpec { privileged, ..rig.spec(1, CE2) };
        rig.host.create(&mut rig.env, spec).unwrap();
        rig.host.schedule(1, true).unwrap();
        rig.channels.push((1, 0, 0x11_0000));
        rig.push(1, &inc(0, 0x28, &[0, 0, 0x1000, 9 << 27]));
        rig.settle();
        assert_eq!(rig.host.take_errors().is_empty(), privileged);
    }
}
