// SPDX-License-Identifier: GPL-2.0

//! nouveau's ioctls.
//!
//! Their structures are those of the kernel's `nouveau_drm.h`, their semantics those that users of
//! nouveau have come to depend on, down to the errors. What the interface before `VM_BIND` has
//! beyond buffer objects is not here: its ioctls fail with `ENOSYS`, whereupon its users (the old
//! OpenGL and X drivers) give up.

use kernel::{
    drm,
    io::Io,
    prelude::*,
    str::CString,
    uapi::{
        self,
        drm_nouveau_channel_alloc,
        drm_nouveau_channel_free,
        drm_nouveau_gem_pushbuf,
        drm_nouveau_get_zcull_info,
        drm_nouveau_getparam,
        drm_nouveau_vm_init, //
    }, //
};

use crate::{
    channel::ring::PUSH_MAX,
    file::File,
    gpu::Hw,
    regs::timer,
    rm::engines::Engine,
    vm::VA_END, //
};

use super::{
    Device,
    Shared, //
};

/// Time of the GPU in nanoseconds.
///
/// The halves cannot be read at once. If the upper one has changed meanwhile, the lower one belongs
/// to neither for sure.
fn timer_nsec(hw: Hw<'_>) -> u64 {
    let high = || u64::from(hw.bar.read(timer::TIME_1).nsec().get());
    let mut upper = high();

    loop {
        let lower = hw.bar.read(timer::TIME_0).nsec();
        let again = high();

        if again == upper {
            return (upper << 32) | u64::from(lower);
        }
        upper = again;
    }
}

/// `GETPARAM`: one number about the GPU.
pub(super) fn getparam(
    _device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_getparam,
    _file: &drm::File<File>,
) -> Result<u32> {
    /// PCI Express.
    const BUS_TYPE: u64 = 2;

    let facts = &shared.facts;

    args.value = match u32::try_from(args.param).map_err(|_| EINVAL)? {
        uapi::NOUVEAU_GETPARAM_PCI_VENDOR => facts.pci_vendor.into(),
        uapi::NOUVEAU_GETPARAM_PCI_DEVICE => facts.pci_device.into(),
        uapi::NOUVEAU_GETPARAM_BUS_TYPE => BUS_TYPE,
        uapi::NOUVEAU_GETPARAM_FB_SIZE => facts.vram_usable,
        uapi::NOUVEAU_GETPARAM_AGP_SIZE => VA_END,
        uapi::NOUVEAU_GETPARAM_CHIPSET_ID => shared.core.hw().chip.id.into(),
        uapi::NOUVEAU_GETPARAM_VM_VRAM_BASE => 0,
        uapi::NOUVEAU_GETPARAM_GRAPH_UNITS => facts.graph_units(),
        uapi::NOUVEAU_GETPARAM_PTIMER_TIME => timer_nsec(shared.core.hw()),
        uapi::NOUVEAU_GETPARAM_HAS_BO_USAGE => 1,
        uapi::NOUVEAU_GETPARAM_HAS_PAGEFLIP => 1,
        uapi::NOUVEAU_GETPARAM_EXEC_PUSH_MAX => PUSH_MAX.into(),
        uapi::NOUVEAU_GETPARAM_VRAM_BAR_SIZE => facts.bar1_size,
        uapi::NOUVEAU_GETPARAM_VRAM_USED => shared.vram_used(),
        uapi::NOUVEAU_GETPARAM_HAS_VMA_TILEMODE => 1,
        uapi::GHOSTNV_GETPARAM_INTERFACE => uapi::GHOSTNV_INTERFACE_VERSION.into(),
        uapi::GHOSTNV_GETPARAM_VRAM_SIZE => facts.vram_size,
        _ => return Err(EINVAL),
    };
    Ok(0)
}

/// `GET_ZCULL_INFO`: what the early depth test needs.
pub(super) fn get_zcull_info(
    _device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_get_zcull_info,
    _file: &drm::File<File>,
) -> Result<u32> {
    let zcull = shared.facts.graphics.zcull.as_ref().ok_or(ENOTTY)?;

    *args = drm_nouveau_get_zcull_info {
        width_align_pixels: zcull.width_align_pixels,
        height_align_pixels: zcull.height_align_pixels,
        pixel_squares_by_aliquots: zcull.pixel_squares_by_aliquots,
        aliquot_total: zcull.aliquot_total,
        zcull_region_byte_multiplier: zcull.region_byte_multiplier,
        zcull_region_header_size: zcull.region_header_size,
        zcull_subregion_header_size: zcull.subregion_header_size,
        subregion_count: zcull.subregion_count,
        subregion_width_align_pixels: zcull.subregion_width_align_pixels,
        subregion_height_align_pixels: zcull.subregion_height_align_pixels,
        // Of no use without an ioctl that takes the buffer.
        ctxsw_size: 0,
        ctxsw_align: 0,
    };
    Ok(0)
}

/// `VM_INIT`: the client manages its address space itself.
pub(super) fn vm_init(
    device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_vm_init,
    file: &drm::File<File>,
) -> Result<u32> {
    let start = args.kernel_managed_addr;
    let end = start
        .checked_add(args.kernel_managed_size)
        .filter(|end| *end <= VA_END)
        .ok_or(EINVAL)?;

    shared.core.check()?;
    shared.client(file)?.vm_init(device, start..end)?;
    Ok(0)
}

/// The engine that `CHANNEL_ALLOC` asks for.
///
/// # Errors
///
/// `ENOSYS` for engines that the driver does not have, `EINVAL` for what is none.
fn engine<'s>(
    shared: &'s Shared<'_>,
    args: &drm_nouveau_channel_alloc,
    file: &drm::File<File>,
) -> Result<&'s Engine> {
    /// In `fb_ctxdma_handle`: the engine's number follows in `tt_ctxdma_handle`.
    const BY_NUMBER: u32 = u32::MAX;

    let engines = &shared.core.engines;
    let number = match (args.fb_ctxdma_handle, args.tt_ctxdma_handle) {
        (BY_NUMBER, number) => number,
        (_, u32::MAX) => return Err(EINVAL),
        // Callers from before there was a choice.
        _ => uapi::NOUVEAU_FIFO_ENGINE_GR,
    };

    match number {
        uapi::NOUVEAU_FIFO_ENGINE_GR => engines.graphics().ok_or(EINVAL),
        uapi::NOUVEAU_FIFO_ENGINE_CE => {
            let count = engines.async_copies().count().max(1);
            // Clients are spread over the engines.
            let index = usize::try_from(file.client_id())? % count;

            engines.async_copies().nth(index).ok_or(EINVAL)
        }
        _ => Err(ENOSYS),
    }
}

/// `CHANNEL_ALLOC`: a way for work to get to an engine.
pub(super) fn channel_alloc(
    device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_channel_alloc,
    file: &drm::File<File>,
) -> Result<u32> {
    shared.core.check()?;
    let client = shared.client(file)?;

    client.settle();
    client.vm()?;

    let engine = engine(shared, args, file)?;
    let owner = CString::try_from_fmt(fmt!("process {}", current!().group_leader().pid()))?;
    let number = client.open_channel(engine, owner)?;

    match client.notifier(device, file) {
        Ok(handle) => args.notifier_handle = handle,
        Err(e) => {
            client.close_channel(number)?;
            return Err(e);
        }
    }
    args.channel = i32::try_from(number)?;
    args.pushbuf_domains = uapi::NOUVEAU_GEM_DOMAIN_VRAM | uapi::NOUVEAU_GEM_DOMAIN_GART;
    args.nr_subchan = 0;
    Ok(0)
}

/// `CHANNEL_FREE`.
pub(super) fn channel_free(
    _device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_channel_free,
    file: &drm::File<File>,
) -> Result<u32> {
    let number = u32::try_from(args.channel).map_err(|_| ENOENT)?;

    shared.client(file)?.close_channel(number)?;
    Ok(0)
}

/// `GEM_PUSHBUF`: submission of the interface before `VM_BIND`.
pub(super) fn gem_pushbuf(
    _device: &Device,
    _shared: &Shared<'_>,
    _args: &mut drm_nouveau_gem_pushbuf,
    _file: &drm::File<File>,
) -> Result<u32> {
    Err(ENOSYS)
}
