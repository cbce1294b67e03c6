// SPDX-License-Identifier: GPL-2.0 OR MIT

//! EXEC: order, fences, errors, a full ring, the time limit of jobs.

use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::io::Errno;

use super::{Case, Rig, SOON, WHILE, fails};
use crate::uapi::abi::DOMAIN_GART;
use crate::uapi::push::Pushbuf;
use crate::uapi::{FenceStatus, Wait};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "submit-runs", ghostnv_only: false, run: runs },
    Case { name: "submit-nothing", ghostnv_only: false, run: nothing },
    Case { name: "submit-turns", ghostnv_only: false, run: turns },
    Case { name: "submit-waits", ghostnv_only: false, run: waits },
    Case { name: "submit-shared-objects-are-busy", ghostnv_only: false, run: shared },
    Case { name: "submit-refused", ghostnv_only: true, run: refused },
    Case { name: "submit-most-pushes", ghostnv_only: false, run: most_pushes },
    Case { name: "submit-more-than-there-is-room", ghostnv_only: false, run: no_room },
    Case { name: "submit-threads", ghostnv_only: false, run: threads },
    Case { name: "submit-time-limit", ghostnv_only: false, run: time_limit },
    Case { name: "submit-freed-channel", ghostnv_only: true, run: freed },
    Case { name: "submit-and-leave", ghostnv_only: true, run: leave },
];

/// A copy by a copy engine, a store by the graphics channel's Host.
fn runs(rig: &mut Rig) -> anyhow::Result<()> {
    let done = rig.client.syncobj()?;
    rig.data.write(0x1000, &[0x5a; 256])?;
    let push = Pushbuf::new().copy(rig.data.va + 0x1000, rig.data.va, 256);
    let push = rig.stage(&push)?;
    rig.client.submit(rig.one.id, &[push], &[], &[Wait::Binary(&done)])?;
    rig.wait("copy", &done)?;
    ensure!(rig.data.read(0, 256)? == [0x5a; 256], "the copy");
    let push = rig.store(0x100, 77)?;
    rig.client.submit(rig.graphics.id, &[push], &[], &[Wait::Binary(&done)])?;
    rig.wait("store", &done)?;
    ensure!(rig.word(0x100)? == 77, "the store");
    Ok(())
}

/// No pushes: the fence still stands for all that came before.
fn nothing(rig: &mut Rig) -> anyhow::Result<()> {
    let done = rig.client.syncobj()?;
    rig.client.submit(rig.one.id, &[], &[], &[Wait::Binary(&done)])?;
    rig.wait("on an idle channel", &done)?;
    rig.client.submit(rig.one.id, &[], &[], &[])?;
    let (shut, open) = rig.gate()?;
    let later = rig.client.syncobj()?;
    rig.client.submit(rig.one.id, &[shut], &[], &[])?;
    rig.client.submit(rig.one.id, &[], &[], &[Wait::Binary(&later)])?;
    ensure!(!rig.client.wait(&later, WHILE)?, "before what it comes after");
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    rig.wait("behind a job", &later)
}

/// Two channels, each waiting for the other's point of a timeline.
fn turns(rig: &mut Rig) -> anyhow::Result<()> {
    let line = rig.client.syncobj()?;
    for n in 1..20u32 {
        let (first, second) = (rig.store(0x200, n)?, rig.store(0x300, n + 100)?);
        let at = |k| Wait::Point(&line, 2 * u64::from(n) + k);
        rig.client.submit(rig.one.id, &[first], &[], &[at(0)])?;
        let prefetch_not = (second.0, second.1, 1);
        rig.client.submit(rig.two.id, &[prefetch_not], &[at(0)], &[at(1)])?;
        ensure!(rig.client.wait_point(&line, 2 * u64::from(n) + 1, SOON)?, "no end");
        let words = (rig.word(0x200)?, rig.word(0x300)?);
        ensure!(words == (n, n + 100), "round {n}: {words:?}");
    }
    Ok(())
}

/// A job that the GPU cannot finish yet holds up those behind it, and those that wait for it.
fn waits(rig: &mut Rig) -> anyhow::Result<()> {
    let (late, later) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, open) = rig.gate()?;
    let (first, second) = (rig.store(0x400, 1)?, rig.store(0x404, 2)?);
    rig.data.write(0x400, &[0; 8])?;
    rig.client.submit(rig.one.id, &[shut], &[], &[])?;
    rig.client.submit(rig.one.id, &[first], &[], &[Wait::Binary(&late)])?;
    rig.client.submit(rig.two.id, &[second], &[Wait::Binary(&late)], &[Wait::Binary(&later)])?;
    ensure!(!rig.client.wait(&later, WHILE)?, "it did not wait");
    ensure!((rig.word(0x400)?, rig.word(0x404)?) == (0, 0), "it ran");
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    rig.wait("after the gate was opened", &later)?;
    ensure!((rig.word(0x400)?, rig.word(0x404)?) == (1, 2), "it did not run");
    Ok(())
}

/// An object that others may share is busy as long as a job runs; a private one need not be.
fn shared(rig: &mut Rig) -> anyhow::Result<()> {
    let shared = rig.client.shareable_bo(DOMAIN_GART, 0x1_0000, 0x3_0000_0000)?;
    let done = rig.client.syncobj()?;
    let (shut, open) = rig.gate()?;
    ensure!(!rig.client.is_busy(&shared)?, "busy without a job");
    rig.client.submit(rig.one.id, &[shut], &[], &[Wait::Binary(&done)])?;
    ensure!(rig.client.is_busy(&shared)?, "not busy");
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    rig.wait("the job", &done)?;
    let start = Instant::now();
    while rig.client.is_busy(&shared)? {
        ensure!(start.elapsed() < SOON, "busy for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What cannot be is refused, and says why.
fn refused(rig: &mut Rig) -> anyhow::Result<()> {
    let line = rig.client.syncobj()?;
    let good = rig.store(0x500, 1)?;
    let none = [Wait::Raw(0, 999, 0)];
    let future = [Wait::Point(&line, 1000)];
    let kind = [Wait::Raw(2, 1, 0)];
    let pushes = |push| vec![push];
    let one = rig.one.id;
    for (what, channel, pushes, waits, signals, error) in [
        ("no channel", 77, vec![], &[][..], &[][..], Errno::NOENT),
        ("signal nothing", one, vec![], &[], &none, Errno::NOENT),
        ("wait for nothing", one, vec![], &none, &[], Errno::NOENT),
        ("wait for what is not submitted", one, vec![], &future, &[], Errno::INVAL),
        ("a kind that is not", one, vec![], &kind, &[], Errno::OPNOTSUPP),
        ("too many", one, vec![good; 511], &[], &[], Errno::INVAL),
        ("too long", one, pushes((good.0, 1 << 23, 0)), &[], &[], Errno::INVAL),
        ("odd", one, pushes((good.0 + 2, 4, 0)), &[], &[], Errno::INVAL),
        ("flags", one, pushes((good.0, good.1, 2)), &[], &[], Errno::INVAL),
    ] {
        fails(what, rig.client.submit(channel, &pushes, waits, signals), error)?;
    }
    Ok(())
}

/// As many pushes as one submission may have.
fn most_pushes(rig: &mut Rig) -> anyhow::Result<()> {
    let most = rig.client.param(crate::uapi::abi::PARAM_EXEC_PUSH_MAX)?;
    let done = rig.client.syncobj()?;
    let push = rig.store(0x500, 0x1234)?;
    for _ in 0..3 {
        let pushes = vec![push; usize::try_from(most)?];
        rig.client.submit(rig.one.id, &pushes, &[], &[Wait::Binary(&done)])?;
    }
    rig.wait("the last", &done)?;
    ensure!(rig.word(0x500)? == 0x1234, "nothing stored");
    Ok(())
}

/// More jobs than a channel has room for: whoever submits waits, or not, and all of them run.
fn no_room(rig: &mut Rig) -> anyhow::Result<()> {
    const JOBS: u64 = 400;
    let line = rig.client.syncobj()?;
    let (shut, open) = rig.gate()?;
    let push = rig.store(0x600, 6)?;
    rig.client.submit(rig.one.id, &[shut], &[], &[Wait::Point(&line, 1)])?;
    let (client, two) = (&rig.client, rig.two.id);
    std::thread::scope(|scope| {
        let filler = scope.spawn(|| -> anyhow::Result<()> {
            for n in 0..JOBS {
                client.submit(
                    two,
                    &[push],
                    &[Wait::Point(&line, 1)],
                    &[Wait::Point(&line, 2 + n)],
                )?;
            }
            Ok(())
        });
        std::thread::sleep(3 * WHILE);
        client.submit(rig.graphics.id, &[open], &[], &[])?;
        filler.join().map_err(|_| anyhow::anyhow!("the filler panicked"))?
    })?;
    ensure!(rig.client.wait_point(&line, 1 + JOBS, SOON)?, "no end");
    Ok(())
}

/// Many threads, one channel.
fn threads(rig: &mut Rig) -> anyhow::Result<()> {
    let push = rig.store(0x700, 7)?;
    let (client, channel) = (&rig.client, rig.one.id);
    std::thread::scope(|scope| {
        let submit = || -> anyhow::Result<()> {
            let mine = client.syncobj()?;
            for n in 0..100 {
                let pushes: &[_] = if n % 3 == 0 { &[] } else { &[push] };
                client.submit(channel, pushes, &[], &[Wait::Binary(&mine)])?;
            }
            ensure!(client.wait(&mine, SOON)?, "no end");
            Ok(())
        };
        let all: Vec<_> = (0..6).map(|_| scope.spawn(submit)).collect();
        all.into_iter()
            .try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })
}

/// A job that never ends has its channel stopped, with an error, and no other channel.
fn time_limit(rig: &mut Rig) -> anyhow::Result<()> {
    let (done, behind) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, _) = rig.gate()?;
    let push = rig.store(0x800, 8)?;
    let start = Instant::now();
    rig.client.submit(rig.one.id, &[shut], &[], &[Wait::Binary(&done)])?;
    rig.client.submit(rig.one.id, &[push], &[], &[Wait::Binary(&behind)])?;
    rig.wait("the one behind", &behind)?;
    ensure!(start.elapsed() > Duration::from_millis(1500), "after {:?}", start.elapsed());
    for (what, syncobj) in [("the job", &done), ("the one behind", &behind)] {
        let status = rig.client.status(syncobj)?;
        ensure!(matches!(status, FenceStatus::Failed(_)), "{what}: {status:?}");
    }
    fails("submit", rig.client.submit(rig.one.id, &[push], &[], &[]), Errno::NODEV)?;
    fails("submit nothing", rig.client.submit(rig.one.id, &[], &[], &[]), Errno::NODEV)?;
    rig.client.submit(rig.two.id, &[push], &[], &[Wait::Binary(&done)])?;
    rig.wait("the other channel", &done)?;
    ensure!(matches!(rig.client.status(&done)?, FenceStatus::Signalled), "the other channel");
    Ok(())
}

/// A channel that was freed is not there, and what was submitted is done.
fn freed(rig: &mut Rig) -> anyhow::Result<()> {
    let done = rig.client.syncobj()?;
    let push = rig.store(0x900, 9)?;
    rig.client.submit(rig.one.id, &[push], &[], &[Wait::Binary(&done)])?;
    rig.client.free_number(&rig.one)?;
    ensure!(rig.client.wait(&done, Duration::ZERO)?, "not done");
    ensure!(rig.word(0x900)? == 9, "not run");
    fails("submit", rig.client.submit(rig.one.id, &[], &[], &[]), Errno::NOENT)
}

/// What is under way when the client goes is no harm; the next case will tell. nouveau takes away
/// the memory that Host is looking at, which the judge sees.
fn leave(rig: &mut Rig) -> anyhow::Result<()> {
    let done = rig.client.syncobj()?;
    let (shut, _) = rig.gate()?;
    let push = rig.store(0xa00, 10)?;
    rig.client.submit(rig.two.id, &[shut], &[], &[Wait::Binary(&done)])?;
    rig.client.submit(rig.graphics.id, &[push], &[Wait::Binary(&done)], &[])?;
    Ok(())
}
