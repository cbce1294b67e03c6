// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Page tables of 4 KiB pages.

use std::collections::BTreeMap;

use super::{Driver, Result, Sabotage};

/// A page table entry that maps VRAM.
pub fn vram(at: u64) -> u64 {
    at >> 4 | 1
}

/// A page table entry that maps guest memory: valid, coherent, volatile.
pub fn system(at: u64) -> u64 {
    at >> 4 | 2 << 1 | 1 << 3 | 1
}

/// An address space: its tables by level and by the addresses that they cover.
#[derive(Default, Clone)]
pub struct Space {
    root: u64,
    bar: bool,
    tables: BTreeMap<(u32, u64), u64>,
}

impl Space {
    pub fn new(root: u64, bar: bool) -> Self {
        Self { root, bar, tables: BTreeMap::new() }
    }
}

impl Driver {
    /// The table below `shift` that covers `va`, made if there is none.
    fn table(&mut self, space: &mut Space, above: u64, slot: u64, shift: u32, va: u64) -> u64 {
        if let Some(at) = space.tables.get(&(shift, va >> shift)) {
            return *at;
        }
        let at = self.card.alloc_vram(0x1000);
        // Sabotage leaves the BAR's own tables alone: the CPU must be able to submit.
        let aperture = u64::from(!self.does(Sabotage::PdeInvalid) || space.bar);
        self.card.vram_store(above + slot, &(at >> 4 | aperture << 1).to_le_bytes());
        space.tables.insert((shift, va >> shift), at);
        at
    }

    /// Sets the entry of one page.
    pub fn map(&mut self, space: &mut Space, va: u64, pte: u64) {
        let mut at = space.root;
        for (shift, mask) in [(47, 0x3), (38, 0x1ff), (29, 0x1ff)] {
            at = self.table(space, at, (va >> shift & mask) * 8, shift, va);
        }
        // The second half of a dual entry is the table of small pages.
        let small = self.table(space, at, (va >> 21 & 0xff) * 16 + 8, 21, va);
        self.card.vram_store(small + (va >> 12 & 0x1ff) * 8, &pte.to_le_bytes());
    }

    /// Drops the MMU's cached translations of a space.
    pub fn invalidate(&mut self, space: &Space) -> Result {
        let root = space.root + self.pick(Sabotage::InvalidateOther, 0x1000, 0);
        self.card.wr(0xb8_30a0, (root >> 8) as u32);
        self.card.wr(0xb8_30a4, (root >> 40) as u32);
        self.card.wr(0xb8_30b0, if space.bar { 0x8000_0007 } else { 0x8000_0001 });
        self.card.wait("TLB invalidate", |c| c.rd(0xb8_30b0) >> 31 == 0)
    }
}
