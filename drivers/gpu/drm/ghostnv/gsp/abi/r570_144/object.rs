// SPDX-License-Identifier: GPL-2.0

//! Requests that make, control and free GSP-RM's objects, and parameters of the basic classes.
//!
//! Facts: open-gpu-kernel-modules 570.144, `g_rpc-structures.h`, `cl0000.h`, `cl0080.h`,
//! `cl2080.h`, `nvos.h` and `nvstatuscodes.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// Start of the payload of `GSP_RM_ALLOC`; the class's parameters follow.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct RmAlloc {
    pub(crate) client: u32,
    pub(crate) parent: u32,
    pub(crate) object: u32,
    pub(crate) class: u32,
    pub(crate) status: u32,
    pub(crate) params_size: u32,
    pub(crate) flags: u32,
    pub(crate) reserved: u32,
}
assert_layout!(
    RmAlloc "r535/alloc.h:rpc_gsp_rm_alloc_v03_00", 32,
    class "hClass" @ 12,
    status "status" @ 16,
    params_size "paramsSize" @ 20,
    flags "flags" @ 24,
);

/// Start of the payload of `GSP_RM_CONTROL`; the command's parameters follow.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct RmControl {
    pub(crate) client: u32,
    pub(crate) object: u32,
    pub(crate) command: u32,
    pub(crate) status: u32,
    pub(crate) params_size: u32,
    pub(crate) flags: u32,
}
assert_layout!(
    RmControl "r535/ctrl.h:rpc_gsp_rm_control_v03_00", 24,
    command "cmd" @ 8,
    status "status" @ 12,
    params_size "paramsSize" @ 16,
    flags "flags" @ 20,
);

/// Payload of `FREE`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct RmFree {
    pub(crate) client: u32,
    pub(crate) parent: u32,
    pub(crate) object: u32,
    pub(crate) status: u32,
}
assert_layout!(
    RmFree "r535/alloc.h:rpc_free_v03_00", 16,
    object "params.hObjectOld" @ 8,
    status "params.status" @ 12,
);

/// Numbers of classes that all chips share.
pub(crate) mod class {
    pub(crate) const CLIENT: u32 = 0x0000;
    pub(crate) const DEVICE: u32 = 0x0080;
    pub(crate) const SUBDEVICE: u32 = 0x2080;
    pub(crate) const VASPACE: u32 = 0x90f1;
}

/// Parameters of a client (`NV01_ROOT`).
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ClientParams {
    pub(crate) client: u32,
    pub(crate) process_id: u32,
    pub(crate) process_name: [u8; 100],
    pub(crate) padding: u32,
    pub(crate) os_pid_info: u64,
}
assert_layout!(
    ClientParams "r570/client.h:NV0000_ALLOC_PARAMETERS", 120,
    process_name "processName" @ 8,
    os_pid_info "pOsPidInfo" @ 112,
);

/// Parameters of a device (`NV01_DEVICE_0`): the GPU, as a client sees it.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct DeviceParams {
    pub(crate) device_id: u32,
    pub(crate) client_share: u32,
    pub(crate) target_client: u32,
    pub(crate) target_device: u32,
    pub(crate) flags: u32,
    pub(crate) padding0: u32,
    pub(crate) va_size: u64,
    pub(crate) va_start: u64,
    pub(crate) va_limit: u64,
    pub(crate) va_mode: u32,
    pub(crate) padding1: u32,
}
assert_layout!(
    DeviceParams "r535/device.h:NV0080_ALLOC_PARAMETERS", 56,
    flags "flags" @ 16,
    va_size "vaSpaceSize" @ 24,
    va_mode "vaMode" @ 48,
);

/// Parameters of a subdevice (`NV20_SUBDEVICE_0`): one GPU of a device, of which there is one.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct SubdeviceParams {
    pub(crate) subdevice_id: u32,
}
assert_layout!(
    SubdeviceParams "r535/device.h:NV2080_ALLOC_PARAMETERS", 4,
);

/// [`VaSpaceParams::flags`]: the driver owns all page tables.
pub(crate) const VASPACE_EXTERNALLY_OWNED: u32 = 1 << 3;

/// Parameters of an address space (`FERMI_VASPACE_A`).
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct VaSpaceParams {
    /// 0: a new one.
    pub(crate) index: u32,
    pub(crate) flags: u32,
    pub(crate) size: u64,
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) big_page_size: u32,
    pub(crate) padding: u32,
    pub(crate) base: u64,
}
assert_layout!(
    VaSpaceParams "r535/vmm.h:NV_VASPACE_ALLOCATION_PARAMETERS", 48,
    flags "flags" @ 4,
    size "vaSize" @ 8,
    limit "vaLimitInternal" @ 24,
    big_page_size "bigPageSize" @ 32,
    base "vaBase" @ 40,
);
