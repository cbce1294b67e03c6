// SPDX-License-Identifier: GPL-2.0 OR MIT

//! EXEC: order, fences, errors, a full ring, the time limit of jobs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::io::Errno;

use super::{Case, Rig, SOON, WHILE, fails};
use crate::uapi::abi::DOMAIN_GART;
use crate::uapi::push::Pushbuf;
use crate::uapi::{Bo, FenceStatus, Wait};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "submit-runs", ghostnv_only: false, run: runs },
    Case { name: "submit-nothing", ghostnv_only: false, run: nothing },
    Case { name: "submit-turns", ghostnv_only: false, run: turns },
    Case { name: "submit-waits", ghostnv_only: false, run: waits },
    Case { name: "submit-objects-are-busy", ghostnv_only: false, run: busy },
    Case { name: "submit-refused", ghostnv_only: true, run: refused },
    Case { name: "submit-most-pushes", ghostnv_only: false, run: most_pushes },
    Case { name: "submit-more-than-there-is-room", ghostnv_only: false, run: no_room },
    Case { name: "submit-threads", ghostnv_only: false, run: threads },
    Case { name: "submit-time-limit", ghostnv_only: false, run: time_limit },
    Case { name: "submit-over-time-does-not-go-on", ghostnv_only: true, run: over_time },
    Case { name: "submit-time-is-in-fdinfo", ghostnv_only: true, run: engine_time },
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

/// Two channels by turns, by points of a timeline: what the first has stored late the second copies.
fn turns(rig: &mut Rig) -> anyhow::Result<()> {
    let line = rig.client.syncobj()?;
    for n in 1..20u32 {
        let (shut, open) = rig.gate()?;
        let first = rig.store(0x200, n)?;
        let second = Pushbuf::new().copy(rig.data.va + 0x200, rig.data.va + 0x300, 4);
        let second = rig.stage(&second)?;
        let at = |k| 2 * u64::from(n) + k;
        let (before, after) = ([Wait::Point(&line, at(0))], [Wait::Point(&line, at(1))]);
        rig.client.submit(rig.one.id, &[shut, first], &[], &before)?;
        let prefetch_not = (second.0, second.1, 1);
        rig.client.submit(rig.two.id, &[prefetch_not], &before, &after)?;
        if n == 1 {
            ensure!(!rig.client.wait_point(&line, at(1), WHILE)?, "the second one did not wait");
        }
        rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
        ensure!(rig.client.wait_point(&line, at(1), SOON)?, "no end");
        let words = (rig.word(0x200)?, rig.word(0x300)?);
        ensure!(words == (n, n), "round {n}: {words:?}");
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

/// Objects are busy as long as a job runs, those that others may share and private ones.
fn busy(rig: &mut Rig) -> anyhow::Result<()> {
    let shared = rig.client.shareable_bo(DOMAIN_GART, 0x1_0000, 0x3_0000_0000)?;
    let done = rig.client.syncobj()?;
    let (shut, open) = rig.gate()?;
    let objects = [&shared, &rig.data];
    let busy = |bo: &&Bo| rig.client.is_busy(bo);
    let all = || objects.iter().map(busy).collect::<std::io::Result<Vec<_>>>();
    ensure!(all()? == [false; 2], "busy without a job: {:?}", all()?);
    rig.client.submit(rig.one.id, &[shut], &[], &[Wait::Binary(&done)])?;
    ensure!(all()? == [true; 2], "not busy: {:?}", all()?);
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    rig.client.wait_for(&rig.data)?;
    ensure!(rig.client.wait(&done, Duration::ZERO)?, "a private object was not waited for");
    let start = Instant::now();
    while all()? != [false; 2] {
        ensure!(start.elapsed() < SOON, "busy for ever: {:?}", all()?);
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

/// What held up a job that took too long goes away when its fence has said so: it does not go on, in
/// memory that the client may have given to something else.
fn over_time(rig: &mut Rig) -> anyhow::Result<()> {
    let (done, opened) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, open) = rig.gate()?;
    let push = rig.store(0x808, 8)?;
    rig.data.write(0x808, &[0; 4])?;
    rig.client.submit(rig.one.id, &[shut, push], &[], &[Wait::Binary(&done)])?;
    rig.wait("the job", &done)?;
    rig.client.submit(rig.graphics.id, &[open], &[], &[Wait::Binary(&opened)])?;
    rig.wait("what would have let it go on", &opened)?;
    std::thread::sleep(WHILE);
    ensure!(rig.word(0x808)? == 0, "it went on");
    Ok(())
}

/// For how long an engine has worked for the client can be read in fdinfo; what waits for something
/// else does not count.
fn engine_time(rig: &mut Rig) -> anyhow::Result<()> {
    let keys = ["drm-engine-copy", "drm-engine-render"];
    let times = |rig: &Rig| -> anyhow::Result<Vec<u128>> {
        let told = |key: &str| rig.client.told(key)?.with_context(|| format!("no {key}"));
        keys.iter().map(|key| Ok(told(key)?.into())).collect()
    };
    ensure!(times(rig)? == [0, 0], "before the first job: {:?}", times(rig)?);
    let [first, second, opened] =
        [rig.client.syncobj()?, rig.client.syncobj()?, rig.client.syncobj()?];
    let (shut, open) = rig.gate()?;
    let push = rig.store(0xb00, 11)?;
    rig.client.submit(rig.one.id, &[shut], &[], &[Wait::Binary(&first)])?;
    rig.client.submit(
        rig.graphics.id,
        &[push],
        &[Wait::Binary(&first)],
        &[Wait::Binary(&second)],
    )?;
    std::thread::sleep(WHILE);
    let during = times(rig)?;
    let active = rig.client.told("drm-active-system")?;
    ensure!(active.is_some_and(|bytes| bytes > 0), "not active during a job: {active:?}");
    ensure!(during[0] >= WHILE.as_nanos() && during[1] == 0, "during the first job: {during:?}");
    rig.client.submit(rig.two.id, &[open], &[], &[Wait::Binary(&opened)])?;
    rig.wait("the second job", &second)?;
    rig.wait("what let the first one go on", &opened)?;
    let after = times(rig)?;
    ensure!(after[0] >= during[0] && after[1] > 0, "after both jobs: {after:?}");
    ensure!(times(rig)? == after, "without a job: {:?}, then {after:?}", times(rig)?);
    ensure!(rig.client.told("drm-active-system")? == Some(0), "active without a job");
    rig.client.free_number(&rig.one)?;
    rig.client.free_number(&rig.graphics)?;
    let last = times(rig)?;
    ensure!(last == after, "channels that were freed: {after:?}, then {last:?}");
    Ok(())
}

/// A channel that was freed is not there, and what was submitted is done: freeing waits for it.
fn freed(rig: &mut Rig) -> anyhow::Result<()> {
    let done = rig.client.syncobj()?;
    let (shut, open) = rig.gate()?;
    let push = rig.store(0x900, 9)?;
    rig.client.submit(rig.one.id, &[shut, push], &[], &[Wait::Binary(&done)])?;
    let (client, graphics, one) = (&rig.client, rig.graphics.id, &rig.one);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            std::thread::sleep(WHILE);
            client.submit(graphics, &[open], &[], &[])
        });
        client.free_number(one)?;
        opener.join().map_err(|_| anyhow::anyhow!("the opener panicked"))??;
        anyhow::Ok(())
    })?;
    ensure!(rig.client.wait(&done, Duration::ZERO)?, "not done");
    let status = rig.client.status(&done)?;
    ensure!(matches!(status, FenceStatus::Signalled), "{status:?}");
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
