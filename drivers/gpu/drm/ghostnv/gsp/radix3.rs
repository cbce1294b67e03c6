// SPDX-License-Identifier: GPL-2.0

//! The firmware image in system memory, with the page table that Booter walks to fetch it.
//!
//! The image is some 60 MB of scattered pages. Booter finds them through three levels of 4 KiB
//! pages of 64-bit bus addresses: one entry in level 0 names the single page of level 1, whose
//! entries name the pages of level 2, whose entries name the image's. That reaches 1 GiB.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_gsp.c` (`kgspCreateRadix3_IMPL`).

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        CoherentBox,
        DataDirection,
        DmaAddress, //
    },
    prelude::*,
    scatterlist::{
        Owned,
        SGTable, //
    },
};

use super::abi::GSP_PAGE_SIZE;

/// Entries of one page of the table.
const ENTRIES: usize = GSP_PAGE_SIZE / size_of::<u64>();

/// An image that the GPU can fetch.
#[pin_data]
pub(crate) struct Radix3 {
    size: usize,
    levels: Coherent<[u64]>,
    #[pin]
    image: SGTable<Owned<VVec<u8>>>,
}

/// Pages that the table of an image of `pages` pages takes, and those of level 2 among them.
fn table_pages(pages: usize) -> Result<(usize, usize)> {
    let level2 = pages.div_ceil(ENTRIES);
    if pages == 0 || level2 > ENTRIES {
        return Err(EFBIG);
    }
    Ok((2 + level2, level2))
}

/// Fills the table, which is at bus address `base`, with the image's pages.
fn fill(table: &mut [u64], base: u64, mut pages: impl Iterator<Item = u64>) -> Result {
    let (levels, level2) = table.split_at_mut_checked(2 * ENTRIES).ok_or(EINVAL)?;
    let (level0, level1) = levels.split_at_mut_checked(ENTRIES).ok_or(EINVAL)?;
    let page = |index: usize| {
        index
            .checked_mul(GSP_PAGE_SIZE)
            .and_then(|offset| base.checked_add(offset as u64))
            .map(u64::to_le)
            .ok_or(EOVERFLOW)
    };
    *level0.first_mut().ok_or(EINVAL)? = page(1)?;
    for (index, entry) in (2..).zip(level1.iter_mut().take(level2.len() / ENTRIES)) {
        *entry = page(index)?;
    }
    for entry in level2.iter_mut() {
        match pages.next() {
            Some(address) => *entry = address.to_le(),
            None => return Ok(()),
        }
    }
    // Whatever is left would not be reachable.
    pages.next().map_or(Ok(()), |_| Err(EFBIG))
}

impl Radix3 {
    /// Maps a copy of `bytes` and builds its table.
    pub(crate) fn new<'a>(
        dev: &'a Device<Bound>,
        bytes: &'a [u8],
    ) -> impl PinInit<Self, Error> + use<'a> {
        pin_init::pin_init_scope(move || {
            let size = bytes.len();
            let pages = size.div_ceil(GSP_PAGE_SIZE);
            let (total, _) = table_pages(pages)?;
            // At once, as what is mapped is all that was allocated.
            let mut image = VVec::with_capacity(pages * GSP_PAGE_SIZE, GFP_KERNEL)?;
            image.extend_from_slice(bytes, GFP_KERNEL)?;
            image.resize(pages * GSP_PAGE_SIZE, 0, GFP_KERNEL)?;
            Ok(try_pin_init!(Self {
                size,
                image <- SGTable::new(dev, image, DataDirection::ToDevice, GFP_KERNEL),
                levels: {
                    let addresses = image.iter().flat_map(|run| {
                        (run.dma_address()..)
                            .step_by(GSP_PAGE_SIZE)
                            .take((run.dma_len() as usize).div_ceil(GSP_PAGE_SIZE))
                    });
                    build(dev, total, addresses.take(pages))?
                },
            }))
        })
    }

    /// Bus address of level 0.
    pub(crate) fn dma_address(&self) -> DmaAddress {
        self.levels.dma_address()
    }

    /// Bytes of the image.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

/// Allocates a table of `total` pages and fills it.
fn build(
    dev: &Device<Bound>,
    total: usize,
    addresses: impl Iterator<Item = u64>,
) -> Result<Coherent<[u64]>> {
    let words = total.checked_mul(ENTRIES).ok_or(EOVERFLOW)?;
    let mut table = KVVec::new();
    table.resize(words, 0u64, GFP_KERNEL)?;
    let shared: Coherent<[u64]> =
        CoherentBox::<[u64]>::zeroed_slice(dev, words, GFP_KERNEL)?.into();
    fill(&mut table, shared.dma_address(), addresses)?;
    for (index, entry) in table.iter().enumerate() {
        kernel::io::io_write!(shared, [try: index], *entry);
    }
    Ok(shared)
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_radix3)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(table_pages(1), Ok((3, 1)));
        assert_eq!(table_pages(512), Ok((3, 1)));
        assert_eq!(table_pages(513), Ok((4, 2)));
        assert_eq!(table_pages(512 * 512), Ok((514, 512)));
        assert!(table_pages(512 * 512 + 1).is_err());
        assert!(table_pages(0).is_err());
    }

    #[test]
    fn levels_lead_to_every_page() -> Result {
        let (total, _) = table_pages(600)?;
        let mut table = KVVec::new();
        table.resize(total * ENTRIES, 0u64, GFP_KERNEL)?;
        let image = |n: u64| 0x8000_0000 + n * 0x3000;
        fill(&mut table, 0x10_0000, (0..600).map(image))?;
        assert_eq!(table[0], 0x10_1000);
        assert_eq!(
            (table[512], table[513], table[514]),
            (0x10_2000, 0x10_3000, 0)
        );
        assert_eq!((table[1024], table[1024 + 599]), (image(0), image(599)));
        assert_eq!(table[1024 + 600], 0);
        Ok(())
    }

    #[test]
    fn pages_that_do_not_fit_are_an_error() -> Result {
        let mut table = KVVec::new();
        table.resize(3 * ENTRIES, 0u64, GFP_KERNEL)?;
        assert!(fill(&mut table, 0, 0..513).is_err());
        assert!(fill(&mut table, u64::MAX - 4095, 0..1).is_err());
        Ok(())
    }
}
