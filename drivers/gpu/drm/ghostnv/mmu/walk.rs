// SPDX-License-Identifier: GPL-2.0

//! Changing the tables.
//!
//! The GPU may be using them at any time. So a table is complete before anything points at it, a
//! page that is split stays mapped throughout, and a table that was taken out is kept until its
//! user has invalidated the TLB.

use kernel::{
    prelude::*,
    sizes::{
        SZ_4K,
        SZ_64K, //
    }, //
};

use super::{
    node::{
        Big,
        Changes,
        Directory,
        Last,
        Node,
        Slot,
        Span,
        PER_BLOCK,
        SPANS, //
    },
    plan::{
        covers,
        entries,
        only,
        Plan,
        Source,
        What,
        LAST, //
    },
    Format,
    Level,
    Stock,
    TableMemory,
    BIG,
    HUGE,
    SMALL, //
};

/// Keeps the count of entries that are in use, of which one was and now is.
fn recount(live: &mut usize, was: bool, is: bool) {
    *live = live
        .wrapping_add(usize::from(is))
        .wrapping_sub(usize::from(was));
}

/// A change under way.
pub(super) struct Walk<'a, 'r, M: TableMemory> {
    pub(super) source: Source<'r>,
    pub(super) format: &'static dyn Format,
    pub(super) memory: &'a M,
    pub(super) stock: &'a mut Stock<M::Table>,
    pub(super) changes: &'a mut Changes<M::Table>,
}

impl<M: TableMemory> Walk<'_, '_, M> {
    fn write(&mut self, table: &M::Table, first: usize, words: &mut dyn Iterator<Item = u64>) {
        self.changes.written = true;
        self.memory.write(table, first, words);
    }

    pub(super) fn directory(
        &mut self,
        node: &mut Node<Directory<M::Table>, M::Table>,
        depth: usize,
        from: u64,
        to: u64,
    ) -> Result {
        let levels = self.format.levels();
        let level = *levels.get(depth).ok_or(EINVAL)?;

        // The most frequent case, quickly.
        if let Some(index) = only(level, from, to) {
            match node.body.slots.get_mut(index) {
                Some(Slot::Directory(child)) => return self.directory(child, depth + 1, from, to),
                Some(Slot::Last(child)) => return self.last(child, from, to),
                _ => (),
            }
        }
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
        recount(&mut node.body.live, was, is);
        self.write(&node.table, index, &mut core::iter::once(word));
    }

    /// Puts a table below an entry that is nothing or sparse.
    pub(super) fn grow(
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
        if !sparse {
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
            recount(&mut node.body.live, was, is);
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
            self.changes.written = true;
            self.memory.write(&small.table, from, &mut words);
        }
        // Now the other table can let go of the blocks.
        let Some(big) = span.big.as_mut() else {
            return;
        };
        let (first, last) = (from / PER_BLOCK, to.div_ceil(PER_BLOCK));
        let held = big.body.words.get_mut(first..last).unwrap_or_default();
        if held.iter().any(|&word| word != 0) {
            held.fill(0);
            self.memory.barrier();
            self.changes.written = true;
            self.memory.write(
                &big.table,
                first,
                &mut core::iter::repeat_n(0, last - first),
            );
        }
    }

    /// Writes blocks `from..to` of a span as 64 KiB pages or holes.
    fn big_pages(&mut self, span: &mut Span<M::Table>, base: u64, from: usize, to: usize) {
        if let Some(big) = span.big.as_mut() {
            let Node { table, body, .. } = &mut **big;
            let words = body.words.get_mut(from..to).unwrap_or_default();
            let mut changed = false;
            for (i, word) in words.iter_mut().enumerate() {
                let new = self.source.word(base + (((from + i) as u64) << BIG));
                changed |= *word != new;
                *word = new;
            }
            if changed {
                self.changes.written = true;
                self.memory.write(table, from, &mut words.iter().copied());
            }
        }
        if let Some(small) = span.small.as_mut() {
            let (from, to) = (from * PER_BLOCK, to * PER_BLOCK);
            if small.body.note(from, to, false) {
                self.memory.barrier();
                self.changes.written = true;
                self.memory
                    .write(&small.table, from, &mut core::iter::repeat_n(0, to - from));
            }
        }
    }
}

/// Takes empty tables out.
pub(super) struct Sweep<'a, M: TableMemory> {
    pub(super) levels: &'static [Level],
    pub(super) memory: &'a M,
    pub(super) changes: &'a mut Changes<M::Table>,
}

impl<M: TableMemory> Sweep<'_, M> {
    fn clear(&mut self, table: &M::Table, word: usize) {
        self.changes.written = true;
        self.memory.write(table, word, &mut core::iter::once(0));
    }

    pub(super) fn directory(
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
