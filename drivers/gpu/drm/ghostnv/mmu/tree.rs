// SPDX-License-Identifier: GPL-2.0

//! A tree of page tables, and changes of ranges of it.

use kernel::{
    prelude::*,
    sizes::SZ_4K, //
};

use super::{
    node::{
        Changes,
        Directory,
        Node,
        Slot, //
    },
    plan::{
        Count,
        Source,
        What, //
    },
    walk::{
        Sweep,
        Walk, //
    },
    Format,
    Level,
    Need,
    Running,
    Stock,
    TableMemory,
    TableSize, //
    Tally,
};

/// The page tables of one address space.
pub(crate) struct Tree<M: TableMemory> {
    format: &'static dyn Format,
    root: KBox<Node<Directory<M::Table>, M::Table>>,
}

impl<M: TableMemory> Tree<M> {
    /// An empty tree in new memory.
    pub(crate) fn new(format: &'static dyn Format, memory: &M) -> Result<Self> {
        let entries = format.levels().first().ok_or(EINVAL)?.entries();
        let root = Node::new(memory, TableSize::Page, Directory::new(entries)?)?;

        Ok(Self { format, root })
    }

    /// An empty tree below a root that somebody else made.
    pub(crate) fn below(format: &'static dyn Format, root: M::Table) -> Result<Self> {
        let entries = format.levels().first().ok_or(EINVAL)?.entries();
        let root = Node {
            table: root,
            next: None,
            zeroed: false,
            body: Directory::new(entries)?,
        };

        Ok(Self {
            format,
            root: KBox::new(root, GFP_KERNEL)?,
        })
    }

    /// Where the root is in video memory, and how many entries it has.
    pub(crate) fn root(&self, memory: &M) -> (u64, usize) {
        (memory.address(&self.root.table), self.root.body.slots.len())
    }

    /// The format.
    pub(crate) fn format(&self) -> &'static dyn Format {
        self.format
    }

    /// Checks a range: whole pages, not empty, below the end of the address space.
    pub(crate) fn check(&self, va: u64, len: u64) -> Result {
        let page = SZ_4K as u64;
        let end = va.checked_add(len).ok_or(EINVAL)?;

        if len == 0 || va % page != 0 || len % page != 0 || end > 1 << self.format.va_bits() {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The tables that [`Self::set`] with the same arguments takes from its stock at most.
    ///
    /// Tables that earlier changes of the same batch need come on top; since [`Self::set`] takes no
    /// tables out but of ranges it sets as a whole, a need never grows by a change elsewhere.
    pub(crate) fn need(&self, va: u64, len: u64, what: What<'_>) -> Result<Need> {
        self.check(va, len)?;
        let mut count = Count {
            source: Source::new(what, va, self.format),
            levels: self.format.levels(),
            sink: Need::default(),
            occupied: false,
        };

        count.directory(Some(&self.root.body), 0, false, va, va + len)?;
        Ok(count.sink)
    }

    /// The same for one of several changes, which are asked about in the order of addresses and
    /// none of which overlaps another. What one of them does is not seen by the next, but takes
    /// nothing away that the next could need. Says whether something may be there.
    pub(crate) fn need_in_order(
        &self,
        va: u64,
        len: u64,
        what: What<'_>,
        running: &mut Running,
    ) -> Result<bool> {
        self.check(va, len)?;
        let mut count = Count {
            source: Source::new(what, va, self.format),
            levels: self.format.levels(),
            sink: running,
            occupied: false,
        };

        count.directory(Some(&self.root.body), 0, false, va, va + len)?;
        Ok(count.occupied)
    }

    /// Adds what a change can need if nothing is known about the tree at the time: it may then be
    /// in any state.
    ///
    /// What changes may take out, and later ones need once more, is to be [noted](Tally::take_out):
    /// tables by those that cover 2 MiB or more, directories by those without pages that cover
    /// 512 MiB or more.
    pub(crate) fn tally(
        format: &'static dyn Format,
        va: u64,
        len: u64,
        what: What<'_>,
        tally: &mut Tally,
    ) -> Result {
        let end = va.checked_add(len).ok_or(EINVAL)?;
        let mut count = Count {
            source: Source::new(what, va, format),
            levels: format.levels(),
            sink: &mut *tally,
            occupied: false,
        };

        // Sparse all over is the state that needs most.
        count.directory(None::<&Directory<M::Table>>, 0, true, va, end)
    }

    /// Makes a range what it shall be. Does not fail if the stock holds what is needed, and does
    /// not sleep if the memory's writes do not.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the range is not one, `ENOMEM` if the stock was too small; the range is then
    /// changed in part.
    pub(crate) fn set(
        &mut self,
        memory: &M,
        va: u64,
        len: u64,
        what: What<'_>,
        stock: &mut Stock<M::Table>,
        changes: &mut Changes<M::Table>,
    ) -> Result {
        self.check(va, len)?;
        let mut walk = Walk {
            source: Source::new(what, va, self.format),
            format: self.format,
            memory,
            stock,
            changes,
        };

        walk.directory(&mut self.root, 0, va, va + len)
    }

    /// Makes the directories above `va`, for somebody else to use what is below, and keeps them:
    /// the address of each, from the root down, and its level.
    ///
    /// A change that covers all that such a directory is for takes it out nevertheless.
    pub(crate) fn lend(
        &mut self,
        memory: &M,
        va: u64,
        stock: &mut Stock<M::Table>,
        changes: &mut Changes<M::Table>,
    ) -> Result<KVec<(u64, Level)>> {
        let levels = self.format.levels();
        let mut lent = KVec::with_capacity(levels.len(), GFP_KERNEL)?;
        let mut walk = Walk {
            source: Source::new(What::Invalid, va, self.format),
            format: self.format,
            memory,
            stock,
            changes,
        };
        let mut node = &mut *self.root;

        for (depth, &level) in levels.iter().enumerate() {
            lent.push((memory.address(&node.table), level), GFP_KERNEL)?;
            if depth + 1 == levels.len() {
                break;
            }
            let index = level.index(va);
            if matches!(node.body.slots.get(index), Some(Slot::Empty)) {
                walk.grow(node, index, false)?;
            }
            let Some(Slot::Directory(child)) = node.body.slots.get_mut(index) else {
                return Err(EINVAL);
            };
            child.body.live += 1;
            node = child;
        }
        Ok(lent)
    }

    /// What [`Self::lend`] takes from its stock at most.
    pub(crate) fn lend_need(&self) -> Need {
        Need {
            directories: self.format.levels().len(),
            ..Need::default()
        }
    }

    /// Takes out the tables of a range that hold nothing any more. Does not fail.
    pub(crate) fn sweep(&mut self, memory: &M, va: u64, len: u64, changes: &mut Changes<M::Table>) {
        if self.check(va, len).is_err() {
            return;
        }
        let mut sweep = Sweep {
            levels: self.format.levels(),
            memory,
            changes,
        };

        sweep.directory(&mut self.root, 0, va, va + len);
    }
}
