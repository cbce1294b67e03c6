// SPDX-License-Identifier: GPL-2.0 OR MIT

//! USERD: 512 bytes a channel through which driver and Host tell each other how far they are.

use crate::env::mem::{MemError, Memory, Phys};

/// Bytes, and alignment.
pub const SIZE: u64 = 512;

const PUT: u64 = 0x40;
const GET: u64 = 0x44;
const REF: u64 = 0x48;
const PUT_HI: u64 = 0x4c;
const TOP_LEVEL_GET: u64 = 0x58;
const TOP_LEVEL_GET_HI: u64 = 0x5c;
const GET_HI: u64 = 0x60;
const GP_GET: u64 = 0x88;
const GP_PUT: u64 = 0x8c;

/// What Host writes back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// End of the segment being fetched.
    pub put: u64,
    /// Next word of the pushbuffer.
    pub get: u64,
    /// The same in the main pushbuffer.
    pub top_level_get: u64,
    /// Value of the last SET_REFERENCE.
    pub reference: u32,
    /// Next GPFIFO entry.
    pub gp_get: u32,
}

/// Reads GP_PUT, the only input.
pub fn gp_put(mem: &mut Memory, userd: Phys) -> Result<u32, MemError> {
    mem.read_u32(userd.offset(GP_PUT))
}

/// Writes back what changed since `old`.
pub fn write_back(
    mem: &mut Memory,
    userd: Phys,
    old: &Progress,
    new: &Progress,
) -> Result<(), MemError> {
    let mut pair = |lo: u64, hi: u64, old: u64, new: u64| {
        if old == new {
            return Ok(());
        }
        mem.write_u32(userd.offset(hi), (new >> 32) as u32)?;
        mem.write_u32(userd.offset(lo), new as u32)
    };
    pair(PUT, PUT_HI, old.put, new.put)?;
    pair(GET, GET_HI, old.get, new.get)?;
    pair(TOP_LEVEL_GET, TOP_LEVEL_GET_HI, old.top_level_get, new.top_level_get)?;
    if old.reference != new.reference {
        mem.write_u32(userd.offset(REF), new.reference)?;
    }
    if old.gp_get != new.gp_get {
        mem.write_u32(userd.offset(GP_GET), new.gp_get)?;
    }
    Ok(())
}
