// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The containers: NVIDIA's binary header with a heavy-secure, loader or RISC-V header behind it,
//! and ELF64 for GSP-RM.
//!
//! Files come from the user, so every offset is checked.

use anyhow::{Context, bail, ensure};

use super::{Booter, Bootloader, GspImage, Loader, Segment};

/// Magic of the binary header.
const BIN_MAGIC: u32 = 0x10de;
/// Most signatures that a heavy-secure header may claim.
const MOST_SIGNATURES: usize = 64;

/// `len` bytes at an offset.
fn bytes(file: &[u8], at: usize, len: usize) -> anyhow::Result<&[u8]> {
    at.checked_add(len)
        .and_then(|end| file.get(at..end))
        .with_context(|| format!("{len:#x} bytes at {at:#x} are past the end"))
}

/// `N` little-endian 32-bit words at an offset.
fn words<const N: usize>(file: &[u8], at: usize) -> anyhow::Result<[u32; N]> {
    let mut words = [0; N];
    for (word, raw) in words.iter_mut().zip(bytes(file, at, N * 4)?.chunks_exact(4)) {
        *word = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
    }
    Ok(words)
}

/// The word that a header's field points to.
fn pointed(file: &[u8], at: u32) -> anyhow::Result<u32> {
    Ok(words::<1>(file, at as usize)?[0])
}

/// The binary header: offset of the next header, and the data.
fn binary(file: &[u8]) -> anyhow::Result<(usize, &[u8])> {
    let [magic, version, _size, header, data, len] = words(file, 0)?;
    ensure!(magic == BIN_MAGIC && version == 1, "not an NVIDIA binary header");
    Ok((header as usize, bytes(file, data as usize, len as usize)?))
}

/// A segment that lies within the image.
fn segment(image: &[u8], offset: u32, len: u32) -> anyhow::Result<Segment> {
    bytes(image, offset as usize, len as usize)?;
    Ok(Segment { offset, len })
}

/// Heavy-secure microcode with a version 2 header.
pub(super) fn booter(file: &[u8]) -> anyhow::Result<Booter> {
    let (at, image) = binary(file)?;
    let [sigs, sigs_len, patch_loc, patch_sig, meta, _, count, load, _] = words(file, at)?;
    let (patch_loc, count) = (pointed(file, patch_loc)?, pointed(file, count)? as usize);
    let first = (sigs as usize).checked_add(pointed(file, patch_sig)? as usize);
    let first = first.context("signature offset")?;
    ensure!((1..=MOST_SIGNATURES).contains(&count), "{count} signatures");
    let len = sigs_len as usize / count;
    ensure!(len > 0 && sigs_len as usize % count == 0, "signatures of {sigs_len} / {count} bytes");
    let signatures = (0..count)
        .map(|n| Ok(bytes(file, first + n * len, len)?.to_vec()))
        .collect::<anyhow::Result<_>>()?;
    let [fuse_version, engine_id_mask, ucode_id] = words(file, meta as usize)?;
    let [code, code_len, data, data_len, apps, app, app_len] = words(file, load as usize)?;
    ensure!(apps >= 1, "no application");
    let data = segment(image, data, data_len)?;
    let slot = (patch_loc as usize).checked_add(len).context("signature slot")?;
    ensure!(
        patch_loc >= data.offset && slot <= (data.offset + data.len) as usize,
        "the signature slot is outside the data"
    );
    Ok(Booter {
        code: segment(image, code, code_len)?,
        app: segment(image, app, app_len)?,
        data,
        image: image.to_vec(),
        patch_loc,
        signatures,
        fuse_version,
        engine_id_mask,
        ucode_id,
    })
}

/// The RISC-V boot loader with its descriptor.
pub(super) fn bootloader(file: &[u8]) -> anyhow::Result<Bootloader> {
    let (at, image) = binary(file)?;
    let desc: [u32; 14] = words(file, at)?;
    Ok(Bootloader {
        image: image.to_vec(),
        app_version: desc[7],
        manifest_offset: desc[8],
        data_offset: desc[10],
        code_offset: desc[12],
    })
}

/// A generic falcon boot loader.
pub(super) fn loader(file: &[u8]) -> anyhow::Result<Loader> {
    let (at, image) = binary(file)?;
    let [start_tag, _, code, code_len] = words(file, at)?;
    let code = bytes(image, code as usize, code_len as usize)?.to_vec();
    Ok(Loader { code, start_tag })
}

/// GSP-RM: the image and one chip family's signature.
pub(super) fn gsp(file: &[u8], signature: &str) -> anyhow::Result<GspImage> {
    Ok(GspImage {
        image: section(file, ".fwimage")?.to_vec(),
        signature: section(file, signature)?.to_vec(),
    })
}

/// A 64-bit word.
fn word64(file: &[u8], at: usize) -> anyhow::Result<u64> {
    let [lo, hi] = words(file, at)?;
    Ok(u64::from(hi) << 32 | u64::from(lo))
}

/// An ELF64 file's section by name.
pub(super) fn section<'a>(file: &'a [u8], name: &str) -> anyhow::Result<&'a [u8]> {
    ensure!(bytes(file, 0, 6)? == b"\x7fELF\x02\x01", "not a little-endian ELF64 file");
    let table = usize::try_from(word64(file, 0x28)?)?;
    let [sizes, counts] = words(file, 0x38)?;
    let (entry, count) = ((sizes >> 16) as usize & 0xffff, (counts & 0xffff) as usize);
    let names = (counts >> 16) as usize;
    // e_shentsize is the half word at 0x3a, e_shnum at 0x3c, e_shstrndx at 0x3e.
    ensure!(entry >= 64, "section headers of {entry} bytes");
    let header = |n: usize| -> anyhow::Result<(usize, &[u8])> {
        let at = table.checked_add(n * entry).context("section header")?;
        let [name] = words(file, at)?;
        let offset = usize::try_from(word64(file, at.saturating_add(0x18))?)?;
        let len = usize::try_from(word64(file, at.saturating_add(0x20))?)?;
        Ok((name as usize, bytes(file, offset, len)?))
    };
    let (_, strings) = header(names)?;
    for n in 1..count {
        let (at, data) = header(n)?;
        let rest = strings.get(at..).unwrap_or_default();
        let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        if &rest[..end] == name.as_bytes() {
            return Ok(data);
        }
    }
    bail!("no section {name}")
}
