// SPDX-License-Identifier: GPL-2.0

//! The kernel's view of video memory.
//!
//! BAR2 shows virtual addresses of a space of its own. The firmware owns the root of that space;
//! the driver makes the tables below its first entry and has the firmware put it there
//! (`UPDATE_BAR_PDE`). The lower half of BAR2 is the driver's: 256 windows of 64 KiB, each entry of
//! which sits in one of eight neighbouring tables that the first window shows.
//!
//! An address belongs to one window by its number, as in a direct-mapped cache. So no window is
//! ever held, all of video memory can be reached, and page tables, which are written most, lie in
//! few 64 KiB blocks that stay where they are. Moving a window costs three register accesses and
//! one read.
//!
//! Writes are posted and combined: [`Bar2::barrier`] orders them among themselves, and
//! [`Bar2::flush`] waits until they have arrived.

use core::ops::Range;

use kernel::{
    io::{
        io_project,
        Io,
        IoBase, //
    },
    new_mutex,
    pci,
    prelude::*,
    sizes::{
        SZ_16M,
        SZ_4K,
        SZ_64K, //
    },
    sync::{
        barrier::{
            mb,
            Full,
            Write, //
        },
        Arc,
        Mutex, //
    }, //
};

use crate::{
    gpu::Hw,
    gsp::{
        commands::UpdateBarPde,
        rpc::Link, //
    },
    mmu::{
        Aperture,
        Attr,
        Format,
        Tlb,
        Users, //
    },
    regs::mmu::{
        BAR0_WINDOW,
        PRAMIN, //
    },
};

use super::vram::{
    Piece,
    Shape,
    Vram, //
};

/// Bytes of a window.
const WINDOW: u64 = SZ_64K as u64;
/// Windows: half of the smallest BAR2.
const WINDOWS: usize = SZ_16M / SZ_64K;

/// Where the tables are in the driver's own block.
const PD2: usize = 0;
const PD1: usize = SZ_4K;
const PD0: usize = 2 * SZ_4K;
/// Eight tables of 64 KiB pages; their entries follow each other.
const BIG: usize = 3 * SZ_4K;
const BIG_SIZE: usize = 256;
const BIG_TABLES: usize = WINDOWS / 32;
const USED: usize = BIG + BIG_TABLES * BIG_SIZE;

/// Windows into video memory. Any task may use them; a mutex is held meanwhile.
#[pin_data(PinnedDrop)]
pub(crate) struct Bar2<'bound> {
    io: pci::Bar<'bound>,
    link: Arc<Link<'bound>>,
    tlb: Arc<Tlb<'bound>>,
    format: &'static dyn Format,
    /// The firmware's page directory.
    root: u64,
    /// The driver's tables below it; where they are.
    own: Piece,
    /// The block that each window shows, if that is known.
    #[pin]
    shown: Mutex<KVec<Option<u64>>>,
}

impl<'bound> Bar2<'bound> {
    /// Takes the lower half of BAR2.
    pub(crate) fn new<'a>(
        pdev: &'bound pci::Device<kernel::device::Bound>,
        link: Arc<Link<'bound>>,
        tlb: Arc<Tlb<'bound>>,
        format: &'static dyn Format,
        vram: &Vram,
        root: u64,
    ) -> Result<impl PinInit<Self, Error> + use<'a, 'bound>> {
        // BAR1 is a 64-bit one and takes two numbers.
        let io = pdev.iomap_region_wc(3, c"ghostnv/bar2")?;
        if io.as_view().size() < SZ_16M {
            dev_err!(pdev, "BAR2 has less than 16 MiB\n");
            return Err(ENODEV);
        }
        let own = vram.alloc(WINDOW, WINDOW, Shape::Contiguous)?;
        let at = own.contiguous().ok_or(EINVAL)?.address;

        write_tables(link.hw(), format, at)?;
        link.call(&UpdateBarPde {
            bar: UpdateBarPde::BAR2,
            shift: format.levels().first().ok_or(EINVAL)?.shift,
            entry: format.pde(at + PD2 as u64),
        })?;
        let mut shown = KVec::new();
        shown.resize(WINDOWS, None, GFP_KERNEL)?;
        if let Some(first) = shown.first_mut() {
            *first = Some(at);
        }
        Ok(try_pin_init!(Self {
            io,
            link,
            tlb,
            format,
            root,
            own,
            shown <- new_mutex!(shown),
        }))
    }

    /// Writes 64-bit words to video memory from `address` on, which is a multiple of 8.
    ///
    /// The words are taken until there are no more.
    ///
    /// # Errors
    ///
    /// `ENODEV` or `ETIMEDOUT` if the GPU is lost; some words are not written then.
    pub(crate) fn write(&self, address: u64, words: &mut dyn Iterator<Item = u64>) -> Result {
        let mut shown = self.shown.lock();
        let mut at = address;
        let mut next = words.next();

        while next.is_some() {
            let window = self.show(&mut shown, at)?;
            let end = (at & !(WINDOW - 1)) + WINDOW;
            while at < end {
                let Some(word) = next else { return Ok(()) };
                // CAST: Below 64 KiB.
                let offset = window + (at & (WINDOW - 1)) as usize;
                // The offset is within BAR2, and is a multiple of 8 if `address` is.
                self.io.as_view().relaxed().try_write64(word, offset)?;
                at += 8;
                next = words.next();
            }
        }
        Ok(())
    }

    /// Zeroes `len` bytes of video memory.
    ///
    /// Posted writes, which the CPU combines: some gigabytes a second.
    ///
    /// # Errors
    ///
    /// As of [`Self::write`].
    pub(crate) fn zero(&self, address: u64, len: u64) -> Result {
        let mut shown = self.shown.lock();
        let (mut at, end) = (address, address.saturating_add(len));

        while at < end {
            let window = self.show(&mut shown, at)?;
            let next = ((at & !(WINDOW - 1)) + WINDOW).min(end);
            // CAST: Both below 64 KiB.
            let first = window + (at & (WINDOW - 1)) as usize;
            self.fill(first..first + (next - at) as usize)?;
            at = next;
        }
        Ok(())
    }

    /// Zeroes a range of BAR2's lower half.
    fn fill(&self, range: Range<usize>) -> Result {
        let half = self.io.as_view().try_cast::<[u8; SZ_16M]>()?;

        io_project!(half, [try: range]).fill(0);
        Ok(())
    }

    /// What was written before arrives before what is written after.
    pub(crate) fn barrier(&self) {
        mb(Write);
    }

    /// Waits until all that was written has arrived. One read over the bus.
    pub(crate) fn flush(&self) {
        mb(Full);
        // The driver's own tables are always shown at the start.
        let _ = self.io.as_view().try_read32(PD2);
    }

    /// `ENODEV` if the GPU is lost.
    pub(crate) fn check(&self) -> Result {
        self.link.lost().check()
    }

    /// Has a window show `address`, and says where in BAR2 the window is.
    fn show(&self, shown: &mut KVec<Option<u64>>, address: u64) -> Result<usize> {
        let base = address & !(WINDOW - 1);
        // The first one stays with the driver's tables.
        // CAST: Below 256.
        let index = 1 + ((address / WINDOW) % (WINDOWS as u64 - 1)) as usize;
        let slot = shown.get_mut(index).ok_or(EINVAL)?;
        let place = index * SZ_64K;

        if *slot == Some(base) {
            return Ok(place);
        }
        // Until it has moved nobody knows what it shows.
        *slot = None;
        let entry = self
            .format
            .pte(base, Attr::linear(Aperture::Vram).privileged());
        // What was written through the window goes where it was meant to.
        mb(Write);
        self.io.as_view().try_write64(entry, BIG + 8 * index)?;
        // The hardware may remember another entry, or that there was none.
        self.flush();
        self.tlb.invalidate(self.root, Users::Windows)?;
        *slot = Some(base);
        Ok(place)
    }
}

#[pinned_drop]
impl PinnedDrop for Bar2<'_> {
    fn drop(self: Pin<&mut Self>) {
        self.flush();
        // What failed has been said; nobody uses BAR2 any more.
        let _ = self.link.call(&UpdateBarPde {
            bar: UpdateBarPde::BAR2,
            shift: self.format.levels().first().map_or(0, |l| l.shift),
            entry: 0,
        });
    }
}

/// Writes the tables for the first time, through the window in BAR0 that needs none.
#[inline(never)]
fn write_tables(hw: Hw<'_>, format: &dyn Format, at: u64) -> Result {
    let write = |offset: usize, word: u64| -> Result {
        // CAST: Halves by intent; BAR0 takes 32 bits at a time.
        hw.bar.try_write32(word as u32, PRAMIN + offset)?;
        hw.bar.try_write32((word >> 32) as u32, PRAMIN + offset + 4)
    };

    hw.bar
        .write_reg(BAR0_WINDOW::zeroed().try_with_base(u32::try_from(at >> 16)?)?);
    for offset in (0..USED).step_by(8) {
        write(offset, 0)?;
    }
    write(PD2, format.pde(at + PD1 as u64))?;
    write(PD1, format.pde(at + PD0 as u64))?;
    for i in 0..BIG_TABLES {
        write(PD0 + 16 * i, format.pde(at + (BIG + i * BIG_SIZE) as u64))?;
    }
    let own = Attr::linear(Aperture::Vram).privileged();
    write(BIG, format.pte(at, own))?;
    // The writes have arrived when the last one can be read.
    hw.bar.try_read32(PRAMIN + BIG).map(|_| ())
}
