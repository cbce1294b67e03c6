// SPDX-License-Identifier: GPL-2.0

//! The GPU's page tables.
//!
//! [`Tree`] builds them and keeps a shadow of what it wrote, since reading them back over the bus
//! costs a microsecond an entry. It changes ranges of virtual addresses and knows neither buffer
//! objects nor hardware: what an entry looks like is the [`Format`]'s to say, how one is written
//! the [`TableMemory`]'s. So all of it runs under test against plain memory. [`Tlb`] makes the
//! hardware forget what the tables said before.
//!
//! A change has three parts. Everything that can fail comes first: [`Tree::need`] says how many
//! tables a change can need, and [`Stock`] takes them. [`Tree::set`] then cannot fail. Last comes
//! [`Tree::sweep`], which takes tables out that have become empty. What it took out may be reused
//! once the hardware has forgotten it: after one invalidate for all changes together.

use kernel::prelude::*;

mod gp100;
mod node;
mod plan;
mod stock;
#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
mod tests;
mod tlb;
mod tree;
mod walk;

pub(crate) use gp100::Gp100;
pub(crate) use node::Changes;
pub(crate) use plan::{
    Run,
    What, //
};
pub(crate) use stock::{
    Need,
    Removal,
    Running,
    Stock,
    Tally, //
};
pub(crate) use tlb::{
    Tlb,
    Users, //
};
pub(crate) use tree::Tree;

/// Log2 of the sizes of pages.
pub(crate) const SMALL: u32 = 12;
/// See [`SMALL`].
pub(crate) const BIG: u32 = 16;
/// See [`SMALL`].
pub(crate) const HUGE: u32 = 21;

/// Which memory a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aperture {
    /// Video memory.
    Vram,
    /// System memory; the GPU's accesses snoop the CPU's caches.
    Coherent,
}

/// What is particular to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    /// Which memory.
    pub(crate) aperture: Aperture,
    /// How the memory is laid out and compressed: 0 linear, 6 block-linear.
    pub(crate) kind: u8,
    /// Not cached by the GPU. System memory never is.
    pub(crate) volatile: bool,
    /// The GPU may not write.
    pub(crate) read_only: bool,
    /// For the firmware and the kernel's own channels only.
    pub(crate) privileged: bool,
    /// The GPU may not use atomic operations.
    pub(crate) no_atomics: bool,
}

impl Attr {
    /// Linear memory that everyone may read and write.
    pub(crate) const fn linear(aperture: Aperture) -> Self {
        Self {
            aperture,
            kind: 0,
            volatile: false,
            read_only: false,
            privileged: false,
            no_atomics: false,
        }
    }

    /// The same, and for the kernel only.
    pub(crate) const fn privileged(self) -> Self {
        Self {
            privileged: true,
            ..self
        }
    }
}

/// One level of directories above the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Log2 of the bytes that an entry covers.
    pub(crate) shift: u32,
    /// Log2 of the number of entries.
    pub(crate) bits: u32,
}

impl Level {
    fn entries(self) -> usize {
        1 << self.bits
    }

    fn index(self, va: u64) -> usize {
        // CAST: At most 512.
        ((va >> self.shift) & ((1 << self.bits) - 1)) as usize
    }
}

/// How a generation writes its page tables.
///
/// What all have in common is the last directory, whose entries cover 2 MiB: such an entry is a
/// page, or points at a table of 32 pages of 64 KiB, or at one of 512 pages of 4 KiB, or at both.
/// If both, a zero in the first means to look in the second.
pub(crate) trait Format: Sync {
    /// Bits of a virtual address.
    fn va_bits(&self) -> u32;
    /// The directories above the last, from the root down.
    fn levels(&self) -> &'static [Level];
    /// The entry that points at a table in video memory.
    fn pde(&self, table: u64) -> u64;
    /// The entry of a page, in any table.
    fn pte(&self, address: u64, attr: Attr) -> u64;
    /// The entry for which reads are zero and writes are dropped, in any table or directory.
    fn sparse(&self) -> u64;
    /// Whether an entry is that of a page.
    fn is_valid(&self, pte: u64) -> bool;
    /// The entry of the page `bytes` further on in memory; sparse stays sparse.
    fn advance(&self, pte: u64, bytes: u64) -> u64;
}

/// Sizes of tables, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableSize {
    /// Directories, and tables of 4 KiB pages.
    Page = 4096,
    /// Tables of 64 KiB pages.
    Big = 256,
}

/// Memory for page tables.
pub(crate) trait TableMemory {
    /// One table; dropping it frees the memory. Nothing may point at it then.
    type Table: Send + Sync;

    /// Takes a table that is all zeros.
    fn alloc(&self, size: TableSize) -> Result<Self::Table>;

    /// Where the GPU finds it, in video memory.
    fn address(&self, table: &Self::Table) -> u64;

    /// Writes entries from the 64-bit word `first` on. The writes may still be under way when this
    /// returns, and an error is seen when they are made to arrive.
    fn write(&self, table: &Self::Table, first: usize, words: &mut dyn Iterator<Item = u64>);

    /// Earlier writes arrive before later ones.
    fn barrier(&self);

    /// Frees a table that is all zeros again.
    fn free_zeroed(&self, table: Self::Table);
}
