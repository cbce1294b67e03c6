// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "an instruction that does nothing")]

//! Marks for the instruction counter of `scripts/vm --meter`.
//!
//! A mark is a no-operation whose displacement says which; the processor does not look at it, the
//! counter (`tools/testing/ghostnv/meter`) does. Without the counter a mark costs one instruction.

use std::arch::asm;

/// What tells a mark from other no-operations of this form.
const TAG: u32 = 0x474e_0000;

/// Sets the mark `ID` and `STEP`.
#[inline(always)]
fn mark<const ID: u32, const STEP: u32>() {
    // SAFETY: the instruction accesses no memory and changes no register.
    unsafe {
        asm!("nop dword ptr [rax + {at}]", at = const TAG | ID << 4 | STEP,
            options(nostack, preserves_flags));
    }
}

/// What is measured: samples of it begin, come to the point in the middle, and end.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Number in the counter's file.
    pub id: u32,
    begin: fn(),
    middle: fn(),
    end: fn(),
}

impl Probe {
    /// The probe with the number `ID`, which has 12 bits.
    pub const fn new<const ID: u32>() -> Self {
        const { assert!(ID < 1 << 12) };
        Self { id: ID, begin: mark::<ID, 0>, middle: mark::<ID, 1>, end: mark::<ID, 2> }
    }

    /// A sample begins.
    #[inline(always)]
    pub fn begin(&self) {
        (self.begin)();
    }

    /// The first part of a sample is over.
    #[inline(always)]
    pub fn middle(&self) {
        (self.middle)();
    }

    /// A sample ends.
    #[inline(always)]
    pub fn end(&self) {
        (self.end)();
    }
}
