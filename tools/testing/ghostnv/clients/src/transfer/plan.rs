// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buffer operations: what they are, how they are chosen, and what they do to the shadow.
//!
//! The shadow is the CPU's own idea of every buffer's bytes. Nothing here knows of Vulkan, so
//! the arithmetic is tested without it.

use std::fmt;

use crate::prng::Prng;

/// Most bytes that vkCmdUpdateBuffer takes.
pub const MOST_UPDATE: u64 = 65536;

/// Most bytes of the small operations, which are three in four.
const MOST_SMALL: u64 = 70_000;

/// Sizes at which copy hardware and page tables change their ways: words, sectors, GOBs, pages.
pub const EDGES: &[u64] = &[
    1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 60, 63, 64, 65, 127, 128, 129, 255, 256,
    257, 511, 512, 513, 1023, 1025, 2047, 2049, 4095, 4096, 4097, 8191, 8193, 16383, 16385, 32767,
    32769, 65535, 65536, 65537, 131_071, 262_145, 1_048_573, 2_097_151, 2_097_153, 4_194_305,
    8_388_611, 16_777_213,
];

/// One operation on buffers, named by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Repeats a word; without a size, to the end of the buffer.
    Fill {
        /// Destination.
        dst: usize,
        /// First byte, a multiple of 4.
        offset: u64,
        /// Length, a multiple of 4.
        size: Option<u64>,
        /// What to repeat.
        word: u32,
    },
    /// Writes bytes that travel with the command.
    Update {
        /// Destination.
        dst: usize,
        /// First byte, a multiple of 4.
        offset: u64,
        /// Bytes, a multiple of 4 of them.
        data: Vec<u8>,
    },
    /// Copies (source, destination, size) ranges.
    Copy {
        /// Source.
        src: usize,
        /// Destination.
        dst: usize,
        /// Ranges that do not touch each other.
        regions: Vec<(u64, u64, u64)>,
    },
}

impl Op {
    /// A random operation on buffers of the given sizes.
    pub fn random(prng: &mut Prng, sizes: &[u64]) -> Op {
        let dst = prng.index(sizes.len());
        let most = if prng.below(4) == 0 { u64::MAX } else { MOST_SMALL };
        match prng.below(4) {
            0 => fill(prng, sizes, dst, most),
            1 => update(prng, sizes, dst),
            _ => {
                let src = prng.index(sizes.len());
                let size = prng.size(sizes[src].min(sizes[dst]).min(most));
                copy(prng, sizes, src, dst, size)
            }
        }
    }

    /// One operation of each kind at a given size.
    pub fn table(prng: &mut Prng, sizes: &[u64], size: u64) -> Vec<Op> {
        let mut ops = Vec::new();
        let room: Vec<usize> = (0..sizes.len()).filter(|&i| sizes[i] >= size + 16).collect();
        let Some(&largest) = room.first() else { return ops };
        let other = room[prng.index(room.len())];
        ops.push(copy(prng, sizes, largest, other, size));
        ops.push(copy(prng, sizes, other, largest, size));
        let words = size.div_ceil(4) * 4;
        let offset = prng.below((sizes[other] - words) / 4 + 1) * 4;
        ops.push(Op::Fill { dst: other, offset, size: Some(words), word: prng.word() as u32 });
        if words <= MOST_UPDATE {
            let offset = prng.below((sizes[largest] - words) / 4 + 1) * 4;
            ops.push(Op::Update { dst: largest, offset, data: prng.bytes(words as usize) });
        }
        ops
    }

    /// Does it to the shadow.
    pub fn apply(&self, shadow: &mut [Vec<u8>]) {
        for (offset, size) in self.writes(shadow) {
            let at = offset as usize..(offset + size) as usize;
            match self {
                Op::Fill { dst, word, .. } => {
                    let words = shadow[*dst][at].chunks_exact_mut(4);
                    words.for_each(|w| w.copy_from_slice(&word.to_le_bytes()));
                }
                Op::Update { dst, data, .. } => shadow[*dst][at].copy_from_slice(data),
                Op::Copy { .. } => {}
            }
        }
        if let Op::Copy { src, dst, regions } = self {
            let mut target = std::mem::take(&mut shadow[*dst]);
            for &(from, to, size) in regions {
                let from = from as usize..(from + size) as usize;
                if src == dst {
                    target.copy_within(from, to as usize);
                } else {
                    target[to as usize..(to + size) as usize].copy_from_slice(&shadow[*src][from]);
                }
            }
            shadow[*dst] = target;
        }
    }

    /// The buffer it writes.
    pub fn target(&self) -> usize {
        match self {
            Op::Fill { dst, .. } | Op::Update { dst, .. } | Op::Copy { dst, .. } => *dst,
        }
    }

    /// The (offset, size) ranges it writes.
    fn writes(&self, shadow: &[Vec<u8>]) -> Vec<(u64, u64)> {
        self.ranges(|buffer| shadow[buffer].len() as u64)
    }

    fn ranges(&self, size_of: impl Fn(usize) -> u64) -> Vec<(u64, u64)> {
        match self {
            Op::Fill { dst, offset, size, .. } => {
                vec![(*offset, size.unwrap_or((size_of(*dst) - offset) / 4 * 4))]
            }
            Op::Update { offset, data, .. } => vec![(*offset, data.len() as u64)],
            Op::Copy { regions, .. } => regions.iter().map(|&(_, to, size)| (to, size)).collect(),
        }
    }

    /// Bytes it writes.
    pub fn bytes(&self, sizes: &[u64]) -> u64 {
        self.ranges(|buffer| sizes[buffer]).iter().map(|(_, size)| size).sum()
    }

    /// Whether it writes the byte at `offset` of `buffer`.
    pub fn covers(&self, sizes: &[u64], buffer: usize, offset: u64) -> bool {
        let hit = |&(start, size): &(u64, u64)| (start..start + size).contains(&offset);
        self.target() == buffer && self.ranges(|b| sizes[b]).iter().any(hit)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Fill { dst, offset, size, word } => {
                write!(f, "fill buffer {dst} at {offset:#x} size {size:x?} with {word:#010x}")
            }
            Op::Update { dst, offset, data } => {
                write!(f, "update buffer {dst} at {offset:#x} size {:#x}", data.len())
            }
            Op::Copy { src, dst, regions } => {
                write!(f, "copy buffer {src} to {dst}: (from, to, size) {regions:x?}")
            }
        }
    }
}

fn fill(prng: &mut Prng, sizes: &[u64], dst: usize, most: u64) -> Op {
    let words = sizes[dst] / 4;
    let offset = prng.below(words);
    let word = prng.word() as u32;
    let size = (prng.below(8) != 0).then(|| prng.size((words - offset).min(most / 4)) * 4);
    Op::Fill { dst, offset: offset * 4, size, word }
}

fn update(prng: &mut Prng, sizes: &[u64], dst: usize) -> Op {
    let words = sizes[dst] / 4;
    let count = prng.size(words.min(MOST_UPDATE / 4));
    let offset = prng.below(words - count + 1);
    Op::Update { dst, offset: offset * 4, data: prng.bytes((count * 4) as usize) }
}

/// A copy of up to `size` bytes at any offsets, in one or in several regions.
fn copy(prng: &mut Prng, sizes: &[u64], src: usize, dst: usize, size: u64) -> Op {
    // Within one buffer source and destination take a half each, so that they cannot overlap.
    let (size, from, to) = if src == dst {
        let half = sizes[src] / 2;
        let size = size.min(half);
        let (low, high) = (prng.below(half - size + 1), half + prng.below(half - size + 1));
        if prng.below(2) == 0 { (size, low, high) } else { (size, high, low) }
    } else {
        (size, prng.below(sizes[src] - size + 1), prng.below(sizes[dst] - size + 1))
    };
    let pieces = if size >= 16 && prng.below(3) == 0 { 2 + prng.below(3) } else { 1 };
    let mut regions = Vec::new();
    let mut start = 0;
    for piece in 0..pieces {
        let end = if piece + 1 == pieces { size } else { start + prng.below(size - start) };
        if end > start {
            regions.push((from + start, to + start, end - start));
        }
        start = end;
    }
    Op::Copy { src, dst, regions }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: &[u64] = &[70_004, 4100, 9999];

    /// Each region lies inside its buffers; nothing overlaps; alignment is what Vulkan asks.
    fn legal(op: &Op) -> bool {
        let inside = |buffer: usize, at: u64, size: u64| size > 0 && at + size <= SIZES[buffer];
        match op {
            Op::Fill { dst, offset, size, .. } => {
                offset % 4 == 0
                    && size.is_none_or(|s| s % 4 == 0 && inside(*dst, *offset, s))
                    && *offset < SIZES[*dst]
            }
            Op::Update { dst, offset, data } => {
                let size = data.len() as u64;
                offset % 4 == 0
                    && size % 4 == 0
                    && size <= MOST_UPDATE
                    && inside(*dst, *offset, size)
            }
            Op::Copy { src, dst, regions } => {
                let overlap = |a: u64, b: u64, size: u64| a < b + size && b < a + size;
                !regions.is_empty()
                    && regions.iter().all(|&(from, to, size)| {
                        inside(*src, from, size)
                            && inside(*dst, to, size)
                            && (src != dst || !overlap(from, to, size))
                    })
                    && regions.windows(2).all(|w| w[0].1 + w[0].2 <= w[1].1)
            }
        }
    }

    #[test]
    fn plans_are_legal() {
        let mut prng = Prng::new(3);
        for _ in 0..20_000 {
            let op = Op::random(&mut prng, SIZES);
            assert!(legal(&op), "{op}");
        }
        for &size in EDGES {
            for op in Op::table(&mut prng, SIZES, size) {
                assert!(legal(&op), "{op}");
            }
        }
    }

    #[test]
    fn the_shadow_follows_by_the_byte() {
        let mut shadow = vec![vec![1u8; 10], (0..8).collect()];
        Op::Copy { src: 1, dst: 0, regions: vec![(1, 3, 2), (7, 9, 1)] }.apply(&mut shadow);
        assert_eq!(shadow[0], [1, 1, 1, 1, 2, 1, 1, 1, 1, 7]);
        Op::Copy { src: 0, dst: 0, regions: vec![(3, 0, 2)] }.apply(&mut shadow);
        assert_eq!(shadow[0], [1, 2, 1, 1, 2, 1, 1, 1, 1, 7]);
        // Without a size a fill ends at the last whole word.
        Op::Fill { dst: 0, offset: 4, size: None, word: 0x0403_0201 }.apply(&mut shadow);
        assert_eq!(shadow[0], [1, 2, 1, 1, 1, 2, 3, 4, 1, 7]);
        let update = Op::Update { dst: 1, offset: 4, data: vec![9; 4] };
        update.apply(&mut shadow);
        assert_eq!(shadow[1], [0, 1, 2, 3, 9, 9, 9, 9]);
        assert!(update.covers(&[10, 8], 1, 7) && !update.covers(&[10, 8], 1, 3));
        assert_eq!(update.bytes(&[10, 8]), 4);
    }
}
