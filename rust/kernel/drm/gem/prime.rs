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
    prelude::*,
    scatterlist::SGTable,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

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
