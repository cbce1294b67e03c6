// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reservation objects: which fences a shared buffer has to wait for.
//!
//! A buffer that several drivers or processes use carries a [`Resv`]: a lock, and the fences of the
//! work that was submitted for the buffer, each with what that work does to it ([`Usage`]).
//!
//! A fence can only be added where room for it was reserved, as adding happens when the work can no
//! longer be called off and thus must not fail. [`ResvGuard::reserve`] is the only source of a
//! [`Slot`], and a slot is used up by the fence put into it.
//!
//! C header: [`include/linux/dma-resv.h`](srctree/include/linux/dma-resv.h)
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     dma_fence::Fence,
//!     dma_resv::{
//!         Resv,
//!         Usage, //
//!     },
//! };
//!
//! let resv = KBox::pin_init(Resv::new(), GFP_KERNEL)?;
//! {
//!     let mut guard = resv.lock();
//!     let slot = guard.reserve()?;
//!     // The work is submitted here, and then:
//!     slot.add(&Fence::signaled(), Usage::Write);
//! }
//! assert!(resv.test_signaled(Usage::Write));
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    dma_fence::Fence,
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    time::Jiffies,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::marker::PhantomData;

/// What work does to a buffer. Asking for one kind means this one and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Usage {
    /// The kernel moves or clears the memory. Everybody has to wait for that.
    Kernel = bindings::dma_resv_usage_DMA_RESV_USAGE_KERNEL,
    /// Work of user space that writes, and that others wait for implicitly.
    Write = bindings::dma_resv_usage_DMA_RESV_USAGE_WRITE,
    /// Work of user space that reads, and that writers wait for implicitly.
    Read = bindings::dma_resv_usage_DMA_RESV_USAGE_READ,
    /// Work that nobody waits for implicitly, but that the memory must not vanish under.
    Bookkeep = bindings::dma_resv_usage_DMA_RESV_USAGE_BOOKKEEP,
}

impl Usage {
    /// What an access has to wait for: a write for reads and writes, a read for writes.
    #[inline]
    pub fn before_access(write: bool) -> Self {
        if write {
            Self::Read
        } else {
            Self::Write
        }
    }
}

/// A reservation object.
///
/// # Invariants
///
/// `inner` is an initialized `struct dma_resv`.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub struct Resv {
    #[pin]
    inner: Opaque<bindings::dma_resv>,
}

// SAFETY: A `struct dma_resv` belongs to no thread.
unsafe impl Send for Resv {}
// SAFETY: It does its own locking; what needs the lock held is on the guard.
unsafe impl Sync for Resv {}

impl Resv {
    /// Makes a reservation object without fences.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: `dma_resv_init()` initializes it.
        pin_init!(Self {
            // SAFETY: `slot` is valid memory that does not move.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::dma_resv_init(slot) }),
        })
    }

    /// Makes a reference of a pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to an initialized `struct dma_resv` that stays so for all of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::dma_resv) -> &'a Self {
        // SAFETY: By the caller, and `Resv` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// The C structure.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::dma_resv {
        self.inner.get()
    }

    /// Takes the lock. May sleep.
    ///
    /// Whoever holds one reservation lock must not take a second one this way, as there is no order
    /// among them; `drm::exec` locks several.
    pub fn lock(&self) -> ResvGuard<'_> {
        // SAFETY: By the type invariant. Without a context this cannot fail.
        unsafe { bindings::dma_resv_lock(self.as_raw(), core::ptr::null_mut()) };
        // INVARIANT: It was just taken.
        ResvGuard {
            resv: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Whether all work of this usage is done.
    pub fn test_signaled(&self, usage: Usage) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::dma_resv_test_signaled(self.as_raw(), usage as u32) }
    }

    /// Sleeps until all work of this usage is done that has been added by now.
    ///
    /// Ends early with [`ETIME`] after `timeout`, or with [`ERESTARTSYS`] on a signal for the
    /// process.
    pub fn wait_timeout(&self, usage: Usage, timeout: Jiffies) -> Result {
        // The largest value means to wait for ever, and a larger one is not allowed.
        let timeout = timeout.min(c_long::MAX as Jiffies);
        // SAFETY: By the type invariant.
        let left =
            unsafe { bindings::dma_resv_wait_timeout(self.as_raw(), usage as u32, true, timeout) };
        match left {
            0 => Err(ETIME),
            1.. => Ok(()),
            error => Err(Error::from_errno(c_int::try_from(error)?)),
        }
    }

    /// One fence that signals when all work of this usage is done, if there is any.
    ///
    /// May sleep, and allocates if there are several.
    pub fn singleton(&self, usage: Usage) -> Result<Option<ARef<Fence>>> {
        let mut fence = core::ptr::null_mut();
        // SAFETY: By the type invariant, and `fence` is where the result goes.
        to_result(unsafe {
            bindings::dma_resv_get_singleton(self.as_raw(), usage as u32, &mut fence)
        })?;
        // SAFETY: The function returned a reference, or null.
        Ok(unsafe { Fence::from_owned_raw(fence) })
    }

    /// The unsignaled fences of this usage.
    ///
    /// Without the lock, fences may be added meanwhile; then the iteration starts again from the
    /// first, so that the same fence may come more than once.
    pub fn fences(&self, usage: Usage) -> Fences<'_> {
        Fences {
            cursor: bindings::dma_resv_iter {
                obj: self.as_raw(),
                usage: usage as u32,
                ..pin_init::zeroed()
            },
            started: false,
            _resv: PhantomData,
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Resv {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant, and nobody has a reference any more. References from
        // `from_raw()` are never dropped.
        unsafe { bindings::dma_resv_fini(self.as_raw()) };
    }
}

/// A reservation object whose lock is held.
///
/// # Invariants
///
/// The current thread holds the lock of `resv`.
pub struct ResvGuard<'a> {
    resv: &'a Resv,
    _not_send: NotThreadSafe,
}

impl ResvGuard<'_> {
    /// Makes room for one fence. Allocates.
    pub fn reserve(&mut self) -> Result<Slot<'_>> {
        // SAFETY: The lock is held.
        to_result(unsafe { bindings::dma_resv_reserve_fences(self.resv.as_raw(), 1) })?;
        // INVARIANT: There is room, and the borrow of `self` keeps the lock, and keeps others from
        // using the room.
        Ok(Slot {
            resv: self.resv,
            _guard: PhantomData,
        })
    }
}

impl Drop for ResvGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is held.
        unsafe { bindings::dma_resv_unlock(self.resv.as_raw()) };
    }
}

/// Room for one fence in a locked reservation object.
///
/// # Invariants
///
/// The lock of `resv` is held and there is room for one fence.
#[must_use = "the fence has to be put into it"]
pub struct Slot<'a> {
    resv: &'a Resv,
    _guard: PhantomData<&'a mut ()>,
}

impl Slot<'_> {
    /// Puts a fence into it. It must be none that is made of others.
    pub fn add(self, fence: &Fence, usage: Usage) {
        // SAFETY: By the type invariant.
        unsafe { bindings::dma_resv_add_fence(self.resv.as_raw(), fence.as_raw(), usage as u32) };
    }
}

/// An iterator over the fences of a reservation object, see [`Resv::fences`].
pub struct Fences<'a> {
    cursor: bindings::dma_resv_iter,
    started: bool,
    _resv: PhantomData<&'a Resv>,
}

impl Iterator for Fences<'_> {
    type Item = ARef<Fence>;

    fn next(&mut self) -> Option<Self::Item> {
        let ptr = if self.started {
            // SAFETY: The cursor has been started. It keeps the reservation object borrowed.
            unsafe { bindings::dma_resv_iter_next_unlocked(&mut self.cursor) }
        } else {
            self.started = true;
            // SAFETY: The cursor was set up as `dma_resv_iter_begin()` does.
            unsafe { bindings::dma_resv_iter_first_unlocked(&mut self.cursor) }
        };
        if ptr.is_null() {
            return None;
        }
        // SAFETY: The cursor holds a reference until it is moved on.
        Some(unsafe { Fence::from_raw(ptr) }.into())
    }
}

impl Drop for Fences<'_> {
    fn drop(&mut self) {
        // SAFETY: The cursor owns a reference to its current fence, if it has one.
        drop(unsafe { Fence::from_owned_raw(self.cursor.fence) });
    }
}

#[kunit_tests(rust_dma_resv)]
mod tests {
    use super::*;
    use crate::{
        dma_fence::{
            FenceContext,
            FenceOps,
            NewFence, //
        },
        time::msecs_to_jiffies,
    };

    struct Ops;

    impl FenceOps for Ops {
        fn driver_name(&self) -> &CStr {
            c"kunit"
        }
        fn timeline_name(&self) -> &CStr {
            c"resv"
        }
    }

    #[test]
    fn usage_decides_who_waits() -> Result {
        let resv = KBox::pin_init(Resv::new(), GFP_KERNEL)?;
        let mut timeline = FenceContext::new();
        let work = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
        {
            let mut guard = resv.lock();
            guard.reserve()?.add(work.fence(), Usage::Read);
        }

        for (usage, idle, count) in [
            (Usage::Kernel, true, 0),
            (Usage::Write, true, 0),
            (Usage::Read, false, 1),
            (Usage::Bookkeep, false, 1),
        ] {
            assert_eq!(resv.test_signaled(usage), idle);
            assert_eq!(resv.fences(usage).count(), count);
            assert_eq!(resv.singleton(usage)?.is_some(), !idle);
        }
        assert!(resv.test_signaled(Usage::before_access(false)));
        assert!(!resv.test_signaled(Usage::before_access(true)));
        assert_eq!(
            resv.wait_timeout(Usage::Read, msecs_to_jiffies(10)),
            Err(ETIME)
        );

        work.signal();
        assert!(resv.test_signaled(Usage::Bookkeep));
        assert!(resv
            .wait_timeout(Usage::Bookkeep, msecs_to_jiffies(10))
            .is_ok());
        Ok(())
    }

    #[test]
    fn fences_of_many_timelines() -> Result {
        let resv = KBox::pin_init(Resv::new(), GFP_KERNEL)?;
        let mut work = KVec::new();
        for _ in 0..9 {
            let mut timeline = FenceContext::new();
            let one = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
            let mut guard = resv.lock();
            guard.reserve()?.add(one.fence(), Usage::Write);
            drop(guard);
            work.push(one, GFP_KERNEL)?;
        }
        assert_eq!(resv.fences(Usage::Write).count(), 9);
        let all = resv.singleton(Usage::Write)?.ok_or(EINVAL)?;
        assert!(all.is_container());
        assert!(!all.is_signaled());
        drop(work);
        assert!(all.is_signaled());
        Ok(())
    }
}
