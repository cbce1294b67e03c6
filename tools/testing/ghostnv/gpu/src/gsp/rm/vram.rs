// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who uses which part of VRAM, and the page directories of BAR1 and BAR2.
//!
//! From the bottom: what drivers may use, RM's own pages, then everything that was reserved for the
//! firmware before it started (non-WPR heap, WPR2, FRTS, VGA workspace).

use super::Rm;
use crate::env::mem::{Aperture, Phys};
use crate::gsp::BootInfo;
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;

/// RM keeps at least this much below the reserved part.
const RM_PAGES: u64 = 2 * PAGE;
/// The usable part ends at a multiple of this.
const ALIGN: u64 = 1 << 20;
const PAGE: u64 = 0x1000;
/// Coverage of an entry of the top-level directory (version 2): VA bits 48:47.
const TOP_SHIFT: u64 = 47;
/// `NV_RPC_UPDATE_PDE_BAR_1` and `_2`.
const BAR_1: u32 = 0;
const BAR_2: u32 = 1;

/// The layout of VRAM.
#[derive(Debug, Clone, Copy)]
pub struct Vram {
    /// Its size.
    pub size: u64,
    /// End of what drivers may use.
    pub usable_end: u64,
    /// Page directory of BAR1.
    pub bar1_pd: u64,
    /// Page directory of BAR2.
    pub bar2_pd: u64,
    /// Start of the part that was reserved before RM started.
    pub reserved_start: u64,
    /// FRTS.
    pub frts: u64,
}

impl Vram {
    /// Lays out VRAM, and makes empty page directories that the BARs go through.
    pub fn new(hw: &mut Machine, info: &BootInfo) -> Option<Self> {
        let size = hw.env.mem.vram_size();
        if info.fb_size != size || info.reserved_start > size || info.reserved_start < 64 << 20 {
            let text = format!(
                "WPR meta: VRAM {:#x} (is {size:#x}), reserved from {:#x}",
                info.fb_size, info.reserved_start
            );
            hw.env.violation("gsp-boot-args", text);
            return None;
        }
        let usable_end = info.reserved_start.saturating_sub(RM_PAGES) / ALIGN * ALIGN;
        let vram = Self {
            size,
            usable_end,
            bar1_pd: usable_end,
            bar2_pd: usable_end + PAGE,
            reserved_start: info.reserved_start,
            frts: info.frts,
        };
        for pd in [vram.bar1_pd, vram.bar2_pd] {
            hw.env.mem.write(Phys::vram(pd), &[0; PAGE as usize]).ok()?;
        }
        vram.attach_bars(hw);
        Some(vram)
    }

    /// Points the BARs at their page directories.
    pub fn attach_bars(&self, hw: &mut Machine) {
        hw.bars.bar1 = Some(Phys::vram(self.bar1_pd));
        hw.bars.bar2 = Some(Phys::vram(self.bar2_pd));
        hw.mmu.invalidate(&mut hw.env, hw.bars.bar1);
        hw.mmu.invalidate(&mut hw.env, hw.bars.bar2);
    }

    /// Whether drivers may hand this range to RM: usable VRAM, or system memory mapped for DMA.
    pub fn allows(&self, hw: &Machine, at: Phys, size: u64) -> bool {
        match at.aperture {
            Aperture::Vram => at.addr.checked_add(size).is_some_and(|end| end <= self.usable_end),
            _ => usize::try_from(size).is_ok_and(|n| hw.env.mem.check(at, n, true).is_ok()),
        }
    }
}

impl Rm {
    /// UPDATE_BAR_PDE: sets entry 0 of a BAR's page directory.
    pub fn update_bar_pde(
        &mut self,
        hw: &mut Machine,
        bar: u32,
        entry: u64,
        shift: u64,
    ) -> Outcome {
        let root = match bar {
            BAR_1 => Phys::vram(self.vram.bar1_pd),
            BAR_2 => Phys::vram(self.vram.bar2_pd),
            _ => Phys::vram(0),
        };
        if root.addr == 0 || shift != TOP_SHIFT || entry & 1 != 0 {
            let text = format!("UPDATE_BAR_PDE bar {bar}, entry {entry:#x}, level {shift}");
            hw.env.violation("rm-params", text);
            return Err(Status::INVALID_ARGUMENT);
        }
        hw.env.mem.write_u64(root, entry).map_err(|_| Status::INVALID_ADDRESS)?;
        hw.mmu.invalidate(&mut hw.env, Some(root));
        Ok(())
    }
}
