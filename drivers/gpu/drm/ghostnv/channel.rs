// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: a timer and callbacks that borrow what the channel borrows.

//! Channels: how work gets to an engine of the GPU, and how its completion gets back.
//!
//! | | |
//! |---|---|
//! | [`ring`] | entries of the GPFIFO, and where they go |
//! | [`fence`] | what the GPU runs after each job, to say that it is done |
//! | [`memory`] | the memory of both |
//! | [`job`] | jobs that are not done |
//! | [`queue`] | the way of jobs into the ring, and of completions out of it |
//! | [`waits`] | jobs that wait for fences of others |
//! | [`turns`] | whose turn it was while jobs were late |
//!
//! A job has a time limit. One that runs for longer has its channel stopped, as has one whose
//! commands are in error, and that channel alone: its jobs end with an error, and it takes no more.
//! While it kept its engine from others their time does not count.
//! The timer is not touched for each job: it runs as long as there are jobs, and looks.

use core::ops::Range;

use kernel::{
    dma_fence::{
        Fence,
        NewFence,
        Signalling, //
    },
    new_scoped_work,
    prelude::*,
    scoped_work::{
        OwnedQueue,
        ScopedWork,
        ScopedWorkItem, //
    },
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

use crate::{
    gpu::Core,
    host::hardware::{
        self,
        Hardware, //
    },
    irq::watch::{
        Failure,
        Watched, //
    },
    mmu::{
        Aperture,
        Attr,
        Run, //
    },
    rm::{
        self,
        engines::{
            Engine,
            EngineKind, //
        },
    },
    vm::{
        KernelMapping,
        Space, //
    },
};

pub(crate) mod fence;
pub(crate) mod job;
pub(crate) mod memory;
pub(crate) mod queue;
pub(crate) mod ring;
pub(crate) mod turns;
pub(crate) mod waits;

use fence::Timeline;
use memory::{
    Memory,
    Ring, //
};
use queue::{
    Deadline,
    Queue,
    Submission, //
};
use waits::{
    Gate,
    Release,
    Waits, //
};

/// Most milliseconds that a job may run. Who waits for a job of the kernel's own waits longer.
pub(crate) const TIME_LIMIT_MAX: u32 = 30_000;

/// How long a job may run, by what the parameter of the module says.
fn clamped(parameter: u32) -> u32 {
    // Zero would stop everything.
    parameter.clamp(1, TIME_LIMIT_MAX)
}

/// How long a job may run.
fn time_limit() -> u32 {
    clamped(crate::module_parameters::job_timeout_ms.value())
}

/// Both parts of a channel's memory, mapped for the GPU.
type Mapped<'a> = [KernelMapping<'a>; 2];

/// Jobs and what they wait for.
type Jobs<'a> = Queue<Ring<Hardware<'a>, Mapped<'a>>, Waits<Shared<'a>>>;

/// What interrupts, callbacks of fences and the timer have of a channel.
#[pin_data]
pub(crate) struct Body<'a> {
    #[pin]
    jobs: Jobs<'a>,
    core: Arc<Core<'a>>,
    owner: CString,
    /// The firmware has said that it has stopped the channel.
    failed: AtomicFlag,
}

/// [`Body`], with the timer for its jobs.
pub(crate) type Shared<'a> = ScopedWork<Body<'a>>;

impl<'a> Body<'a> {
    fn hardware(&self) -> &Hardware<'a> {
        self.jobs.host().doorbell()
    }

    /// Stops the channel and ends its jobs; the one the GPU was at with `error`.
    fn stop(&self, error: Error) {
        // The fences of its jobs are waited for, be it to get memory.
        let signalling = Signalling::begin();

        // Others must not ring for a channel that is not scheduled any more.
        let closed = self.jobs.close();
        // One that has failed was stopped by the firmware itself, which may say no to that. It may
        // have failed during the call. One that was closed has failed, or been stopped like this.
        if self.hardware().stop().is_err() && !closed && !self.failed.load(Relaxed) {
            let id = self.hardware().id();
            self.core.link().lose(fmt!("channel {id}: not stopped"));
        }
        self.jobs.fail(error);
        drop(signalling);
    }

    /// Stops the channel if its oldest job has run for more than `limit` milliseconds, though it
    /// was the channel's turn. Says how long that may still run.
    fn stop_if_late(&self, limit: u32) -> Deadline {
        let hardware = self.hardware();
        let engine = hardware.engine();
        let mut deadline = Deadline::Over;
        // As of stop(): who is stopped before is waited for.
        let signalling = Signalling::begin();

        self.core.turns.late(engine.runlist, |turn| {
            deadline = self.jobs.deadline(Delta::from_millis(limit.into()), turn);
            let late = deadline == Deadline::Over;
            if late {
                dev_err!(
                    self.core.hw().dev,
                    "channel {} of {}, engine {}: stopped, as a job ran for more than {limit} ms\n",
                    hardware.id(),
                    &*self.owner,
                    engine.kind
                );
                self.stop(ETIME);
            }
            late
        });
        drop(signalling);
        deadline
    }
}

impl ScopedWorkItem for Body<'_> {
    fn queue(&self) -> Option<&OwnedQueue> {
        Some(&self.core.workers)
    }

    fn run(&self) -> Option<Jiffies> {
        let limit = time_limit();
        let deadline = match self.jobs.deadline(Delta::from_millis(limit.into()), None) {
            Deadline::Over => self.stop_if_late(limit),
            deadline => deadline,
        };
        match deadline {
            Deadline::Idle | Deadline::Over => None,
            // CAST: less than the limit.
            Deadline::In(left) => Some(msecs_to_jiffies(left.as_millis_ceil() as u32)),
        }
    }
}

impl Watched for Shared<'_> {
    fn completed(&self) {
        self.jobs.complete();
    }

    fn failed(&self, _: &Failure) {
        self.failed.store(true, Relaxed);
        self.jobs.fail(EIO);
    }

    fn lost(&self) {
        self.jobs.fail(ENODEV);
    }

    fn owner(&self) -> &CStr {
        &self.owner
    }
}

/// Sees to it that the GPU does not work on a job for ever.
fn start_timer(shared: &Shared<'_>) {
    shared.schedule(msecs_to_jiffies(time_limit()));
}

impl Release for Shared<'_> {
    fn release(&self, number: u64) {
        if self.jobs.release(number) {
            start_timer(self);
        }
    }
}

/// A channel of a client. Dropping it stops it.
pub(crate) struct Channel<'a> {
    shared: Arc<Shared<'a>>,
}

impl<'a> Channel<'a> {
    /// Makes a channel for an engine in an address space, and starts it.
    ///
    /// `owner` is who to blame in the log. May sleep.
    pub(crate) fn new(
        core: Arc<Core<'a>>,
        space: Arc<Space<'a>>,
        engine: &Engine,
        owner: CString,
    ) -> Result<Self> {
        let kind = match engine.kind {
            EngineKind::Graphics => Timeline::Graphics,
            EngineKind::Copy(_) => Timeline::Copy,
        };
        let memory = Memory::new(core.hw().dev)?;
        let mapped = [
            map(&memory, Memory::READ_ONLY, true, &space)?,
            map(&memory, Memory::WRITABLE, false, &space)?,
        ];
        let [read_only, writable] = [mapped[0].address(), mapped[1].address()];
        let place = hardware::Ring {
            address: read_only,
            // CAST: a small constant.
            entries: ring::ENTRIES as u32,
        };
        let hardware = Hardware::new(core.clone(), space, engine, place)?;
        let id = hardware.id();
        let ring = Ring::new(memory, mapped, hardware, read_only, writable)?;
        let jobs = Queue::new(ring, kind)?;
        let watchlist = core.link().clone();
        let body = pin_init!(Body {
            jobs <- jobs,
            core,
            owner,
            failed: AtomicFlag::new(false),
        });
        // SAFETY: `Channel::drop()` takes it from all who share it, and is the last to let go of
        // it. Nothing forgets a `Channel`, which does not outlive `'a`.
        let shared = Arc::pin_init(unsafe { new_scoped_work!(body) }, GFP_KERNEL)?;
        let channel = Self { shared };
        watchlist.watchlist().add(id, channel.shared.clone())?;
        channel.shared.hardware().start()?;
        Ok(channel)
    }

    /// Stops it, whatever its jobs do; these have failed with `ETIME` when this returns. If it
    /// cannot be stopped the GPU is lost.
    pub(crate) fn stop(&self) {
        self.shared.stop(ETIME);
    }

    /// Its number in the hardware.
    pub(crate) fn id(&self) -> u32 {
        self.shared.hardware().id()
    }

    /// The engine it was made for.
    pub(crate) fn engine(&self) -> &Engine {
        self.shared.hardware().engine()
    }

    /// Makes an object of a class on the channel; see [`Hardware::object`].
    pub(crate) fn object(&self, class: u32) -> Result<rm::Object<'a>> {
        self.shared.hardware().object(class)
    }

    /// Whether it takes no more jobs.
    pub(crate) fn is_dead(&self) -> bool {
        self.shared.jobs.is_dead()
    }

    /// For how long the engine has been at work for it.
    pub(crate) fn busy(&self) -> Delta {
        self.shared.jobs.busy()
    }

    /// A fence that signals when all jobs so far are done; see [`Queue::idle_fence`].
    pub(crate) fn idle_fence(&self) -> Result<ARef<Fence>> {
        self.shared.jobs.idle_fence()
    }

    /// A fence that signals when all jobs so far have ended; see [`Queue::last_fence`].
    pub(crate) fn last_fence(&self) -> ARef<Fence> {
        self.shared.jobs.last_fence()
    }

    /// Waits until all jobs so far have ended, unless the caller is killed, or it takes too long.
    pub(crate) fn wait_idle(&self) {
        let _ = self
            .last_fence()
            .wait_timeout(msecs_to_jiffies(time_limit()));
    }

    /// Allocates what a job needs that waits for `fences`.
    pub(crate) fn prepare(&self, fences: KVec<ARef<Fence>>) -> Result<Prepared<'a>> {
        let new = NewFence::new(self.shared.jobs.kind(), GFP_KERNEL)?;
        let waits = if fences.is_empty() {
            None
        } else {
            Waits::new(&self.shared, fences)?
        };
        Ok(Prepared { new, waits })
    }

    /// Begins to write a job; see [`Queue::begin`].
    pub(crate) fn begin(&self, segments: u32) -> Result<Job<'_, 'a>> {
        Ok(Job {
            submission: self.shared.jobs.begin(segments)?,
            shared: &self.shared,
        })
    }
}

/// Maps a part of a channel's memory.
fn map<'a>(
    memory: &Memory,
    part: Range<usize>,
    read_only: bool,
    space: &Arc<Space<'a>>,
) -> Result<KernelMapping<'a>> {
    let run = Run {
        offset: 0,
        address: memory.address(part.start),
        len: u64::try_from(part.len())?,
    };
    let attr = Attr {
        read_only,
        ..Attr::linear(Aperture::Coherent)
    };
    space.map_kernel(&[run], attr)
}

impl Drop for Channel<'_> {
    fn drop(&mut self) {
        // What was submitted is done before the channel goes away, if it can be.
        self.wait_idle();
        self.shared.stop(ECANCELED);
        // Interrupts, the timer and callbacks may be just at what is shared, and the latter have
        // references to it. After this nobody else does, nor has.
        self.shared.core.link().watchlist().remove(self.id());
        self.shared.disable();
        self.shared.jobs.drop_waits();
    }
}

/// What a job needs that is not written yet.
pub(crate) struct Prepared<'a> {
    new: NewFence<Timeline>,
    waits: Option<(Waits<Shared<'a>>, Gate<Shared<'a>>)>,
}

/// A job that is being written. Dropping it leaves everything as it was.
pub(crate) struct Job<'c, 'a> {
    submission: Submission<'c, Ring<Hardware<'a>, Mapped<'a>>, Waits<Shared<'a>>>,
    shared: &'c Shared<'a>,
}

impl<'a> Job<'_, 'a> {
    /// Writes the next segment; see [`Submission::push`].
    #[inline]
    pub(crate) fn push(&mut self, entry: ring::Entry) -> Result {
        self.submission.push(entry)
    }

    /// Submits it. `then` is given its fence and must not fail, nor allocate.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel has failed. Nothing has happened then.
    pub(crate) fn submit(self, prepared: Prepared<'a>, then: impl FnOnce(&Fence)) -> Result {
        let (waits, gate) = prepared.waits.unzip();
        let job = self.submission.commit(prepared.new, waits)?;
        if job.started {
            start_timer(self.shared);
        }
        then(&job.fence);
        if let Some(gate) = gate {
            gate.open(job.number);
        }
        Ok(())
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_channel)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_have_limits() {
        for (parameter, limit) in [(0, 1), (1, 1), (2000, 2000), (30_000, 30_000)] {
            assert_eq!(clamped(parameter), limit);
        }
        for parameter in [30_001, 3_600_000, u32::MAX] {
            assert_eq!(clamped(parameter), TIME_LIMIT_MAX);
        }
    }
}
