// SPDX-License-Identifier: GPL-2.0

//! Jobs that have been submitted and are not done.
//!
//! A job passes through these states, and a value of each kind exists only in its own:
//!
//! 1. *Being written*: a [`Submission`](super::queue::Submission). It ends by committing it, or by
//!    dropping it, and then it never was.
//! 2. *Waiting for others*: a [`Job`] that is not `ready`, until the callback of the last fence
//!    that it depends on.
//! 3. *Given to the GPU*: a [`Job`] among the first [`Jobs::given`], until the GPU writes its
//!    number, or the channel fails.
//! 4. *Done*: nothing but a signaled fence is left, and in its place what the job waited for. That
//!    may be much, and jobs are done in interrupts, so the next submitter lets go of it
//!    ([`Jobs::take_waits`]).
//!
//! Jobs of a channel run in the order of their submission, so one queue holds all of them: first
//! those that the GPU has, then those that it does not have yet.

use kernel::{
    dma_fence::DriverFence,
    prelude::*, //
};

use super::{
    fence::Timeline,
    ring::Position, //
};

/// Jobs of a channel that can be under way at a time; a power of two.
pub(crate) const JOBS: usize = 256;

/// A job that is not done.
pub(crate) struct Job {
    /// Signals when it is done; its number on the timeline is the job's.
    pub(crate) fence: DriverFence<Timeline>,
    /// The entry after its last one.
    pub(crate) end: Position,
    /// It waits for nothing, except for the jobs before it.
    pub(crate) ready: bool,
}

/// Where a job is, and what keeps the callbacks of its dependencies registered, which stays when
/// the job is taken out.
struct Place<W> {
    job: Option<Job>,
    waits: Option<W>,
}

/// The jobs of a channel, in the order of submission.
///
/// The memory for all of them is allocated with the channel, so that submitting allocates nothing.
pub(crate) struct Jobs<W> {
    places: KVec<Place<W>>,
    first: usize,
    len: usize,
    given: usize,
    /// Places before the first job from the oldest on that still has what its job waited for.
    kept: usize,
}

impl<W> Jobs<W> {
    /// Makes room for [`JOBS`] jobs.
    pub(crate) fn new() -> Result<Self> {
        let mut places = KVec::with_capacity(JOBS, GFP_KERNEL)?;
        for _ in 0..JOBS {
            let place = Place {
                job: None,
                waits: None,
            };
            places.push(place, GFP_KERNEL)?;
        }
        Ok(Self {
            places,
            first: 0,
            len: 0,
            given: 0,
            kept: 0,
        })
    }

    /// Jobs that are not done.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Jobs that the GPU has.
    pub(crate) fn given(&self) -> usize {
        self.given
    }

    fn place(&self, index: usize) -> usize {
        self.first.wrapping_add(index) % JOBS
    }

    fn get(&self, index: usize) -> Option<&Job> {
        if index >= self.len {
            return None;
        }
        self.places.get(self.place(index))?.job.as_ref()
    }

    /// The oldest job.
    pub(crate) fn first(&self) -> Option<&Job> {
        self.get(0)
    }

    /// The youngest job.
    pub(crate) fn last(&self) -> Option<&Job> {
        self.get(self.len.checked_sub(1)?)
    }

    /// Adds a job and what it waits for; gives both back if there is no room. A place that still
    /// has what another job waited for is none.
    pub(crate) fn add(&mut self, job: Job, waits: Option<W>) -> Result<(), (Job, Option<W>)> {
        let place = self.place(self.len);
        match self.places.get_mut(place) {
            Some(free) if self.len + self.kept < JOBS => {
                free.job = Some(job);
                free.waits = waits;
                self.len += 1;
                Ok(())
            }
            _ => Err((job, waits)),
        }
    }

    /// Says that the job `number` waits for nothing any more.
    pub(crate) fn set_ready(&mut self, number: u64) {
        let Some(first) = self.first().map(|job| job.fence.seqno()) else {
            return;
        };
        let Ok(index) = usize::try_from(number.wrapping_sub(first)) else {
            return;
        };
        if index < self.len {
            let place = self.place(index);
            if let Some(job) = self.places.get_mut(place).and_then(|p| p.job.as_mut()) {
                job.ready = true;
            }
        }
    }

    /// Gives the GPU all jobs up to the first that still waits; says how far their entries go, if
    /// there was any.
    pub(crate) fn give(&mut self) -> Option<Position> {
        let mut end = None;
        while let Some(job) = self.get(self.given).filter(|job| job.ready) {
            end = Some(job.end);
            self.given += 1;
        }
        end
    }

    /// Takes out the oldest job if the GPU has it and has come to `number`.
    pub(crate) fn take_done(&mut self, number: u64) -> Option<Job> {
        (self.given > 0 && self.first()?.fence.seqno() <= number)
            .then(|| self.take())
            .flatten()
    }

    /// Takes out the oldest job. What it waited for is left.
    pub(crate) fn take(&mut self) -> Option<Job> {
        if self.len == 0 {
            return None;
        }
        let place = self.places.get_mut(self.first)?;
        let job = place.job.take();
        if self.kept > 0 || place.waits.is_some() {
            self.kept += 1;
        }
        self.first = self.place(1);
        self.len -= 1;
        self.given = self.given.saturating_sub(1);
        job
    }

    /// Takes out what one of the jobs that were taken out had waited for, if anything is left.
    pub(crate) fn take_waits(&mut self) -> Option<W> {
        while self.kept > 0 {
            let place = self.place(self.kept.wrapping_neg());
            self.kept -= 1;
            let waits = self.places.get_mut(place)?.waits.take();
            if waits.is_some() {
                return waits;
            }
        }
        None
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_channel_job)]
mod tests {
    use super::*;
    use kernel::dma_fence::{
        FenceContext,
        NewFence, //
    };

    fn job(timeline: &mut FenceContext<Timeline>, ready: bool) -> Result<Job> {
        let fence = timeline.emit(NewFence::new(Timeline::Copy, GFP_KERNEL)?);
        let end = Position::default().after(u32::try_from(fence.seqno())?);
        Ok(Job { fence, end, ready })
    }

    #[test]
    fn order_is_kept() -> Result {
        let mut timeline = FenceContext::new();
        let mut jobs = Jobs::<()>::new()?;
        for ready in [true, true, false, true, false] {
            assert!(jobs.add(job(&mut timeline, ready)?, None).is_ok());
        }
        let position = |n| Some(Position::default().after(n));

        // A job that waits holds up all behind it.
        assert_eq!(jobs.give(), position(2));
        assert_eq!(jobs.give(), None);
        jobs.set_ready(5);
        assert_eq!(jobs.give(), None);
        // Numbers that there are not change nothing.
        jobs.set_ready(0);
        jobs.set_ready(6);
        jobs.set_ready(u64::MAX);
        assert_eq!(jobs.give(), None);
        jobs.set_ready(3);
        assert_eq!(jobs.give(), position(5));
        assert_eq!(jobs.given(), 5);

        assert!(jobs.take_done(0).is_none());
        for number in 1..=3 {
            assert_eq!(jobs.take_done(3).map(|job| job.fence.seqno()), Some(number));
        }
        assert!(jobs.take_done(3).is_none());
        assert_eq!((jobs.len(), jobs.given()), (2, 2));
        // A number from the future is cut down to what there is.
        assert_eq!(
            jobs.take_done(u64::MAX).map(|job| job.fence.seqno()),
            Some(4)
        );
        assert_eq!(jobs.take().map(|job| job.fence.seqno()), Some(5));
        assert!(jobs.take().is_none());
        Ok(())
    }

    #[test]
    fn what_jobs_waited_for_is_left_in_their_places() -> Result {
        let mut timeline = FenceContext::new();
        let mut jobs = Jobs::new()?;
        // So that places wrap around.
        for _ in 0..JOBS {
            for waits in [None, Some(1), None, Some(2), None] {
                assert!(jobs.add(job(&mut timeline, true)?, waits).is_ok());
            }
            assert_eq!(jobs.take_waits(), None);
            for _ in 0..5 {
                assert!(jobs.take().is_some());
            }
            for waits in [Some(1), Some(2), None] {
                assert_eq!(jobs.take_waits(), waits);
            }
        }
        // A place where something is left is no room.
        for round in 0..JOBS {
            assert!(jobs.add(job(&mut timeline, true)?, Some(round)).is_ok());
        }
        while jobs.take().is_some() {}
        for round in 0..JOBS {
            assert!(jobs.add(job(&mut timeline, true)?, None).is_err());
            assert_eq!(jobs.take_waits(), Some(round));
            assert!(jobs.add(job(&mut timeline, true)?, None).is_ok());
            assert!(jobs.take().is_some());
        }
        Ok(())
    }

    #[test]
    fn what_the_gpu_does_not_have_is_not_done() -> Result {
        let mut timeline = FenceContext::new();
        let mut jobs = Jobs::<()>::new()?;
        assert!(jobs.add(job(&mut timeline, false)?, None).is_ok());
        assert!(jobs.take_done(u64::MAX).is_none());
        assert!(jobs.take().is_some());
        Ok(())
    }

    #[test]
    fn there_is_an_end_to_room() -> Result {
        let mut timeline = FenceContext::new();
        let mut jobs = Jobs::<()>::new()?;
        // So that places wrap around.
        for _ in 0..JOBS / 2 {
            assert!(jobs.add(job(&mut timeline, true)?, None).is_ok());
            assert!(jobs.give().is_some());
            assert!(jobs.take().is_some());
        }
        for _ in 0..JOBS {
            assert!(jobs.add(job(&mut timeline, true)?, None).is_ok());
        }
        assert!(jobs.add(job(&mut timeline, true)?, None).is_err());
        assert!(jobs.give().is_some());
        assert_eq!(jobs.given(), JOBS);
        assert_eq!(jobs.first().map(|job| job.fence.seqno()), Some(129));
        assert_eq!(jobs.last().map(|job| job.fence.seqno()), Some(384));
        Ok(())
    }
}
