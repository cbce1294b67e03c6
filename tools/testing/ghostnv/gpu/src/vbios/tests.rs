// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Walks the ROM the way the two upstream drivers' checks demand.

use super::*;
use crate::chip::CHIPS;

fn u16_at(rom: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([rom[at], rom[at + 1]]))
}

fn u32_at(rom: &[u8], at: usize) -> usize {
    u32::from_le_bytes([rom[at], rom[at + 1], rom[at + 2], rom[at + 3]]) as usize
}

/// Start, length and code type of every image of the chain, which must end with the ROM.
fn chain(rom: &[u8]) -> Vec<(usize, usize, u8)> {
    let mut images = Vec::new();
    let mut base = 0;
    loop {
        assert_eq!(u16_at(rom, base), 0xaa55);
        let pcir = base + u16_at(rom, base + 0x18);
        assert!(pcir + 24 <= base + 1024);
        assert_eq!(&rom[pcir..pcir + 4], b"PCIR");
        assert_eq!(u16_at(rom, pcir + 4), 0x10de);
        let npde = (pcir + u16_at(rom, pcir + 10) + 15) & !15;
        assert_eq!(&rom[npde..npde + 4], b"NPDE");
        let len = u16_at(rom, npde + 8) * 512;
        assert_eq!(len, u16_at(rom, pcir + 16) * 512);
        assert_eq!(rom[npde + 10], rom[pcir + 21]);
        images.push((base, len, rom[pcir + 20]));
        base += len;
        if rom[npde + 10] & 0x80 != 0 {
            assert_eq!(base, rom.len());
            return images;
        }
    }
}

/// Resolves a VBIOS address.
fn resolve(images: &[(usize, usize, u8)], addr: usize) -> usize {
    let (_, first, _) = images[0];
    let fwsec = images.iter().find(|i| i.2 == 0xe0).unwrap().0;
    addr.checked_sub(first).map(|off| off + fwsec).expect("an address past the legacy image")
}

/// Descriptor offset, from the BIT table on.
fn descriptor(rom: &[u8]) -> usize {
    let images = chain(rom);
    let bit = rom.windows(6).position(|w| w == b"\xff\xb8BIT\x00").unwrap();
    let token = (0..usize::from(rom[bit + 10]))
        .map(|i| bit + usize::from(rom[bit + 8]) + i * usize::from(rom[bit + 9]))
        .find(|t| rom[*t] == b'p')
        .unwrap();
    assert!(rom[token + 1] == 2 && u16_at(rom, token + 2) >= 4);
    let table = resolve(&images, u32_at(rom, u16_at(rom, token + 4)));
    let entry = (0..usize::from(rom[table + 3]))
        .map(|i| table + usize::from(rom[table + 1]) + i * usize::from(rom[table + 2]))
        .find(|e| rom[*e] == 0x85)
        .unwrap();
    resolve(&images, u32_at(rom, entry + 2))
}

#[test]
fn both_drivers_find_fwsec() {
    for chip in CHIPS {
        let rom = build(chip);
        let images = chain(&rom);
        assert_eq!(images.iter().map(|i| i.2).collect::<Vec<_>>(), [0, 3, 0xe0, 0xe0]);
        let sum = rom[..images[0].1].iter().fold(0u8, |s, b| s.wrapping_add(*b));
        assert_eq!(sum, 0);

        let at = descriptor(&rom);
        let header = u32_at(&rom, at);
        assert_eq!(header & 1, 1);
        let ucode = at + (header >> 16);
        let fwsec = Fwsec::new(chip);
        let (imem, dmem, dmem_at) = match header >> 8 & 0xff {
            2 => {
                assert_eq!(header >> 16, 60);
                (u32_at(&rom, at + 0x18), u32_at(&rom, at + 0x30), u32_at(&rom, at + 0x28))
            }
            3 => {
                let count = usize::from(rom[at + 0x27]);
                assert_eq!(header >> 16, 0x2c + 384 * count);
                assert_eq!(u16_at(&rom, at + 0x28).count_ones() as usize, count);
                assert_eq!(&rom[at + 0x2c..at + 0x2c + 384], fwsec.signatures[0]);
                let imem = u32_at(&rom, at + 0x14);
                (imem, u32_at(&rom, at + 0x20), imem)
            }
            other => panic!("descriptor version {other}"),
        };
        assert!(imem % 256 == 0 && dmem % 256 == 0 && dmem_at == imem);
        assert_eq!(&rom[ucode..ucode + imem], fwsec.imem);
        assert_eq!(&rom[ucode + imem..ucode + imem + dmem], fwsec.dmem);
    }
}

#[test]
fn dmem_mapper_is_where_the_interface_says() {
    for chip in CHIPS {
        let dmem = Fwsec::new(chip).dmem;
        let table = Fwsec::INTERFACE as usize;
        assert_eq!(dmem[table], 1);
        let mapper = (0..usize::from(dmem[table + 3]))
            .map(|i| table + usize::from(dmem[table + 1]) + i * usize::from(dmem[table + 2]))
            .find(|e| u32_at(&dmem, *e) == 4)
            .map(|e| u32_at(&dmem, e + 4))
            .unwrap();
        assert_eq!(&dmem[mapper..mapper + 4], b"DMAP");
        assert_eq!(u16_at(&dmem, mapper + 4), 3);
        let (buffer, len) = (u32_at(&dmem, mapper + 8), u32_at(&dmem, mapper + 12));
        assert!(len >= 44 && buffer + len <= dmem.len());
    }
}

#[test]
fn prom_reads_zero_past_the_image() {
    let rom = [1, 2, 3, 4, 5];
    assert_eq!(read(&rom, 0), 0x0403_0201);
    assert_eq!(read(&rom, 2), 0x0403_0201);
    assert_eq!(read(&rom, 4), 5);
    assert_eq!(read(&rom, 8), 0);
    assert_eq!(read(&rom, u32::MAX), 0);
}
