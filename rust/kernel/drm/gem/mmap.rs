// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Mapping GEM objects into user space.
//!
//! Pages enter a mapping one by one when they are touched, as bare page frame numbers: they may lie
//! in system memory or behind a BAR of the device, and they are not reference counted by the
//! mapping. Each fault runs under a registration guard. Unplugging the device waits for faults and
//! then removes what they mapped, so no driver memory is reachable after that; who touches it later
//! finds zeroes instead of being killed.

use super::{
    BaseObject,
    DriverAllocImpl,
    DriverObject,
    IntoGEMObject,
    Object, //
};
use crate::{
    bindings,
    drm::{
        self,
        DeviceContext, //
    },
    io::PhysAddr,
    mm::virt::{
        flags,
        VmaNew,
        VmaRef, //
    },
    page::{
        Page,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// How the CPU caches accesses to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Ordinary memory.
    Cached,
    /// Write-combined: writes are gathered, reads are slow. For memory behind a BAR.
    WriteCombined,
}

/// Which page of an object is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    page: usize,
    room: usize,
    write: bool,
}

impl Fault {
    /// Offset of the page from the start of the object, in pages; always within the object.
    pub fn page(&self) -> usize {
        self.page
    }

    /// The number of pages, counting the wanted one, that could be mapped at once.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Whether it is a write that wants the page.
    pub fn is_write(&self) -> bool {
        self.write
    }
}

/// Memory to be mapped.
///
/// # Invariants
///
/// The range fulfils the safety requirements of [`Pages::new()`].
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    start: PhysAddr,
    count: usize,
}

impl Pages {
    /// `count` pages that lie one behind the other from the physical address `start` on.
    ///
    /// Not all of them may be used.
    ///
    /// # Safety
    ///
    /// - The range must be memory that user space may read and write at will, in the caching mode
    ///   that the mapping has.
    /// - It must stay so until the object is freed or the device is unplugged.
    pub const unsafe fn new(start: PhysAddr, count: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self { start, count }
    }
}

/// Pages that one fault fills in at most: a few are cheaper now than a fault for each.
const FAULT_AROUND: usize = 16;

impl<T: DriverObject, Ctx: DeviceContext> Object<T, Ctx> {
    pub(super) const VM_OPS: &'static bindings::vm_operations_struct =
        &bindings::vm_operations_struct {
            open: Some(bindings::drm_gem_vm_open),
            close: Some(bindings::drm_gem_vm_close),
            fault: Some(Self::fault_callback),
            ..pin_init::zeroed()
        };

    /// The `mmap` operation of an object.
    ///
    /// # Safety
    ///
    /// Only to be called by the DRM core, for an object of this type and a VMA that is being made.
    pub(super) unsafe extern "C" fn mmap_callback(
        raw_obj: *mut bindings::drm_gem_object,
        raw_vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The operation is one of an `Object<T>`.
        let obj: &DriverAllocImpl<T> = unsafe { IntoGEMObject::from_raw(raw_obj) };
        // SAFETY: The VMA is undergoing its initial setup.
        let vma = unsafe { VmaNew::from_raw(raw_vma) };

        // Page frame numbers cannot be copied on write.
        if vma.flags() & (flags::SHARED | flags::MAYWRITE) == flags::MAYWRITE {
            return EINVAL.to_errno();
        }

        let caching = match T::mmap(obj, vma) {
            Ok(caching) => caching,
            Err(e) => return e.to_errno(),
        };

        vma.set_io();
        vma.set_dontexpand();
        vma.set_dontdump();

        // SAFETY: The VMA is not yet visible to others. `VM_PFNMAP` is valid for it: it is not
        // `VM_MIXEDMAP`, since nobody else sets flags, and not copied on write.
        unsafe {
            (*raw_vma).__bindgen_anon_2.vm_flags |= flags::PFNMAP;
            let prot = bindings::vm_get_page_prot((*raw_vma).__bindgen_anon_2.vm_flags);
            (*raw_vma).vm_page_prot = match caching {
                Caching::Cached => prot,
                Caching::WriteCombined => bindings::drm_gem_pgprot_wc(prot),
            };
        }
        0
    }

    /// The `fault` operation of a mapping.
    ///
    /// # Safety
    ///
    /// Only to be called by the MM core, for a fault in a mapping of an object of this type.
    unsafe extern "C" fn fault_callback(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The fault is one in a mapping of an `Object<T>`, whose VMA is locked and holds a
        // reference to the object.
        let (vma, raw_obj) = unsafe {
            let vma = (*vmf).__bindgen_anon_1.vma;

            (VmaRef::from_raw(vma), (*vma).vm_private_data.cast())
        };
        // SAFETY: As above.
        let fault = match unsafe { Self::locate(vmf, vma, raw_obj) } {
            Some(fault) => fault,
            None => return bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        };
        // SAFETY: The object belongs to a device of this driver, which has been registered or
        // nobody could have opened it.
        let dev: &drm::Device<T::Driver, drm::Ioctl> =
            unsafe { drm::Device::from_raw((*raw_obj).dev) };
        // SAFETY: As above.
        let obj: &DriverAllocImpl<T> = unsafe { IntoGEMObject::from_raw(raw_obj) };

        let Some(guard) = dev.registration_guard() else {
            // SAFETY: `raw_obj` is part of an `Object<T>`.
            let this: &Self = unsafe { IntoGEMObject::from_raw(raw_obj) };

            return match this.dead_page() {
                // SAFETY: The page lives as long as the object, and its contents are of no concern.
                Ok(page) => unsafe { insert(vmf, vma, fault, page) },
                Err(e) => reason(e),
            };
        };

        match guard.registration_data_with(|reg_data| T::fault(obj, &guard, reg_data, &fault)) {
            // SAFETY: By the invariants of `Pages`. Unplugging the device waits for the guard and
            // then removes all mappings of the device.
            Ok(pages) => unsafe { insert(vmf, vma, fault, pages) },
            Err(e) => reason(e),
        }
    }

    /// Finds out which page of the object is meant.
    ///
    /// # Safety
    ///
    /// The arguments are those of a fault in a mapping of an `Object<T>`.
    unsafe fn locate(
        vmf: *mut bindings::vm_fault,
        vma: &VmaRef,
        raw_obj: *mut bindings::drm_gem_object,
    ) -> Option<Fault> {
        // SAFETY: The offset of an object is not changed once it can be mapped.
        let start = unsafe { (*raw_obj).vma_node.vm_node.start } as usize;
        // SAFETY: By the safety requirements.
        let (pgoff, address, flags) = unsafe {
            (
                (*vmf).__bindgen_anon_1.pgoff,
                (*vmf).__bindgen_anon_1.address,
                (*vmf).flags,
            )
        };
        // SAFETY: By the safety requirements.
        let obj: &Self = unsafe { IntoGEMObject::from_raw(raw_obj) };

        let page = pgoff.checked_sub(start)?;
        let left = (obj.size() >> PAGE_SHIFT).checked_sub(page)?;
        let room = left.min(vma.end().checked_sub(address)? >> PAGE_SHIFT);

        (room != 0).then_some(Fault {
            page,
            room,
            write: flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0,
        })
    }

    /// A page of zeroes for when the device is gone.
    fn dead_page(&self) -> Result<Pages> {
        let page = match self.dead_page.as_ref() {
            Some(page) => page,
            None => {
                // Another thread may have been faster, which is as good.
                self.dead_page
                    .populate(Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?);
                self.dead_page.as_ref().ok_or(EAGAIN)?
            }
        };

        // SAFETY: The page lives as long as the object, which all mappings of it refer to, and
        // nothing else uses it.
        Ok(unsafe { Pages::new(bindings::page_to_phys(page.as_ptr()), 1) })
    }
}

/// Fills in pages from the one that is wanted on.
///
/// # Safety
///
/// `vmf` and `vma` must be those of a fault in a VMA with `VM_PFNMAP`, and what is told of `pages`
/// must hold for the object that the VMA maps.
unsafe fn insert(
    vmf: *mut bindings::vm_fault,
    vma: &VmaRef,
    fault: Fault,
    pages: Pages,
) -> bindings::vm_fault_t {
    // SAFETY: By the safety requirements.
    let address = unsafe { (*vmf).__bindgen_anon_1.address };
    let count = pages.count.min(fault.room).min(FAULT_AROUND);
    let mut result = bindings::vm_fault_reason_VM_FAULT_SIGBUS;

    for i in 0..count {
        // `address + i` pages are within the VMA, and physical addresses have bits to spare.
        let (address, pfn) = (
            address.wrapping_add(i * PAGE_SIZE),
            (pages.start as usize >> PAGE_SHIFT).wrapping_add(i),
        );

        // SAFETY: The VMA is one for page frame numbers, the address lies in it, and by the safety
        // requirements user space may have the page.
        let inserted = unsafe { bindings::vmf_insert_pfn(vma.as_ptr(), address, pfn) };

        if i == 0 {
            result = inserted;
        }
        if inserted != bindings::vm_fault_reason_VM_FAULT_NOPAGE {
            break;
        }
    }
    result
}

/// What an error means for the task that touched the page.
fn reason(e: Error) -> bindings::vm_fault_t {
    if e == EINTR || e == EAGAIN || e == ERESTARTSYS {
        bindings::vm_fault_reason_VM_FAULT_NOPAGE
    } else if e == ENOMEM {
        bindings::vm_fault_reason_VM_FAULT_OOM
    } else {
        bindings::vm_fault_reason_VM_FAULT_SIGBUS
    }
}
