// SPDX-License-Identifier: GPL-2.0

//! An image for a falcon, in the one form that all sources are brought into.
//!
//! The booters come from files, FWSEC from the VBIOS, each in two formats. Once here, the sections
//! are known to lie inside the image and to be made of whole 256-byte blocks where the hardware
//! wants blocks, so that loading has nothing left to doubt.

use kernel::prelude::*;

use crate::bytes::Malformed;

/// Unit of the falcon's memories and of its DMA.
pub(crate) const BLOCK: u32 = 256;

/// A part of an image and its place in one of the falcon's memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Offset in the image.
    pub(crate) source: u32,
    /// Offset in the falcon's memory.
    pub(crate) target: u32,
    /// Length in bytes.
    pub(crate) len: u32,
}

impl Section {
    fn check(&self, image: usize, what: &'static str) -> Result<(), Malformed> {
        /// Larger than the memories of any falcon, and small enough for sums not to overflow.
        const LIMIT: u32 = 1 << 24;

        let fits = self.len <= LIMIT
            && self.source <= LIMIT
            && self.target <= LIMIT
            && (self.source + self.len) as usize <= image;

        if fits && self.len % 4 == 0 && self.source % 4 == 0 && self.target % BLOCK == 0 {
            Ok(())
        } else {
            Err(Malformed(what))
        }
    }
}

/// What the boot ROM must be told to verify an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Brom {
    /// Offset of the signature in data memory.
    pub(crate) signature: u32,
    /// Engines that the image is signed for: 0x1 SEC2, 0x4 NVDEC, 0x400 GSP.
    pub(crate) engines: u32,
    /// Number of the image among those signed for the engine, from 1.
    pub(crate) ucode_id: u8,
}

/// The small program that fetches an image into a Turing falcon.
pub(crate) struct Loader {
    /// Its code, in whole blocks.
    pub(crate) code: KVec<u8>,
    /// Virtual block number it is linked to.
    pub(crate) tag: u16,
}

/// Sections of an image, as the source describes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Code that is not signed and starts the signed part.
    pub(crate) plain: Option<Section>,
    /// Signed code.
    pub(crate) secure: Section,
    /// Data.
    pub(crate) data: Section,
}

/// An image, ready to be loaded.
pub(crate) struct Ucode {
    /// Name for messages.
    pub(crate) name: &'static str,
    /// The bytes, signature and arguments in place.
    pub(crate) image: KVVec<u8>,
    /// Where they go.
    pub(crate) parts: Parts,
    /// For the boot ROM, on chips that have one.
    pub(crate) brom: Option<Brom>,
    /// For images that the host does not load itself.
    pub(crate) loader: Option<Loader>,
    entry: u32,
}

impl Ucode {
    /// Takes an image over after checking its sections.
    pub(crate) fn new(
        name: &'static str,
        mut image: KVVec<u8>,
        parts: Parts,
        entry: u32,
        brom: Option<Brom>,
        loader: Option<Loader>,
    ) -> Result<Self> {
        // DMA fetches whole blocks; let the last one not run out of the image.
        let padded = image.len().next_multiple_of(BLOCK as usize);
        image.resize(padded, 0, GFP_KERNEL)?;

        parts.check(image.len())?;
        Ok(Self {
            name,
            image,
            parts,
            brom,
            loader,
            entry,
        })
    }

    /// Where the core starts.
    pub(crate) fn entry(&self) -> u32 {
        match &self.loader {
            Some(loader) => u32::from(loader.tag) * BLOCK,
            None => self.entry,
        }
    }

    /// The bytes of a section.
    pub(crate) fn bytes(&self, section: &Section) -> Result<&[u8]> {
        let start = section.source as usize;

        self.image
            .get(start..start + section.len as usize)
            .ok_or(EINVAL)
    }
}

impl Parts {
    fn check(&self, image: usize) -> Result<(), Malformed> {
        if let Some(plain) = &self.plain {
            plain.check(image, "unsigned code outside the image")?;
        }
        self.secure.check(image, "signed code outside the image")?;
        self.data.check(image, "data outside the image")
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_ucode)]
mod tests {
    use super::*;

    #[test]
    fn sections_stay_inside() {
        let section = |source, target, len| Section {
            source,
            target,
            len,
        };
        let ok = |s: Section| s.check(0x400, "x").is_ok();

        assert!(ok(section(0, 0, 0x400)));
        assert!(ok(section(0x100, 0x300, 0x80)));
        assert!(!ok(section(0x100, 0, 0x400)));
        assert!(!ok(section(u32::MAX, 0, 4)));
        assert!(!ok(section(4, 0, u32::MAX)));
        assert!(!ok(section(0, 0, 0x3f)));
        assert!(!ok(section(0, 0x80, 0x40)));
    }
}
