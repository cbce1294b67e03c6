// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: what a fault maps into a process.

//! Buffer objects.
//!
//! An object's memory is where it was put when it was made, for good: in video memory, in system
//! memory, or in a dma-buf of another driver. It outlives the driver's hold on the GPU, if a
//! process or another driver still has it; so nothing in it needs the hardware to be freed. What
//! maps it does: address spaces unmap it before, and a range of BAR1 is given back as it is.

use kernel::{
    drm::{
        self,
        gem::{
            self,
            mmap::{
                Caching,
                Fault,
                Pages, //
            },
            prime::SharedPages,
            BaseObject, //
        },
    },
    mm::virt::VmaRef,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    scatterlist::SGTable,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};

pub(crate) mod clear;

use clear::Cleaner;

use crate::{
    file::File,
    gpu::Core,
    mem::{
        bar1::Window,
        sysmem::{
            self,
            SystemPages, //
        },
        vram::{
            Piece,
            Shape, //
        },
    },
    mmu::{
        Aperture,
        Attr,
        Run, //
    },
    uapi, //
};

/// A buffer object as the DRM core knows it.
pub(crate) type Object = gem::Object<Bo>;

/// What is wanted of a new object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Bytes; rounded up to whole pages.
    pub(crate) size: u64,
    /// The least alignment of each run of its memory; a power of two, or zero.
    pub(crate) align: u64,
    /// It may be in video memory, and then rather is.
    pub(crate) vram: bool,
    /// It may be in system memory.
    pub(crate) system: bool,
    /// Other processes and drivers may get it.
    pub(crate) shareable: bool,
    /// How an image in it is laid out; only remembered.
    pub(crate) tile_mode: u32,
    /// The kind of its pages, where a mapping does not say another.
    pub(crate) kind: u8,
}

/// Where an object's memory is.
enum Backing {
    /// It has none: it stands for an address space, whose objects are locked as one.
    Nothing,
    /// In video memory.
    Vram(Piece),
    /// In system memory.
    System(SystemPages),
    /// In what a dma-buf of another driver stands for; the DRM core keeps that.
    Foreign,
}

/// A buffer object.
#[pin_data]
pub(crate) struct Bo {
    /// Where the GPU finds it; sorted, and of the size of the object at least.
    runs: KVVec<Run>,
    shareable: bool,
    /// The number of the client that has it, if no other can; zero before it does.
    client: Atomic<u64>,
    tile_mode: u32,
    kind: u8,
    /// Where in BAR1 it is, once it was there.
    #[pin]
    window: Mutex<Option<Window>>,
    backing: Backing,
}

/// What a [`Bo`] is made of.
pub(crate) struct Parts {
    runs: KVVec<Run>,
    shareable: bool,
    tile_mode: u32,
    kind: u8,
    backing: Backing,
}

impl Bo {
    /// Makes an object. Its memory is zero.
    ///
    /// `cleaner` zeroes video memory; without one, the object is not there. If it fails, the CPU
    /// does, which is slow, so that an object which may be in system memory is there. `reservation`
    /// is the object whose fences it shares, if it does. If the object may be in either memory and
    /// video memory is full, it is in system memory. Allocates and sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a request that makes no sense, `ENOMEM` or `ENOSPC` if there is no memory,
    /// `ENODEV` if the GPU is lost.
    pub(crate) fn create(
        core: &Core<'_>,
        cleaner: Option<&Cleaner<'_>>,
        dev: &drm::Device<uapi::Driver>,
        request: &Request,
        reservation: Option<&Object>,
    ) -> Result<ARef<Object>> {
        let page = PAGE_SIZE as u64;
        let size = request.size.checked_next_multiple_of(page).ok_or(ENOMEM)?;
        if size == 0 || !(request.vram || request.system) {
            return Err(EINVAL);
        }
        core.check()?;
        let backing = Self::allocate(core, cleaner, size, request)?;
        let parts = Parts {
            runs: match &backing {
                Backing::Vram(piece) => piece.runs()?,
                Backing::System(pages) => pages.runs()?,
                Backing::Nothing | Backing::Foreign => return Err(EINVAL),
            },
            shareable: request.shareable,
            tile_mode: request.tile_mode,
            kind: request.kind,
            backing,
        };
        let config = gem::ObjectConfig {
            private: true,
            parent_resv_obj: reservation,
        };
        Object::with_config(dev, usize::try_from(size)?, config, parts)
    }

    fn allocate(
        core: &Core<'_>,
        cleaner: Option<&Cleaner<'_>>,
        size: u64,
        request: &Request,
    ) -> Result<Backing> {
        /// What the CPU zeroes over the bus, rather than ask an engine to.
        const BY_CPU: u64 = PAGE_SIZE as u64;

        let system = || {
            // As many pages as there are is more than there will be.
            let size = usize::try_from(size).map_err(|_| ENOMEM)?;
            SystemPages::new(core.hw().dev, size).map(Backing::System)
        };
        let Some(cleaner) = cleaner.filter(|_| request.vram) else {
            return if request.system {
                system()
            } else {
                Err(EINVAL)
            };
        };
        let piece = match core.mem.vram.alloc(size, request.align, Shape::Scattered) {
            Ok(piece) => piece,
            Err(e) if request.system && e == ENOSPC => return system(),
            Err(e) => return Err(e),
        };
        if size <= BY_CPU {
            core.mem.zero(&piece)?;
        } else if cleaner.zero(&piece).is_err() {
            core.check()?;
            if request.system {
                return system();
            }
            core.mem.zero(&piece)?;
        }
        Ok(Backing::Vram(piece))
    }

    /// Makes an object without memory, for its reservation.
    pub(crate) fn reservation(dev: &drm::Device<uapi::Driver>) -> Result<ARef<Object>> {
        let parts = Parts {
            runs: KVVec::new(),
            shareable: false,
            tile_mode: 0,
            kind: 0,
            backing: Backing::Nothing,
        };
        let config = gem::ObjectConfig {
            private: true,
            parent_resv_obj: None,
        };
        Object::with_config(dev, PAGE_SIZE, config, parts)
    }

    /// Whether nobody but the client that made it can have it. Jobs leave no fences with it then.
    pub(crate) fn is_private(&self) -> bool {
        !self.shareable
    }

    /// Where the GPU finds it.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Whether it is in video memory.
    pub(crate) fn is_vram(&self) -> bool {
        matches!(self.backing, Backing::Vram(_))
    }

    /// How an image in it is laid out, as it was told when it was made.
    pub(crate) fn tile_mode(&self) -> u32 {
        self.tile_mode
    }

    /// The kind of its pages, as it was told when it was made.
    pub(crate) fn kind(&self) -> u8 {
        self.kind
    }

    /// How it is mapped for the GPU as pages of `kind`.
    pub(crate) fn attr(&self, kind: u8) -> Attr {
        let aperture = if self.is_vram() {
            Aperture::Vram
        } else {
            Aperture::Coherent
        };
        Attr {
            kind,
            ..Attr::linear(aperture)
        }
    }

    /// The memory of a page of it and what follows, for the CPU.
    fn page(&self, core: &Core<'_>, page: usize) -> Result<(u64, usize)> {
        match &self.backing {
            Backing::Nothing | Backing::Foreign => Err(EINVAL),
            Backing::System(pages) => pages.at(page).ok_or(EINVAL),
            Backing::Vram(_) => {
                let mut window = self.window.lock();
                let offset = (page as u64).checked_mul(PAGE_SIZE as u64).ok_or(EINVAL)?;
                let place = match &*window {
                    Some(window) => window.at(offset),
                    None => window
                        .insert(core.mem.bar1.show(&self.runs, self.attr(0))?)
                        .at(offset),
                };
                let (at, left) = place.ok_or(EINVAL)?;
                Ok((at, usize::try_from(left)? / PAGE_SIZE))
            }
        }
    }
}

impl gem::DriverObject for Bo {
    type Driver = uapi::Driver;
    type Args = Parts;

    fn new(_: &drm::Device<uapi::Driver>, _: usize, parts: Parts) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            runs: parts.runs,
            shareable: parts.shareable,
            client: Atomic::new(0),
            tile_mode: parts.tile_mode,
            kind: parts.kind,
            window <- new_mutex!(None, "Bo::window"),
            backing: parts.backing,
        })
    }

    /// Another client could get it by its global name, though jobs leave no fences with it.
    fn open(obj: &Object, file: &drm::File<File>) -> Result {
        if obj.shareable {
            return Ok(());
        }
        let client = file.client_id();

        match obj.client.cmpxchg(0, client, Relaxed) {
            Err(first) if first != client => Err(EPERM),
            _ => Ok(()),
        }
    }

    const MMAP: bool = true;

    fn mmap(obj: &Object, _: &VmaRef) -> Result<Caching> {
        match obj.backing {
            Backing::Nothing | Backing::Foreign => Err(EINVAL),
            Backing::System(_) => Ok(Caching::Cached),
            Backing::Vram(_) => Ok(Caching::WriteCombined),
        }
    }

    fn fault(
        obj: &Object,
        _: &uapi::Device,
        shared: &uapi::Shared<'_>,
        fault: &Fault,
    ) -> Result<Pages> {
        let (start, count) = obj.page(&shared.core, fault.page())?;

        // SAFETY: It is the object's own memory, zeroed before anyone saw it, or the part of BAR1
        // that shows it; it has one place from now on. System memory is mapped as such and BAR1
        // write-combining.
        Ok(unsafe { Pages::new(start, count) })
    }

    fn export(obj: &Object) -> Result {
        if obj.shareable {
            Ok(())
        } else {
            Err(EPERM)
        }
    }

    fn pages(obj: &Object) -> Result<SharedPages<'_>> {
        match &obj.backing {
            Backing::System(pages) => Ok(pages.shared()),
            // Another device would have to reach it over PCI, and that is not there.
            Backing::Vram(_) => Err(EOPNOTSUPP),
            Backing::Nothing | Backing::Foreign => Err(EINVAL),
        }
    }

    const IMPORT: bool = true;

    fn import(_: &drm::Device<uapi::Driver>, size: usize, table: &SGTable) -> Result<Parts> {
        let runs = sysmem::runs_of(table)?;
        let len = runs.last().map_or(0, |r| r.offset.saturating_add(r.len));
        let page = PAGE_SIZE as u64;
        let whole = |r: &Run| (r.offset | r.address | r.len) % page == 0;

        if len < u64::try_from(size)? || !runs.iter().all(whole) {
            return Err(EINVAL);
        }
        Ok(Parts {
            runs,
            shareable: true,
            tile_mode: 0,
            kind: 0,
            backing: Backing::Foreign,
        })
    }
}

/// Checks that a part of an object exists: whole pages, and not beyond its end.
pub(crate) fn check_range(object: &Object, offset: u64, len: u64) -> Result {
    let page = PAGE_SIZE as u64;
    let size = u64::try_from(object.size())?;
    let end = offset.checked_add(len).ok_or(EINVAL)?;

    if offset % page != 0 || len % page != 0 || len == 0 || end > size {
        return Err(EINVAL);
    }
    Ok(())
}
