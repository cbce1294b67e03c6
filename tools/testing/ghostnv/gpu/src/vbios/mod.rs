// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ROM behind the PROM window: a chain of PCI expansion ROM images.
//!
//! A board's ROM holds a legacy image with the BIT table, an EFI image, and two FWSEC images (code
//! type 0xE0). BIT token `p` points to the PMU lookup table, whose application 0x85 is FWSEC: a
//! falcon microcode with a descriptor, which the driver runs on the GSP to set WPR2 up. Pointers
//! count as if the first FWSEC image followed the legacy one directly, which is why an EFI image
//! lies between them here: a parser that forgets the rule must fail.
//!
//! Only what drivers read is filled in. The microcode itself is noise from a fixed seed, because
//! the model never executes it but compares what was loaded with what this ROM holds.

mod fwsec;

#[cfg(test)]
mod tests;

pub use fwsec::{Fwsec, SIGNATURE_LEN};

use crate::chip::{Arch, Chip};

/// Unit of image lengths.
const BLOCK: usize = 512;
/// Blocks of the legacy image, whose length pointers into the FWSEC images include.
const LEGACY_BLOCKS: usize = 2;
/// Where the PCI data structure is in every image.
const PCIR: usize = 0x40;
/// Where NVIDIA's extension of it is: 16-byte aligned after it.
const NPDE: usize = 0x60;
/// The PMU lookup table, from the first FWSEC image's start.
const PMU_TABLE: usize = 0x80;

/// Code types of a PCI expansion ROM image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum CodeType {
    Legacy = 0x00,
    Efi = 0x03,
    Fwsec = 0xe0,
}

/// Builds the ROM image of a chip.
pub fn build(chip: &Chip) -> Vec<u8> {
    let fwsec = Fwsec::new(chip);
    let mut microcode = image(chip, CodeType::Fwsec, 0x80 + fwsec.len(), true);
    fwsec.write(&mut microcode[0x80..]);
    // The descriptor is in the second FWSEC image, right after the one-block first.
    let descriptor = (LEGACY_BLOCKS + 1) * BLOCK + 0x80;

    let mut rom = legacy(chip);
    rom.extend(image(chip, CodeType::Efi, BLOCK, false));
    rom.extend(lookup(chip, descriptor as u32));
    rom.extend(microcode);
    rom
}

/// Reads a 32-bit word of the PROM window at `off`; past the image it reads zero.
pub fn read(image: &[u8], off: u32) -> u32 {
    let at = (off & !3) as usize;
    let mut word = [0; 4];
    if let Some(bytes) = image.get(at..).filter(|b| !b.is_empty()) {
        let n = bytes.len().min(4);
        word[..n].copy_from_slice(&bytes[..n]);
    }
    u32::from_le_bytes(word)
}

/// Puts bytes at an offset of a ROM under construction; the layout is fixed, so it always fits.
fn put(rom: &mut [u8], at: usize, bytes: &[u8]) {
    rom[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An image of at least `len` bytes with its headers.
fn image(chip: &Chip, code: CodeType, len: usize, last: bool) -> Vec<u8> {
    let blocks = len.div_ceil(BLOCK);
    let mut rom = vec![0; blocks * BLOCK];
    let last = if last { 0x80 } else { 0 };
    let [blocks_lo, blocks_hi] = (blocks as u16).to_le_bytes();
    let [device_lo, device_hi] = chip.device_id.to_le_bytes();

    put(&mut rom, 0, &[0x55, 0xaa, blocks_lo]);
    put(&mut rom, 0x18, &(PCIR as u16).to_le_bytes());
    put(&mut rom, PCIR, b"PCIR\xde\x10");
    put(&mut rom, PCIR + 6, &[device_lo, device_hi]);
    // Length 24, revision 0, class 0x030000.
    put(&mut rom, PCIR + 10, &[0x18, 0, 0, 0, 0, 3]);
    put(&mut rom, PCIR + 16, &[blocks_lo, blocks_hi, 0, 0, code as u8, last]);
    // Revision 1.0, length 11, the sub-image's length, last-image flag.
    put(&mut rom, NPDE, b"NPDE\x00\x01\x0b\x00");
    put(&mut rom, NPDE + 8, &[blocks_lo, blocks_hi, last]);
    rom
}

/// The legacy image: BIT header, tokens and their data, and a byte sum of zero.
fn legacy(chip: &Chip) -> Vec<u8> {
    const BIT: usize = 0x80;
    const VERSION: u16 = 0xb0;
    const FALCON_DATA: u16 = 0xa0;
    let mut rom = image(chip, CodeType::Legacy, LEGACY_BLOCKS * BLOCK, false);
    // Version 1.00, header 12 bytes, tokens 6 bytes, two of them.
    put(&mut rom, BIT, b"\xff\xb8BIT\x00\x00\x01\x0c\x06\x02\x00");
    token(&mut rom, BIT + 12, b'i', 5, VERSION);
    token(&mut rom, BIT + 18, b'p', 4, FALCON_DATA);
    let table = (LEGACY_BLOCKS * BLOCK + PMU_TABLE) as u32;
    put(&mut rom, FALCON_DATA.into(), &table.to_le_bytes());
    // Micro, minor, chip, major, patch.
    let (chip_byte, major) = match chip.arch {
        Arch::Turing => (0x02, 0x90),
        Arch::Ampere => (0x02, 0x94),
        Arch::Ada => (0x02, 0x95),
    };
    put(&mut rom, VERSION.into(), &[0x00, 0x00, chip_byte, major, 0x42]);

    let sum = rom.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
    if let Some(end) = rom.last_mut() {
        *end = sum.wrapping_neg();
    }
    rom
}

/// A BIT token of data version 2.
fn token(rom: &mut [u8], at: usize, id: u8, len: u16, data: u16) {
    put(rom, at, &[id, 2]);
    put(rom, at + 2, &len.to_le_bytes());
    put(rom, at + 4, &data.to_le_bytes());
}

/// The first FWSEC image: the PMU lookup table with FWSEC's descriptor address.
fn lookup(chip: &Chip, descriptor: u32) -> Vec<u8> {
    let mut rom = image(chip, CodeType::Fwsec, BLOCK, false);
    // Version 1, header 4 bytes, entries 6 bytes, two of them: application, target, address.
    put(&mut rom, PMU_TABLE, &[1, 4, 6, 2]);
    // An application that drivers of the GSP do not use comes first, as on real boards.
    put(&mut rom, PMU_TABLE + 4, &[0x07, 0x01, 0, 0, 0, 0]);
    put(&mut rom, PMU_TABLE + 10, &[0x85, 0x01]);
    put(&mut rom, PMU_TABLE + 12, &descriptor.to_le_bytes());
    rom
}
