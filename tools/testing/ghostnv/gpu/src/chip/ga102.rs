// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GA102 (Ampere, GeForce RTX 3090).

use super::{Arch, Chip, Classes, Engine, EngineKind};

/// The engines of GA102 and AD102: GR with two GRCEs on runlist 0, two copy engines of their own.
pub(super) const ENGINES: &[Engine] = &[
    Engine {
        kind: EngineKind::Graphics,
        rm_type: 1,
        runlist: 0,
        fault_id: 64,
        mc_idx: 84,
        nonstall: 0,
        stall: 160,
        name: "GR0",
    },
    copy(0, 0),
    copy(1, 0),
    copy(2, 1),
    copy(3, 2),
];

const fn copy(n: u8, runlist: u32) -> Engine {
    Engine {
        kind: EngineKind::Copy(n),
        rm_type: 9 + n as u32,
        runlist,
        fault_id: 15 + n as u32,
        mc_idx: 15 + n as u16,
        nonstall: 1 + n as u32,
        stall: u32::MAX,
        name: match n {
            0 => "CE0",
            1 => "CE1",
            2 => "CE2",
            _ => "CE3",
        },
    }
}

/// GA102.
pub const GA102: Chip = Chip {
    name: "ga102",
    marketing: "NVIDIA GeForce RTX 3090",
    arch: Arch::Ampere,
    boot0: 0x1720_00a1,
    boot42: 0x172a_1000,
    device_id: 0x2204,
    classes: Classes {
        channel: 0xc56f,
        usermode: 0xc561,
        copy: 0xc7b5,
        three_d: 0xc797,
        compute: 0xc7c0,
        two_d: 0x902d,
        i2m: 0xa140,
    },
    engines: ENGINES,
    gpcs: &[0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x1f],
    gsp_vector: 131,
    vram_mib: 4096,
};
