// SPDX-License-Identifier: GPL-2.0

//! What is given to Booter and to the firmware that starts, and what the firmware asks for then.
//!
//! Facts: open-gpu-kernel-modules 570.144, `gsp_fw_wpr_meta.h`, `libos_init_args.h`,
//! `rmgspseq.h` and `g_rpc-structures.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::Immutable;

/// First word of [`WprMeta`].
pub(crate) const WPR_META_MAGIC: u64 = 0xdc3a_ae21_371a_60b3;
/// Revision of the handoff between Booter, bootloader and sequencer that [`WprMeta`] follows.
pub(crate) const WPR_META_REVISION: u64 = 1;

/// Says where in system memory the firmware is and where in VRAM it shall go.
///
/// Booter reads it from system memory, checks it and keeps a copy in the write-protected region
/// (WPR2) that it makes.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct WprMeta {
    pub(crate) magic: u64,
    pub(crate) revision: u64,
    pub(crate) radix3_addr: u64,
    pub(crate) radix3_size: u64,
    pub(crate) bootloader_addr: u64,
    pub(crate) bootloader_size: u64,
    pub(crate) bootloader_code_offset: u64,
    pub(crate) bootloader_data_offset: u64,
    pub(crate) bootloader_manifest_offset: u64,
    pub(crate) signature_addr: u64,
    pub(crate) signature_size: u64,
    pub(crate) rsvd_start: u64,
    pub(crate) non_wpr_heap_offset: u64,
    pub(crate) non_wpr_heap_size: u64,
    pub(crate) wpr_start: u64,
    pub(crate) heap_offset: u64,
    pub(crate) heap_size: u64,
    pub(crate) fw_offset: u64,
    pub(crate) boot_bin_offset: u64,
    pub(crate) frts_offset: u64,
    pub(crate) frts_size: u64,
    pub(crate) wpr_end: u64,
    pub(crate) fb_size: u64,
    pub(crate) vga_workspace_offset: u64,
    pub(crate) vga_workspace_size: u64,
    pub(crate) boot_count: u64,
    /// Crash report queue, or the partition RPC's address: the firmware's own.
    pub(crate) firmware_private: [u64; 4],
    pub(crate) vf_partition_count: u8,
    pub(crate) flags: u8,
    pub(crate) padding: [u8; 2],
    pub(crate) pmu_reserved_size: u32,
    /// Written by Booter once it has checked the rest.
    pub(crate) verified: u64,
}
assert_layout!(
    WprMeta "r570/gsp.h:GspFwWprMeta", 256,
    radix3_addr "sysmemAddrOfRadix3Elf" @ 16,
    signature_addr "sysmemAddrOfSignature" @ 72,
    rsvd_start "gspFwRsvdStart" @ 88,
    wpr_start "gspFwWprStart" @ 112,
    fw_offset "gspFwOffset" @ 136,
    frts_offset "frtsOffset" @ 152,
    fb_size "fbSize" @ 176,
    boot_count "bootCount" @ 200,
    vf_partition_count "gspFwHeapVfPartitionCount" @ 240,
    pmu_reserved_size "pmuReservedSize" @ 244,
    verified "verified" @ 248,
);

/// [`LibosRegion::kind`]: one run of bus addresses.
pub(crate) const LIBOS_KIND_CONTIGUOUS: u8 = 1;
/// [`LibosRegion::location`]: system memory.
pub(crate) const LIBOS_LOCATION_SYSMEM: u8 = 1;

/// One entry of the list of memory regions that LibOS, the firmware's kernel, starts with.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct LibosRegion {
    /// Up to eight ASCII characters, the first one in the most significant used byte.
    pub(crate) id: u64,
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) kind: u8,
    pub(crate) location: u8,
    pub(crate) padding: [u8; 6],
}
assert_layout!(
    LibosRegion "r535/gsp.h:LibosMemoryRegionInitArgument", 32,
    address "pa" @ 8,
    size "size" @ 16,
    kind "kind" @ 24,
    location "loc" @ 25,
);

/// Arguments of the resource manager task, `RMARGS` in the list of regions.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RmArguments {
    pub(crate) queue_memory: u64,
    pub(crate) queue_page_count: u32,
    pub(crate) padding0: u32,
    pub(crate) command_queue_offset: u64,
    pub(crate) message_queue_offset: u64,
    pub(crate) resume_old_level: u32,
    pub(crate) resume_flags: u32,
    pub(crate) resume_in_transition: u8,
    pub(crate) padding1: [u8; 3],
    pub(crate) gpu_instance: u32,
    /// The task's stack is in the core's data memory.
    pub(crate) stack_in_dmem: u8,
    pub(crate) padding2: [u8; 7],
    pub(crate) profiler_address: u64,
    pub(crate) profiler_size: u64,
}
assert_layout!(
    RmArguments "r570/gsp.h:GSP_ARGUMENTS_CACHED", 72,
    queue_page_count "messageQueueInitArguments.pageTableEntryCount" @ 8,
    command_queue_offset "messageQueueInitArguments.cmdQueueOffset" @ 16,
    message_queue_offset "messageQueueInitArguments.statQueueOffset" @ 24,
    resume_old_level "srInitArguments.oldLevel" @ 32,
    gpu_instance "gpuInstance" @ 44,
    stack_in_dmem "bDmemStack" @ 48,
    profiler_address "profilerArgs.pa" @ 56,
);

/// Payload of `UNLOADING_GUEST_DRIVER` and of its reply.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct Unloading {
    pub(crate) in_power_transition: u8,
    pub(crate) gc6_entering: u8,
    pub(crate) padding: [u8; 2],
    pub(crate) new_level: u32,
}
assert_layout!(
    Unloading "r535/gsp.h:rpc_unloading_guest_driver_v1F_07", 8,
    new_level "newLevel" @ 4,
);

/// Set in the GSP's mailbox 0 when the firmware has stopped after `UNLOADING_GUEST_DRIVER`.
pub(crate) const MAILBOX_SUSPENDED: u32 = 1 << 31;

/// Start of the payload of `GSP_RUN_CPU_SEQUENCER`; the commands follow as words.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct SequencerHeader {
    pub(crate) buffer_words: u32,
    /// Words in use.
    pub(crate) used_words: u32,
    pub(crate) saved_registers: [u32; 8],
}
assert_layout!(
    SequencerHeader "r535/gsp.h:rpc_run_cpu_sequencer_v17_00", 40,
    used_words "cmdIndex" @ 4,
    saved_registers "regSaveArea" @ 8,
);

/// Numbers of the CPU sequencer's commands.
pub(crate) mod sequencer {
    pub(crate) const REG_WRITE: u32 = 0;
    pub(crate) const REG_MODIFY: u32 = 1;
    pub(crate) const REG_POLL: u32 = 2;
    pub(crate) const DELAY_US: u32 = 3;
    pub(crate) const REG_STORE: u32 = 4;
    pub(crate) const CORE_RESET: u32 = 5;
    pub(crate) const CORE_START: u32 = 6;
    pub(crate) const CORE_WAIT_FOR_HALT: u32 = 7;
    pub(crate) const CORE_RESUME: u32 = 8;
}
