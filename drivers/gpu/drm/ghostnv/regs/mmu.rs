// SPDX-License-Identifier: GPL-2.0

//! Registers of the GPU's memory management unit, and the window that needs none of it.
//!
//! Facts: `dev_vm.h` (`NV_VIRTUAL_FUNCTION_PRIV_MMU_INVALIDATE*`) and `dev_bus.h`
//! (`NV_PBUS_BAR0_WINDOW`) in open-gpu-kernel-modules.

use kernel::io::register;

/// Where BAR0 shows 1 MiB of memory by physical address (PRAMIN).
pub(crate) const PRAMIN: usize = 0x0070_0000;

register! {
    /// What the window in BAR0 shows.
    pub(crate) BAR0_WINDOW(u32) @ 0x00001700 {
        /// Memory: 0 is video memory.
        25:24   target;
        /// Address in units of 64 KiB.
        23:0    base;
    }

    /// The page directory whose translations an invalidate drops.
    pub(crate) MMU_INVALIDATE_PDB(u32) @ 0x00b830a0 {
        /// Address bits 39:12.
        31:4    addr;
        /// The directory is in system memory.
        1:1     sysmem => bool;
    }

    /// High part of the page directory's address.
    pub(crate) MMU_INVALIDATE_UPPER_PDB(u32) @ 0x00b830a4 {
        /// Address bits 59:40.
        19:0    addr;
    }

    /// Drops cached translations.
    pub(crate) MMU_INVALIDATE(u32) @ 0x00b830b0 {
        /// Starts it; reads as set until it is done.
        31:31   trigger => bool;
        /// What done means: 0 nothing, 1 that every client has let go of the old translations,
        /// 2 the same within the node.
        8:7     ack;
        /// Done includes that writes by old translations have arrived in system memory.
        6:6     sys_membar => bool;
        /// Only the TLBs of the hub: host, copy engines, the CPU's windows.
        2:2     hubtlb_only => bool;
        /// Of all page directories.
        1:1     all_pdb => bool;
        /// Of all virtual addresses.
        0:0     all_va => bool;
    }
}
