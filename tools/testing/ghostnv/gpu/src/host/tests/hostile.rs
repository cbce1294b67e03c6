// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever the guest writes, Host neither panics nor runs long.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Turns that each case gets.
const TURNS: u32 = 40;

/// Far more than a turn takes, even on a loaded machine.
const MOST: Duration = Duration::from_secs(20);

/// Values that sit at edges.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0u32..32,
        Just(DATA as u32),
        Just(0x8000),
        Just(u32::MAX),
        (0u32..32).prop_map(|n| 1 << n),
    ]
}

/// Methods that do something.
fn method() -> impl Strategy<Value = u32> {
    let known: &[u32] = &[
        0x1c, 0x34, 0x6c, 0x10, 0x5c, 0x28, 0x80, 0x300, 0x400, 0x410, 0x418, 0x700, 0x70c, 0x728,
        0x744, 0x740, 0x240, 0x248, 0x180, 0x188, 0x194, 0x1b0, 0x1b4, 0x1dc, 0x1b00, 0x158, 0x168,
        0x2b8, 0x260,
    ];
    prop_oneof![4 => prop::sample::select(known), 1 => (0u32..0x1000).prop_map(|a| a * 4)]
}

/// A header with its data, or anything.
fn words() -> impl Strategy<Value = Vec<u32>> {
    let op = prop_oneof![8 => Just(1u32), 1 => Just(3), 1 => Just(5), 1 => Just(4)];
    let header = (op, 0u32..5, method(), prop::collection::vec(value(), 1..10));
    prop_oneof![
        20 => header.prop_map(|(op, subch, method, data)| {
            let header = op << 29 | (data.len() as u32) << 16 | subch << 13 | method >> 2;
            [vec![header], data].concat()
        }),
        1 => prop::collection::vec(any::<u32>(), 1..4),
    ]
}

fn bounded(rig: &mut Rig) -> Result<(), TestCaseError> {
    let start = Instant::now();
    for _ in 0..TURNS {
        if rig.step(0) == Step::Idle {
            break;
        }
    }
    prop_assert!(start.elapsed() < MOST, "{TURNS} turns took {:?}", start.elapsed());
    Ok(())
}

/// Most accesses of engines in a turn: a slice of the cheapest, and the longest piece.
const MOST_ACCESSES: u64 = SLICE_WORDS + 4096;

#[test]
fn rows_cost_as_much_as_they_take() {
    for (name, launch, block) in [
        ("pitch", 0x386, None),
        ("to block-linear", 0x286, Some(0x70c)),
        ("from block-linear", 0x306, Some(0x728)),
    ] {
        let mut rig = Rig::new();
        let ch = rig.channel(1, CE2);
        // A column of one byte: memory that is not there costs the same.
        let hi = (SPARSE >> 32) as u32;
        rig.push(ch, &inc(4, 0x400, &[hi, 0, hi, 0x1000_0000, 64, 64, 1, 0x1_0000]));
        if let Some(method) = block {
            rig.push(ch, &inc(4, method, &[0x1000, 64, 0x1_0000, 1, 0]));
        }
        rig.push(ch, &inc(4, 0x300, &[launch]));
        let mut turns = 0;
        while rig.call(0) == Step::Busy {
            turns += 1;
            let accesses = std::mem::take(&mut rig.mmu.accesses);
            assert!(accesses <= MOST_ACCESSES, "{name}: {accesses} accesses in turn {turns}");
        }
        assert_eq!(rig.env.judge.count(), 0, "{name}: {:?}", rig.env.judge.violations);
        assert!(turns > 10, "{name}: {turns} turns");
    }
}

#[test]
fn the_clock_is_looked_at_after_each_turn() {
    let mut rig = Rig::new();
    let channels = [rig.channel(1, CE2), rig.channel(2, CE3), rig.channel(3, GR)];
    for ch in channels {
        rig.push(ch, &release(DATA + 16 * u64::from(ch), 1));
    }
    let mut done = Vec::new();
    for _ in channels {
        rig.call(0);
        done.push(channels.map(|ch| rig.read(DATA + 16 * u64::from(ch))).iter().sum::<u64>());
    }
    assert_eq!(done, [1, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_pushbuffer(
        engine in prop::sample::select(&[GR, CE2][..]),
        parts in prop::collection::vec(words(), 1..40),
    ) {
        let mut rig = Rig::new();
        let ch = rig.channel(1, engine);
        // One segment each, so that an error in one does not hide the others' decoding.
        for part in parts.iter().take(60) {
            rig.push(ch, part);
        }
        bounded(&mut rig)?;
    }

    #[test]
    fn any_ring(entries in prop::collection::vec(any::<u64>(), 1..60), put in value()) {
        let mut rig = Rig::new();
        let ch = rig.channel(1, CE2);
        for raw in entries {
            // Keep half of the segments where there is memory.
            let at = if raw & 2 != 0 { raw & !0xff_ffc0_0000 } else { raw };
            rig.entry(ch, at);
        }
        bounded(&mut rig)?;
        rig.write(0x1_0000 + 512 + 0x8c, &put.to_le_bytes());
        rig.ring(ch);
        bounded(&mut rig)?;
    }
}
