// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: setting up what lives as long as the module.

//! The firmware's own logs, for whoever has to find out why it does not do what it should.
//!
//! Three of the firmware's tasks log into rings in system memory, in a form that only NVIDIA's
//! tools can read: numbers that stand for texts. They are in debugfs as they are, as
//! `ghostnv/<PCI address>/loginit`, `logintr` and `logrm`, and beside them `calls`, what the driver
//! has asked the firmware. When a boot fails its logs are most needed and their memory goes away;
//! so a copy stays until the next boot of the same GPU, or until the module goes.

use kernel::{
    debugfs::{
        BinaryWriter,
        Dir,
        Scope, //
    },
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    str::CString,
};

use super::{
    abi::GSP_PAGE_SIZE,
    history::History, //
};

/// Bytes of a log.
pub(super) const LOG_SIZE: usize = 16 * GSP_PAGE_SIZE;

/// What becomes visible in debugfs: the logs themselves, or copies of them, and the calls.
struct Set<T> {
    init: T,
    intr: T,
    rm: T,
    calls: History,
}

/// The directory of one GPU whose boot failed.
struct Kept {
    device: CString,
    _logs: Pin<KBox<Scope<Set<KVVec<u8>>>>>,
}

/// All of the driver's debugfs.
struct Shelf {
    root: Dir,
    kept: KVec<Kept>,
}

impl Shelf {
    /// Makes room for a directory of the device's name.
    fn forget(&mut self, device: &CStr) {
        self.kept.retain(|kept| &*kept.device != device);
    }

    /// Shows logs in a directory of the device's name.
    fn show<T>(&self, logs: Set<T>, device: &CStr) -> Result<Pin<KBox<Scope<Set<T>>>>>
    where
        T: BinaryWriter + Send + Sync + 'static,
    {
        KBox::pin_init(
            self.root.scope(logs, device, |logs, dir| {
                dir.read_binary_file(c"loginit", &logs.init);
                dir.read_binary_file(c"logintr", &logs.intr);
                dir.read_binary_file(c"logrm", &logs.rm);
                dir.read_only_file(c"calls", &logs.calls);
            }),
            GFP_KERNEL,
        )
    }
}

kernel::sync::global_lock! {
    // SAFETY: Initialized by `Guard::new`, of which module initialization has one before it
    // registers the driver.
    unsafe(uninit) static SHELF: Mutex<Option<Shelf>> = None;
}

/// Keeps the driver's directory in debugfs; the module drops it last.
pub(crate) struct Guard(());

impl Guard {
    /// Makes the directory.
    ///
    /// # Safety
    ///
    /// Called once, before any driver is registered.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: The caller's promise.
        unsafe { SHELF.init() };
        *SHELF.lock() = Some(Shelf {
            root: Dir::new(c"ghostnv"),
            kept: KVec::new(),
        });
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *SHELF.lock() = None;
    }
}

/// Memory for a log.
fn log(dev: &Device<Bound>) -> Result<Coherent<[u8]>> {
    let memory = Coherent::<u8>::zeroed_slice(dev, LOG_SIZE, GFP_KERNEL)?;
    let header = header(memory.dma_address())?;
    let end = header.len();
    io_project!(memory, [try: ..end]).copy_from_slice(&header);
    Ok(memory)
}

/// The start of a log at bus address `base`: no put pointer yet, then its pages' addresses.
fn header(base: u64) -> Result<KVec<u8>> {
    let mut header = KVec::new();
    header.extend_from_slice(&0u64.to_le_bytes(), GFP_KERNEL)?;
    for page in 0..LOG_SIZE / GSP_PAGE_SIZE {
        let address = base
            .checked_add(u64::try_from(page * GSP_PAGE_SIZE)?)
            .ok_or(EOVERFLOW)?;
        header.extend_from_slice(&address.to_le_bytes(), GFP_KERNEL)?;
    }
    Ok(header)
}

fn copy(log: &Coherent<[u8]>) -> Result<KVVec<u8>> {
    let mut copy = KVVec::new();
    copy.resize(log.len(), 0, GFP_KERNEL)?;
    io_project!(log, [try: ..]).copy_to_slice(&mut copy);
    Ok(copy)
}

/// What debugfs shows while the firmware writes it.
type Live = Set<Coherent<[u8]>>;

/// The logs of a GPU.
pub(super) struct Logs {
    set: Pin<KBox<Scope<Live>>>,
    device: CString,
    booted: bool,
}

impl Logs {
    /// Allocates them and shows them in debugfs.
    #[inline(never)]
    pub(super) fn new(dev: &Device<Bound>, calls: &History) -> Result<Self> {
        let device = CString::try_from(dev.name())?;
        let set = Set {
            init: log(dev)?,
            intr: log(dev)?,
            rm: log(dev)?,
            calls: calls.clone(),
        };
        let mut shelf = SHELF.lock();
        let shelf = shelf.as_mut().ok_or(ENODEV)?;
        shelf.forget(&device);
        Ok(Self {
            set: shelf.show(set, &device)?,
            device,
            booted: false,
        })
    }

    /// Bus addresses of the logs of initialization, of interrupts, and of the resource manager.
    pub(super) fn addresses(&self) -> [u64; 3] {
        [&self.set.init, &self.set.intr, &self.set.rm].map(|log| log.dma_address())
    }

    /// Says that the boot did not fail.
    pub(super) fn booted(&mut self) {
        self.booted = true;
    }

    /// Puts copies into the place of the logs.
    #[inline(never)]
    fn keep(self) -> Result {
        let copies = Set {
            init: copy(&self.set.init)?,
            intr: copy(&self.set.intr)?,
            rm: copy(&self.set.rm)?,
            calls: self.set.calls.clone(),
        };
        let Self { set, device, .. } = self;
        // Takes the directory away that has the name.
        drop(set);
        let mut shelf = SHELF.lock();
        let shelf = shelf.as_mut().ok_or(ENODEV)?;
        let kept = Kept {
            _logs: shelf.show(copies, &device)?,
            device,
        };
        Ok(shelf.kept.push(kept, GFP_KERNEL)?)
    }

    /// Ends the logs; those of a failed boot are kept. The firmware does not write any more.
    pub(super) fn end(self) {
        if !self.booted {
            // Without memory for copies there are none.
            let _ = self.keep();
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_logs)]
mod tests {
    use super::*;

    #[test]
    fn logs_name_their_pages() -> Result {
        let header = header(0x12_3000)?;
        assert_eq!(header.len(), 8 + 16 * 8);
        assert_eq!(&header[..8], &[0; 8]);
        assert_eq!(&header[8..16], &0x12_3000u64.to_le_bytes());
        assert_eq!(&header[128..], &0x13_2000u64.to_le_bytes());
        assert!(super::header(u64::MAX - 4095).is_err());
        Ok(())
    }
}
