// SPDX-License-Identifier: GPL-2.0

//! The page of registers through which software tells Host that a channel has work.
//!
//! It can be mapped into user space, and so has nothing in it that could harm others
//! (`NV_VIRTUAL_FUNCTION_*` in `dev_vm.h`, Turing and later).

use kernel::io::register;

register! {
    /// Has Host look at a channel's USERD.
    pub(crate) DOORBELL(u32) @ 0x00bb0090 {
        /// Which channel: its runlist in the upper half, its number in the lower.
        31:0    token => u32;
    }
}
