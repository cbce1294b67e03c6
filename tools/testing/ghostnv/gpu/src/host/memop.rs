// SPDX-License-Identifier: GPL-2.0 OR MIT

//! MEM_OP: memory barriers, cache maintenance and TLB invalidation from a pushbuffer.

use super::error::Stop;
use crate::engine::client::Client;
use crate::env::mem::{Aperture, Phys};

/// Executes MEM_OP_D with MEM_OP_A to C.
pub fn execute(c: &mut Client<'_, '_>, regs: &[u32; 3], d: u32) -> Result<(), Stop> {
    let [_, _, word_c] = *regs;
    match d >> 27 {
        // MEMBAR, then L2 maintenance: there is one coherent memory and nothing to write back.
        0x05 | 0x0d | 0x0e | 0x0f | 0x10 | 0x15 => c.membar(),
        0x09 | 0x0a => {
            privileged(c, "TLB invalidate")?;
            let all = word_c & 1 != 0;
            if d >> 27 == 0x0a && all {
                return Err(Stop::pbdma("METHOD", "targeted invalidate of all PDBs"));
            }
            let pdb = if all { None } else { Some(pdb(word_c, d)?) };
            c.cx.mmu.invalidate(c.cx.env, pdb);
        }
        // There are no access counters to clear.
        0x16 => privileged(c, "ACCESS_COUNTER_CLR")?,
        op => return Err(Stop::pbdma("METHOD", format!("MEM_OP operation {op:#x}"))),
    }
    Ok(())
}

fn privileged(c: &Client<'_, '_>, what: &str) -> Result<(), Stop> {
    if c.privileged {
        return Ok(());
    }
    Err(Stop::pbdma("METHOD", format!("{what} on an unprivileged channel")))
}

/// The page directory that an invalidate names.
fn pdb(c: u32, d: u32) -> Result<Phys, Stop> {
    let aperture = match c >> 10 & 3 {
        0 => Aperture::Vram,
        2 => Aperture::SysCoherent,
        3 => Aperture::SysNonCoherent,
        _ => return Err(Stop::pbdma("METHOD", "PDB aperture of a TLB invalidate")),
    };
    let addr = u64::from(d & 0x07ff_ffff) << 32 | u64::from(c & 0xffff_f000);
    Ok(Phys { aperture, addr })
}
