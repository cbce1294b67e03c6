// SPDX-License-Identifier: GPL-2.0

//! How an interrupt reaches the task that waits for the firmware.
//!
//! The interrupt handler counts; the waiter compares counts. A count cannot be lost: an interrupt
//! between looking at the message ring and going to sleep changes the count, and the waiter does
//! not sleep. The same lock says whether anybody waits at all, which decides whether the handler
//! has to wake its thread for an event that came unasked.

use kernel::{
    io::poll::read_poll_timeout,
    new_condvar, new_spinlock_irq,
    prelude::*,
    sync::{
        CondVar,
        CondVarTimeoutResult,
        SpinLockIrq, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
};

struct State {
    count: u64,
    waiters: u32,
}

/// Interrupts of the GSP, counted.
#[pin_data]
pub(crate) struct Signal {
    #[pin]
    state: SpinLockIrq<State>,
    #[pin]
    changed: CondVar,
}

/// What was seen of a [`Signal`] before looking at the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(u64);

impl Signal {
    /// A signal that has not been raised.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock_irq!(State { count: 0, waiters: 0 }),
            changed <- new_condvar!(),
        })
    }

    /// Says that the firmware has interrupted; tells whether somebody is waiting for that.
    ///
    /// May be called from interrupt context.
    pub(crate) fn raise(&self) -> bool {
        let waited_for = {
            let mut state = self.state.lock();
            state.count = state.count.wrapping_add(1);
            state.waiters != 0
        };
        self.changed.notify_all();
        waited_for
    }

    /// Declares that the caller takes messages out of the ring until the guard is dropped.
    pub(crate) fn listen(&self) -> Listener<'_> {
        self.state.lock().waiters += 1;
        Listener(self)
    }
}

/// Somebody who takes messages out of the ring.
pub(crate) struct Listener<'a>(&'a Signal);

impl Listener<'_> {
    /// To be taken before looking at the ring.
    fn seen(&self) -> Seen {
        Seen(self.0.state.lock().count)
    }

    /// Has `look` look for what is waited for until it is there, or nothing is found though `limit`
    /// is over since `start`.
    ///
    /// It looks after each interrupt, and when `nap` is over; both get the time waited so far.
    pub(crate) fn patiently<R>(
        &self,
        start: Instant<Monotonic>,
        limit: Delta,
        nap: impl Fn(Delta) -> Delta,
        mut look: impl FnMut(Delta) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        loop {
            let seen = self.seen();
            // The clock comes first: a task that is kept from its processor after a look has waited
            // long enough by the clock, and has not seen what came meanwhile.
            let waited = start.elapsed();
            if let Some(found) = look(waited)? {
                return Ok(Some(found));
            }
            if waited >= limit {
                return Ok(None);
            }
            self.wait(seen, nap(waited).min(limit - waited));
        }
    }

    /// Sleeps until an interrupt after `seen`, at most for `limit`.
    fn wait(&self, seen: Seen, limit: Delta) {
        let signal = self.0;
        let mut state = signal.state.lock();
        let mut left =
            msecs_to_jiffies(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1));
        while state.count == seen.0 {
            match signal.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => return,
                CondVarTimeoutResult::Signal { .. } => {
                    // The kernel crate has no uninterruptible wait with a limit, and a call that
                    // was made cannot be taken back because the caller is being killed.
                    drop(state);
                    let _ = read_poll_timeout(
                        || Ok(signal.state.lock().count),
                        |count| *count != seen.0,
                        Delta::from_millis(1),
                        limit,
                    );
                    return;
                }
            }
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiters -= 1;
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_signal)]
mod tests {
    use super::*;
    use kernel::{
        sync::Arc,
        time::delay::fsleep, //
    };

    /// Longer than a test may take.
    const LONG: Delta = Delta::from_secs(1_000);

    #[test]
    fn somebody_waits_as_long_as_there_are_listeners() -> Result {
        let signal = Arc::pin_init(Signal::new(), GFP_KERNEL)?;
        assert!(!signal.raise());
        let first = signal.listen();
        let second = signal.listen();
        assert!(signal.raise());
        drop(first);
        assert!(signal.raise());
        drop(second);
        assert!(!signal.raise());
        Ok(())
    }

    #[test]
    fn what_comes_before_sleeping_is_not_lost() -> Result {
        let signal = Arc::pin_init(Signal::new(), GFP_KERNEL)?;
        let listener = signal.listen();
        let seen = listener.seen();
        assert!(seen == listener.seen());
        signal.raise();
        assert!(seen != listener.seen());
        // Or else it sleeps.
        let start = Instant::<Monotonic>::now();
        listener.wait(seen, LONG);
        assert!(start.elapsed() < LONG);
        Ok(())
    }

    #[test]
    fn waiting_ends_without_an_interrupt() -> Result {
        let signal = Arc::pin_init(Signal::new(), GFP_KERNEL)?;
        let listener = signal.listen();
        let limit = Delta::from_millis(20);
        // It counts ticks, of which a machine that stood still has many at once.
        let lasted = (0..10).any(|_| {
            let start = Instant::<Monotonic>::now();
            listener.wait(listener.seen(), limit);
            start.elapsed() >= limit
        });
        assert!(lasted);
        Ok(())
    }

    #[test]
    fn the_last_look_comes_after_the_limit() -> Result {
        let signal = Arc::pin_init(Signal::new(), GFP_KERNEL)?;
        let listener = signal.listen();
        let limit = Delta::from_millis(20);
        // Held up after a look at nothing, until the limit is over.
        let held_up = || {
            let mut looks = 0;
            let found = listener.patiently(
                Instant::now(),
                limit,
                |_| LONG,
                |_| {
                    looks += 1;
                    if looks == 1 {
                        fsleep(limit + limit);
                        return Ok(None);
                    }
                    Ok(Some(looks))
                },
            );
            matches!(found, Ok(Some(2)))
        };
        // A machine that stands still before the first look makes that the last.
        assert!((0..10).any(|_| held_up()));
        Ok(())
    }

    #[test]
    fn patience_ends() -> Result {
        let signal = Arc::pin_init(Signal::new(), GFP_KERNEL)?;
        let listener = signal.listen();
        let limit = Delta::from_millis(5);
        let start = Instant::now();
        let found = listener.patiently(start, limit, |_| LONG, |_| Ok(None::<()>))?;
        assert!(found.is_none());
        assert!(start.elapsed() >= limit);
        let failed = listener.patiently(start, LONG, |_| LONG, |_| Err::<Option<()>, _>(EIO));
        assert_eq!(failed.err(), Some(EIO));
        Ok(())
    }
}
