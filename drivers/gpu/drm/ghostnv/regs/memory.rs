// SPDX-License-Identifier: GPL-2.0

//! Registers of the memory system: size of video memory, its protected region, and the page that
//! orders writes to system memory.

use core::ops::Range;

use kernel::io::register;
#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
use kernel::prelude::*;

register! {
    /// Low part of the address of the page that the GPU reads to flush its writes to system
    /// memory ("sysmembar").
    pub(crate) NISO_FLUSH_SYSMEM_ADDR(u32) @ 0x00100c10 {
        /// Address bits 39:8.
        31:0    adr_39_08 => u32;
    }

    /// High part of the flush page's address.
    pub(crate) NISO_FLUSH_SYSMEM_ADDR_HI(u32) @ 0x00100c40 {
        /// Address bits 63:40.
        23:0    adr_63_40;
    }

    /// Size of video memory (Turing).
    pub(crate) LOCAL_MEMORY_RANGE(u32) @ 0x00100ce0 {
        /// One sixteenth of the memory holds check bits.
        30:30   ecc => bool;
        /// Factor.
        9:4     magnitude;
        /// Power of two of MiB.
        3:0     scale;
    }

    /// Start of WPR2, the region that only GSP's signed firmware may write.
    pub(crate) WPR2_ADDR_LO(u32) @ 0x001fa824 {
        /// First 4 KiB page.
        31:4    page;
    }

    /// End of WPR2; zero while there is none.
    pub(crate) WPR2_ADDR_HI(u32) @ 0x001fa828 {
        /// Page after the last one.
        31:4    page;
    }

    /// Where the VGA core keeps its memory.
    pub(crate) VGA_WORKSPACE_BASE(u32) @ 0x00625f04 {
        /// Address in units of 64 KiB.
        31:8    addr;
        /// The address means something.
        3:3     valid => bool;
    }
}

impl LOCAL_MEMORY_RANGE {
    /// Size in bytes, without what ECC takes.
    pub(crate) fn bytes(self) -> u64 {
        // At most 63 << 35.
        let all = u64::from(self.magnitude().get()) << (self.scale().get() + 20);

        if self.ecc() {
            all / 16 * 15
        } else {
            all
        }
    }
}

/// The range that the two WPR2 registers describe, if there is one.
pub(crate) fn wpr2_range(lo: WPR2_ADDR_LO, hi: WPR2_ADDR_HI) -> Option<Range<u64>> {
    let page = |n: u32| u64::from(n) << 12;

    (hi.page() != 0).then(|| page(lo.page().get())..page(hi.page().get()))
}

impl VGA_WORKSPACE_BASE {
    /// Address in video memory, if the board's firmware set one up.
    pub(crate) fn address(self) -> Option<u64> {
        self.valid().then(|| u64::from(self.addr().get()) << 16)
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_regs_memory)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        // 11 x 1 GiB, with and without ECC.
        assert_eq!(LOCAL_MEMORY_RANGE::from(0xba).bytes(), 11 << 30);
        assert_eq!(
            LOCAL_MEMORY_RANGE::from(0x4000_00ba).bytes(),
            (11 << 30) / 16 * 15
        );
        assert_eq!(
            LOCAL_MEMORY_RANGE::from(u32::MAX).bytes(),
            (63 << 35) / 16 * 15
        );
    }

    #[test]
    fn regions() {
        let wpr2 = |lo: u32, hi: u32| wpr2_range(lo.into(), hi.into());

        assert_eq!(wpr2(0x17fe00, 0x17ff00), Some(0x17fe0000..0x17ff0000));
        assert_eq!(wpr2(0x17fe00, 0), None);
        assert_eq!(
            VGA_WORKSPACE_BASE::from(0x5ffc0b).address(),
            Some(0x5ffc_0000)
        );
        assert_eq!(VGA_WORKSPACE_BASE::from(0x5ffc03).address(), None);
    }
}
