// SPDX-License-Identifier: GPL-2.0 OR MIT

//! FWSEC as the ROM stores it: a descriptor, signatures, IMEM and DMEM images.
//!
//! Two descriptors exist. Version 3 (GA102 on) carries RSA-3072 signatures, one a fuse version, of
//! which the driver copies the right one into DMEM before it loads the image by DMA. Version 2
//! (Turing) has a non-secure and a secure code segment and its signature inside the image; it is
//! loaded by a generic boot loader.

use crate::chip::{Arch, Chip};

use super::put;

/// Bytes of one RSA-3072 signature.
pub const SIGNATURE_LEN: usize = 384;

/// Length of a version 2 descriptor.
const V2_LEN: usize = 60;
/// Length of a version 3 descriptor without its signatures.
const V3_LEN: usize = 44;
/// Size of the DMEM image.
const DMEM_LEN: usize = 0x600;

/// FWSEC and what a driver must do with it.
#[derive(Debug, Clone)]
pub struct Fwsec {
    /// Descriptor version, 2 or 3.
    pub version: u8,
    /// IMEM image, a multiple of 256 bytes.
    pub imem: Vec<u8>,
    /// Where the secure code starts within it; the part before is non-secure.
    pub secure_base: u32,
    /// DMEM image, a multiple of 256 bytes.
    pub dmem: Vec<u8>,
    /// Signatures, in order of their fuse version; none with descriptor version 2.
    pub signatures: Vec<Vec<u8>>,
    /// Where in DMEM the signature goes.
    pub pkc_data_offset: u32,
    /// Engines that may run it, as the boot ROM's ENGIDMASK wants it.
    pub engine_id_mask: u16,
    /// Fuse counter that limits its version, as the boot ROM's UCODE_ID wants it.
    pub ucode_id: u8,
}

impl Fwsec {
    /// Where the application interface table is in DMEM.
    pub const INTERFACE: u32 = 0x20;
    /// Where the DMEM mapper is in DMEM.
    pub const MAPPER: u32 = 0x40;
    /// Where the command buffer is in DMEM.
    pub const COMMAND: u32 = 0x80;
    /// Size of the command buffer.
    pub const COMMAND_LEN: u32 = 0x40;
    /// Where `init_cmd` is in DMEM.
    pub const INIT_CMD: u32 = Self::MAPPER + 0x2c;

    /// The FWSEC of a chip's ROM.
    pub fn new(chip: &Chip) -> Self {
        let mut noise = Noise(u64::from(chip.boot0) << 16 | u64::from(chip.device_id));
        let turing = chip.arch == Arch::Turing;
        let imem = noise.bytes(0x300);
        Self {
            version: if turing { 2 } else { 3 },
            imem,
            secure_base: if turing { 0x100 } else { 0 },
            dmem: Self::data(&mut noise, !turing),
            signatures: if turing {
                Vec::new()
            } else {
                (0..2).map(|_| noise.bytes(SIGNATURE_LEN)).collect()
            },
            pkc_data_offset: if turing { 0 } else { 0x100 },
            engine_id_mask: if turing { 0 } else { 0x400 },
            ucode_id: if turing { 0 } else { 9 },
        }
    }

    /// The DMEM image: application interface, DMEM mapper, command buffer, noise.
    fn data(noise: &mut Noise, slot: bool) -> Vec<u8> {
        let mut dmem = vec![0; DMEM_LEN];
        let mapper = Self::MAPPER as usize;
        // Version 1, header 4 bytes, entries 8 bytes, two of them: id, address.
        put(&mut dmem, Self::INTERFACE as usize, &[1, 4, 8, 2]);
        // Id 4 is the DMEM mapper; another interface comes first, as on real boards.
        for (i, word) in [0x01, 0x300, 0x04, Self::MAPPER].iter().enumerate() {
            put(&mut dmem, Self::INTERFACE as usize + 4 + i * 4, &u32::to_le_bytes(*word));
        }
        put(&mut dmem, mapper, b"DMAP\x03\x00\x40\x00");
        put(&mut dmem, mapper + 8, &Self::COMMAND.to_le_bytes());
        put(&mut dmem, mapper + 12, &Self::COMMAND_LEN.to_le_bytes());
        // ucode_cmd_mask0: all commands.
        put(&mut dmem, mapper + 0x34, &[0xff; 4]);
        let noise_from = if slot { 0x300 } else { 0x100 };
        put(&mut dmem, noise_from, &noise.bytes(DMEM_LEN - noise_from));
        dmem
    }

    /// Length of the descriptor with its signatures.
    fn descriptor_len(&self) -> usize {
        match self.version {
            2 => V2_LEN,
            _ => V3_LEN + self.signatures.len() * SIGNATURE_LEN,
        }
    }

    /// Length in the ROM.
    pub(super) fn len(&self) -> usize {
        self.descriptor_len() + self.imem.len() + self.dmem.len()
    }

    /// Stores it in the ROM.
    pub(super) fn write(&self, rom: &mut [u8]) {
        let header = (self.descriptor_len() as u32) << 16 | u32::from(self.version) << 8 | 1;
        let words = match self.version {
            2 => self.words_v2(),
            _ => self.words_v3(),
        };
        put(rom, 0, &header.to_le_bytes());
        for (i, word) in words.iter().enumerate() {
            put(rom, 4 + i * 4, &word.to_le_bytes());
        }
        for (i, signature) in self.signatures.iter().enumerate() {
            put(rom, V3_LEN + i * SIGNATURE_LEN, signature);
        }
        put(rom, self.descriptor_len(), &self.imem);
        put(rom, self.descriptor_len() + self.imem.len(), &self.dmem);
    }

    /// A version 2 descriptor after its header.
    fn words_v2(&self) -> Vec<u32> {
        let (imem, dmem) = (self.imem.len() as u32, self.dmem.len() as u32);
        vec![
            imem + dmem,             // stored size
            imem + dmem,             // uncompressed size
            0,                       // virtual entry
            Self::INTERFACE,         // interface offset
            0,                       // IMEM physical base
            imem,                    // IMEM load size
            0,                       // IMEM virtual base
            self.secure_base,        // secure IMEM base
            imem - self.secure_base, // secure IMEM size
            imem,                    // DMEM offset
            0,                       // DMEM physical base
            dmem,                    // DMEM load size
            imem,                    // alternative IMEM load size
            dmem,                    // alternative DMEM load size
        ]
    }

    /// A version 3 descriptor after its header.
    fn words_v3(&self) -> Vec<u32> {
        let count = self.signatures.len() as u32;
        let versions = (1 << count) - 1;
        vec![
            (self.imem.len() + self.dmem.len()) as u32, // stored size
            self.pkc_data_offset,
            Self::INTERFACE,
            0, // IMEM physical base
            self.imem.len() as u32,
            0, // IMEM virtual base
            0, // DMEM physical base
            self.dmem.len() as u32,
            u32::from(self.engine_id_mask) | u32::from(self.ucode_id) << 16 | count << 24,
            versions, // and a reserved half word
        ]
    }
}

/// Noise from a seed (xorshift64).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                (self.0 >> 24) as u8
            })
            .collect()
    }
}
