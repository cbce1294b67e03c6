// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Firmware files as linux-firmware ships them, for comparison and conversion.
//!
//! The high-secure microcode of a real card verifies signatures. The model cannot, and compares
//! what the driver loaded with these files instead: what is equal to what NVIDIA signed would pass.

mod nova;
mod parse;

#[cfg(test)]
pub(crate) mod tests;

pub use nova::nova;

use std::path::Path;

use anyhow::Context;

use crate::chip::{Arch, Chip};

/// The firmware release that the model plays.
pub const RELEASE: &str = "570.144";

/// A part of a microcode image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the image.
    pub offset: u32,
    /// Length.
    pub len: u32,
}

/// High-secure microcode for SEC2: booter_load or booter_unload.
#[derive(Debug, Clone)]
pub struct Booter {
    /// All segments.
    pub image: Vec<u8>,
    /// Non-secure code; only Turing loads it.
    pub code: Segment,
    /// Secure code; its offset is also its virtual address.
    pub app: Segment,
    /// Data, loaded to DMEM 0.
    pub data: Segment,
    /// Where in the image the signature goes.
    pub patch_loc: u32,
    /// The signatures, newest fuse version first.
    pub signatures: Vec<Vec<u8>>,
    /// Fuse version of the first signature.
    pub fuse_version: u32,
    /// Boot ROM parameter.
    pub engine_id_mask: u32,
    /// Boot ROM parameter.
    pub ucode_id: u32,
}

impl Booter {
    /// A segment's bytes; parsing checked that segments lie within the image.
    pub fn bytes(&self, segment: Segment) -> &[u8] {
        let from = segment.offset as usize;
        self.image.get(from..from + segment.len as usize).unwrap_or_default()
    }

    /// The signature that a card accepts whose fuse counter is still zero: the last.
    pub fn signature(&self) -> &[u8] {
        self.signatures.last().map(Vec::as_slice).unwrap_or_default()
    }
}

/// The boot loader on the GSP's RISC-V core.
#[derive(Debug, Clone)]
pub struct Bootloader {
    /// The whole image, which booter copies to VRAM.
    pub image: Vec<u8>,
    /// Where its code starts.
    pub code_offset: u32,
    /// Where its data starts.
    pub data_offset: u32,
    /// Where its manifest starts.
    pub manifest_offset: u32,
    /// Version that the driver leaves in the OS register.
    pub app_version: u32,
}

/// The generic falcon boot loader (Turing).
#[derive(Debug, Clone)]
pub struct Loader {
    /// Its code.
    pub code: Vec<u8>,
    /// Virtual block number that it starts at.
    pub start_tag: u32,
}

/// GSP-RM itself.
#[derive(Debug, Clone)]
pub struct GspImage {
    /// The ELF file's `.fwimage`.
    pub image: Vec<u8>,
    /// The signature section for this chip.
    pub signature: Vec<u8>,
}

/// The parsed files of one chip.
#[derive(Debug, Clone)]
pub struct FirmwareSet {
    /// `booter_load`.
    pub booter_load: Booter,
    /// `booter_unload`.
    pub booter_unload: Booter,
    /// `bootloader`.
    pub bootloader: Bootloader,
    /// `gen_bootloader`, and the older copy of it that nouveau takes from `acr`.
    pub loaders: Vec<Loader>,
    /// `gsp`.
    pub gsp: GspImage,
}

/// The signature section's name for a chip.
fn signature_section(chip: &Chip) -> &'static str {
    match chip.arch {
        Arch::Turing => ".fwsignature_tu10x",
        Arch::Ampere => ".fwsignature_ga10x",
        Arch::Ada => ".fwsignature_ad10x",
    }
}

impl FirmwareSet {
    /// Reads a chip's files below `nvidia` (`/lib/firmware/nvidia`).
    pub fn load(nvidia: &Path, chip: &Chip) -> anyhow::Result<Self> {
        let dir = nvidia.join(chip.name);
        let file = |name: &str| dir.join("gsp").join(format!("{name}-{RELEASE}.bin"));
        let mut loaders = Vec::new();
        if chip.arch == Arch::Turing {
            for path in [file("gen_bootloader"), dir.join("acr/bl.bin")] {
                if path.exists() {
                    loaders.push(with(&path, parse::loader)?);
                }
            }
        }
        Ok(Self {
            booter_load: with(&file("booter_load"), parse::booter)?,
            booter_unload: with(&file("booter_unload"), parse::booter)?,
            bootloader: with(&file("bootloader"), parse::bootloader)?,
            loaders,
            gsp: with(&file("gsp"), |bytes| parse::gsp(bytes, signature_section(chip)))?,
        })
    }
}

/// Reads and parses a file.
fn with<T>(path: &Path, parse: impl Fn(&[u8]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("firmware file {}", path.display()))
}
