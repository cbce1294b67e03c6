// SPDX-License-Identifier: GPL-2.0

//! Whether the GPU is lost.
//!
//! A firmware that stops answering, or refuses to stop a channel, leaves nobody who can say what
//! the GPU still reads and writes; so does a TLB that does not forget. Such a GPU is *lost*, for
//! good: it is kept away from system memory ([`Link::lose`](crate::gsp::rpc::Link::lose)), and
//! video memory that is given back is handed to nobody. So what it used can be freed as ever.
//!
//! Video memory can outlive the driver's hold on the device, and this does too.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Set once, and never unset.
///
/// Whoever takes memory looks *after* taking it: to be free again, memory went through the lock
/// below which it was taken, after this was set.
pub(crate) struct Lost(AtomicFlag);

impl Lost {
    /// Not lost.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self(AtomicFlag::new(false)), GFP_KERNEL)?)
    }

    /// Sets it; says whether this was the first time.
    pub(crate) fn set(&self) -> bool {
        !self.0.xchg(true, Relaxed)
    }

    /// Whether it is set. A load, in any context.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// `ENODEV` if it is set.
    pub(crate) fn check(&self) -> Result {
        if self.is_set() {
            return Err(ENODEV);
        }
        Ok(())
    }
}
