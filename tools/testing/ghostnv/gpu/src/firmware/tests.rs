// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fabricated firmware, and parsers that must survive anything.

use proptest::prelude::*;

use super::*;
use crate::chip::CHIPS;

/// Little-endian bytes of words.
fn le(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A heavy-secure file: 0x100 bytes of non-secure code, `app` blocks of secure code, 0x200 bytes of
/// data, signatures of `len` bytes.
fn hs_file(seed: u8, signatures: u32, len: u32) -> Vec<u8> {
    let (app, data) = (0x200u32, 0x200u32);
    let (sigs, tables) = (0x3c, 0x3c + signatures * len);
    let image = tables + 12 + 12 + 28 + 8;
    let mut file = le(&[0x10de, 1, 0, 0x18, image, 0x100 + app + data]);
    file.extend(le(&[
        sigs,
        signatures * len,
        tables,
        tables + 4,
        tables + 12,
        12,
        tables + 8,
        tables + 24,
        36,
    ]));
    file.extend((0..signatures).flat_map(|n| vec![seed ^ 0xa0 ^ n as u8; len as usize]));
    file.extend(le(&[0x100 + app + 0x10, 0, signatures, 1, 1, 3]));
    file.extend(le(&[0, 0x100, 0x100 + app, data, 1, 0x100, app, 0, 0]));
    file.extend(
        (0..0x100 + app + data).map(|n| (n as u8).wrapping_mul(31) ^ (n >> 8) as u8 ^ seed),
    );
    file
}

/// A small set of firmware with the real files' structure.
pub(crate) fn fabricate(chip: &Chip) -> FirmwareSet {
    let (n, len) = if chip.arch == Arch::Turing { (1, 16) } else { (2, 384) };
    let noise = |len: usize, seed: u32| -> Vec<u8> {
        (0..len as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8)
            .collect()
    };
    FirmwareSet {
        booter_load: parse::booter(&hs_file(1, n, len)).expect("well-formed"),
        booter_unload: parse::booter(&hs_file(2, n, len)).expect("well-formed"),
        bootloader: Bootloader {
            image: noise(0x1000, 5),
            code_offset: 0x800,
            data_offset: 0x400,
            manifest_offset: 0,
            app_version: 1,
        },
        loaders: vec![Loader { code: noise(0x200, 6), start_tag: 0xfd }],
        // Needs two level 2 pages, and ends within a page as Turing's does.
        gsp: GspImage { image: noise(515 * 4096 + 0xea0, 7), signature: noise(0x1000, 8) },
    }
}

#[test]
fn heavy_secure_header_is_read() {
    let booter = parse::booter(&hs_file(1, 2, 384)).expect("well-formed");
    assert_eq!(booter.code, Segment { offset: 0, len: 0x100 });
    assert_eq!(booter.app, Segment { offset: 0x100, len: 0x200 });
    assert_eq!(booter.data, Segment { offset: 0x300, len: 0x200 });
    assert_eq!((booter.patch_loc, booter.signatures.len()), (0x310, 2));
    assert_eq!(booter.signature(), [0xa0; 384]);
    assert_eq!((booter.fuse_version, booter.engine_id_mask, booter.ucode_id), (1, 1, 3));
}

#[test]
fn elf_sections_are_found_by_name() {
    let mut file = vec![0; 0x40];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[0x28] = 0x60;
    file[0x3a] = 64;
    file[0x3c] = 3;
    file[0x3e] = 2;
    file.extend(b"\0.fwimage\0.shstrtab\0............");
    for (name, offset, len) in [(0, 0, 0), (1, 0x54, 4), (10, 0x40, 20)] {
        file.extend(le(&[name, 1, 0, 0, 0, 0, offset, 0, len, 0, 0, 0, 0, 0, 0, 0]));
    }
    assert_eq!(parse::section(&file, ".fwimage").expect("there"), b"....");
    assert!(parse::section(&file, ".fw").is_err());
}

/// With `GHOSTNV_FIRMWARE=/lib/firmware/nvidia`, the real files.
#[test]
fn real_files_parse_if_there() {
    let Some(dir) = std::env::var_os("GHOSTNV_FIRMWARE") else { return };
    for chip in CHIPS {
        let set = FirmwareSet::load(Path::new(&dir), chip).expect("firmware");
        assert_eq!(set.gsp.signature.len(), 0x1000);
        assert_eq!(set.booter_load.app.offset, 0x100);
        assert_eq!(set.loaders.is_empty(), chip.arch != Arch::Turing);
        assert!(set.loaders.iter().all(|l| l.start_tag == 0xfd));
    }
}

proptest! {
    #[test]
    fn parsers_survive_flipped_bytes(
        edits in prop::collection::vec((0usize..0x3f0, any::<u8>()), 1..8),
        cut in 0usize..0x1000,
    ) {
        let mut file = hs_file(1, 2, 384);
        for (at, byte) in edits {
            file[at] = byte;
        }
        file.truncate(cut.max(1));
        let _ = parse::booter(&file);
        let _ = parse::bootloader(&file);
        let _ = parse::loader(&file);
        let mut elf = file;
        let head = elf.len().min(6);
        elf[..head].copy_from_slice(&b"\x7fELF\x02\x01"[..head]);
        let _ = parse::gsp(&elf, ".fwsignature_ga10x");
    }
}
