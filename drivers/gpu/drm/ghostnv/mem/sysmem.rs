// SPDX-License-Identifier: GPL-2.0

//! System memory that the GPU reaches.
//!
//! Pages that need not follow each other, zeroed, with addresses on the bus that are withdrawn when
//! the driver lets go of the device. The pages stay as long as their owner wants, because user
//! space may have them mapped. (Small buffers of the kernel's own are `dma::Coherent`.)
//!
//! Such pages can neither be swapped out nor moved, and a client may ask for any number of them. So
//! all clients together get at most half of the system's memory, which is what TTM allows those of
//! other drivers; the rest of the system does not run out of memory because of them.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::DataDirection,
    drm::gem::prime::SharedPages,
    io::PhysAddr,
    mm::total_pages,
    page::{
        AsPageIter,
        PAGE_SIZE, //
    },
    prelude::*,
    scatterlist::{
        Owned,
        SGTable, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::mmu::Run;

/// Pages that all GPUs' objects have, by permission.
static TAKEN: Pages = Pages(Atomic::new(0));

/// A number of pages that has a limit.
struct Pages(Atomic<u64>);

impl Pages {
    /// Takes `count`; `ENOMEM` if there were more than `limit` then.
    fn take(&'static self, count: u64, limit: u64) -> Result<Permit> {
        if count > limit {
            return Err(ENOMEM);
        }
        // Too much for a moment may make another fail that would have fitted. The sum does not
        // overflow: there are not as many tasks.
        let before = self.0.fetch_add(count, Relaxed);
        let permit = Permit { pages: self, count };
        if before > limit - count {
            return Err(ENOMEM);
        }
        Ok(permit)
    }
}

/// The permission to have pages of system memory, for as long as it exists.
struct Permit {
    pages: &'static Pages,
    count: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pages.0.fetch_sub(self.count, Relaxed);
    }
}

/// Pages of system memory.
pub(crate) struct SystemPages {
    /// For the CPU, page by page.
    pages: KVVec<PhysAddr>,
    /// For the GPU; owns the pages.
    table: Pin<KBox<SGTable<Owned<VVec<u8>>>>>,
    /// Given back after the pages.
    _permit: Permit,
}

/// The runs of a table that is mapped for the GPU. Neighbours are merged.
pub(crate) fn runs_of(table: &SGTable) -> Result<KVVec<Run>> {
    let mut runs: KVVec<Run> = KVVec::new();
    let mut offset = 0;

    for entry in table.iter() {
        let (address, len) = (entry.dma_address(), entry.dma_len());
        match runs.last_mut() {
            Some(last) if last.address.checked_add(last.len) == Some(address) => last.len += len,
            _ => runs.push(
                Run {
                    offset,
                    address,
                    len,
                },
                GFP_KERNEL,
            )?,
        }
        offset = u64::checked_add(offset, len).ok_or(EINVAL)?;
    }
    Ok(runs)
}

impl SystemPages {
    /// Allocates `size` bytes, which are whole pages and not zero. They are charged to the control
    /// group of the caller.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, or if all objects together would have more than half of it.
    pub(crate) fn new(dev: &Device<Bound>, size: usize) -> Result<Self> {
        if size == 0 || size % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        let count = u64::try_from(size / PAGE_SIZE)?;
        let permit = TAKEN.take(count, u64::try_from(total_pages() / 2)?)?;
        // A client may ask for more than there is, which is nobody else's concern: neither the
        // log's, nor that of whom the OOM killer would choose.
        let flags = GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
        let mut memory: VVec<u8> = VVec::zeroed(size, flags)?;
        let mut pages = KVVec::with_capacity(size / PAGE_SIZE, flags)?;
        for page in memory.page_iter() {
            pages.push(page.phys(), GFP_KERNEL)?;
        }
        let table = SGTable::new(dev, memory, DataDirection::Bidirectional, flags);

        Ok(Self {
            pages,
            table: KBox::pin_init(table, GFP_KERNEL)?,
            _permit: permit,
        })
    }

    /// Where the GPU finds them.
    pub(crate) fn runs(&self) -> Result<KVVec<Run>> {
        runs_of(&self.table)
    }

    /// For the devices of other drivers.
    pub(crate) fn shared(&self) -> SharedPages<'_> {
        SharedPages::from(&*self.table)
    }

    /// Where the CPU finds a page, and how many follow it.
    pub(crate) fn at(&self, page: usize) -> Option<(PhysAddr, usize)> {
        let rest = self.pages.get(page..)?;
        let first = *rest.first()?;
        let count = rest
            .iter()
            .enumerate()
            .take_while(|&(i, &at)| first.checked_add((i * PAGE_SIZE) as u64) == Some(at))
            .count();

        Some((first, count))
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_sysmem)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_limit() -> Result {
        static PAGES: Pages = Pages(Atomic::new(0));

        let some = PAGES.take(60, 100)?;
        for count in [41, 100, 101, u64::MAX] {
            assert_eq!(PAGES.take(count, 100).err(), Some(ENOMEM));
        }
        let rest = PAGES.take(40, 100)?;
        assert!(PAGES.take(1, 100).is_err());
        // The limit may sink when memory is taken out of the machine.
        assert!(PAGES.take(1, 50).is_err());
        drop(some);
        assert!(PAGES.take(60, 100).is_ok());
        drop(rest);
        assert_eq!(PAGES.0.load(Relaxed), 0);
        Ok(())
    }
}
