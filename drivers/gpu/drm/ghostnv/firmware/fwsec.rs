// SPDX-License-Identifier: GPL-2.0

//! FWSEC: the signed program in the VBIOS that may protect video memory.
//!
//! It runs on GSP's falcon and takes its command from a structure in its own data, the "DMEM
//! mapper". Two commands matter: FRTS sets up the first megabyte of the protected region with data
//! from the VBIOS before GSP-RM boots, SB completes a GPU's shutdown after it. The descriptor has
//! two versions, 2 up to GA100 and 3 from GA102 on, which carries its signatures along.
//!
//! Layouts after `kernel_gsp_fwsec.c` in open-gpu-kernel-modules.

use core::ops::Range;

use kernel::prelude::*;

use crate::{
    bytes::{
        add,
        put,
        Bytes,
        Malformed, //
    },
    falcon::{
        Brom,
        Hal,
        Parts,
        Section,
        Ucode, //
    },
    gpu::Hw,
    regs::falcon::Gsp,
    vbios::Vbios, //
};

/// Bytes of a signature: RSA with 3072 bits.
const SIGNATURE: u32 = 384;

/// What FWSEC is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Fill and protect this range of video memory.
    Frts(Range<u64>),
    /// Finish the shutdown.
    Sb,
}

/// FWSEC as found in the VBIOS, without signature or command.
pub(crate) struct Fwsec {
    image: KVVec<u8>,
    layout: Layout,
    signatures: KVVec<u8>,
}

/// What the descriptor says.
#[derive(Clone, Copy, Debug)]
struct Layout {
    parts: Parts,
    /// Offset of the table of interfaces in the data.
    interfaces: u32,
    brom: Option<Brom>,
    /// Versions for which there is a signature, one bit each.
    versions: u16,
}

/// The descriptor and what belongs to it.
struct Found<'a> {
    layout: Layout,
    signatures: &'a [u8],
    image: &'a [u8],
}

impl<'a> Found<'a> {
    fn parse(rom: Bytes<'a>) -> Result<Self, Malformed> {
        const SHORT: &str = "FWSEC descriptor outside the ROM";

        let head = rom.u32(0, SHORT)?;
        let size = head >> 16;

        if head & 1 == 0 {
            return Err(Malformed("FWSEC descriptor without version"));
        }

        let word = |at| rom.u32(at, SHORT);
        let (layout, signatures) = match (head >> 8) & 0xff {
            2 => (Self::version_2(word)?, &[][..]),
            3 => {
                let count = u32::from(rom.u8(0x27, SHORT)?);

                (
                    Self::version_3(rom, word)?,
                    rom.slice(
                        0x2c,
                        count * SIGNATURE,
                        "FWSEC's signatures outside the ROM",
                    )?,
                )
            }
            _ => return Err(Malformed("unknown version of FWSEC's descriptor")),
        };
        let data = &layout.parts.data;
        let len = add(data.source, data.len, "FWSEC's data are too long")?;

        Ok(Self {
            layout,
            signatures,
            image: rom.slice(size, len, "FWSEC reaches past the ROM")?,
        })
    }

    fn version_2(word: impl Fn(u32) -> Result<u32, Malformed>) -> Result<Layout, Malformed> {
        const ODD: &str = "sizes of FWSEC's code contradict each other";

        let (base, load, virt) = (word(0x14)?, word(0x18)?, word(0x1c)?);
        let secure_len = word(0x24)?;
        // The descriptor gives a virtual address, of which only the distance counts.
        let secure = word(0x20)?.checked_sub(virt).ok_or(Malformed(ODD))?;

        Ok(Layout {
            parts: Parts {
                plain: Some(Section {
                    source: 0,
                    target: base,
                    len: load.checked_sub(secure_len).ok_or(Malformed(ODD))?,
                }),
                secure: Section {
                    source: secure,
                    target: add(base, secure, ODD)?,
                    len: secure_len,
                },
                data: Section {
                    source: word(0x28)?,
                    target: word(0x2c)?,
                    len: word(0x30)?,
                },
            },
            interfaces: word(0x10)?,
            brom: None,
            versions: 0,
        })
    }

    fn version_3(
        rom: Bytes<'_>,
        word: impl Fn(u32) -> Result<u32, Malformed>,
    ) -> Result<Layout, Malformed> {
        const SHORT: &str = "FWSEC descriptor outside the ROM";

        let load = word(0x14)?;

        Ok(Layout {
            parts: Parts {
                plain: None,
                secure: Section {
                    source: 0,
                    target: word(0x10)?,
                    len: load,
                },
                data: Section {
                    source: load,
                    target: word(0x1c)?,
                    len: word(0x20)?,
                },
            },
            interfaces: word(0xc)?,
            brom: Some(Brom {
                signature: word(0x8)?,
                engines: rom.u16(0x24, SHORT)?.into(),
                ucode_id: rom.u8(0x26, SHORT)?,
            }),
            versions: rom.u16(0x28, SHORT)?,
        })
    }
}

impl Fwsec {
    /// Finds FWSEC in the VBIOS and copies it out.
    pub(crate) fn find(hw: Hw<'_>, vbios: &Vbios) -> Result<Self> {
        let found = explain(hw, vbios.fwsec().and_then(Found::parse))?;
        let mut fwsec = Self {
            image: KVVec::new(),
            layout: found.layout,
            signatures: KVVec::new(),
        };

        fwsec.image.extend_from_slice(found.image, GFP_KERNEL)?;
        fwsec
            .signatures
            .extend_from_slice(found.signatures, GFP_KERNEL)?;
        Ok(fwsec)
    }

    /// FWSEC ready to carry out a command.
    pub(crate) fn ucode(&self, hw: Hw<'_>, command: &Command) -> Result<Ucode> {
        let name = match command {
            Command::Frts(_) => "FWSEC-FRTS",
            Command::Sb => "FWSEC-SB",
        };
        let mut image = KVVec::new();

        image.extend_from_slice(&self.image, GFP_KERNEL)?;
        explain(hw, write_command(&mut image, &self.layout, command))?;
        if let Some(brom) = &self.layout.brom {
            let fuse = <dyn Hal<Gsp>>::fuse_version(hw.chip.hal.gsp, hw, brom)?;
            let signature = explain(hw, signature(&self.signatures, self.layout.versions, fuse))?;

            explain(
                hw,
                write_signature(&mut image, &self.layout, brom, signature),
            )?;
        }

        Ucode::new(
            name,
            image,
            self.layout.parts,
            0,
            self.layout.brom,
            super::fwsec_loader(hw)?,
        )
    }
}

fn explain<T>(hw: Hw<'_>, result: Result<T, Malformed>) -> Result<T> {
    result.map_err(|Malformed(what)| {
        dev_err!(hw.dev, "VBIOS: {what}\n");
        EINVAL
    })
}

/// The signature for a chip whose highest burnt fuse is number `fuse`.
fn signature(all: &[u8], versions: u16, fuse: u32) -> Result<&[u8], Malformed> {
    const NONE: Malformed = Malformed("FWSEC has no signature for this chip's fuses");

    let bit = 1u16.checked_shl(fuse).ok_or(NONE)?;
    if versions & bit == 0 {
        return Err(NONE);
    }

    // One signature for each version, lowest first.
    let index = (versions & (bit - 1)).count_ones();

    Bytes(all).slice(index * SIGNATURE, SIGNATURE, NONE.0)
}

fn write_signature(
    image: &mut [u8],
    layout: &Layout,
    brom: &Brom,
    signature: &[u8],
) -> Result<(), Malformed> {
    const OUTSIDE: &str = "FWSEC's signature belongs outside its data";

    let at = add(layout.parts.data.source, brom.signature, OUTSIDE)?;
    put(image, at, signature, OUTSIDE)
}

/// Puts a command where FWSEC looks for it.
fn write_command(image: &mut [u8], layout: &Layout, command: &Command) -> Result<(), Malformed> {
    const OUTSIDE: &str = "FWSEC's command belongs outside its data";
    const MAPPER: u32 = 4;
    const INIT_COMMAND: u32 = 0x2c;
    const FRTS: u32 = 0x15;
    const SB: u32 = 0x19;

    let data = layout.parts.data.source;
    let bytes = Bytes(image);
    let interfaces = add(data, layout.interfaces, OUTSIDE)?;
    let table = bytes.tail(interfaces, OUTSIDE)?;

    if table.u8(0, OUTSIDE)? != 1 {
        return Err(Malformed("unknown version of FWSEC's interfaces"));
    }

    let first = u32::from(table.u8(1, OUTSIDE)?);
    let size = u32::from(table.u8(2, OUTSIDE)?);
    let count = u32::from(table.u8(3, OUTSIDE)?);
    let entry = (0..count)
        .filter_map(|n| table.tail(first + n * size, OUTSIDE).ok())
        .find(|entry| entry.u32(0, OUTSIDE) == Ok(MAPPER))
        .ok_or(Malformed("FWSEC takes no commands"))?;

    let mapper = add(data, entry.u32(4, OUTSIDE)?, OUTSIDE)?;
    let buffer = bytes.tail(mapper, OUTSIDE)?;
    let (at, room) = (buffer.u32(8, OUTSIDE)?, buffer.u32(0xc, OUTSIDE)?);

    // "Read the VBIOS": version, length, address (two words) and size of a copy of it, of which
    // there is none, and flags: find it yourself.
    let vbios = [1, 24, 0, 0, 0, 2];
    let (number, region) = match command {
        Command::Sb => (SB, None),
        Command::Frts(range) => {
            let pages = |bytes: u64| {
                u32::try_from(bytes / 4096).map_err(|_| Malformed("FRTS beyond FWSEC's reach"))
            };

            // "Region": version, length, first page, pages, and where: video memory.
            let region = [
                1,
                20,
                pages(range.start)?,
                pages(range.end - range.start)?,
                2,
            ];
            (FRTS, Some(region))
        }
    };
    let words = || Iterator::chain(vbios.iter(), region.iter().flatten());

    if words().count() * 4 > room as usize {
        return Err(Malformed("FWSEC has no room for the command"));
    }

    put(
        image,
        add(mapper, INIT_COMMAND, OUTSIDE)?,
        &number.to_le_bytes(),
        OUTSIDE,
    )?;
    let mut to = add(data, at, OUTSIDE)?;
    for word in words() {
        put(image, to, &word.to_le_bytes(), OUTSIDE)?;
        to = add(to, 4, OUTSIDE)?;
    }
    Ok(())
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_fwsec)]
mod tests {
    use super::*;

    /// A descriptor of version 3 with two signatures, 256 bytes of code and 512 of data.
    fn rom() -> Result<KVec<u8>> {
        let mut rom = KVec::from_elem(0u8, 0x2c + 768 + 0x300, GFP_KERNEL)?;
        let words: [u32; 9] = [
            ((0x2c + 768) << 16) | 0x301,
            0x300,
            0x40,
            0x20,
            0,
            0x100,
            0,
            0,
            0x200,
        ];

        for (to, word) in rom.chunks_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        rom[0x24..0x2a].copy_from_slice(&[0, 4, 9, 2, 0b1001, 0]);
        rom[0x2c] = 1;
        rom[0x2c + 384] = 2;

        let data = 0x2c + 768 + 0x100;
        rom[data + 0x20..data + 0x2c].copy_from_slice(&[1, 4, 8, 1, 4, 0, 0, 0, 0x60, 0, 0, 0]);
        rom[data + 0x68] = 0xa0;
        rom[data + 0x6c] = 44;
        Ok(rom)
    }

    #[test]
    fn command_lands_in_the_mapper() -> Result {
        let rom = rom()?;
        let found = Found::parse(Bytes(&rom))?;
        let mut image = KVec::new();
        let range = 0x1_0010_0000..0x1_0020_0000;

        image.extend_from_slice(found.image, GFP_KERNEL)?;
        write_command(&mut image, &found.layout, &Command::Frts(range))?;
        let word = |at: u32| Bytes(&image).u32(0x100 + at, "x");
        assert_eq!(word(0x60 + 0x2c), Ok(0x15));
        assert_eq!(word(0xa0 + 4), Ok(24));
        assert_eq!(word(0xa0 + 20), Ok(2));
        assert_eq!(word(0xa0 + 32), Ok(0x100100));
        assert_eq!(word(0xa0 + 36), Ok(0x100));
        assert_eq!(word(0xa0 + 40), Ok(2));
        Ok(())
    }

    #[test]
    fn signature_follows_the_fuses() -> Result {
        let rom = rom()?;
        let found = Found::parse(Bytes(&rom))?;
        let first =
            |fuse| signature(found.signatures, found.layout.versions, fuse).map(|bytes| bytes[0]);

        assert_eq!(first(0), Ok(1));
        assert_eq!(first(3), Ok(2));
        assert!(first(1).is_err());
        assert!(first(16).is_err());
        Ok(())
    }

    #[test]
    fn damage_is_survived() -> Result {
        let mut rom = rom()?;

        for at in 0..rom.len() {
            let good = rom[at];

            rom[at] = 0xff;
            if let Ok(found) = Found::parse(Bytes(&rom)) {
                let mut image = KVec::new();

                image.extend_from_slice(found.image, GFP_KERNEL)?;
                let _ = write_command(&mut image, &found.layout, &Command::Sb);
            }
            rom[at] = good;
            assert!(Found::parse(Bytes(&rom[..at])).is_err());
        }
        Ok(())
    }
}
