// SPDX-License-Identifier: GPL-2.0

//! Registers that say which chip this is, how far its own boot has come, and what is fused off.
//!
//! PMC holds the identity, PBUS and PGC6 hold scratch words in which the firmware of the board
//! (GFW, FWSEC) leaves its results, FUSE the versions below which a signed image is refused, and
//! PROM is the window through which the VBIOS is read.

use kernel::{
    io::register,
    num::Bounded, //
};

register! {
    /// Identity of the chip, in the form all generations share.
    pub(crate) BOOT_0(u32) @ 0x00000000 {
        /// Low bits of the architecture.
        28:24   architecture_0;
        /// Implementation within the architecture.
        23:20   implementation;
        /// Fifth bit of the architecture.
        8:8     architecture_1;
        /// Major revision of the mask.
        7:4     major_revision;
        /// Minor revision of the mask.
        3:0     minor_revision;
    }

    /// Identity of the chip, in the form that Fermi introduced.
    pub(crate) BOOT_42(u32) @ 0x00000a00 {
        /// Architecture, as in the upper hexadecimal digits of "0x172".
        29:24   architecture;
        /// Implementation within the architecture.
        23:20   implementation;
        /// Major revision of the mask.
        19:16   major_revision;
        /// Minor revision of the mask.
        15:12   minor_revision;
    }

    /// Scratch words that the firmware in the VBIOS shares with the driver.
    pub(crate) SW_SCRATCH(u32)[64] @ 0x00001400 {}

    /// What FWSEC says about its command FRTS.
    pub(crate) SW_SCRATCH_FRTS(u32) => SW_SCRATCH[0xe] {
        /// 0 on success.
        31:16   error => u16;
    }

    /// What FWSEC says about its command SB.
    pub(crate) SW_SCRATCH_SB(u32) => SW_SCRATCH[0x15] {
        /// 0 on success.
        15:0    error => u16;
    }

    /// Who may read [`GFW_BOOT`].
    pub(crate) GFW_BOOT_PRIV_LEVEL_MASK(u32) @ 0x00118128 {
        /// The host may: the word is meaningful.
        0:0     read_level0 => bool;
    }

    /// How far the firmware that initialises the board (GFW: memory, clocks, fan) has come.
    pub(crate) GFW_BOOT(u32) @ 0x00118234 {
        /// 0xff once done.
        7:0     progress => u8;
    }

    /// Memory that the board's firmware leaves to the driver, in MiB (GA102 and later).
    pub(crate) USABLE_FB_SIZE(u32) @ 0x001183a4 {
        /// Size in MiB.
        31:0    mib => u32;
    }

    /// State of the hand-over from GSP's boot ROM; GSP may be resumed once it is done.
    pub(crate) BSI_SECURE_SCRATCH_14(u32) @ 0x001180f8 {
        /// The last boot stage gave up control.
        26:26   boot_stage_3_handoff => bool;
    }

    /// The expansion ROM, as words.
    pub(crate) PROM(u32)[PROM_WORDS] @ 0x00300000 {
        /// Four bytes, the first one lowest.
        31:0    value => u32;
    }

    /// Fuse-burnt minimum version of each image signed for NVDEC.
    pub(crate) FPF_NVDEC_UCODE_VERSION(u32)[FPF_UCODES] @ 0x00824100 {
        /// One bit a version.
        15:0    bits => u16;
    }

    /// Fuse-burnt minimum version of each image signed for SEC2.
    pub(crate) FPF_SEC2_UCODE_VERSION(u32)[FPF_UCODES] @ 0x00824140 {
        /// One bit a version.
        15:0    bits => u16;
    }

    /// Fuse-burnt minimum version of each image signed for GSP.
    pub(crate) FPF_GSP_UCODE_VERSION(u32)[FPF_UCODES] @ 0x008241c0 {
        /// One bit a version.
        15:0    bits => u16;
    }
}

/// Words in the PROM window (1 MiB).
pub(crate) const PROM_WORDS: usize = 0x40000;

/// Images whose versions each falcon's fuses count, numbered from 1.
pub(crate) const FPF_UCODES: usize = 16;

impl BOOT_0 {
    /// Whether the chip predates Fermi, and so has no `BOOT_42`.
    pub(crate) fn predates_fermi(self) -> bool {
        self.architecture_1() == 0 && self.architecture_0().get() < 0xc
    }
}

impl BOOT_42 {
    /// The chip's number as it is commonly written, such as 0x172 for GA102.
    pub(crate) fn chip_id(self) -> u16 {
        let architecture: Bounded<u32, 6> = self.architecture();
        let implementation: Bounded<u32, 4> = self.implementation();

        // CAST: ten bits.
        ((architecture.get() << 4) | implementation.get()) as u16
    }
}

/// Registers where Turing has them.
pub(crate) mod tu102 {
    use kernel::io::register;

    register! {
        /// Whether the display engine is fused off.
        pub(crate) FUSE_OPT_DISPLAY(u32) @ 0x00021c04 {
            0:0     disabled => bool;
        }
    }
}

/// Registers where Ampere has them.
pub(crate) mod ga100 {
    use kernel::io::register;

    register! {
        /// Whether the display engine is fused off.
        pub(crate) FUSE_OPT_DISPLAY(u32) @ 0x00820c04 {
            0:0     disabled => bool;
        }
    }
}
