// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables that describe the chip to a driver: interrupt vectors, engines, memory system.

use super::{Control, Key, Kind, Rm};
use crate::chip::{Arch, Engine, EngineKind};
use crate::gsp::bytes::{put_str, put_u8, put_u16, put_u32, put_u64, u32_at};
use crate::gsp::function::Outcome;
use crate::machine::Machine;

/// Controls with tables.
pub const CONTROLS: &[Control] = &[
    Control { cmd: 0x2080_01b0, on: Kind::Subdevice, size: 1284, run: constructed_falcons },
    Control { cmd: 0x2080_0a1c, on: Kind::Subdevice, size: 40, run: memsys_config },
    Control { cmd: 0x2080_0a5c, on: Kind::Subdevice, size: 2068, run: interrupt_table },
    Control { cmd: 0x2080_1112, on: Kind::Subdevice, size: 3212, run: device_info },
];

/// `MC_ENGINE_IDX_GSP`.
const MC_GSP: u16 = 50;
/// `NV_INTR_VECTOR_INVALID`.
const NO_VECTOR: u32 = u32::MAX;
/// Entries of the interrupt table.
const MAX_VECTORS: usize = 128;
/// Entries of a reply of the device info table, and their size.
const MAX_DEVICES: usize = 32;
const DEVICE: usize = 100;
/// Runlist registers of Ampere and later: one block a runlist.
const RUNLIST_PRI: u32 = 0x00a0_0000;
const RUNLIST_STRIDE: u32 = 0x1_0000;
const CHRAM_PRI: u32 = 0x00b0_0000;
/// `NV_PTOP_DEVICE_INFO` types.
const TYPE_GRAPHICS: u32 = 0;
const TYPE_LCE: u32 = 0x13;

/// No engine here is a falcon that RM runs with a context buffer.
fn constructed_falcons(_: &mut Rm, _: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    params.fill(0);
    Ok(())
}

fn memsys_config(_: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    params.fill(0);
    put_u8(params, 2, (hw.chip.arch >= Arch::Ampere).into());
    put_u64(params, 8, 6 << 20);
    put_u8(params, 16, 1);
    put_u32(params, 20, 64 << 10);
    put_u32(params, 24, 16);
    Ok(())
}

fn interrupt_table(_: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let gsp = (MC_GSP, hw.chip.gsp_vector, NO_VECTOR);
    let engines = hw.chip.engines.iter().map(|e| (e.mc_idx, e.stall, e.nonstall));
    let vectors: Vec<_> = std::iter::once(gsp).chain(engines).take(MAX_VECTORS).collect();
    params.fill(0);
    put_u32(params, 0, vectors.len() as u32);
    for (i, (mc_idx, stall, nonstall)) in vectors.into_iter().enumerate() {
        let at = 4 + 16 * i;
        put_u16(params, at, mc_idx);
        put_u32(params, at + 8, stall);
        put_u32(params, at + 12, nonstall);
    }
    Ok(())
}

fn device_info(_: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let base = u32_at(params, 0) as usize;
    let engines = hw.chip.engines;
    let page: Vec<&Engine> = engines.iter().skip(base).take(MAX_DEVICES).collect();
    params.fill(0);
    put_u32(params, 0, base as u32);
    put_u32(params, 4, page.len() as u32);
    put_u8(params, 8, (engines.len() > base.saturating_add(MAX_DEVICES)).into());
    for (i, engine) in page.into_iter().enumerate() {
        let nth = engines.iter().take(base + i).filter(|e| e.runlist == engine.runlist).count();
        let at = 12 + i * DEVICE;
        if let Some(entry) = params.get_mut(at..at + DEVICE) {
            device_entry(entry, hw.chip.arch, engine, nth as u32);
        }
    }
    Ok(())
}

/// One engine; `nth` of its runlist.
fn device_entry(entry: &mut [u8], arch: Arch, engine: &Engine, nth: u32) {
    let (dev_type, instance) = match engine.kind {
        EngineKind::Graphics => (TYPE_GRAPHICS, 0),
        EngineKind::Copy(n) => (TYPE_LCE, n.into()),
    };
    let (runlist_pri, chram_pri) = match arch {
        Arch::Turing => (0, 0),
        _ => (
            RUNLIST_PRI + engine.runlist * RUNLIST_STRIDE,
            CHRAM_PRI + engine.runlist * RUNLIST_STRIDE,
        ),
    };
    let data = [
        u32::from(engine.mc_idx) << 8,
        engine.rm_type,
        engine.rm_type,
        engine.runlist,
        engine.fault_id,
        0,
        0,
        0,
        engine.mc_idx.into(),
        dev_type,
        instance,
        runlist_pri,
        1,
        nth,
        chram_pri,
        0,
    ];
    for (i, word) in data.iter().enumerate() {
        put_u32(entry, 4 * i, *word);
    }
    put_u32(entry, 64, engine.runlist);
    put_u32(entry, 72, 32 + engine.runlist);
    put_u32(entry, 80, 1);
    put_str(entry, 84, 16, engine.name);
}
