// SPDX-License-Identifier: GPL-2.0

//! Tests of the queue against a GPU that does a job when the test says so.

use kernel::prelude::*;

#[kunit_tests(ghostnv_channel_queue)]
mod cases {
    use super::super::*;
    use crate::channel::ring::ENTRIES;
    use kernel::{
        sync::Arc,
        time::delay::fsleep, //
    };

    /// A GPU that does a job when the test says so.
    struct Fake {
        tail: Entry,
        completed: Atomic<u64>,
        submits: Atomic<u32>,
        put: Atomic<u32>,
        entries: Atomic<u32>,
        waits_dropped: Atomic<u32>,
    }

    impl Host for Arc<Fake> {
        fn write_entry(&self, _at: Position, _entry: Entry) {
            self.entries.fetch_add(1, Relaxed);
        }
        fn write_tail(&self, _number: u64) -> Entry {
            self.tail
        }
        fn submit(&self, end: Position) {
            self.submits.fetch_add(1, Relaxed);
            self.put.store(end.index(), Relaxed);
        }
        fn completed(&self) -> u64 {
            self.completed.load(Relaxed)
        }
    }

    impl Fake {
        fn new() -> Result<Self> {
            Ok(Self {
                tail: entry()?,
                completed: Atomic::new(0),
                submits: Atomic::new(0),
                put: Atomic::new(0),
                entries: Atomic::new(0),
                waits_dropped: Atomic::new(0),
            })
        }

        fn counts(&self) -> (u32, u32) {
            (self.submits.load(Relaxed), self.put.load(Relaxed))
        }
    }

    /// What a job waits for.
    struct Waits(Arc<Fake>);

    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.waits_dropped.fetch_add(1, Relaxed);
        }
    }

    type Fakes = Queue<Arc<Fake>, Waits>;

    fn entry() -> Result<Entry> {
        Entry::segment(0x1000, 32, false)
    }

    fn queue() -> Result<(Arc<Fake>, Pin<KBox<Fakes>>)> {
        let fake = Arc::new(Fake::new()?, GFP_KERNEL)?;
        let queue = KBox::pin_init(Queue::new(fake.clone(), Timeline::Copy)?, GFP_KERNEL)?;
        Ok((fake, queue))
    }

    fn submit(queue: &Fakes, segments: u32, ready: bool) -> Result<Committed> {
        let new = NewFence::new(Timeline::Copy, GFP_KERNEL)?;
        let mut submission = queue.begin(segments)?;
        for _ in 0..segments {
            submission.push(entry()?)?;
        }
        let waits = (!ready).then(|| Waits(queue.host().clone()));
        submission.commit(new, waits)
    }

    #[test]
    fn a_job_goes_through() -> Result {
        let (gpu, queue) = queue()?;
        let job = submit(&queue, 2, true)?;
        assert_eq!((job.number, job.started), (1, true));
        assert_eq!(gpu.counts(), (1, 3));
        assert!(!job.fence.is_signaled());
        queue.complete();
        assert!(!job.fence.is_signaled());

        gpu.completed.store(1, Relaxed);
        queue.complete();
        assert_eq!(job.fence.status(), Some(Ok(())));
        assert!(queue.idle_fence()?.is_signaled());
        assert_eq!(queue.deadline(Delta::from_secs(1), None), Deadline::Idle);
        Ok(())
    }

    #[test]
    fn a_job_that_waits_holds_up_those_behind() -> Result {
        let (gpu, queue) = queue()?;
        let first = submit(&queue, 1, false)?;
        let second = submit(&queue, 1, true)?;
        assert!(!first.started && !second.started);
        assert_eq!(gpu.counts(), (0, 0));
        assert_eq!(queue.deadline(Delta::from_secs(1), None), Deadline::Idle);

        // One doorbell for both.
        assert!(queue.release(first.number));
        assert_eq!(gpu.counts(), (1, 4));
        assert!(!submit(&queue, 0, true)?.started);
        gpu.completed.store(2, Relaxed);
        queue.complete();
        assert!(first.fence.is_signaled() && second.fence.is_signaled());
        assert!(!queue.idle_fence()?.is_signaled());
        assert!(matches!(
            queue.deadline(Delta::from_secs(9), None),
            Deadline::In(_)
        ));
        assert_eq!(queue.deadline(Delta::ZERO, None), Deadline::Over);
        Ok(())
    }

    #[test]
    fn time_counts_from_when_the_engine_was_free() -> Result {
        const LIMIT: Delta = Delta::from_millis(10);
        let (_gpu, queue) = queue()?;
        let before = Instant::now();
        submit(&queue, 1, true)?;
        fsleep(LIMIT);
        for (turn, over) in [
            (None, true),
            (Some(before), true),
            (Some(Instant::now() + Delta::from_secs(9)), false),
        ] {
            let late = queue.deadline(LIMIT, turn) == Deadline::Over;
            assert_eq!(late, over);
        }
        Ok(())
    }

    #[test]
    fn what_is_not_committed_never_was() -> Result {
        let (gpu, queue) = queue()?;
        let mut submission = queue.begin(1)?;
        submission.push(entry()?)?;
        assert!(submission.push(entry()?).is_err());
        drop(submission);
        assert_eq!(gpu.counts(), (0, 0));
        assert_eq!(submit(&queue, 1, true)?.number, 1);
        assert_eq!(gpu.counts(), (1, 2));
        Ok(())
    }

    #[test]
    fn failure_ends_everything_that_is_not_done() -> Result {
        let (gpu, queue) = queue()?;
        let mut fences = KVec::new();
        for _ in 0..BATCH + 4 {
            fences.push(submit(&queue, 1, true)?.fence, GFP_KERNEL)?;
        }
        gpu.completed.store(2, Relaxed);
        queue.fail(EIO);
        for (index, fence) in fences.iter().enumerate() {
            let want = match index {
                0 | 1 => Ok(()),
                2 => Err(EIO),
                _ => Err(ECANCELED),
            };
            assert_eq!(fence.status(), Some(want));
        }
        assert!(queue.is_dead());
        assert!(queue.begin(1).is_err());
        assert!(queue.idle_fence().is_err());
        // Again is harmless.
        queue.fail(EIO);
        Ok(())
    }

    #[test]
    fn what_was_waited_for_is_let_go_of_by_the_next() -> Result {
        let (gpu, queue) = queue()?;
        let dropped = || gpu.waits_dropped.load(Relaxed);
        for ready in [false, true, false] {
            let number = submit(&queue, 1, ready)?.number;
            queue.release(number);
        }
        assert_eq!(dropped(), 0);
        gpu.completed.store(3, Relaxed);
        queue.complete();
        assert!(queue.last_fence().is_signaled());
        assert_eq!(dropped(), 0);
        drop(queue.begin(1)?);
        assert_eq!(dropped(), 2);

        // No room to begin another.
        for _ in 0..JOBS {
            submit(&queue, 0, false)?;
        }
        queue.fail(EIO);
        assert!(queue.begin(1).is_err());
        queue.drop_waits();
        assert_eq!(dropped(), 2 + JOBS as u32);
        Ok(())
    }

    #[test]
    fn nobody_rings_for_a_closed_queue() -> Result {
        let (gpu, queue) = queue()?;
        assert!(queue.last_fence().is_signaled());
        let given = submit(&queue, 1, true)?;
        let waiting = submit(&queue, 1, false)?;
        let counts = gpu.counts();

        queue.close();
        assert!(!queue.release(waiting.number));
        assert!(queue.begin(1).is_err());
        assert_eq!(gpu.counts(), counts);
        // What the GPU has may still be done, and is waited for.
        assert!(queue.idle_fence().is_err());
        assert!(!queue.last_fence().is_signaled());
        gpu.completed.store(1, Relaxed);
        queue.complete();
        assert_eq!(given.fence.status(), Some(Ok(())));
        assert!(!waiting.fence.is_signaled());
        queue.fail(EIO);
        assert_eq!(waiting.fence.status(), Some(Err(EIO)));
        assert!(queue.last_fence().is_signaled());
        Ok(())
    }

    #[test]
    fn the_ring_wraps() -> Result {
        let (gpu, queue) = queue()?;
        assert!(queue.begin(u32::MAX).is_err());
        assert!(queue.begin(ENTRIES as u32).is_err());
        let mut put = 0;
        for number in 1..=40 {
            let job = submit(&queue, 100, true)?;
            put = (put + 101) % ENTRIES as u32;
            assert_eq!(gpu.counts(), (number, put));
            gpu.completed.store(job.number, Relaxed);
            queue.complete();
            assert!(job.fence.is_signaled());
        }
        Ok(())
    }
}
