// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver leaves in memory for the GSP to find: LibOS init arguments, RMARGS, and the
//! page table of the shared memory that holds both message queues.
//!
//! The mailboxes name a table of `LibosMemoryRegionInitArgument`; its `RMARGS` region holds
//! `GSP_ARGUMENTS_CACHED`, which names the shared memory. Tags are searched for, not assumed to be
//! in an order.

use super::bytes::{u8_at, u32_at, u64_at};
use crate::env::Env;
use crate::env::mem::Phys;

/// Size of one region descriptor, padding included.
const REGION: u64 = 32;
/// Descriptors that are looked at.
const MAX_REGIONS: u64 = 8;
/// "RMARGS", first character most significant.
const RMARGS: u64 = 0x524d_4152_4753;
/// `LIBOS_MEMORY_REGION_CONTIGUOUS`.
const CONTIGUOUS: u8 = 1;
/// `LIBOS_MEMORY_REGION_LOC_SYSMEM`.
const SYSMEM: u8 = 1;
/// Size of `GSP_ARGUMENTS_CACHED`.
const ARGUMENTS: usize = 72;
/// Page-table entries in the one page that holds them.
const MAX_PTES: u32 = 512;
/// Page size of the shared memory.
pub const PAGE: u64 = 0x1000;

/// What RMARGS says.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Where it says so.
    pub address: u64,
    /// Bus addresses of the pages of the shared memory.
    pub pages: Vec<u64>,
    /// Offset of the command queue in it.
    pub command: u64,
    /// Offset of the message queue in it.
    pub message: u64,
    /// Power level that the GPU comes from: 0, or 3 when it resumes.
    pub old_level: u32,
    /// Resumes.
    pub in_pm_transition: bool,
}

/// Follows the LibOS arguments; what is wrong is a violation and gives `None`.
pub fn find(env: &mut Env, libos: u64) -> Option<Arguments> {
    let (at, size) = find_rmargs(env, libos)?;
    if size < ARGUMENTS as u64 {
        env.violation("gsp-boot-args", format!("RMARGS has {size} bytes, needs {ARGUMENTS}"));
        return None;
    }
    read(env, at)
}

/// Reads RMARGS; what is wrong is a violation and gives `None`.
pub fn read(env: &mut Env, address: u64) -> Option<Arguments> {
    let mut raw = [0; ARGUMENTS];
    fetch(env, address, &mut raw)?;
    let shared = u64_at(&raw, 0);
    let count = u32_at(&raw, 8);
    if count == 0 || count > MAX_PTES || shared % PAGE != 0 {
        let text = format!("shared memory {shared:#x} with {count} page-table entries");
        env.violation("gsp-boot-args", text);
        return None;
    }
    let mut table = vec![0; count as usize * 8];
    fetch(env, shared, &mut table)?;
    let pages: Vec<u64> = table.chunks_exact(8).map(|c| u64_at(c, 0)).collect();
    if pages.first() != Some(&shared) || pages.iter().any(|p| p % PAGE != 0) {
        env.violation("gsp-boot-args", "the shared memory's page table is not its own map");
        return None;
    }
    Some(Arguments {
        address,
        pages,
        command: u64_at(&raw, 16),
        message: u64_at(&raw, 24),
        old_level: u32_at(&raw, 32),
        in_pm_transition: u8_at(&raw, 40) != 0,
    })
}

fn find_rmargs(env: &mut Env, libos: u64) -> Option<(u64, u64)> {
    let mut found = None;
    for i in 0..MAX_REGIONS {
        let mut raw = [0; REGION as usize];
        fetch(env, libos.checked_add(i * REGION)?, &mut raw)?;
        let (id, pa, size) = (u64_at(&raw, 0), u64_at(&raw, 8), u64_at(&raw, 16));
        if id == 0 {
            break;
        }
        let (kind, place) = (u8_at(&raw, 24), u8_at(&raw, 25));
        if kind != CONTIGUOUS || place != SYSMEM || size == 0 {
            let text = format!("region {i}: kind {kind}, location {place}, {size} bytes");
            env.violation("gsp-boot-args", text);
        } else if id == RMARGS {
            found = Some((pa, size));
        }
    }
    if found.is_none() {
        env.violation("gsp-boot-args", format!("no RMARGS region at {libos:#x}"));
    }
    found
}

/// Reads system memory; what is not mapped is a violation.
fn fetch(env: &mut Env, at: u64, buf: &mut [u8]) -> Option<()> {
    env.mem
        .read(Phys::sys(at), buf)
        .map_err(|e| env.violation("dma-unmapped", format!("GSP boot arguments: {e}")))
        .ok()
}
