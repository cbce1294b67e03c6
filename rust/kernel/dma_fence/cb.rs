// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Being called when a fence signals.

use super::Fence;
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use core::marker::PhantomPinned;

/// What is called when a fence signals.
pub trait FenceCallback: Send + Sync {
    /// The fence has signaled, and this is how its work ended.
    ///
    /// This runs where the fence was signaled, which may be a hard interrupt, with the lock of the
    /// fence held and interrupts disabled. It must not sleep, must not signal another fence, must
    /// not add a callback to a fence or remove one, and must not drop the [`FenceCb`] that it is
    /// the callback of (that would wait for itself).
    fn called(&self, result: Result);
}

/// A place on the list of those that a fence calls when it signals.
///
/// It is allocated first, with the data of the callback; [`FenceCb::arm`], which puts it on the
/// list of a fence, allocates nothing. Dropping it takes it off the list, and waits for the
/// callback if that is just running on another CPU: after that it is never called.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dma_fence::{
///         Fence,
///         FenceCallback,
///         FenceCb, //
///     },
///     sync::{
///         atomic::{
///             Atomic,
///             Relaxed, //
///         },
///         Arc, //
///     },
/// };
///
/// struct Count(Arc<Atomic<u32>>);
///
/// impl FenceCallback for Count {
///     fn called(&self, _result: Result) {
///         self.0.fetch_add(1, Relaxed);
///     }
/// }
///
/// let count = Arc::new(Atomic::new(0), GFP_KERNEL)?;
/// let mut cb = KBox::pin_init(FenceCb::new(Count(count.clone())), GFP_KERNEL)?;
///
/// // This fence has signaled long ago, so there is nothing left to be called for.
/// assert!(!cb.as_mut().arm(Fence::signaled()));
/// assert_eq!(count.load(Relaxed), 0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `cb` has been added to the fence in `fence`, if there is one.
#[pin_data(PinnedDrop)]
pub struct FenceCb<T: FenceCallback> {
    #[pin]
    cb: Opaque<bindings::dma_fence_cb>,
    fence: Option<ARef<Fence>>,
    data: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The list entry belongs to no thread, and `T` is `Send`.
unsafe impl<T: FenceCallback> Send for FenceCb<T> {}
// SAFETY: A shared reference gives access to nothing but `T`, which is `Sync`.
unsafe impl<T: FenceCallback> Sync for FenceCb<T> {}

impl<T: FenceCallback> FenceCb<T> {
    /// Prepares a callback.
    ///
    /// The data may not borrow anything, as safe code may forget a `FenceCb` without dropping it,
    /// and the fence would still call it. See [`FenceCb::new_scoped`].
    pub fn new(data: T) -> impl PinInit<Self>
    where
        T: 'static,
    {
        // SAFETY: `T` borrows nothing.
        unsafe { Self::new_scoped(data) }
    }

    /// Prepares a callback whose data may borrow.
    ///
    /// # Safety
    ///
    /// What `T` borrows must outlive the value, which is to say: the value must not be forgotten,
    /// or leaked in any other way, but be dropped before the first lifetime in `T` ends.
    pub unsafe fn new_scoped(data: T) -> impl PinInit<Self> {
        // INVARIANT: There is no fence.
        pin_init!(Self {
            cb: Opaque::uninit(),
            fence: None,
            data,
            _pin: PhantomPinned,
        })
    }

    /// What was given to [`FenceCb::new`].
    #[inline]
    pub fn data(&self) -> &T {
        &self.data
    }

    /// Asks `fence` to call once it signals. Says whether it will, or has done so by now.
    ///
    /// If the fence has signaled already, it never calls and the answer is `false`. A callback can
    /// be armed again; if it was still waiting for another fence, that is over.
    ///
    /// This must not be called in a callback, nor with a lock held that a callback takes.
    pub fn arm(self: Pin<&mut Self>, fence: ARef<Fence>) -> bool {
        // SAFETY: Nothing is moved out of `this`.
        let this = unsafe { self.get_unchecked_mut() };
        this.disarm();
        // SAFETY: The fence is valid, and `self.fence` keeps it so as long as the callback is on
        // its list. `cb` is pinned and on no list; it stays valid until it was removed from the
        // list in `disarm()`, which dropping `self` calls. `data` lives as long.
        let added = to_result(unsafe {
            bindings::dma_fence_add_callback(fence.as_raw(), this.cb.get(), Some(Self::called))
        })
        .is_ok();
        if added {
            // INVARIANT: It was just added. The callback, which may be running by now, does not
            // look at this field.
            this.fence = Some(fence);
        }
        added
    }

    fn disarm(&mut self) {
        if let Some(fence) = self.fence.take() {
            // SAFETY: By the type invariant `cb` was added to this fence. This takes the lock
            // under which the callback runs, hence it is not running afterwards.
            unsafe { bindings::dma_fence_remove_callback(fence.as_raw(), self.cb.get()) };
        }
    }

    /// # Safety
    ///
    /// Only for `dma_fence_add_callback()` with the `cb` of a `FenceCb<T>`.
    unsafe extern "C" fn called(fence: *mut bindings::dma_fence, cb: *mut bindings::dma_fence_cb) {
        let cb: *mut Opaque<bindings::dma_fence_cb> = cb.cast();
        // SAFETY: By the caller.
        let this: *mut Self = unsafe { crate::container_of!(cb, Self, cb) };
        // SAFETY: `dma_fence_remove_callback()` in `disarm()` waits for this function, so `data`
        // is alive; it is never borrowed mutably.
        let data = unsafe { &*core::ptr::addr_of!((*this).data) };
        // SAFETY: The fence has signaled, so its error does not change any more.
        data.called(to_result(unsafe { (*fence).error }));
    }
}

#[pinned_drop]
impl<T: FenceCallback> PinnedDrop for FenceCb<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Nothing is moved out of it.
        unsafe { self.get_unchecked_mut() }.disarm();
    }
}

#[kunit_tests(rust_dma_fence_cb)]
mod tests {
    use super::*;
    use crate::{
        dma_fence::{
            FenceContext,
            FenceOps,
            NewFence, //
        },
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        },
    };

    struct Ops;

    impl FenceOps for Ops {
        fn driver_name(&self) -> &CStr {
            c"kunit"
        }
        fn timeline_name(&self) -> &CStr {
            c"callbacks"
        }
    }

    /// Counts successes in the low half and failures in the high half.
    struct Count(Arc<Atomic<u32>>);

    impl FenceCallback for Count {
        fn called(&self, result: Result) {
            self.0
                .fetch_add(if result.is_ok() { 1 } else { 0x1_0000 }, Relaxed);
        }
    }

    type Cb = Pin<KBox<FenceCb<Count>>>;

    fn counting() -> Result<(Arc<Atomic<u32>>, Cb)> {
        let count = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cb = KBox::pin_init(FenceCb::new(Count(count.clone())), GFP_KERNEL)?;
        Ok((count, cb))
    }

    #[test]
    fn is_called_once_with_the_result() -> Result {
        let mut timeline = FenceContext::new();
        for (result, seen) in [(Ok(()), 1), (Err(EIO), 0x1_0000)] {
            let (count, mut cb) = counting()?;
            let work = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
            assert!(cb.as_mut().arm(work.fence().clone()));
            assert_eq!(cb.data().0.load(Relaxed), 0);
            work.signal_with(result);
            assert_eq!(count.load(Relaxed), seen);
            drop(cb);
            assert_eq!(count.load(Relaxed), seen);
        }
        Ok(())
    }

    #[test]
    fn dropping_takes_it_back() -> Result {
        let mut timeline = FenceContext::new();
        let (count, mut cb) = counting()?;
        let work = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
        assert!(cb.as_mut().arm(work.fence().clone()));
        drop(cb);
        work.signal();
        assert_eq!(count.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn can_be_armed_again() -> Result {
        let mut timeline = FenceContext::new();
        let (count, mut cb) = counting()?;
        let first = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
        let second = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
        assert!(cb.as_mut().arm(first.fence().clone()));
        assert!(cb.as_mut().arm(second.fence().clone()));
        first.signal();
        assert_eq!(count.load(Relaxed), 0);
        second.signal();
        assert_eq!(count.load(Relaxed), 1);
        assert!(!cb.as_mut().arm(Fence::signaled()));
        assert_eq!(count.load(Relaxed), 1);
        Ok(())
    }
}
