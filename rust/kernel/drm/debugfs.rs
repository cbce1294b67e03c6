// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Files of a DRM device in debugfs.
//!
//! They are in the device's directory below `/sys/kernel/debug/dri`, and go away when the device is
//! unregistered.
//!
//! C header: [`include/drm/drm_debugfs.h`](srctree/include/drm/drm_debugfs.h)

use crate::{
    bindings,
    drm,
    error::from_result,
    prelude::*,
    seq_file::SeqFile, //
};

/// A file that tells something about a device.
///
/// # Examples
///
/// ```
/// use kernel::{
///     drm::{
///         self,
///         debugfs::DebugfsFile, //
///     },
///     prelude::*,
///     seq_file::SeqFile,
///     seq_print, //
/// };
/// use core::marker::PhantomData;
///
/// /// Tells how the driver calls itself.
/// struct NameFile<D>(PhantomData<D>);
///
/// impl<D: drm::Driver> DebugfsFile for NameFile<D> {
///     type Driver = D;
///     const NAME: &'static CStr = c"driver_name";
///
///     fn show(
///         _device: &drm::Device<D, drm::Registered>,
///         _reg_data: &D::RegistrationData<'_>,
///         m: &SeqFile,
///     ) -> Result {
///         seq_print!(m, "{}\n", D::INFO.name);
///         Ok(())
///     }
/// }
///
/// fn before_registration<D: drm::Driver>(device: &drm::UnregisteredDevice<D>) {
///     drm::debugfs::add_file::<NameFile<D>>(device);
/// }
/// ```
pub trait DebugfsFile {
    /// The driver whose device the file is about.
    type Driver: drm::Driver;

    /// The file's name.
    const NAME: &'static CStr;

    /// Writes what the file shows.
    ///
    /// May be called by several threads at once. Not called once the device is unplugged.
    fn show(
        device: &drm::Device<Self::Driver, drm::Registered>,
        reg_data: &<Self::Driver as drm::Driver>::RegistrationData<'_>,
        m: &SeqFile,
    ) -> Result;
}

/// Adds a file. Without debugfs, or memory, there is none.
pub fn add_file<F: DebugfsFile>(device: &drm::UnregisteredDevice<F::Driver>) {
    // SAFETY: The device is initialized. The name is static, and `show_callback()` is for files of
    // this driver's devices; debugfs waits for it before the file is gone, which is when the device
    // is unregistered or freed, and the driver's code outlives both.
    unsafe {
        bindings::drm_debugfs_add_file(
            device.as_raw(),
            F::NAME.as_char_ptr(),
            Some(show_callback::<F>),
            core::ptr::null_mut(),
        )
    };
}

/// # Safety
///
/// Only for `struct drm_debugfs_info`, of a file of a device of `F::Driver`.
unsafe extern "C" fn show_callback<F: DebugfsFile>(
    m: *mut bindings::seq_file,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: By the caller, `private` is the file's entry, which names the device. The device is
    // not freed as long as the file is there.
    let device: &drm::Device<F::Driver, drm::Ioctl> = unsafe {
        let entry: *mut bindings::drm_debugfs_entry = (*m).private.cast();
        drm::Device::from_raw((*entry).dev)
    };
    // SAFETY: The caller passes a valid `seq_file` that nobody else uses until this returns.
    let m = unsafe { SeqFile::from_raw(m) };

    from_result(|| {
        let guard = device.registration_guard().ok_or(ENODEV)?;

        guard.registration_data_with(|reg_data| F::show(&guard, reg_data, m))?;
        Ok(0)
    })
}
