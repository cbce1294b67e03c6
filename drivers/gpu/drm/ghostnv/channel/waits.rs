// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: callbacks of fences that borrow what the channel borrows.

//! What a job waits for before the GPU may have it.
//!
//! A job that depends on fences which have not signaled is put into its channel's order at once,
//! and the callback of the last of them gives it to the GPU: no thread waits. All callbacks are
//! registered before the job is committed. Until then a count of one that belongs to the submitter
//! keeps them from releasing a job that has no place yet.

use kernel::{
    dma_fence::{
        Fence,
        FenceCallback,
        FenceCb, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

/// What a job waits in.
pub(crate) trait Release: Send + Sync {
    /// Job `number` waits for nothing any more. Called where fences are signaled.
    fn release(&self, number: u64);
}

/// How much a job still waits for.
struct Pending<C> {
    channel: Arc<C>,
    /// Fences that have not called yet, and one until the job is committed.
    count: Atomic<u32>,
    /// The job's number, once it is committed.
    number: Atomic<u64>,
}

impl<C: Release> Pending<C> {
    fn one_less(&self) {
        if self.count.fetch_sub(1, Full) == 1 {
            self.channel.release(self.number.load(Relaxed));
        }
    }
}

struct Callback<C>(Arc<Pending<C>>);

impl<C: Release> FenceCallback for Callback<C> {
    fn called(&self, _: Result) {
        // That the other's work failed is no reason not to do this one's: what it computes from is
        // up to user space, which learns of the failure from the other.
        self.0.one_less();
    }
}

/// The fences that a job waits for.
pub(crate) struct Waits<C: Release> {
    /// Dropping them waits for those that are just called.
    _callbacks: KVec<Pin<KBox<FenceCb<Callback<C>>>>>,
}

/// The part of [`Waits`] that stays with the submitter, who opens the gate when the job has its
/// place. As long as it is closed the job does not run.
#[must_use = "a gate that is not opened blocks the channel"]
pub(crate) struct Gate<C: Release>(Arc<Pending<C>>);

impl<C: Release> Gate<C> {
    /// The job has been committed and has this number.
    pub(crate) fn open(self, number: u64) {
        self.0.number.store(number, Relaxed);
        self.0.one_less();
    }
}

impl<C: Release> Waits<C> {
    /// Registers callbacks with all of `fences`. `None` if all of them have signaled.
    ///
    /// `channel` lets go of those of all jobs that were committed to it before what it borrows goes
    /// away.
    pub(crate) fn new(
        channel: &Arc<C>,
        fences: KVec<ARef<Fence>>,
    ) -> Result<Option<(Self, Gate<C>)>> {
        let count = u32::try_from(fences.len())?.checked_add(1).ok_or(EINVAL)?;
        let pending = Arc::new(
            Pending {
                channel: channel.clone(),
                count: Atomic::new(count),
                number: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        let mut callbacks = KVec::with_capacity(fences.len(), GFP_KERNEL)?;
        let mut armed = false;

        for fence in fences {
            // SAFETY: The callback is in `Waits`, which is dropped by the submitter if the job is
            // not committed, and otherwise after the job, by the channel before what it borrows
            // goes away.
            let cb = unsafe { FenceCb::new_scoped(Callback(pending.clone())) };
            let mut cb = KBox::pin_init(cb, GFP_KERNEL)?;
            if cb.as_mut().arm(fence) {
                armed = true;
                callbacks.push(cb, GFP_KERNEL)?;
            } else {
                pending.one_less();
            }
        }
        let waits = Self {
            _callbacks: callbacks,
        };
        Ok(armed.then_some((waits, Gate(pending))))
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_channel_waits)]
mod tests {
    use super::*;
    use crate::channel::fence::Timeline;
    use kernel::dma_fence::{
        DriverFence,
        FenceContext,
        NewFence, //
    };

    struct Channel(Atomic<u64>);

    impl Release for Channel {
        fn release(&self, number: u64) {
            self.0.store(number, Relaxed);
        }
    }

    impl Channel {
        fn new() -> Result<Arc<Self>> {
            Ok(Arc::new(Self(Atomic::new(0)), GFP_KERNEL)?)
        }

        fn released(&self) -> u64 {
            self.0.load(Relaxed)
        }
    }

    type Work = KVec<DriverFence<Timeline>>;
    type Fences = KVec<ARef<Fence>>;

    fn work(count: usize) -> Result<(Work, Fences)> {
        let (mut work, mut fences) = (KVec::new(), KVec::new());
        for _ in 0..count {
            let mut timeline = FenceContext::new();
            let one = timeline.emit(NewFence::new(Timeline::Copy, GFP_KERNEL)?);
            fences.push(one.fence().clone(), GFP_KERNEL)?;
            work.push(one, GFP_KERNEL)?;
        }
        Ok((work, fences))
    }

    #[test]
    fn the_last_fence_releases() -> Result {
        let channel = Channel::new()?;
        let (mut work, fences) = work(3)?;
        let (waits, gate) = Waits::new(&channel, fences)?.ok_or(EINVAL)?;
        work.pop().ok_or(EINVAL)?.signal();
        gate.open(7);
        assert_eq!(channel.released(), 0);
        // Failure is as good as success.
        drop(work.pop());
        assert_eq!(channel.released(), 0);
        work.pop().ok_or(EINVAL)?.signal();
        assert_eq!(channel.released(), 7);
        drop(waits);
        Ok(())
    }

    #[test]
    fn nothing_is_released_before_its_place_is_known() -> Result {
        let channel = Channel::new()?;
        let (work, fences) = work(2)?;
        let (waits, gate) = Waits::new(&channel, fences)?.ok_or(EINVAL)?;
        for one in work {
            one.signal();
        }
        assert_eq!(channel.released(), 0);
        gate.open(9);
        assert_eq!(channel.released(), 9);
        drop(waits);
        Ok(())
    }

    #[test]
    fn what_is_over_is_not_waited_for() -> Result {
        let channel = Channel::new()?;
        let (work, fences) = work(2)?;
        for one in work {
            one.signal();
        }
        assert!(Waits::new(&channel, fences)?.is_none());
        assert!(Waits::new(&channel, KVec::new())?.is_none());
        Ok(())
    }

    #[test]
    fn giving_up_takes_callbacks_back() -> Result {
        let channel = Channel::new()?;
        let (work, fences) = work(2)?;
        let (waits, gate) = Waits::new(&channel, fences)?.ok_or(EINVAL)?;
        drop(waits);
        for one in work {
            one.signal();
        }
        gate.open(3);
        assert_eq!(channel.released(), 0);
        Ok(())
    }
}
