// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Block-linear memory: GOBs of 64 bytes by 8 rows, stacked into blocks.
//!
//! The order is that of Turing and later: blocks row by row, then by layer of slices; inside a
//! block GOBs run down first, then into the depth; inside a GOB 16-byte runs are interleaved.

/// Bytes in a GOB.
pub const GOB: usize = 512;
/// Bytes in a row of a GOB.
pub const GOB_WIDTH: u64 = 64;
/// Rows in a GOB.
pub const GOB_HEIGHT: u64 = 8;

/// Shape of a block-linear surface and the slice of it that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLinear {
    /// Width in bytes.
    pub width: u64,
    /// Height in rows.
    pub height: u32,
    /// Block height, log2 of GOBs (at most 5).
    pub block_height: u32,
    /// Block depth, log2 of GOBs (at most 5).
    pub block_depth: u32,
    /// Slice.
    pub layer: u32,
}

impl BlockLinear {
    /// Offset of the GOB that holds byte `x` of row `y`; wraps for absurd surfaces.
    pub fn gob(&self, x: u64, y: u64) -> u64 {
        let (bh, bd) = (self.block_height & 7, self.block_depth & 7);
        let block_rows = GOB_HEIGHT << bh;
        let columns = self.width.div_ceil(GOB_WIDTH);
        let rows = u64::from(self.height).div_ceil(block_rows);
        let z = u64::from(self.layer);
        let block = (z >> bd)
            .wrapping_mul(rows)
            .wrapping_add(y / block_rows)
            .wrapping_mul(columns)
            .wrapping_add(x / GOB_WIDTH);
        let slice = z & ((1 << bd) - 1);
        let gob_in_block = (slice << bh) + y % block_rows / GOB_HEIGHT;
        block.wrapping_mul((GOB as u64) << (bh + bd)).wrapping_add(gob_in_block * GOB as u64)
    }
}

/// Offset in a GOB of byte `x` (taken modulo 64) of row `y` (modulo 8).
pub const fn in_gob(x: u64, y: u64) -> usize {
    let offset = ((x & 0x20) << 3)
        | ((y & 4) << 5)
        | ((x & 0x10) << 2)
        | ((y & 2) << 4)
        | ((y & 1) << 4)
        | (x & 0xf);
    offset as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gob_order() {
        // Bit by bit, by the hardware order: x5 b8, y2 b7, x4 b6, y1 b5, y0 b4, x3:0.
        let cases = [(1, 0, 1), (8, 0, 8), (16, 0, 64), (32, 0, 256), (0, 1, 16), (0, 2, 32)];
        for (x, y, want) in cases.into_iter().chain([(0, 4, 128), (63, 7, 511)]) {
            assert_eq!(in_gob(x, y), want, "{x},{y}");
        }
        let mut seen = [false; GOB];
        for y in 0..8 {
            for x in 0..64 {
                assert!(!std::mem::replace(&mut seen[in_gob(x, y)], true));
            }
        }
    }

    #[test]
    fn blocks_run_down_then_right_then_deep() {
        let s = BlockLinear { width: 128, height: 32, block_height: 1, block_depth: 1, layer: 0 };
        let block = 512 * 4;
        assert_eq!(s.gob(0, 8), 512);
        assert_eq!(s.gob(64, 0), block);
        assert_eq!(s.gob(0, 16), 2 * block);
        assert_eq!(BlockLinear { layer: 1, ..s }.gob(0, 0), 1024);
        assert_eq!(BlockLinear { layer: 2, ..s }.gob(0, 0), 4 * block);
    }

    #[test]
    fn absurd_surfaces_wrap() {
        let s = BlockLinear {
            width: u64::from(u32::MAX) * 16,
            height: u32::MAX,
            block_height: 5,
            block_depth: 5,
            layer: u32::MAX,
        };
        s.gob(s.width, u64::from(u32::MAX));
    }
}
