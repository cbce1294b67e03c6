// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of open files: their values, their end, and what they tell.

use crate::prelude::*;

#[kunit_tests(rust_drm_file)]
mod tests {
    use super::*;
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
                BaseObject,
                ObjectConfig, //
            },
            kunit::{
                self,
                OpenFile,
                TestDevice, //
            },
            ClosingFile,
            FileTable, //
        },
        error::to_result,
        faux,
        page::PAGE_SIZE,
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
    use core::{
        ops::Deref,
        ptr, //
    };

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

        const INFO: drm::DriverInfo = kunit::INFO;
        const IOCTLS: &'static [drm::ioctl::DrmIoctlDescriptor] = &[];
        const FDINFO_NAME: &'static CStr = c"kunit-fdinfo";
    }

    fn register(name: &CStr) -> Result<TestDevice<Driver>> {
        let data = try_pin_init!(Data {
            closed: Atomic::new(0),
            late: Atomic::new(0),
        });

        TestDevice::with(name, data, FileTable::new(), |_| ())
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

        kunit::shown(ptr::null_mut(), |m| {
            // SAFETY: The operation is one of this file's.
            unsafe { show(m, file.as_raw()) };
            Ok(())
        })
    }

    #[test]
    fn a_file_has_one_value_in_one_table() -> Result {
        let device = register(c"kunit-drm-table")?;
        let (first, second) = (OpenFile::new(&device)?, OpenFile::new(&device)?);
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
        let device = register(c"kunit-drm-retry")?;
        let file = OpenFile::new(&device)?;
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
        let mut device = register(c"kunit-drm-close")?;
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
        device.unplug();
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
        let mut device = register(c"kunit-drm-fdinfo")?;
        let (file, other) = (OpenFile::new(&device)?, OpenFile::new(&device)?);
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        assert!(file.client_id() < other.client_id());
        let expected = CString::try_from_fmt(fmt!(
            "drm-driver:\tkunit-fdinfo\ndrm-client-id:\t{}\n",
            file.client_id()
        ))?;
        assert!(fdinfo(&file)?[..] == *expected.to_bytes());

        with_table(&device, |table| {
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

        device.unplug();
        assert!(fdinfo(&file)?.is_empty());
        Ok(())
    }

    #[test]
    fn objects_are_seen_once_for_each_handle() -> Result {
        let device = register(c"kunit-drm-objects")?;
        let (file, other) = (OpenFile::new(&device)?, OpenFile::new(&device)?);
        let object = |pages: usize| -> Result<ARef<gem::Object<Object>>> {
            let config = ObjectConfig {
                private: true,
                ..Default::default()
            };

            gem::Object::with_config(&device, pages * PAGE_SIZE, config, ())
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
