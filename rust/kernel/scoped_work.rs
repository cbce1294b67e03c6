// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Delayed work whose data may borrow.
//!
//! The work items of [`workqueue`](crate::workqueue) are reference counted and may run long after
//! whoever queued them is gone, so they must own all that they use. A [`ScopedWork`] is owned
//! instead: dropping it takes it off its queue and waits for it if it is just running. Its data may
//! therefore have a lifetime, such as that of the binding of a driver to its device.
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
    ops::Deref, //
};

/// What a [`ScopedWork`] does.
pub trait ScopedWorkItem: Sync {
    /// Does it, in process context; at most one processor at a time. Says after how long to do it
    /// again, if at all.
    fn run(&self) -> Option<Jiffies>;
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

/// Delayed work on the system's unbound queue, together with its data.
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
        // SAFETY: By the type invariant. The queue always exists, and what is queued is taken off
        // it before `self` is dropped.
        unsafe {
            bindings::queue_delayed_work_on(
                // CAST: as the C function takes it.
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
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
    }

    impl ScopedWorkItem for Thrice<'_> {
        fn run(&self) -> Option<Jiffies> {
            if self.count.fetch_add(1, Relaxed) == 2 {
                self.done.complete_all();
                return None;
            }
            Some(0)
        }
    }

    #[test]
    fn runs_again_as_it_says() -> Result {
        let count = Atomic::new(0);
        let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
        let data = Thrice {
            count: &count,
            done: &done,
        };
        // SAFETY: The box is dropped below.
        let work = KBox::pin_init(unsafe { new_scoped_work!(data) }, GFP_KERNEL)?;
        assert!(work.schedule(msecs_to_jiffies(1)));
        done.wait_for_completion();
        drop(work);
        assert_eq!(count.load(Relaxed), 3);
        Ok(())
    }

    #[test]
    fn dropping_cancels() -> Result {
        let count = Atomic::new(0);
        let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
        let data = Thrice {
            count: &count,
            done: &done,
        };
        // SAFETY: The box is dropped below.
        let work = KBox::pin_init(unsafe { new_scoped_work!(data) }, GFP_KERNEL)?;
        assert!(work.schedule(msecs_to_jiffies(60_000)));
        assert!(!work.schedule(0));
        drop(work);
        assert_eq!(count.load(Relaxed), 0);
        Ok(())
    }
}
