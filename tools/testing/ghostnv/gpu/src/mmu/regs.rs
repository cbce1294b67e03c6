// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The MMU's registers in the virtual-function window (BAR0 0xb83000): fault buffers, TLB
//! invalidate.
//!
//! With GSP-RM the fault buffers belong to the firmware, so theirs are storage. An invalidate is
//! done when it is triggered; the trigger bit never reads as set.

use super::Mmu;
use crate::env::Env;
use crate::env::mem::{Aperture, Phys};
use crate::env::trace::Kind;

/// First register of the block.
pub const BASE: u32 = 0x00b8_3000;
/// Words from the fault buffers' registers to the end of the fault snapshot.
const STORED: usize = 0xa0 / 4;
const INVALIDATE_PDB: u32 = 0xb8_30a0;
const INVALIDATE_UPPER_PDB: u32 = 0xb8_30a4;
const INVALIDATE: u32 = 0xb8_30b0;

const ALL_VA: u32 = 1 << 0;
const ALL_PDB: u32 = 1 << 1;
const TRIGGER: u32 = 1 << 31;

/// Register contents.
pub struct Regs {
    stored: [u32; STORED],
    pdb: u32,
    upper_pdb: u32,
    invalidate: u32,
}

impl Default for Regs {
    fn default() -> Self {
        Self { stored: [0; STORED], pdb: 0, upper_pdb: 0, invalidate: 0 }
    }
}

impl Regs {
    /// The page directory that INVALIDATE_PDB names: its address and whether it is in VRAM.
    fn named(&self) -> (bool, u64) {
        let low = u64::from(self.pdb >> 4) << 12;
        let high = u64::from(self.upper_pdb & 0xf_ffff) << 40;
        (self.pdb >> 1 & 1 == 0, high | low)
    }
}

/// Index of a stored register.
fn slot(off: u32) -> Option<usize> {
    let byte = off.checked_sub(BASE)?;
    let index = (byte / 4) as usize;
    (byte % 4 == 0 && index < STORED).then_some(index)
}

impl Mmu {
    /// Reads a register by its BAR0 offset; None if it is not the MMU's.
    pub fn read_reg(&self, off: u32) -> Option<u32> {
        match off {
            INVALIDATE_PDB => Some(self.regs.pdb),
            INVALIDATE_UPPER_PDB => Some(self.regs.upper_pdb),
            INVALIDATE => Some(self.regs.invalidate),
            _ => self.regs.stored.get(slot(off)?).copied(),
        }
    }

    /// Writes a register by its BAR0 offset; false if it is not the MMU's.
    pub fn write_reg(&mut self, env: &mut Env, off: u32, value: u32) -> bool {
        match off {
            INVALIDATE_PDB => self.regs.pdb = value,
            INVALIDATE_UPPER_PDB => self.regs.upper_pdb = value,
            INVALIDATE => {
                self.regs.invalidate = value & !TRIGGER;
                if value & TRIGGER != 0 {
                    self.invalidate_by_register(env, value);
                }
            }
            _ => {
                let Some(word) = slot(off).and_then(|i| self.regs.stored.get_mut(i)) else {
                    return false;
                };
                *word = value;
            }
        }
        true
    }

    /// Does what INVALIDATE says.
    ///
    /// Where the registers of a single virtual address are in this window is not published, so an
    /// invalidate without ALL_VA drops the whole page directory and is noted.
    fn invalidate_by_register(&mut self, env: &mut Env, flags: u32) {
        let (vram, addr) = self.regs.named();
        let now = env.clock.ns();
        env.trace.record(now, Kind::TlbInvalidate, 0, 0, addr, u64::from(flags));
        if flags & ALL_VA == 0 {
            env.judge.note("mmu: invalidate of one virtual address");
        }
        if flags & ALL_PDB != 0 {
            return self.tlb.clear();
        }
        if vram {
            return self.tlb.forget(Phys::vram(addr));
        }
        for aperture in [Aperture::SysCoherent, Aperture::SysNonCoherent] {
            self.tlb.forget(Phys { aperture, addr });
        }
    }
}
