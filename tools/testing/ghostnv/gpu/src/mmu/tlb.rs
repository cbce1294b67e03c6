// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The TLB: translations stay until they are invalidated, whatever happens to the tables.
//!
//! Entries are keyed by page directory and page. Valid pages are cached, and so is that a page was
//! not valid when a client tried it: hardware may keep that, too, and does not read the table again
//! then, so that a driver has to invalidate after it made an entry valid. Such an entry is for the
//! 4 KiB that were accessed, whatever level of the tables the walk ended at, and it goes before a
//! larger valid one that was cached later. What hardware does with sparse entries is not
//! documented; they are not cached. One TLB stands for all of the chip's, because every client that
//! is modelled is a hub client; an invalidate of the hub TLBs only is therefore a full one.

use std::collections::HashMap;

use super::FaultType;
use super::walk::{Page, Words};
use crate::env::mem::Phys;

/// Entries kept; one more flushes everything, which hardware may do at any time.
const MOST_ENTRIES: usize = 65536;

/// Page sizes that have entries, as log2, largest first.
const SHIFTS: [u32; 3] = [21, 16, 12];

/// Size of entries that say that a page is not valid, as log2.
const INVALID_SHIFT: u32 = 12;

/// One cached page.
pub struct Entry {
    /// The translation, or the fault of a page that was not valid.
    pub found: Result<Page, FaultType>,
    /// What the walk read.
    pub words: Words,
    /// Its staleness was reported.
    pub reported: bool,
}

/// Entries of one page directory.
#[derive(Default)]
struct Pages {
    /// Pages that were not valid.
    invalid: HashMap<u64, Entry>,
    /// Valid ones, by page size.
    valid: [HashMap<u64, Entry>; SHIFTS.len()],
}

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
        let invalid = std::iter::once((&mut pages.invalid, INVALID_SHIFT));
        invalid.chain(pages.valid.iter_mut().zip(SHIFTS)).find_map(|(map, shift)| {
            if map.is_empty() { None } else { map.get_mut(&(va >> shift)) }
        })
    }

    /// Adds a translation, or that there is none; sizes without entries (sparse directories) are
    /// not cached.
    pub fn insert(&mut self, root: Phys, va: u64, found: Result<Page, FaultType>, words: Words) {
        let shift = found.map_or(INVALID_SHIFT, |page| page.shift);
        let Some(slot) = SHIFTS.iter().position(|s| *s == shift) else { return };
        if self.entries >= MOST_ENTRIES {
            self.clear();
        }
        let pages = self.roots.entry(root).or_default();
        let map = match found {
            Ok(_) => pages.valid.get_mut(slot),
            Err(_) => Some(&mut pages.invalid),
        };
        let Some(map) = map else { return };
        let entry = Entry { found, words, reported: false };
        if map.insert(va >> shift, entry).is_none() {
            self.entries += 1;
        }
    }

    /// Drops what one page directory has.
    pub fn forget(&mut self, root: Phys) {
        if let Some(pages) = self.roots.remove(&root) {
            let valid: usize = pages.valid.iter().map(HashMap::len).sum();
            self.entries = self.entries.saturating_sub(valid + pages.invalid.len());
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
