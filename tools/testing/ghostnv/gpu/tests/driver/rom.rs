// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finds FWSEC in the card's ROM.

use super::{Card, Result, get32};

/// Bytes of ROM that are looked at.
const LOOK: usize = 0x8000;
/// Bytes of a version 3 descriptor, and of each signature behind it.
const DESCRIPTOR: usize = 44;
const SIGNATURE: usize = 384;

/// FWSEC as the ROM has it.
pub struct Fwsec {
    pub imem: Vec<u8>,
    pub dmem: Vec<u8>,
    pub signatures: Vec<Vec<u8>>,
    pub signature_at: u32,
    pub interface_at: u32,
    pub engine_id_mask: u32,
    pub ucode_id: u32,
}

fn half(rom: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(rom[at..at + 2].try_into().unwrap()))
}

/// Code type and length of the image at `at`.
fn image(rom: &[u8], at: usize) -> Result<(u8, usize)> {
    if rom[at..at + 2] != [0x55, 0xaa] {
        return Err(format!("no image at {at:#x} of the ROM"));
    }
    let pcir = at + half(rom, at + 0x18);
    if &rom[pcir..pcir + 4] != b"PCIR" {
        return Err("no PCI data structure".into());
    }
    Ok((rom[pcir + 0x14], half(rom, pcir + 0x10) * 512))
}

/// Reads the ROM and finds FWSEC by the lookup table that BIT's token 'p' leads to.
pub fn fwsec(card: &mut Card) -> Result<Fwsec> {
    let rom: Vec<u8> =
        (0..LOOK as u32).step_by(4).flat_map(|o| card.rd(0x30_0000 + o).to_le_bytes()).collect();
    let (_, first) = image(&rom, 0)?;
    let mut at = first;
    while image(&rom, at)?.0 != 0xe0 {
        at += image(&rom, at)?.1;
    }
    let fwsec = &rom[at..];
    let bit = rom.windows(5).position(|w| w == b"\xff\xb8BIT").ok_or("no BIT")?;
    let (header, size, count) =
        (rom[bit + 8] as usize, rom[bit + 9] as usize, rom[bit + 10] as usize);
    let token = (0..count)
        .map(|i| bit + header + i * size)
        .find(|t| rom[*t] == b'p')
        .ok_or("BIT has no token p")?;
    let table = get32(&rom, half(&rom, token + 4)) as usize - first;
    let (header, size, count) =
        (fwsec[table + 1] as usize, fwsec[table + 2] as usize, fwsec[table + 3] as usize);
    let entry = (0..count)
        .map(|i| table + header + i * size)
        .find(|e| fwsec[*e] == 0x85)
        .ok_or("no FWSEC in the lookup table")?;
    Ok(descriptor(&fwsec[get32(fwsec, entry + 2) as usize - first..]))
}

fn descriptor(d: &[u8]) -> Fwsec {
    let word = |n: usize| get32(d, n * 4);
    let count = d[0x27] as usize;
    let signatures = (0..count)
        .map(|n| DESCRIPTOR + n * SIGNATURE)
        .map(|s| d[s..s + SIGNATURE].to_vec())
        .collect();
    let code = (word(0) >> 16) as usize;
    let data = code + word(5) as usize;
    Fwsec {
        imem: d[code..data].to_vec(),
        dmem: d[data..data + word(8) as usize].to_vec(),
        signatures,
        signature_at: word(2),
        interface_at: word(3),
        engine_id_mask: half(d, 0x24) as u32,
        ucode_id: d[0x26].into(),
    }
}
