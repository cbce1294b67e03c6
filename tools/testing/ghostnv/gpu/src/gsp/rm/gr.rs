// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Graphics: objects of the graphics engine, its configuration, and the sizes of its context
//! buffers.
//!
//! Sizes of context buffers and zcull geometry are free choices: nothing here saves a context.

use super::{Allocation, Body, Control, Key, Kind, Rm, bad_params, promote};
use crate::chip::EngineKind;
use crate::gsp::bytes::{put_u32, u8_at, u32_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;

/// Controls of graphics.
pub const CONTROLS: &[Control] = &[
    Control { cmd: 0x2080_0137, on: Kind::Subdevice, size: 4, run: gpc_info },
    Control { cmd: 0x2080_0138, on: Kind::Subdevice, size: 8, run: tpc_info },
    Control { cmd: 0x2080_0a32, on: Kind::Subdevice, size: 1664, run: context_buffers },
    Control { cmd: 0x2080_0a46, on: Kind::Subdevice, size: 1, run: scrubber },
    Control { cmd: 0x2080_1206, on: Kind::Subdevice, size: 40, run: zcull_info },
];

/// One context buffer.
pub struct ContextBuffer {
    /// Its index in the table (`NV0080_CTRL_FIFO_GET_ENGINE_CONTEXT_PROPERTIES_ENGINE_ID`).
    pub engine_id: usize,
    /// Its id in PROMOTE_CTX (`NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ID`), if it is promoted.
    pub promote_id: Option<u32>,
    /// Size in bytes.
    pub size: u32,
    /// Alignment.
    pub align: u32,
}

const fn buffer(engine_id: usize, promote_id: Option<u32>, size: u32, align: u32) -> ContextBuffer {
    ContextBuffer { engine_id, promote_id, size, align }
}

/// The context buffers of the graphics engine.
pub const CONTEXT_BUFFERS: &[ContextBuffer] = &[
    buffer(0x00, Some(promote::MAIN), 0x9_0000, 0x1000),
    buffer(0x08, None, 0x8_0000, 0x1000),
    buffer(0x0d, Some(promote::PAGEPOOL), 0x2_0000, 0x100),
    buffer(0x10, Some(promote::PATCH), 0x2000, 0x1000),
    buffer(0x11, Some(promote::BUNDLE_CB), 0x3000, 0x100),
    buffer(0x13, Some(promote::ATTRIBUTE_CB), 0x4_0000, 0x1_0000),
    buffer(0x14, Some(promote::RTV_CB_GLOBAL), 0x1_0000, 0x1000),
    buffer(0x17, Some(promote::FECS_EVENT), 0x1_0000, 0x1000),
    buffer(0x18, Some(promote::PRIV_ACCESS_MAP), 0x8_0000, 0x1000),
];

/// Makes an object of the graphics engine; its context buffers must be known by then.
pub fn make(rm: &mut Rm, hw: &mut Machine, ask: &Allocation, _: &mut [u8]) -> Outcome<Body> {
    let channel = rm.channel((ask.client, ask.parent))?;
    let (chid, runlist, missing) =
        (channel.chid, channel.runlist, promote::NEEDED & !channel.promoted);
    let graphics =
        hw.chip.engines.iter().any(|e| e.kind == EngineKind::Graphics && e.runlist == runlist);
    if !graphics {
        return bad_params(hw, format!("class {:#x} on runlist {runlist}", ask.class));
    }
    if missing != 0 {
        let text =
            format!("class {:#x} on channel {chid}, buffers {missing:#x} missing", ask.class);
        hw.env.violation("gr-context", text);
        return Err(Status::INVALID_STATE);
    }
    hw.host.attach(chid, ask.class).map_err(|_| Status::INVALID_STATE)?;
    rm.channel((ask.client, ask.parent))?.bound = true;
    Ok(Body::Engine { chid })
}

fn gpc_info(_: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let count = hw.chip.gpcs.len().min(31) as u32;
    put_u32(params, 0, (1 << count) - 1);
    Ok(())
}

fn tpc_info(_: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let gpc = u32_at(params, 0);
    match hw.chip.gpcs.get(gpc as usize) {
        Some(tpcs) => put_u32(params, 4, *tpcs),
        None => return bad_params(hw, format!("TPCs of GPC {gpc}")),
    }
    Ok(())
}

/// The table has 8 graphics engines of 26 buffers each; there is one.
fn context_buffers(_: &mut Rm, _: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    params.fill(0);
    for buffer in CONTEXT_BUFFERS {
        put_u32(params, buffer.engine_id * 8, buffer.size);
        put_u32(params, buffer.engine_id * 8 + 4, buffer.align);
    }
    Ok(())
}

/// TU10x: RM uses, or gives up, the channel that the driver made for scrubbing. It looks for it in the
/// client of the call, by a handle of its own (`KGRAPHICS_SCRUBBER_HANDLE_CHANNEL`).
fn scrubber(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    const CHANNEL: u32 = 0xdada_0045;

    if u8_at(params, 0) > 1 {
        return bad_params(hw, "bTeardown is no boolean");
    }
    if !rm.channel((key.0, CHANNEL)).is_ok_and(|channel| channel.bound) {
        let text = format!("client {:#x} has no channel {CHANNEL:#x} with a 3D object", key.0);
        hw.env.violation("gr-scrubber", text);
        return Err(Status::INVALID_STATE);
    }
    Ok(())
}

fn zcull_info(_: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let gpcs = hw.chip.gpcs.len() as u32;
    let fields = [gpcs * 64, 32, 2048, gpcs * 4096, 32, 0x80, 0xc0, 16, gpcs * 64, 64];
    for (i, field) in fields.iter().enumerate() {
        put_u32(params, 4 * i, *field);
    }
    Ok(())
}
