// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GPU_PROMOTE_CTX: the driver gives RM the context buffers of a channel.
//!
//! A buffer that RM shall initialize comes with its physical address; a buffer that the engine uses
//! comes with a virtual address in the channel's address space. Both must be right when the call is
//! made: the virtual range is walked here, at its first and last byte.

use super::gr::CONTEXT_BUFFERS;
use super::{Control, Key, Kind, Rm, bad_params};
use crate::chip::EngineKind;
use crate::env::mem::{Aperture, Phys};
use crate::gsp::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;
use crate::mmu::VasId;

/// Main context image.
pub const MAIN: u32 = 0;
/// Patch buffer.
pub const PATCH: u32 = 2;
/// Bundle circular buffer.
pub const BUNDLE_CB: u32 = 3;
/// Page pool.
pub const PAGEPOOL: u32 = 4;
/// Attribute circular buffer.
pub const ATTRIBUTE_CB: u32 = 5;
/// RTV circular buffer.
pub const RTV_CB_GLOBAL: u32 = 6;
/// FECS event buffer.
pub const FECS_EVENT: u32 = 9;
/// Access map for registers.
pub const PRIV_ACCESS_MAP: u32 = 10;
/// Last id.
const LAST: u32 = 12;
/// What a graphics object cannot do without.
pub const NEEDED: u32 = 1 << MAIN
    | 1 << PATCH
    | 1 << BUNDLE_CB
    | 1 << PAGEPOOL
    | 1 << ATTRIBUTE_CB
    | 1 << RTV_CB_GLOBAL;

const MAX_ENTRIES: u32 = 16;
const ENTRY: usize = 32;
const ENTRIES: usize = 48;

/// The control.
pub const CONTROLS: &[Control] =
    &[Control { cmd: 0x2080_012b, on: Kind::Subdevice, size: 560, run: promote_ctx }];

/// NV2080_CTRL_GPU_PROMOTE_CTX_BUFFER_ENTRY.
struct Entry {
    phys: u64,
    virt: u64,
    size: u64,
    attr: u32,
    id: u32,
    initialize: bool,
    nonmapped: bool,
}

impl Entry {
    fn read(params: &[u8], i: usize) -> Self {
        let at = ENTRIES + i * ENTRY;
        Self {
            phys: u64_at(params, at),
            virt: u64_at(params, at + 8),
            size: u64_at(params, at + 16),
            attr: u32_at(params, at + 24),
            id: u16_at(params, at + 28).into(),
            initialize: u8_at(params, at + 30) != 0,
            nonmapped: u8_at(params, at + 31) != 0,
        }
    }

    /// Size that the engine expects.
    fn expected(&self) -> u64 {
        let known = CONTEXT_BUFFERS.iter().find(|b| b.promote_id == Some(self.id));
        known.map_or(1, |b| b.size.into())
    }
}

fn promote_ctx(rm: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let (rm_type, count) = (u32_at(params, 0), u32_at(params, 40));
    let key = (u32_at(params, 12), u32_at(params, 16));
    let kind = rm.kind(hw, key)?;
    if kind != Kind::Channel {
        hw.env.violation("rm-class", format!("context of a {kind:?}"));
        return Err(Status::INVALID_OBJECT_HANDLE);
    }
    let channel = rm.channel(key)?;
    let (chid, vas, runlist) = (channel.chid, channel.vas, channel.runlist);
    let engine = hw.chip.engine(rm_type).filter(|e| e.runlist == runlist);
    if engine.is_none_or(|e| e.kind != EngineKind::Graphics) || count > MAX_ENTRIES {
        let text = format!("context of engine type {rm_type}, channel {chid}, {count} buffers");
        return bad_params(hw, text);
    }
    let mut promoted = 0;
    for i in 0..count as usize {
        let entry = Entry::read(params, i);
        check(rm, hw, chid, vas, &entry)?;
        promoted |= 1 << entry.id;
    }
    rm.channel(key)?.promoted |= promoted;
    Ok(())
}

fn check(rm: &Rm, hw: &mut Machine, chid: u32, vas: VasId, entry: &Entry) -> Outcome {
    let Entry { phys, virt, size, attr, id, .. } = *entry;
    if id > LAST {
        return bad_params(hw, format!("context buffer id {id}"));
    }
    if entry.initialize {
        let aperture = match attr & 3 {
            0 => Aperture::Vram,
            1 => Aperture::SysCoherent,
            _ => Aperture::SysNonCoherent,
        };
        let at = Phys { aperture, addr: phys };
        if size < entry.expected() || !rm.vram.allows(hw, at, size) {
            let text = format!("channel {chid}, buffer {id} at {at}+{size:#x}");
            hw.env.violation("gr-context", text);
            return Err(Status::INVALID_ADDRESS);
        }
    }
    if entry.nonmapped {
        return Ok(());
    }
    let length = size.max(entry.expected());
    let root = hw.mmu.vas_root(vas);
    for va in [virt, virt.saturating_add(length - 1)] {
        // Context buffers are mapped for privileged clients only.
        if let Err(fault) = hw.mmu.probe(&mut hw.env, root, va) {
            let text = format!("channel {chid}, buffer {id} at {va:#x}: {:?}", fault.kind);
            hw.env.violation("gr-context", text);
            return Err(Status::INVALID_ADDRESS);
        }
    }
    Ok(())
}
