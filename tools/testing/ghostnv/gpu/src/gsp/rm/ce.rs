// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Copy engine objects, and what the driver must know of the engines.

use super::{Allocation, Body, Control, Key, Kind, Rm, bad_params};
use crate::chip::EngineKind;
use crate::gsp::bytes::{put_u32, u32_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;

/// Size of NVC0B5_ALLOCATION_PARAMETERS.
pub const PARAMS: usize = 8;
/// Parameters name an engine type; version 0 names an instance.
const VERSION_1: u32 = 1;
/// RM engine type of COPY0.
const COPY0: u32 = 9;
/// Bytes of methods that a faulted copy engine saves.
const FAULT_METHOD_BUFFER: u32 = 0x2000;

/// Controls of copy engines.
pub const CONTROLS: &[Control] =
    &[Control { cmd: 0x2080_2a08, on: Kind::Subdevice, size: 4, run: fault_method_buffer_size }];

/// Makes a copy object: the engine must be on the channel's runlist.
pub fn make(rm: &mut Rm, hw: &mut Machine, ask: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    let (version, named) = (u32_at(params, 0), u32_at(params, 4));
    let rm_type = if version == VERSION_1 { named } else { COPY0.saturating_add(named) };
    let channel = rm.channel((ask.client, ask.parent))?;
    let (chid, runlist) = (channel.chid, channel.runlist);
    let fits = hw
        .chip
        .engine(rm_type)
        .is_some_and(|e| matches!(e.kind, EngineKind::Copy(_)) && e.runlist == runlist);
    if !fits {
        return bad_params(hw, format!("copy engine type {rm_type} on runlist {runlist}"));
    }
    hw.host.attach(chid, ask.class).map_err(|_| Status::INVALID_STATE)?;
    rm.channel((ask.client, ask.parent))?.bound = true;
    Ok(Body::Engine { chid })
}

fn fault_method_buffer_size(_: &mut Rm, _: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    put_u32(params, 0, FAULT_METHOD_BUFFER);
    Ok(())
}
