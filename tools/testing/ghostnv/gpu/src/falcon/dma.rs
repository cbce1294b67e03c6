// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A falcon's DMA: transfers between its memories and VRAM or system memory.
//!
//! The frame buffer interface (FBIF) translates: eight transfer contexts each name a target and
//! whether addresses are physical. Physical addresses without a bound context must be allowed first.

use crate::env::Env;
use crate::env::mem::{Aperture, Phys};

use super::Memory;

/// Transfer and FBIF registers.
#[derive(Debug, Default)]
pub(super) struct Dma {
    ctl: u32,
    base: u32,
    base1: u32,
    mem_offset: u32,
    fb_offset: u32,
    command: u32,
    transcfg: [u32; 8],
    fbif_ctl: u32,
}

/// FBIF_CTL: physical addresses need no context.
const ALLOW_PHYS_NO_CTX: u32 = 1 << 7;
/// DMACTL: a context is required.
const REQUIRE_CTX: u32 = 1;
/// TRANSCFG: addresses are physical.
const PHYSICAL: u32 = 1 << 2;

impl Dma {
    /// Reads a register; None if it is not one of these.
    pub(super) fn read(&self, off: u32) -> Option<u32> {
        Some(match off {
            0x10c => self.ctl & !0x6, // scrubbing is over at once
            0x110 => self.base,
            0x114 => self.mem_offset,
            // Transfers complete at once: idle, not full.
            0x118 => self.command & !0x3 | 0x2,
            0x11c => self.fb_offset,
            0x128 => self.base1,
            0x600..0x620 if off % 4 == 0 => self.transcfg[(off as usize - 0x600) / 4],
            0x624 => self.fbif_ctl,
            _ => return None,
        })
    }

    /// Writes a register other than the command; false if it is not one of these.
    pub(super) fn write(&mut self, off: u32, value: u32) -> bool {
        match off {
            0x10c => self.ctl = value,
            0x110 => self.base = value,
            0x114 => self.mem_offset = value & 0xff_ffff,
            0x11c => self.fb_offset = value,
            0x128 => self.base1 = value & 0x1ff,
            0x600..0x620 if off % 4 == 0 => self.transcfg[(off as usize - 0x600) / 4] = value,
            0x624 => self.fbif_ctl = value,
            _ => return false,
        }
        true
    }

    /// The memory behind transfer context `index`, or why it cannot be reached.
    fn target(&self, index: u32, addr: u64) -> Result<Phys, String> {
        let config = self.transcfg[index as usize & 7];
        if self.ctl & REQUIRE_CTX != 0 || self.fbif_ctl & ALLOW_PHYS_NO_CTX == 0 {
            return Err("no context is bound and physical addresses are not allowed".into());
        }
        if config & PHYSICAL == 0 {
            return Err(format!("TRANSCFG {index} is virtual but no context is bound"));
        }
        let aperture = match config & 3 {
            0 => Aperture::Vram,
            1 => Aperture::SysCoherent,
            2 => Aperture::SysNonCoherent,
            _ => return Err(format!("TRANSCFG {index} has target 3")),
        };
        Ok(Phys { aperture, addr })
    }

    /// Copies `len` bytes as transfer context `index` sees them.
    pub(super) fn fetch(
        &self,
        env: &mut Env,
        index: u32,
        from: u64,
        len: usize,
    ) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let done = self
            .target(index, from)
            .and_then(|at| env.mem.read(at, &mut bytes).map_err(|e| e.to_string()));
        match done {
            Ok(()) => Some(bytes),
            Err(why) => {
                env.violation("falcon-dma", why);
                None
            }
        }
    }

    /// DMATRFCMD: moves 4 << size bytes.
    pub(super) fn transfer(&mut self, env: &mut Env, memory: &mut Memory, command: u32) {
        self.command = command;
        let len = 4usize << (command >> 8 & 7);
        let base = u64::from(self.base1) << 40 | u64::from(self.base) << 8;
        let addr = base.wrapping_add(self.fb_offset.into());
        let mask = len as u64 - 1;
        if len > 256 || addr & mask != 0 || u64::from(self.mem_offset) & mask != 0 {
            let text = format!("{len} bytes at {addr:#x} to {:#x}: unaligned", self.mem_offset);
            env.violation("falcon-dma", text);
            return;
        }
        let index = command >> 12 & 7;
        let (imem, out) = (command & 0x10 != 0, command & 0x20 != 0);
        let fits = match (imem, out) {
            (true, true) => false, // code cannot be written out
            (false, true) => return self.store(env, memory, index, addr, len),
            _ => {
                let Some(bytes) = self.fetch(env, index, addr, len) else { return };
                let secure = command & 0x4 != 0;
                match imem {
                    true => memory.load_code(self.mem_offset, self.fb_offset, secure, &bytes),
                    false => memory.load_data(self.mem_offset, &bytes),
                }
            }
        };
        if !fits {
            env.violation("falcon-dma", format!("no such target: {:#x}", self.mem_offset));
        }
    }

    /// Moves data memory out.
    fn store(&self, env: &mut Env, memory: &Memory, index: u32, addr: u64, len: usize) {
        let done = self.target(index, addr).and_then(|at| {
            let data = memory.data(self.mem_offset, len).ok_or("past the end of DMEM")?;
            env.mem.write(at, data).map_err(|e| e.to_string())
        });
        if let Err(why) = done {
            env.violation("falcon-dma", why);
        }
    }
}
