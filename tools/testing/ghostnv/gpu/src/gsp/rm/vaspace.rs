// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Address spaces (FERMI_VASPACE_A).
//!
//! The driver owns the page tables. An *externally owned* space gets its root by
//! DMA_SET_PAGE_DIRECTORY; in any other space RM owns the 512 MiB from 4 GiB on, and the driver
//! lends it the directories above them by VASPACE_COPY_SERVER_RESERVED_PDES.

use super::{Allocation, Body, Control, Key, Kind, Rm, bad_params};
use crate::env::mem::{Aperture, Phys};
use crate::gsp::bytes::{u8_at, u32_at, u64_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;
use crate::mmu::VasId;

/// FERMI_VASPACE_A.
pub const CLASS: u32 = 0x90f1;
/// Size of NV_VASPACE_ALLOCATION_PARAMETERS.
pub const PARAMS: usize = 48;
/// NV_VASPACE_ALLOCATION_FLAGS_IS_EXTERNALLY_OWNED.
const EXTERNALLY_OWNED: u32 = 1 << 3;
/// The range that RM owns in a space of its own.
const SERVER: std::ops::RangeInclusive<u64> = 0x1_0000_0000..=0x1_1fff_ffff;
/// Page shift of the top level, version 2 page tables.
const TOP_SHIFT: u8 = 47;
/// Entries of the top level.
const TOP_ENTRIES: u32 = 4;
/// Levels that fit the parameters, and their stride.
const MAX_LEVELS: u32 = 6;
const LEVEL: usize = 24;
const PAGE: u64 = 0x1000;

/// Controls of address spaces.
pub const CONTROLS: &[Control] = &[
    Control { cmd: 0x0080_1813, on: Kind::Device, size: 32, run: set_page_directory },
    Control { cmd: 0x0080_1814, on: Kind::Device, size: 8, run: unset_page_directory },
    Control { cmd: 0x90f1_0106, on: Kind::VaSpace, size: 184, run: copy_reserved_pdes },
];

/// An address space.
pub struct VaSpace {
    /// Its number in the MMU.
    pub id: VasId,
    /// Its page directory while the GPU is suspended.
    pub root: Option<Phys>,
    external: bool,
}

/// Makes an address space without page tables.
pub fn make(_: &mut Rm, hw: &mut Machine, _: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    let (index, flags) = (u32_at(params, 0), u32_at(params, 4));
    if index != 0 {
        return bad_params(hw, format!("address space index {index:#x} is not NEW"));
    }
    let external = flags & EXTERNALLY_OWNED != 0;
    Ok(Body::VaSpace(VaSpace { id: hw.mmu.vas_create(), root: None, external }))
}

impl Rm {
    /// The address space of a handle that a client gave.
    pub(super) fn vaspace(&self, hw: &mut Machine, key: Key) -> Outcome<&VaSpace> {
        match self.objects.get(&key).map(|object| &object.body) {
            Some(Body::VaSpace(space)) => Ok(space),
            Some(other) => {
                let text = format!("{:#x} is a {:?}, no address space", key.1, other.kind());
                hw.env.violation("rm-class", text);
                Err(Status::INVALID_OBJECT_HANDLE)
            }
            None => {
                hw.env.violation("rm-handle", format!("no address space {:#x}", key.1));
                Err(Status::INVALID_OBJECT_HANDLE)
            }
        }
    }

    /// Takes an address space away; channels that still use it will fault.
    pub(super) fn destroy_vaspace(&mut self, hw: &mut Machine, key: Key, space: &VaSpace) {
        let id = space.id;
        if let Some(chid) = self.channels().find(|c| c.vas == id).map(|c| c.chid) {
            let text = format!("address space {:#x} freed while channel {chid} uses it", key.1);
            hw.env.violation("rm-handle", text);
        }
        hw.mmu.vas_destroy(id);
    }

    fn set_root(&self, hw: &mut Machine, id: VasId, root: Phys) -> Outcome {
        if root.addr % PAGE != 0 || !self.vram.allows(hw, root, PAGE) {
            return bad_params(hw, format!("page directory at {root}"));
        }
        hw.mmu.vas_set_root(id, Some(root));
        Ok(())
    }
}

fn set_page_directory(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let (address, entries) = (u64_at(params, 0), u32_at(params, 8));
    let flags = u32_at(params, 12);
    let space = rm.vaspace(hw, (key.0, u32_at(params, 16)))?;
    let (id, external) = (space.id, space.external);
    if !external {
        return bad_params(hw, "SET_PAGE_DIRECTORY of a space that RM owns");
    }
    if entries != TOP_ENTRIES {
        return bad_params(hw, format!("page directory with {entries} entries"));
    }
    let aperture = match flags & 3 {
        0 => Aperture::Vram,
        1 => Aperture::SysCoherent,
        2 => Aperture::SysNonCoherent,
        other => return bad_params(hw, format!("page directory aperture {other}")),
    };
    rm.set_root(hw, id, Phys { aperture, addr: address })
}

fn unset_page_directory(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let space = rm.vaspace(hw, (key.0, u32_at(params, 0)))?;
    let (id, external) = (space.id, space.external);
    if !external || hw.mmu.vas_root(id).is_none() {
        return bad_params(hw, "UNSET_PAGE_DIRECTORY without one set");
    }
    hw.mmu.vas_set_root(id, None);
    Ok(())
}

fn copy_reserved_pdes(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let space = rm.vaspace(hw, key)?;
    let (id, external) = (space.id, space.external);
    if external {
        return bad_params(hw, "reserved directories of a space that RM does not own");
    }
    let (lo, hi, count) = (u64_at(params, 16), u64_at(params, 24), u32_at(params, 32));
    if (lo..=hi) != SERVER || !(1..=MAX_LEVELS).contains(&count) {
        return bad_params(hw, format!("reserved range {lo:#x}..={hi:#x} with {count} levels"));
    }
    for i in 0..count as usize {
        let at = Phys::vram(u64_at(params, 40 + i * LEVEL));
        let size = u64_at(params, 48 + i * LEVEL);
        if u32_at(params, 56 + i * LEVEL) != 1 || size > PAGE || !rm.vram.allows(hw, at, size) {
            return bad_params(hw, format!("level {i} at {at}+{size:#x}"));
        }
    }
    let shift = u8_at(params, 60);
    if shift != TOP_SHIFT {
        return bad_params(hw, format!("level 0 covers {shift} bits"));
    }
    rm.set_root(hw, id, Phys::vram(u64_at(params, 40)))
}
