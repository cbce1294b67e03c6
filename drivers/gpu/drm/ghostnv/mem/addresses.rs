// SPDX-License-Identifier: GPL-2.0

//! Ranges of virtual addresses that the driver chooses.
//!
//! The kernel's GPU buddy allocator gives them out as it does memory: by powers of two, aligned to
//! their size, so that pages can be as large as what is mapped allows.

use core::ops::Range;

use kernel::{
    gpu::buddy::{
        AllocatedBlocks,
        GpuBuddy,
        GpuBuddyAllocFlag,
        GpuBuddyAllocMode,
        GpuBuddyParams, //
    },
    prelude::*,
    ptr::Alignment,
    sizes::SZ_4K, //
};

use crate::mmu::Run;

/// Addresses of which some are in use.
pub(crate) struct Addresses(GpuBuddy);

impl Addresses {
    /// All of a range, none in use.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is empty or not whole pages.
    pub(crate) fn new(range: Range<u64>) -> Result<Self> {
        Ok(Self(GpuBuddy::new(GpuBuddyParams {
            base_offset: range.start,
            size: range.end.checked_sub(range.start).ok_or(EINVAL)?,
            chunk_size: Alignment::new::<SZ_4K>(),
        })?))
    }

    /// Takes addresses for what `runs` describe, which start at offset zero and follow each other.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no run, `ENOSPC` if there is no free range of that length, `ENOMEM`.
    pub(crate) fn take(&self, runs: &[Run]) -> Result<Taken> {
        let last = runs.last().ok_or(EINVAL)?;
        let len = last.offset.checked_add(last.len).ok_or(EINVAL)?;
        let blocks = self.0.alloc_blocks(
            GpuBuddyAllocMode::Simple,
            len,
            self.0.chunk_size(),
            GpuBuddyAllocFlag::Contiguous,
        );
        let blocks = KBox::pin_init(blocks, GFP_KERNEL)?;
        // There may be several, but one follows the other.
        let start = blocks.iter().map(|block| block.offset()).min();

        Ok(Taken {
            start: start.ok_or(ENOSPC)?,
            len,
            _blocks: blocks,
        })
    }
}

/// Addresses in use. Dropping it gives them back; nothing may be mapped there any more.
pub(crate) struct Taken {
    start: u64,
    len: u64,
    _blocks: Pin<KBox<AllocatedBlocks>>,
}

impl Taken {
    /// The first address.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_mem_addresses)]
mod tests {
    use super::*;

    fn run(offset: u64, len: u64) -> Run {
        Run {
            offset,
            address: 0,
            len,
        }
    }

    #[test]
    fn ranges_do_not_overlap_and_come_back() -> Result {
        const PAGE: u64 = SZ_4K as u64;
        let addresses = Addresses::new(0x10_0000..0x14_0000)?;
        let mut taken = KVec::new();

        for _ in 0..16 {
            let new = addresses.take(&[run(0, PAGE), run(PAGE, 3 * PAGE)])?;
            assert_eq!((new.len(), new.start() % (4 * PAGE)), (4 * PAGE, 0));
            assert!(new.start() >= 0x10_0000 && new.start() + new.len() <= 0x14_0000);
            for old in &taken {
                let old: &Taken = old;
                assert!(
                    old.start() + old.len() <= new.start()
                        || new.start() + new.len() <= old.start()
                );
            }
            taken.push(new, GFP_KERNEL)?;
        }
        assert_eq!(addresses.take(&[run(0, PAGE)]).err(), Some(ENOSPC));
        drop(taken);
        assert_eq!(addresses.take(&[run(0, 64 * PAGE)])?.start(), 0x10_0000);
        Ok(())
    }

    #[test]
    fn what_is_no_range_is_refused() -> Result {
        for (start, end) in [(0x1000, 0x1000), (0x2000, 0x1000), (0, 0x800)] {
            assert!(Addresses::new(start..end).is_err());
        }
        let addresses = Addresses::new(0..0x10_0000)?;
        assert_eq!(addresses.take(&[]).err(), Some(EINVAL));
        assert_eq!(addresses.take(&[run(u64::MAX, 1)]).err(), Some(EINVAL));
        assert!(addresses.take(&[run(0, 0x20_0000)]).is_err());
        Ok(())
    }
}
