// SPDX-License-Identifier: GPL-2.0

//! Ioctls about buffer objects.
//!
//! What an object is asked to be is in bits: in VRAM, in system memory, in the first if there is
//! room and in the second otherwise (both bits), mappable, never shared. An object of the last kind
//! shares the reservation of its client's address space, so that a submission locks one reservation
//! however many objects there are.

use kernel::{
    dma_resv::Usage,
    drm::{
        self,
        gem::BaseObject, //
    },
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    uapi::{
        self,
        drm_nouveau_gem_cpu_fini,
        drm_nouveau_gem_cpu_prep,
        drm_nouveau_gem_info,
        drm_nouveau_gem_new, //
    }, //
};

use crate::{
    file::File,
    gem::{
        Bo,
        Object,
        Request, //
    }, //
};

use super::{
    Device,
    Shared, //
};

/// Alignment of the largest pages; more is of no use.
const ALIGN_MAX: u32 = 2 << 20;

/// The kind of pages that the tile flags ask for.
///
/// Kinds from 8 on are compressed, which the interface's version says there are not, and 7 is none.
fn kind(tile_flags: u32) -> Result<u8> {
    let kind = (tile_flags & uapi::NOUVEAU_GEM_TILE_LAYOUT_MASK) >> 8;

    match u8::try_from(kind)? {
        kind @ 0..=6 => Ok(kind),
        _ => Err(EINVAL),
    }
}

/// What the flags and sizes of `GEM_NEW` ask for.
fn request(args: &drm_nouveau_gem_new) -> Result<Request> {
    let info = &args.info;
    let has = |bit: u32| info.domain & bit != 0;
    let vram = has(uapi::NOUVEAU_GEM_DOMAIN_VRAM);

    Ok(Request {
        size: info.size,
        align: args
            .align
            .min(ALIGN_MAX)
            .checked_next_power_of_two()
            .ok_or(EINVAL)?
            .into(),
        vram,
        // Without any of the two the CPU's memory is meant.
        system: has(uapi::NOUVEAU_GEM_DOMAIN_GART) || !vram,
        shareable: !has(uapi::NOUVEAU_GEM_DOMAIN_NO_SHARE),
        tile_mode: info.tile_mode,
        kind: kind(info.tile_flags)?,
    })
}

/// Tells about an object, apart from its handle and where to map it.
fn describe(object: &Object, info: &mut drm_nouveau_gem_info) -> Result {
    info.domain = if object.is_vram() {
        uapi::NOUVEAU_GEM_DOMAIN_VRAM
    } else {
        uapi::NOUVEAU_GEM_DOMAIN_GART
    };
    info.size = u64::try_from(object.size())?;
    // Objects have no address of their own; clients map them where they like.
    info.offset = 0;
    info.tile_mode = object.tile_mode();
    info.tile_flags = u32::from(object.kind()) << 8;
    Ok(())
}

/// `GEM_NEW`: makes an object.
pub(super) fn new(
    device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_gem_new,
    file: &drm::File<File>,
) -> Result<u32> {
    let request = request(args)?;
    let client = shared.client(file)?;

    client.settle();

    let reservation = if request.shareable {
        None
    } else {
        Some(client.reservation().ok_or(EINVAL)?)
    };
    let object = Bo::create(
        &shared.core,
        Some(&shared.cleaner),
        device,
        &request,
        reservation,
    )
    // Full memory has always been this error.
    .map_err(|e| if e == ENOSPC { ENOMEM } else { e })?;

    args.info.map_handle = if args.info.domain & uapi::NOUVEAU_GEM_DOMAIN_MAPPABLE != 0 {
        object.create_mmap_offset()?
    } else {
        // Those who want to map it nonetheless ask with `GEM_INFO`.
        0
    };
    describe(&object, &mut args.info)?;
    args.info.handle = object.create_handle(file)?;
    Ok(0)
}

/// `GEM_INFO`: tells about an object, for example one that was imported.
pub(super) fn info(
    _device: &Device,
    _shared: &Shared<'_>,
    args: &mut drm_nouveau_gem_info,
    file: &drm::File<File>,
) -> Result<u32> {
    let object = Object::lookup_handle(file, args.handle)?;

    describe(&object, args)?;
    args.map_handle = object.create_mmap_offset()?;
    Ok(0)
}

/// `GEM_CPU_PREP`: waits until the GPU is done with an object.
///
/// Jobs leave no fence with objects that nobody else can have, since that would cost each of them:
/// for such an object all jobs of the client are waited for.
pub(super) fn cpu_prep(
    _device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_gem_cpu_prep,
    file: &drm::File<File>,
) -> Result<u32> {
    /// Milliseconds.
    const PATIENCE: u32 = 30_000;

    let object = Object::lookup_handle(file, args.handle)?;
    let usage = Usage::before_access(args.flags & uapi::NOUVEAU_GEM_CPU_PREP_WRITE != 0);
    let timeout: Jiffies = if args.flags & uapi::NOUVEAU_GEM_CPU_PREP_NOWAIT != 0 {
        0
    } else {
        msecs_to_jiffies(PATIENCE)
    };

    // Memory is coherent, so there is nothing to do but to wait.
    let wait = || {
        let mut left = timeout;

        if let Some(client) = shared.clients.get(file).filter(|_| object.is_private()) {
            for fence in client.unfinished()? {
                left = fence.wait_timeout(left)?.min(timeout);
            }
        }
        object.resv().wait_timeout(usage, left)
    };
    match wait() {
        Err(e) if e == ETIME => Err(EBUSY),
        result => result.map(|()| 0),
    }
}

/// `GEM_CPU_FINI`: the CPU is done with an object. Memory is coherent.
pub(super) fn cpu_fini(
    _device: &Device,
    _shared: &Shared<'_>,
    args: &mut drm_nouveau_gem_cpu_fini,
    file: &drm::File<File>,
) -> Result<u32> {
    Object::lookup_handle(file, args.handle).map(|_| 0)
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_uapi_gem)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let cases = [
            (0, Some(0)),
            (0x600, Some(6)),
            // Bits that other generations use, and those that say nothing about pages.
            (0x0003_0608, Some(6)),
            (0x700, None),
            (0x800, None),
            (0xff00, None),
        ];

        for (flags, expected) in cases {
            assert!(kind(flags).ok() == expected);
        }
    }

    #[test]
    fn requests() -> Result {
        // Domain and alignment; VRAM, system memory, shareable, alignment.
        let cases = [
            (0x2e, 0x1000, (true, true, false, 0x1000)),
            (0x2c, 0x1000, (false, true, false, 0x1000)),
            (0x06, 0x4000, (true, true, true, 0x4000)),
            (0x22, 0x20_0000, (true, false, false, 0x20_0000)),
            (0x01, 0, (false, true, true, 1)),
            (0x00, 0x1001, (false, true, true, 0x2000)),
            (0x02, u32::MAX, (true, false, true, 0x20_0000)),
        ];

        for (domain, align, expected) in cases {
            let args = drm_nouveau_gem_new {
                info: drm_nouveau_gem_info {
                    domain,
                    size: 0x3000,
                    ..Default::default()
                },
                align,
                ..Default::default()
            };
            let got = request(&args)?;

            assert!((got.vram, got.system, got.shareable, got.align) == expected);
        }
        Ok(())
    }
}
