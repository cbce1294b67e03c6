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
