// SPDX-License-Identifier: GPL-2.0

//! What the GSP-RM 570.144 firmware and the driver put into shared memory.
//!
//! Every structure is little-endian, has no implicit padding (`IntoBytes` refuses it) and is held
//! to its size and to the offsets of its fields at compile time. Values read from the firmware
//! are plain integers: whoever reads them decides what is acceptable, since a layout cannot.
//!
//! Facts: NVIDIA's open-gpu-kernel-modules of the same release (`gsp_fw_wpr_meta.h`,
//! `libos_init_args.h`, `msgq_priv.h`, `message_queue_priv.h`, `gsp_static_config.h`,
//! `rpc_global_enums.h`, `g_rpc-structures.h`) as carried in the kernel's
//! `drivers/gpu/drm/nouveau/nvkm/subdev/gsp/rm/r570/nvrm/`.

use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

use core::mem::offset_of;

/// The release, as firmware file names spell it.
pub(crate) const VERSION: &str = "570.144";

/// Unit of everything the firmware maps: its MMU's pages, not the CPU's.
pub(crate) const GSP_PAGE_SIZE: usize = 4096;

/// Asserts a structure's size and the offsets of some of its fields.
///
/// The literals say which header and type of NVIDIA's describe the same, and its names of the
/// fields. The compiler does not look at them; `scripts/abi` holds those headers to the same sizes
/// and offsets.
macro_rules! assert_layout {
    (
        $type:ident $($theirs:literal)?, $size:expr
        $(, $($field:ident).+ $($their:literal)? @ $offset:expr)* $(,)?
    ) => {
        static_assert!(size_of::<$type>() == $size);
        $(static_assert!(offset_of!($type, $($field).+) == $offset);)*
    };
}

mod channel;
mod control;
mod object;

pub(crate) use channel::*;
pub(crate) use control::*;
pub(crate) use object::*;

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

/// Layout of the memory both queues live in: a page of page addresses, then queue after queue.
pub(crate) mod queue {
    use super::GSP_PAGE_SIZE;

    /// Bytes of one queue with its header page.
    pub(crate) const SIZE: usize = 0x4_0000;
    /// Elements of one queue: its header takes the first page.
    pub(crate) const ELEMENTS: u32 = 63;
    /// Start of the queue that the driver writes.
    pub(crate) const COMMAND: usize = GSP_PAGE_SIZE;
    /// Start of the queue that the firmware writes.
    pub(crate) const MESSAGE: usize = COMMAND + SIZE;
    /// Bytes of the whole.
    pub(crate) const MEMORY: usize = MESSAGE + SIZE;
    /// Where a queue's elements start.
    pub(crate) const ENTRIES: usize = GSP_PAGE_SIZE;
    /// Where a queue's header holds its own write pointer.
    pub(crate) const WRITE_POINTER: usize = 16;
    /// Where a queue's header holds the read pointer *of the other queue*.
    pub(crate) const READ_POINTER: usize = 32;
}
static_assert!(queue::ENTRIES + queue::ELEMENTS as usize * GSP_PAGE_SIZE == queue::SIZE);
static_assert!(queue::MEMORY == 129 * GSP_PAGE_SIZE);

/// Header of a queue, written by the side that writes the queue.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct QueueHeader {
    pub(crate) version: u32,
    pub(crate) size: u32,
    pub(crate) element_size: u32,
    pub(crate) element_count: u32,
    pub(crate) write_pointer: u32,
    /// Bit 0: a queue's read pointer is in the other queue's memory.
    pub(crate) flags: u32,
    pub(crate) read_pointer_offset: u32,
    pub(crate) entries_offset: u32,
}
assert_layout!(
    QueueHeader "r535/gsp.h:msgqTxHeader", 32,
    write_pointer "writePtr" @ queue::WRITE_POINTER,
    read_pointer_offset "rxHdrOff" @ 24,
);

/// First bytes of every queue element run (one message is 1 to 16 elements).
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct ElementHeader {
    /// Used with confidential computing only.
    pub(crate) auth_tag: [u8; 16],
    pub(crate) aad: [u8; 16],
    pub(crate) checksum: u32,
    pub(crate) sequence: u32,
    pub(crate) element_count: u32,
    pub(crate) padding: u32,
}
assert_layout!(ElementHeader, 48, checksum @ 32, sequence @ 36, element_count @ 40);

/// [`RpcHeader::version`]: 3.0.
pub(crate) const RPC_VERSION: u32 = 0x0300_0000;
/// [`RpcHeader::signature`]: "VRPC" in memory.
pub(crate) const RPC_SIGNATURE: u32 = u32::from_le_bytes(*b"VRPC");
/// What [`RpcHeader::result`] holds in a request.
pub(crate) const RPC_RESULT_PENDING: u32 = 0xffff_ffff;

/// Follows [`ElementHeader`]: what is called or told.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RpcHeader {
    pub(crate) version: u32,
    pub(crate) signature: u32,
    /// Bytes of this header and of the payload in this message.
    pub(crate) length: u32,
    pub(crate) function: u32,
    pub(crate) result: u32,
    pub(crate) result_private: u32,
    pub(crate) sequence: u32,
    pub(crate) spare: u32,
}
assert_layout!(
    RpcHeader "r535/gsp.h:rpc_message_header_v03_00", 32,
    length "length" @ 8,
    function "function" @ 12,
    result "rpc_result" @ 16,
    sequence "sequence" @ 24,
);

/// Largest message: 16 elements.
pub(crate) const MESSAGE_SIZE_MAX: usize = 16 * GSP_PAGE_SIZE;
/// Bytes before a message's payload.
pub(crate) const MESSAGE_HEADERS: usize = size_of::<ElementHeader>() + size_of::<RpcHeader>();

/// Numbers of the functions that the driver calls.
pub(crate) mod function {
    pub(crate) const FREE: u32 = 10;
    pub(crate) const UNLOADING_GUEST_DRIVER: u32 = 47;
    pub(crate) const GET_GSP_STATIC_INFO: u32 = 65;
    pub(crate) const UPDATE_BAR_PDE: u32 = 70;
    pub(crate) const CONTINUATION_RECORD: u32 = 71;
    pub(crate) const GSP_SET_SYSTEM_INFO: u32 = 72;
    pub(crate) const SET_REGISTRY: u32 = 73;
    pub(crate) const GSP_RM_CONTROL: u32 = 76;
    pub(crate) const GSP_RM_ALLOC: u32 = 103;
}

/// Numbers of what the firmware tells without having been asked.
pub(crate) mod event {
    /// Numbers from here on are events.
    pub(crate) const FIRST: u32 = 0x1000;
    pub(crate) const GSP_INIT_DONE: u32 = 0x1001;
    pub(crate) const GSP_RUN_CPU_SEQUENCER: u32 = 0x1002;
    pub(crate) const POST_EVENT: u32 = 0x1003;
    pub(crate) const RC_TRIGGERED: u32 = 0x1004;
    pub(crate) const MMU_FAULT_QUEUED: u32 = 0x1005;
    pub(crate) const OS_ERROR_LOG: u32 = 0x1006;
    pub(crate) const UCODE_LIBOS_PRINT: u32 = 0x100c;
    pub(crate) const LOCKDOWN_NOTICE: u32 = 0x101c;
    pub(crate) const POST_NOCAT_RECORD: u32 = 0x1020;
}

/// Payload of `GSP_SET_SYSTEM_INFO`.
///
/// Fields that the driver never sets are kept together as `reserved`.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes)]
pub(crate) struct SystemInfo {
    pub(crate) bar0: u64,
    pub(crate) bar1: u64,
    pub(crate) bar2: u64,
    pub(crate) io_bar: u64,
    /// PCI segment, bus, device and function as 32:16 segment, 15:8 bus, 7:0 devfn.
    pub(crate) bus_device_function: u64,
    pub(crate) reserved0: [u64; 4],
    pub(crate) max_user_va: u64,
    pub(crate) config_mirror_base: u32,
    pub(crate) config_mirror_size: u32,
    pub(crate) pci_device_id: u32,
    pub(crate) pci_subsystem_id: u32,
    pub(crate) pci_revision: u32,
    pub(crate) reserved1: [u8; 796],
    pub(crate) is_primary: u8,
    pub(crate) reserved2: [u8; 23],
    pub(crate) host_page_size: u64,
}
assert_layout!(
    SystemInfo "r570/gsp.h:GspSystemInfo", 928,
    bus_device_function "nvDomainBusDeviceFunc" @ 32,
    max_user_va "maxUserVa" @ 72,
    config_mirror_base "pciConfigMirrorBase" @ 80,
    pci_device_id "PCIDeviceID" @ 88,
    pci_revision "PCIRevisionID" @ 96,
    is_primary "bIsPrimary" @ 896,
    host_page_size "hostPageSize" @ 920,
);

/// [`RegistryEntry::kind`]: a 32-bit value.
pub(crate) const REGISTRY_DWORD: u8 = 1;

/// Start of the payload of `SET_REGISTRY`; entries follow, then NUL-terminated names.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RegistryHeader {
    pub(crate) size: u32,
    pub(crate) entry_count: u32,
}
assert_layout!(
    RegistryHeader "r535/gsp.h:PACKED_REGISTRY_TABLE", 8,
    entry_count "numEntries" @ 4,
);

/// One entry of the registry table.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RegistryEntry {
    /// From the start of the payload.
    pub(crate) name_offset: u32,
    pub(crate) kind: u8,
    pub(crate) padding: [u8; 3],
    pub(crate) data: u32,
    pub(crate) length: u32,
}
assert_layout!(
    RegistryEntry "r535/gsp.h:PACKED_REGISTRY_ENTRY", 16,
    kind "type" @ 4,
    data "data" @ 8,
    length "length" @ 12,
);

/// One region of VRAM in [`StaticInfo`].
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct FbRegion {
    pub(crate) base: u64,
    /// Last byte, inclusive.
    pub(crate) limit: u64,
    /// Bytes of it that the firmware keeps for itself.
    pub(crate) reserved: u64,
    pub(crate) performance: u32,
    pub(crate) supports_compression: u8,
    pub(crate) supports_iso: u8,
    pub(crate) is_protected: u8,
    pub(crate) black_list: [u8; 17],
}
assert_layout!(
    FbRegion "r570/gsp.h:NV2080_CTRL_CMD_FB_GET_FB_REGION_FB_REGION_INFO", 48,
    performance "performance" @ 24,
    supports_iso "supportISO" @ 29,
    is_protected "bProtected" @ 30,
);

/// Slots of [`StaticInfo::fb_regions`].
pub(crate) const FB_REGIONS_MAX: usize = 16;

/// Reply to `GET_GSP_STATIC_INFO`.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct StaticInfo {
    pub(crate) reserved0: [u8; 344],
    pub(crate) fb_region_count: u32,
    pub(crate) padding0: u32,
    pub(crate) fb_regions: [FbRegion; FB_REGIONS_MAX],
    pub(crate) reserved1: [u8; 104],
    pub(crate) fb_length: u64,
    pub(crate) reserved2: [u8; 28],
    pub(crate) name: [u8; 64],
    pub(crate) reserved3: [u8; 212],
    pub(crate) bar1_page_directory: u64,
    pub(crate) bar2_page_directory: u64,
    pub(crate) reserved4: [u8; 48],
    pub(crate) internal_client: u32,
    pub(crate) internal_device: u32,
    pub(crate) internal_subdevice: u32,
    pub(crate) reserved5: [u8; 44],
}
assert_layout!(
    StaticInfo "r570/gsp.h:GspStaticConfigInfo", 1656,
    fb_region_count "fbRegionInfoParams.numFBRegions" @ 344,
    fb_regions "fbRegionInfoParams.fbRegion" @ 352,
    fb_length "fb_length" @ 1224,
    name "gpuNameString" @ 1260,
    bar1_page_directory "bar1PdeBase" @ 1536,
    internal_client "hInternalClient" @ 1600,
);

/// Payload of `UPDATE_BAR_PDE`: entry 0 of the page directory of one of the CPU's windows.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct BarPde {
    /// 0 for BAR1, 1 for BAR2.
    pub(crate) bar: u32,
    pub(crate) padding: u32,
    pub(crate) entry: u64,
    /// The address bit at which the directory's index starts.
    pub(crate) shift: u64,
}
assert_layout!(
    BarPde "r535/bar.h:rpc_update_bar_pde_v15_00", 24,
    entry "info.entryValue" @ 8,
    shift "info.entryLevelShift" @ 16,
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

/// Payload of `RC_TRIGGERED`: a channel made an error and was stopped.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RcTriggered {
    pub(crate) engine_type: u32,
    pub(crate) channel: u32,
    pub(crate) gfid: u32,
    pub(crate) level: u32,
    pub(crate) kind: u32,
    pub(crate) scope: u32,
    pub(crate) partition: u16,
    pub(crate) padding0: u16,
    pub(crate) fault_address_lo: u32,
    pub(crate) fault_address_hi: u32,
    pub(crate) fault_type: u32,
    pub(crate) callback_needed: u8,
    pub(crate) padding1: [u8; 3],
    pub(crate) journal_size: u32,
}
assert_layout!(
    RcTriggered "r570/fifo.h:rpc_rc_triggered_v17_02", 48,
    channel "chid" @ 4,
    kind "exceptType" @ 16,
    fault_address_lo "mmuFaultAddrLo" @ 28,
    journal_size "rcJournalBufferSize" @ 44,
);

/// Payload of `OS_ERROR_LOG`: an error report in words, known to users as an Xid.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes)]
pub(crate) struct OsErrorLog {
    pub(crate) kind: u32,
    pub(crate) runlist: u32,
    pub(crate) channel: u32,
    pub(crate) text: [u8; 256],
    pub(crate) previous_xid: u32,
}
assert_layout!(
    OsErrorLog "r570/gsp.h:rpc_os_error_log_v17_00", 272,
    channel "chid" @ 8,
    text "errString" @ 12,
    previous_xid "preemptiveRemovalPreviousXid" @ 268,
);

/// Start of the payload of `POST_EVENT`; `size` bytes of event data begin in its last padding.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct PostEvent {
    pub(crate) client: u32,
    pub(crate) event: u32,
    pub(crate) notify_index: u32,
    pub(crate) data: u32,
    pub(crate) info16: u16,
    pub(crate) padding0: u16,
    pub(crate) status: u32,
    pub(crate) size: u32,
    pub(crate) is_list: u8,
    pub(crate) padding1: [u8; 3],
}
assert_layout!(
    PostEvent "r535/event.h:rpc_post_event_v17_00", 32,
    info16 "info16" @ 16,
    status "status" @ 20,
    size "eventDataSize" @ 24,
    is_list "bNotifyList" @ 28,
);
