// SPDX-License-Identifier: GPL-2.0

//! System memory that the GPU reaches.
//!
//! Pages that need not follow each other, zeroed, with addresses on the bus that are withdrawn when
//! the driver lets go of the device. The pages stay as long as their owner wants, because user
//! space may have them mapped. (Small buffers of the kernel's own are `dma::Coherent`.)

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::DataDirection,
    drm::gem::prime::SharedPages,
    io::PhysAddr,
    page::{
        AsPageIter,
        PAGE_SIZE, //
    },
    prelude::*,
    scatterlist::{
        Owned,
        SGTable, //
    }, //
};

use crate::mmu::Run;

/// Pages of system memory.
pub(crate) struct SystemPages {
    /// For the CPU, page by page.
    pages: KVVec<PhysAddr>,
    /// For the GPU; owns the pages.
    table: Pin<KBox<SGTable<Owned<VVec<u8>>>>>,
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
    /// Allocates `size` bytes, which are whole pages and not zero.
    pub(crate) fn new(dev: &Device<Bound>, size: usize) -> Result<Self> {
        if size == 0 || size % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        // A client may ask for more than there is, which is nobody else's concern.
        let flags = GFP_KERNEL | __GFP_NOWARN;
        let mut memory: VVec<u8> = VVec::zeroed(size, flags)?;
        let mut pages = KVVec::with_capacity(size / PAGE_SIZE, flags)?;
        for page in memory.page_iter() {
            pages.push(page.phys(), GFP_KERNEL)?;
        }
        let table = SGTable::new(dev, memory, DataDirection::Bidirectional, flags);

        Ok(Self {
            pages,
            table: KBox::pin_init(table, GFP_KERNEL)?,
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
