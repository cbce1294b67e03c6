// SPDX-License-Identifier: GPL-2.0

//! Registers of PTIMER, the clock that the GPU stamps its work with (`NV_PTIMER_*` in
//! `dev_timer.h`).

use kernel::io::register;

register! {
    /// The lower half of the time in nanoseconds, of which the lowest 5 bits are zero.
    pub(crate) TIME_0(u32) @ 0x00009400 {
        31:0    nsec => u32;
    }

    /// The upper half.
    pub(crate) TIME_1(u32) @ 0x00009410 {
        28:0    nsec;
    }
}
