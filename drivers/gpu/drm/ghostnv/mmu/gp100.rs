// SPDX-License-Identifier: GPL-2.0

//! Page tables, version 2: Pascal to Ada.
//!
//! ```text
//!   bits of the virtual address    table   entries of
//!   48:47                          PD3     4 x 8 bytes
//!   46:38                          PD2     512 x 8
//!   37:29                          PD1     512 x 8
//!   28:21                          PD0     256 x 16, dual, or a page of 2 MiB
//!   20:16                          LPT     32 x 8, pages of 64 KiB
//!   20:12                          SPT     512 x 8, pages of 4 KiB
//! ```
//!
//! Facts: `dev_mmu.h` of GP100 in open-gpu-doc (`pascal/gp100-mmu-format.pdf`).

use super::{
    Aperture,
    Attr,
    Format,
    Level, //
};

/// PTE: the page is there. In the first half of a PD0 entry: it is a PTE.
const VALID: u64 = 1 << 0;
/// PTE: not to be cached by the GPU. Without VALID: sparse.
const VOL: u64 = 1 << 3;
const PRIVILEGE: u64 = 1 << 5;
const READ_ONLY: u64 = 1 << 6;
const ATOMIC_DISABLE: u64 = 1 << 7;

/// How addresses are stored in all entries: bits 53:8 hold 59:12.
const ADDRESS_SHIFT: u32 = 4;
const APERTURE_SHIFT: u32 = 1;
const KIND_SHIFT: u32 = 56;

/// The format.
pub(crate) struct Gp100;

impl Format for Gp100 {
    fn va_bits(&self) -> u32 {
        49
    }

    fn levels(&self) -> &'static [Level] {
        &[
            Level { shift: 47, bits: 2 },
            Level { shift: 38, bits: 9 },
            Level { shift: 29, bits: 9 },
        ]
    }

    fn pde(&self, table: u64) -> u64 {
        // 1: video memory.
        (table >> ADDRESS_SHIFT) | 1 << APERTURE_SHIFT
    }

    fn pte(&self, address: u64, attr: Attr) -> u64 {
        let (aperture, system) = match attr.aperture {
            Aperture::Vram => (0, false),
            Aperture::Coherent => (2, true),
        };
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };

        VALID
            | aperture << APERTURE_SHIFT
            // The GPU's cache does not see what the CPU writes.
            | flag(attr.volatile || system, VOL)
            | flag(attr.privileged, PRIVILEGE)
            | flag(attr.read_only, READ_ONLY)
            | flag(attr.no_atomics, ATOMIC_DISABLE)
            | address >> ADDRESS_SHIFT
            | u64::from(attr.kind) << KIND_SHIFT
    }

    fn sparse(&self) -> u64 {
        VOL
    }

    fn is_valid(&self, pte: u64) -> bool {
        pte & VALID != 0
    }

    fn advance(&self, pte: u64, bytes: u64) -> u64 {
        if self.is_valid(pte) {
            // Addresses have at most 47 bits, so this cannot reach the kind.
            pte.wrapping_add(bytes >> ADDRESS_SHIFT)
        } else {
            pte
        }
    }
}
