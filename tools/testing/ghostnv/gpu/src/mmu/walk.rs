// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The GP100 page-table format, version 2 (Turing, Ampere, Ada): one walk from PD3 to a page.
//!
//! 49 bits of virtual address: PD3 48:47, PD2 46:38, PD1 37:29, PD0 28:21. A PD0 entry is *dual*:
//! 16 bytes that point at a table of 64 KiB pages and at one of 4 KiB pages, or that are a 2 MiB
//! PTE. A walk reads at most seven words and remembers them, so that the TLB can tell cheaply
//! whether what it cached is still what the tables say.

use super::{Access, FaultType};
use crate::env::mem::{Aperture, Memory, Phys};

/// Bits of a virtual address.
pub const VA_BITS: u32 = 49;

/// Words one walk reads at most: PD3, PD2, PD1, PD0 (two), 64 KiB PTE, 4 KiB PTE.
const MOST_WORDS: usize = 7;

/// PTE is valid; in PD0, the entry is a PTE.
const VALID: u64 = 1 << 0;
/// Volatile; in an invalid entry, sparse.
const VOL: u64 = 1 << 3;
/// Privileged clients only; in an invalid 64 KiB PTE, no valid 4 KiB pages below.
const PRIVILEGE: u64 = 1 << 5;
/// No writes.
const READ_ONLY: u64 = 1 << 6;
/// No atomics.
const ATOMIC_DISABLE: u64 = 1 << 7;

/// A page's attributes beyond where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// PTE kind: 0 pitch, 6 generic block-linear…
    pub kind: u8,
    /// Not cached in L2 (system memory).
    pub volatile: bool,
    /// Privileged clients only.
    pub privileged: bool,
    /// No writes.
    pub read_only: bool,
    /// No atomics.
    pub atomic_disable: bool,
}

/// What a page maps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Memory, at the start of the page.
    Page(Phys, Attr),
    /// Sparse: reads are 0 and writes are dropped.
    Sparse,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Page(phys, a) = self else { return f.write_str("sparse") };
        write!(f, "{phys} kind {:#x}", a.kind)?;
        let flags = [(a.privileged, "privileged"), (a.read_only, "read-only")];
        let rest = [(a.atomic_disable, "no atomics"), (a.volatile, "volatile")];
        for (_, name) in flags.iter().chain(&rest).filter(|(set, _)| *set) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

/// One translated page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Log2 of its size: 12, 16 or 21; larger for sparse directory entries.
    pub shift: u32,
    /// What it maps to.
    pub target: Target,
}

/// The words a walk read and where they were.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    list: [(Phys, u64); MOST_WORDS],
    len: usize,
}

impl Words {
    fn new() -> Self {
        Self { list: [(Phys::vram(0), 0); MOST_WORDS], len: 0 }
    }

    /// Whether memory still holds them. The last word is the likeliest to change.
    pub fn unchanged(&self, mem: &mut Memory) -> bool {
        let seen = self.list.get(..self.len).unwrap_or_default();
        seen.iter().rev().all(|(at, word)| mem.read_u64(*at) == Ok(*word))
    }
}

/// Why a walk found no page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The fault that the client gets.
    pub fault: FaultType,
    /// An entry that points where no driver may point.
    pub bad_target: Option<String>,
}

impl Miss {
    /// A miss that breaks no rule by itself.
    pub fn plain(fault: FaultType) -> Self {
        Self { fault, bad_target: None }
    }

    /// Whether the walk ended at an entry that is not valid.
    pub fn is_invalid(&self) -> bool {
        matches!(self.fault, FaultType::Pde | FaultType::Pte)
    }
}

/// A walk in progress.
struct Walk<'a> {
    mem: &'a mut Memory,
    words: Words,
}

impl Walk<'_> {
    /// Reads one 8-byte entry of a table.
    fn entry(&mut self, table: Phys, byte: u64, name: &str) -> Result<u64, Miss> {
        let at = table.offset(byte);
        let word = self.mem.read_u64(at).map_err(|e| Miss {
            fault: FaultType::Region,
            bad_target: Some(format!("{name} cannot be read: {e}")),
        })?;
        if let Some(slot) = self.words.list.get_mut(self.words.len) {
            *slot = (at, word);
            self.words.len += 1;
        }
        Ok(word)
    }
}

/// Walks the tables below `root` for `va`.
pub fn walk(mem: &mut Memory, root: Phys, va: u64) -> (Result<Page, Miss>, Words) {
    let mut w = Walk { mem, words: Words::new() };
    let found = match va >> VA_BITS {
        0 => directories(&mut w, root, va),
        _ => Err(Miss::plain(FaultType::VaLimit)),
    };
    (found, w.words)
}

/// PD3 to PD1, whose entries are 8 bytes.
fn directories(w: &mut Walk<'_>, root: Phys, va: u64) -> Result<Page, Miss> {
    let mut table = root;
    for (name, shift, mask) in [("PD3", 47, 0x3), ("PD2", 38, 0x1ff), ("PD1", 29, 0x1ff)] {
        let entry = w.entry(table, (va >> shift & mask) * 8, name)?;
        if entry & VALID != 0 {
            return Err(Miss::plain(FaultType::Pde));
        }
        table = match table_at(entry, 12) {
            Some(next) => next,
            None if entry & VOL != 0 => return Ok(Page { shift, target: Target::Sparse }),
            None => return Err(Miss::plain(FaultType::Pde)),
        };
    }
    pd0(w, table, va)
}

/// PD0: a 2 MiB page, or the two tables; the big one decides first.
fn pd0(w: &mut Walk<'_>, table: Phys, va: u64) -> Result<Page, Miss> {
    let byte = (va >> 21 & 0xff) * 16;
    let low = w.entry(table, byte, "PD0")?;
    if low & VALID != 0 {
        return page(low, 21);
    }
    let high = w.entry(table, byte + 8, "PD0")?;
    let (big, small) = (table_at(low, 8), table_at(high, 12));
    if let Some(big) = big {
        let pte = w.entry(big, (va >> 16 & 0x1f) * 8, "64 KiB PTE")?;
        if pte & VALID != 0 {
            return page(pte, 16);
        }
        if pte & VOL != 0 {
            return Ok(Page { shift: 16, target: Target::Sparse });
        }
        if pte & PRIVILEGE != 0 {
            return Err(Miss::plain(FaultType::Pte));
        }
    }
    let Some(small) = small else {
        let sparse = big.is_none() && low & VOL != 0;
        return match (sparse, big) {
            (true, _) => Ok(Page { shift: 21, target: Target::Sparse }),
            (false, Some(_)) => Err(Miss::plain(FaultType::Pte)),
            (false, None) => Err(Miss::plain(FaultType::Pde)),
        };
    };
    let pte = w.entry(small, (va >> 12 & 0x1ff) * 8, "4 KiB PTE")?;
    match pte & (VALID | VOL) {
        0 => Err(Miss::plain(FaultType::Pte)),
        VOL => Ok(Page { shift: 12, target: Target::Sparse }),
        _ => page(pte, 12),
    }
}

/// Where a PDE points; `unit` is log2 of its address unit, 8 for the big half of a dual PDE.
fn table_at(entry: u64, unit: u32) -> Option<Phys> {
    let aperture = match entry >> 1 & 3 {
        0 => return None,
        1 => Aperture::Vram,
        2 => Aperture::SysCoherent,
        _ => Aperture::SysNonCoherent,
    };
    Some(Phys { aperture, addr: address(entry, aperture) & !((1 << unit) - 1) })
}

/// The address field, (address >> 4) in place: bits 53:4, or 32:4 for VRAM.
fn address(entry: u64, aperture: Aperture) -> u64 {
    let top = if aperture == Aperture::Vram { 33 } else { 54 };
    (entry & ((1 << top) - 1)) >> 4 << 8
}

/// Decodes a valid PTE.
fn page(pte: u64, shift: u32) -> Result<Page, Miss> {
    let aperture = match pte >> 1 & 3 {
        0 => Aperture::Vram,
        2 => Aperture::SysCoherent,
        3 => Aperture::SysNonCoherent,
        _ => {
            return Err(Miss {
                fault: FaultType::UnsupportedAperture,
                bad_target: Some(format!("PTE {pte:#x} names peer memory; there is no peer")),
            });
        }
    };
    let kind = (pte >> 56) as u8;
    if !kind_is_valid(kind) {
        return Err(Miss::plain(FaultType::UnsupportedKind));
    }
    let addr = address(pte, aperture) & !0xfff;
    if addr & ((1 << shift) - 1) != 0 {
        return Err(Miss {
            fault: FaultType::Region,
            bad_target: Some(format!("PTE {pte:#x} is not aligned to its {shift}-bit page")),
        });
    }
    let attr = Attr {
        kind,
        volatile: pte & VOL != 0,
        privileged: pte & PRIVILEGE != 0,
        read_only: pte & READ_ONLY != 0,
        atomic_disable: pte & ATOMIC_DISABLE != 0,
    };
    Ok(Page { shift, target: Target::Page(Phys { aperture, addr }, attr) })
}

/// Kinds that a copy engine or a CPU window can access (Turing and later): pitch, the depth and
/// generic kinds, and their compressible forms. 7 is INVALID, 0xf is for messages between units.
fn kind_is_valid(kind: u8) -> bool {
    matches!(kind, 0..=6 | 8..=0xe)
}

/// Whether a client may do this to a page.
pub fn permit(attr: Attr, access: Access, privileged: bool) -> Result<(), FaultType> {
    if attr.privileged && !privileged {
        return Err(FaultType::Priv);
    }
    match access {
        Access::Write | Access::Atomic if attr.read_only => Err(FaultType::Ro),
        Access::Atomic if attr.atomic_disable => Err(FaultType::Atomic),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Phys = Phys::vram(0x1000);
    const VA: u64 = 0x1_8040_3000;

    /// Chains PD3 to PD0 at 0x1000, 0x2000, 0x3000, 0x4000 for `VA`, and sets the PD0 entry.
    fn tables(low: u64, high: u64) -> Memory {
        let mut mem = Memory::new(16 << 20).unwrap();
        let mut put = |at: u64, word: u64| mem.write_u64(Phys::vram(at), word).unwrap();
        put(0x1000 + (VA >> 47 & 3) * 8, 0x2000 >> 4 | 1 << 1);
        put(0x2000 + (VA >> 38 & 0x1ff) * 8, 0x3000 >> 4 | 1 << 1);
        put(0x3000 + (VA >> 29 & 0x1ff) * 8, 0x4000 >> 4 | 1 << 1);
        put(0x4000 + (VA >> 21 & 0xff) * 16, low);
        put(0x4008 + (VA >> 21 & 0xff) * 16, high);
        mem
    }

    const BIG: u64 = 0x5100 >> 4 | 1 << 1;
    const SMALL: u64 = 0x6000 >> 4 | 1 << 1;
    const NONE: u64 = 0;

    fn run(low: u64, high: u64, big_pte: u64, small_pte: u64) -> Result<Page, Miss> {
        let mut mem = tables(low, high);
        mem.write_u64(Phys::vram(0x5100 + (VA >> 16 & 0x1f) * 8), big_pte).unwrap();
        mem.write_u64(Phys::vram(0x6000 + (VA >> 12 & 0x1ff) * 8), small_pte).unwrap();
        walk(&mut mem, ROOT, VA).0
    }

    #[test]
    fn pages_of_each_size_and_kind_of_nothing() {
        let at = |page: Page| match page.target {
            Target::Page(phys, attr) => (page.shift, phys.addr, attr.kind),
            Target::Sparse => (page.shift, u64::MAX, 0),
        };
        let gone = |f| Err(Miss::plain(f));
        let cases = [
            ("2 MiB page", (0x20_0000 >> 4 | 1, NONE, 0, 0), Ok((21, 0x20_0000, 0))),
            ("64 KiB wins", (BIG, SMALL, 0x5_0000 >> 4 | 1, 1), Ok((16, 0x5_0000, 0))),
            ("4 KiB below", (BIG, SMALL, 0, 0x7000 >> 4 | 6 << 56 | 1), Ok((12, 0x7000, 6))),
            ("no 4 KiB table", (BIG, NONE, 0, 1), gone(FaultType::Pte)),
            ("64 KiB says no 4 KiB", (BIG, SMALL, PRIVILEGE, 1), gone(FaultType::Pte)),
            ("64 KiB sparse", (BIG, SMALL, VOL, 1), Ok((16, u64::MAX, 0))),
            ("4 KiB sparse", (NONE, SMALL, 0, VOL), Ok((12, u64::MAX, 0))),
            ("PD0 sparse", (VOL, NONE, 0, 0), Ok((21, u64::MAX, 0))),
            ("VOL with a table is not sparse", (VOL, SMALL, 0, 0), gone(FaultType::Pte)),
            ("nothing", (NONE, NONE, 0, 0), gone(FaultType::Pde)),
            ("invalid kind", (NONE, SMALL, 0, 7 << 56 | 1), gone(FaultType::UnsupportedKind)),
        ];
        for (name, (low, high, big, small), want) in cases {
            assert_eq!(run(low, high, big, small).map(at), want, "{name}");
        }
    }

    #[test]
    fn targets_no_driver_may_use() {
        let peer = run(NONE, SMALL, 0, 1 << 1 | 1).unwrap_err();
        assert_eq!(peer.fault, FaultType::UnsupportedAperture);
        assert!(peer.bad_target.is_some());
        let askew = run(BIG, NONE, 0x5_1000 >> 4 | 1, 0).unwrap_err();
        assert!(askew.bad_target.is_some());
        let far = run(NONE, (1 << 36) >> 4 | 1 << 1, 0, 0).unwrap_err();
        assert_eq!(far.fault, FaultType::Region);
        let limit = walk(&mut tables(0, 0), ROOT, 1 << VA_BITS).0.unwrap_err();
        assert_eq!(limit, Miss::plain(FaultType::VaLimit));
    }

    proptest::proptest! {
        #[test]
        fn any_tables_end_the_walk(words in proptest::collection::vec(0u64.., 512), va in 0u64..) {
            let mut mem = Memory::new(1 << 20).unwrap();
            for (i, word) in words.iter().enumerate() {
                // Half of the words point back into this page, as tables.
                let word = if i % 2 == 0 { (word & 0xff) << 8 | 2 } else { *word };
                mem.write_u64(Phys::vram(0x1000 + i as u64 * 8), word).unwrap();
            }
            let _ = walk(&mut mem, ROOT, va >> 15);
        }
    }
}
