// SPDX-License-Identifier: GPL-2.0

//! A tree of page tables, and changes of ranges of it.
//!
//! The shadow keeps of each table what later changes need to know: of directories their children;
//! of an entry that covers 2 MiB or 64 KiB the entry itself, because a change of a part of it must
//! write down the rest in smaller pages; of a 4 KiB page whether there is one.
//!
//! The GPU may be using the tables at any time. So a table is complete before anything points at
//! it, a page that is split stays mapped throughout, and a table that was taken out is kept until
//! its user has invalidated the TLB.

use kernel::{
    prelude::*,
    sizes::{
        SZ_2M,
        SZ_4K,
        SZ_64K, //
    }, //
};

use super::{
    stock::Chain,
    Attr,
    Format,
    Level,
    Need,
    Stock,
    TableMemory,
    TableSize,
    BIG,
    HUGE,
    SMALL, //
};

/// Entries of the last directory, of a table of 64 KiB pages, of one of 4 KiB pages.
const SPANS: usize = 256;
const BLOCKS: usize = 32;
const PAGES: usize = 512;
/// 4 KiB pages in 64 KiB.
const PER_BLOCK: usize = PAGES / BLOCKS;

/// A run of memory that backs a part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where in the object it starts.
    pub(crate) offset: u64,
    /// Where in memory.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// What a range of virtual addresses shall be.
#[derive(Clone, Copy)]
pub(crate) enum What<'r> {
    /// Nothing: accesses fault.
    Invalid,
    /// Reads are zero and writes are dropped.
    Sparse,
    /// Memory. The runs are sorted by offset, follow each other and cover the range.
    Pages {
        /// The object's memory.
        runs: &'r [Run],
        /// Where in the object the range starts.
        offset: u64,
        /// How it is mapped.
        attr: Attr,
    },
}

/// [`What`], at any place of the range.
struct Source<'r> {
    what: What<'r>,
    start: u64,
    format: &'static dyn Format,
    /// The run that was asked for last.
    cursor: usize,
}

impl<'r> Source<'r> {
    fn new(what: What<'r>, start: u64, format: &'static dyn Format) -> Self {
        Self {
            what,
            start,
            format,
            cursor: 0,
        }
    }

    fn is_invalid(&self) -> bool {
        matches!(self.what, What::Invalid)
    }

    fn is_pages(&self) -> bool {
        matches!(self.what, What::Pages { .. })
    }

    /// Where `va` is in memory, and for how many bytes.
    fn find(&mut self, runs: &[Run], offset: u64, va: u64) -> Option<(u64, u64)> {
        let at = va.wrapping_sub(self.start).wrapping_add(offset);
        let holds = |r: &Run| at >= r.offset && at - r.offset < r.len;
        let seen = [self.cursor, self.cursor.wrapping_add(1)]
            .into_iter()
            .find(|&i| runs.get(i).is_some_and(holds));

        self.cursor =
            seen.unwrap_or_else(|| runs.partition_point(|r| r.offset <= at).wrapping_sub(1));
        let run = runs.get(self.cursor).filter(|r| holds(r))?;
        let into = at - run.offset;
        Some((run.address.wrapping_add(into), run.len - into))
    }

    /// The entry for the page at `va`.
    fn word(&mut self, va: u64) -> u64 {
        match self.what {
            What::Invalid => 0,
            What::Sparse => self.format.sparse(),
            What::Pages { runs, offset, attr } => self
                .find(runs, offset, va)
                .map_or(0, |(address, _)| self.format.pte(address, attr)),
        }
    }

    /// Whether one page of `1 << shift` bytes can do at `va`.
    fn fits(&mut self, va: u64, shift: u32) -> bool {
        match self.what {
            What::Invalid | What::Sparse => true,
            What::Pages { runs, offset, .. } => {
                let size = 1u64 << shift;
                self.find(runs, offset, va)
                    .is_some_and(|(address, len)| address % size == 0 && len >= size)
            }
        }
    }
}

/// A table with its shadow.
pub(super) struct Node<T, B> {
    pub(super) table: B,
    /// For lists of tables that are in no tree.
    pub(super) next: Option<KBox<Node<T, B>>>,
    /// The memory holds nothing but zeros.
    pub(super) zeroed: bool,
    body: T,
}

impl<T, B> Node<T, B> {
    pub(super) fn new(
        memory: &impl TableMemory<Table = B>,
        size: TableSize,
        body: T,
    ) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                table: memory.alloc(size)?,
                next: None,
                zeroed: true,
                body,
            },
            GFP_KERNEL,
        )?)
    }
}

/// An entry of a directory above the last.
enum Slot<B> {
    Empty,
    Sparse,
    Directory(KBox<Node<Directory<B>, B>>),
    Last(KBox<Node<Last<B>, B>>),
}

/// Shadow of a directory above the last.
pub(super) struct Directory<B> {
    slots: KVec<Slot<B>>,
    /// Slots that are not empty.
    live: usize,
}

impl<B> Directory<B> {
    pub(super) fn new(entries: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(entries, GFP_KERNEL)?;
        for _ in 0..entries {
            slots.push(Slot::Empty, GFP_KERNEL)?;
        }
        Ok(Self { slots, live: 0 })
    }
}

/// Shadow of the last directory.
pub(super) struct Last<B> {
    spans: KVec<Span<B>>,
    /// Spans that are not empty.
    live: usize,
}

impl<B> Last<B> {
    pub(super) fn new() -> Result<Self> {
        let mut spans = KVec::with_capacity(SPANS, GFP_KERNEL)?;
        for _ in 0..SPANS {
            spans.push(Span::new(), GFP_KERNEL)?;
        }
        Ok(Self { spans, live: 0 })
    }
}

/// 2 MiB of virtual addresses.
struct Span<B> {
    /// The entry, if it is a page or sparse; there are no tables then.
    word: u64,
    big: Option<KBox<Node<Big, B>>>,
    small: Option<KBox<Node<Small, B>>>,
}

impl<B> Span<B> {
    const fn new() -> Self {
        Self {
            word: 0,
            big: None,
            small: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.word == 0 && self.big.is_none() && self.small.is_none()
    }

    /// The entry of a block in the table of 64 KiB pages, or what it would be.
    fn block(&self, block: usize) -> u64 {
        let listed = self.big.as_ref().and_then(|n| n.body.words.get(block));
        listed.copied().unwrap_or(self.word)
    }
}

/// Shadow of a table of 64 KiB pages: its entries. Zero leaves the block to the other table.
#[derive(Default)]
pub(super) struct Big {
    words: [u64; BLOCKS],
}

/// Shadow of a table of 4 KiB pages: a bit for each entry that is not zero.
#[derive(Default)]
pub(super) struct Small {
    used: [u16; BLOCKS],
}

impl Small {
    /// Notes what entries `from..to` hold now; whether one held something before.
    fn note(&mut self, from: usize, to: usize, used: bool) -> bool {
        let mut before = false;

        for (block, bits) in self.used.iter_mut().enumerate() {
            let mask = mask(block, from, to);
            before |= *bits & mask != 0;
            *bits = if used { *bits | mask } else { *bits & !mask };
        }
        before
    }
}

/// The bits of a block that are in `from..to`, counted in pages of the span.
fn mask(block: usize, from: usize, to: usize) -> u16 {
    let first = block * PER_BLOCK;
    let low = from.clamp(first, first + PER_BLOCK) - first;
    let high = to.clamp(first, first + PER_BLOCK) - first;
    let below = |n: usize| (1u32 << n) - 1;

    // CAST: Sixteen bits at most.
    (below(high) & !below(low)) as u16
}

/// What changes leave behind.
pub(crate) struct Changes<B> {
    /// The hardware may still know what is no longer so.
    invalidate: bool,
    /// Something was written.
    written: bool,
    directories: Chain<Directory<B>, B>,
    lasts: Chain<Last<B>, B>,
    bigs: Chain<Big, B>,
    smalls: Chain<Small, B>,
}

impl<B> Changes<B> {
    /// No changes.
    pub(crate) const fn new() -> Self {
        Self {
            invalidate: false,
            written: false,
            directories: Chain::new(),
            lasts: Chain::new(),
            bigs: Chain::new(),
            smalls: Chain::new(),
        }
    }

    /// Whether translations must be dropped before anything that was mapped, or the tables that
    /// were taken out, are used for something else.
    pub(crate) fn needs_invalidate(&self) -> bool {
        self.invalidate
    }

    /// Whether tables were written.
    pub(crate) fn is_written(&self) -> bool {
        self.written
    }

    /// Frees the tables that were taken out. The writes have arrived, and the hardware has
    /// forgotten.
    pub(crate) fn release(mut self, memory: &impl TableMemory<Table = B>) {
        self.directories.release(memory);
        self.lasts.release(memory);
        self.bigs.release(memory);
        self.smalls.release(memory);
    }
}

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
            need: Need::default(),
        };

        count.directory(Some(&self.root.body), 0, false, va, va + len);
        Ok(count.need)
    }

    /// The need if nothing is known about the tree at the time of the change: it may then be in
    /// any state.
    pub(crate) fn worst_need(
        format: &'static dyn Format,
        va: u64,
        len: u64,
        what: What<'_>,
    ) -> Result<Need> {
        let mut count = Count {
            source: Source::new(what, va, format),
            levels: format.levels(),
            need: Need::default(),
        };

        // Sparse all over is the state that needs most.
        count.directory(
            None::<&Directory<M::Table>>,
            0,
            true,
            va,
            va.checked_add(len).ok_or(EINVAL)?,
        );
        Ok(count.need)
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
            format: self.format,
            memory,
            changes,
        };

        sweep.directory(&mut self.root, 0, va, va + len);
    }
}

/// The part of `from..to` in each entry of a table that it touches: index, start, end.
fn entries(level: Level, from: u64, to: u64) -> impl Iterator<Item = (usize, u64, u64)> {
    let size = 1u64 << level.shift;
    let mut at = from;

    core::iter::from_fn(move || {
        let start = at;
        let end = ((start & !(size - 1)) + size).min(to);
        at = end;
        (start < to).then(|| (level.index(start), start, end))
    })
}

/// The last directory's level.
const LAST: Level = Level {
    shift: HUGE,
    bits: 8,
};

fn covers(level: Level, start: u64, end: u64) -> bool {
    end - start == 1 << level.shift
}

/// Pages of the span that `va` is in, before `va`.
fn page_of(va: u64) -> usize {
    // CAST: Below 512.
    ((va >> SMALL) & (PAGES as u64 - 1)) as usize
}

/// How a part of a span is to be written, block by block.
struct Plan {
    /// Pages of the span.
    from: usize,
    to: usize,
    /// Blocks that are one page of 64 KiB, or one hole.
    big: u32,
    /// Blocks that are written in pages of 4 KiB.
    small: u32,
    /// A table that does not exist is needed.
    needs_big: bool,
    needs_small: bool,
}

impl Plan {
    /// For `start..end` of a span; `span` is none if it is not there, and what it would be made
    /// of is `inherited` then.
    fn new<B>(
        source: &mut Source<'_>,
        span: Option<&Span<B>>,
        inherited: u64,
        start: u64,
        end: u64,
    ) -> Self {
        let from = page_of(start);
        let to = from + ((end - start) >> SMALL) as usize;
        let base = start - ((from as u64) << SMALL);
        let (mut big, mut small) = (0u32, 0u32);
        let mut split = false;

        for block in from / PER_BLOCK..to.div_ceil(PER_BLOCK) {
            let whole = from <= block * PER_BLOCK && (block + 1) * PER_BLOCK <= to;
            if whole && source.fits(base + ((block as u64) << BIG), BIG) {
                big |= 1 << block;
            } else {
                small |= 1 << block;
                split |= span.map_or(inherited, |s| s.block(block)) != 0;
            }
        }
        let word = span.map_or(inherited, |s| s.word);
        let invalid = source.is_invalid();
        let has_big = span.is_some_and(|s| s.big.is_some());
        let has_small = span.is_some_and(|s| s.small.is_some());
        Self {
            from,
            to,
            big,
            small,
            needs_big: !has_big && (word != 0 || (big != 0 && !invalid)),
            needs_small: !has_small && small != 0 && (split || !invalid),
        }
    }

    /// The runs of blocks in `set`, as pages of the span, cut to the part.
    fn runs(&self, set: u32) -> impl Iterator<Item = (usize, usize)> {
        let (from, to) = (self.from, self.to);
        let mut block = 0;

        core::iter::from_fn(move || {
            let left = u64::from(set) >> block;
            if left == 0 {
                return None;
            }
            let first = block + left.trailing_zeros() as usize;
            let len = (!(u64::from(set) >> first)).trailing_zeros() as usize;
            block = first + len;
            Some(((first * PER_BLOCK).max(from), (block * PER_BLOCK).min(to)))
        })
    }
}

/// Counts the tables a change needs.
struct Count<'r> {
    source: Source<'r>,
    levels: &'static [Level],
    need: Need,
}

impl Count<'_> {
    fn directory<B>(
        &mut self,
        node: Option<&Directory<B>>,
        depth: usize,
        sparse: bool,
        from: u64,
        to: u64,
    ) {
        let Some(&level) = self.levels.get(depth) else {
            return;
        };
        for (index, start, end) in entries(level, from, to) {
            if covers(level, start, end) && !self.source.is_pages() {
                continue;
            }
            let slot = node.and_then(|n| n.slots.get(index));
            match slot {
                Some(Slot::Directory(n)) => {
                    self.directory(Some(&n.body), depth + 1, false, start, end)
                }
                Some(Slot::Last(n)) => self.last(Some(&n.body), 0, start, end),
                missing => {
                    let sparse = missing.map_or(sparse, |s| matches!(s, Slot::Sparse));
                    if !sparse && self.source.is_invalid() {
                        continue;
                    }
                    if depth + 1 == self.levels.len() {
                        self.need.lasts += 1;
                        let inherited = if sparse {
                            self.source.format.sparse()
                        } else {
                            0
                        };
                        self.last(None::<&Last<B>>, inherited, start, end);
                    } else {
                        self.need.directories += 1;
                        self.directory(None::<&Directory<B>>, depth + 1, sparse, start, end);
                    }
                }
            }
        }
    }

    fn last<B>(&mut self, node: Option<&Last<B>>, inherited: u64, from: u64, to: u64) {
        for (index, start, end) in entries(LAST, from, to) {
            if covers(LAST, start, end) && self.source.fits(start, HUGE) {
                continue;
            }
            let span = node.and_then(|n| n.spans.get(index));
            let plan = Plan::new(&mut self.source, span, inherited, start, end);
            self.need.bigs += usize::from(plan.needs_big);
            self.need.smalls += usize::from(plan.needs_small);
        }
    }
}

/// A change under way.
struct Walk<'a, 'r, M: TableMemory> {
    source: Source<'r>,
    format: &'static dyn Format,
    memory: &'a M,
    stock: &'a mut Stock<M::Table>,
    changes: &'a mut Changes<M::Table>,
}

impl<M: TableMemory> Walk<'_, '_, M> {
    fn write(&mut self, table: &M::Table, first: usize, words: &mut dyn Iterator<Item = u64>) {
        self.changes.written = true;
        self.memory.write(table, first, words);
    }

    fn directory(
        &mut self,
        node: &mut Node<Directory<M::Table>, M::Table>,
        depth: usize,
        from: u64,
        to: u64,
    ) -> Result {
        let levels = self.format.levels();
        let level = *levels.get(depth).ok_or(EINVAL)?;

        for (index, start, end) in entries(level, from, to) {
            if covers(level, start, end) && !self.source.is_pages() {
                self.fill_slot(node, index, start);
                continue;
            }
            let slot = node.body.slots.get(index).ok_or(EINVAL)?;
            match (slot, &self.source.what) {
                (Slot::Empty, What::Invalid) | (Slot::Sparse, What::Sparse) => continue,
                (Slot::Empty | Slot::Sparse, _) => {
                    self.grow(node, index, depth + 1 == levels.len())?
                }
                _ => (),
            }
            match node.body.slots.get_mut(index).ok_or(EINVAL)? {
                Slot::Directory(child) => self.directory(child, depth + 1, start, end)?,
                Slot::Last(child) => self.last(child, start, end)?,
                Slot::Empty | Slot::Sparse => return Err(EINVAL),
            }
        }
        Ok(())
    }

    /// Makes an entry of a directory, as a whole, sparse or nothing.
    fn fill_slot(&mut self, node: &mut Node<Directory<M::Table>, M::Table>, index: usize, va: u64) {
        let Some(slot) = node.body.slots.get_mut(index) else {
            return;
        };
        let word = self.source.word(va);
        let new = if word == 0 { Slot::Empty } else { Slot::Sparse };
        let (was, is) = (!matches!(slot, Slot::Empty), !matches!(new, Slot::Empty));

        match core::mem::replace(slot, new) {
            Slot::Directory(old) => self.changes.directories.push(old),
            Slot::Last(old) => self.changes.lasts.push(old),
            Slot::Sparse if !is => (),
            Slot::Empty if is => (),
            Slot::Empty | Slot::Sparse => return,
        }
        node.body.live = node
            .body
            .live
            .wrapping_add(usize::from(is))
            .wrapping_sub(usize::from(was));
        self.changes.invalidate |= was;
        self.write(&node.table, index, &mut core::iter::once(word));
    }

    /// Puts a table below an entry that is nothing or sparse.
    fn grow(
        &mut self,
        node: &mut Node<Directory<M::Table>, M::Table>,
        index: usize,
        last: bool,
    ) -> Result {
        let slot = node.body.slots.get_mut(index).ok_or(EINVAL)?;
        let sparse = matches!(slot, Slot::Sparse);
        let word = self.format.sparse();
        let address;

        let new = if last {
            let mut child = self.stock.lasts.pop().ok_or(ENOMEM)?;
            address = self.memory.address(&child.table);
            if sparse {
                child.body.spans.iter_mut().for_each(|s| s.word = word);
                child.body.live = child.body.spans.len();
                let mut words = (0..2 * SPANS).map(|i| if i % 2 == 0 { word } else { 0 });
                self.write(&child.table, 0, &mut words);
            }
            child.zeroed = false;
            Slot::Last(child)
        } else {
            let mut child = self.stock.directories.pop().ok_or(ENOMEM)?;
            address = self.memory.address(&child.table);
            if sparse {
                child.body.slots.iter_mut().for_each(|s| *s = Slot::Sparse);
                child.body.live = child.body.slots.len();
                let count = child.body.slots.len();
                self.write(&child.table, 0, &mut core::iter::repeat_n(word, count));
            }
            child.zeroed = false;
            Slot::Directory(child)
        };
        *slot = new;
        if sparse {
            self.changes.invalidate = true;
        } else {
            node.body.live += 1;
        }
        self.memory.barrier();
        let pde = self.format.pde(address);
        self.write(&node.table, index, &mut core::iter::once(pde));
        Ok(())
    }

    fn last(&mut self, node: &mut Node<Last<M::Table>, M::Table>, from: u64, to: u64) -> Result {
        for (index, start, end) in entries(LAST, from, to) {
            let span = node.body.spans.get_mut(index).ok_or(EINVAL)?;
            let was = !span.is_empty();

            if covers(LAST, start, end) && self.source.fits(start, HUGE) {
                self.huge(&node.table, span, index, start);
            } else {
                self.part(&node.table, span, index, start, end)?;
            }
            let is = !span.is_empty();
            node.body.live = node
                .body
                .live
                .wrapping_add(usize::from(is))
                .wrapping_sub(usize::from(was));
        }
        Ok(())
    }

    /// Makes a span one page or one hole.
    fn huge(&mut self, table: &M::Table, span: &mut Span<M::Table>, index: usize, va: u64) {
        let word = self.source.word(va);
        let tables = span.big.is_some() || span.small.is_some();

        if !tables && span.word == word {
            return;
        }
        self.changes.invalidate |= tables || span.word != 0;
        self.write(table, 2 * index, &mut core::iter::once(word));
        if let Some(old) = span.small.take() {
            // Looked at only when the first half is no page.
            self.memory.barrier();
            self.write(table, 2 * index + 1, &mut core::iter::once(0));
            self.changes.smalls.push(old);
        }
        if let Some(old) = span.big.take() {
            self.changes.bigs.push(old);
        }
        span.word = word;
    }

    /// Changes a part of a span, or a whole one that cannot be one page.
    fn part(
        &mut self,
        table: &M::Table,
        span: &mut Span<M::Table>,
        index: usize,
        start: u64,
        end: u64,
    ) -> Result {
        let untabled = span.big.is_none() && span.small.is_none();
        if untabled && !self.source.is_pages() && span.word == self.source.word(start) {
            return Ok(());
        }
        let plan = Plan::new(&mut self.source, Some(span), 0, start, end);
        let base = start - ((plan.from as u64) << SMALL);

        if plan.needs_big || plan.needs_small {
            self.link(table, span, index, &plan)?;
        }
        // The table of 4 KiB pages first: what moves there from the other is then mapped all along.
        for (from, to) in plan.runs(plan.small) {
            self.small_pages(span, base, from, to);
        }
        for (from, to) in plan.runs(plan.big) {
            self.big_pages(span, base, from / PER_BLOCK, to / PER_BLOCK);
        }
        Ok(())
    }

    /// Puts tables below a span's entry, with what the entry said before.
    fn link(
        &mut self,
        table: &M::Table,
        span: &mut Span<M::Table>,
        index: usize,
        plan: &Plan,
    ) -> Result {
        let had_table = span.big.is_some() || span.small.is_some();
        let old = span.word;
        let format = self.format;

        if plan.needs_big {
            let mut node = self.stock.bigs.pop().ok_or(ENOMEM)?;
            if old != 0 {
                for (i, word) in node.body.words.iter_mut().enumerate() {
                    *word = format.advance(old, (i * SZ_64K) as u64);
                }
                self.write(&node.table, 0, &mut node.body.words.iter().copied());
            }
            node.zeroed = false;
            span.big = Some(node);
        }
        if plan.needs_small {
            let mut node = self.stock.smalls.pop().ok_or(ENOMEM)?;
            node.zeroed = false;
            span.small = Some(node);
        }
        let pde = |address: Option<u64>| address.map_or(0, |a| format.pde(a));
        let big = span.big.as_ref().map(|n| self.memory.address(&n.table));
        let small = span.small.as_ref().map(|n| self.memory.address(&n.table));
        let (big, small) = (pde(big), pde(small));

        self.memory.barrier();
        if plan.needs_small {
            self.write(table, 2 * index + 1, &mut core::iter::once(small));
        }
        if plan.needs_big {
            self.memory.barrier();
            self.write(table, 2 * index, &mut core::iter::once(big));
        }
        span.word = 0;
        // An entry is cached with both its halves, so a new half is not seen by itself.
        self.changes.invalidate |= old != 0 || had_table;
        Ok(())
    }

    /// Writes pages `from..to` of a span as 4 KiB pages.
    fn small_pages(&mut self, span: &mut Span<M::Table>, base: u64, from: usize, to: usize) {
        let Some(small) = span.small.as_mut() else {
            // Only holes need no table.
            return;
        };
        let format = self.format;

        // What else is in the blocks at both ends.
        if let Some(big) = span.big.as_ref() {
            for block in [from / PER_BLOCK, (to - 1) / PER_BLOCK] {
                let word = big.body.words.get(block).copied().unwrap_or(0);
                let first = block * PER_BLOCK;
                let ends = [(first, from), (to, first + PER_BLOCK)];
                for (a, b) in ends.into_iter().filter(|&(a, b)| word != 0 && a < b) {
                    let mut words =
                        (a..b).map(|i| format.advance(word, ((i - first) * SZ_4K) as u64));
                    self.memory.write(&small.table, a, &mut words);
                    small.body.note(a, b, true);
                }
            }
        }
        let invalid = self.source.is_invalid();
        let before = small.body.note(from, to, !invalid);
        if before || !invalid {
            let source = &mut self.source;
            let mut words = (from..to).map(|i| source.word(base + ((i as u64) << SMALL)));
            self.memory.write(&small.table, from, &mut words);
        }
        self.changes.written = true;
        self.changes.invalidate |= before;
        // Now the other table can let go of the blocks.
        let Some(big) = span.big.as_mut() else {
            return;
        };
        let (first, last) = (from / PER_BLOCK, to.div_ceil(PER_BLOCK));
        let held = big.body.words.get_mut(first..last).unwrap_or_default();
        if held.iter().any(|&word| word != 0) {
            held.fill(0);
            self.memory.barrier();
            self.changes.invalidate = true;
            self.memory.write(
                &big.table,
                first,
                &mut core::iter::repeat_n(0, last - first),
            );
        }
    }

    /// Writes blocks `from..to` of a span as 64 KiB pages or holes.
    fn big_pages(&mut self, span: &mut Span<M::Table>, base: u64, from: usize, to: usize) {
        self.changes.written = true;
        if let Some(big) = span.big.as_mut() {
            let Node { table, body, .. } = &mut **big;
            let words = body.words.get_mut(from..to).unwrap_or_default();
            let mut changed = false;
            for (i, word) in words.iter_mut().enumerate() {
                let new = self.source.word(base + (((from + i) as u64) << BIG));
                self.changes.invalidate |= *word != 0 && *word != new;
                changed |= *word != new;
                *word = new;
            }
            if changed {
                self.memory.write(table, from, &mut words.iter().copied());
            }
        }
        if let Some(small) = span.small.as_mut() {
            let (from, to) = (from * PER_BLOCK, to * PER_BLOCK);
            if small.body.note(from, to, false) {
                self.memory.barrier();
                self.changes.invalidate = true;
                self.memory
                    .write(&small.table, from, &mut core::iter::repeat_n(0, to - from));
            }
        }
    }
}

/// Takes empty tables out.
struct Sweep<'a, M: TableMemory> {
    levels: &'static [Level],
    format: &'static dyn Format,
    memory: &'a M,
    changes: &'a mut Changes<M::Table>,
}

impl<M: TableMemory> Sweep<'_, M> {
    fn clear(&mut self, table: &M::Table, word: usize) {
        self.changes.written = true;
        self.changes.invalidate = true;
        self.memory.write(table, word, &mut core::iter::once(0));
    }

    fn directory(
        &mut self,
        node: &mut Node<Directory<M::Table>, M::Table>,
        depth: usize,
        from: u64,
        to: u64,
    ) {
        let Some(&level) = self.levels.get(depth) else {
            return;
        };
        for (index, start, end) in entries(level, from, to) {
            let Some(slot) = node.body.slots.get_mut(index) else {
                continue;
            };
            let live = match slot {
                Slot::Empty | Slot::Sparse => continue,
                Slot::Directory(child) => {
                    self.directory(child, depth + 1, start, end);
                    child.body.live
                }
                Slot::Last(child) => {
                    self.last(child, start, end);
                    child.body.live
                }
            };
            if live != 0 {
                continue;
            }
            match core::mem::replace(slot, Slot::Empty) {
                Slot::Directory(mut old) => {
                    old.zeroed = true;
                    self.changes.directories.push(old);
                }
                Slot::Last(mut old) => {
                    old.zeroed = true;
                    self.changes.lasts.push(old);
                }
                Slot::Empty | Slot::Sparse => (),
            }
            node.body.live = node.body.live.wrapping_sub(1);
            self.clear(&node.table, index);
        }
    }

    fn last(&mut self, node: &mut Node<Last<M::Table>, M::Table>, from: u64, to: u64) {
        for (index, _, _) in entries(LAST, from, to) {
            let Some(span) = node.body.spans.get_mut(index) else {
                continue;
            };
            let idle = |used: &[u16]| used.iter().all(|&bits| bits == 0);
            if span.is_empty() {
                continue;
            }
            if span.small.as_ref().is_some_and(|n| idle(&n.body.used)) {
                self.clear(&node.table, 2 * index + 1);
                if let Some(mut old) = span.small.take() {
                    old.zeroed = true;
                    self.changes.smalls.push(old);
                }
            }
            let done = |n: &KBox<Node<Big, M::Table>>| n.body.words.iter().all(|&word| word == 0);
            if span.big.as_ref().is_some_and(done) {
                self.clear(&node.table, 2 * index);
                if let Some(mut old) = span.big.take() {
                    old.zeroed = true;
                    self.changes.bigs.push(old);
                }
            }
            if span.is_empty() {
                node.body.live = node.body.live.wrapping_sub(1);
            }
        }
    }
}

static_assert!(SZ_2M == PAGES * SZ_4K && SZ_2M == BLOCKS * SZ_64K);
