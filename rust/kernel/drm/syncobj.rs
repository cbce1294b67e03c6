// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DRM synchronization objects.
//!
//! A [`Syncobj`] is a box that user space names by a handle and that holds a fence. A *binary* one
//! holds one fence, replaced by each submission; a *timeline* holds a chain of fences, each with a
//! point, and reaches a point when the fence of it and of all earlier points have signaled.
//!
//! A submission takes fences out of the boxes it has to wait for ([`find_fence`]) and puts its own
//! into those it signals ([`Signal`]). Everything about a signal that can fail is done by
//! [`Signal::prepare`], before the work is submitted.
//!
//! C header: [`include/drm/drm_syncobj.h`](srctree/include/drm/drm_syncobj.h)
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     dma_fence::{
//!         Fence,
//!         FenceChain, //
//!     },
//!     drm::syncobj::Syncobj, //
//! };
//!
//! let timeline = Syncobj::new(None)?;
//! let link = FenceChain::new(GFP_KERNEL)?;
//! timeline.add_point(link, &Fence::signaled(), 5);
//!
//! assert!(timeline.point(5)?.is_signaled());
//! assert!(timeline.point(6).is_err());
//! # Ok::<(), Error>(())
//! ```

use crate::{
    bindings,
    dma_fence::{
        Fence,
        FenceChain, //
    },
    drm,
    error::to_result,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// A synchronization object.
///
/// # Invariants
///
/// `self.0` is an initialized `struct drm_syncobj`.
#[repr(transparent)]
pub struct Syncobj(Opaque<bindings::drm_syncobj>);

// SAFETY: A `struct drm_syncobj` belongs to no thread.
unsafe impl Send for Syncobj {}
// SAFETY: It does its own locking.
unsafe impl Sync for Syncobj {}

// SAFETY: `drm_syncobj_get()` and `drm_syncobj_put()` count references of the object, which exists
// at least until its count drops to zero.
unsafe impl AlwaysRefCounted for Syncobj {
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the count is not zero.
        unsafe { bindings::drm_syncobj_get(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives away a reference.
        unsafe { bindings::drm_syncobj_put(obj.as_ptr().cast()) };
    }
}

impl Syncobj {
    /// Makes an object that no handle names, with or without a fence in it.
    pub fn new(fence: Option<&Fence>) -> Result<ARef<Self>> {
        let mut ptr = core::ptr::null_mut();
        let fence = fence.map_or(core::ptr::null_mut(), Fence::as_raw);
        // SAFETY: `ptr` is where the result goes; `fence` is null or valid.
        to_result(unsafe { bindings::drm_syncobj_create(&mut ptr, 0, fence) })?;
        // SAFETY: The function succeeded, so `ptr` is an object, and the first reference is ours.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(ptr.cast())) })
    }

    /// Looks up the object that `handle` names in an open file. [`ENOENT`] if there is none.
    pub fn find<F: drm::file::DriverFile>(file: &drm::File<F>, handle: u32) -> Result<ARef<Self>> {
        // SAFETY: The file is open.
        let ptr = unsafe { bindings::drm_syncobj_find(file.as_raw(), handle) };
        let ptr = NonNull::new(ptr.cast()).ok_or(ENOENT)?;
        // SAFETY: The function returned a reference.
        Ok(unsafe { ARef::from_raw(ptr) })
    }

    fn as_raw(&self) -> *mut bindings::drm_syncobj {
        self.0.get()
    }

    /// The fence that is in it now.
    pub fn fence(&self) -> Option<ARef<Fence>> {
        // SAFETY: By the type invariant.
        let ptr = unsafe { bindings::drm_syncobj_fence_get(self.as_raw()) };
        // SAFETY: The function returned a reference, or null.
        unsafe { Fence::from_owned_raw(ptr) }
    }

    /// A fence that signals when `point` of a timeline is reached, or the only fence of a binary
    /// object with point zero.
    ///
    /// [`EINVAL`] if nothing has been submitted that would reach it.
    pub fn point(&self, point: u64) -> Result<ARef<Fence>> {
        let mut ptr = ARef::into_raw(self.fence().ok_or(EINVAL)?)
            .as_ptr()
            .cast::<bindings::dma_fence>();
        // SAFETY: `ptr` is a fence that we own a reference to. On success the reference has been
        // exchanged for one to another fence, or for null.
        let found = to_result(unsafe { bindings::dma_fence_chain_find_seqno(&mut ptr, point) });
        // SAFETY: We own a reference to whatever `ptr` is now.
        let fence = unsafe { Fence::from_owned_raw(ptr) };
        found?;
        // A chain drops links that have signaled.
        Ok(fence.unwrap_or_else(Fence::signaled))
    }

    /// Puts another fence into it, or none, and wakes those who wait for that.
    ///
    /// Allocates nothing.
    pub fn replace_fence(&self, fence: Option<&Fence>) {
        let fence = fence.map_or(core::ptr::null_mut(), Fence::as_raw);
        // SAFETY: By the type invariant; `fence` is null or valid.
        unsafe { bindings::drm_syncobj_replace_fence(self.as_raw(), fence) };
    }

    /// Adds a point to a timeline, and wakes those who wait for that.
    ///
    /// Points have to grow, or those who wait for an earlier one may wake too late. `fence` must be
    /// none that is a chain itself. Allocates nothing.
    pub fn add_point(&self, link: FenceChain, fence: &Fence, point: u64) {
        // SAFETY: By the type invariant; the object takes over the link and a reference of its own
        // to the fence.
        unsafe {
            bindings::drm_syncobj_add_point(self.as_raw(), link.into_raw(), fence.as_raw(), point)
        };
    }
}

/// The fence that user space means by a handle and a point; point zero for a binary object.
///
/// [`ENOENT`] if there is no such object, [`EINVAL`] if there is no such fence yet: submission of
/// work that waits must follow submission of the work waited for.
pub fn find_fence<F: drm::file::DriverFile>(
    file: &drm::File<F>,
    handle: u32,
    point: u64,
) -> Result<ARef<Fence>> {
    let mut ptr = core::ptr::null_mut();
    // SAFETY: The file is open, and `ptr` is where the result goes.
    to_result(unsafe {
        bindings::drm_syncobj_find_fence(file.as_raw(), handle, point, 0, &mut ptr)
    })?;
    // SAFETY: On success the function returned a reference.
    unsafe { Fence::from_owned_raw(ptr) }.ok_or(EINVAL)
}

/// What user space wants to be signaled, with all that is needed for it.
pub struct Signal {
    syncobj: ARef<Syncobj>,
    point: Option<(u64, FenceChain)>,
}

impl Signal {
    /// Looks up the object and allocates: a timeline has a point, a binary object has none.
    pub fn prepare<F: drm::file::DriverFile>(
        file: &drm::File<F>,
        handle: u32,
        point: Option<u64>,
    ) -> Result<Self> {
        Self::with_syncobj(Syncobj::find(file, handle)?, point)
    }

    /// The same for an object that was looked up already.
    pub fn with_syncobj(syncobj: ARef<Syncobj>, point: Option<u64>) -> Result<Self> {
        let point = match point {
            Some(point) => Some((point, FenceChain::new(GFP_KERNEL)?)),
            None => None,
        };
        Ok(Self { syncobj, point })
    }

    /// `fence` is what will signal it. It must be none that is a chain itself.
    pub fn set(self, fence: &Fence) {
        match self.point {
            Some((point, link)) => self.syncobj.add_point(link, fence, point),
            None => self.syncobj.replace_fence(Some(fence)),
        }
    }
}

#[kunit_tests(rust_drm_syncobj)]
mod tests {
    use super::*;
    use crate::dma_fence::{
        FenceContext,
        FenceOps,
        NewFence, //
    };

    struct Ops;

    impl FenceOps for Ops {
        fn driver_name(&self) -> &CStr {
            c"kunit"
        }
        fn timeline_name(&self) -> &CStr {
            c"syncobj"
        }
    }

    #[test]
    fn binary() -> Result {
        let mut timeline = FenceContext::new();
        let syncobj = Syncobj::new(None)?;
        assert!(syncobj.fence().is_none());
        assert!(syncobj.point(0).is_err());

        let work = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
        Signal::with_syncobj(syncobj.clone(), None)?.set(work.fence());
        let fence = syncobj.point(0)?;
        assert_eq!(fence.seqno(), 1);
        assert!(!fence.is_signaled());
        work.signal();
        assert!(fence.is_signaled());

        syncobj.replace_fence(None);
        assert!(syncobj.fence().is_none());
        Ok(())
    }

    #[test]
    fn a_point_waits_for_those_before() -> Result {
        let mut timeline = FenceContext::new();
        let syncobj = Syncobj::new(None)?;
        let early = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);
        let late = timeline.emit(NewFence::new(Ops, GFP_KERNEL)?);

        Signal::with_syncobj(syncobj.clone(), Some(10))?.set(early.fence());
        Signal::with_syncobj(syncobj.clone(), Some(20))?.set(late.fence());

        // Every point up to a fence's own is that fence's.
        let (ten, eleven) = (syncobj.point(10)?, syncobj.point(11)?);
        assert!(syncobj.point(21).is_err());
        late.signal();
        assert!(!ten.is_signaled());
        assert!(!eleven.is_signaled());
        early.signal();
        assert!(ten.is_signaled());
        assert!(eleven.is_signaled());
        assert!(syncobj.point(1)?.is_signaled());
        Ok(())
    }

    #[test]
    fn unused_signals_change_nothing() -> Result {
        let syncobj = Syncobj::new(Some(&Fence::signaled()))?;
        drop(Signal::with_syncobj(syncobj.clone(), Some(3))?);
        assert!(syncobj.point(0)?.is_signaled());
        assert!(syncobj.point(3).is_err());
        Ok(())
    }
}
