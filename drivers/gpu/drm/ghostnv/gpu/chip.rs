// SPDX-License-Identifier: GPL-2.0

//! The table of chips.
//!
//! A line says what is particular to one chip; everything that chips of a generation share is in
//! the [`Hal`] the line points at. Supporting a further chip of a known generation is one line here
//! and nothing anywhere else.

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
use kernel::prelude::*;

use crate::{
    falcon,
    mem,
    regs::falcon::{
        Gsp,
        Sec2, //
    }, //
};

/// What differs between generations, one implementation a unit.
pub(crate) struct Hal {
    /// The falcon in GSP.
    pub(crate) gsp: &'static dyn falcon::Hal<Gsp>,
    /// The falcon in SEC2.
    pub(crate) sec2: &'static dyn falcon::Hal<Sec2>,
    /// Video memory.
    pub(crate) memory: &'static dyn mem::Hal,
    /// What GSP-RM's operating system on this generation needs of video memory.
    pub(crate) heap: &'static mem::HeapRule,
    /// How the booter image is laid out, and who loads FWSEC.
    pub(crate) images: Images,
}

/// How signed images reach a falcon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Images {
    /// The host writes code and data; an unsigned part starts the signed one, and a small loader
    /// (`gen_bootloader`) fetches FWSEC.
    Loader,
    /// The falcon's boot ROM verifies and starts the signed part itself.
    BootRom,
}

/// Numbers of the classes of objects that differ between generations.
pub(crate) struct Classes {
    /// Channels.
    pub(crate) channel: u32,
    /// Copies.
    pub(crate) copy: u32,
    /// 3D.
    pub(crate) three_d: u32,
    /// Compute.
    pub(crate) compute: u32,
    /// 2D.
    pub(crate) two_d: u32,
    /// Data from the pushbuffer into memory.
    pub(crate) inline_to_memory: u32,
}

/// `FERMI_TWOD_A`, of all generations since.
const TWO_D: u32 = 0x902d;
/// `KEPLER_INLINE_TO_MEMORY_B`, of all generations since.
const INLINE_TO_MEMORY: u32 = 0xa140;

static TURING_CLASSES: Classes = Classes {
    channel: 0xc46f,
    copy: 0xc5b5,
    three_d: 0xc597,
    compute: 0xc5c0,
    two_d: TWO_D,
    inline_to_memory: INLINE_TO_MEMORY,
};

static AMPERE_CLASSES: Classes = Classes {
    channel: 0xc56f,
    copy: 0xc7b5,
    three_d: 0xc797,
    compute: 0xc7c0,
    two_d: TWO_D,
    inline_to_memory: INLINE_TO_MEMORY,
};

/// Ada's channels and copies are Ampere's.
static ADA_CLASSES: Classes = Classes {
    channel: 0xc56f,
    copy: 0xc7b5,
    three_d: 0xc997,
    compute: 0xc9c0,
    two_d: TWO_D,
    inline_to_memory: INLINE_TO_MEMORY,
};

/// One chip.
pub(crate) struct Chip {
    /// Number in `BOOT_42`.
    pub(crate) id: u16,
    /// Name for people.
    pub(crate) label: &'static str,
    /// Directory of its firmware below `nvidia/`.
    pub(crate) directory: &'static str,
    /// Section of the GSP-RM file that holds the signature for this chip.
    pub(crate) signature: &'static str,
    /// What it shares with its generation.
    pub(crate) hal: &'static Hal,
    /// Its classes.
    pub(crate) classes: &'static Classes,
}

impl Chip {
    const fn new(
        id: u16,
        label: &'static str,
        directory: &'static str,
        signature: &'static str,
        hal: &'static Hal,
        classes: &'static Classes,
    ) -> Self {
        Self {
            id,
            label,
            directory,
            signature,
            hal,
            classes,
        }
    }

    /// Whether GSP-RM needs a channel to scrub with: on TU10x.
    ///
    /// Facts: open-gpu-kernel-modules 570.144, `kgraphics_tu102.c`
    /// (`kgraphicsIsBug4208224WARNeeded_TU102`) and which chips have that method.
    pub(crate) const fn needs_scrubber(&self) -> bool {
        matches!(self.id, 0x162 | 0x164 | 0x166)
    }
}

static TURING: Hal = Hal {
    gsp: &falcon::Tu102,
    sec2: &falcon::Tu102,
    memory: &mem::Tu102,
    heap: &mem::HeapRule::LIBOS2,
    images: Images::Loader,
};

static AMPERE: Hal = Hal {
    gsp: &falcon::Ga102,
    sec2: &falcon::Ga102,
    memory: &mem::Ga102,
    heap: &mem::HeapRule::LIBOS3,
    images: Images::BootRom,
};

/// Every supported chip.
pub(crate) static CHIPS: &[Chip] = &[
    Chip::new(
        0x162,
        "TU102",
        "tu102",
        ".fwsignature_tu10x",
        &TURING,
        &TURING_CLASSES,
    ),
    Chip::new(
        0x164,
        "TU104",
        "tu104",
        ".fwsignature_tu10x",
        &TURING,
        &TURING_CLASSES,
    ),
    Chip::new(
        0x166,
        "TU106",
        "tu106",
        ".fwsignature_tu10x",
        &TURING,
        &TURING_CLASSES,
    ),
    Chip::new(
        0x167,
        "TU117",
        "tu117",
        ".fwsignature_tu11x",
        &TURING,
        &TURING_CLASSES,
    ),
    Chip::new(
        0x168,
        "TU116",
        "tu116",
        ".fwsignature_tu11x",
        &TURING,
        &TURING_CLASSES,
    ),
    Chip::new(
        0x172,
        "GA102",
        "ga102",
        ".fwsignature_ga10x",
        &AMPERE,
        &AMPERE_CLASSES,
    ),
    Chip::new(
        0x173,
        "GA103",
        "ga103",
        ".fwsignature_ga10x",
        &AMPERE,
        &AMPERE_CLASSES,
    ),
    Chip::new(
        0x174,
        "GA104",
        "ga104",
        ".fwsignature_ga10x",
        &AMPERE,
        &AMPERE_CLASSES,
    ),
    Chip::new(
        0x176,
        "GA106",
        "ga106",
        ".fwsignature_ga10x",
        &AMPERE,
        &AMPERE_CLASSES,
    ),
    Chip::new(
        0x177,
        "GA107",
        "ga107",
        ".fwsignature_ga10x",
        &AMPERE,
        &AMPERE_CLASSES,
    ),
    // Ada's GSP, SEC2 and memory controller are driven exactly as GA102's.
    Chip::new(
        0x192,
        "AD102",
        "ad102",
        ".fwsignature_ad10x",
        &AMPERE,
        &ADA_CLASSES,
    ),
    Chip::new(
        0x193,
        "AD103",
        "ad103",
        ".fwsignature_ad10x",
        &AMPERE,
        &ADA_CLASSES,
    ),
    Chip::new(
        0x194,
        "AD104",
        "ad104",
        ".fwsignature_ad10x",
        &AMPERE,
        &ADA_CLASSES,
    ),
    Chip::new(
        0x196,
        "AD106",
        "ad106",
        ".fwsignature_ad10x",
        &AMPERE,
        &ADA_CLASSES,
    ),
    Chip::new(
        0x197,
        "AD107",
        "ad107",
        ".fwsignature_ad10x",
        &AMPERE,
        &ADA_CLASSES,
    ),
];

/// What a chip number means to this driver.
pub(crate) enum Identity {
    /// It can be driven.
    Supported(&'static Chip),
    /// Its generation had no GSP-RM firmware yet.
    TooOld,
    /// Its generation boots in a way that the driver does not know yet.
    NotYet,
}

/// Looks a chip number up.
pub(crate) fn identify(id: u16) -> Identity {
    /// The first chip with GSP-RM firmware.
    const TU102: u16 = 0x162;

    match CHIPS.iter().find(|chip| chip.id == id) {
        Some(chip) => Identity::Supported(chip),
        None if id < TU102 => Identity::TooOld,
        None => Identity::NotYet,
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_chip)]
mod tests {
    use super::*;

    #[test]
    fn generations() {
        // GP102, GV100.
        assert!(matches!(identify(0x132), Identity::TooOld));
        assert!(matches!(identify(0x140), Identity::TooOld));
        // GA100, GH100, GB202.
        assert!(matches!(identify(0x170), Identity::NotYet));
        assert!(matches!(identify(0x180), Identity::NotYet));
        assert!(matches!(identify(0x1b2), Identity::NotYet));
        assert!(matches!(identify(0x162), Identity::Supported(_)));
    }

    #[test]
    fn tu10x_alone_needs_a_scrubber() {
        for chip in CHIPS {
            // Also the chips whose firmware has that name for its signature.
            let tu10x = chip.signature == ".fwsignature_tu10x";
            assert_eq!(chip.needs_scrubber(), tu10x);
        }
    }

    #[test]
    fn table_is_sorted_and_unique() {
        assert!(CHIPS.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
