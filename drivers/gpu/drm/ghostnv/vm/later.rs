// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: work that borrows what the address space borrows.

//! Binds that wait for fences.
//!
//! Page tables are changed through a window that is held by a mutex, and the hardware is waited
//! for, so a bind cannot be run by the callback of a fence. The callback of the last fence that a
//! bind waits for has a worker do it. Binds are ordered by their fences alone. One whose fences
//! have all signaled is run by the ioctl, without a worker.
//!
//! To free what a bind leaves behind takes locks below which others allocate, and whoever waits for
//! the next bind may do so to get memory. So the worker leaves that to another, the [`Sweeper`].

use kernel::{
    dma_fence::{
        DriverFence,
        Fence,
        FenceContext,
        FenceOps,
        NewFence,
        Signalling, //
    },
    new_mutex,
    prelude::*,
    scoped_work::{
        new_scoped_work,
        OwnedQueue,
        ScopedWork,
        ScopedWorkItem, //
    },
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    time::Jiffies, //
};

use crate::{
    channel::waits::{
        Release,
        Waits, //
    },
    mem::tables::Table,
    mmu::Changes, //
};

use super::{
    bind::Bind,
    Maps, //
};

/// What the fences of binds say about themselves.
struct Timeline;

impl FenceOps for Timeline {
    fn driver_name(&self) -> &CStr {
        c"ghostnv"
    }

    fn timeline_name(&self) -> &CStr {
        c"bind"
    }
}

type Fences = KVec<ARef<Fence>>;

/// A job, the fence that it signals, and what it waits for.
type Prepared<'a> = (KBox<Job<'a>>, ARef<Fence>, Fences);

/// A bind that is to be run, or was.
struct Job<'a> {
    bind: Bind,
    /// Until it is run.
    fence: Option<DriverFence<Timeline>>,
    /// What it did, and whether that arrived.
    changes: Changes<Table>,
    arrived: Result,
    fences: Fences,
    waits: Option<Waits<ScopedWork<Worker<'a>>>>,
    next: Option<KBox<Job<'a>>>,
}

impl Job<'_> {
    fn is_ready(&self) -> bool {
        self.fences.iter().all(|fence| fence.is_signaled())
    }

    /// Runs it: all that somebody may wait for.
    fn run(&mut self, maps: &Maps<'_>) {
        let signalling = Signalling::begin();
        let (changes, ran) = maps.run_later(&mut self.bind);
        self.changes = changes;
        self.arrived = ran.arrived;
        if let Some(fence) = self.fence.take() {
            fence.signal_with(ran.result());
        }
        drop(signalling);
    }

    /// Ends it without running it, if it was not run.
    fn cancel(&mut self) {
        drop(self.fence.take());
    }

    /// Frees what it leaves behind.
    fn finish(mut self: KBox<Self>, maps: &Maps<'_>) {
        self.cancel();
        let Self {
            bind,
            changes,
            arrived,
            ..
        } = KBox::into_inner(self);
        maps.release(changes, arrived);
        maps.abandon(bind);
    }
}

/// Jobs, the oldest first.
struct Jobs<'a>(Option<KBox<Job<'a>>>);

impl<'a> Jobs<'a> {
    fn push(&mut self, job: KBox<Job<'a>>) {
        let mut end = &mut self.0;
        while let Some(job) = end {
            end = &mut job.next;
        }
        *end = Some(job);
    }

    /// Adds one for which the order does not matter.
    fn push_front(&mut self, mut job: KBox<Job<'a>>) {
        job.next = self.0.take();
        self.0 = Some(job);
    }

    /// Takes out the first one that `wanted` is true of.
    fn take(&mut self, wanted: impl Fn(&Job<'a>) -> bool) -> Option<KBox<Job<'a>>> {
        let mut at = &mut self.0;
        while at.as_ref().is_some_and(|job| !wanted(job)) {
            at = &mut at.as_mut()?.next;
        }
        let mut job = at.take()?;
        *at = job.next.take();
        Some(job)
    }
}

/// What frees what jobs leave behind. Nobody waits for it.
#[pin_data]
struct Sweeper<'a> {
    maps: Arc<Maps<'a>>,
    #[pin]
    done: Mutex<Jobs<'a>>,
}

impl<'a> Sweeper<'a> {
    fn add(&self, job: KBox<Job<'a>>) {
        self.done.lock().push_front(job);
    }

    fn sweep(&self) {
        loop {
            let job = self.done.lock().take(|_| true);
            let Some(job) = job else { return };
            job.finish(&self.maps);
        }
    }
}

impl ScopedWorkItem for Sweeper<'_> {
    fn run(&self) -> Option<Jiffies> {
        self.sweep();
        None
    }
}

/// What runs jobs that are ready.
#[pin_data]
pub(super) struct Worker<'a> {
    maps: Arc<Maps<'a>>,
    queue: Arc<OwnedQueue>,
    sweeper: Arc<ScopedWork<Sweeper<'a>>>,
    /// Held while jobs are run and let go.
    #[pin]
    running: Mutex<()>,
    #[pin]
    jobs: Mutex<Jobs<'a>>,
}

impl<'a> Worker<'a> {
    /// Takes out the first job that is ready.
    fn next(&self) -> Option<KBox<Job<'a>>> {
        self.jobs.lock().take(Job::is_ready)
    }
}

impl ScopedWorkItem for Worker<'_> {
    fn queue(&self) -> Option<&OwnedQueue> {
        Some(&self.queue)
    }

    fn run(&self) -> Option<Jiffies> {
        let _signalling = Signalling::begin();
        let _running = self.running.lock();

        while let Some(mut job) = self.next() {
            // All of them have called.
            drop(job.waits.take());
            job.run(&self.maps);
            self.sweeper.add(job);
            self.sweeper.schedule(0);
        }
        None
    }
}

impl Release for ScopedWork<Worker<'_>> {
    fn release(&self, _: u64) {
        self.schedule(0);
    }
}

/// The binds of an address space that wait. Dropping it cancels them.
pub(super) struct Later<'a>(Arc<ScopedWork<Worker<'a>>>);

impl<'a> Later<'a> {
    pub(super) fn new(maps: &Arc<Maps<'a>>, queue: Arc<OwnedQueue>) -> Result<Self> {
        let sweeper = pin_init!(Sweeper {
            maps: maps.clone(),
            done <- new_mutex!(Jobs(None), "Sweeper::done"),
        });
        // SAFETY: The worker has it, which is dropped as said below, and nobody else.
        let sweeper = unsafe { new_scoped_work!(sweeper, "ghostnv-sweep") };
        let sweeper = Arc::pin_init(sweeper, GFP_KERNEL)?;
        let worker = pin_init!(Worker {
            maps: maps.clone(),
            queue,
            sweeper,
            running <- new_mutex!((), "Worker::running"),
            jobs <- new_mutex!(Jobs(None), "Worker::jobs"),
        });
        // SAFETY: It is dropped with `Self`, for the jobs that have references as well are dropped
        // before that. That is where an address space is dropped, which may sleep; and the worker
        // itself holds no reference when it has dropped the job it runs.
        let work = unsafe { new_scoped_work!(worker, "ghostnv-bind") };

        Ok(Self(Arc::pin_init(work, GFP_KERNEL)?))
    }

    /// Runs a bind once all of `waits` have signaled, at once if they have. Says which fence says
    /// that it is done. Calls `certain` before that, when nothing can fail any more.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the bind is given up then, and `certain` not called.
    pub(super) fn submit(
        &self,
        bind: Bind,
        waits: Fences,
        certain: impl FnOnce(),
    ) -> Result<ARef<Fence>> {
        let maps = &*self.0.maps;
        let (mut job, fence, waits) = match self.job(bind, waits) {
            Ok(job) => job,
            Err((bind, e)) => {
                maps.abandon(bind);
                return Err(e);
            }
        };

        match Waits::new(&self.0, waits) {
            Ok(None) => {
                certain();
                job.run(maps);
                job.finish(maps);
            }
            Ok(Some((waits, gate))) => {
                certain();
                job.waits = Some(waits);
                self.0.jobs.lock().push(job);
                // From here on the worker may run it.
                gate.open(0);
            }
            Err(e) => {
                job.finish(maps);
                return Err(e);
            }
        }
        Ok(fence)
    }

    /// Makes a job, the fence that it signals, and what it waits for once more.
    fn job(&self, bind: Bind, waits: Fences) -> Result<Prepared<'a>, (Bind, Error)> {
        let prepared = || -> Result<_> {
            let mut fences = KVec::with_capacity(waits.len(), GFP_KERNEL)?;
            for fence in waits.iter() {
                fences.push(fence.clone(), GFP_KERNEL)?;
            }
            let place = KBox::<Job<'a>>::new_uninit(GFP_KERNEL)?;
            Ok((fences, place, NewFence::new(Timeline, GFP_KERNEL)?))
        };
        match prepared() {
            Ok((fences, place, fence)) => {
                // Each is a timeline of its own, since they need not end in order.
                let fence = FenceContext::new().emit(fence);
                let signals = fence.fence().clone();
                let job = Job {
                    bind,
                    fence: Some(fence),
                    changes: Changes::new(),
                    arrived: Ok(()),
                    fences,
                    waits: None,
                    next: None,
                };
                Ok((KBox::write(place, job), signals, waits))
            }
            Err(e) => Err((bind, e)),
        }
    }
}

impl Drop for Later<'_> {
    fn drop(&mut self) {
        let Worker {
            running,
            jobs,
            sweeper,
            ..
        } = &**self.0;
        // Whatever the worker just runs and drops is finished.
        let running = running.lock();

        loop {
            let job = jobs.lock().take(|_| true);
            let Some(mut job) = job else { break };
            drop(job.waits.take());
            job.cancel();
            sweeper.add(job);
        }
        drop(running);
        sweeper.disable();
        sweeper.sweep();
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_vm_later)]
mod tests {
    use super::*;

    fn fence() -> Result<DriverFence<Timeline>> {
        Ok(FenceContext::new().emit(NewFence::new(Timeline, GFP_KERNEL)?))
    }

    /// A job that waits for `fences`; by `name` it is told apart.
    fn job<'a>(name: Error, fences: &[&DriverFence<Timeline>]) -> Result<KBox<Job<'a>>> {
        let mut waits = KVec::new();
        for fence in fences {
            waits.push(fence.fence().clone(), GFP_KERNEL)?;
        }
        let job = Job {
            bind: Bind::empty(),
            fence: None,
            changes: Changes::new(),
            arrived: Err(name),
            fences: waits,
            waits: None,
            next: None,
        };
        Ok(KBox::new(job, GFP_KERNEL)?)
    }

    fn name(job: Option<KBox<Job<'_>>>) -> Option<Error> {
        job.and_then(|job| job.arrived.err())
    }

    #[test]
    fn the_oldest_that_is_ready_is_next() -> Result {
        let (first, second) = (fence()?, fence()?);
        let mut jobs = Jobs(None);
        assert!(jobs.take(|_| true).is_none());
        jobs.push(job(EINVAL, &[&first, &second])?);
        jobs.push(job(ENOENT, &[&second])?);
        jobs.push(job(ENOMEM, &[])?);
        jobs.push(job(EIO, &[])?);

        assert_eq!(name(jobs.take(Job::is_ready)), Some(ENOMEM));
        assert_eq!(name(jobs.take(Job::is_ready)), Some(EIO));
        assert_eq!(name(jobs.take(Job::is_ready)), None);
        second.signal();
        assert_eq!(name(jobs.take(Job::is_ready)), Some(ENOENT));
        assert_eq!(name(jobs.take(Job::is_ready)), None);
        jobs.push(job(EBUSY, &[])?);
        // Failure is as good as success.
        drop(first);
        assert_eq!(name(jobs.take(Job::is_ready)), Some(EINVAL));
        assert_eq!(name(jobs.take(Job::is_ready)), Some(EBUSY));
        assert!(jobs.0.is_none());
        Ok(())
    }

    #[test]
    fn the_order_of_what_is_done_does_not_matter() -> Result {
        let mut jobs = Jobs(None);
        jobs.push(job(EINVAL, &[])?);
        jobs.push_front(job(EIO, &[])?);
        jobs.push_front(job(ENOMEM, &[])?);
        for expected in [Some(ENOMEM), Some(EIO), Some(EINVAL), None] {
            assert_eq!(name(jobs.take(|_| true)), expected);
        }
        Ok(())
    }

    #[test]
    fn a_job_that_is_not_run_says_so() -> Result {
        let mut job = job(EINVAL, &[])?;
        job.fence = Some(fence()?);
        let fence = job
            .fence
            .as_ref()
            .map(|f| f.fence().clone())
            .ok_or(EINVAL)?;
        assert!(!fence.is_signaled());
        job.cancel();
        assert_eq!(fence.status(), Some(Err(ECANCELED)));
        Ok(())
    }
}
