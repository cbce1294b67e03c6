// SPDX-License-Identifier: GPL-2.0

//! Page tables in use: how they are changed, and who is told.
//!
//! Memory for tables is allocated with no lock held, so that the mutex of the tables can be taken
//! where allocating is forbidden: a change is looked at, tables for it are taken, and it is looked
//! at again before it is made. A change waits until the hardware has forgotten what it took away,
//! so that memory may be reused when it returns.

use core::ops::Range;

use kernel::{
    new_mutex,
    prelude::*,
    sizes::SZ_4K,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use crate::{
    mem::{
        addresses::{
            Addresses,
            Taken, //
        },
        tables::{
            Table,
            Tables, //
        },
        Memory, //
    },
    mmu::{
        Attr,
        Changes,
        Need,
        Run,
        Stock,
        Tree,
        Users,
        What, //
    },
    rm::{
        vaspace::{
            DirectoryLevel,
            VaSpace, //
        },
        Root, //
    }, //
};

/// An address space of the GPU.
///
/// Dropping it tells the firmware first and frees the tables then. Nothing may run in it any more;
/// channels and mappings keep it alive.
#[pin_data(PinnedDrop)]
pub(crate) struct Space<'a> {
    /// Dropped first.
    vaspace: VaSpace<'a>,
    /// Which of the kernel's addresses are in use.
    kernel: Addresses,
    root: u64,
    #[pin]
    tree: Mutex<Tree<Tables<'a>>>,
    /// Tables that were taken out: what is bound next to nothing comes and goes.
    #[pin]
    spare: Mutex<Stock<Table>>,
    mem: Arc<Memory<'a>>,
}

/// The addresses that the kernel takes of its part: no more than channels ever need, since the
/// allocator has a block for each bit of the length before anything is taken.
fn addresses(kernel: Range<u64>) -> Result<Addresses> {
    /// Host reaches 40 bits of addresses, and cannot fetch what ends with the last of them.
    const HOST_END: u64 = (1 << 40) - SZ_4K as u64;
    const LEN_MAX: u64 = 1 << 38;
    // If all of it is out of Host's reach, there may be other uses for it than channels.
    let end = if kernel.start < HOST_END {
        kernel.end.min(HOST_END)
    } else {
        kernel.end
    };

    Addresses::new(kernel.start..end.min(kernel.start.saturating_add(LEN_MAX)))
}

impl<'a> Space<'a> {
    /// An empty address space in which `kernel` is the kernel's part.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `kernel` is empty or not whole pages, `ENOMEM`, `ENOSPC` if there is no video
    /// memory for tables, or what the firmware has against it.
    pub(crate) fn new(
        mem: &Arc<Memory<'a>>,
        rm: &Arc<Root<'a>>,
        kernel: Range<u64>,
    ) -> Result<Arc<Self>> {
        let kernel = addresses(kernel)?;
        let tree = mem.tree()?;
        let (root, entries) = tree.root(&mem.tables);

        mem.bar2.flush();
        let vaspace = VaSpace::external(rm, root, u32::try_from(entries)?)?;
        Self::with(mem, vaspace, kernel, tree, root)
    }

    /// The same, but [`VaSpace::SERVER_RESERVED`] in it is the firmware's to map; `kernel` must not
    /// overlap that, and `handle` is as of [`VaSpace::shared`].
    pub(crate) fn shared(
        mem: &Arc<Memory<'a>>,
        rm: &Arc<Root<'a>>,
        kernel: Range<u64>,
        handle: Option<u32>,
    ) -> Result<Arc<Self>> {
        let reserved = VaSpace::SERVER_RESERVED;
        if kernel.start < reserved.end && reserved.start < kernel.end {
            return Err(EINVAL);
        }
        let kernel = addresses(kernel)?;
        let mut tree = mem.tree()?;
        let (root, _) = tree.root(&mem.tables);
        let mut stock = Stock::empty();
        let mut changes = Changes::new();
        let mut levels = KVec::new();

        stock.fill(mem.format, &*mem.tables, tree.lend_need())?;
        for (address, level) in tree.lend(&mem.tables, reserved.start, &mut stock, &mut changes)? {
            let level = DirectoryLevel {
                address,
                size: 8 << level.bits,
                shift: u8::try_from(level.shift)?,
            };
            levels.push(level, GFP_KERNEL)?;
        }
        stock.release(&*mem.tables);
        mem.commit(root, Users::All, changes)?;
        let vaspace = VaSpace::shared(rm, &levels, handle)?;
        Self::with(mem, vaspace, kernel, tree, root)
    }

    fn with(
        mem: &Arc<Memory<'a>>,
        vaspace: VaSpace<'a>,
        kernel: Addresses,
        tree: Tree<Tables<'a>>,
        root: u64,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                vaspace,
                kernel,
                root,
                tree <- new_mutex!(tree, "Space::tree"),
                spare <- new_mutex!(Stock::empty(), "Space::spare"),
                mem: mem.clone(),
            }),
            GFP_KERNEL,
        )
    }

    /// The firmware's object, for channels.
    pub(crate) fn vaspace(&self) -> &VaSpace<'a> {
        &self.vaspace
    }

    /// The memory that it maps and is made of.
    pub(crate) fn memory(&self) -> &Arc<Memory<'a>> {
        &self.mem
    }

    /// Makes a range what it shall be. Allocates and sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no range of pages, `ENOMEM` or `ENOSPC` if there is no memory for tables;
    /// nothing has changed then. `ENODEV` or `ETIMEDOUT` if the GPU is lost: it may still be using
    /// what was there before.
    pub(crate) fn set(&self, va: u64, len: u64, what: What<'_>) -> Result {
        self.mem.bar2.check()?;
        let tables = &*self.mem.tables;
        let mut stock = Stock::empty();
        let changes = loop {
            let mut tree = self.tree.lock();
            let need = tree.need(va, len, what)?;
            if !need.at_most(stock.have()) {
                drop(tree);
                self.fill(&mut stock, need)?;
                continue;
            }
            let mut changes = Changes::new();
            tree.set(tables, va, len, what, &mut stock, &mut changes)?;
            if !matches!(what, What::Pages { .. }) {
                tree.sweep(tables, va, len, &mut changes);
            }
            break changes;
        };

        self.give_back(stock);
        self.commit(changes)
    }

    /// Fills a stock up to `need`. Sleeps, and allocates what is not there. What was added before
    /// an error stays.
    pub(super) fn fill(&self, stock: &mut Stock<Table>, need: Need) -> Result {
        stock.draw(&mut self.spare.lock(), need);
        stock.fill(self.mem.format, &*self.mem.tables, need)
    }

    /// Takes back what is left of a stock. Sleeps.
    pub(super) fn give_back(&self, mut stock: Stock<Table>) {
        self.spare.lock().keep(&mut stock, Need::A_FEW);
        stock.release(&*self.mem.tables);
    }

    /// Takes back the tables that changes took out. If these did not take effect the GPU is lost,
    /// and nobody gets the tables. Sleeps.
    pub(super) fn take_out(&self, mut changes: Changes<Table>, arrived: Result) {
        if arrived.is_ok() {
            self.spare.lock().keep_changes(&mut changes, Need::A_FEW);
        }
        changes.release(&*self.mem.tables);
    }

    /// Calls `f` with the page tables locked. What it changed is to be committed.
    pub(super) fn with_tree<R>(
        &self,
        f: impl FnOnce(&mut Tree<Tables<'a>>, &Tables<'a>) -> R,
    ) -> R {
        f(&mut self.tree.lock(), &self.mem.tables)
    }

    /// Makes changes take effect, and takes back the tables that they took out; see
    /// [`Memory::commit`].
    pub(super) fn commit(&self, changes: Changes<Table>) -> Result {
        let arrived = self.arrive(&changes);
        self.take_out(changes, arrived);
        arrived
    }

    /// The part of [`Self::commit`] that others may wait for; nothing is freed.
    pub(super) fn arrive(&self, changes: &Changes<Table>) -> Result {
        self.mem.arrive(self.root, Users::All, changes)
    }

    /// Has the hardware forget all of it.
    pub(super) fn forget_all(&self) -> Result {
        self.mem.tlb.invalidate(self.root, Users::All)
    }

    /// Maps memory at an address of the kernel's choice. Allocates and sleeps.
    ///
    /// The memory is described by `runs`, which start at offset zero and follow each other. It must
    /// not be freed before the mapping is dropped.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are no such many addresses left, and as of [`Self::set`].
    pub(crate) fn map_kernel(
        self: &Arc<Self>,
        runs: &[Run],
        attr: Attr,
    ) -> Result<KernelMapping<'a>> {
        let range = self.kernel.take(runs)?;

        self.set(
            range.start(),
            range.len(),
            What::Pages {
                runs,
                offset: 0,
                attr,
            },
        )?;
        Ok(KernelMapping {
            space: self.clone(),
            va: range.start(),
            range: Some(range),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Space<'_> {
    fn drop(self: Pin<&mut Self>) {
        // The next page directory may be at the same address. Nothing runs that could look.
        let _ = self.forget_all();
    }
}

/// Memory that the kernel has mapped for the GPU. Dropping it unmaps it, and returns when the GPU
/// does not use it any more.
pub(crate) struct KernelMapping<'a> {
    space: Arc<Space<'a>>,
    range: Option<Taken>,
    va: u64,
}

impl<'a> KernelMapping<'a> {
    /// Where the GPU finds it.
    pub(crate) fn address(&self) -> u64 {
        self.va
    }
}

impl Drop for KernelMapping<'_> {
    fn drop(&mut self) {
        let Some(range) = self.range.take() else {
            return;
        };
        // It shares no table entry with anything else, so no tables are needed.
        let unmapped = self.space.set(range.start(), range.len(), What::Invalid);
        if unmapped.is_err() && self.space.mem.bar2.check().is_ok() {
            // Whoever got the address next would find the old memory there.
            core::mem::forget(range);
        }
    }
}
