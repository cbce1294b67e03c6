// SPDX-License-Identifier: GPL-2.0

//! Memory: who has which piece of it, and how CPU and GPU reach it.
//!
//! As the GPU comes up: its size, who holds which end of it ([`Layout`]), and the page of system
//! memory that orders the GPU's writes. Once the firmware runs, [`Memory`]: pieces of video memory
//! ([`vram`]), the CPU's windows ([`bar2`] for the kernel, [`bar1`] for user space), and memory for
//! page tables ([`tables`]).

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
    sizes::{
        SZ_4K,
        SZ_64K, //
    },
    sync::Arc, //
};

use crate::{
    gpu::Hw,
    gsp::{
        rpc::Link,
        GpuInfo, //
    },
    mmu::{
        Changes,
        Format,
        Gp100,
        Tlb,
        Tree,
        Users, //
    },
    regs::{
        self,
        BAR0_SIZE, //
    }, //
};

pub(crate) mod addresses;
pub(crate) mod bar1;
pub(crate) mod bar2;
mod layout;
pub(crate) mod sysmem;
pub(crate) mod tables;
pub(crate) mod vram;

use bar1::Bar1;
use bar2::Bar2;
use tables::{
    Table,
    Tables, //
};
use vram::{
    Piece,
    Shape,
    Vram, //
};

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

/// Memory of a GPU whose firmware runs, and the windows into it.
///
/// Goes away while the firmware still runs. Pieces of video memory may outlive it.
pub(crate) struct Memory<'bound> {
    /// Who has which piece of video memory.
    pub(crate) vram: Arc<Vram>,
    /// How page tables are written.
    pub(crate) format: &'static dyn Format,
    /// Video memory in user space.
    pub(crate) bar1: Arc<Bar1<'bound>>,
    /// Memory for page tables.
    pub(crate) tables: Arc<Tables<'bound>>,
    /// Video memory in the kernel.
    pub(crate) bar2: Arc<Bar2<'bound>>,
    /// What the hardware remembers of page tables.
    pub(crate) tlb: Arc<Tlb<'bound>>,
}

impl<'bound> Memory<'bound> {
    /// Takes over what the firmware leaves to the driver.
    #[inline(never)]
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        link: Arc<Link<'bound>>,
        info: &GpuInfo,
    ) -> Result<Self> {
        let format: &'static dyn Format = &Gp100;
        let [bar1, bar2] = info.bar_page_directories;
        let vram = Vram::new(&info.usable, link.lost().clone()).inspect_err(|e| {
            dev_err!(
                pdev,
                "no use can be made of the video memory that the firmware leaves, {:x?}: {e:?}\n",
                info.usable
            );
        })?;
        let tlb = Arc::pin_init(Tlb::new(link.clone()), GFP_KERNEL)?;
        let bar2 = Bar2::new(pdev, link, tlb.clone(), format, &vram, bar2)?;
        let bar2 = Arc::pin_init(bar2, GFP_KERNEL)?;
        let tables = Arc::new(Tables::new(bar2.clone(), &vram)?, GFP_KERNEL)?;
        let bar1 = Bar1::new(
            pdev,
            bar2.clone(),
            tlb.clone(),
            tables.clone(),
            format,
            bar1,
        )?;

        Ok(Self {
            vram,
            format,
            bar1: Arc::pin_init(bar1, GFP_KERNEL)?,
            tables,
            bar2,
            tlb,
        })
    }

    /// Takes a piece of video memory and zeroes it; see [`Vram::alloc`] and [`Bar2::zero`].
    pub(crate) fn zeroed(&self, size: u64, align: u64, shape: Shape) -> Result<Piece> {
        let piece = self.vram.alloc(size, align, shape)?;
        self.zero(&piece)?;
        Ok(piece)
    }

    /// Zeroes a piece of video memory by the CPU; see [`Bar2::zero`]. Others use the windows
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` if the process gets a signal: it may take long. `ENODEV` or `ETIMEDOUT` if the
    /// GPU is lost. Some of it is as it was then.
    pub(crate) fn zero(&self, piece: &Piece) -> Result {
        const PART: usize = SZ_64K;

        for extent in piece.extents() {
            for start in (extent.address..extent.end()).step_by(PART) {
                let len = (extent.end() - start).min(PART as u64);
                self.bar2.zero(start, len)?;
                if start + len < extent.end() && current!().signal_pending() {
                    return Err(ERESTARTSYS);
                }
            }
        }
        self.bar2.flush();
        Ok(())
    }

    /// Makes changes of page tables take effect; see [`commit`].
    pub(crate) fn commit(&self, root: u64, users: Users, changes: Changes<Table>) -> Result {
        commit(&self.bar2, &self.tlb, &self.tables, root, users, changes)
    }

    /// The first part of [`Self::commit`]: what was taken away is not used any more after it.
    pub(crate) fn arrive(&self, root: u64, users: Users, changes: &Changes<Table>) -> Result {
        arrive(&self.bar2, &self.tlb, root, users, changes)
    }

    /// An empty tree of page tables.
    pub(crate) fn tree(&self) -> Result<Tree<Tables<'bound>>> {
        Tree::new(self.format, &self.tables)
    }
}

/// Makes changes of the page tables below `root` take effect, and frees the tables they took out.
///
/// One read over the bus and one invalidate if anything was written. That is also for what was only
/// added: the hardware may remember that an entry was not valid, and of one for 4 KiB it does not
/// look again (open-gpu-kernel-modules, `uvm_ats_faults.c`, `uvm_mmu.c`).
///
/// # Errors
///
/// The GPU is lost. It may still use what was mapped, and walk the tables that were taken out;
/// these are freed nonetheless, since nobody else gets them.
fn commit<'bound>(
    bar2: &Bar2<'bound>,
    tlb: &Tlb<'bound>,
    tables: &Tables<'bound>,
    root: u64,
    users: Users,
    changes: Changes<Table>,
) -> Result {
    let arrived = arrive(bar2, tlb, root, users, &changes);

    changes.release(tables);
    arrived
}

fn arrive(
    bar2: &Bar2<'_>,
    tlb: &Tlb<'_>,
    root: u64,
    users: Users,
    changes: &Changes<Table>,
) -> Result {
    if changes.is_written() {
        bar2.flush();
        tlb.invalidate(root, users)?;
    }
    // Some of it was not written then.
    bar2.check()
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
