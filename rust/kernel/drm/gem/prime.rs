// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sharing GEM objects with other drivers and processes as dma-bufs (PRIME).

use super::{
    BaseObject,
    DriverAllocImpl,
    DriverObject,
    IntoGEMObject,
    Object,
    ObjectConfig, //
};
use crate::{
    bindings,
    drm::{
        self,
        DeviceContext, //
    },
    error::to_result,
    prelude::*,
    scatterlist::{
        Owned,
        SGTable, //
    },
    sync::aref::ARef,
    types::Opaque, //
};
use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// Memory of an object that consists of pages, so that any device can reach it.
///
/// # Invariants
///
/// Each entry of the table stands for one `struct page` or more.
#[derive(Clone, Copy)]
pub struct SharedPages<'a>(&'a SGTable);

impl<'a, P> From<&'a SGTable<Owned<P>>> for SharedPages<'a> {
    fn from(table: &'a SGTable<Owned<P>>) -> Self {
        // INVARIANT: It was made from pages.
        Self(table.deref())
    }
}

impl SharedPages<'_> {
    /// Makes a table of the same pages that is not mapped for any device.
    fn table(self) -> Result<UnmappedTable> {
        let table = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;
        let raw = self.0.as_raw();

        // SAFETY: The table is valid, and `table` is zeroed memory for another.
        to_result(unsafe {
            bindings::sg_alloc_table(table.get(), (*raw).orig_nents, GFP_KERNEL.as_raw())
        })?;
        // INVARIANT: It has been initialized.
        let table = UnmappedTable(table);

        // SAFETY: Both tables have `orig_nents` entries, the last of which `sg_next()` knows to be
        // that, and those of `raw` stand for pages by the type invariant.
        unsafe {
            let (mut from, mut to) = ((*raw).sgl, (*table.0.get()).sgl);

            while !from.is_null() && !to.is_null() {
                let page = bindings::sg_page(from);

                bindings::sg_set_page(to, page, (*from).length, (*from).offset);
                from = bindings::sg_next(from);
                to = bindings::sg_next(to);
            }
        }
        Ok(table)
    }
}

/// A table of pages on its way to the C code, which frees it as this type does.
///
/// # Invariants
///
/// It is initialized.
struct UnmappedTable(KBox<Opaque<bindings::sg_table>>);

impl UnmappedTable {
    fn into_raw(self) -> *mut bindings::sg_table {
        let this = core::mem::ManuallyDrop::new(self);

        // SAFETY: It is not dropped, so its box is moved from once.
        KBox::into_raw(unsafe { ptr::read(&this.0) }).cast()
    }
}

impl Drop for UnmappedTable {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::sg_free_table(self.0.get()) };
    }
}

impl<T: DriverObject, Ctx: DeviceContext> Object<T, Ctx> {
    /// The memory of the foreign dma-buf that this object stands for, if it does.
    pub fn imported(&self) -> Option<&SGTable> {
        // SAFETY: By the type invariants the pointer does not change.
        let sgt = NonNull::new(unsafe { *self.import_sgt.get() })?;

        // SAFETY: By the type invariants it is the table of a dma-buf that is mapped for the device
        // until the object is freed.
        Some(unsafe { SGTable::from_raw(sgt.as_ptr()) })
    }

    /// The `export` operation of an object.
    ///
    /// # Safety
    ///
    /// Only to be called by the DRM core, for an object of this type.
    pub(super) unsafe extern "C" fn export_callback(
        raw_obj: *mut bindings::drm_gem_object,
        flags: c_int,
    ) -> *mut bindings::dma_buf {
        // SAFETY: The operation is one of an `Object<T>`.
        let obj: &DriverAllocImpl<T> = unsafe { IntoGEMObject::from_raw(raw_obj) };

        let allowed = T::export(obj).and_then(|()| {
            if T::MMAP {
                // Mapping the dma-buf uses the offset without making sure that there is one.
                obj.create_mmap_offset()?;
            }
            Ok(())
        });

        match allowed {
            // SAFETY: The arguments are valid.
            Ok(()) => unsafe { bindings::drm_gem_prime_export(raw_obj, flags) },
            Err(e) => e.to_ptr(),
        }
    }

    /// The `get_sg_table` operation of an object.
    ///
    /// # Safety
    ///
    /// Only to be called by the DRM core, for an object of this type.
    pub(super) unsafe extern "C" fn get_sg_table_callback(
        raw_obj: *mut bindings::drm_gem_object,
    ) -> *mut bindings::sg_table {
        // SAFETY: The operation is one of an `Object<T>`.
        let obj: &DriverAllocImpl<T> = unsafe { IntoGEMObject::from_raw(raw_obj) };

        match T::pages(obj).and_then(SharedPages::table) {
            Ok(table) => table.into_raw(),
            Err(e) => e.to_ptr(),
        }
    }

    /// Lets go of the dma-buf that the object stands for, if it does.
    ///
    /// # Safety
    ///
    /// `this` must be valid and about to be freed.
    pub(super) unsafe fn release_import(this: *const Self) {
        // SAFETY: By the safety requirements.
        let (obj, sgt) = unsafe { ((*this).obj.get(), *(*this).import_sgt.get()) };

        // SAFETY: By the safety requirements; an attachment is there from `import_callback()`'s
        // success on, and then `sgt` is what was mapped for it.
        unsafe {
            if !(*obj).import_attach.is_null() {
                bindings::drm_prime_gem_destroy(obj, sgt);
            }
        }
    }
}

impl<T: DriverObject> Object<T> {
    /// The `gem_prime_import_sg_table` operation of a driver.
    ///
    /// The attachment and the table become the object's only if this succeeds, since the C code
    /// sets `import_attach` after it.
    ///
    /// # Safety
    ///
    /// Only to be called by the DRM core, for a device of this driver and what it has just mapped.
    pub(super) unsafe extern "C" fn import_callback(
        raw_dev: *mut bindings::drm_device,
        attach: *mut bindings::dma_buf_attachment,
        raw_sgt: *mut bindings::sg_table,
    ) -> *mut bindings::drm_gem_object {
        // SAFETY: The operation is one of a device of this driver.
        let dev: &drm::Device<T::Driver> = unsafe { drm::Device::from_raw(raw_dev) };
        // SAFETY: The attachment belongs to a valid dma-buf.
        let size = unsafe { (*(*attach).dmabuf).size };
        // SAFETY: The table is mapped for the device, and valid at least until this returns.
        let sgt = unsafe { SGTable::from_raw(raw_sgt) };

        let object = T::import(dev, size, sgt).and_then(|args| {
            let config = ObjectConfig {
                private: true,
                parent_resv_obj: None,
            };

            Self::with_config(dev, size, config, args)
        });

        match object {
            Ok(object) => {
                // SAFETY: Nobody has seen the object yet.
                // INVARIANT: The C code sets the attachment as soon as this returns.
                unsafe { *object.import_sgt.get() = raw_sgt };
                // The reference is the C code's.
                // SAFETY: The pointer is that of a valid object.
                unsafe { ARef::into_raw(object).as_ref() }.as_raw()
            }
            Err(e) => e.to_ptr(),
        }
    }
}

#[kunit_tests(rust_drm_gem_prime)]
mod tests {
    use super::*;
    use crate::page::{
        Page,
        PAGE_SIZE, //
    };

    #[test]
    fn tables_are_copied() -> Result {
        let mut pages = KVec::new();
        let mut raw_pages = KVec::new();

        for _ in 0..5 {
            let page = Page::alloc_page(GFP_KERNEL)?;

            raw_pages.push(page.as_ptr(), GFP_KERNEL)?;
            pages.push(page, GFP_KERNEL)?;
        }
        // More entries than fit a page of them would need chaining; a page each is enough here.
        let table = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;

        // SAFETY: The pages are valid, and `table` is zeroed memory for a table.
        to_result(unsafe {
            bindings::sg_alloc_table_from_pages_segment(
                table.get(),
                raw_pages.as_mut_ptr(),
                5,
                0,
                5 * PAGE_SIZE - 100,
                // CAST: the size of a page.
                PAGE_SIZE as u32,
                GFP_KERNEL.as_raw(),
            )
        })?;
        // INVARIANT: It has just been initialized.
        let table = UnmappedTable(table);
        // SAFETY: The table is valid until it is dropped.
        // INVARIANT: It was made from pages.
        let copy = SharedPages(unsafe { SGTable::from_raw(table.0.get()) }).table()?;

        /// Pages, lengths and offsets of a table's entries.
        fn entries(table: &UnmappedTable) -> Result<KVec<(*mut bindings::page, u32, u32)>> {
            let mut entries = KVec::new();
            // SAFETY: By the type invariant.
            let mut at = unsafe { (*table.0.get()).sgl };

            while !at.is_null() {
                // SAFETY: `at` is an entry of the table, and `sg_next()` knows the last one.
                let (entry, next) = unsafe {
                    let entry = (bindings::sg_page(at), (*at).length, (*at).offset);

                    (entry, bindings::sg_next(at))
                };
                entries.push(entry, GFP_KERNEL)?;
                at = next;
            }
            Ok(entries)
        }

        let copied = entries(&copy)?;
        assert!(copied.iter().map(|entry| entry.0).eq(raw_pages));
        assert!(copied.iter().eq(entries(&table)?.iter()));
        Ok(())
    }
}
