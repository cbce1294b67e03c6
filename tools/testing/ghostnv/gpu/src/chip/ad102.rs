// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AD102 (Ada, GeForce RTX 4090).

use super::ga102::ENGINES;
use super::{Arch, Chip, Classes};

/// AD102.
pub const AD102: Chip = Chip {
    name: "ad102",
    marketing: "NVIDIA GeForce RTX 4090",
    arch: Arch::Ada,
    boot0: 0x1920_00a1,
    boot42: 0x192a_1000,
    device_id: 0x2684,
    classes: Classes {
        channel: 0xc56f,
        usermode: 0xc561,
        copy: 0xc7b5,
        three_d: 0xc997,
        compute: 0xc9c0,
        two_d: 0x902d,
        i2m: 0xa140,
    },
    engines: ENGINES,
    gpcs: &[0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x0f],
    gsp_vector: 131,
    vram_mib: 4096,
};
