// SPDX-License-Identifier: GPL-2.0

//! Who owns the top of video memory while GSP-RM runs.
//!
//! Seen from the end of memory downwards (after `kgspCalculateFbLayout_TU102` in
//! `github.com/NVIDIA/open-gpu-kernel-modules`):
//!
//! ```text
//!   end of memory
//!     VGA workspace      the VGA core's memory, where the board's firmware put it
//!   --- end of WPR2 (128 KiB aligned) ---
//!     FRTS               1 MiB: data that FWSEC hands from the VBIOS to GSP-RM
//!     boot image         GSP's bootloader                            (4 KiB aligned)
//!     GSP-RM             the image itself                            (64 KiB aligned)
//!     heap               GSP-RM's working memory                     (1 MiB aligned)
//!     WPR meta           the table that describes all of this        (1 MiB aligned)
//!   --- start of WPR2 ---
//!     open heap          1 MiB of GSP-RM's memory that others may write
//!   the rest is the driver's
//! ```
//!
//! FWSEC protects FRTS first; the booter then extends the protected region down to the WPR meta. A
//! wrong bound shows up as a refusal of the booter, so the arithmetic is kept free of registers and
//! under test.

use core::ops::Range;

use kernel::{
    io::Io,
    prelude::*,
    ptr::{
        Alignable,
        Alignment, //
    },
    sizes::{
        SZ_128K,
        SZ_1M,
        SZ_4K,
        SZ_64K, //
    }, //
};

use crate::{
    gpu::Hw,
    regs, //
};

const MIB: u64 = SZ_1M as u64;
const KIB: u64 = 1024;

/// How much working memory GSP-RM wants, which depends on the operating system below it.
#[derive(Debug)]
pub(crate) struct HeapRule {
    /// What the operating system itself takes.
    base: u64,
    /// Least and greatest size that the firmware works with.
    bounds: (u64, u64),
}

impl HeapRule {
    /// LIBOS 2, on Turing.
    pub(crate) const LIBOS2: Self = Self {
        base: 0,
        bounds: (64 * MIB, 256 * MIB),
    };
    /// LIBOS 3, on Ampere and Ada.
    pub(crate) const LIBOS3: Self = Self {
        base: 22 * MIB,
        bounds: (88 * MIB, 280 * MIB),
    };

    /// Size of the heap on a GPU with `vram` bytes.
    fn size(&self, vram: u64) -> Option<u64> {
        /// RM's own state on these generations.
        const RM: u64 = 8 * MIB;
        /// Page tables and the like, for each GiB of video memory.
        const PER_GIB: u64 = 96 * KIB;
        /// Objects of one channel, and the channels the firmware is to have room for.
        const PER_CHANNEL: u64 = 48 * KIB;
        const CHANNELS: u64 = 2048;

        let managing = up(vram.div_ceil(1024 * MIB).checked_mul(PER_GIB)?, SZ_1M)?;
        let channels = up(PER_CHANNEL * CHANNELS, SZ_1M)?;
        let size = managing
            .checked_add(channels)?
            .checked_add(self.base + RM)?;
        let (least, greatest) = self.bounds;

        Some(size.max(least).min(greatest))
    }
}

/// Where everything is; see the module's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// All of video memory.
    pub(crate) vram: Range<u64>,
    /// Memory of the VGA core.
    pub(crate) vga: Range<u64>,
    /// What FWSEC fills and protects.
    pub(crate) frts: Range<u64>,
    /// GSP's bootloader.
    pub(crate) boot: Range<u64>,
    /// The image of GSP-RM.
    pub(crate) image: Range<u64>,
    /// GSP-RM's heap.
    pub(crate) heap: Range<u64>,
    /// The whole protected region.
    pub(crate) wpr2: Range<u64>,
    /// The heap outside the protected region.
    pub(crate) open_heap: Range<u64>,
}

impl Layout {
    /// The layout for this GPU and for images of the given sizes.
    pub(crate) fn new(hw: Hw<'_>, image: u64, boot: u64) -> Result<Self> {
        let vram = hw.chip.hal.memory.vram_size(hw);
        let workspace = if hw.chip.hal.memory.has_display(hw) {
            hw.bar.read(regs::memory::VGA_WORKSPACE_BASE).address()
        } else {
            None
        };

        Self::compute(vram, workspace, image, boot, hw.chip.hal.heap).ok_or_else(|| {
            dev_err!(
                hw.dev,
                "{} MiB of video memory cannot hold GSP-RM ({} KiB)\n",
                vram / MIB,
                image / KIB
            );
            ENOSPC
        })
    }

    fn compute(
        vram: u64,
        workspace: Option<u64>,
        image: u64,
        boot: u64,
        heap: &HeapRule,
    ) -> Option<Self> {
        /// The part of video memory that the VGA window reaches.
        const VGA_WINDOW: u64 = MIB;
        /// What a workspace takes that lies below the window and must be moved.
        const VGA_WORKSPACE: u64 = 128 * KIB;
        const FRTS: u64 = MIB;
        const WPR_META: u64 = 256;
        const OPEN_HEAP: u64 = MIB;

        let window = vram.checked_sub(VGA_WINDOW)?;
        let vga = match workspace {
            None => window,
            Some(address) if address < window => vram.checked_sub(VGA_WORKSPACE)?,
            Some(address) if address < vram => address,
            Some(_) => return None,
        };

        let wpr_end = down(vga, SZ_128K);
        let frts = wpr_end.checked_sub(FRTS)?;
        let boot_at = down(frts.checked_sub(boot)?, SZ_4K);
        let image_at = down(boot_at.checked_sub(image)?, SZ_64K);
        let heap_end = down(image_at, SZ_1M);
        let heap_at = down(image_at.checked_sub(heap.size(vram)?)?, SZ_1M);
        let wpr_at = down(heap_at.checked_sub(WPR_META)?, SZ_1M);
        let open_at = wpr_at.checked_sub(OPEN_HEAP)?;

        Some(Self {
            vram: 0..vram,
            vga: vga..vram,
            frts: frts..wpr_end,
            boot: boot_at..boot_at + boot,
            image: image_at..image_at + image,
            heap: heap_at..heap_end,
            wpr2: wpr_at..wpr_end,
            open_heap: open_at..wpr_at,
        })
    }
}

fn down(value: u64, to: usize) -> u64 {
    Alignment::new_checked(to).map_or(value, |to| value.align_down(to))
}

fn up(value: u64, to: usize) -> Option<u64> {
    value.align_up(Alignment::new_checked(to)?)
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_layout)]
mod tests {
    use super::*;

    const IMAGE: u64 = 0x3c99000;
    const BOOT: u64 = 0x6000;

    fn ga102(vram: u64, workspace: Option<u64>) -> Option<Layout> {
        Layout::compute(vram, workspace, IMAGE, BOOT, &HeapRule::LIBOS3)
    }

    #[test]
    fn heap_sizes() {
        // 22 + 8 + 3 (24 GiB x 96 KiB, rounded up) + 96 MiB.
        assert_eq!(HeapRule::LIBOS3.size(24 << 30), Some(129 * MIB));
        assert_eq!(HeapRule::LIBOS2.size(1 << 30), Some(105 * MIB));
        assert_eq!(HeapRule::LIBOS2.size(1 << 41), Some(256 * MIB));
    }

    #[test]
    fn regions_follow_each_other() {
        let Some(l) = ga102(24 << 30, None) else {
            assert!(false);
            return;
        };
        let downwards = [&l.vga, &l.frts, &l.boot, &l.image, &l.heap];

        assert_eq!(l.vga, (24 << 30) - MIB..24 << 30);
        assert_eq!(l.frts.end - l.frts.start, MIB);
        assert!(downwards.windows(2).all(|p| p[1].end <= p[0].start));
        assert_eq!(l.wpr2.end, l.frts.end);
        assert!(l.wpr2.start + 256 <= l.heap.start);
        assert_eq!(l.open_heap.end, l.wpr2.start);
        assert_eq!(l.image.start % 0x10000, 0);
        assert_eq!(l.heap.start % MIB, 0);
    }

    #[test]
    fn workspace() {
        let vga = |at| ga102(4 << 30, Some(at)).map(|l| l.vga.start);
        let end = 4u64 << 30;

        assert_eq!(vga(end - 0x40000), Some(end - 0x40000));
        // Below the window: it is moved to the end.
        assert_eq!(vga(0x1000_0000), Some(end - 0x20000));
        // Not in video memory at all.
        assert_eq!(vga(end), None);
    }

    #[test]
    fn too_small() {
        assert_eq!(ga102(0, None), None);
        assert_eq!(ga102(64 * MIB, None), None);
        assert_eq!(
            Layout::compute(1 << 30, None, u64::MAX, BOOT, &HeapRule::LIBOS3),
            None
        );
    }
}
