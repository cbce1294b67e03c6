// SPDX-License-Identifier: GPL-2.0

//! The VBIOS: a chain of PCI expansion ROM images in the board's flash.
//!
//! The first image is the one that a PC's firmware runs; its BIT table points to everything else.
//! Images of type 0xe0 hold programs for the GPU's falcons, of which the driver needs one, FWSEC.
//! Addresses in the tables count through the first image and go on in the first image of type
//! 0xe0, whatever lies between the two in the flash.
//!
//! The layouts are those of the PCI Firmware Specification 3.0 (image and PCIR), of NVIDIA's
//! `open-gpu-doc` (BIT), and of open-gpu-kernel-modules (`kernel_gsp_fwsec.c`: NPDE, PMU table).

use core::ops::Range;

use kernel::{
    io::{
        register::Array,
        Io, //
    },
    prelude::*, //
};

use crate::{
    bytes::{
        add,
        Bytes,
        Malformed, //
    },
    gpu::Hw,
    regs, //
};

/// How far an image's own headers reach at most.
const HEADERS: u32 = 0x400;
/// Unit of image lengths.
const UNIT: u32 = 512;

/// Bytes of a ROM, which may have to be fetched first.
trait Rom {
    /// The first `end` bytes.
    fn prefix(&mut self, end: u32) -> Result<Bytes<'_>, Malformed>;
}

/// The window onto the board's flash.
///
/// It is read word by word and only as far as the chain goes, since each word costs a round trip
/// over the bus.
struct Prom<'a> {
    hw: Hw<'a>,
    /// Word at which the first image starts.
    start: usize,
    bytes: KVVec<u8>,
}

impl<'a> Prom<'a> {
    fn new(hw: Hw<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            hw,
            start: first_image(|word| {
                regs::chip::PROM::try_at(word).map(|at| hw.bar.read(at).value())
            })?,
            bytes: KVVec::new(),
        })
    }
}

impl Rom for Prom<'_> {
    fn prefix(&mut self, end: u32) -> Result<Bytes<'_>, Malformed> {
        const END: &str = "image goes on past the ROM";

        let end = end as usize;
        if end.div_ceil(4) > regs::chip::PROM_WORDS.saturating_sub(self.start) {
            return Err(Malformed(END));
        }
        self.bytes
            .reserve(end.saturating_sub(self.bytes.len()), GFP_KERNEL)
            .map_err(|_| Malformed("no memory for a copy"))?;

        while self.bytes.len() < end {
            let word = self.start + self.bytes.len() / 4;
            let at = regs::chip::PROM::try_at(word).ok_or(Malformed(END))?;
            let value: u32 = self.hw.bar.read(at).value();

            self.bytes
                .extend_from_slice(&value.to_le_bytes(), GFP_KERNEL)
                .map_err(|_| Malformed("no memory for a copy"))?;
        }
        Ok(Bytes(&self.bytes))
    }
}

/// The word at which the first image starts.
///
/// The flash may begin with commands for the chip's power-up (IFR) instead; the hardware usually
/// hides them, but where it does not they say where the images are.
fn first_image(read: impl Fn(usize) -> Option<u32>) -> Result<usize, Malformed> {
    const IFR: u32 = u32::from_le_bytes(*b"NVGI");
    const DIRECTORY: u32 = u32::from_le_bytes(*b"RFRD");
    const OUTSIDE: Malformed = Malformed("IFR header points outside the ROM");
    /// Between the place that version 3 points to and the directory.
    const FLASH_STATUS: u32 = 0x1000;

    // Unaligned places do not occur.
    let word = |at: u32| read(at as usize / 4).ok_or(OUTSIDE);

    if word(0)? != IFR {
        return Ok(0);
    }

    let fixed = word(4)?;
    let start = match (fixed >> 8) & 0xff {
        1 | 2 => word(((fixed >> 16) & 0x7fff) + 4)?,
        3 => {
            let directory = word(word(8)? & 0xf_ffff)?
                .checked_add(FLASH_STATUS)
                .ok_or(OUTSIDE)?;

            if word(directory)? != DIRECTORY {
                return Err(Malformed("no directory behind the IFR header"));
            }
            word(directory.checked_add(8).ok_or(OUTSIDE)?)?
        }
        _ => return Err(Malformed("unknown version of the IFR header")),
    };

    Ok(start as usize / 4)
}

/// One image of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Image {
    kind: u8,
    len: u32,
    last: bool,
}

impl Image {
    /// For the PC's own firmware.
    const PC: u8 = 0x00;
    /// Notebook system information; nothing follows it.
    const NBSI: u8 = 0x70;
    /// Programs for the GPU.
    const EXTENSION: u8 = 0xe0;

    fn parse(image: Bytes<'_>) -> Result<Self, Malformed> {
        const HEADER: &str = "image header outside the image";
        const PCIR: &str = "PCI data structure outside the image";

        if !matches!(image.u16(0, HEADER)?, 0xaa55 | 0x4e56 | 0xbb77) {
            return Err(Malformed("no image signature"));
        }

        let at = u32::from(image.u16(0x18, HEADER)?);
        let pcir = image.tail(at, PCIR)?;
        if !matches!(pcir.slice(0, 4, PCIR)?, b"PCIR" | b"NPDS") {
            return Err(Malformed("no PCI data structure"));
        }

        let mut units = pcir.u16(0x10, PCIR)?;
        let mut last = pcir.u8(0x15, PCIR)? & 0x80 != 0;
        let kind = pcir.u8(0x14, PCIR)?;

        // NVIDIA's own structure, 16-byte aligned behind PCI's, overrides it where there is one.
        let own = add(at, pcir.u16(0xa, PCIR)?.into(), PCIR)?.next_multiple_of(16);
        if let Ok(npde) = image.slice(own, 11, PCIR).map(Bytes) {
            if npde.slice(0, 4, PCIR)? == b"NPDE" {
                units = npde.u16(8, PCIR)?;
                last = npde.u8(10, PCIR)? & 0x80 != 0;
            }
        }
        if units == 0 {
            return Err(Malformed("image of no length"));
        }

        Ok(Self {
            kind,
            len: u32::from(units) * UNIT,
            last: last || kind == Self::NBSI,
        })
    }
}

/// The parts of the ROM that the driver reads.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    pc: Range<u32>,
    extension: Range<u32>,
}

impl Map {
    /// Walks the chain.
    fn walk(rom: &mut impl Rom) -> Result<Self, Malformed> {
        const LONG: &str = "chain of images is too long";

        let mut pc = None;
        let mut extension = None;
        let mut at = 0;

        loop {
            let head = rom.prefix(add(at, HEADERS, LONG)?)?.tail(at, LONG)?;
            let image = Image::parse(head)?;
            let end = add(at, image.len, LONG)?;

            rom.prefix(end)?;
            match image.kind {
                Image::PC if pc.is_none() => pc = Some(at..end),
                Image::EXTENSION if extension.is_none() => extension = Some(at),
                _ => (),
            }
            at = end;
            if image.last {
                break;
            }
        }

        Ok(Self {
            pc: pc.ok_or(Malformed("no image for PCs"))?,
            extension: extension.ok_or(Malformed("no image with falcon programs"))?..at,
        })
    }
}

/// A VBIOS in memory.
pub(crate) struct Vbios {
    rom: KVVec<u8>,
    map: Map,
}

impl Vbios {
    /// Reads the board's VBIOS.
    pub(crate) fn read(hw: Hw<'_>) -> Result<Self> {
        Prom::new(hw)
            .and_then(|mut prom| {
                let map = Map::walk(&mut prom)?;

                Ok(Self {
                    rom: prom.bytes,
                    map,
                })
            })
            .map_err(|Malformed(what)| {
                dev_err!(hw.dev, "VBIOS: {what}\n");
                EINVAL
            })
    }

    fn view(&self) -> View<'_> {
        View {
            rom: Bytes(&self.rom),
            map: &self.map,
        }
    }

    /// Everything from FWSEC's descriptor to the end of the ROM.
    pub(crate) fn fwsec(&self) -> Result<Bytes<'_>, Malformed> {
        self.view().fwsec()
    }
}

/// A VBIOS whose tables can be followed.
struct View<'a> {
    rom: Bytes<'a>,
    map: &'a Map,
}

impl<'a> View<'a> {
    /// Everything from an address in the tables on.
    fn at(&self, address: u32) -> Result<Bytes<'a>, Malformed> {
        const OUTSIDE: &str = "address outside the ROM";

        let pc = &self.map.pc;
        let extension = &self.map.extension;
        let (range, offset) = match address.checked_sub(pc.end - pc.start) {
            None => (pc, address),
            Some(offset) => (extension, offset),
        };
        let image = self
            .rom
            .slice(range.start, range.end - range.start, OUTSIDE)?;

        Bytes(image).tail(offset, OUTSIDE)
    }

    /// The data of the BIT token with this letter.
    fn token(&self, letter: u8) -> Result<Bytes<'a>, Malformed> {
        const MARK: &[u8] = b"\xff\xb8BIT\0";
        const PART: &str = "BIT table outside the image";

        let pc = self.at(0)?;
        let bit =
            pc.0.windows(MARK.len())
                .position(|bytes| bytes == MARK)
                .and_then(|at| pc.0.get(at..))
                .map(Bytes)
                .ok_or(Malformed("no BIT table"))?;

        let first = u32::from(bit.u8(8, PART)?);
        let size = u32::from(bit.u8(9, PART)?);
        let count = u32::from(bit.u8(10, PART)?);

        for n in 0..count {
            let token = bit.tail(first + n * size, PART)?;

            if token.u8(0, PART)? == letter {
                return pc.tail(token.u16(4, PART)?.into(), "BIT token outside the image");
            }
        }
        Err(Malformed("no falcon data in the BIT table"))
    }

    fn fwsec(&self) -> Result<Bytes<'a>, Malformed> {
        const FALCON_DATA: u8 = b'p';
        const FWSEC_PRODUCTION: u8 = 0x85;
        const PART: &str = "table of falcon programs outside the ROM";

        let table = self.at(self.token(FALCON_DATA)?.u32(0, PART)?)?;
        if table.u8(0, PART)? != 1 {
            return Err(Malformed("unknown version of the table of falcon programs"));
        }

        let first = u32::from(table.u8(1, PART)?);
        let size = u32::from(table.u8(2, PART)?);
        let count = u32::from(table.u8(3, PART)?);

        for n in 0..count {
            let entry = table.tail(first + n * size, PART)?;

            if entry.u8(0, PART)? == FWSEC_PRODUCTION {
                return self.at(entry.u32(2, PART)?);
            }
        }
        Err(Malformed("no FWSEC"))
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_vbios)]
mod tests {
    use super::*;

    impl Rom for &[u8] {
        fn prefix(&mut self, end: u32) -> Result<Bytes<'_>, Malformed> {
            self.get(..end as usize)
                .map(Bytes)
                .ok_or(Malformed("end of the ROM"))
        }
    }

    const DESCRIPTOR: u32 = 0x300;

    fn image(rom: &mut [u8], kind: u8, units: u8, last: bool) {
        rom[0] = 0x55;
        rom[1] = 0xaa;
        rom[0x18] = 0x40;
        rom[0x40..0x44].copy_from_slice(b"PCIR");
        rom[0x4a] = 0x18;
        rom[0x50] = units;
        rom[0x54] = kind;
        rom[0x55] = if last { 0x80 } else { 0 };
    }

    /// PC image (1 KiB), EFI image (512 bytes), two extension images (1 KiB each).
    fn rom() -> Result<KVec<u8>> {
        let mut rom = KVec::from_elem(0u8, 0x1000, GFP_KERNEL)?;

        image(&mut rom, 0x00, 2, false);
        image(&mut rom[0x400..], 0x03, 1, false);
        image(&mut rom[0x600..], 0xe0, 2, false);
        image(&mut rom[0xa00..], 0xe0, 2, true);

        rom[0x80..0x86].copy_from_slice(b"\xff\xb8BIT\0");
        rom[0x86..0x8c].copy_from_slice(&[0, 1, 12, 6, 2, 0]);
        rom[0x8c..0x92].copy_from_slice(&[b'i', 2, 5, 0, 0xb0, 0]);
        rom[0x92..0x98].copy_from_slice(&[b'p', 2, 4, 0, 0xa0, 0]);
        rom[0xa0..0xa4].copy_from_slice(&(0x400u32 + 0x100).to_le_bytes());
        // The table, at 0x100 of the first extension image.
        rom[0x700..0x704].copy_from_slice(&[1, 4, 6, 2]);
        rom[0x704] = 0x45;
        rom[0x70a] = 0x85;
        rom[0x70c..0x710].copy_from_slice(&(0x400 + DESCRIPTOR).to_le_bytes());
        rom[0x900] = 0xab;
        Ok(rom)
    }

    fn fwsec(rom: &[u8]) -> Result<(Map, u8), Malformed> {
        let map = Map::walk(&mut &*rom)?;
        let found = View {
            rom: Bytes(rom),
            map: &map,
        }
        .fwsec()?
        .u8(0, "empty")?;

        Ok((map, found))
    }

    #[test]
    fn walks_to_fwsec() -> Result {
        let (map, found) = fwsec(&rom()?)?;

        assert_eq!(map.pc, 0..0x400);
        assert_eq!(map.extension, 0x600..0xe00);
        assert_eq!(found, 0xab);
        Ok(())
    }

    #[test]
    fn own_structure_overrides_length() -> Result {
        let mut rom = rom()?;

        rom[0x650] = 1;
        rom[0x660..0x664].copy_from_slice(b"NPDE");
        rom[0x668] = 2;
        assert!(fwsec(&rom).is_ok());
        Ok(())
    }

    #[test]
    fn every_truncation_is_an_error() -> Result {
        let rom = rom()?;

        for len in 0..0xe00 {
            assert!(fwsec(&rom[..len]).is_err());
        }
        Ok(())
    }

    #[test]
    fn every_damaged_byte_is_survived() -> Result {
        let mut rom = rom()?;

        for at in 0..0xe00 {
            let good = rom[at];

            rom[at] = 0xff;
            let _ = fwsec(&rom);
            rom[at] = good;
        }
        Ok(())
    }

    #[test]
    fn ifr_versions() {
        let v1 = |word| match word {
            0 => Some(u32::from_le_bytes(*b"NVGI")),
            1 => Some(0x0010_0100),
            5 => Some(0x800),
            _ => Some(0),
        };
        let v3 = |word| match word {
            0 => Some(u32::from_le_bytes(*b"NVGI")),
            1 => Some(0x300),
            2 => Some(0x40),
            0x10 => Some(0x2000),
            0xc00 => Some(u32::from_le_bytes(*b"RFRD")),
            0xc02 => Some(0xa000),
            _ => Some(0),
        };

        assert_eq!(first_image(|_| Some(0)), Ok(0));
        assert_eq!(first_image(v1), Ok(0x200));
        assert_eq!(first_image(v3), Ok(0x2800));
        assert!(first_image(|_| None).is_err());
    }
}
