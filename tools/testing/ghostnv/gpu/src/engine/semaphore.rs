// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a semaphore does to memory: releases, time stamps and reductions.
//!
//! Host, the copy engine and the graphics classes encode these differently; memory sees the same.

use super::client::{Client, Space};
use crate::host::Ctx;
use crate::mmu::{Access, MmuFault};

/// A reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// Exclusive or.
    Xor,
    /// And.
    And,
    /// Or.
    Or,
    /// Add.
    Add,
    /// Count up, wrapping to 0 once the payload is reached.
    Inc,
    /// Count down, wrapping to the payload.
    Dec,
    /// Floating-point add.
    FAdd,
    /// Floating-point minimum.
    FMin,
    /// Floating-point maximum.
    FMax,
}

impl Reduction {
    /// Host's numbering, which the copy engine extends.
    pub fn from_host(op: u32) -> Option<Self> {
        Some(match op {
            0 => Self::Min,
            1 => Self::Max,
            2 => Self::Xor,
            3 => Self::And,
            4 => Self::Or,
            5 => Self::Add,
            6 => Self::Inc,
            7 => Self::Dec,
            0xa => Self::FAdd,
            0xb => Self::FMin,
            0xc => Self::FMax,
            _ => return None,
        })
    }

    /// The graphics classes' numbering (3 bits).
    pub fn from_graphics(op: u32) -> Self {
        match op & 7 {
            0 => Self::Add,
            1 => Self::Min,
            2 => Self::Max,
            3 => Self::Inc,
            4 => Self::Dec,
            5 => Self::And,
            6 => Self::Or,
            _ => Self::Xor,
        }
    }

    /// The new value of a word that held `mem`.
    pub fn apply(self, signed: bool, wide: bool, mem: u64, payload: u64) -> u64 {
        let less = if !signed {
            mem < payload
        } else if wide {
            (mem as i64) < payload as i64
        } else {
            (mem as i32) < payload as i32
        };
        let float = |f: fn(f32, f32) -> f32| {
            u64::from(f(f32::from_bits(mem as u32), f32::from_bits(payload as u32)).to_bits())
        };
        match self {
            Self::Min => [payload, mem][usize::from(less)],
            Self::Max => [mem, payload][usize::from(less)],
            Self::Xor => mem ^ payload,
            Self::And => mem & payload,
            Self::Or => mem | payload,
            Self::Add => mem.wrapping_add(payload),
            Self::Inc => [mem.wrapping_add(1), 0][usize::from(mem >= payload)],
            Self::Dec => [mem.wrapping_sub(1), payload][usize::from(mem == 0 || mem > payload)],
            Self::FAdd => float(|a, b| a + b),
            Self::FMin => float(f32::min),
            Self::FMax => float(f32::max),
        }
    }
}

/// A semaphore's address and payload.
#[derive(Debug, Clone, Copy)]
pub struct Semaphore {
    /// GPU virtual address.
    pub va: u64,
    /// Payload; a 32-bit one has zeroes above.
    pub payload: u64,
    /// 64-bit payload.
    pub wide: bool,
}

impl Semaphore {
    /// Reads the word with one access of its width.
    pub fn load(&self, c: &mut Client<'_, '_>) -> Result<u64, MmuFault> {
        let Ctx { env, mmu, .. } = &mut *c.cx;
        if self.wide {
            return mmu.read_u64(env, c.root, self.va);
        }
        mmu.read_u32(env, c.root, self.va).map(u64::from)
    }

    /// Writes the payload, and before it the time stamp of the 16-byte form.
    pub fn release(&self, c: &mut Client<'_, '_>, timestamp: bool) -> Result<(), MmuFault> {
        if !timestamp {
            return self.store(c, self.payload);
        }
        self.stamp(c)?;
        // In the 16-byte form a 32-bit payload is zero-extended.
        Semaphore { wide: true, ..*self }.store(c, self.payload)
    }

    /// Combines the payload with what memory holds.
    pub fn reduce(
        &self,
        c: &mut Client<'_, '_>,
        op: Reduction,
        signed: bool,
        timestamp: bool,
    ) -> Result<(), MmuFault> {
        let Ctx { env, mmu, .. } = &mut *c.cx;
        let len = if self.wide { 8 } else { 4 };
        // Memory does it, in one piece: the page must allow atomics.
        mmu.word(env, c.root, self.va, len, Access::Atomic)?;
        let old = self.load(c)?;
        if timestamp {
            self.stamp(c)?;
        }
        self.store(c, op.apply(signed, self.wide, old, self.payload))
    }

    fn stamp(&self, c: &mut Client<'_, '_>) -> Result<(), MmuFault> {
        let now = c.now();
        c.write(Space::Virtual, self.va.wrapping_add(8), &now.to_le_bytes())
    }

    fn store(&self, c: &mut Client<'_, '_>, value: u64) -> Result<(), MmuFault> {
        c.membar();
        let Ctx { env, mmu, .. } = &mut *c.cx;
        if self.wide {
            return mmu.write_u64(env, c.root, self.va, value);
        }
        mmu.write_u32(env, c.root, self.va, value as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::Reduction::*;

    #[test]
    fn reductions() {
        // (op, signed, wide, memory, payload, result)
        let cases = [
            (Min, true, false, 0xffff_ffff, 5, 0xffff_ffff),
            (Min, false, false, 0xffff_ffff, 5, 5),
            (Max, true, true, u64::MAX, 5, 5),
            (Max, false, true, u64::MAX, 5, u64::MAX),
            (Inc, false, false, 7, 7, 0),
            (Inc, false, false, 6, 7, 7),
            (Dec, false, false, 0, 9, 9),
            (Dec, false, false, 10, 9, 9),
            (Dec, false, false, 9, 9, 8),
            (Xor, false, false, 0xf0, 0xff, 0x0f),
            (FAdd, true, false, 0x3f80_0000, 0x3f80_0000, 0x4000_0000),
        ];
        for (op, signed, wide, mem, payload, want) in cases {
            assert_eq!(op.apply(signed, wide, mem, payload), want, "{op:?} {mem:#x} {payload:#x}");
        }
    }
}
