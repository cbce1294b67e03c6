// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: work that borrows what the address space borrows.

//! Binds that wait for fences.
//!
//! Page tables are changed through a window that is held by a mutex, and the hardware is waited
//! for, so a bind cannot be run by the callback of a fence. The callback of the last fence that a
//! bind waits for has a worker do it. Binds are ordered by their fences alone. One whose fences
//! have all signaled is run by the ioctl, without a worker.

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
    time::Jiffies,
    workqueue::Queue, //
};

use crate::channel::waits::{
    Release,
    Waits, //
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

/// A bind that is to be run.
struct Job<'a> {
    bind: Bind,
    fence: DriverFence<Timeline>,
    fences: KVec<ARef<Fence>>,
    waits: Option<Waits<ScopedWork<Worker<'a>>>>,
    next: Option<KBox<Job<'a>>>,
}

impl Job<'_> {
    fn is_ready(&self) -> bool {
        self.fences.iter().all(|fence| fence.is_signaled())
    }

    /// Runs it.
    fn run(mut self: KBox<Self>, maps: &Maps<'_>) {
        let signalling = Signalling::begin();
        let (changes, result) = maps.run_later(&mut self.bind);
        let Self { bind, fence, .. } = KBox::into_inner(self);
        fence.signal_with(result);
        drop(signalling);
        maps.release(changes, result);
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

/// What runs jobs that are ready.
#[pin_data]
pub(super) struct Worker<'a> {
    maps: Arc<Maps<'a>>,
    queue: Arc<OwnedQueue>,
    /// Held while jobs are run and let go.
    #[pin]
    running: Mutex<()>,
    #[pin]
    jobs: Mutex<Jobs<'a>>,
}

impl ScopedWorkItem for Worker<'_> {
    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn run(&self) -> Option<Jiffies> {
        let _running = self.running.lock();

        loop {
            let job = self.jobs.lock().take(Job::is_ready);
            match job {
                Some(mut job) => {
                    // All of them have called.
                    drop(job.waits.take());
                    job.run(&self.maps);
                }
                None => return None,
            }
        }
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
        let worker = pin_init!(Worker {
            maps: maps.clone(),
            queue,
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
    /// that it is done.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the bind is given up then.
    pub(super) fn submit(&self, bind: Bind, waits: KVec<ARef<Fence>>) -> Result<ARef<Fence>> {
        let maps = &*self.0.maps;
        let (mut job, waits) = match self.job(bind, waits) {
            Ok(job) => job,
            Err((bind, e)) => {
                maps.abandon(bind);
                return Err(e);
            }
        };
        let fence = job.fence.fence().clone();

        match Waits::new(&self.0, waits) {
            Ok(None) => job.run(maps),
            Ok(Some((waits, gate))) => {
                job.waits = Some(waits);
                self.0.jobs.lock().push(job);
                // From here on the worker may run it.
                gate.open(0);
            }
            Err(e) => {
                maps.abandon(KBox::into_inner(job).bind);
                return Err(e);
            }
        }
        Ok(fence)
    }

    /// Makes a job, and what it waits for once more.
    #[allow(clippy::type_complexity)]
    fn job(
        &self,
        bind: Bind,
        waits: KVec<ARef<Fence>>,
    ) -> Result<(KBox<Job<'a>>, KVec<ARef<Fence>>), (Bind, Error)> {
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
                let job = Job {
                    bind,
                    // Each is a timeline of its own, since they need not end in order.
                    fence: FenceContext::new().emit(fence),
                    fences,
                    waits: None,
                    next: None,
                };
                Ok((KBox::write(place, job), waits))
            }
            Err(e) => Err((bind, e)),
        }
    }
}

impl Drop for Later<'_> {
    fn drop(&mut self) {
        // Whatever the worker just runs and drops is finished.
        let _running = self.0.running.lock();

        loop {
            let job = self.0.jobs.lock().take(|_| true);
            let Some(job) = job else { break };
            // Its fence says that it was cancelled.
            self.0.maps.abandon(KBox::into_inner(job).bind);
        }
    }
}
