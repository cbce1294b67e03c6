// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fabricated firmware: nothing in it means anything, but every byte of it matters.

/// A microcode image for SEC2.
#[derive(Clone)]
pub struct Microcode {
    pub image: Vec<u8>,
    pub app: (u32, u32),
    pub data: (u32, u32),
    pub patch_loc: u32,
    /// One for each fuse version, newest first.
    pub signatures: Vec<Vec<u8>>,
    pub fuse_version: u32,
    pub engine_id_mask: u32,
    pub ucode_id: u32,
}

/// All of a card's firmware.
#[derive(Clone)]
pub struct Blobs {
    pub load: Microcode,
    pub unload: Microcode,
    pub bootloader: Vec<u8>,
    pub code_offset: u32,
    pub data_offset: u32,
    pub manifest_offset: u32,
    pub app_version: u32,
    pub gsp: Vec<u8>,
    pub gsp_signature: Vec<u8>,
}

/// Bytes that do not repeat.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn microcode(seed: u64) -> Microcode {
    Microcode {
        image: noise(0xa00, seed),
        app: (0x100, 0x500),
        data: (0x600, 0x400),
        patch_loc: 0x610,
        signatures: vec![noise(384, seed + 1), noise(384, seed + 2)],
        fuse_version: 1,
        engine_id_mask: 1,
        ucode_id: 3,
    }
}

impl Blobs {
    /// The same every time.
    pub fn new() -> Self {
        Self {
            load: microcode(10),
            unload: microcode(20),
            bootloader: noise(0x2000, 30),
            code_offset: 0x1000,
            data_offset: 0x800,
            manifest_offset: 0,
            app_version: 7,
            // More than one page of radix3 level 2, and not a whole number of pages.
            gsp: noise(600 * 0x1000 + 0x123, 40),
            gsp_signature: noise(0x1000, 50),
        }
    }
}
