// SPDX-License-Identifier: GPL-2.0

//! Tables before and after they are part of a tree.
//!
//! Both sides are lists that run through the tables themselves, so that taking a table out of a
//! tree, which happens where nothing may fail, allocates nothing.

use kernel::prelude::*;

use super::{
    node::{
        Big,
        Directory,
        Last,
        Node,
        Small, //
    },
    plan::Sink,
    Format,
    TableMemory,
    TableSize, //
};

/// A list of tables of one kind.
pub(super) struct Chain<T, B> {
    first: Option<KBox<Node<T, B>>>,
    len: usize,
}

impl<T, B> Chain<T, B> {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            len: 0,
        }
    }

    pub(super) fn push(&mut self, mut node: KBox<Node<T, B>>) {
        node.next = self.first.take();
        self.first = Some(node);
        self.len = self.len.wrapping_add(1);
    }

    pub(super) fn pop(&mut self) -> Option<KBox<Node<T, B>>> {
        let mut node = self.first.take()?;
        self.first = node.next.take();
        self.len = self.len.wrapping_sub(1);
        Some(node)
    }

    /// Frees all tables.
    pub(super) fn release(&mut self, memory: &impl TableMemory<Table = B>) {
        while let Some(node) = self.pop() {
            let Node { table, zeroed, .. } = KBox::into_inner(node);
            if zeroed {
                memory.free_zeroed(table);
            }
        }
    }
}

impl<T, B> Drop for Chain<T, B> {
    fn drop(&mut self) {
        // One by one: a list can be longer than the stack is deep.
        while self.pop().is_some() {}
    }
}

/// How many tables a change can need, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(super) directories: usize,
    pub(super) lasts: usize,
    pub(super) bigs: usize,
    pub(super) smalls: usize,
}

impl Need {
    /// The need of two changes, one after the other.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            directories: self.directories.saturating_add(other.directories),
            lasts: self.lasts.saturating_add(other.lasts),
            bigs: self.bigs.saturating_add(other.bigs),
            smalls: self.smalls.saturating_add(other.smalls),
        }
    }

    /// Whether `other` is enough for it.
    pub(crate) fn at_most(&self, other: Self) -> bool {
        self.directories <= other.directories
            && self.lasts <= other.lasts
            && self.bigs <= other.bigs
            && self.smalls <= other.smalls
    }

    /// Whether no table is needed.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What tables a number of changes can need, whatever the tree looks like when they are made.
///
/// Each table is counted once, however many changes need it.
pub(crate) struct Tally(KVVec<u64>);

/// Kinds of tables; directories are told apart by their depth.
const LAST: u64 = 8;
const BIG: u64 = 9;
const SMALL: u64 = 10;

impl Tally {
    /// Of no changes.
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Notes the table of a kind that is for the addresses which begin with `index`.
    fn note(&mut self, kind: u64, index: u64) -> Result {
        Ok(self.0.push(kind << 60 | index, GFP_KERNEL)?)
    }

    /// The need of all.
    pub(crate) fn need(mut self) -> Need {
        let mut need = Need::default();
        let mut before = None;

        self.0.sort_unstable();
        for &key in self.0.iter() {
            if before.replace(key) == Some(key) {
                continue;
            }
            match key >> 60 {
                LAST => need.lasts += 1,
                BIG => need.bigs += 1,
                SMALL => need.smalls += 1,
                _ => need.directories += 1,
            }
        }
        need
    }
}

impl Sink for Tally {
    fn directory(&mut self, depth: usize, index: u64) -> Result {
        // CAST: A few.
        self.note(depth as u64, index)
    }

    fn last(&mut self, index: u64) -> Result {
        self.note(LAST, index)
    }

    fn big(&mut self, index: u64) -> Result {
        self.note(BIG, index)
    }

    fn small(&mut self, index: u64) -> Result {
        self.note(SMALL, index)
    }
}

/// Zeroed tables that a tree can take without failing. What is left is freed with the stock.
///
/// `B` is a table's memory, [`TableMemory::Table`].
pub(crate) struct Stock<B> {
    pub(super) directories: Chain<Directory<B>, B>,
    pub(super) lasts: Chain<Last<B>, B>,
    pub(super) bigs: Chain<Big, B>,
    pub(super) smalls: Chain<Small, B>,
}

impl<B> Stock<B> {
    /// A stock without tables.
    pub(crate) const fn empty() -> Self {
        Self {
            directories: Chain::new(),
            lasts: Chain::new(),
            bigs: Chain::new(),
            smalls: Chain::new(),
        }
    }

    /// What is there.
    pub(crate) fn have(&self) -> Need {
        Need {
            directories: self.directories.len,
            lasts: self.lasts.len,
            bigs: self.bigs.len,
            smalls: self.smalls.len,
        }
    }

    /// Fills up to `need`. May sleep. What was added before an error stays.
    pub(crate) fn fill(
        &mut self,
        format: &dyn Format,
        memory: &impl TableMemory<Table = B>,
        need: Need,
    ) -> Result {
        // All directories have the entries of the largest; only the root has fewer.
        let entries = format.levels().iter().map(|l| l.entries()).max();

        while self.directories.len < need.directories {
            let body = Directory::new(entries.unwrap_or(0))?;
            self.directories
                .push(Node::new(memory, TableSize::Page, body)?);
        }
        while self.lasts.len < need.lasts {
            self.lasts
                .push(Node::new(memory, TableSize::Page, Last::new()?)?);
        }
        while self.bigs.len < need.bigs {
            self.bigs
                .push(Node::new(memory, TableSize::Big, Big::default())?);
        }
        while self.smalls.len < need.smalls {
            self.smalls
                .push(Node::new(memory, TableSize::Page, Small::default())?);
        }
        Ok(())
    }

    /// Frees what is left, as tables that need no zeroing.
    pub(crate) fn release(mut self, memory: &impl TableMemory<Table = B>) {
        self.directories.release(memory);
        self.lasts.release(memory);
        self.bigs.release(memory);
        self.smalls.release(memory);
    }
}
