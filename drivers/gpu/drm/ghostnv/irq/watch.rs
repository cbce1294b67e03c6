// SPDX-License-Identifier: GPL-2.0

//! Who is told when a channel's work completes, and when the channel has failed.
//!
//! Interrupts of engines do not say which channel they are for, and looking at a channel costs one
//! read of system memory. So one list has all channels with somebody interested in them, and an
//! interrupt goes through it. A channel's failure comes from the firmware with the channel's
//! number, by which it is found in the same list.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
};

/// Why a channel was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The firmware's number for the error, known to users as Xid.
    pub(crate) xid: u32,
    /// For a fault of the MMU: the address that could not be accessed.
    pub(crate) address: u64,
    /// For a fault of the MMU: how it could not.
    pub(crate) fault: u32,
}

/// Somebody interested in a channel.
///
/// All methods are called with interrupts off and a spinlock held, [`Watched::completed`] mostly
/// in hard interrupt context: they take spinlocks at most, allocate nothing, make no call to the
/// firmware, and neither add to the list nor remove from it.
pub(crate) trait Watched: Send + Sync {
    /// Some engine has raised an interrupt: look whether this channel's work has come further.
    fn completed(&self);

    /// The firmware has stopped the channel. It will not run again.
    fn failed(&self, failure: &Failure);

    /// The GPU is lost. What the channel still does reaches nobody's memory.
    fn lost(&self);

    /// Whose channel it is, for the log.
    fn owner(&self) -> &CStr;
}

struct Entry<'a> {
    channel: u32,
    watched: Arc<dyn Watched + 'a>,
}

/// The channels that are watched.
#[pin_data]
pub(crate) struct Watchlist<'a> {
    #[pin]
    entries: SpinLockIrq<KVec<Entry<'a>>>,
}

impl<'a> Watchlist<'a> {
    /// Nobody watches.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- new_spinlock_irq!(KVec::new()),
        })
    }

    /// Adds a watcher of the channel with this number.
    pub(crate) fn add(&self, channel: u32, watched: Arc<dyn Watched + 'a>) -> Result {
        let mut entry = Entry { channel, watched };
        loop {
            let capacity = {
                let mut entries = self.entries.lock();
                match entries.push_within_capacity(entry) {
                    Ok(()) => return Ok(()),
                    Err(full) => entry = full.0,
                }
                entries.capacity().saturating_mul(2).max(8)
            };
            // Not below the lock, as this may sleep; somebody else may have been faster.
            let mut larger = KVec::with_capacity(capacity, GFP_KERNEL)?;
            let mut entries = self.entries.lock();
            if entries.capacity() < capacity {
                for entry in entries.drain_all() {
                    // There is room for twice as many.
                    let _ = larger.push_within_capacity(entry);
                }
                core::mem::swap(&mut *entries, &mut larger);
            }
        }
    }

    /// Removes the watchers of a channel. Once this returns none is called any more.
    pub(crate) fn remove(&self, channel: u32) {
        loop {
            let mut entries = self.entries.lock();
            let Some(at) = entries.iter().position(|entry| entry.channel == channel) else {
                return;
            };
            let entry = entries.remove(at);
            drop(entries);
            // What the watcher owns is let go without the lock.
            drop(entry);
        }
    }

    /// Has everybody look. May be called in hard interrupt context.
    pub(crate) fn completed(&self) {
        for entry in self.entries.lock().iter() {
            entry.watched.completed();
        }
    }

    /// Tells everybody that the GPU is lost.
    pub(crate) fn lost(&self) {
        for entry in self.entries.lock().iter() {
            entry.watched.lost();
        }
    }

    /// Tells the watcher of a channel that it has failed, and `report` who that is.
    ///
    /// `report` is not called for a channel that nobody watches.
    pub(crate) fn failed(&self, channel: u32, failure: &Failure, mut report: impl FnMut(&CStr)) {
        for entry in self.entries.lock().iter() {
            if entry.channel == channel {
                report(entry.watched.owner());
                entry.watched.failed(failure);
            }
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_irq_watch)]
mod tests {
    use super::*;
    use core::sync::atomic::{
        AtomicU32,
        Ordering, //
    };

    #[derive(Default)]
    struct Counter {
        completed: AtomicU32,
        failed: AtomicU32,
        lost: AtomicU32,
    }

    impl Watched for Counter {
        fn completed(&self) {
            self.completed.fetch_add(1, Ordering::Relaxed);
        }

        fn failed(&self, failure: &Failure) {
            self.failed.store(failure.xid, Ordering::Relaxed);
        }

        fn lost(&self) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }

        fn owner(&self) -> &CStr {
            c"counter"
        }
    }

    impl Counter {
        fn counts(&self) -> (u32, u32) {
            (
                self.completed.load(Ordering::Relaxed),
                self.failed.load(Ordering::Relaxed),
            )
        }
    }

    const FAILURE: Failure = Failure {
        xid: 31,
        address: 0,
        fault: 0,
    };

    #[test]
    fn all_look_and_one_fails() -> Result {
        let list = KBox::pin_init(Watchlist::new(), GFP_KERNEL)?;
        let mut counters = KVec::new();
        for channel in 0..20 {
            let counter = Arc::new(Counter::default(), GFP_KERNEL)?;
            list.add(channel, counter.clone())?;
            counters.push(counter, GFP_KERNEL)?;
        }
        list.completed();
        let mut owners = 0;
        list.failed(3, &FAILURE, |_| owners += 1);
        list.failed(99, &FAILURE, |_| owners += 1);
        assert_eq!(owners, 1);
        for (channel, counter) in counters.iter().enumerate() {
            assert_eq!(counter.counts(), (1, if channel == 3 { 31 } else { 0 }));
        }
        list.remove(4);
        list.completed();
        assert_eq!(counters[4].counts(), (1, 0));
        assert_eq!(counters[5].counts(), (2, 0));
        list.lost();
        for (channel, counter) in counters.iter().enumerate() {
            let lost = u32::from(channel != 4);
            assert_eq!(counter.lost.load(Ordering::Relaxed), lost);
        }
        Ok(())
    }
}
