// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The synthetic VBIOS.

use crate::chip::Chip;

/// Builds the ROM image of a chip.
pub fn build(_chip: &Chip) -> Vec<u8> {
    Vec::new()
}

/// Reads a 32-bit word of the PROM window (BAR0 0x300000); past the image it is erased flash as
/// this board has it, zero.
pub fn read(_image: &[u8], _off: u32) -> u32 {
    0
}
