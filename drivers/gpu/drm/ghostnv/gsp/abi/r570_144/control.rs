// SPDX-License-Identifier: GPL-2.0

//! Controls of the device, its subdevice and address spaces: tables of engines and interrupts, and
//! page directories.
//!
//! Facts: open-gpu-kernel-modules 570.144, `ctrl0080dma.h`, `ctrl90f1.h`, `ctrl2080fifo.h`,
//! `ctrl2080ce.h`, `ctrl2080gpu.h`, `ctrl2080internal.h` and `engine_idx.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// Numbers of controls.
pub(crate) mod command {
    pub(crate) const SET_PAGE_DIRECTORY: u32 = 0x0080_1813;
    pub(crate) const UNSET_PAGE_DIRECTORY: u32 = 0x0080_1814;
    pub(crate) const COPY_SERVER_RESERVED_PDES: u32 = 0x90f1_0106;
    pub(crate) const GET_FERMI_GPC_INFO: u32 = 0x2080_0137;
    pub(crate) const GET_FERMI_TPC_INFO: u32 = 0x2080_0138;
    pub(crate) const PROMOTE_CTX: u32 = 0x2080_012b;
    pub(crate) const GET_CONTEXT_BUFFERS_INFO: u32 = 0x2080_0a32;
    pub(crate) const INIT_BUG4208224_WAR: u32 = 0x2080_0a46;
    pub(crate) const GET_KERNEL_TABLE: u32 = 0x2080_0a5c;
    pub(crate) const GET_DEVICE_INFO_TABLE: u32 = 0x2080_1112;
    pub(crate) const GET_ZCULL_INFO: u32 = 0x2080_1206;
    pub(crate) const GET_FAULT_METHOD_BUFFER_SIZE: u32 = 0x2080_2a08;
    pub(crate) const GPFIFO_SCHEDULE: u32 = 0xa06f_0103;
    pub(crate) const BIND: u32 = 0xa06f_0104;
}

/// [`SetPageDirectory::flags`]: in video memory.
pub(crate) const PAGE_DIRECTORY_VRAM: u32 = 0;

/// Gives an externally owned address space its top page directory.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct SetPageDirectory {
    pub(crate) address: u64,
    pub(crate) entries: u32,
    pub(crate) flags: u32,
    pub(crate) vaspace: u32,
    pub(crate) channel_id: u32,
    pub(crate) subdevice: u32,
    pub(crate) pasid: u32,
}
assert_layout!(
    SetPageDirectory "r535/vmm.h:NV0080_CTRL_DMA_SET_PAGE_DIRECTORY_PARAMS", 32,
    entries "numEntries" @ 8,
    flags "flags" @ 12,
    vaspace "hVASpace" @ 16,
    pasid "pasid" @ 28,
);

/// Takes it away again.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct UnsetPageDirectory {
    pub(crate) vaspace: u32,
    pub(crate) subdevice: u32,
}
assert_layout!(
    UnsetPageDirectory "r535/vmm.h:NV0080_CTRL_DMA_UNSET_PAGE_DIRECTORY_PARAMS", 8,
    subdevice "subDeviceId" @ 4,
);

/// Where the firmware's own part of an address space starts that is not externally owned.
pub(crate) const SERVER_RESERVED_START: u64 = 0x1_0000_0000;
/// Bytes of that part.
pub(crate) const SERVER_RESERVED_SIZE: u64 = 0x2000_0000;
/// Levels that [`CopyReservedPdes`] can name.
pub(crate) const RESERVED_LEVELS_MAX: usize = 6;
/// [`ReservedLevel::aperture`]: video memory.
pub(crate) const RESERVED_LEVEL_VRAM: u32 = 1;

/// One page directory on the way to the firmware's own part of an address space.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ReservedLevel {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) aperture: u32,
    /// The address bit that the level's index starts at.
    pub(crate) page_shift: u8,
    pub(crate) padding: [u8; 3],
}
assert_layout!(ReservedLevel, 24, size @ 8, aperture @ 16, page_shift @ 20);

/// Lends the firmware the directories above its part of an address space.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct CopyReservedPdes {
    pub(crate) subdevice: u32,
    pub(crate) subdevice_id: u32,
    pub(crate) page_size: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) level_count: u32,
    pub(crate) padding: u32,
    pub(crate) levels: [ReservedLevel; RESERVED_LEVELS_MAX],
}
assert_layout!(
    CopyReservedPdes "r535/vmm.h:NV90F1_CTRL_VASPACE_COPY_SERVER_RESERVED_PDES_PARAMS", 184,
    page_size "pageSize" @ 8,
    first "virtAddrLo" @ 16,
    last "virtAddrHi" @ 24,
    level_count "numLevelsToCopy" @ 32,
    levels "levels" @ 40,
);

/// Lines that [`InterruptTable`] can have.
pub(crate) const INTERRUPT_TABLE_MAX: usize = 128;
/// A vector of [`InterruptEntry`] that does not exist.
pub(crate) const NO_VECTOR: u32 = u32::MAX;

/// The vectors of one unit.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct InterruptEntry {
    /// Of [`interrupt_unit`].
    pub(crate) unit: u16,
    pub(crate) padding: u16,
    pub(crate) pmc_mask: u32,
    pub(crate) stall: u32,
    pub(crate) nonstall: u32,
}
assert_layout!(
    InterruptEntry "r535/gsp.h:NV2080_CTRL_INTERNAL_INTR_GET_KERNEL_TABLE_ENTRY", 16,
    pmc_mask "pmcIntrMask" @ 4,
    stall "vectorStall" @ 8,
    nonstall "vectorNonStall" @ 12,
);

/// Which vector of the interrupt tree is whose.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct InterruptTable {
    pub(crate) count: u32,
    pub(crate) entries: [InterruptEntry; INTERRUPT_TABLE_MAX],
    /// First and last subtree of each category of vectors.
    pub(crate) subtrees: [[u8; 2]; 7],
    pub(crate) padding: [u8; 2],
}
assert_layout!(
    InterruptTable "r535/gsp.h:NV2080_CTRL_INTERNAL_INTR_GET_KERNEL_TABLE_PARAMS", 2068,
    entries "table" @ 4,
    subtrees "subtreeMap" @ 2052,
);

/// Numbers of units in [`InterruptEntry::unit`] (`MC_ENGINE_IDX`).
pub(crate) mod interrupt_unit {
    pub(crate) const COPY0: u16 = 15;
    pub(crate) const COPY19: u16 = 34;
    pub(crate) const GSP: u16 = 50;
    pub(crate) const GR0: u16 = 84;
}

/// Lines that one [`DeviceInfoTable`] can have.
pub(crate) const DEVICE_INFO_MAX: usize = 32;

/// One engine that Host drives.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct DeviceInfo {
    /// Indexed by [`device_info`].
    pub(crate) data: [u32; 16],
    pub(crate) pbdma_ids: [u32; 2],
    pub(crate) pbdma_fault_ids: [u32; 2],
    pub(crate) pbdma_count: u32,
    pub(crate) name: [u8; 16],
}
assert_layout!(
    DeviceInfo "r535/fifo.h:NV2080_CTRL_FIFO_DEVICE_ENTRY", 100,
    pbdma_ids "pbdmaIds" @ 64,
    pbdma_fault_ids "pbdmaFaultIds" @ 72,
    pbdma_count "numPbdmas" @ 80,
    name "engineName" @ 84,
);

/// Indices of [`DeviceInfo::data`] (`ENGINE_INFO_TYPE`).
pub(crate) mod device_info {
    pub(crate) const RM_ENGINE_TYPE: usize = 2;
    pub(crate) const RUNLIST: usize = 3;
}

/// The engines, from `base` on.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct DeviceInfoTable {
    pub(crate) base: u32,
    pub(crate) count: u32,
    pub(crate) more: u8,
    pub(crate) padding: [u8; 3],
    pub(crate) entries: [DeviceInfo; DEVICE_INFO_MAX],
}
assert_layout!(
    DeviceInfoTable "r535/fifo.h:NV2080_CTRL_FIFO_GET_DEVICE_INFO_TABLE_PARAMS", 3212,
    count "numEntries" @ 4,
    more "bMore" @ 8,
    entries "entries" @ 12,
);

/// Bytes of the buffer into which a copy engine saves methods at a fault.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct FaultMethodBufferSize {
    pub(crate) size: u32,
}
assert_layout!(
    FaultMethodBufferSize "r535/fifo.h:NV2080_CTRL_CE_GET_FAULT_METHOD_BUFFER_SIZE_PARAMS", 4,
);

/// Which GPCs (clusters of graphics units) there are.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct GpcInfo {
    pub(crate) mask: u32,
}
assert_layout!(
    GpcInfo "r570/gr.h:NV2080_CTRL_GPU_GET_FERMI_GPC_INFO_PARAMS", 4,
);

/// Which TPCs (texture and shader units) a GPC has.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct TpcInfo {
    pub(crate) gpc: u32,
    pub(crate) mask: u32,
}
assert_layout!(
    TpcInfo "r570/gr.h:NV2080_CTRL_GPU_GET_FERMI_TPC_INFO_PARAMS", 8,
    mask "tpcMask" @ 4,
);
