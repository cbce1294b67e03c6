// SPDX-License-Identifier: GPL-2.0

//! The way of jobs into the ring, and of their completions out of it.
//!
//! A submitter holds the *writer*, a mutex: whoever has it writes entries where the GPU does not
//! look yet, and puts jobs into their order. What it shares with interrupts is the *state*, a
//! spinlock that is held for a few stores. Committing a job that waits for nothing tells the GPU of
//! it right there; otherwise the callback of the last dependency does.
//!
//! No fence is signaled below the state's lock: signaling calls the callbacks of other channels,
//! which take theirs. For the same reason callbacks are neither added nor removed below it.
//!
//! What jobs waited for is kept when they are done, until somebody comes who may take the time to
//! let go of it: the next submitter, or who drops the channel.

use kernel::{
    dma_fence::{
        Fence,
        FenceContext,
        NewFence, //
    },
    new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexGuard,
        Mutex,
        SpinLockIrq,
        SpinLockIrqGuard, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

use super::{
    fence::Timeline,
    job::{
        Job,
        Jobs,
        JOBS, //
    },
    ring::{
        Entry,
        Position, //
    },
};

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
mod tests;

/// The hardware as a queue sees it, or a test's idea of it.
pub(crate) trait Host: Send + Sync {
    /// Writes an entry of the ring.
    fn write_entry(&self, at: Position, entry: Entry);
    /// Writes the tail of job `number`, and says which entry runs it. A tail may be overwritten
    /// [`JOBS`] jobs later.
    fn write_tail(&self, number: u64) -> Entry;
    /// Tells the GPU that there are entries up to `end`, after all that was written before.
    fn submit(&self, end: Position);
    /// The number of the last job that is done. What its work wrote is visible afterwards.
    fn completed(&self) -> u64;
}

/// What only submitters use.
struct Writer {
    timeline: FenceContext<Timeline>,
    /// After the last entry of all jobs so far.
    end: Position,
}

/// What submitters, callbacks and interrupts share.
struct State<W> {
    jobs: Jobs<W>,
    /// After the last entry that is done.
    done: Position,
    /// Since when the GPU has been at work on the oldest job.
    since: Option<Instant<Monotonic>>,
    /// For how long the GPU has been at work on jobs that are done.
    busy: Delta,
    dead: bool,
}

impl<W> State<W> {
    /// Tells the GPU of what it may have; says whether it had nothing before.
    fn give<H: Host>(&mut self, host: &H) -> bool {
        let Some(end) = self.jobs.give() else {
            return false;
        };
        host.submit(end);
        let idle = self.since.is_none();
        if idle {
            self.since = Some(Instant::now());
        }
        idle
    }

    /// The fence of the last job.
    fn last_fence(&self) -> ARef<Fence> {
        match self.jobs.last() {
            Some(job) => job.fence.fence().clone(),
            None => Fence::signaled(),
        }
    }

    /// Keeps account of the time after a job was taken out.
    fn account(&mut self) {
        if let Some(since) = self.since {
            let now = Instant::now();
            self.busy += now - since;
            self.since = (self.jobs.given() > 0).then_some(now);
        }
    }
}

/// How long the oldest job may still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// The GPU has nothing to do.
    Idle,
    /// This long.
    In(Delta),
    /// Not any longer.
    Over,
}

/// The jobs of a channel.
///
/// `W` is what a job keeps of its dependencies.
#[pin_data]
pub(crate) struct Queue<H: Host, W> {
    host: H,
    kind: Timeline,
    /// The number that was last seen, to do nothing quickly.
    seen: Atomic<u64>,
    #[pin]
    writer: Mutex<Writer>,
    #[pin]
    state: SpinLockIrq<State<W>>,
}

/// How many jobs are taken out at a time. They are on the stack between two locks.
const BATCH: usize = 8;

impl<H: Host, W> Queue<H, W> {
    /// A queue without jobs, on a ring that was never used.
    pub(crate) fn new(host: H, kind: Timeline) -> Result<impl PinInit<Self>> {
        let state = State {
            jobs: Jobs::new()?,
            done: Position::default(),
            since: None,
            busy: Delta::ZERO,
            dead: false,
        };
        Ok(pin_init!(Self {
            host,
            kind,
            seen: Atomic::new(0),
            writer <- new_mutex!(Writer {
                timeline: FenceContext::new(),
                end: Position::default(),
            }),
            state <- new_spinlock_irq!(state),
        }))
    }

    /// The hardware.
    pub(crate) fn host(&self) -> &H {
        &self.host
    }

    /// What kind of jobs these are.
    pub(crate) fn kind(&self) -> Timeline {
        self.kind
    }

    /// Begins a job of up to `segments` segments. Sleeps as long as there is no room for it.
    ///
    /// # Errors
    ///
    /// `ENODEV` once the channel has failed, `ERESTARTSYS` if a signal ends the sleep.
    pub(crate) fn begin(&self, segments: u32) -> Result<Submission<'_, H, W>> {
        // The tail is one more.
        let entries = segments.checked_add(1).ok_or(EINVAL)?;
        loop {
            let writer = self.writer.lock();
            let oldest = {
                let state = self.without_waits();
                if state.dead {
                    return Err(ENODEV);
                }
                let room = writer.end.room(state.done) >= entries && state.jobs.len() < JOBS;
                match state.jobs.first() {
                    Some(job) if !room => job.fence.fence().clone(),
                    None if !room => return Err(EINVAL),
                    _ => {
                        drop(state);
                        return Ok(Submission {
                            queue: self,
                            end: writer.end,
                            left: segments,
                            writer,
                        });
                    }
                }
            };
            drop(writer);
            oldest.wait()?;
        }
    }

    /// The state, once what jobs that have ended waited for is let go of.
    fn without_waits(&self) -> SpinLockIrqGuard<'_, State<W>> {
        let mut state = self.state.lock();
        while let Some(waits) = state.jobs.take_waits() {
            drop(state);
            drop(waits);
            state = self.state.lock();
        }
        state
    }

    /// Lets go of what jobs that have ended waited for. In process context only, as it may be much.
    ///
    /// [`Queue::begin`] does the same. It is for the end, if `W` has references to the queue.
    pub(crate) fn drop_waits(&self) {
        drop(self.without_waits());
    }

    /// Says that job `number` waits for nothing any more, and lets the GPU have it.
    ///
    /// For callbacks of fences. Says whether the GPU had nothing to do before.
    pub(crate) fn release(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        state.jobs.set_ready(number);
        !state.dead && state.give(&self.host)
    }

    /// Signals the fences of the jobs that are done. For interrupt handlers.
    pub(crate) fn complete(&self) {
        let number = self.host.completed();
        if number != self.seen.load(Relaxed) {
            self.complete_up_to(number);
        }
    }

    fn complete_up_to(&self, number: u64) {
        loop {
            let batch = {
                let mut state = self.state.lock();
                self.seen.store(number, Relaxed);
                let batch: [Option<Job>; BATCH] = core::array::from_fn(|_| {
                    let job = state.jobs.take_done(number)?;
                    state.done = job.end;
                    Some(job)
                });
                if batch[0].is_some() {
                    state.account();
                }
                batch
            };
            let more = batch[BATCH - 1].is_some();
            for job in batch.into_iter().flatten() {
                job.fence.signal();
            }
            if !more {
                return;
            }
        }
    }

    /// Gives the GPU no more jobs, and takes none. Those that it has may still be done. Says
    /// whether it was so already.
    pub(crate) fn close(&self) -> bool {
        core::mem::replace(&mut self.state.lock().dead, true)
    }

    /// Ends all jobs that are not done: the one the GPU was at with `guilty`, those after it with
    /// `ECANCELED`. No job can be submitted from here on.
    ///
    /// The GPU must have stopped working on the channel, or be lost. May be called in any context,
    /// with no lock held that a callback of a fence takes.
    pub(crate) fn fail(&self, guilty: Error) {
        self.close();
        // What was done before that was done.
        self.complete_up_to(self.host.completed());
        let mut error = guilty;
        loop {
            let batch: [Option<Job>; BATCH] = {
                let mut state = self.state.lock();
                state.since = None;
                core::array::from_fn(|_| state.jobs.take())
            };
            let more = batch[BATCH - 1].is_some();
            for job in batch.into_iter().flatten() {
                job.fence.signal_with(Err(error));
                error = ECANCELED;
            }
            if !more {
                return;
            }
        }
    }

    /// Whether the channel has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// How long the oldest job may still run, if a job may run for `limit` from `turn` on: before
    /// that the engine was another channel's.
    pub(crate) fn deadline(&self, limit: Delta, turn: Option<Instant<Monotonic>>) -> Deadline {
        // An interrupt may have been lost.
        self.complete();
        match self.state.lock().since {
            None => Deadline::Idle,
            Some(since) => {
                let ran = since.elapsed();
                let left = limit - turn.map_or(ran, |turn| ran.min(turn.elapsed()));
                if left > Delta::ZERO {
                    Deadline::In(left)
                } else {
                    Deadline::Over
                }
            }
        }
    }

    /// For how long the GPU has been at work, in all.
    pub(crate) fn busy(&self) -> Delta {
        let state = self.state.lock();
        state
            .since
            .map_or(state.busy, |since| state.busy + since.elapsed())
    }

    /// A fence that signals when all jobs so far are done.
    ///
    /// # Errors
    ///
    /// `ENODEV` once the channel has failed.
    pub(crate) fn idle_fence(&self) -> Result<ARef<Fence>> {
        let state = self.state.lock();
        if state.dead {
            return Err(ENODEV);
        }
        Ok(state.last_fence())
    }

    /// A fence that signals when all jobs so far have ended, be it that the channel has failed.
    pub(crate) fn last_fence(&self) -> ARef<Fence> {
        self.state.lock().last_fence()
    }
}

/// A job that has been put into the order of jobs.
pub(crate) struct Committed {
    /// Signals when it is done.
    pub(crate) fence: ARef<Fence>,
    /// What to [`Queue::release`] it by.
    pub(crate) number: u64,
    /// The GPU has been given it, and had nothing to do before.
    pub(crate) started: bool,
}

/// A job that is being written.
///
/// As long as it exists nobody else submits to the queue. Dropping it leaves everything as it was.
#[must_use = "a job that is not committed never was"]
pub(crate) struct Submission<'a, H: Host, W> {
    queue: &'a Queue<H, W>,
    end: Position,
    left: u32,
    writer: MutexGuard<'a, Writer>,
}

impl<H: Host, W> Submission<'_, H, W> {
    /// Writes the next segment. `ENOSPC` if there was no word of so many.
    pub(crate) fn push(&mut self, entry: Entry) -> Result {
        self.left = self.left.checked_sub(1).ok_or(ENOSPC)?;
        self.queue.host.write_entry(self.end, entry);
        self.end = self.end.after(1);
        Ok(())
    }

    /// Puts the job into its place. Without `waits` the GPU gets it before this returns, unless a
    /// job before it waits for something. With them it is to be [released](Queue::release).
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel has failed meanwhile. The job does not exist then.
    pub(crate) fn commit(mut self, new: NewFence<Timeline>, waits: Option<W>) -> Result<Committed> {
        let Queue { host, state, .. } = self.queue;
        let fence = self.writer.timeline.emit(new);
        let number = fence.seqno();
        host.write_entry(self.end, host.write_tail(number));
        let end = self.end.after(1);
        let job = Job {
            fence,
            end,
            ready: waits.is_none(),
        };
        let fence = job.fence.fence().clone();

        let mut state = state.lock();
        if state.dead {
            drop(state);
            job.fence.signal_with(Err(ENODEV));
            return Err(ENODEV);
        }
        if let Err(back) = state.jobs.add(job, waits) {
            // `begin()` has made sure that there is room, and jobs that end take none away.
            drop(state);
            drop(back);
            return Err(EBUSY);
        }
        let started = state.give(host);
        drop(state);
        self.writer.end = end;
        Ok(Committed {
            fence,
            number,
            started,
        })
    }
}
