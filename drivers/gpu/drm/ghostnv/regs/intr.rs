// SPDX-License-Identifier: GPL-2.0

//! Registers of the interrupt tree that gathers all engines' interrupts for the host.
//!
//! An interrupt source has a vector. Vector v is bit v % 32 of leaf v / 32, and two leaves make a
//! subtree, one bit of the top. The interrupt line, or an MSI, follows from enabled bits of the top
//! (`NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR_*` in `dev_vm.h`, Turing and later).

use core::ops::Range;

use kernel::io::register;

/// Leaves that Turing, Ampere and Ada use.
pub(crate) const LEAVES: usize = 8;

/// Subtrees that those leaves make.
pub(crate) const ALL_SUBTREES: u32 = (1 << (LEAVES / 2)) - 1;

/// Where BAR0 shows the function's PCI configuration space (Turing to Ada).
pub(crate) const CONFIG_MIRROR: Range<u32> = 0x088000..0x089000;

register! {
    /// Pending vectors; writing ones acknowledges them.
    pub(crate) LEAF(u32)[LEAVES] @ 0x00b81000 {
        31:0    vectors => u32;
    }

    /// Enables vectors, by bit.
    pub(crate) LEAF_EN_SET(u32)[LEAVES] @ 0x00b81200 {
        31:0    vectors => u32;
    }

    /// Disables vectors, by bit.
    pub(crate) LEAF_EN_CLEAR(u32)[LEAVES] @ 0x00b81400 {
        31:0    vectors => u32;
    }

    /// Subtrees with a pending, enabled vector.
    pub(crate) TOP(u32) @ 0x00b81600 {
        31:0    subtrees => u32;
    }

    /// Lets subtrees raise the interrupt, by bit.
    pub(crate) TOP_EN_SET(u32) @ 0x00b81608 {
        31:0    subtrees => u32;
    }

    /// Keeps subtrees from raising the interrupt, by bit.
    pub(crate) TOP_EN_CLEAR(u32) @ 0x00b81610 {
        31:0    subtrees => u32;
    }
}
