// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Open files of a device without user space, for tests.
//!
//! A device on the faux bus can be registered, and `mock_drm_getfile()` opens it as user space
//! would. So a test sees what the C code calls, with the objects it calls it with, until the file
//! is closed or the device is unplugged.

use super::{
    DriverFile,
    File, //
};
use crate::{
    bindings,
    drm,
    error::from_err_ptr,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

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

#[kunit_tests(rust_drm_file)]
mod tests {
    use super::*;
    use crate::{
        device,
        drm::{
            gem::{
                self,
                BaseObject,
                ObjectConfig, //
            },
            ClosingFile,
            FileTable,
            UnregisteredDevice, //
        },
        error::to_result,
        faux,
        seq_file::SeqFile,
        seq_print,
        str::CString,
        sync::{
            aref::ARef,
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        }, //
    };
    use core::ptr;

    /// Counts the files that were closed, and those of them that the device was gone for.
    #[pin_data]
    struct Data {
        closed: Atomic<u32>,
        late: Atomic<u32>,
    }
    struct Driver;
    struct Client;
    #[pin_data]
    struct Object {}

    /// What a file has in a table.
    #[pin_data]
    struct Value {
        number: u32,
        _counted: Counted,
    }

    /// Counts how many were dropped.
    struct Counted(Arc<Atomic<u32>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    impl DriverFile for Client {
        type Driver = Driver;

        const SHOW_FDINFO: bool = true;

        fn open(_device: &drm::Device<Driver>) -> Result<Pin<KBox<Self>>> {
            Ok(KBox::new(Self, GFP_KERNEL)?.into())
        }

        fn close(closing: ClosingFile<'_, Self>, device: &drm::Device<Driver, drm::Ioctl>) {
            device.closed.fetch_add(1, Relaxed);
            match device.registration_guard() {
                Some(guard) => guard.registration_data_with(|table| drop(table.remove(closing))),
                None => {
                    device.late.fetch_add(1, Relaxed);
                }
            }
        }

        fn show_fdinfo(
            _device: &drm::Device<Driver, drm::Registered>,
            table: &FileTable<Value>,
            file: &File<Self>,
            m: &SeqFile,
        ) {
            if let Some(value) = table.get(file) {
                seq_print!(m, "kunit-number:\t{}\n", value.number);
            }
        }
    }

    impl gem::DriverObject for Object {
        type Driver = Driver;
        type Args = ();

        fn new(
            _device: &drm::Device<Driver>,
            _size: usize,
            _args: Self::Args,
        ) -> impl PinInit<Self, Error> {
            try_pin_init!(Object {})
        }
    }

    #[vtable]
    impl drm::Driver for Driver {
        type Data = Data;
        type RegistrationData<'a> = FileTable<Value>;
        type File = Client;
        type Object = gem::Object<Object>;
        type ParentDevice<Ctx: device::DeviceContext> = faux::Device<Ctx>;

        const INFO: drm::DriverInfo = drm::DriverInfo {
            major: 0,
            minor: 0,
            patchlevel: 0,
            name: c"kunit",
            desc: c"KUnit",
        };
        const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
        const FDINFO_NAME: &'static CStr = c"kunit-fdinfo";
    }

    /// Registers a device until what is returned is dropped, which the caller must not prevent.
    fn register(parent: &faux::Registration) -> Result<drm::Registration<'_, Driver>> {
        let data = try_pin_init!(Data {
            closed: Atomic::new(0),
            late: Atomic::new(0),
        });
        let parent: &faux::Device<device::Bound> = parent.as_ref();
        let device = UnregisteredDevice::new(parent, data)?;

        // SAFETY: By the caller.
        unsafe { drm::Registration::new(parent.as_ref(), device, FileTable::new(), 0) }
    }

    /// Does something with the registration data, as an ioctl would.
    fn with_table<R>(
        device: &drm::Device<Driver>,
        f: impl for<'a> FnOnce(&'a FileTable<Value>) -> Result<R>,
    ) -> Result<R> {
        // SAFETY: The device has been registered.
        let device: &drm::Device<Driver, drm::Ioctl> =
            unsafe { drm::Device::from_raw(device.as_raw()) };
        let guard = device.registration_guard().ok_or(ENODEV)?;

        guard.registration_data_with(f)
    }

    fn value(number: Result<u32>, dropped: &Arc<Atomic<u32>>) -> impl PinInit<Value, Error> {
        let counted = Counted(dropped.clone());

        try_pin_init!(Value {
            _counted: counted,
            number: number?,
        })
    }

    /// The numbers of all values, in the table's order.
    fn numbers(table: &FileTable<Value>) -> Result<KVec<u32>> {
        let mut numbers = KVec::new();
        let mut result = Ok(());

        table.for_each(|value| {
            if let Err(e) = numbers.push(value.number, GFP_KERNEL) {
                result = Err(e.into());
            }
        });
        result.map(|()| numbers)
    }

    fn fdinfo(file: &OpenFile<Client>) -> Result<KVec<u8>> {
        // SAFETY: An open file has its operations.
        let show = unsafe { (*(*file.as_raw()).f_op).show_fdinfo }.ok_or(EINVAL)?;

        shown(ptr::null_mut(), |m| {
            // SAFETY: The operation is one of this file's.
            unsafe { show(m, file.as_raw()) };
            Ok(())
        })
    }

    #[test]
    fn a_file_has_one_value_in_one_table() -> Result {
        let parent = faux::Registration::new(c"kunit-drm-table", None)?;
        let registration = register(&parent)?;
        let device = registration.device();
        let (first, second) = (OpenFile::new(device)?, OpenFile::new(device)?);
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let table = KBox::pin_init(FileTable::<Value>::new(), GFP_KERNEL)?;

        assert!(table.get(&second).is_none());
        let two = table.get_or_insert(&second, value(Ok(2), &dropped))?;
        assert!(table.get(&first).is_none());
        let one = table.get_or_insert(&first, value(Ok(1), &dropped))?;
        assert_eq!((one.number, two.number), (1, 2));

        // What is there stays there, at its address.
        let again = table.get_or_insert(&second, value(Ok(3), &dropped))?;
        assert!(ptr::eq(again, two));
        assert!(table.get(&first).is_some_and(|value| ptr::eq(value, one)));
        // In the order in which the files were opened.
        assert!(numbers(&table)?.iter().eq(&[1, 2]));
        // The third value was not needed.
        assert_eq!(dropped.load(Relaxed), 1);

        // Another table knows nothing of this, and does not get the files.
        let other = KBox::pin_init(FileTable::<Value>::new(), GFP_KERNEL)?;
        assert!(other.get(&first).is_none());
        let refused = other.get_or_insert(&first, value(Ok(4), &dropped));
        assert_eq!(refused.err(), Some(EBUSY));
        assert!(numbers(&other)?.is_empty());
        assert_eq!(dropped.load(Relaxed), 2);

        drop(table);
        assert_eq!(dropped.load(Relaxed), 4);
        Ok(())
    }

    #[test]
    fn a_file_without_a_value_can_get_one_later() -> Result {
        let parent = faux::Registration::new(c"kunit-drm-retry", None)?;
        let registration = register(&parent)?;
        let file = OpenFile::new(registration.device())?;
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let table = KBox::pin_init(FileTable::<Value>::new(), GFP_KERNEL)?;
        let other = KBox::pin_init(FileTable::<Value>::new(), GFP_KERNEL)?;

        let failed = table.get_or_insert(&file, value(Err(EIO), &dropped));
        assert_eq!(failed.err(), Some(EIO));
        assert!(table.get(&file).is_none());
        assert!(numbers(&table)?.is_empty());
        assert_eq!(dropped.load(Relaxed), 1);

        // Also in another table.
        let one = other.get_or_insert(&file, value(Ok(1), &dropped))?;
        assert!(other.get(&file).is_some_and(|value| ptr::eq(value, one)));
        assert!(table.get(&file).is_none());
        Ok(())
    }

    #[test]
    fn a_value_ends_with_its_file_or_the_registration() -> Result {
        let parent = faux::Registration::new(c"kunit-drm-close", None)?;
        let registration = register(&parent)?;
        let device: ARef<drm::Device<Driver>> = registration.device().into();
        let (first, second) = (OpenFile::new(&device)?, OpenFile::new(&device)?);
        let third = OpenFile::new(&device)?;
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        for (file, number) in [(&first, 1), (&second, 2)] {
            with_table(&device, |table| {
                table
                    .get_or_insert(file, value(Ok(number), &dropped))
                    .map(|_| ())
            })?;
        }

        // The third has none that could be taken away.
        drop(third);
        assert_eq!(device.closed.load(Relaxed), 1);
        assert_eq!(dropped.load(Relaxed), 0);

        drop(first);
        assert_eq!(device.closed.load(Relaxed), 2);
        assert_eq!(dropped.load(Relaxed), 1);
        assert!(with_table(&device, numbers)?.iter().eq(&[2]));

        // The other file is open still.
        drop(registration);
        assert_eq!(dropped.load(Relaxed), 2);
        assert_eq!(with_table(&device, |_| Ok(())), Err(ENODEV));
        assert_eq!(device.late.load(Relaxed), 0);

        drop(second);
        assert_eq!(device.closed.load(Relaxed), 3);
        assert_eq!(device.late.load(Relaxed), 1);
        assert_eq!(dropped.load(Relaxed), 2);
        Ok(())
    }

    #[test]
    fn fdinfo_tells_of_driver_and_client() -> Result {
        let parent = faux::Registration::new(c"kunit-drm-fdinfo", None)?;
        let registration = register(&parent)?;
        let device = registration.device();
        let (file, other) = (OpenFile::new(device)?, OpenFile::new(device)?);
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        assert!(file.client_id() < other.client_id());
        let expected = CString::try_from_fmt(fmt!(
            "drm-driver:\tkunit-fdinfo\ndrm-client-id:\t{}\n",
            file.client_id()
        ))?;
        assert!(fdinfo(&file)?[..] == *expected.to_bytes());

        with_table(device, |table| {
            table
                .get_or_insert(&file, value(Ok(7), &dropped))
                .map(|_| ())
        })?;
        // SAFETY: Nobody else uses the file. Closing it frees the name, as it does user space's.
        unsafe {
            (*file.deref().as_raw()).client_name =
                bindings::kstrdup(c"a test".as_char_ptr(), GFP_KERNEL.as_raw());
        }
        let expected = CString::try_from_fmt(fmt!(
            "drm-driver:\tkunit-fdinfo\n\
             drm-client-id:\t{}\n\
             drm-client-name:\ta test\n\
             kunit-number:\t7\n",
            file.client_id()
        ))?;
        assert!(fdinfo(&file)?[..] == *expected.to_bytes());

        drop(registration);
        assert!(fdinfo(&file)?.is_empty());
        Ok(())
    }

    #[test]
    fn objects_are_seen_once_for_each_handle() -> Result {
        let parent = faux::Registration::new(c"kunit-drm-objects", None)?;
        let registration = register(&parent)?;
        let device = registration.device();
        let (file, other) = (OpenFile::new(device)?, OpenFile::new(device)?);
        let object = |pages: usize| -> Result<ARef<gem::Object<Object>>> {
            let config = ObjectConfig {
                private: true,
                ..Default::default()
            };

            gem::Object::with_config(device, pages * PAGE_SIZE, config, ())
        };
        /// How many objects of one page and of two pages a file has.
        fn seen(file: &File<Client>) -> (usize, usize) {
            let mut seen = (0, 0);

            file.for_each_object(|object| {
                if object.size() == PAGE_SIZE {
                    seen.0 += 1;
                } else if object.size() == 2 * PAGE_SIZE {
                    seen.1 += 1;
                }
            });
            seen
        }
        let (one, two) = (object(1)?, object(2)?);

        assert_eq!(seen(&file), (0, 0));
        one.create_handle(&file)?;
        let handle = two.create_handle(&file)?;
        one.create_handle(&file)?;
        two.create_handle(&other)?;
        assert_eq!(seen(&file), (2, 1));
        assert_eq!(seen(&other), (0, 1));

        // SAFETY: The file is valid, and the handle is one of it.
        to_result(unsafe { bindings::drm_gem_handle_delete(file.deref().as_raw(), handle) })?;
        assert_eq!(seen(&file), (2, 0));
        assert_eq!(seen(&other), (0, 1));
        Ok(())
    }
}
