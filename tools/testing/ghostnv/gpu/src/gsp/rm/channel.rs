// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GPFIFO channels (KEPLER_CHANNEL_GPFIFO_A's descendants).
//!
//! The driver places the channel's memory itself and names it physically: instance block, RAMFC in
//! it, USERD, the fault method buffer. RM checks what it is given, because from here on hardware
//! trusts it: memory must be the driver's to give and belong to no other channel.

use std::ops::Range;

use super::group::Group;
use super::{Allocation, Body, Control, Key, Kind, Rm, bad_params};
use crate::chip::Engine;
use crate::env::mem::{Aperture, Phys};
use crate::gsp::bytes::{put_u32, u8_at, u32_at, u64_at};
use crate::gsp::function::{Outcome, Status};
use crate::host::{ChannelSpec, HostError};
use crate::machine::Machine;
use crate::mmu::VasId;

/// Size of NV_CHANNEL_ALLOC_PARAMS.
pub const PARAMS: usize = 368;
/// Channel ids of the chip; RM keeps the first for itself.
const CHANNELS: Range<u32> = 1..2048;
/// Sizes and alignments of a channel's memory.
const INSTANCE: u64 = 0x1000;
const RAMFC: u64 = 0x200;
const USERD: u64 = 0x200;
/// A GPFIFO lies within 40 bits.
const GPFIFO_END: u64 = 1 << 40;

/// Controls of channels.
pub const CONTROLS: &[Control] = &[
    Control { cmd: 0xa06f_0103, on: Kind::Channel, size: 2, run: schedule },
    Control { cmd: 0xa06f_0104, on: Kind::Channel, size: 4, run: bind },
    Control { cmd: 0xa06f_0112, on: Kind::Channel, size: 1, run: stop },
    Control { cmd: 0xc36f_0108, on: Kind::Channel, size: 4, run: work_submit_token },
];

/// A channel.
pub struct Channel {
    /// Its id.
    pub chid: u32,
    /// Its runlist.
    pub runlist: u32,
    /// Its address space.
    pub vas: VasId,
    /// Host may run it.
    pub scheduled: bool,
    /// Robust-channel recovery took it off its runlist.
    pub dead: bool,
    /// An engine is known: by BIND or by an engine object.
    pub bound: bool,
    /// Graphics context buffers that were promoted, a bit for each id.
    pub promoted: u32,
    memory: [Extent; 2],
}

/// Memory that belongs to a channel.
type Extent = (Aperture, Range<u64>);

impl Channel {
    /// Takes the channel from Host.
    pub fn destroy(&self, hw: &mut Machine) {
        // Host knows every channel of the tree.
        let _ = hw.host.destroy(&mut hw.env, self.chid);
    }

    /// Lets Host run it or not, without changing what the driver asked for.
    pub fn run(&self, hw: &mut Machine, enable: bool) {
        if self.scheduled && !self.dead {
            let _ = hw.host.schedule(self.chid, enable);
        }
    }

    fn schedule(&mut self, hw: &mut Machine, enable: bool) -> Outcome {
        if enable && self.dead {
            return Err(Status::INVALID_STATE);
        }
        hw.host.schedule(self.chid, enable).map_err(host_status)?;
        self.scheduled = enable;
        Ok(())
    }
}

/// `NV_MEMORY_DESC_PARAMS`.
struct MemoryDesc {
    base: u64,
    size: u64,
    space: u32,
}

impl MemoryDesc {
    fn read(params: &[u8], off: usize) -> Self {
        Self {
            base: u64_at(params, off),
            size: u64_at(params, off + 8),
            space: u32_at(params, off + 16),
        }
    }

    /// `ADDR_SYSMEM` 1, `ADDR_FBMEM` 2.
    fn phys(&self) -> Option<Phys> {
        match self.space {
            1 => Some(Phys::sys(self.base)),
            2 => Some(Phys::vram(self.base)),
            _ => None,
        }
    }
}

/// Makes a channel; it runs once it is scheduled.
pub fn make(rm: &mut Rm, hw: &mut Machine, ask: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    let engine = engine(hw, u32_at(params, 128))?;
    let flags = u32_at(params, 20);
    let vas = channel_vas(rm, hw, ask, u32_at(params, 28))?;
    let (gpfifo, entries) = (u64_at(params, 8), u32_at(params, 16));
    if !entries.is_power_of_two()
        || gpfifo % 8 != 0
        || gpfifo.checked_add(u64::from(entries) * 8).is_none_or(|end| end > GPFIFO_END)
    {
        return bad_params(hw, format!("GPFIFO {gpfifo:#x} with {entries} entries"));
    }
    let inst = place(rm, hw, "instance block", &MemoryDesc::read(params, 144), INSTANCE)?;
    let userd = place(rm, hw, "USERD", &MemoryDesc::read(params, 168), USERD)?;
    let ramfc = MemoryDesc::read(params, 192);
    if ramfc.base != inst.addr || ramfc.size != RAMFC {
        return bad_params(hw, format!("RAMFC {:#x}+{:#x}, {inst}", ramfc.base, ramfc.size));
    }
    let chid = channel_id(rm, hw, flags)?;
    check_method_buffer(hw, ask.handle, &MemoryDesc::read(params, 216));
    let privileged = flags & 1 << 5 != 0;
    let spec = ChannelSpec {
        chid,
        rm_type: engine.rm_type,
        runlist: engine.runlist,
        inst,
        userd,
        gpfifo,
        entries,
        vas,
        privileged,
    };
    hw.host.create(&mut hw.env, spec).map_err(host_status)?;
    put_u32(params, 132, chid);
    Ok(Body::Channel(Box::new(Channel {
        chid,
        runlist: engine.runlist,
        vas,
        scheduled: false,
        dead: false,
        bound: false,
        promoted: 0,
        memory: [extent(inst, INSTANCE), extent(userd, USERD)],
    })))
}

/// The first engine on the runlist of the engine that the driver names.
fn engine(hw: &mut Machine, rm_type: u32) -> Outcome<&'static Engine> {
    let chip = hw.chip;
    let first = chip
        .engine(rm_type)
        .and_then(|named| chip.engines.iter().find(|e| e.runlist == named.runlist));
    match first {
        Some(engine) => Ok(engine),
        None => bad_params(hw, format!("channel for engine type {rm_type}")),
    }
}

/// The address space: named, or its group's.
fn channel_vas(rm: &Rm, hw: &mut Machine, ask: &Allocation, named: u32) -> Outcome<VasId> {
    let group = rm.objects.get(&(ask.client, ask.parent)).map(|object| &object.body);
    if let (0, Some(Body::Group(Group { vas, .. }))) = (named, group) {
        return Ok(*vas);
    }
    Ok(rm.vaspace(hw, (ask.client, named))?.id)
}

/// Checks where a part of the channel is.
fn place(rm: &mut Rm, hw: &mut Machine, what: &str, desc: &MemoryDesc, size: u64) -> Outcome<Phys> {
    let at = match desc.phys() {
        Some(at) if desc.size >= size && at.addr % size == 0 => at,
        _ => {
            let text = format!("{what} {:#x}+{:#x} space {}", desc.base, desc.size, desc.space);
            return bad_params(hw, text);
        }
    };
    if !rm.vram.allows(hw, at, size) {
        hw.env.violation("channel-memory", format!("{what} at {at} is not the driver's to give"));
        return Err(Status::INVALID_ADDRESS);
    }
    let (aperture, range) = extent(at, size);
    let taken = rm.channels().find(|c| {
        c.memory.iter().any(|(a, r)| *a == aperture && r.start < range.end && range.start < r.end)
    });
    if let Some(other) = taken {
        let text = format!("{what} at {at} belongs to channel {}", other.chid);
        hw.env.violation("channel-memory", text);
        return Err(Status::INVALID_ADDRESS);
    }
    Ok(at)
}

fn extent(at: Phys, size: u64) -> Extent {
    (at.aperture, at.addr..at.addr.saturating_add(size))
}

/// Hardware writes the fault method buffer when a fault switches a copy engine's context out.
fn check_method_buffer(hw: &mut Machine, handle: u32, desc: &MemoryDesc) {
    let reachable = match (desc.phys(), usize::try_from(desc.size)) {
        (Some(at), Ok(size)) if size > 0 => hw.env.mem.check(at, size, true).is_ok(),
        _ => false,
    };
    if !reachable {
        let MemoryDesc { base, size, space } = desc;
        let text = format!("channel {handle:#x}: {base:#x}+{size:#x} space {space}");
        hw.env.violation("channel-method-buffer", text);
    }
}

/// The id is where the driver put USERD in RM's eyes: 8 channels a page.
fn channel_id(rm: &mut Rm, hw: &mut Machine, flags: u32) -> Outcome<u32> {
    let page_fixed = flags & 1 << 21 != 0;
    let chid = if page_fixed {
        (flags >> 12 & 0x1ff) * 8 + (flags >> 8 & 7)
    } else {
        let mut taken: Vec<u32> = rm.channels().map(|c| c.chid).collect();
        taken.sort_unstable();
        let mut ids = CHANNELS;
        ids.find(|id| taken.binary_search(id).is_err()).ok_or(Status::INSUFFICIENT_RESOURCES)?
    };
    if !CHANNELS.contains(&chid) || rm.channels().any(|c| c.chid == chid) {
        hw.env.violation("channel-id", format!("channel id {chid} is taken"));
        return Err(Status::IN_USE);
    }
    Ok(chid)
}

fn host_status(error: HostError) -> Status {
    match error {
        HostError::InUse => Status::IN_USE,
        HostError::NoChannel => Status::INVALID_CHANNEL,
        HostError::Invalid => Status::INVALID_ARGUMENT,
    }
}

impl Rm {
    /// Robust-channel recovery took a channel off its runlist.
    pub fn channel_died(&mut self, chid: u32) {
        if let Some(channel) = self.channels().find(|c| c.chid == chid) {
            channel.dead = true;
        }
    }
}

fn schedule(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let enable = u8_at(params, 0) != 0;
    let channel = rm.channel(key)?;
    if enable && !channel.bound {
        let text = format!("channel {} scheduled without an engine", channel.chid);
        hw.env.violation("channel-schedule", text);
        return Err(Status::INVALID_STATE);
    }
    channel.schedule(hw, enable)
}

fn bind(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let rm_type = u32_at(params, 0);
    let channel = rm.channel(key)?;
    match hw.chip.engine(rm_type) {
        Some(engine) if engine.runlist == channel.runlist => {
            channel.bound = true;
            Ok(())
        }
        _ => {
            let text = format!("channel {} bound to engine type {rm_type}", channel.chid);
            bad_params(hw, text)
        }
    }
}

fn stop(rm: &mut Rm, hw: &mut Machine, key: Key, _: &mut [u8]) -> Outcome {
    let channel = rm.channel(key)?;
    channel.bound = false;
    channel.schedule(hw, false)
}

fn work_submit_token(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let channel = rm.channel(key)?;
    put_u32(params, 0, hw.host.token(channel.runlist, channel.chid));
    Ok(())
}
