// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The scenarios.

use super::Options;
use super::seat::{HOLE, SIZE, SPARE, Seat};
use crate::prng::Prng;
use crate::uapi::Engine;
use crate::uapi::abi::DOMAIN_VRAM;
use crate::uapi::push::Pushbuf;

/// What must become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It finishes, and its channel lives.
    Finishes,
    /// It ends with an error, and its channel is dead.
    Dies,
    /// One of the two.
    Ends,
    /// EXEC refuses it, and its channel lives.
    Refused,
}

/// Pushes as EXEC takes them.
type Pushes = Vec<(u64, u32)>;

/// One hostile submission.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What must become of it.
    pub expect: Expect,
    /// Whether it keeps its channel busy long enough to see others work meanwhile.
    pub lingers: bool,
    /// Writes its pushbuffers.
    pub prepare: fn(&Seat, &Options) -> anyhow::Result<Pushes>,
}

const fn scenario(
    name: &'static str,
    expect: Expect,
    prepare: fn(&Seat, &Options) -> anyhow::Result<Pushes>,
) -> Scenario {
    Scenario { name, expect, lingers: false, prepare }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario("good-copy", Expect::Finishes, |seat, _| {
        let push = Pushbuf::new().copy(seat.src.va, seat.dst.va, SIZE as u32);
        Ok(vec![seat.stage(&push.bytes())?])
    }),
    scenario("no-push", Expect::Finishes, |_, _| Ok(Vec::new())),
    scenario("push-not-mapped", Expect::Dies, |_, _| Ok(vec![(HOLE, 64)])),
    scenario("copy-from-not-mapped", Expect::Dies, |seat, _| {
        let push = Pushbuf::new().copy(HOLE, seat.dst.va, 4096);
        Ok(vec![seat.stage(&push.bytes())?])
    }),
    scenario("copy-to-not-mapped", Expect::Dies, |seat, _| {
        let push = Pushbuf::new().copy(seat.src.va, HOLE, 4096);
        Ok(vec![seat.stage(&push.bytes())?])
    }),
    scenario("copy-over-the-end", Expect::Dies, |seat, _| {
        let push = Pushbuf::new().copy(seat.src.va, seat.dst.va + SIZE - 4096, 8192);
        Ok(vec![seat.stage(&push.bytes())?])
    }),
    scenario("copy-to-unmapped-again", Expect::Dies, unmapped_again),
    scenario("copy-from-where-nothing-was", Expect::Finishes, where_nothing_was),
    scenario("good-then-not-mapped", Expect::Dies, |seat, _| {
        let push = Pushbuf::new().copy(seat.src.va, seat.dst.va, SIZE as u32);
        Ok(vec![seat.stage(&push.bytes())?, (HOLE, 64)])
    }),
    Scenario {
        name: "semaphore-never-released",
        expect: Expect::Dies,
        lingers: true,
        prepare: |seat, _| {
            seat.src.write(0, &[0; 4])?;
            let push = Pushbuf::new().acquire(seat.src.va, 1);
            Ok(vec![seat.stage(&push.bytes())?])
        },
    },
    scenario("push-too-long", Expect::Refused, |seat, _| Ok(vec![(seat.src.va, 0x80_0000)])),
    scenario("garbage-ones", Expect::Ends, |seat, _| Ok(vec![seat.stage(&[0xff; 4096])?])),
    scenario("garbage-words", Expect::Ends, |seat, options| {
        let bytes = Prng::new(options.seed).bytes(16 * 1024);
        Ok(vec![seat.stage(&bytes)?])
    }),
    scenario("garbage-methods", Expect::Ends, garbage_methods),
    scenario("garbage-copies", Expect::Ends, garbage_copies),
    scenario("header-without-data", Expect::Ends, |seat, _| {
        Ok(vec![seat.stage(&0x3fff_8100u32.to_le_bytes())?])
    }),
];

/// A copy that works, to memory that is then taken away: a stale translation would still work.
fn unmapped_again(seat: &Seat, options: &Options) -> anyhow::Result<Pushes> {
    let spare = seat.client.bo(DOMAIN_VRAM, SIZE, SPARE)?;
    let push = Pushbuf::new().copy(seat.src.va, SPARE, SIZE as u32);
    let push = seat.stage(&push.bytes())?;
    let syncobj = seat.client.syncobj()?;
    seat.client.exec(&seat.channel, &[push], &syncobj)?;
    anyhow::ensure!(seat.client.wait(&syncobj, options.limit)?, "the first copy did not end");
    seat.client.destroy(&syncobj)?;
    seat.client.unmap(&spare)?;
    seat.client.close(&spare)?;
    Ok(vec![push])
}

/// A copy from memory at an address where another channel has found nothing before: what the
/// hardware remembers of that must not be in the way.
fn where_nothing_was(seat: &Seat, options: &Options) -> anyhow::Result<Pushes> {
    let push = Pushbuf::new().copy(SPARE, seat.dst.va, SIZE as u32);
    let push = seat.stage(&push.bytes())?;
    let channel = seat.client.channel(Engine::Copy)?;
    let syncobj = seat.client.syncobj()?;
    seat.client.exec(&channel, &[push], &syncobj)?;
    anyhow::ensure!(seat.client.wait(&syncobj, options.limit)?, "the first copy did not end");
    seat.client.destroy(&syncobj)?;
    // The channel stays: with its memory the driver would have the hardware forget all.
    seat.client.bo(DOMAIN_VRAM, SIZE, SPARE)?;
    Ok(vec![push])
}

/// Well-formed headers of random methods with random data.
fn garbage_methods(seat: &Seat, options: &Options) -> anyhow::Result<Pushes> {
    let mut prng = Prng::new(options.seed ^ 0x6d65_7468);
    let mut push = Pushbuf::new();
    for _ in 0..200 {
        let (subchannel, method) = (prng.below(8) as u32, prng.below(0x1000) as u32 * 4);
        let count = prng.below(4) + 1;
        let values: Vec<u32> = (0..count).map(|_| prng.word() as u32).collect();
        push = push.methods(subchannel, method, &values);
    }
    Ok(vec![seat.stage(&push.bytes())?])
}

/// Copies with every register of the copy class at random, inside and outside of what is mapped.
fn garbage_copies(seat: &Seat, options: &Options) -> anyhow::Result<Pushes> {
    let mut prng = Prng::new(options.seed ^ 0x636f_7079);
    let mut push = Pushbuf::new();
    for _ in 0..8 {
        let mut any = || prng.word() as u32;
        let state: Vec<u32> = (0..8).map(|_| any()).collect();
        let layout: Vec<u32> = (0..15).map(|_| any()).collect();
        push = push
            .methods(4, 0x700, &layout)
            .methods(4, 0x400, &state)
            .methods(4, 0x400, &[1, any() & 0x3_ffff, 1, 0x1000_0000 | any() & 0x3_ffff])
            .methods(4, 0x418, &[any() & 0xffff, any() & 0xff])
            .methods(4, 0x300, &[any() & 0x0000_07ff]);
    }
    Ok(vec![seat.stage(&push.bytes())?])
}
