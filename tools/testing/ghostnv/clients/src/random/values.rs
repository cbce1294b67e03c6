// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers that kernels get wrong: those at borders, and any others.

use crate::prng::Prng;
use crate::uapi::raw::{Arena, Argument};

/// Where clients map things; as many pages of 64 KiB.
pub const BASE: u64 = 0x1_0000_0000;
/// Pages from [`BASE`] on.
pub const PAGES: u64 = 64;
/// Bytes of a page.
pub const PAGE: u64 = 1 << 16;

const BORDERS: [u64; 12] =
    [0, 1, 0xfff, 0x1000, 1 << 16, 1 << 21, 1 << 31, 1 << 32, 1 << 39, 1 << 40, 1 << 47, 1 << 63];

/// Something at or beside a border, or anything.
pub fn any(prng: &mut Prng) -> u64 {
    let border = BORDERS[prng.index(BORDERS.len())];
    match prng.below(8) {
        0 => u64::MAX.wrapping_sub(border),
        1 => border.wrapping_sub(1),
        2 => border.wrapping_sub(0x1000),
        3 => border + 1,
        4 => prng.word(),
        5 => prng.size(1 << 40),
        _ => border,
    }
}

/// A number that is likely one of the first `few`.
pub fn few(prng: &mut Prng, few: u64) -> u32 {
    if prng.below(16) == 0 { any(prng) as u32 } else { prng.below(few) as u32 }
}

/// Bits of which only some mean something.
pub fn flags(prng: &mut Prng, known: u32) -> u32 {
    if prng.below(16) == 0 { any(prng) as u32 } else { prng.word() as u32 & known }
}

/// A GPU address that likely is where clients map things.
pub fn address(prng: &mut Prng) -> u64 {
    match prng.below(16) {
        0 => any(prng),
        1 => BASE + prng.below(PAGE * PAGES),
        _ => BASE + PAGE * prng.below(PAGES),
    }
}

/// Bytes of something that likely is small.
pub fn length(prng: &mut Prng) -> u64 {
    match prng.below(32) {
        0 => any(prng),
        1 => prng.size(1 << 26),
        2 => 0,
        _ => 0x1000 << prng.below(9),
    }
}

/// Where a list is: mostly in the arena, else where there is nothing.
pub fn pointer(prng: &mut Prng, arena: &Arena, offset: usize) -> u64 {
    match prng.below(24) {
        // What this is, is mapped nowhere: the first page, the end of either half, the kernel's.
        0 => [0, 8, 0x7fff_ffff_f000, 0x8000_0000_0000, 0xffff_8880_0000_0000, u64::MAX - 7]
            [prng.index(6)],
        1 => arena.address(Arena::SIZE - 8),
        2 => arena.address(offset + 1),
        _ => arena.address(offset),
    }
}

/// Changes one place of an argument.
pub fn mutate(prng: &mut Prng, argument: &mut Argument) {
    let bytes = argument.bytes();
    if bytes.len() < 8 {
        return;
    }
    let at = prng.index(bytes.len() - 7) & !3;
    match prng.below(3) {
        0 => bytes[at] ^= 1 << prng.below(8),
        1 => bytes[at..at + 4].copy_from_slice(&(any(prng) as u32).to_le_bytes()),
        _ => bytes[at..at + 8].copy_from_slice(&any(prng).to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_and_their_neighbours_come() {
        let mut prng = Prng::new(3);
        let seen: Vec<u64> = (0..10_000).map(|_| any(&mut prng)).collect();
        for wanted in [0, 1, 0xffe, 0x1000, 0x1001, (1 << 47) - 0x1000, u64::MAX, u64::MAX - 0xfff]
        {
            assert!(seen.contains(&wanted), "{wanted:#x}");
        }
    }

    #[test]
    fn a_mutation_changes_eight_bytes_at_most() {
        let mut prng = Prng::new(4);
        for _ in 0..1000 {
            let mut argument = Argument::new().raw(&[0x55; 40]);
            mutate(&mut prng, &mut argument);
            let changed = argument.bytes().iter().filter(|b| **b != 0x55).count();
            assert!(changed <= 8);
        }
    }
}
