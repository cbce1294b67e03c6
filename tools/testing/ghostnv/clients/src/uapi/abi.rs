// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Layouts and numbers of the ioctls, as the kernel's headers `drm.h`, `nouveau_drm.h`,
//! `sync_file.h` and nouveau's `nvif/ioctl.h` define them.

/// ioctl numbers under the DRM type letter.
pub mod nr {
    /// Driver-specific ioctls start here.
    const DRIVER: u8 = 0x40;
    /// Closes a GEM handle.
    pub const GEM_CLOSE: u8 = 0x09;
    /// Exports an object as a dma-buf.
    pub const PRIME_HANDLE_TO_FD: u8 = 0x2d;
    /// Imports a dma-buf.
    pub const PRIME_FD_TO_HANDLE: u8 = 0x2e;
    /// Creates an object that the CPU draws into.
    pub const MODE_CREATE_DUMB: u8 = 0xb2;
    /// Tells where to map such an object.
    pub const MODE_MAP_DUMB: u8 = 0xb3;
    /// Creates a syncobj.
    pub const SYNCOBJ_CREATE: u8 = 0xbf;
    /// Destroys a syncobj.
    pub const SYNCOBJ_DESTROY: u8 = 0xc0;
    /// Exports a syncobj, or the fence in it.
    pub const SYNCOBJ_HANDLE_TO_FD: u8 = 0xc1;
    /// Waits for syncobjs.
    pub const SYNCOBJ_WAIT: u8 = 0xc3;
    /// Signals syncobjs.
    pub const SYNCOBJ_SIGNAL: u8 = 0xc5;
    /// Waits for points of timelines.
    pub const SYNCOBJ_TIMELINE_WAIT: u8 = 0xca;
    /// Reads a parameter.
    pub const GETPARAM: u8 = DRIVER;
    /// Allocates a channel.
    pub const CHANNEL_ALLOC: u8 = DRIVER + 0x02;
    /// Frees a channel.
    pub const CHANNEL_FREE: u8 = DRIVER + 0x03;
    /// NVIF messages.
    pub const NVIF: u8 = DRIVER + 0x07;
    /// Takes a range of the address space for the client.
    pub const VM_INIT: u8 = DRIVER + 0x10;
    /// Changes the client's address space.
    pub const VM_BIND: u8 = DRIVER + 0x11;
    /// Submits pushbuffers.
    pub const EXEC: u8 = DRIVER + 0x12;
    /// Creates a buffer object.
    pub const GEM_NEW: u8 = DRIVER + 0x40;
    /// Tells about a buffer object.
    pub const GEM_INFO: u8 = DRIVER + 0x44;
    /// Waits for a buffer object, or asks whether it is busy.
    pub const GEM_CPU_PREP: u8 = DRIVER + 0x42;
}

/// Type letter of DRM ioctls.
pub const TYPE_DRM: u8 = b'd';
/// Type letter of sync file ioctls.
pub const TYPE_SYNC: u8 = b'>';
/// Number of the sync file ioctl that tells a fence's state.
pub const SYNC_FILE_INFO: u8 = 4;

/// GETPARAM: the PCI device id.
pub const PARAM_PCI_DEVICE: u64 = 4;
/// GETPARAM: the chip's id from BOOT_0.
pub const PARAM_CHIPSET_ID: u64 = 11;
/// GETPARAM: most pushes of one EXEC.
pub const PARAM_EXEC_PUSH_MAX: u64 = 17;
/// GETPARAM: bytes of VRAM in use, by anybody.
pub const PARAM_VRAM_USED: u64 = 19;

/// GEM_NEW: in VRAM.
pub const DOMAIN_VRAM: u32 = 1 << 1;
/// GEM_NEW: in system memory.
pub const DOMAIN_GART: u32 = 1 << 2;
/// GEM_NEW: the CPU will map it.
pub const DOMAIN_MAPPABLE: u32 = 1 << 3;
/// GEM_NEW: never shared with another client.
pub const DOMAIN_NO_SHARE: u32 = 1 << 5;

/// PRIME_HANDLE_TO_FD: the dma-buf may be mapped for writing.
pub const PRIME_RDWR: u32 = 2;

/// VM_BIND operation: map.
pub const BIND_MAP: u32 = 0;
/// VM_BIND operation: unmap.
pub const BIND_UNMAP: u32 = 1;
/// VM_BIND operation's flag: a sparse region.
pub const BIND_SPARSE: u32 = 1 << 8;
/// VM_BIND: wait for, and signal, syncobjs.
pub const BIND_RUN_ASYNC: u32 = 1;

/// EXEC and VM_BIND: the syncobj is a timeline.
pub const SYNC_TIMELINE: u32 = 1;

/// GEM_CPU_PREP: do not wait.
pub const CPU_PREP_NOWAIT: u32 = 1;
/// GEM_CPU_PREP: for writing.
pub const CPU_PREP_WRITE: u32 = 4;

/// SYNCOBJ_WAIT: also wait until a fence is there.
pub const WAIT_FOR_SUBMIT: u32 = 1 << 1;
/// SYNCOBJ_HANDLE_TO_FD: export the fence as a sync file.
pub const EXPORT_SYNC_FILE: u32 = 1 << 0;

/// NVIF message types.
pub mod nvif {
    /// List the classes of a channel.
    pub const SCLASS: u8 = 1;
    /// Create an object.
    pub const NEW: u8 = 2;
    /// Delete an object.
    pub const DEL: u8 = 3;
    /// Route of messages about channels.
    pub const ROUTE_CHANNEL: u8 = 0xff;
    /// Owner field of all messages.
    pub const OWNER_ANY: u8 = 0xff;
}

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident = $size:literal { $($field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default)]
        #[expect(missing_docs, reason = "fields are the header's")]
        pub struct $name { $(pub $field: $kind,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    };
}

layout!(
    /// GEM_CLOSE, SYNCOBJ_CREATE (flags second), SYNCOBJ_DESTROY.
    Handle = 8 { handle: u32, flags: u32, }
);
layout!(
    /// PRIME_HANDLE_TO_FD and back.
    Prime = 12 { handle: u32, flags: u32, fd: i32, }
);
layout!(
    /// MODE_CREATE_DUMB.
    CreateDumb = 32 {
        height: u32, width: u32, bpp: u32, flags: u32, handle: u32, pitch: u32, size: u64,
    }
);
layout!(
    /// MODE_MAP_DUMB.
    MapDumb = 16 { handle: u32, pad: u32, offset: u64, }
);
layout!(
    /// SYNCOBJ_HANDLE_TO_FD.
    SyncobjHandle = 24 { handle: u32, flags: u32, fd: i32, pad: u32, point: u64, }
);
layout!(
    /// SYNCOBJ_WAIT.
    SyncobjWait = 40 {
        handles: u64, timeout_nsec: i64, count_handles: u32, flags: u32, first_signaled: u32,
        pad: u32, deadline_nsec: u64,
    }
);
layout!(
    /// SYNCOBJ_TIMELINE_WAIT.
    SyncobjTimelineWait = 48 {
        handles: u64, points: u64, timeout_nsec: i64, count_handles: u32, flags: u32,
        first_signaled: u32, pad: u32, deadline_nsec: u64,
    }
);
layout!(
    /// SYNCOBJ_SIGNAL.
    SyncobjArray = 16 { handles: u64, count_handles: u32, flags: u32, }
);
layout!(
    /// GEM_CPU_PREP.
    CpuPrep = 8 { handle: u32, flags: u32, }
);
layout!(
    /// SYNC_IOC_FILE_INFO.
    SyncFileInfo = 56 {
        name: [u8; 32], status: i32, flags: u32, num_fences: u32, pad: u32, fences: u64,
    }
);
layout!(
    /// GETPARAM.
    GetParam = 16 { param: u64, value: u64, }
);
layout!(
    /// CHANNEL_ALLOC.
    ChannelAlloc = 88 {
        fb_ctxdma_handle: u32, tt_ctxdma_handle: u32, channel: i32, pushbuf_domains: u32,
        notifier_handle: u32, subchan: [[u32; 2]; 8], nr_subchan: u32,
    }
);
layout!(
    /// CHANNEL_FREE.
    ChannelFree = 4 { channel: i32, }
);
layout!(
    /// VM_INIT.
    VmInit = 16 { kernel_managed_addr: u64, kernel_managed_size: u64, }
);
layout!(
    /// One operation of VM_BIND.
    BindOp = 40 {
        op: u32, flags: u32, handle: u32, pad: u32, addr: u64, bo_offset: u64, range: u64,
    }
);
layout!(
    /// VM_BIND.
    VmBind = 40 {
        op_count: u32, flags: u32, wait_count: u32, sig_count: u32, wait_ptr: u64, sig_ptr: u64,
        op_ptr: u64,
    }
);
layout!(
    /// One pushbuffer of EXEC.
    Push = 16 { va: u64, va_len: u32, flags: u32, }
);
layout!(
    /// One syncobj of EXEC or VM_BIND.
    Sync = 16 { flags: u32, handle: u32, timeline_value: u64, }
);
layout!(
    /// EXEC.
    Exec = 40 {
        channel: u32, push_count: u32, wait_count: u32, sig_count: u32, wait_ptr: u64,
        sig_ptr: u64, push_ptr: u64,
    }
);
layout!(
    /// GEM_NEW.
    GemNew = 48 {
        handle: u32, domain: u32, size: u64, offset: u64, map_handle: u64, tile_mode: u32,
        tile_flags: u32, channel_hint: u32, align: u32,
    }
);
layout!(
    /// GEM_INFO.
    GemInfo = 40 {
        handle: u32, domain: u32, size: u64, offset: u64, map_handle: u64, tile_mode: u32,
        tile_flags: u32,
    }
);
layout!(
    /// Header of an NVIF message.
    NvifHeader = 24 { version: u8, kind: u8, pad: [u8; 4], owner: u8, route: u8, token: u64, object: u64, }
);
layout!(
    /// NVIF: the classes of a channel.
    NvifClasses = 160 {
        header: NvifHeader, version: u8, count: u8, pad: [u8; 6], list: [NvifClass; 16],
    }
);
layout!(
    /// NVIF: one class of a channel.
    NvifClass = 8 { oclass: i32, minver: i16, maxver: i16, }
);
layout!(
    /// NVIF: a new engine object.
    NvifNew = 56 {
        header: NvifHeader, version: u8, pad: [u8; 6], route: u8, token: u64, object: u64,
        handle: u32, oclass: i32,
    }
);
