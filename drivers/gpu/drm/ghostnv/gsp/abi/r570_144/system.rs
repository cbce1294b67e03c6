// SPDX-License-Identifier: GPL-2.0

//! What the driver tells the firmware about the machine, and the firmware the driver about the GPU.
//!
//! Facts: open-gpu-kernel-modules 570.144, `gsp_static_config.h` and
//! `g_rpc-structures.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

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
