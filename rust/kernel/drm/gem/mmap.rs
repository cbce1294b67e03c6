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

#[kunit_tests(rust_drm_gem_mmap)]
mod tests {
    use super::*;
    use crate::{
        drm::{
            gem,
            kunit::{
                Client,
                Driver,
                OpenFile,
                TestDevice, //
            },
        },
        new_mutex,
        sync::{
            aref::ARef,
            atomic::Atomic,
            Mutex, //
        },
        uaccess::{
            UserPtr,
            UserSlice, //
        }, //
    };
    use core::ptr::NonNull;

    /// Pages of an object, more than a fault fills in.
    const PAGES: usize = FAULT_AROUND + 4;
    /// So many are allocated.
    const ORDER: u32 = 5;

    // What user space passes to mmap().
    const PROT_READ: usize = 1;
    const PROT_WRITE: usize = 2;
    const MAP_SHARED: usize = 1;
    const MAP_PRIVATE: usize = 2;

    /// Pages that lie one behind the other, of which the first bytes are used.
    struct Block(NonNull<bindings::page>);

    // SAFETY: Pages belong to no thread.
    unsafe impl Send for Block {}
    // SAFETY: As above.
    unsafe impl Sync for Block {}

    impl Block {
        fn new() -> Result<Self> {
            // SAFETY: There are no requirements.
            let pages = unsafe { bindings::alloc_pages(GFP_KERNEL.as_raw(), ORDER) };

            Ok(Self(NonNull::new(pages).ok_or(ENOMEM)?))
        }

        fn phys(&self) -> PhysAddr {
            // SAFETY: The page is valid.
            unsafe { bindings::page_to_phys(self.0.as_ptr()) }
        }

        /// Calls `f` with where the first byte of a page is; pages are counted modulo [`PAGES`].
        fn with_byte<R>(&self, page: usize, f: impl FnOnce(*mut u8) -> R) -> R {
            // SAFETY: There are that many pages.
            let address = unsafe { bindings::kmap_local_page(self.0.as_ptr().add(page % PAGES)) };
            let result = f(address.cast());

            // SAFETY: It has just been mapped.
            unsafe { bindings::kunmap_local(address) };
            result
        }

        fn get(&self, page: usize) -> u8 {
            // SAFETY: The pointer is valid; a process may have written there, but does not now.
            self.with_byte(page, |byte| unsafe { byte.read_volatile() })
        }

        fn set(&self, page: usize, value: u8) {
            // SAFETY: As above.
            self.with_byte(page, |byte| unsafe { byte.write_volatile(value) })
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: They were allocated in `new()`.
            unsafe { bindings::__free_pages(self.0.as_ptr(), ORDER) };
        }
    }

    /// How an object answers.
    #[derive(Clone, Copy)]
    struct Plan {
        caching: Result<Caching>,
        /// All pages are the same one.
        one_page: bool,
    }

    const PLAN: Plan = Plan {
        caching: Ok(Caching::Cached),
        one_page: false,
    };

    #[pin_data]
    struct Object {
        plan: Plan,
        block: Block,
        page: Page,
        /// All faults so far.
        #[pin]
        faults: Mutex<KVec<Fault>>,
        /// What the next fault fails with.
        #[pin]
        error: Mutex<Option<Error>>,
    }

    impl DriverObject for Object {
        type Driver = Driver<Object>;
        type Args = Plan;

        fn new(
            _device: &drm::Device<Driver<Object>>,
            _size: usize,
            plan: Plan,
        ) -> impl PinInit<Self, Error> {
            try_pin_init!(Object {
                plan,
                block: Block::new()?,
                page: Page::alloc_page(GFP_KERNEL)?,
                faults <- new_mutex!(KVec::new()),
                error <- new_mutex!(None),
            })
        }

        const MMAP: bool = true;

        fn mmap(obj: &gem::Object<Self>, _vma: &VmaRef) -> Result<Caching> {
            obj.plan.caching
        }

        fn fault(
            obj: &gem::Object<Self>,
            _device: &drm::Device<Driver<Object>, drm::Registered>,
            _reg_data: &Atomic<u32>,
            fault: &Fault,
        ) -> Result<Pages> {
            obj.faults.lock().push(*fault, GFP_KERNEL)?;
            if let Some(e) = obj.error.lock().take() {
                return Err(e);
            }
            let (start, count) = if obj.plan.one_page {
                (obj.page.phys(), 1)
            } else {
                let offset = fault.page() * PAGE_SIZE;

                (obj.block.phys() + offset as PhysAddr, PAGES - fault.page())
            };
            // SAFETY: The pages are the object's, and nobody else's, until it is freed.
            Ok(unsafe { Pages::new(start, count) })
        }
    }

    /// An object that a file may map.
    fn object(
        device: &drm::Device<Driver<Object>>,
        file: &OpenFile<Client<Object>>,
        plan: Plan,
    ) -> Result<ARef<gem::Object<Object>>> {
        let config = gem::ObjectConfig {
            private: true,
            ..Default::default()
        };
        let object = gem::Object::<Object>::with_config(device, PAGES * PAGE_SIZE, config, plan)?;

        object.create_handle(file)?;
        Ok(object)
    }

    /// What a process does: maps the first pages of an object, and returns their address.
    ///
    /// The address space is the test's own, and ends with it.
    fn map(
        file: &OpenFile<Client<Object>>,
        object: &gem::Object<Object>,
        pages: usize,
        flags: usize,
    ) -> Result<usize> {
        let offset = usize::try_from(object.create_mmap_offset()?)?;
        // SAFETY: The current thread is one of KUnit's, and runs nothing but a test.
        crate::error::to_result(unsafe { bindings::kunit_attach_mm() })?;
        let prot = PROT_READ | PROT_WRITE;
        // SAFETY: The file is valid, and so is any choice of the rest.
        let address =
            unsafe { bindings::vm_mmap(file.as_raw(), 0, pages * PAGE_SIZE, prot, flags, offset) };

        // CAST: Errors are the highest addresses.
        match address as isize {
            error @ -4095..=-1 => Err(Error::from_errno(error as c_int)),
            _ => Ok(address),
        }
    }

    /// Removes a mapping, which holds references to file and object.
    fn unmap(address: usize, pages: usize) -> Result {
        // SAFETY: There are no requirements.
        crate::error::to_result(unsafe { bindings::vm_munmap(address, pages * PAGE_SIZE) })
    }

    /// Flags and protection of the mapping at an address.
    fn vma(address: usize) -> Result<(usize, bindings::pgprot_t)> {
        let current = current!();
        let mm = current.mm().ok_or(ESRCH)?.mmap_read_lock();
        let vma = mm.vma_lookup(address).ok_or(EFAULT)?;

        // SAFETY: The mapping is valid as long as the lock is held.
        Ok((vma.flags(), unsafe { (*vma.as_ptr()).vm_page_prot }))
    }

    /// Reads as a process does.
    fn peek(address: usize) -> Result<u8> {
        UserSlice::new(UserPtr::from_addr(address), 1)
            .reader()
            .read()
    }

    /// Writes as a process does.
    fn poke(address: usize, value: u8) -> Result {
        UserSlice::new(UserPtr::from_addr(address), 1)
            .writer()
            .write(&value)
    }

    /// The faults so far: page, room, and whether it was a write.
    fn faults(object: &Object) -> Result<KVec<(usize, usize, bool)>> {
        let mut faults = KVec::new();

        for fault in object.faults.lock().iter() {
            let fault = (fault.page(), fault.room(), fault.is_write());

            faults.push(fault, GFP_KERNEL)?;
        }
        Ok(faults)
    }

    #[test]
    fn pages_are_filled_in_until_the_device_is_unplugged() -> Result {
        let mut device = TestDevice::new(c"kunit-mmap-fill")?;
        let file = OpenFile::new(&device)?;
        let object = object(&device, &file, PLAN)?;
        for (page, value) in (0..PAGES).zip(1u8..) {
            object.block.set(page, value);
        }
        let address = map(&file, &object, PAGES, MAP_SHARED)?;
        let at = |page: usize| address + page * PAGE_SIZE;

        assert!(faults(&object)?.is_empty());
        // A write fills in what follows, too.
        poke(at(1), 0xa5)?;
        assert_eq!(object.block.get(1), 0xa5);
        for (page, value) in (2..=FAULT_AROUND).zip(3u8..) {
            assert_eq!(peek(at(page))?, value);
            poke(at(page), value | 0x80)?;
            assert_eq!(object.block.get(page), value | 0x80);
        }
        let mut expected = KVec::new();
        expected.push((1, PAGES - 1, true), GFP_KERNEL)?;
        assert!(faults(&object)?[..] == expected[..]);

        // What is behind that, and before it.
        for (page, value) in (FAULT_AROUND + 1..PAGES).zip(FAULT_AROUND + 2..) {
            assert_eq!(usize::from(peek(at(page))?), value);
        }
        assert_eq!(peek(at(0))?, 1);
        expected.push((FAULT_AROUND + 1, 3, false), GFP_KERNEL)?;
        expected.push((0, PAGES, false), GFP_KERNEL)?;
        assert!(faults(&object)?[..] == expected[..]);

        // Whoever has it mapped still neither reads nor writes the driver's memory any more.
        device.unplug();
        assert_eq!(peek(at(1))?, 0);
        poke(at(1), 7)?;
        assert_eq!(peek(at(1))?, 7);
        assert_eq!(object.block.get(1), 0xa5);
        assert!(faults(&object)?[..] == expected[..]);
        unmap(address, PAGES)
    }

    #[test]
    fn faults_stay_within_mapping_and_memory() -> Result {
        let device = TestDevice::new(c"kunit-mmap-page")?;
        let file = OpenFile::new(&device)?;
        let plan = Plan {
            one_page: true,
            ..PLAN
        };
        let object = object(&device, &file, plan)?;
        let address = map(&file, &object, 3, MAP_SHARED)?;

        // The same page three times, which the driver tells the address of.
        poke(address + 2 * PAGE_SIZE + 5, 0x5a)?;
        assert_eq!(peek(address + 5)?, 0x5a);
        assert_eq!(peek(address + PAGE_SIZE + 5)?, 0x5a);
        let mut byte = 0u8;
        // SAFETY: `byte` is valid, and nobody writes to the page.
        unsafe { object.page.read_raw(&mut byte, 5, 1) }?;
        assert_eq!(byte, 0x5a);
        let expected = [(2, 1, true), (0, 3, false), (1, 2, false)];
        assert!(faults(&object)?[..] == expected);
        unmap(address, 3)
    }

    #[test]
    fn errors_of_a_fault_reach_who_touched_the_page() -> Result {
        for (error, reason_is) in [
            (EINTR, bindings::vm_fault_reason_VM_FAULT_NOPAGE),
            (EAGAIN, bindings::vm_fault_reason_VM_FAULT_NOPAGE),
            (ERESTARTSYS, bindings::vm_fault_reason_VM_FAULT_NOPAGE),
            (ENOMEM, bindings::vm_fault_reason_VM_FAULT_OOM),
            (EINVAL, bindings::vm_fault_reason_VM_FAULT_SIGBUS),
            (EIO, bindings::vm_fault_reason_VM_FAULT_SIGBUS),
        ] {
            assert_eq!(reason(error), reason_is);
        }

        let device = TestDevice::new(c"kunit-mmap-error")?;
        let file = OpenFile::new(&device)?;
        let object = object(&device, &file, PLAN)?;
        object.block.set(0, 1);
        let address = map(&file, &object, PAGES, MAP_SHARED)?;

        *object.error.lock() = Some(EIO);
        assert_eq!(poke(address, 2), Err(EFAULT));
        assert_eq!(object.block.get(0), 1);
        // The access is tried again.
        *object.error.lock() = Some(EAGAIN);
        assert_eq!(poke(address, 3), Ok(()));
        assert_eq!(object.block.get(0), 3);
        assert_eq!(faults(&object)?.len(), 3);
        unmap(address, PAGES)
    }

    #[test]
    fn mappings_are_shared_and_cached_as_the_driver_says() -> Result {
        let device = TestDevice::new(c"kunit-mmap-vma")?;
        let file = OpenFile::new(&device)?;
        let refusing = Plan {
            caching: Err(EPERM),
            ..PLAN
        };

        let refused = object(&device, &file, refusing)?;
        assert_eq!(map(&file, &refused, PAGES, MAP_SHARED), Err(EPERM));
        assert_eq!(map(&file, &refused, PAGES, MAP_PRIVATE), Err(EINVAL));

        for caching in [Caching::Cached, Caching::WriteCombined] {
            let plan = Plan {
                caching: Ok(caching),
                ..PLAN
            };
            let object = object(&device, &file, plan)?;
            assert_eq!(map(&file, &object, PAGES, MAP_PRIVATE), Err(EINVAL));
            let address = map(&file, &object, PAGES, MAP_SHARED)?;
            let (has, prot) = vma(address)?;
            let wanted = flags::PFNMAP | flags::IO | flags::DONTEXPAND | flags::DONTDUMP;
            assert_eq!(has & wanted, wanted);
            // SAFETY: There are no requirements.
            let (cached, combined) = unsafe {
                let cached = bindings::vm_get_page_prot(has);

                (cached, bindings::drm_gem_pgprot_wc(cached))
            };
            let expected = match caching {
                Caching::Cached => cached,
                Caching::WriteCombined => combined,
            };
            assert_eq!(prot.pgprot, expected.pgprot);
            unmap(address, PAGES)?;
        }
        Ok(())
    }
}
