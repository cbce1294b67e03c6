// SPDX-License-Identifier: GPL-2.0

//! What a range shall be, and which pages and tables that takes.
//!
//! A span of 2 MiB is one page if its memory allows, else each of its blocks of 64 KiB is, else
//! 4 KiB pages do. Looking at a change counts the tables it needs by the same rules as making it.

use kernel::prelude::*;

use super::{
    node::{
        Directory,
        Last,
        Slot,
        Span,
        PAGES,
        PER_BLOCK, //
    },
    Attr,
    Format,
    Level,
    Need,
    BIG,
    HUGE,
    SMALL, //
};

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
pub(super) struct Source<'r> {
    pub(super) what: What<'r>,
    pub(super) start: u64,
    pub(super) format: &'static dyn Format,
    /// The run that was asked for last.
    pub(super) cursor: usize,
}

impl<'r> Source<'r> {
    pub(super) fn new(what: What<'r>, start: u64, format: &'static dyn Format) -> Self {
        Self {
            what,
            start,
            format,
            cursor: 0,
        }
    }

    pub(super) fn is_invalid(&self) -> bool {
        matches!(self.what, What::Invalid)
    }

    pub(super) fn is_pages(&self) -> bool {
        matches!(self.what, What::Pages { .. })
    }

    /// Where `va` is in memory, and for how many bytes.
    pub(super) fn find(&mut self, runs: &[Run], offset: u64, va: u64) -> Option<(u64, u64)> {
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
    pub(super) fn word(&mut self, va: u64) -> u64 {
        match self.what {
            What::Invalid => 0,
            What::Sparse => self.format.sparse(),
            What::Pages { runs, offset, attr } => self
                .find(runs, offset, va)
                .map_or(0, |(address, _)| self.format.pte(address, attr)),
        }
    }

    /// Whether one page of `1 << shift` bytes can do at `va`.
    pub(super) fn fits(&mut self, va: u64, shift: u32) -> bool {
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

/// The part of `from..to` in each entry of a table that it touches: index, start, end.
pub(super) fn entries(level: Level, from: u64, to: u64) -> impl Iterator<Item = (usize, u64, u64)> {
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
pub(super) const LAST: Level = Level {
    shift: HUGE,
    bits: 8,
};

pub(super) fn covers(level: Level, start: u64, end: u64) -> bool {
    end - start == 1 << level.shift
}

/// The one entry of a directory that a range lies below, if it does not cover it.
pub(super) fn only(level: Level, from: u64, to: u64) -> Option<usize> {
    let last = to.wrapping_sub(1);

    ((from ^ last) >> level.shift == 0 && !covers(level, from, to)).then(|| level.index(from))
}

/// Pages of the span that `va` is in, before `va`.
pub(super) fn page_of(va: u64) -> usize {
    // CAST: Below 512.
    ((va >> SMALL) & (PAGES as u64 - 1)) as usize
}

/// How a part of a span is to be written, block by block.
pub(super) struct Plan {
    /// Pages of the span.
    pub(super) from: usize,
    pub(super) to: usize,
    /// Blocks that are one page of 64 KiB, or one hole.
    pub(super) big: u32,
    /// Blocks that are written in pages of 4 KiB.
    pub(super) small: u32,
    /// A table that does not exist is needed.
    pub(super) needs_big: bool,
    pub(super) needs_small: bool,
}

impl Plan {
    /// For `start..end` of a span; `span` is none if it is not there, and what it would be made
    /// of is `inherited` then.
    pub(super) fn new<B>(
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
    pub(super) fn runs(&self, set: u32) -> impl Iterator<Item = (usize, usize)> {
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

/// Looks at a change before it is made, and says which tables it needs.
pub(super) struct Count<'r, S> {
    pub(super) source: Source<'r>,
    pub(super) levels: &'static [Level],
    pub(super) sink: S,
    /// Something may be there now.
    pub(super) occupied: bool,
}

/// Who is told of the tables that a change needs, and for which addresses: the index that all of
/// them have in common.
pub(super) trait Sink {
    /// A directory above the last, `depth` levels below the root.
    fn directory(&mut self, depth: usize, index: u64) -> Result;
    /// A last directory.
    fn last(&mut self, index: u64) -> Result;
    /// A table of 64 KiB pages.
    fn big(&mut self, index: u64) -> Result;
    /// A table of 4 KiB pages.
    fn small(&mut self, index: u64) -> Result;
}

impl<S: Sink> Sink for &mut S {
    fn directory(&mut self, depth: usize, index: u64) -> Result {
        (**self).directory(depth, index)
    }

    fn last(&mut self, index: u64) -> Result {
        (**self).last(index)
    }

    fn big(&mut self, index: u64) -> Result {
        (**self).big(index)
    }

    fn small(&mut self, index: u64) -> Result {
        (**self).small(index)
    }
}

impl Sink for Need {
    fn directory(&mut self, _: usize, _: u64) -> Result {
        self.directories += 1;
        Ok(())
    }

    fn last(&mut self, _: u64) -> Result {
        self.lasts += 1;
        Ok(())
    }

    fn big(&mut self, _: u64) -> Result {
        self.bigs += 1;
        Ok(())
    }

    fn small(&mut self, _: u64) -> Result {
        self.smalls += 1;
        Ok(())
    }
}

impl<S: Sink> Count<'_, S> {
    pub(super) fn directory<B>(
        &mut self,
        node: Option<&Directory<B>>,
        depth: usize,
        sparse: bool,
        from: u64,
        to: u64,
    ) -> Result {
        let level = *self.levels.get(depth).ok_or(EINVAL)?;

        // The most frequent case, quickly.
        if let Some(index) = only(level, from, to) {
            return self.entry(
                node.and_then(|n| n.slots.get(index)),
                depth,
                sparse,
                from,
                to,
            );
        }
        for (index, start, end) in entries(level, from, to) {
            let slot = node.and_then(|n| n.slots.get(index));
            if covers(level, start, end) && !self.source.is_pages() {
                self.occupied |= !matches!(slot, Some(Slot::Empty));
                continue;
            }
            self.entry(slot, depth, sparse, start, end)?;
        }
        Ok(())
    }

    /// A range below one entry of a directory at `depth`.
    fn entry<B>(
        &mut self,
        slot: Option<&Slot<B>>,
        depth: usize,
        sparse: bool,
        start: u64,
        end: u64,
    ) -> Result {
        match slot {
            Some(Slot::Directory(n)) => self.directory(Some(&n.body), depth + 1, false, start, end),
            Some(Slot::Last(n)) => self.last(Some(&n.body), 0, start, end),
            missing => {
                let sparse = missing.map_or(sparse, |s| matches!(s, Slot::Sparse));
                self.occupied |= sparse;
                if sparse || !self.source.is_invalid() {
                    let above = *self.levels.get(depth).ok_or(EINVAL)?;
                    self.missing::<B>(depth + 1, sparse, above, start, end)?;
                }
                Ok(())
            }
        }
    }

    /// A directory that is not there, at `depth`.
    fn missing<B>(
        &mut self,
        depth: usize,
        sparse: bool,
        above: Level,
        start: u64,
        end: u64,
    ) -> Result {
        if depth < self.levels.len() {
            self.sink.directory(depth, start >> above.shift)?;
            return self.directory(None::<&Directory<B>>, depth, sparse, start, end);
        }
        let inherited = if sparse {
            self.source.format.sparse()
        } else {
            0
        };
        self.sink.last(start >> above.shift)?;
        self.last(None::<&Last<B>>, inherited, start, end)
    }

    fn last<B>(&mut self, node: Option<&Last<B>>, inherited: u64, from: u64, to: u64) -> Result {
        for (index, start, end) in entries(LAST, from, to) {
            let span = node.and_then(|n| n.spans.get(index));
            let pages = ((end - start) >> SMALL) as usize;
            self.occupied |= span.map_or(inherited != 0, |s| s.is_occupied(page_of(start), pages));
            if covers(LAST, start, end) && self.source.fits(start, HUGE) {
                continue;
            }
            let plan = Plan::new(&mut self.source, span, inherited, start, end);
            if plan.needs_big {
                self.sink.big(start >> HUGE)?;
            }
            if plan.needs_small {
                self.sink.small(start >> HUGE)?;
            }
        }
        Ok(())
    }
}
