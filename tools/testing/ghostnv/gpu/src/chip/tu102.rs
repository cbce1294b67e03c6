// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TU102 (Turing, GeForce RTX 2080 Ti).

use super::ga102::ENGINES;
use super::{Arch, Chip, Classes};

/// TU102.
pub const TU102: Chip = Chip {
    name: "tu102",
    marketing: "NVIDIA GeForce RTX 2080 Ti",
    arch: Arch::Turing,
    boot0: 0x1620_00a1,
    boot42: 0x162a_1000,
    device_id: 0x1e04,
    classes: Classes {
        channel: 0xc46f,
        usermode: 0xc461,
        copy: 0xc5b5,
        three_d: 0xc597,
        compute: 0xc5c0,
        two_d: 0x902d,
        i2m: 0xa140,
    },
    engines: ENGINES,
    gpcs: &[0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x0f],
    gsp_vector: 131,
    vram_mib: 4096,
};
