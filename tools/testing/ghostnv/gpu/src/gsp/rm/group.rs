// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Channel groups (KEPLER_CHANNEL_GROUP_A): channels of one address space that share a time slice.

use super::{Allocation, Body, Control, Key, Kind, Rm, bad_params};
use crate::gsp::bytes::{u8_at, u32_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;
use crate::mmu::VasId;

/// KEPLER_CHANNEL_GROUP_A.
pub const CLASS: u32 = 0xa06c;
/// Size of NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS.
pub const PARAMS: usize = 20;

/// Controls of channel groups.
pub const CONTROLS: &[Control] = &[
    Control { cmd: 0xa06c_0101, on: Kind::Group, size: 2, run: schedule },
    Control { cmd: 0xa06c_0102, on: Kind::Group, size: 4, run: bind },
];

/// A channel group.
pub struct Group {
    /// Address space of its channels, unless they name one.
    pub vas: VasId,
}

/// Makes a group.
pub fn make(rm: &mut Rm, hw: &mut Machine, ask: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    let vas = rm.vaspace(hw, (ask.client, u32_at(params, 8)))?.id;
    let rm_type = u32_at(params, 12);
    if hw.chip.engine(rm_type).is_none() {
        return bad_params(hw, format!("channel group for engine type {rm_type}"));
    }
    Ok(Body::Group(Group { vas }))
}

/// Runs a channel control on every channel of the group.
fn each(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8], cmd: u32) -> Outcome {
    let group = rm.objects.get(&key).ok_or(Status::OBJECT_NOT_FOUND)?;
    let channels: Vec<u32> = group.children.iter().copied().collect();
    for handle in channels {
        rm.control(hw, key.0, handle, cmd, params)?;
    }
    Ok(())
}

fn schedule(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let mut params = [u8_at(params, 0), u8_at(params, 1)];
    each(rm, hw, key, &mut params, 0xa06f_0103)
}

fn bind(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    each(rm, hw, key, params, 0xa06f_0104)
}
