// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DRM devices and open files without hardware or user space, for tests.
//!
//! A device's parent is on the faux bus, and `mock_drm_getfile()` opens it as user space would. So
//! a test sees what the C code calls, with the objects it calls it with, until the file is closed
//! or the device is unplugged.

use crate::{
    bindings,
    device,
    drm::{
        self,
        file::{
            DriverFile,
            File, //
        },
        gem::{
            self,
            DriverObject, //
        },
        UnregisteredDevice, //
    },
    error::from_err_ptr,
    faux,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Atomic, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// A device that is registered until it is unplugged, or this is dropped.
///
/// # Invariants
///
/// The device's parent is `parent`, and bound.
pub(crate) struct TestDevice<D: drm::Driver> {
    device: ARef<drm::Device<D>>,
    // Dropped before the parent is unbound.
    registration: Option<drm::Registration<'static, D>>,
    _parent: faux::Registration,
}

impl<D> TestDevice<D>
where
    D: drm::Driver<ParentDevice<device::Bound> = faux::Device<device::Bound>>,
{
    /// Registers a device, which `prepare` is shown before.
    pub(crate) fn with<E>(
        name: &CStr,
        data: impl PinInit<D::Data, Error>,
        reg_data: impl PinInit<D::RegistrationData<'static>, E>,
        prepare: impl FnOnce(&UnregisteredDevice<D>),
    ) -> Result<Self>
    where
        Error: From<E>,
    {
        let parent = faux::Registration::new(name, None)?;
        let bound: &faux::Device<device::Bound> = parent.as_ref();
        // SAFETY: The device is not a part of `parent`, but bound until that is dropped: after the
        // last use of this reference, by the order of the fields below, or never.
        let bound: &'static faux::Device<device::Bound> = unsafe { &*ptr::from_ref(bound) };
        let device = UnregisteredDevice::new(bound, data)?;

        prepare(&device);
        // SAFETY: Whoever leaks the registration leaks `parent` with it, which then stays bound;
        // the registration data borrows nothing else that ends.
        let registration = unsafe { drm::Registration::new(bound.as_ref(), device, reg_data, 0) }?;

        // INVARIANT: As made above.
        Ok(Self {
            device: registration.device().into(),
            registration: Some(registration),
            _parent: parent,
        })
    }

    /// Unregisters the device, as if it had been removed.
    pub(crate) fn unplug(&mut self) {
        self.registration = None;
    }
}

impl<D: drm::Driver> Deref for TestDevice<D> {
    type Target = drm::Device<D>;

    fn deref(&self) -> &drm::Device<D> {
        &self.device
    }
}

/// A driver that does nothing, for devices whose objects are of type `O`.
pub(crate) struct Driver<O = Empty>(PhantomData<O>);

/// A file of such a device.
pub(crate) struct Client<O>(PhantomData<O>);

/// An object that is only that.
#[pin_data]
pub(crate) struct Empty {}

impl<O: DriverObject<Driver = Driver<O>>> TestDevice<Driver<O>> {
    /// Registers a device whose driver does nothing.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        Self::with(name, Ok(Atomic::new(0)), Atomic::new(0), |_| ())
    }
}

#[vtable]
impl<O: DriverObject<Driver = Self>> drm::Driver for Driver<O> {
    // Numbers for tests to tell them from others.
    type Data = Atomic<u32>;
    type RegistrationData<'a> = Atomic<u32>;
    type File = Client<O>;
    type Object = gem::Object<O>;
    type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;

    const INFO: drm::DriverInfo = INFO;
    const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
}

/// What drivers of tests tell about themselves.
pub(crate) const INFO: drm::DriverInfo = drm::DriverInfo {
    major: 0,
    minor: 0,
    patchlevel: 0,
    name: c"kunit",
    desc: c"KUnit",
};

impl<O: DriverObject<Driver = Driver<O>>> DriverFile for Client<O> {
    type Driver = Driver<O>;

    fn open(_device: &drm::Device<Driver<O>>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self(PhantomData), GFP_KERNEL)?.into())
    }
}

impl DriverObject for Empty {
    type Driver = Driver;
    type Args = ();

    fn new(_: &drm::Device<Driver>, _size: usize, _args: ()) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {})
    }
}

/// A file that is open for reading and writing, and is closed when this is dropped.
///
/// # Invariants
///
/// The pointer owns a reference to a `struct file` of a device of `T::Driver`.
pub(crate) struct OpenFile<T: DriverFile>(NonNull<bindings::file>, PhantomData<T>);

impl<T: DriverFile> OpenFile<T> {
    /// Opens the primary node of a device that has been registered.
    pub(crate) fn new<D>(device: &drm::Device<D>) -> Result<Self>
    where
        T: DriverFile<Driver = D>,
        D: drm::Driver<File = T>,
    {
        // SAFETY: The device is valid, and has had a primary node since it was made.
        let file = from_err_ptr(unsafe {
            bindings::mock_drm_getfile((*device.as_raw()).primary, bindings::O_RDWR)
        })?;
        // INVARIANT: The reference is this object's.
        Ok(Self(NonNull::new(file).ok_or(ENOMEM)?, PhantomData))
    }

    /// The C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }
}

impl<T: DriverFile> Deref for OpenFile<T> {
    type Target = File<T>;

    fn deref(&self) -> &File<T> {
        // SAFETY: By the type invariant; the private data of such a file is its `struct drm_file`.
        unsafe { File::from_raw((*self.as_raw()).private_data.cast()) }
    }
}

impl<T: DriverFile> Drop for OpenFile<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Unlike `fput()`, this does not leave it to a work item.
        unsafe { bindings::__fput_sync(self.as_raw()) };
    }
}

/// Returns what `show` prints into a file whose private data is `private`.
pub(crate) fn shown(
    private: *mut c_void,
    show: impl FnOnce(*mut bindings::seq_file) -> Result,
) -> Result<KVec<u8>> {
    let mut text = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
    let mut m = bindings::seq_file {
        buf: text.as_mut_ptr().cast(),
        size: text.len(),
        private,
        ..Default::default()
    };

    show(&mut m)?;
    text.truncate(m.count);
    Ok(text)
}
