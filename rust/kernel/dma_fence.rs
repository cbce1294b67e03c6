// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DMA fences.
//!
//! A DMA fence tells when a piece of asynchronous work, usually of a GPU, is done. It goes from
//! unsignaled to signaled exactly once, keeps the error the work ended with, if any, and must
//! signal in bounded time whatever happens, because anybody in the kernel may wait for it.
//!
//! The two sides of a fence are different types:
//!
//! * [`Fence`] is what everybody sees: it can be waited for, looked at, handed on, and told to call
//!   back ([`FenceCb`]).
//! * [`DriverFence`] is the right to signal it, which only the driver that does the work has and
//!   which cannot be lost: dropping it signals the fence.
//!
//! Memory must not be allocated while others may wait for a fence that depends on it. The types
//! therefore separate making from using: a [`NewFence`] and a [`FenceChain`] are allocated first,
//! and what consumes them cannot fail.
//!
//! C headers: [`include/linux/dma-fence.h`](srctree/include/linux/dma-fence.h),
//! [`include/linux/dma-fence-chain.h`](srctree/include/linux/dma-fence-chain.h)
//!
//! # Examples
//!
//! ```
//! use kernel::dma_fence::{
//!     FenceContext,
//!     FenceOps,
//!     NewFence, //
//! };
//!
//! struct Copies;
//!
//! impl FenceOps for Copies {
//!     fn driver_name(&self) -> &CStr {
//!         c"example"
//!     }
//!     fn timeline_name(&self) -> &CStr {
//!         c"copies"
//!     }
//! }
//!
//! let mut timeline = FenceContext::new();
//!
//! // May fail, and is done before anybody knows of the work.
//! let new = NewFence::new(Copies, GFP_KERNEL)?;
//!
//! // Cannot fail. The fence may be shown to others from here on.
//! let work = timeline.emit(new);
//! let seen_by_others = work.fence().clone();
//! assert!(!seen_by_others.is_signaled());
//!
//! // The work is done, typically in an interrupt handler.
//! work.signal();
//! assert_eq!(seen_by_others.status(), Some(Ok(())));
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    time::{
        Instant,
        Jiffies,
        Monotonic, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::ptr::NonNull;

mod cb;
mod chain;
mod driver;

pub use self::cb::{
    FenceCallback,
    FenceCb, //
};
pub use self::chain::FenceChain;
pub use self::driver::{
    DriverFence,
    FenceContext,
    FenceOps,
    NewFence, //
};

/// A fence of whatever driver.
///
/// Fences live as long as anybody holds an [`ARef`] to them. All methods may be called from any
/// context unless they say otherwise, but none from a [`FenceCallback`] of the same fence unless it
/// says so.
///
/// # Invariants
///
/// `self.0` is an initialized `struct dma_fence`.
#[repr(transparent)]
pub struct Fence(Opaque<bindings::dma_fence>);

// SAFETY: A `struct dma_fence` belongs to no thread.
unsafe impl Send for Fence {}
// SAFETY: Fences do their own locking.
unsafe impl Sync for Fence {}

// SAFETY: `dma_fence_get()` and `dma_fence_put()` count references of the fence, which exists at
// least until its count drops to zero.
unsafe impl AlwaysRefCounted for Fence {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the count is not zero.
        unsafe { bindings::dma_fence_get(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives away a reference.
        unsafe { bindings::dma_fence_put(obj.as_ptr().cast()) };
    }
}

impl Fence {
    /// Makes a reference of a pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to an initialized `struct dma_fence` that somebody holds a reference to for
    /// all of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::dma_fence) -> &'a Self {
        // SAFETY: By the caller, and `Fence` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// Takes over a reference that a C function returned.
    ///
    /// # Safety
    ///
    /// `ptr` must be null, or point to a fence on which the caller owns a reference, and gives it
    /// away.
    #[inline]
    pub unsafe fn from_owned_raw(ptr: *mut bindings::dma_fence) -> Option<ARef<Self>> {
        // SAFETY: By the caller.
        NonNull::new(ptr.cast()).map(|ptr| unsafe { ARef::from_raw(ptr) })
    }

    /// The C structure.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::dma_fence {
        self.0.get()
    }

    /// A fence that has signaled already. This allocates nothing.
    pub fn signaled() -> ARef<Self> {
        // SAFETY: There are no requirements.
        let ptr = unsafe { bindings::dma_fence_get_stub() };
        // SAFETY: `dma_fence_get_stub()` returns a reference to a static fence, never null.
        unsafe { ARef::from_raw(NonNull::new_unchecked(ptr.cast())) }
    }

    /// The timeline the fence is on. Fences of one timeline signal in the order of their numbers.
    #[inline]
    pub fn context(&self) -> u64 {
        // SAFETY: By the type invariant; the field never changes.
        unsafe { (*self.as_raw()).context }
    }

    /// The place of the fence on its timeline.
    #[inline]
    pub fn seqno(&self) -> u64 {
        // SAFETY: By the type invariant; the field never changes.
        unsafe { (*self.as_raw()).seqno }
    }

    /// Whether this fence comes after another one of the same timeline.
    ///
    /// Then the other one has signaled once this one has: who waits for this one need not wait for
    /// the other.
    #[inline]
    pub fn is_later(&self, other: &Self) -> bool {
        self.context() == other.context()
            // SAFETY: By the type invariants.
            && unsafe { bindings::dma_fence_is_later(self.as_raw(), other.as_raw()) }
    }

    /// Whether the work is done, in whatever way.
    ///
    /// This asks the driver if it has a way of knowing that is faster than its interrupt, and then
    /// may call callbacks.
    #[inline]
    pub fn is_signaled(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::dma_fence_is_signaled(self.as_raw()) }
    }

    /// How the work ended; nothing as long as it has not.
    pub fn status(&self) -> Option<Result> {
        // SAFETY: By the type invariant.
        match unsafe { bindings::dma_fence_get_status(self.as_raw()) } {
            0 => None,
            status => Some(to_result(status)),
        }
    }

    /// When the fence signaled.
    pub fn timestamp(&self) -> Option<Instant<Monotonic>> {
        // SAFETY: By the type invariant.
        if !unsafe { bindings::dma_fence_test_signaled_flag(self.as_raw()) } {
            return None;
        }
        // SAFETY: By the type invariant, and the fence has signaled.
        let ktime = unsafe { bindings::dma_fence_timestamp(self.as_raw()) };
        // SAFETY: A time stamp of the monotonic clock is not negative.
        Some(unsafe { Instant::from_ktime(ktime) })
    }

    /// Whether this fence is made of others (a chain or an array).
    ///
    /// Such fences must not be put into a [`FenceChain`] or a `dma_resv`.
    pub fn is_container(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::dma_fence_is_container(self.as_raw()) }
    }

    /// Sleeps until the fence signals or a signal for the process arrives ([`ERESTARTSYS`]).
    ///
    /// That the work failed is no error of the wait: see [`Fence::status`].
    pub fn wait(&self) -> Result {
        self.wait_raw(true, Jiffies::MAX).map(|_| ())
    }

    /// Like [`Fence::wait`], for at most `timeout` ([`ETIME`]); says how much of it is left.
    pub fn wait_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        self.wait_raw(true, timeout)
    }

    /// Like [`Fence::wait_timeout`], but signals for the process do not end it.
    pub fn wait_uninterruptible_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        self.wait_raw(false, timeout)
    }

    fn wait_raw(&self, interruptible: bool, timeout: Jiffies) -> Result<Jiffies> {
        // The largest value means to wait for ever.
        let timeout = c_long::try_from(timeout).unwrap_or(c_long::MAX);
        // SAFETY: By the type invariant.
        let left =
            unsafe { bindings::dma_fence_wait_timeout(self.as_raw(), interruptible, timeout) };
        match Jiffies::try_from(left) {
            Ok(0) => Err(ETIME),
            Ok(left) => Ok(left),
            Err(_) => Err(Error::from_errno(c_int::try_from(left)?)),
        }
    }
}

/// A section of code that some fence waits for.
///
/// From the moment a fence can be seen by others until it is signaled, everything that leads to
/// that must not wait for memory, for a `dma_resv` lock, or for another fence. While a value of
/// this type exists, lockdep checks that. It costs nothing without lockdep.
pub struct Signalling {
    cookie: bool,
    _not_send: NotThreadSafe,
}

impl Signalling {
    /// Begins the section. Sections may be nested.
    #[inline]
    pub fn begin() -> Self {
        Self {
            // SAFETY: There are no requirements.
            cookie: unsafe { bindings::dma_fence_begin_signalling() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for Signalling {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The cookie is that of the call that began this section, on the same thread.
        unsafe { bindings::dma_fence_end_signalling(self.cookie) };
    }
}
