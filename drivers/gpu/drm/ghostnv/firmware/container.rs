// SPDX-License-Identifier: GPL-2.0

//! The container that linux-firmware's NVIDIA files use, and three kinds of contents.
//!
//! A header of six words (magic 0x10de, version, size, offset of a second header, offset and size
//! of the payload) leads to a second header whose kind only the name of the file tells:
//!
//! * a signed ("HS") image: nine words, most of them offsets *of words* that hold the value;
//! * a loader: `start_tag`, then offsets and sizes of its code and data;
//! * GSP's bootloader: `RM_RISCV_UCODE_DESC` of open-gpu-kernel-modules.
//!
//! The layouts are those of nouveau's `include/nvfw/{fw,hs}.h`.

use kernel::prelude::*;

use crate::bytes::{
    add,
    put,
    Bytes,
    Malformed, //
};

use crate::{
    falcon::{
        Brom,
        Loader,
        Parts,
        Section,
        Ucode,
        BLOCK, //
    },
    gpu::{
        chip::Images,
        Hw, //
    },
    regs::falcon::Sec2, //
};

/// A file cut into its second header, which is addressed from the file's start, and its payload.
struct Container<'a> {
    file: Bytes<'a>,
    header: u32,
    payload: &'a [u8],
}

impl<'a> Container<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, Malformed> {
        const MAGIC: u32 = 0x10de;

        let file = Bytes(file);
        if file.u32(0, "no header")? != MAGIC {
            return Err(Malformed("no NVIDIA firmware header"));
        }

        let payload = file.u32(16, "no payload offset")?;
        let size = file.u32(20, "no payload size")?;
        Ok(Self {
            file,
            header: file.u32(12, "no header offset")?,
            payload: file.slice(payload, size, "payload outside the file")?,
        })
    }

    /// Word `n` of the second header.
    fn word(&self, n: u32, what: &'static str) -> Result<u32, Malformed> {
        let at = n.checked_mul(4).ok_or(Malformed(what))?;

        self.file.u32(add(self.header, at, what)?, what)
    }

    /// The word that word `n` of the second header points to.
    fn pointed(&self, n: u32, what: &'static str) -> Result<u32, Malformed> {
        self.file.u32(self.word(n, what)?, what)
    }
}

/// An image for SEC2 with the signatures of which one must be put into it.
#[derive(Debug)]
pub(crate) struct HsImage<'a> {
    image: &'a [u8],
    signatures: &'a [u8],
    count: u32,
    /// Bytes of one of them.
    size: u32,
    /// Where in the image the signature goes.
    patch: u32,
    parts: Parts,
    entry: u32,
    /// Version that the image counts its signatures down from.
    version: u32,
    brom: Brom,
}

impl<'a> HsImage<'a> {
    /// Reads a signed image.
    pub(crate) fn parse(file: &'a [u8], images: Images) -> Result<Self, Malformed> {
        const PART: &str = "load header outside the file";

        let c = Container::parse(file)?;
        let patch = c.pointed(2, "no patch location")?;
        let signature = add(
            c.word(0, "no signatures")?,
            c.pointed(3, "no signature offset")?,
            "signatures outside the file",
        )?;
        let all = c.word(1, "no signature size")?;
        let signatures = c
            .file
            .slice(signature, all, "signatures outside the file")?;
        let count = c.pointed(6, "no signature count")?;
        let size = match all.checked_div(count) {
            Some(size) if size != 0 && size * count == all => size,
            _ => return Err(Malformed("signatures of no size")),
        };
        let meta = c.word(4, "no signature metadata")?;
        let load = c.file.tail(c.word(7, PART)?, PART)?;

        if load.u32(16, PART)? == 0 {
            return Err(Malformed("no signed code"));
        }

        let os_code = Section {
            source: 0,
            target: load.u32(0, PART)?,
            len: load.u32(4, PART)?,
        };
        let app = load.u32(20, PART)?;
        let (plain, secure_at, entry) = match images {
            Images::Loader => (Some(os_code), app, os_code.target),
            // The boot ROM starts the signed code, which is loaded alone but keeps its address.
            Images::BootRom => (None, 0, app),
        };
        let data = load.u32(8, PART)?;

        Ok(Self {
            image: c.payload,
            signatures,
            count,
            size,
            patch,
            parts: Parts {
                plain,
                secure: Section {
                    source: app,
                    target: secure_at,
                    len: load.u32(24, PART)?,
                },
                data: Section {
                    source: data,
                    target: 0,
                    len: load.u32(12, PART)?,
                },
            },
            entry,
            version: c.file.u32(meta, "no version")?,
            brom: Brom {
                signature: patch
                    .checked_sub(data)
                    .ok_or(Malformed("signature not in the data"))?,
                engines: c.file.u32(add(meta, 4, "no engine")?, "no engine")?,
                ucode_id: c
                    .file
                    .u8(add(meta, 8, "no image number")?, "no image number")?,
            },
        })
    }

    /// The signature for a chip whose fuses let run versions from `fuse` on.
    ///
    /// Signatures stand newest first, so that the last one is for a chip with no fuse burnt.
    fn signature(&self, fuse: u32) -> Result<&'a [u8], Malformed> {
        const NONE: &str = "no signature for this chip's fuses";

        let index = match fuse {
            0 => self.count - 1,
            fuse => self.version.checked_sub(fuse).ok_or(Malformed(NONE))?,
        };
        let size = self.size;

        Bytes(self.signatures).slice(index.checked_mul(size).ok_or(Malformed(NONE))?, size, NONE)
    }

    /// The image with the signature that this chip wants.
    pub(crate) fn ucode(&self, hw: Hw<'_>, name: &'static str) -> Result<Ucode> {
        let fuse = <dyn crate::falcon::Hal<Sec2>>::fuse_version(hw.chip.hal.sec2, hw, &self.brom)?;
        let mut image = KVVec::new();

        image.extend_from_slice(self.image, GFP_KERNEL)?;
        self.signature(fuse)
            .and_then(|s| put(&mut image, self.patch, s, "signature outside the image"))
            .map_err(|Malformed(what)| {
                dev_err!(hw.dev, "{name}: {what}\n");
                EINVAL
            })?;
        Ucode::new(name, image, self.parts, self.entry, Some(self.brom), None)
    }
}

/// Reads a loader: its code, and the block it is linked to.
pub(super) fn parse_loader(file: &[u8]) -> Result<(&[u8], u16), Malformed> {
    let c = Container::parse(file)?;
    let code = Bytes(c.payload).slice(
        c.word(2, "no code offset")?,
        c.word(3, "no code size")?,
        "code outside the payload",
    )?;
    let tag = u16::try_from(c.word(0, "no start tag")?)
        .map_err(|_| Malformed("start tag outside instruction memory"))?;

    Ok((code, tag))
}

/// A loader of its own memory, in whole blocks.
pub(super) fn loader(code: &[u8], tag: u16) -> Result<Loader> {
    let mut own = KVec::new();

    own.extend_from_slice(code, GFP_KERNEL)?;
    own.resize(code.len().next_multiple_of(BLOCK as usize), 0, GFP_KERNEL)?;
    Ok(Loader { code: own, tag })
}

/// Where in GSP's bootloader its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootloaderInfo {
    /// Version to be left in the falcon's `OS` register.
    pub(crate) app_version: u32,
    /// Offset of the manifest, which the boot ROM verifies.
    pub(crate) manifest: u32,
    /// Offset of the data of its monitor.
    pub(crate) data: u32,
    /// Offset of the code of its monitor.
    pub(crate) code: u32,
}

/// GSP's bootloader.
pub(crate) struct Bootloader {
    /// The image.
    pub(crate) image: KVVec<u8>,
    /// Its parts.
    pub(crate) info: BootloaderInfo,
}

impl Bootloader {
    pub(super) fn parse(file: &[u8]) -> Result<(&[u8], BootloaderInfo), Malformed> {
        const PART: &str = "bootloader header outside the file";

        let c = Container::parse(file)?;
        let info = BootloaderInfo {
            app_version: c.word(7, PART)?,
            manifest: c.word(8, PART)?,
            data: c.word(10, PART)?,
            code: c.word(12, PART)?,
        };
        let size = c.payload.len();

        if [info.manifest, info.data, info.code]
            .iter()
            .any(|&offset| offset as usize >= size)
        {
            return Err(Malformed("part of the bootloader outside its image"));
        }
        Ok((c.payload, info))
    }

    pub(super) fn new(code: &[u8], info: BootloaderInfo) -> Result<Self> {
        let mut image = KVVec::new();

        image.extend_from_slice(code, GFP_KERNEL)?;
        Ok(Self { image, info })
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_container)]
mod tests {
    use super::*;

    const PAYLOAD: usize = 0x100;

    /// A file whose second header (at 0x18) is `header`, with further words at 0x60.
    fn file(header: &[u32], further: &[u32]) -> Result<KVec<u8>> {
        let mut file = KVec::from_elem(0u8, PAYLOAD + 0x400, GFP_KERNEL)?;
        let head = [0x10de, 1, 0x500, 0x18, 0x100, 0x400];
        let mut words = |at: usize, words: &[u32]| {
            for (to, word) in file.chunks_mut(4).skip(at / 4).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        };

        words(0, &head);
        words(0x18, header);
        words(0x60, further);
        Ok(file)
    }

    /// Two signatures of 16 bytes at 0xe0, for versions 2 and 1.
    fn signed() -> Result<KVec<u8>> {
        let mut file = file(
            &[0xe0, 32, 0x60, 0x64, 0x6c, 12, 0x68, 0x78, 36],
            &[
                // Patch location and offset, count; version, engine, number.
                0x210, 0, 2, 2, 1, 3, // Code, data, one application.
                0, 0x100, 0x200, 0x180, 1, 0x100, 0x100, 0, 0,
            ],
        )?;

        file[0xe0] = 0xa2;
        file[0xf0] = 0xa1;
        Ok(file)
    }

    #[test]
    fn signed_image_for_both_generations() -> Result {
        let file = signed()?;
        let new = HsImage::parse(&file, Images::BootRom)?;
        let old = HsImage::parse(&file, Images::Loader)?;
        let app = |target| Section {
            source: 0x100,
            target,
            len: 0x100,
        };

        assert_eq!(new.parts.secure, app(0));
        assert_eq!(new.entry, 0x100);
        assert_eq!(new.brom.signature, 0x10);
        assert_eq!((new.brom.engines, new.brom.ucode_id), (1, 3));
        assert_eq!(old.parts.secure, app(0x100));
        assert_eq!(old.parts.plain.map(|plain| plain.len), Some(0x100));
        assert_eq!(old.entry, 0);
        Ok(())
    }

    #[test]
    fn signature_follows_the_fuses() -> Result {
        let file = signed()?;
        let image = HsImage::parse(&file, Images::BootRom)?;
        let first = |fuse| image.signature(fuse).map(|bytes| bytes[0]);

        assert_eq!(first(0), Ok(0xa1));
        assert_eq!(first(1), Ok(0xa1));
        assert_eq!(first(2), Ok(0xa2));
        assert!(first(3).is_err());
        Ok(())
    }

    #[test]
    fn damage_is_survived() -> Result {
        let mut file = signed()?;

        for at in 0..PAYLOAD {
            let good = file[at];

            file[at] = 0xff;
            if let Ok(image) = HsImage::parse(&file, Images::Loader) {
                let _ = image.signature(0);
            }
            file[at] = good;
            assert!(HsImage::parse(&file[..at], Images::Loader).is_err());
        }
        Ok(())
    }

    #[test]
    fn loader_code_and_tag() -> Result {
        let good = file(&[0xfd, 0, 0, 0x200, 0x200, 0x100], &[])?;
        let far = file(&[0x10000, 0, 0, 0x200, 0, 0], &[])?;
        let long = file(&[0xfd, 0, 0x201, 0x200, 0, 0], &[])?;

        assert_eq!(
            parse_loader(&good).map(|(code, tag)| (code.len(), tag)),
            Ok((0x200, 0xfd))
        );
        assert!(parse_loader(&far).is_err());
        assert!(parse_loader(&long).is_err());
        Ok(())
    }

    #[test]
    fn bootloader_parts() -> Result {
        let header = [5, 0, 0, 0, 0, 0, 0, 9, 0, 0x80, 0x80, 0x100, 0x180, 0x200];
        let good = file(&header, &[])?;
        let (image, info) = Bootloader::parse(&good)?;

        assert_eq!(image.len(), 0x400);
        assert_eq!(
            (info.app_version, info.manifest, info.data, info.code),
            (9, 0, 0x80, 0x180)
        );

        let mut bad = header;
        bad[12] = 0x400;
        assert!(Bootloader::parse(&file(&bad, &[])?).is_err());
        Ok(())
    }
}
