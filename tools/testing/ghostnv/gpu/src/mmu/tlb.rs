// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The TLB: translations stay until they are invalidated, whatever happens to the tables.
//!
//! Entries are keyed by page directory and page. Only valid pages are cached: hardware does not
//! keep invalid entries, and what it does with sparse ones is not documented. One TLB stands for
//! all of the chip's, because every client that is modelled is a hub client; an invalidate of the
//! hub TLBs only is therefore a full one.

use std::collections::HashMap;

use super::walk::{Page, Words};
use crate::env::mem::Phys;

/// Entries kept; one more flushes everything, which hardware may do at any time.
const MOST_ENTRIES: usize = 65536;

/// Page sizes that have entries, as log2, largest first.
const SHIFTS: [u32; 3] = [21, 16, 12];

/// One cached page.
pub struct Entry {
    /// The translation.
    pub page: Page,
    /// What the walk read.
    pub words: Words,
    /// Its staleness was reported.
    pub reported: bool,
}

/// Entries of one page directory, by page size.
type Pages = [HashMap<u64, Entry>; SHIFTS.len()];

/// All cached translations.
#[derive(Default)]
pub struct Tlb {
    roots: HashMap<Phys, Pages>,
    entries: usize,
}

impl Tlb {
    /// Finds the entry that covers `va`.
    pub fn find(&mut self, root: Phys, va: u64) -> Option<&mut Entry> {
        let pages = self.roots.get_mut(&root)?;
        pages.iter_mut().zip(SHIFTS).find_map(|(map, shift)| {
            if map.is_empty() { None } else { map.get_mut(&(va >> shift)) }
        })
    }

    /// Adds a translation; sizes without entries (sparse directories) are not cached.
    pub fn insert(&mut self, root: Phys, va: u64, page: Page, words: Words) {
        let Some(slot) = SHIFTS.iter().position(|s| *s == page.shift) else { return };
        if self.entries >= MOST_ENTRIES {
            self.clear();
        }
        let pages = self.roots.entry(root).or_default();
        let Some(map) = pages.get_mut(slot) else { return };
        let entry = Entry { page, words, reported: false };
        if map.insert(va >> page.shift, entry).is_none() {
            self.entries += 1;
        }
    }

    /// Drops what one page directory has.
    pub fn forget(&mut self, root: Phys) {
        if let Some(pages) = self.roots.remove(&root) {
            let gone: usize = pages.iter().map(HashMap::len).sum();
            self.entries = self.entries.saturating_sub(gone);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.roots.clear();
        self.entries = 0;
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.entries
    }
}
