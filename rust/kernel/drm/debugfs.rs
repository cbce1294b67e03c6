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

#[cfg(CONFIG_DEBUG_FS)]
#[kunit_tests(rust_drm_debugfs)]
mod tests {
    use super::*;
    use crate::{
        drm::kunit::{
            shown,
            Driver,
            TestDevice, //
        },
        error::to_result,
        seq_print,
        sync::atomic::{
            Atomic,
            Relaxed, //
        }, //
    };
    use core::ptr;

    /// Shows a number of the device and one of the registration, which counts how often.
    struct Numbers;

    impl DebugfsFile for Numbers {
        type Driver = Driver;
        const NAME: &'static CStr = c"kunit_numbers";

        fn show(
            device: &drm::Device<Driver, drm::Registered>,
            shown: &Atomic<u32>,
            m: &SeqFile,
        ) -> Result {
            match shown.fetch_add(1, Relaxed) {
                2 => Err(EBUSY),
                shown => {
                    seq_print!(m, "{} {}\n", device.load(Relaxed), shown);
                    Ok(())
                }
            }
        }
    }

    /// What the file of a name in the device's directory stands for.
    fn entry(
        device: &drm::Device<Driver>,
        name: &CStr,
    ) -> Result<*mut bindings::drm_debugfs_entry> {
        // SAFETY: The device has a directory, or none is looked for; a file has an inode.
        unsafe {
            let root = (*device.as_raw()).debugfs_root;
            if root.is_null() {
                return Err(ENOENT);
            }
            let file = bindings::debugfs_lookup(name.as_char_ptr(), root);
            if file.is_null() {
                return Err(ENOENT);
            }
            let entry = (*(*file).d_inode).i_private;

            bindings::dput(file);
            Ok(entry.cast())
        }
    }

    /// What reading the file gives.
    fn read(entry: *mut bindings::drm_debugfs_entry) -> Result<KVec<u8>> {
        // SAFETY: The entry is freed with the device.
        let show = unsafe { (*entry).file.show }.ok_or(EINVAL)?;

        shown(entry.cast(), |m| {
            // SAFETY: The function is the entry's, which the file names.
            to_result(unsafe { show(m, ptr::null_mut()) })
        })
    }

    #[test]
    fn a_file_shows_device_and_registration() -> Result {
        let (number, shown) = (Ok(Atomic::new(42)), Atomic::new(0));
        let mut device = TestDevice::with(c"kunit-debugfs", number, shown, |device| {
            assert_eq!(entry(device, Numbers::NAME).err(), Some(ENOENT));
            add_file::<Numbers>(device);
        })?;

        let file = entry(&device, Numbers::NAME)?;
        assert!(read(file)?[..] == *b"42 0\n");
        assert!(read(file)?[..] == *b"42 1\n");
        assert_eq!(read(file).err(), Some(EBUSY));

        // Who has it open cannot read it any more; nobody else finds it.
        device.unplug();
        assert_eq!(read(file).err(), Some(ENODEV));
        assert_eq!(entry(&device, Numbers::NAME).err(), Some(ENOENT));
        Ok(())
    }
}
