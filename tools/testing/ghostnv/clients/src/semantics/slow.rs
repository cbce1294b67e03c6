// SPDX-License-Identifier: GPL-2.0 OR MIT

//! VM_BIND and EXEC while the hardware takes its time.
//!
//! The emulated GPU is told on its test port to look busy with an invalidate, and says how often
//! somebody has looked since: there nothing depends on how long anything takes. The time limit of
//! jobs is a matter of clocks; there what has to be in an order is far apart.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::rig::{PLACE, map, unmap};
use super::{Case, Rig, SOON};
use crate::soak::card::{Ask, Card};
use crate::uapi::abi::{BIND_MAP, BindOp, DOMAIN_VRAM, PARAM_VRAM_USED};
use crate::uapi::{Engine, FenceStatus, Wait};

/// The cases. Only the emulated GPU can be made slow, and only under GhostNV it was tried.
pub const CASES: &[Case] = &[
    Case { name: "slow-unmap", ghostnv_only: true, run: |rig| kept_meanwhile(rig, false) },
    Case { name: "slow-unmap-later", ghostnv_only: true, run: |rig| kept_meanwhile(rig, true) },
    Case { name: "slow-to-leave-its-engine", ghostnv_only: true, run: kept_engine },
];

const PAGE: u64 = 0x1000;
const GIB: u64 = 1 << 30;
/// What is unmapped: more than page tables for a page could be.
const LARGE: u64 = 16 << 20;
/// `NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE`, and what it reads as until an invalidate is done.
const INVALIDATE: (u32, u32) = (0xb8_30b0, 0x8000_0001);
/// So often an invalidate is found not done: some tenths of a second. The driver gives up after two
/// seconds.
const LOOKS: u32 = 2_500;
/// How long a job may run.
const LIMIT: Duration = Duration::from_secs(2);

/// Memory that was unmapped is nobody's before the GPU has forgotten where it was mapped, even if
/// somebody else binds meanwhile.
///
/// Of the two binds one waits for a fence, which `unmap_waits` says; those that wait for none come
/// one after the other anyway.
fn kept_meanwhile(rig: &mut Rig, unmap_waits: bool) -> anyhow::Result<()> {
    let card = Card::find("ghostnv")?;
    let small = rig.object(PAGE)?;
    // Now, so that its neighbour needs no page table later.
    rig.client.bind_now(&[map(&small, PLACE + GIB, 0, PAGE)])?;
    let handle = rig.client.gem_new(DOMAIN_VRAM, LARGE)?;
    let op = BindOp { op: BIND_MAP, handle, addr: PLACE, range: LARGE, ..BindOp::default() };
    rig.client.bind_now(&[op])?;
    // From here on the mapping alone keeps it.
    rig.client.gem_close(handle)?;

    let (slow, other) = (unmap(PLACE, LARGE), map(&small, PLACE + GIB + PAGE, 0, PAGE));
    let (later, now) = if unmap_waits { (slow, other) } else { (other, slow) };
    let (before, bound) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, open) = rig.gate()?;
    rig.client.submit(rig.two.id, &[shut], &[], &[Wait::Binary(&before)])?;
    rig.client.bind_async(&[later], &[Wait::Binary(&before)], &[Wait::Binary(&bound)])?;
    let (client, graphics) = (&rig.client, rig.graphics.id);
    let full = client.param(PARAM_VRAM_USED)?;
    let is_freed = || Ok(client.param(PARAM_VRAM_USED)? <= full - LARGE / 2);
    let looks = || card.ask(Ask::Fired);
    let (offset, value) = INVALIDATE;
    card.load(&format!(
        "[[fault]]\nkind='register'\noffset={offset}\nvalue={value}\ncount={LOOKS}\n"
    ))?;

    thread::scope(|scope| {
        let run_later = || client.submit(graphics, &[open], &[], &[]);
        let run_now = || scope.spawn(|| client.bind_now(&[now]));
        let under_way = || until("the invalidate", || Ok(looks()? != 0)).and_then(|()| looks());
        let (first, thread);
        if unmap_waits {
            run_later()?;
            first = under_way()?;
            thread = run_now();
        } else {
            thread = run_now();
            first = under_way()?;
            run_later()?;
        }
        let mut last = 0;
        until("an end", || {
            // In this order: what is freed by now was not freed after the looks there were then.
            let freed = is_freed()?;
            last = looks()?;
            Ok(freed || last == LOOKS)
        })?;
        ensure!(last == LOOKS, "freed after {last} of {LOOKS} looks, the other bind after {first}");
        ensure!(first < LOOKS / 2, "the other bind began after {first} of {LOOKS} looks");
        Ok(thread.join().ok().context("the bind's thread")??)
    })?;

    rig.wait("the bind", &bound)?;
    until("free memory", is_freed)?;
    card.load("")
}

/// A job without end keeps its engine, and getting that back takes time. The others' jobs, late by
/// then, have their time again.
///
/// Theirs come when the engine is kept already, as the first to be late is the first to be stopped.
/// Half the time limit later: so long one of two timers may be late itself.
fn kept_engine(rig: &mut Rig) -> anyhow::Result<()> {
    let card = Card::find("ghostnv")?;
    let ended = rig.client.syncobj()?;
    let (shut, _) = rig.gate()?;
    let mut others = Vec::new();
    for n in 0..3 {
        let channel = rig.client.channel(Engine::Copy)?;
        let push = rig.store(0x900 + 4 * n, 9)?;
        others.push((channel, push, rig.client.syncobj()?));
    }
    card.load("[[fault]]\nkind='hog'\nms=1200\n")?;
    rig.client.submit(rig.one.id, &[shut], &[], &[Wait::Binary(&ended)])?;
    until("a job that keeps the engine", || Ok(card.ask(Ask::Fired)? != 0))?;
    thread::sleep(LIMIT / 2);
    for (channel, push, done) in &others {
        rig.client.submit(channel.id, &[*push], &[], &[Wait::Binary(done)])?;
    }

    rig.wait("the job without end", &ended)?;
    let status = rig.client.status(&ended)?;
    ensure!(matches!(status, FenceStatus::Failed(_)), "the job without end: {status:?}");
    for (_, _, done) in &others {
        let status = rig.client.status(done)?;
        ensure!(matches!(status, FenceStatus::Active), "while the engine was kept: {status:?}");
    }
    for (n, (_, _, done)) in others.iter().enumerate() {
        rig.wait("another job", done)?;
        let status = rig.client.status(done)?;
        ensure!(matches!(status, FenceStatus::Signalled), "job {n}: {status:?}");
        ensure!(rig.word(0x900 + 4 * n as u64)? == 9, "job {n}: not done");
    }
    card.load("")
}

/// Waits for what nothing tells of.
fn until(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !done().with_context(|| what.to_owned())? {
        ensure!(start.elapsed() < SOON, "{what}: not seen");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
