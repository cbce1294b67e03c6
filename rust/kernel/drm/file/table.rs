// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What open files have in the registration data of their device.
//!
//! The data of a [`DriverFile`] lives as long as the file is open, which may be longer than the
//! device is bound. State that must not outlive the binding, such as objects of the hardware that
//! belong to the client, has to be part of [`drm::Driver::RegistrationData`]. A [`FileTable`] in
//! there holds one value for each file, and an ioctl finds the one of its file without a lock and
//! without a search.
//!
//! A value goes away with the table or when its file is closed, whichever comes first.

use super::{
    ClosingFile,
    DriverFile,
    File, //
};
use crate::{
    prelude::*,
    rbtree::RBTree,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Mutex, //
    }, //
};
use core::{
    cell::UnsafeCell,
    ptr, //
};

/// The name of the lock of every table.
///
/// They are of one class, and lockdep wants all locks of a class to have the name at one address. A
/// literal in a generic function would be at another one in each crate that calls it.
static LOCK_NAME: &CStr = c"FileTable::values";

/// The next table's number. Zero and [`CLAIMED`] are none.
static NEXT_ID: Atomic<u64> = Atomic::new(1);

/// A slot is being filled.
const CLAIMED: u64 = u64::MAX;

/// Where the value of a file is.
///
/// # Invariants
///
/// - `table` is zero, or [`CLAIMED`] while one thread has exclusive access to `value`, or the
///   number of a table.
/// - Once it is the number of a table, neither changes, and `value` points to that file's value in
///   this table.
pub(super) struct Slot {
    table: Atomic<u64>,
    value: UnsafeCell<*mut ()>,
}

// SAFETY: `value` is written only by the thread that claimed the slot, and read only after that.
unsafe impl Send for Slot {}
// SAFETY: As above.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) fn new() -> Self {
        // INVARIANT: The slot belongs to no table.
        Self {
            table: Atomic::new(0),
            value: UnsafeCell::new(ptr::null_mut()),
        }
    }
}

/// A table of values, at most one for each open file.
///
/// A file can be in one table in its life.
///
/// # Examples
///
/// ```
/// use kernel::drm::{
///     self,
///     ClosingFile,
///     File,
///     FileTable, //
/// };
///
/// /// Registration data.
/// #[pin_data]
/// struct Data<V: Send + Sync> {
///     #[pin]
///     clients: FileTable<V>,
/// }
///
/// /// What an ioctl does first.
/// fn find<'a, F: drm::file::DriverFile, V: Send + Sync>(
///     data: &'a Data<V>,
///     file: &'a File<F>,
/// ) -> Result<&'a V> {
///     data.clients.get(file).ok_or(ENOENT)
/// }
///
/// /// What closing the file does, under a registration guard.
/// fn close<F: drm::file::DriverFile, V: Send + Sync>(data: &Data<V>, file: ClosingFile<'_, F>) {
///     drop(data.clients.remove(file));
/// }
///
/// /// How many clients there are.
/// fn count<V: Send + Sync>(data: &Data<V>) -> usize {
///     let mut count = 0;
///
///     data.clients.for_each(|_client| count += 1);
///     count
/// }
///
/// // Nobody has opened the device yet.
/// let data = KBox::pin_init(
///     pin_init!(Data::<u32> { clients <- FileTable::new() }),
///     GFP_KERNEL,
/// )?;
/// assert_eq!(count(&data), 0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `id` is unique among all tables.
#[pin_data]
pub struct FileTable<V: Send + Sync> {
    id: u64,
    #[pin]
    values: Mutex<RBTree<u64, Pin<KBox<V>>>>,
}

impl<V: Send + Sync> FileTable<V> {
    /// Makes an empty table.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: 64 bits do not wrap.
            id: NEXT_ID.fetch_add(1, Relaxed),
            values <- Mutex::new(RBTree::new(), LOCK_NAME, static_lock_class!()),
        })
    }

    /// Returns the value of a file.
    #[inline]
    pub fn get<'a, F: DriverFile>(&'a self, file: &'a File<F>) -> Option<&'a V> {
        let slot = file.slot();

        if slot.table.load(Acquire) != self.id {
            return None;
        }
        // SAFETY: By the invariants of `Slot`, `value` points to the value of this file in this
        // table. It is dropped with the table, which is borrowed for as long as the result, or by
        // `remove()`, which requires that nothing borrows the file.
        Some(unsafe { &*(*slot.value.get()).cast::<V>() })
    }

    /// Returns the value of a file, which is made if there is none yet.
    ///
    /// While `value` is initialised no file can enter or leave the table. Fails with `EBUSY` if the
    /// file is in another table.
    pub fn get_or_insert<'a, F: DriverFile, E>(
        &'a self,
        file: &'a File<F>,
        value: impl PinInit<V, E>,
    ) -> Result<&'a V>
    where
        Error: From<E>,
    {
        if let Some(value) = self.get(file) {
            return Ok(value);
        }

        let mut values = self.values.lock();
        // Another thread may have been faster.
        if let Some(value) = self.get(file) {
            return Ok(value);
        }

        let slot = file.slot();
        // INVARIANT: From here on this thread has exclusive access to the slot.
        slot.table.cmpxchg(0, CLAIMED, Relaxed).map_err(|_| EBUSY)?;

        let stored = KBox::pin_init(value, GFP_KERNEL).and_then(|value| {
            let address = ptr::from_ref(&*value).cast_mut();

            values.try_create_and_insert(file.client_id(), value, GFP_KERNEL)?;
            Ok(address)
        });

        match stored {
            Ok(value) => {
                // SAFETY: Nobody else accesses the slot.
                unsafe { *slot.value.get() = value.cast() };
                // INVARIANT: `value` points to the value of the file.
                slot.table.store(self.id, Release);
                // SAFETY: As in `get()`.
                Ok(unsafe { &*value })
            }
            Err(e) => {
                // INVARIANT: The slot is as it was, and nobody has seen a value.
                slot.table.store(0, Release);
                Err(e)
            }
        }
    }

    /// Takes the value of a file that is being closed.
    pub fn remove<F: DriverFile>(&self, file: ClosingFile<'_, F>) -> Option<Pin<KBox<V>>> {
        // By the invariants of `ClosingFile`, which is consumed, nothing that `get()` returned for
        // this file is still in use.
        self.values.lock().remove(&file.client_id())
    }

    /// Calls `f` for the value of each file, in the order in which the files were opened.
    ///
    /// While this runs no file can enter or leave the table.
    pub fn for_each(&self, mut f: impl FnMut(&V)) {
        for value in self.values.lock().values() {
            f(value);
        }
    }
}
