// SPDX-License-Identifier: GPL-2.0

//! Video memory as user space maps it.
//!
//! BAR1 shows virtual addresses of a space of its own, below a page directory that the firmware
//! made. A buffer object that is mapped gets a range of it, its [`Window`], at the first touch and
//! keeps it. Giving a window back is pure software: the page tables keep what they say until the
//! range is given to somebody else, which is harmless, because a process reaches only those pages
//! of BAR1 that a fault put into its mapping, and all mappings are gone when the object is freed.

use kernel::{
    io::{
        write_combined::WriteCombined,
        PhysAddr, //
    },
    new_mutex,
    pci,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use crate::mmu::{
    Attr,
    Changes,
    Format,
    Run,
    Stock,
    Tlb,
    Tree,
    Users,
    What, //
};

use super::{
    addresses::{
        Addresses,
        Taken, //
    },
    bar2::Bar2,
    tables::{
        Table,
        Tables, //
    }, //
};

/// A range of BAR1. Dropping it gives it back; nothing may be mapped of it any more.
pub(crate) struct Window {
    range: Taken,
    start: PhysAddr,
}

impl Window {
    /// Where the CPU finds the byte at `offset`, and how many follow it.
    pub(crate) fn at(&self, offset: u64) -> Option<(PhysAddr, u64)> {
        let left = self
            .range
            .len()
            .checked_sub(offset)
            .filter(|&left| left != 0)?;
        Some((self.start.checked_add(offset)?, left))
    }
}

/// BAR1 and its page tables.
#[pin_data]
pub(crate) struct Bar1<'bound> {
    bar2: Arc<Bar2<'bound>>,
    tlb: Arc<Tlb<'bound>>,
    tables: Arc<Tables<'bound>>,
    /// Which virtual addresses are whose.
    space: Addresses,
    start: PhysAddr,
    root: u64,
    /// What has it mapped write-combining, if that can be. Outlives the mappings, which are gone
    /// once the device is unregistered.
    _write_combined: Option<WriteCombined<'bound>>,
    #[pin]
    tree: Mutex<Tree<Tables<'bound>>>,
}

impl<'bound> Bar1<'bound> {
    /// Takes all of BAR1, whose page directory is at `root`.
    ///
    /// Without write-combining it works as well, but each store is a transaction on the bus.
    pub(crate) fn new(
        pdev: &'bound pci::Device<kernel::device::Bound>,
        bar2: Arc<Bar2<'bound>>,
        tlb: Arc<Tlb<'bound>>,
        tables: Arc<Tables<'bound>>,
        format: &'static dyn Format,
        root: u64,
    ) -> Result<impl PinInit<Self, Error> + use<'bound>> {
        let (start, len) = (pdev.resource_start(1)?, pdev.resource_len(1)?);
        let space = Addresses::new(0..len)?;
        let tree = Tree::below(format, Table::foreign(root))?;
        let write_combined = pdev
            .write_combined(1)
            .inspect_err(|e| dev_warn!(pdev, "BAR1 cannot be mapped write-combining: {e:?}\n"))
            .ok();

        Ok(try_pin_init!(Self {
            bar2,
            tlb,
            tables,
            space,
            start,
            root,
            _write_combined: write_combined,
            tree <- new_mutex!(tree),
        }))
    }

    /// Shows an object's memory. Sleeps; writes page tables through BAR2.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is no range of addresses as large as the object, `ENOMEM`, or what the
    /// hardware did not do.
    pub(crate) fn show(&self, runs: &[Run], attr: Attr) -> Result<Window> {
        let range = self.space.take(runs)?;
        let (va, len) = (range.start(), range.len());
        let what = What::Pages {
            runs,
            offset: 0,
            attr,
        };

        let tables = &*self.tables;
        let mut tree = self.tree.lock();
        let mut stock = Stock::empty();
        let mut changes = Changes::new();
        let need = tree.need(va, len, what)?;
        stock.fill(tree.format(), tables, need)?;
        tree.set(tables, va, len, what, &mut stock, &mut changes)?;
        stock.release(tables);
        super::commit(
            &self.bar2,
            &self.tlb,
            tables,
            self.root,
            Users::Windows,
            changes,
        )?;
        Ok(Window {
            start: self.start.checked_add(va).ok_or(EINVAL)?,
            range,
        })
    }
}
