// SPDX-License-Identifier: GPL-2.0

//! Video memory as the GPU comes up with it: its size, who holds which end of it, and the page of
//! system memory that orders the GPU's writes.

use core::ops::Range;

use kernel::{
    device::{
        self,
        Bound, //
    },
    dma::CoherentHandle,
    io::Io,
    pci,
    prelude::*,
    sizes::SZ_4K,
    sync::Arc, //
};

use crate::{
    gpu::Hw,
    regs::{
        self,
        BAR0_SIZE, //
    }, //
};

mod layout;

pub(crate) use layout::{
    HeapRule,
    Layout, //
};

/// How a generation describes its video memory.
pub(crate) trait Hal: Sync {
    /// Bytes of video memory that are there to be used.
    fn vram_size(&self, hw: Hw<'_>) -> u64;

    /// Whether the chip has a display engine.
    fn has_display(&self, hw: Hw<'_>) -> bool;
}

/// Turing: the memory controller knows the size.
pub(crate) struct Tu102;

impl Hal for Tu102 {
    fn vram_size(&self, hw: Hw<'_>) -> u64 {
        hw.bar.read(regs::memory::LOCAL_MEMORY_RANGE).bytes()
    }

    fn has_display(&self, hw: Hw<'_>) -> bool {
        !hw.bar.read(regs::chip::tu102::FUSE_OPT_DISPLAY).disabled()
    }
}

/// GA102 and later: the board's firmware leaves the usable size in a scratch word.
pub(crate) struct Ga102;

impl Hal for Ga102 {
    fn vram_size(&self, hw: Hw<'_>) -> u64 {
        u64::from(hw.bar.read(regs::chip::USABLE_FB_SIZE).mib()) << 20
    }

    fn has_display(&self, hw: Hw<'_>) -> bool {
        !hw.bar.read(regs::chip::ga100::FUSE_OPT_DISPLAY).disabled()
    }
}

/// The region that only signed GSP firmware may write, if one is set up.
pub(crate) fn wpr2(hw: Hw<'_>) -> Option<Range<u64>> {
    regs::memory::wpr2_range(
        hw.bar.read(regs::memory::WPR2_ADDR_LO),
        hw.bar.read(regs::memory::WPR2_ADDR_HI),
    )
}

/// The page that the GPU reads to make sure its writes to system memory have arrived.
///
/// The hardware reads it at any time from now on, so the address is withdrawn before the page is
/// freed. Nothing is ever stored in it.
pub(crate) struct SysmemFlush<'bound> {
    page: CoherentHandle,
    bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
}

impl<'bound> SysmemFlush<'bound> {
    /// Gives the GPU a page.
    pub(crate) fn new(
        dev: &'bound device::Device<Bound>,
        bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
    ) -> Result<Self> {
        let page = CoherentHandle::alloc(dev, SZ_4K, GFP_KERNEL)?;
        let flush = Self { page, bar };

        flush.write(flush.page.dma_address())?;
        Ok(flush)
    }

    /// The high half first: the low half is the one that counts on chips with 40-bit addresses.
    fn write(&self, address: u64) -> Result {
        let bar = &*self.bar;

        bar.write_reg(
            regs::memory::NISO_FLUSH_SYSMEM_ADDR_HI::zeroed().try_with_adr_63_40(
                // CAST: the upper 24 bits.
                (address >> 40) as u32,
            )?,
        );
        bar.write_reg(
            regs::memory::NISO_FLUSH_SYSMEM_ADDR::zeroed().with_adr_39_08(
                // CAST: bits 39:8 by intent.
                (address >> 8) as u32,
            ),
        );
        Ok(())
    }
}

impl Drop for SysmemFlush<'_> {
    fn drop(&mut self) {
        // Address zero always fits.
        let _ = self.write(0);
    }
}
