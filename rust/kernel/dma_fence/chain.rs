// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Links of the chains that timelines in user space are made of.

use crate::{
    bindings,
    prelude::*, //
};
use core::mem::MaybeUninit;

/// The memory of one link of a fence chain.
///
/// A point on a timeline `drm_syncobj` is a link that holds the fence of the point and refers to
/// the point before. Whoever adds a point needs the memory for it before the work is submitted that
/// the fence belongs to; this is it.
///
/// # Examples
///
/// ```
/// use kernel::dma_fence::FenceChain;
///
/// let link = FenceChain::new(GFP_KERNEL)?;
/// // Nothing came of it: the memory is freed again.
/// drop(link);
/// # Ok::<(), Error>(())
/// ```
pub struct FenceChain(KBox<MaybeUninit<bindings::dma_fence_chain>>);

impl FenceChain {
    /// Allocates a link.
    pub fn new(flags: crate::alloc::Flags) -> Result<Self> {
        Ok(Self(KBox::new_uninit(flags)?))
    }

    /// Gives the memory away to a C function that initializes it.
    ///
    /// Once initialized by `dma_fence_chain_init()` it is freed as a fence is.
    #[inline]
    pub fn into_raw(self) -> *mut bindings::dma_fence_chain {
        KBox::into_raw(self.0).cast()
    }
}
