// SPDX-License-Identifier: GPL-2.0

//! The description of the write-protected region (WPR2) that Booter makes for the firmware.
//!
//! Booter runs on SEC2 and trusts nobody: it reads this page, checks that the parts lie in order
//! and inside VRAM, copies bootloader and firmware there and verifies their signatures.
//!
//! Facts: open-gpu-kernel-modules 570.144, `gsp_fw_wpr_meta.h` and `kernel_gsp_tu102.c`
//! (`kgspCalculateFbLayout_TU102`).

use core::ops::Range;

use crate::mem::Layout;

use super::abi::{
    WprMeta,
    WPR_META_MAGIC,
    WPR_META_REVISION, //
};

/// Something in system memory: bus address and length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blob {
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// Where in system memory the parts of the firmware are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) radix3: Blob,
    pub(crate) bootloader: Blob,
    pub(crate) bootloader_code: u32,
    pub(crate) bootloader_data: u32,
    pub(crate) bootloader_manifest: u32,
    pub(crate) signature: Blob,
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Describes `sources` to be placed by `layout`.
pub(crate) fn describe(sources: &Sources, layout: &Layout) -> WprMeta {
    WprMeta {
        magic: WPR_META_MAGIC,
        revision: WPR_META_REVISION,
        radix3_addr: sources.radix3.address,
        radix3_size: sources.radix3.size,
        bootloader_addr: sources.bootloader.address,
        bootloader_size: sources.bootloader.size,
        bootloader_code_offset: sources.bootloader_code.into(),
        bootloader_data_offset: sources.bootloader_data.into(),
        bootloader_manifest_offset: sources.bootloader_manifest.into(),
        signature_addr: sources.signature.address,
        signature_size: sources.signature.size,
        rsvd_start: layout.open_heap.start,
        non_wpr_heap_offset: layout.open_heap.start,
        non_wpr_heap_size: length(&layout.open_heap),
        wpr_start: layout.wpr2.start,
        heap_offset: layout.heap.start,
        heap_size: length(&layout.heap),
        fw_offset: layout.image.start,
        boot_bin_offset: layout.boot.start,
        frts_offset: layout.frts.start,
        frts_size: length(&layout.frts),
        wpr_end: layout.wpr2.end,
        fb_size: length(&layout.vram),
        vga_workspace_offset: layout.vga.start,
        vga_workspace_size: length(&layout.vga),
        ..Default::default()
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kernel::prelude::kunit_tests(ghostnv_gsp_wpr)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_place() {
        let sources = Sources {
            radix3: Blob {
                address: 0x1000,
                size: 0x11,
            },
            bootloader: Blob {
                address: 0x2000,
                size: 0x22,
            },
            bootloader_code: 0x31,
            bootloader_data: 0x32,
            bootloader_manifest: 0x33,
            signature: Blob {
                address: 0x4000,
                size: 0x44,
            },
        };
        let layout = Layout {
            open_heap: 0x1_0000..0x1_0100,
            wpr2: 0x2_0000..0xe_0000,
            heap: 0x3_0000..0x3_0300,
            image: 0x4_0000..0x4_0400,
            boot: 0x5_0000..0x5_0500,
            frts: 0xd_0000..0xd_0600,
            vga: 0xf_0000..0xf_0700,
            vram: 0..0x10_0000,
        };
        let meta = describe(&sources, &layout);

        // In the order of the structure.
        for (found, expected) in [
            (meta.magic, WPR_META_MAGIC),
            (meta.revision, WPR_META_REVISION),
            (meta.radix3_addr, 0x1000),
            (meta.radix3_size, 0x11),
            (meta.bootloader_addr, 0x2000),
            (meta.bootloader_size, 0x22),
            (meta.bootloader_code_offset, 0x31),
            (meta.bootloader_data_offset, 0x32),
            (meta.bootloader_manifest_offset, 0x33),
            (meta.signature_addr, 0x4000),
            (meta.signature_size, 0x44),
            (meta.rsvd_start, 0x1_0000),
            (meta.non_wpr_heap_offset, 0x1_0000),
            (meta.non_wpr_heap_size, 0x100),
            (meta.wpr_start, 0x2_0000),
            (meta.heap_offset, 0x3_0000),
            (meta.heap_size, 0x300),
            (meta.fw_offset, 0x4_0000),
            (meta.boot_bin_offset, 0x5_0000),
            (meta.frts_offset, 0xd_0000),
            (meta.frts_size, 0x600),
            (meta.wpr_end, 0xe_0000),
            (meta.fb_size, 0x10_0000),
            (meta.vga_workspace_offset, 0xf_0000),
            (meta.vga_workspace_size, 0x700),
            // Not the driver's to say.
            (meta.boot_count, 0),
            (meta.verified, 0),
        ] {
            assert_eq!(found, expected);
        }
    }
}
