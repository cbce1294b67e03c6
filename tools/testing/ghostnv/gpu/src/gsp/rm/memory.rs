// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory objects made from lists of pages (ALLOC_MEMORY); drivers use them to lend RM system
//! memory for a suspend.

use super::{Body, Kind, Rm, bad_params};
use crate::env::mem::Phys;
use crate::gsp::bytes::{u32_at, u64_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;

/// NV01_MEMORY_LIST_SYSTEM.
const LIST_SYSTEM: u32 = 0x81;
/// NV01_MEMORY_LIST_FBMEM.
const LIST_FBMEM: u32 = 0x82;
/// Where the pages are in `rpc_alloc_memory_v13_01`.
const PAGES: usize = 56;
const PAGE: u64 = 0x1000;

impl Rm {
    /// ALLOC_MEMORY.
    pub fn alloc_memory(&mut self, hw: &mut Machine, payload: &[u8]) -> Outcome {
        let (client, device, handle) = (u32_at(payload, 0), u32_at(payload, 4), u32_at(payload, 8));
        let (class, length) = (u32_at(payload, 12), u64_at(payload, 32));
        let count = u32_at(payload, 40);
        if self.kind(hw, (client, device))? != Kind::Device {
            hw.env.violation("rm-class", format!("memory below {device:#x}, no device"));
            return Err(Status::INVALID_OBJECT_PARENT);
        }
        self.check_new(hw, (client, handle))?;
        let list = payload.get(PAGES..).unwrap_or(&[]);
        if list.len() as u64 != u64::from(count) * 8 || length.div_ceil(PAGE) != u64::from(count) {
            return bad_params(hw, format!("{length:#x} bytes of memory in {count} pages"));
        }
        if class != LIST_SYSTEM && class != LIST_FBMEM {
            hw.env.violation("rm-class", format!("memory of class {class:#x}"));
            return Err(Status::INVALID_CLASS);
        }
        for (i, pte) in list.chunks_exact(8).enumerate() {
            let frame = u64_at(pte, 0).saturating_mul(PAGE);
            let at = if class == LIST_SYSTEM { Phys::sys(frame) } else { Phys::vram(frame) };
            if hw.env.mem.check(at, PAGE as usize, true).is_err() {
                hw.env.violation("dma-unmapped", format!("page {i} of memory {handle:#x}: {at}"));
                return Err(Status::INVALID_ADDRESS);
            }
        }
        self.insert((client, handle), class, device, Body::Memory);
        Ok(())
    }
}
