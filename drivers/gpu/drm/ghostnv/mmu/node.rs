// SPDX-License-Identifier: GPL-2.0

//! What is remembered of page tables.
//!
//! The shadow keeps of each table what later changes need to know: of directories their children;
//! of an entry that covers 2 MiB or 64 KiB the entry itself, because a change of a part of it must
//! write down the rest in smaller pages; of a 4 KiB page whether there is one.

use kernel::{
    alloc::Flags,
    prelude::*,
    sizes::{
        SZ_2M,
        SZ_4K,
        SZ_64K, //
    }, //
};

use super::{
    stock::Chain,
    TableMemory,
    TableSize, //
};

/// Entries of the last directory, of a table of 64 KiB pages, of one of 4 KiB pages.
pub(super) const SPANS: usize = 256;
pub(super) const BLOCKS: usize = 32;
pub(super) const PAGES: usize = 512;
/// 4 KiB pages in 64 KiB.
pub(super) const PER_BLOCK: usize = PAGES / BLOCKS;

/// For shadows. A client may have as many tables as there is video memory for: its control group
/// pays, and the OOM killer is not called for them.
fn flags() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL
}

/// A table with its shadow.
pub(super) struct Node<T, B> {
    pub(super) table: B,
    /// For lists of tables that are in no tree.
    pub(super) next: Option<KBox<Node<T, B>>>,
    /// The memory holds nothing but zeros.
    pub(super) zeroed: bool,
    pub(super) body: T,
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
            flags(),
        )?)
    }
}

/// An entry of a directory above the last.
pub(super) enum Slot<B> {
    Empty,
    Sparse,
    Directory(KBox<Node<Directory<B>, B>>),
    Last(KBox<Node<Last<B>, B>>),
}

/// Shadow of a directory above the last.
pub(super) struct Directory<B> {
    pub(super) slots: KVec<Slot<B>>,
    /// Slots that are not empty.
    pub(super) live: usize,
}

impl<B> Directory<B> {
    pub(super) fn new(entries: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(entries, flags())?;
        for _ in 0..entries {
            slots.push(Slot::Empty, flags())?;
        }
        Ok(Self { slots, live: 0 })
    }
}

/// Shadow of the last directory.
pub(super) struct Last<B> {
    pub(super) spans: KVec<Span<B>>,
    /// Spans that are not empty.
    pub(super) live: usize,
}

impl<B> Last<B> {
    pub(super) fn new() -> Result<Self> {
        let mut spans = KVec::with_capacity(SPANS, flags())?;
        for _ in 0..SPANS {
            spans.push(Span::new(), flags())?;
        }
        Ok(Self { spans, live: 0 })
    }
}

/// 2 MiB of virtual addresses.
pub(super) struct Span<B> {
    /// The entry, if it is a page or sparse; there are no tables then.
    pub(super) word: u64,
    pub(super) big: Option<KBox<Node<Big, B>>>,
    pub(super) small: Option<KBox<Node<Small, B>>>,
}

impl<B> Span<B> {
    pub(super) const fn new() -> Self {
        Self {
            word: 0,
            big: None,
            small: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.word == 0 && self.big.is_none() && self.small.is_none()
    }

    /// Whether there may be something in `count` pages from page `from` on.
    pub(super) fn is_occupied(&self, from: usize, count: usize) -> bool {
        let to = from.saturating_add(count).min(PAGES);
        let blocks = from / PER_BLOCK..to.div_ceil(PER_BLOCK);
        let big = self.big.as_ref();
        let big = big.and_then(|n| n.body.words.get(blocks.clone()));
        let small = |n: &KBox<Node<Small, B>>| {
            let used = |block| n.body.used.get(block).copied().unwrap_or(0);
            blocks.clone().any(|b| used(b) & mask(b, from, to) != 0)
        };

        self.word != 0
            || big.is_some_and(|words| words.iter().any(|&word| word != 0))
            || self.small.as_ref().is_some_and(small)
    }

    /// The entry of a block in the table of 64 KiB pages, or what it would be.
    pub(super) fn block(&self, block: usize) -> u64 {
        let listed = self.big.as_ref().and_then(|n| n.body.words.get(block));
        listed.copied().unwrap_or(self.word)
    }
}

/// Shadow of a table of 64 KiB pages: its entries. Zero leaves the block to the other table.
#[derive(Default)]
pub(super) struct Big {
    pub(super) words: [u64; BLOCKS],
}

/// Shadow of a table of 4 KiB pages: a bit for each entry that is not zero.
#[derive(Default)]
pub(super) struct Small {
    pub(super) used: [u16; BLOCKS],
}

impl Small {
    /// Notes what entries `from..to` hold now; whether one held something before.
    pub(super) fn note(&mut self, from: usize, to: usize, used: bool) -> bool {
        let mut before = false;

        let blocks = from / PER_BLOCK..to.div_ceil(PER_BLOCK).min(BLOCKS);
        let touched = self.used.get_mut(blocks.clone()).unwrap_or_default();
        for (block, bits) in blocks.zip(touched) {
            let mask = mask(block, from, to);
            before |= *bits & mask != 0;
            *bits = if used { *bits | mask } else { *bits & !mask };
        }
        before
    }
}

/// The bits of a block that are in `from..to`, counted in pages of the span.
pub(super) fn mask(block: usize, from: usize, to: usize) -> u16 {
    let first = block * PER_BLOCK;
    let low = from.clamp(first, first + PER_BLOCK) - first;
    let high = to.clamp(first, first + PER_BLOCK) - first;
    let below = |n: usize| (1u32 << n) - 1;

    // CAST: Sixteen bits at most.
    (below(high) & !below(low)) as u16
}

/// What changes leave behind.
pub(crate) struct Changes<B> {
    /// Something was written, so the hardware may know what is no longer so.
    pub(super) written: bool,
    pub(super) directories: Chain<Directory<B>, B>,
    pub(super) lasts: Chain<Last<B>, B>,
    pub(super) bigs: Chain<Big, B>,
    pub(super) smalls: Chain<Small, B>,
}

impl<B> Changes<B> {
    /// No changes.
    pub(crate) const fn new() -> Self {
        Self {
            written: false,
            directories: Chain::new(),
            lasts: Chain::new(),
            bigs: Chain::new(),
            smalls: Chain::new(),
        }
    }

    /// Whether tables were written. Translations must then be dropped before what was mapped is
    /// used, and before what was mapped before, or the tables that were taken out, are used for
    /// something else.
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

static_assert!(SZ_2M == PAGES * SZ_4K && SZ_2M == BLOCKS * SZ_64K);
