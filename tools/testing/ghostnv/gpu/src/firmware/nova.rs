// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Converts linux-firmware's files to what this kernel's nova-core asks for.
//!
//! nova-core wants tagged records ("NVFW", then a four-letter tag, a length, and the value padded
//! to four bytes) and GSP-RM as a raw image, files that no distribution ships yet.

use std::path::Path;

use anyhow::Context;

use crate::chip::{Arch, CHIPS, Chip};

use super::{Booter, FirmwareSet, RELEASE};

/// Writes the `.tlv` files and `gsp.bin` of every chip whose firmware is below `nvidia` to
/// `out/nvidia/<chip>/gsp`.
pub fn nova(nvidia: &Path, out: &Path) -> anyhow::Result<()> {
    for chip in CHIPS {
        let set = FirmwareSet::load(nvidia, chip)?;
        let dir = out.join("nvidia").join(chip.name).join("gsp");
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for (name, bytes) in files(chip, &set)? {
            let path = dir.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

/// All files of a chip.
fn files(chip: &Chip, set: &FirmwareSet) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let boot = &set.bootloader;
    let mut gsp = Tlv::new();
    gsp.number(b"SIZE", u32::try_from(set.gsp.image.len())?);
    gsp.value(b"FILE", b"gsp.bin")?;
    gsp.value(b"SIGN", &set.gsp.signature)?;
    let mut bootloader = Tlv::new();
    bootloader.number(b"CDOF", boot.code_offset);
    bootloader.number(b"DAOF", boot.data_offset);
    bootloader.number(b"MFOF", boot.manifest_offset);
    bootloader.number(b"APPV", boot.app_version);
    bootloader.value(b"BLOB", &boot.image)?;
    let mut files = vec![
        ("gsp.bin", set.gsp.image.clone()),
        ("gsp.tlv", gsp.0),
        ("gsp_bootloader.tlv", bootloader.0),
        ("booter_load.tlv", booter(&set.booter_load)?),
        ("booter_unload.tlv", booter(&set.booter_unload)?),
    ];
    if chip.arch == Arch::Turing {
        let loader = set.loaders.first().context("no generic boot loader")?;
        let mut tlv = Tlv::new();
        tlv.number(b"CDSZ", u32::try_from(loader.code.len())?);
        tlv.number(b"STRT", loader.start_tag);
        tlv.value(b"BLOB", &loader.code)?;
        files.push(("gen_bootloader.tlv", tlv.0));
    }
    Ok(files)
}

/// booter_load or booter_unload.
fn booter(booter: &Booter) -> anyhow::Result<Vec<u8>> {
    let mut tlv = Tlv::new();
    tlv.number(b"DAOF", booter.data.offset);
    tlv.number(b"DASZ", booter.data.len);
    tlv.number(b"CDOF", booter.code.offset);
    tlv.number(b"CDSZ", booter.code.len);
    tlv.number(b"PLOC", booter.patch_loc);
    tlv.number(b"FUSE", booter.fuse_version);
    tlv.number(b"ENID", booter.engine_id_mask);
    tlv.number(b"UCID", booter.ucode_id);
    tlv.number(b"A0CO", booter.app.offset);
    tlv.number(b"A0CS", booter.app.len);
    tlv.number(b"NSIG", u32::try_from(booter.signatures.len())?);
    tlv.value(b"SIGN", &booter.signatures.concat())?;
    tlv.value(b"BLOB", &booter.image)?;
    Ok(tlv.0)
}

/// A file under construction; every file starts with its version.
struct Tlv(Vec<u8>);

impl Tlv {
    fn new() -> Self {
        let mut tlv = Self(b"NVFW".to_vec());
        tlv.put(b"VERS", RELEASE.len() as u32, RELEASE.as_bytes());
        tlv
    }

    fn number(&mut self, tag: &[u8; 4], value: u32) {
        self.put(tag, 4, &value.to_le_bytes());
    }

    fn value(&mut self, tag: &[u8; 4], value: &[u8]) -> anyhow::Result<()> {
        let len = u32::try_from(value.len()).context("a value of 4 GiB or more")?;
        self.put(tag, len, value);
        Ok(())
    }

    fn put(&mut self, tag: &[u8; 4], len: u32, value: &[u8]) {
        self.0.extend_from_slice(tag);
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_padded_and_counted() {
        let mut tlv = Tlv::new();
        tlv.number(b"ABCD", 0x1234);
        tlv.value(b"BLOB", &[1, 2, 3, 4, 5]).expect("short");
        let expected = b"NVFWVERS\x07\0\0\x00570.144\0ABCD\x04\0\0\0\x34\x12\0\0BLOB\x05\0\0\0\x01\x02\x03\x04\x05\0\0\0";
        assert_eq!(tlv.0, expected);
    }
}
