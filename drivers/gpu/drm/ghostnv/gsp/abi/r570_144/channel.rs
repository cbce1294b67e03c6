// SPDX-License-Identifier: GPL-2.0

//! Channels, the objects of engines on them, and the contexts of the graphics engine.
//!
//! Facts: open-gpu-kernel-modules 570.144, `alloc_channel.h`, `ctrla06fgpfifo.h`,
//! `ctrl2080gpu.h`, `ctrl2080internal.h`, `ctrl2080gr.h` and `clc0b5sw.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// Where a piece of memory is that the driver lends to the firmware.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct MemoryDescriptor {
    pub(crate) base: u64,
    pub(crate) size: u64,
    /// [`ADDRESS_SPACE_SYSMEM`] or [`ADDRESS_SPACE_VRAM`].
    pub(crate) address_space: u32,
    /// [`CACHE_SNOOPED`] or [`CACHE_UNCACHED`].
    pub(crate) cache: u32,
}
assert_layout!(
    MemoryDescriptor "r570/fifo.h:NV_MEMORY_DESC_PARAMS", 24,
    size "size" @ 8,
    address_space "addressSpace" @ 16,
    cache "cacheAttrib" @ 20,
);

/// [`MemoryDescriptor::address_space`]: system memory, by bus address.
pub(crate) const ADDRESS_SPACE_SYSMEM: u32 = 1;
/// [`MemoryDescriptor::address_space`]: video memory.
pub(crate) const ADDRESS_SPACE_VRAM: u32 = 2;
/// [`MemoryDescriptor::cache`]: cached by the CPU, whose caches the GPU's accesses snoop.
pub(crate) const CACHE_SNOOPED: u32 = 0;
/// [`MemoryDescriptor::cache`]: not cached by the CPU.
pub(crate) const CACHE_UNCACHED: u32 = 1;

/// Bits of [`ChannelParams::flags`].
pub(crate) mod channel_flags {
    /// Lets the channel reach what is mapped for privileged clients.
    pub(crate) const PRIVILEGED: u32 = 1 << 5;
    /// The channel's number is given, as [`index`] has it.
    const USERD_PAGE_FIXED: u32 = 1 << 21;
    /// Channels whose USERD would share a page, which is how a number is spelt.
    const USERD_PER_PAGE: u32 = 8;

    /// Says that the channel gets the number `id`.
    pub(crate) const fn index(id: u32) -> u32 {
        (id % USERD_PER_PAGE) << 8 | (id / USERD_PER_PAGE & 0x1ff) << 12 | USERD_PAGE_FIXED
    }
}

/// Bits of [`ChannelParams::internal_flags`].
pub(crate) mod channel_internal_flags {
    /// The channel is the driver's own.
    pub(crate) const PRIVILEGE_ADMIN: u32 = 1;
    /// No memory to write errors to.
    pub(crate) const NO_ERROR_NOTIFIER: u32 = 1 << 2;
    /// No memory to write ECC errors to.
    pub(crate) const NO_ECC_ERROR_NOTIFIER: u32 = 1 << 4;
}

/// Parameters of a GPFIFO channel.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ChannelParams {
    pub(crate) error_object: u32,
    pub(crate) buffer_object: u32,
    /// Address of the ring in the channel's address space.
    pub(crate) gpfifo: u64,
    pub(crate) gpfifo_entries: u32,
    /// Of [`channel_flags`].
    pub(crate) flags: u32,
    pub(crate) context_share: u32,
    pub(crate) vaspace: u32,
    pub(crate) userd_object: [u32; 8],
    pub(crate) userd_offset: [u64; 8],
    /// As [`engine_type`] numbers them.
    pub(crate) engine: u32,
    /// Returned: the channel's number.
    pub(crate) id: u32,
    pub(crate) subdevice: u32,
    pub(crate) ecc_error_object: u32,
    pub(crate) instance: MemoryDescriptor,
    pub(crate) userd: MemoryDescriptor,
    /// Within the instance block.
    pub(crate) ramfc: MemoryDescriptor,
    pub(crate) method_buffer: MemoryDescriptor,
    pub(crate) physical_group: u32,
    /// Of [`channel_internal_flags`].
    pub(crate) internal_flags: u32,
    pub(crate) error_notifier: MemoryDescriptor,
    pub(crate) ecc_error_notifier: MemoryDescriptor,
    pub(crate) process_id: u32,
    pub(crate) subprocess_id: u32,
    /// Keys and nonces of confidential computing.
    pub(crate) reserved: [u32; 14],
    pub(crate) tpc_config: u32,
    pub(crate) padding: u32,
}
assert_layout!(
    ChannelParams "r570/fifo.h:NV_CHANNEL_ALLOC_PARAMS", 368,
    gpfifo "gpFifoOffset" @ 8,
    gpfifo_entries "gpFifoEntries" @ 16,
    flags "flags" @ 20,
    vaspace "hVASpace" @ 28,
    userd_object "hUserdMemory" @ 32,
    userd_offset "userdOffset" @ 64,
    engine "engineType" @ 128,
    id "cid" @ 132,
    instance "instanceMem" @ 144,
    userd "userdMem" @ 168,
    ramfc "ramfcMem" @ 192,
    method_buffer "mthdbufMem" @ 216,
    internal_flags "internalFlags" @ 244,
    error_notifier "errorNotifierMem" @ 248,
    process_id "ProcessID" @ 296,
    reserved "encryptIv" @ 304,
    tpc_config "tpcConfigID" @ 360,
);

/// Numbers of engine types (`NV2080_ENGINE_TYPE`), as channels and objects take them.
pub(crate) mod engine_type {
    pub(crate) const GR0: u32 = 0x01;
    /// Copy engines 0 to 9 are numbered from here.
    pub(crate) const COPY0: u32 = 0x09;
    /// Copy engines 10 to 19 are numbered from here.
    pub(crate) const COPY10: u32 = 0x34;
}

/// Numbers of engine types as the table of devices has them (`RM_ENGINE_TYPE`).
pub(crate) mod rm_engine_type {
    pub(crate) const GR0: u32 = 0x01;
    /// Copy engines 0 to 19 are numbered from here.
    pub(crate) const COPY0: u32 = 0x09;
    /// Copy engines.
    pub(crate) const COPIES: u32 = 20;
}

/// Ties a channel to an engine type.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct BindChannel {
    pub(crate) engine: u32,
}
assert_layout!(
    BindChannel "r535/fifo.h:NVA06F_CTRL_BIND_PARAMS", 4,
);

/// Puts a channel on its runlist, or takes it off.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ScheduleChannel {
    pub(crate) enable: u8,
    pub(crate) skip_submit: u8,
}
assert_layout!(
    ScheduleChannel "r535/fifo.h:NVA06F_CTRL_GPFIFO_SCHEDULE_PARAMS", 2,
    skip_submit "bSkipSubmit" @ 1,
);

impl CopyParams {
    /// [`Self::version`]: `engine` is an engine type and no instance.
    pub(crate) const NAMES_ENGINE: u32 = 1;
}

/// Parameters of a copy engine's object.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct CopyParams {
    pub(crate) version: u32,
    pub(crate) engine: u32,
}
assert_layout!(
    CopyParams "r535/ce.h:NVC0B5_ALLOCATION_PARAMETERS", 8,
    engine "engineType" @ 4,
);

/// Buffers that one [`PromoteContext`] can name.
pub(crate) const PROMOTE_MAX: usize = 16;

/// One buffer of a graphics context.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct PromoteEntry {
    /// With `initialize`: where it is.
    pub(crate) physical: u64,
    /// Unless `nonmapped`: its address for the engine.
    pub(crate) address: u64,
    /// With `initialize`.
    pub(crate) size: u64,
    /// With `initialize`: [`PROMOTE_VRAM`].
    pub(crate) attributes: u32,
    /// Of [`context_buffer`].
    pub(crate) id: u16,
    /// The firmware shall write its first contents.
    pub(crate) initialize: u8,
    pub(crate) nonmapped: u8,
}
assert_layout!(
    PromoteEntry "r535/fifo.h:NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ENTRY", 32,
    address "gpuVirtAddr" @ 8,
    size "size" @ 16,
    attributes "physAttr" @ 24,
    id "bufferId" @ 28,
    initialize "bInitialize" @ 30,
    nonmapped "bNonmapped" @ 31,
);

/// [`PromoteEntry::attributes`]: video memory that the GPU may cache.
pub(crate) const PROMOTE_VRAM: u32 = 4;

/// Tells the firmware where the buffers of a channel's context are.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct PromoteContext {
    pub(crate) engine: u32,
    pub(crate) client: u32,
    pub(crate) channel_id: u32,
    pub(crate) channel_client: u32,
    pub(crate) channel: u32,
    pub(crate) virtual_memory: u32,
    pub(crate) virtual_address: u64,
    pub(crate) size: u64,
    pub(crate) entry_count: u32,
    pub(crate) padding: u32,
    pub(crate) entries: [PromoteEntry; PROMOTE_MAX],
}
assert_layout!(
    PromoteContext "r535/fifo.h:NV2080_CTRL_GPU_PROMOTE_CTX_PARAMS", 560,
    channel_client "hChanClient" @ 12,
    channel "hObject" @ 16,
    virtual_address "virtAddress" @ 24,
    entry_count "entryCount" @ 40,
    entries "promoteEntry" @ 48,
);

/// Numbers of context buffers where they are promoted (`NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID`).
pub(crate) mod context_buffer {
    pub(crate) const MAIN: u16 = 0;
    pub(crate) const PATCH: u16 = 2;
    pub(crate) const BUNDLE_CB: u16 = 3;
    pub(crate) const PAGEPOOL: u16 = 4;
    pub(crate) const ATTRIBUTE_CB: u16 = 5;
    pub(crate) const RTV_CB_GLOBAL: u16 = 6;
    pub(crate) const FECS_EVENT: u16 = 9;
    pub(crate) const PRIV_ACCESS_MAP: u16 = 10;
    pub(crate) const UNRESTRICTED_PRIV_ACCESS_MAP: u16 = 11;
}

/// Numbers of context buffers in [`ContextBuffers`]
/// (`NV0080_CTRL_FIFO_GET_ENGINE_CONTEXT_PROPERTIES_ENGINE_ID`).
pub(crate) mod context_property {
    pub(crate) const GRAPHICS: usize = 0x00;
    pub(crate) const GRAPHICS_PAGEPOOL: usize = 0x0d;
    pub(crate) const GRAPHICS_PATCH: usize = 0x10;
    pub(crate) const GRAPHICS_BUNDLE_CB: usize = 0x11;
    pub(crate) const GRAPHICS_ATTRIBUTE_CB: usize = 0x13;
    pub(crate) const GRAPHICS_RTV_CB_GLOBAL: usize = 0x14;
    pub(crate) const GRAPHICS_FECS_EVENT: usize = 0x17;
    pub(crate) const GRAPHICS_PRIV_ACCESS_MAP: usize = 0x18;
    pub(crate) const COUNT: usize = 0x1a;
}

/// One line of [`ContextBuffers`].
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ContextBufferInfo {
    pub(crate) size: u32,
    pub(crate) alignment: u32,
}
assert_layout!(
    ContextBufferInfo "r570/gr.h:NV2080_CTRL_INTERNAL_ENGINE_CONTEXT_BUFFER_INFO", 8,
    alignment "alignment" @ 4,
);

/// How large the buffers of graphics contexts are, for each graphics engine.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ContextBuffers {
    pub(crate) engines: [[ContextBufferInfo; context_property::COUNT]; 8],
}
assert_layout!(
    ContextBuffers "r570/gr.h:NV2080_CTRL_INTERNAL_STATIC_GR_GET_CONTEXT_BUFFERS_INFO_PARAMS", 1664,
);

/// Geometry of the unit that culls by depth.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ZcullInfo {
    pub(crate) width_align_pixels: u32,
    pub(crate) height_align_pixels: u32,
    pub(crate) pixel_squares_by_aliquots: u32,
    pub(crate) aliquot_total: u32,
    pub(crate) region_byte_multiplier: u32,
    pub(crate) region_header_size: u32,
    pub(crate) subregion_header_size: u32,
    pub(crate) subregion_count: u32,
    pub(crate) subregion_width_align_pixels: u32,
    pub(crate) subregion_height_align_pixels: u32,
}
assert_layout!(
    ZcullInfo "r570/gr.h:NV2080_CTRL_GR_GET_ZCULL_INFO_PARAMS", 40,
    aliquot_total "aliquotTotal" @ 12,
    subregion_count "subregionCount" @ 28,
);

/// Handles by which the firmware looks for the channel that the driver made for scrubbing, in the
/// client that sends [`ScrubberChannel`].
pub(crate) mod scrubber {
    pub(crate) const VASPACE: u32 = 0xdada_0042;
    pub(crate) const CHANNEL: u32 = VASPACE + 3;
    pub(crate) const THREE_D: u32 = VASPACE + 4;
}

/// TU10x: has the firmware use, or give up, the channel that the driver made for scrubbing.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(crate) struct ScrubberChannel {
    pub(crate) teardown: u8,
}
assert_layout!(
    ScrubberChannel "r570/gr.h:NV2080_CTRL_INTERNAL_GR_INIT_BUG4208224_WAR_PARAMS", 1,
);
