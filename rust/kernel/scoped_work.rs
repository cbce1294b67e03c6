// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Delayed work whose data may borrow.
//!
//! The work items of [`workqueue`](crate::workqueue) are reference counted and may run long after
//! whoever queued them is gone, so they must own all that they use. A [`ScopedWork`] is owned
//! instead: dropping it takes it off its queue and waits for it if it is just running. Its data may
//! therefore have a lifetime, such as that of the binding of a driver to its device.
//!
//! It runs on a queue of the system's, or on one of its user's, an [`OwnedQueue`].
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     new_scoped_work,
//!     scoped_work::{
//!         ScopedWork,
//!         ScopedWorkItem, //
//!     },
//!     sync::{
//!         atomic::{
//!             Atomic,
//!             Relaxed, //
//!         },
//!         Arc, //
//!     },
//!     time::Jiffies,
//! };
//!
//! struct Count(Arc<Atomic<u32>>);
//!
//! impl ScopedWorkItem for Count {
//!     fn run(&self) -> Option<Jiffies> {
//!         self.0.fetch_add(1, Relaxed);
//!         None
//!     }
//! }
//!
//! let count = Arc::new(Atomic::new(0), GFP_KERNEL)?;
//! // SAFETY: The box is dropped below.
//! let work = KBox::pin_init(unsafe { new_scoped_work!(Count(count.clone())) }, GFP_KERNEL)?;
//! assert!(work.schedule(1_000_000));
//! // It is queued already.
//! assert!(!work.schedule(1));
//! drop(work);
//! assert_eq!(count.load(Relaxed), 0);
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    time::Jiffies,
    types::Opaque, //
};
use core::{
    marker::PhantomPinned,
    ops::Deref,
    ptr::NonNull, //
};

/// What a [`ScopedWork`] does.
pub trait ScopedWorkItem: Sync {
    /// Does it, in process context; at most one processor at a time. Says after how long to do it
    /// again, if at all.
    fn run(&self) -> Option<Jiffies>;

    /// The queue that it runs on; the system's for work that is not bound to a processor
    /// (`system_dfl_wq`) if it is `None`.
    ///
    /// The system's do not promise progress when memory is short: work that others wait for to
    /// get memory, such as by a fence, needs an [`OwnedQueue`].
    fn queue(&self) -> Option<&OwnedQueue> {
        None
    }
}

/// A queue with a worker of its own for when memory is too short to make one (`WQ_MEM_RECLAIM`).
///
/// Work is not bound to a processor. It is for [`ScopedWork`] only: destroying a queue does not
/// wait for other work that is to be put there later.
///
/// # Examples
///
/// ```
/// use kernel::scoped_work::OwnedQueue;
///
/// let queue = OwnedQueue::new(c"example")?;
/// # drop(queue);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// It is a valid queue, which nobody else destroys.
pub struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A queue may be used and destroyed by any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Makes a queue. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The format takes one string, and copies it.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
                0,
                name.as_char_ptr(),
            )
        };

        // INVARIANT: It was made just now.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. It waits for what is still on the queue; work whose data
        // has the queue is off it before the data is dropped.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// Makes an initializer of a [`ScopedWork`] with a lock class of its own.
///
/// To be used in an `unsafe` block, see [`ScopedWork::new`].
#[macro_export]
macro_rules! new_scoped_work {
    ($data:expr $(, $name:literal)? $(,)?) => {
        $crate::scoped_work::ScopedWork::new(
            $data,
            $crate::optional_name!($($name)?),
            $crate::static_lock_class!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use new_scoped_work;

/// Delayed work together with its data.
///
/// # Invariants
///
/// `work` is initialized; if it is queued or runs, `self` is pinned and has not been dropped.
#[pin_data(PinnedDrop)]
pub struct ScopedWork<T: ScopedWorkItem> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    data: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Work may be queued and cancelled by any thread. `T` is dropped where `self` is.
unsafe impl<T: ScopedWorkItem + Send> Send for ScopedWork<T> {}
// SAFETY: All methods may be called by any thread, and `T` is `Sync`.
unsafe impl<T: ScopedWorkItem> Sync for ScopedWork<T> {}

impl<T: ScopedWorkItem> ScopedWork<T> {
    /// Makes work that is not queued.
    ///
    /// # Safety
    ///
    /// Everything that `T` borrows must outlive the value: the value must not be forgotten or
    /// leaked, but dropped before the first lifetime in `T` ends. Its last owner must drop it in a
    /// context that may sleep, and not in the work itself.
    pub unsafe fn new<E>(
        data: impl PinInit<T, E>,
        name: &'static CStr,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, E>
    where
        E: From<core::convert::Infallible>,
    {
        // INVARIANT: It is initialized and not queued.
        try_pin_init!(Self {
            data <- data,
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` is memory for it that does not move. `run_callback()` is what
                // these functions are for.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*slot).work,
                        Some(Self::run_callback),
                        false,
                        name.as_char_ptr(),
                        work_key.as_ptr(),
                    );
                    bindings::timer_init_key(
                        &raw mut (*slot).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        name.as_char_ptr(),
                        timer_key.as_ptr(),
                    );
                }
            }),
            _pin: PhantomPinned,
        }? E)
    }

    /// Has it run after `delay`, unless it is queued already; says whether it was not.
    ///
    /// May be called in any context. Work that just runs can be queued again.
    #[inline]
    pub fn schedule(&self, delay: Jiffies) -> bool {
        let queue = match self.data.queue() {
            Some(queue) => queue.0.as_ptr(),
            // SAFETY: A C global, always available.
            None => unsafe { bindings::system_dfl_wq },
        };
        // SAFETY: By the type invariant. The queue is borrowed from the data, and what is queued is
        // taken off it before the data is dropped.
        unsafe {
            bindings::queue_delayed_work_on(
                // CAST: as the C function takes it.
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                queue,
                self.work.get(),
                delay,
            )
        }
    }

    /// Takes it off its queue for good, and waits for it if it is just running.
    ///
    /// Dropping does the same. This is for owners that cannot be sure to be the last one.
    pub fn disable(&self) {
        // SAFETY: By the type invariant. What is disabled more than once stays so.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// Only for a queue, with the work of a `ScopedWork<T>`.
    unsafe extern "C" fn run_callback(work: *mut bindings::work_struct) {
        // SAFETY: By the caller it is the first field of `self.work`.
        let work = unsafe { crate::container_of!(work, bindings::delayed_work, work) };
        let work: *mut Opaque<bindings::delayed_work> = work.cast();
        // SAFETY: By the caller. `self` is not dropped before this function has returned.
        let this: &Self = unsafe { &*crate::container_of!(work, Self, work) };
        if let Some(delay) = this.data.run() {
            this.schedule(delay);
        }
    }
}

impl<T: ScopedWorkItem> Deref for ScopedWork<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.data
    }
}

#[pinned_drop]
impl<T: ScopedWorkItem> PinnedDrop for ScopedWork<T> {
    fn drop(self: Pin<&mut Self>) {
        // After this it neither runs nor can be queued.
        self.disable();
    }
}

#[kunit_tests(rust_scoped_work)]
mod tests {
    use super::*;
    use crate::{
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Completion, //
        },
        time::msecs_to_jiffies,
    };

    struct Thrice<'a> {
        count: &'a Atomic<u32>,
        done: &'a Completion,
        queue: Option<OwnedQueue>,
    }

    impl ScopedWorkItem for Thrice<'_> {
        fn run(&self) -> Option<Jiffies> {
            if self.count.fetch_add(1, Relaxed) == 2 {
                self.done.complete_all();
                return None;
            }
            Some(0)
        }

        fn queue(&self) -> Option<&OwnedQueue> {
            self.queue.as_ref()
        }
    }

    /// Calls `f` with work that runs three times, and what waits for that; says how often it ran.
    fn with_work(
        queue: Option<OwnedQueue>,
        f: impl FnOnce(&ScopedWork<Thrice<'_>>, &Completion),
    ) -> Result<u32> {
        let count = Atomic::new(0);
        let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
        let data = Thrice {
            count: &count,
            done: &done,
            queue,
        };
        // SAFETY: The box is dropped below.
        let work = KBox::pin_init(unsafe { new_scoped_work!(data) }, GFP_KERNEL)?;
        f(&work, &done);
        drop(work);
        Ok(count.load(Relaxed))
    }

    #[test]
    fn runs_again_as_it_says() -> Result {
        for queue in [None, Some(OwnedQueue::new(c"rust_scoped_work")?)] {
            let mut queued = false;
            let count = with_work(queue, |work, done| {
                queued = work.schedule(msecs_to_jiffies(1));
                done.wait_for_completion();
            })?;
            assert!(queued);
            assert_eq!(count, 3);
        }
        Ok(())
    }

    #[test]
    fn dropping_cancels() -> Result {
        for queue in [None, Some(OwnedQueue::new(c"rust_scoped_work")?)] {
            let mut queued = (false, false);
            let count = with_work(queue, |work, _| {
                queued = (work.schedule(msecs_to_jiffies(60_000)), work.schedule(0));
            })?;
            assert_eq!(queued, (true, false));
            assert_eq!(count, 0);
        }
        Ok(())
    }
}
