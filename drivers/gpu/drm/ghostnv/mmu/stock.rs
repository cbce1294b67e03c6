// SPDX-License-Identifier: GPL-2.0

//! Tables before and after they are part of a tree.
//!
//! Both sides are lists that run through the tables themselves, so that taking a table out of a
//! tree, which happens where nothing may fail, allocates nothing.

use kernel::prelude::*;

use super::{
    node::{
        Big,
        Changes,
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

    /// Takes tables over that are as new, until there are `most`; frees those before that are not.
    fn keep(&mut self, from: &mut Self, most: usize) {
        while self.len < most {
            match from.pop() {
                Some(node) if node.zeroed => self.push(node),
                Some(_) => (),
                None => return,
            }
        }
    }

    /// Takes tables over until there are `count`, or no more.
    fn draw(&mut self, from: &mut Self, count: usize) {
        while self.len < count {
            match from.pop() {
                Some(node) => self.push(node),
                None => return,
            }
        }
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
    /// A few tables of each kind, rather of the small ones.
    pub(crate) const A_FEW: Self = Self {
        directories: 2,
        lasts: 2,
        bigs: 16,
        smalls: 16,
    };

    /// Bytes that the tables take, of video memory and of the system's for their shadows.
    pub(crate) fn bytes(&self) -> usize {
        /// About that much is a shadow, of directories and of tables.
        const LARGE: usize = 8 << 10;
        const SMALL: usize = 256;
        let each = [
            (self.directories, TableSize::Page as usize + LARGE),
            (self.lasts, TableSize::Page as usize + LARGE),
            (self.bigs, TableSize::Big as usize + SMALL),
            (self.smalls, TableSize::Page as usize + SMALL),
        ];

        each.iter().fold(0, |sum: usize, (count, bytes)| {
            sum.saturating_add(count.saturating_mul(*bytes))
        })
    }

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
}

/// The need of changes that follow each other in the order of addresses, none of which overlaps
/// another: a table that several of them need is counted once.
#[derive(Default)]
pub(crate) struct Running {
    need: Need,
    /// By kind, the first address of the last table that was counted, without the bits it is for.
    last: [Option<u64>; KINDS],
}

impl Running {
    /// Whether a table is another one than the last of its kind.
    fn is_new(&mut self, kind: u64, index: u64) -> bool {
        // CAST: A few.
        let last = self.last.get_mut(kind as usize);
        last.is_none_or(|last| last.replace(index) != Some(index))
    }

    /// The need of all.
    pub(crate) fn need(self) -> Need {
        self.need
    }
}

impl Sink for Running {
    fn directory(&mut self, depth: usize, index: u64) -> Result {
        // CAST: A few.
        if self.is_new(depth as u64, index) {
            self.need.directories += 1;
        }
        Ok(())
    }

    fn last(&mut self, index: u64) -> Result {
        if self.is_new(LAST, index) {
            self.need.lasts += 1;
        }
        Ok(())
    }

    fn big(&mut self, index: u64) -> Result {
        if self.is_new(BIG, index) {
            self.need.bigs += 1;
        }
        Ok(())
    }

    fn small(&mut self, index: u64) -> Result {
        if self.is_new(SMALL, index) {
            self.need.smalls += 1;
        }
        Ok(())
    }
}

/// What tables a number of changes can need, whatever the tree looks like when they are made.
///
/// Each table is counted once, however many changes need it, unless one [takes it
/// out](Self::take_out) in between.
pub(crate) struct Tally {
    directories: Keys,
    tables: Keys,
    /// Of what was taken out.
    before: Need,
}

/// Kinds of tables; directories are told apart by their depth.
const LAST: u64 = 8;
const BIG: u64 = 9;
const SMALL: u64 = 10;
/// More than there are.
const KINDS: usize = 16;

/// What changes take out of a tree, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Tables of pages.
    Tables,
    /// Directories, too.
    Directories,
}

impl Tally {
    /// Of no changes.
    pub(crate) const fn new() -> Self {
        Self {
            directories: Keys::new(),
            tables: Keys::new(),
            before: Need {
                directories: 0,
                lasts: 0,
                bigs: 0,
                smalls: 0,
            },
        }
    }

    /// The changes that were noted so far may take tables out, which later ones need once more.
    pub(crate) fn take_out(&mut self, removal: Removal) {
        self.before = self.before.and(self.tables.take());
        if removal == Removal::Directories {
            self.before = self.before.and(self.directories.take());
        }
    }

    /// The need of all. For what was noted since something was taken out last it sorts.
    pub(crate) fn need(mut self) -> Need {
        self.take_out(Removal::Directories);
        self.before
    }

    /// At least so many bytes of tables are needed; all of them, if all were taken out.
    pub(crate) fn bytes(&self) -> usize {
        self.before.bytes()
    }
}

/// Keys of tables.
struct Keys {
    keys: KVVec<u64>,
    /// The key of each kind that was noted last: mostly the next change is right behind.
    last: [Option<u64>; KINDS],
}

impl Keys {
    const fn new() -> Self {
        Self {
            keys: KVVec::new(),
            last: [None; KINDS],
        }
    }

    /// Notes the table of a kind that is for the addresses which begin with `index`.
    fn note(&mut self, kind: u64, index: u64) -> Result {
        let key = kind << 60 | index;
        // CAST: One of a few kinds.
        let last = self.last.get_mut(kind as usize).ok_or(EINVAL)?;
        if last.replace(key) != Some(key) {
            self.keys.push(key, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Counts all, and forgets them.
    fn take(&mut self) -> Need {
        let mut need = Need::default();
        let mut before = None;

        sort(&mut self.keys);
        for &key in self.keys.iter() {
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
        self.keys.clear();
        self.last = [None; KINDS];
        need
    }
}

/// Sorts in place, by a heap.
///
/// Those of `core` end in a function that never returns, which objtool does not know of.
fn sort(keys: &mut [u64]) {
    /// Makes `heap` one again after its element `at` has become smaller.
    fn sink(heap: &mut [u64], mut at: usize) {
        loop {
            let below = heap.iter().enumerate().skip(2 * at + 1).take(2);
            match (below.max_by_key(|(_, key)| **key), heap.get(at)) {
                (Some((next, key)), Some(own)) if key > own => {
                    heap.swap(at, next);
                    at = next;
                }
                _ => return,
            }
        }
    }

    for at in (0..keys.len() / 2).rev() {
        sink(keys, at);
    }
    for end in (1..keys.len()).rev() {
        keys.swap(0, end);
        if let Some(heap) = keys.get_mut(..end) {
            sink(heap, 0);
        }
    }
}

impl Sink for Tally {
    fn directory(&mut self, depth: usize, index: u64) -> Result {
        // CAST: A few.
        self.directories.note(depth as u64, index)
    }

    fn last(&mut self, index: u64) -> Result {
        self.directories.note(LAST, index)
    }

    fn big(&mut self, index: u64) -> Result {
        self.tables.note(BIG, index)
    }

    fn small(&mut self, index: u64) -> Result {
        self.tables.note(SMALL, index)
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

    /// Takes over from `spare` what there is of `need`.
    pub(crate) fn draw(&mut self, spare: &mut Self, need: Need) {
        self.directories
            .draw(&mut spare.directories, need.directories);
        self.lasts.draw(&mut spare.lasts, need.lasts);
        self.bigs.draw(&mut spare.bigs, need.bigs);
        self.smalls.draw(&mut spare.smalls, need.smalls);
    }

    /// Takes over from what is left of another stock, up to `most`.
    pub(crate) fn keep(&mut self, rest: &mut Self, most: Need) {
        self.directories
            .keep(&mut rest.directories, most.directories);
        self.lasts.keep(&mut rest.lasts, most.lasts);
        self.bigs.keep(&mut rest.bigs, most.bigs);
        self.smalls.keep(&mut rest.smalls, most.smalls);
    }

    /// Takes over tables that changes took out and that are as new, up to `most`. The hardware has
    /// forgotten them.
    pub(crate) fn keep_changes(&mut self, changes: &mut Changes<B>, most: Need) {
        self.directories
            .keep(&mut changes.directories, most.directories);
        self.lasts.keep(&mut changes.lasts, most.lasts);
        self.bigs.keep(&mut changes.bigs, most.bigs);
        self.smalls.keep(&mut changes.smalls, most.smalls);
    }

    /// Frees what is left, as tables that need no zeroing.
    pub(crate) fn release(mut self, memory: &impl TableMemory<Table = B>) {
        self.directories.release(memory);
        self.lasts.release(memory);
        self.bigs.release(memory);
        self.smalls.release(memory);
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_mmu_stock)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted() -> Result {
        for len in [0usize, 1, 2, 3, 10, 257] {
            for factor in [0, 1, 7, u64::MAX] {
                let mut keys = KVec::new();
                let (mut sum, mut sorted_sum) = (0u64, 0u64);
                for i in 0..len as u64 {
                    let key = i.wrapping_mul(factor) % 101;
                    sum = sum.wrapping_add(key.wrapping_mul(key));
                    keys.push(key, GFP_KERNEL)?;
                }
                sort(&mut keys);
                assert!(keys.is_sorted());
                for &key in &keys {
                    sorted_sum = sorted_sum.wrapping_add(key.wrapping_mul(key));
                }
                assert_eq!(sum, sorted_sum);
            }
        }
        Ok(())
    }

    #[test]
    fn tables_count_once() -> Result {
        let mut tally = Tally::new();
        for index in [1, 2, 1, 2, 2, 3, 1] {
            tally.last(index)?;
            tally.directory(0, index)?;
            tally.directory(1, index)?;
            tally.small(index)?;
        }
        tally.big(3)?;
        let need = tally.need();
        assert_eq!(need.lasts, 3);
        assert_eq!(need.directories, 6);
        assert_eq!(need.smalls, 3);
        assert_eq!(need.bigs, 1);
        Ok(())
    }

    #[test]
    fn what_is_taken_out_counts_again() -> Result {
        let mut tally = Tally::new();
        let mut counts = KVec::new();
        for removal in [None, Some(Removal::Tables), Some(Removal::Directories)] {
            for _ in 0..3 {
                tally.directory(0, 1)?;
                tally.last(1)?;
                tally.big(1)?;
                tally.small(1)?;
                if let Some(removal) = removal {
                    tally.take_out(removal);
                }
            }
            let Need {
                directories,
                lasts,
                bigs,
                smalls,
            } = core::mem::replace(&mut tally, Tally::new()).need();
            counts.push([directories, lasts, bigs, smalls], GFP_KERNEL)?;
        }
        assert_eq!(&*counts, &[[1, 1, 1, 1], [1, 1, 3, 3], [3, 3, 3, 3]]);
        Ok(())
    }
}
