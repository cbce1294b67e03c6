// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The side of a fence that signals.
//!
//! A fence is allocated ([`NewFence`]), takes its place on a timeline ([`FenceContext::emit`]) and
//! then is a [`DriverFence`] until it signals.
//!
//! Others may hold a fence long after the driver is gone. What they still can reach then is only
//! the allocation of the fence, which the core frees: it forgets the operations of a fence the
//! moment it signals, as long as there is neither a release nor a wait operation among them, and
//! this abstraction has neither. Names are only asked for before that moment, or in an RCU section
//! that began before it, and removal of a module waits for a grace period. Hence every fence must
//! have signaled before the module goes, which owning a [`DriverFence`] guarantees, and the data in
//! the fence must not need to be dropped, which [`NewFence::new`] checks.

use super::Fence;
use crate::{
    bindings,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::{
        needs_drop,
        MaybeUninit, //
    },
    ptr::{
        addr_of_mut,
        NonNull, //
    },
};

/// What a driver says about its fences; values are stored in each of them.
///
/// The names are for people: they appear in debugfs, in traces and in `sync_file` information.
pub trait FenceOps: Send + Sync + 'static {
    /// The name of the driver.
    fn driver_name(&self) -> &CStr;

    /// The name of the timeline.
    fn timeline_name(&self) -> &CStr;
}

/// The allocation behind a driver's fence.
///
/// The fence comes first, so that freeing it frees the whole.
#[repr(C)]
struct Inner<T: FenceOps> {
    fence: Opaque<bindings::dma_fence>,
    ops: T,
}

impl<T: FenceOps> Inner<T> {
    const OPS: bindings::dma_fence_ops = bindings::dma_fence_ops {
        get_driver_name: Some(Self::driver_name),
        get_timeline_name: Some(Self::timeline_name),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `fence` must be embedded in an `Inner<T>`.
    unsafe extern "C" fn driver_name(fence: *mut bindings::dma_fence) -> *const c_char {
        // SAFETY: By the caller; the fence is the first field, and `ops` is never written again.
        unsafe { &*fence.cast::<Self>() }
            .ops
            .driver_name()
            .as_char_ptr()
    }

    /// # Safety
    ///
    /// `fence` must be embedded in an `Inner<T>`.
    unsafe extern "C" fn timeline_name(fence: *mut bindings::dma_fence) -> *const c_char {
        // SAFETY: By the caller; the fence is the first field, and `ops` is never written again.
        unsafe { &*fence.cast::<Self>() }
            .ops
            .timeline_name()
            .as_char_ptr()
    }
}

/// The memory of a fence that is on no timeline yet.
///
/// This is what can fail about a fence. Dropping it frees the memory, and nobody ever knew.
pub struct NewFence<T: FenceOps>(KBox<MaybeUninit<Inner<T>>>);

impl<T: FenceOps> NewFence<T> {
    /// Allocates a fence.
    pub fn new(ops: T, flags: crate::alloc::Flags) -> Result<Self> {
        const {
            assert!(
                !needs_drop::<T>(),
                "a fence is freed without dropping its data"
            );
        }
        let mut memory = KBox::<Inner<T>>::new_uninit(flags)?;
        // SAFETY: The box is memory for an `Inner<T>`, of which this field is written.
        unsafe { addr_of_mut!((*memory.as_mut_ptr()).ops).write(ops) };
        Ok(Self(memory))
    }
}

/// A timeline: what is on it completes in the order in which it was put there.
///
/// # Examples
///
/// ```
/// # use kernel::dma_fence::{FenceContext, FenceOps, NewFence};
/// # struct Ops;
/// # impl FenceOps for Ops {
/// #     fn driver_name(&self) -> &CStr { c"example" }
/// #     fn timeline_name(&self) -> &CStr { c"timeline" }
/// # }
/// let mut timeline = FenceContext::new();
/// let first = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
/// let second = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
///
/// assert_eq!((first.seqno(), second.seqno()), (1, 2));
/// assert_eq!(timeline.last_seqno(), 2);
/// // Dropping them signals them: with an error, as the work was not done.
/// # Ok::<(), Error>(())
/// ```
pub struct FenceContext<T: FenceOps> {
    id: u64,
    last: u64,
    _ops: PhantomData<fn(T)>,
}

impl<T: FenceOps> Default for FenceContext<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: FenceOps> FenceContext<T> {
    /// Makes an empty timeline.
    pub fn new() -> Self {
        Self {
            // SAFETY: There are no requirements for a count that is not zero.
            id: unsafe { bindings::dma_fence_context_alloc(1) },
            last: 0,
            _ops: PhantomData,
        }
    }

    /// The number of this timeline in the whole system.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The number of the youngest fence, or zero.
    #[inline]
    pub fn last_seqno(&self) -> u64 {
        self.last
    }

    /// Puts a fence at the end of the timeline. Numbers begin at one.
    #[inline]
    pub fn emit(&mut self, new: NewFence<T>) -> DriverFence<T> {
        self.last = self.last.wrapping_add(1);
        let inner: *mut Inner<T> = KBox::into_raw(new.0).cast();
        // SAFETY: `inner` is valid memory for an `Inner<T>`, of which `ops` was initialized by
        // `NewFence::new()`. The operations are a constant, promoted to be static. There is no
        // external lock.
        unsafe {
            bindings::dma_fence_init64(
                inner.cast(),
                const { &Inner::<T>::OPS },
                core::ptr::null_mut(),
                self.id,
                self.last,
            )
        };
        DriverFence {
            // SAFETY: The pointer came out of a box; `dma_fence_init64()` made the first
            // reference, which is taken over here. The core frees a fence without a release
            // operation by `kfree_rcu()`, which fits memory from a `KBox` whose contents need not
            // be dropped.
            fence: unsafe { ARef::from_raw(NonNull::new_unchecked(inner.cast())) },
            done: false,
            _ops: PhantomData,
        }
    }
}

/// The right, and the duty, to signal a fence.
///
/// If it is dropped instead, the fence signals with [`ECANCELED`]: the work was not done, and those
/// who wait must not wait for ever.
///
/// Signaling is allowed in any context, hard interrupts included. It calls all callbacks of the
/// fence, so locks that these take must not be held; in particular not a lock that one's own
/// callbacks on other fences take.
///
/// # Invariants
///
/// The fence is embedded in an `Inner<T>`; it is unsignaled as long as `done` is not set, and
/// nothing else signals it.
pub struct DriverFence<T: FenceOps> {
    fence: ARef<Fence>,
    done: bool,
    _ops: PhantomData<fn(T)>,
}

impl<T: FenceOps> DriverFence<T> {
    /// The fence as others see it.
    #[inline]
    pub fn fence(&self) -> &ARef<Fence> {
        &self.fence
    }

    /// The place of the fence on its timeline.
    #[inline]
    pub fn seqno(&self) -> u64 {
        self.fence.seqno()
    }

    /// What was given to [`NewFence::new`].
    #[inline]
    pub fn ops(&self) -> &T {
        // SAFETY: By the type invariant; `ops` was initialized and is never written again.
        unsafe { &(*self.fence.as_raw().cast::<Inner<T>>()).ops }
    }

    /// The work is done.
    #[inline]
    pub fn signal(mut self) {
        self.complete(Ok(()));
    }

    /// The work came to an end, and this is how.
    #[inline]
    pub fn signal_with(mut self, result: Result) {
        self.complete(result);
    }

    fn complete(&mut self, result: Result) {
        if let Err(error) = result {
            // SAFETY: By the type invariant the fence has not signaled and only `self` signals
            // it, so nobody reads the error yet. An `Error` is a valid negative error number.
            unsafe { bindings::dma_fence_set_error(self.fence.as_raw(), error.to_errno()) };
        }
        self.done = true;
        // SAFETY: The fence is initialized.
        unsafe { bindings::dma_fence_signal(self.fence.as_raw()) };
    }
}

impl<T: FenceOps> Drop for DriverFence<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.done {
            self.complete(Err(ECANCELED));
        }
    }
}

#[kunit_tests(rust_dma_fence)]
mod tests {
    use super::*;
    use crate::time::msecs_to_jiffies;

    #[derive(Clone, Copy)]
    struct Ops(u32);

    impl FenceOps for Ops {
        fn driver_name(&self) -> &CStr {
            c"kunit"
        }
        fn timeline_name(&self) -> &CStr {
            c"driver"
        }
    }

    #[test]
    fn signals_once_with_its_result() -> Result {
        let mut timeline = FenceContext::new();
        for (result, error) in [
            (Ok(()), 0),
            (Err(EIO), EIO.to_errno()),
            (Err(ETIME), ETIME.to_errno()),
        ] {
            let work = timeline.emit(NewFence::new(Ops(7), GFP_KERNEL)?);
            let fence = work.fence().clone();

            assert_eq!(work.ops().0, 7);
            assert_eq!(fence.context(), timeline.id());
            assert!(!fence.is_signaled());
            assert!(fence.status().is_none());
            assert!(fence.timestamp().is_none());

            work.signal_with(result);

            assert!(fence.is_signaled());
            assert!(fence.timestamp().is_some());
            let status = fence.status().ok_or(EINVAL)?;
            assert_eq!(status.map_or_else(|e| e.to_errno(), |()| 0), error);
        }
        assert_eq!(timeline.last_seqno(), 3);
        Ok(())
    }

    #[test]
    fn a_timeline_has_an_order() -> Result {
        let mut timeline = FenceContext::new();
        let first = timeline.emit(NewFence::new(Ops(0), GFP_KERNEL)?);
        let second = timeline.emit(NewFence::new(Ops(0), GFP_KERNEL)?);
        assert!(second.fence().is_later(first.fence()));
        assert!(!first.fence().is_later(second.fence()));
        assert!(!first.fence().is_later(first.fence()));

        let other = FenceContext::new().emit(NewFence::new(Ops(0), GFP_KERNEL)?);
        assert!(!second.fence().is_later(other.fence()));
        Ok(())
    }

    #[test]
    fn dropping_cancels() -> Result {
        let mut timeline = FenceContext::new();
        let work = timeline.emit(NewFence::new(Ops(0), GFP_KERNEL)?);
        let fence = work.fence().clone();
        drop(work);
        assert_eq!(fence.status(), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn unused_memory_is_no_fence() -> Result {
        let mut timeline = FenceContext::new();
        drop(NewFence::new(Ops(0), GFP_KERNEL)?);
        assert_eq!(timeline.emit(NewFence::new(Ops(0), GFP_KERNEL)?).seqno(), 1);
        Ok(())
    }

    #[test]
    fn waits_end() -> Result {
        let mut timeline = FenceContext::new();
        let work = timeline.emit(NewFence::new(Ops(0), GFP_KERNEL)?);
        let fence = work.fence().clone();

        let short = msecs_to_jiffies(10);
        assert_eq!(fence.wait_uninterruptible_timeout(0), Err(ETIME));
        assert_eq!(fence.wait_uninterruptible_timeout(short), Err(ETIME));
        work.signal();
        assert!(fence.wait_uninterruptible_timeout(short).is_ok());
        assert!(fence.wait().is_ok());
        assert!(Fence::signaled().is_signaled());
        Ok(())
    }

    #[test]
    fn sections_nest() -> Result {
        let mut timeline = FenceContext::new();
        let work = timeline.emit(NewFence::new(Ops(0), GFP_KERNEL)?);
        let _outer = super::super::Signalling::begin();
        let _inner = super::super::Signalling::begin();
        work.signal();
        Ok(())
    }
}
