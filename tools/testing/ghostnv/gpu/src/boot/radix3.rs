// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Radix3: a three-level table of 4 KiB pages of system memory.
//!
//! Level 0 is one page whose first entry is level 1; level 1's entries are the pages of level 2,
//! and level 2's entries the pages of the object. Entries are plain addresses.

use crate::env::Env;
use crate::env::mem::Phys;

use super::{Checked, Reject, ensure};

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Entries of a page.
const ENTRIES: u64 = 512;

/// Calls `each` with the number and address of every page of an object of `size` bytes.
pub(super) fn walk(
    env: &mut Env,
    root: u64,
    size: u64,
    mut each: impl FnMut(&mut Env, u64, Phys) -> Checked,
) -> Checked {
    let pages = size.div_ceil(PAGE as u64);
    // Level 1 is one page, as both the driver interface and real images have it.
    ensure(pages > 0 && pages <= ENTRIES * ENTRIES, "radix3", || format!("{size:#x} bytes"))?;
    let level1 = entry(env, page(root, "level 0")?, 0, "level 0")?;
    for index in 0..pages.div_ceil(ENTRIES) {
        let level2 = entry(env, level1, index, "level 1")?;
        for n in 0..(pages - index * ENTRIES).min(ENTRIES) {
            let data = entry(env, level2, n, "level 2")?;
            each(env, index * ENTRIES + n, data)?;
        }
    }
    Ok(())
}

/// Entry `index` of a table.
fn entry(env: &mut Env, table: Phys, index: u64, level: &str) -> Checked<Phys> {
    let at = table.offset(index * 8);
    let addr = env.mem.read_u64(at).map_err(|e| Reject::new("radix3", format!("{level}: {e}")))?;
    page(addr, level)
}

/// A page's address, which must be aligned.
fn page(addr: u64, level: &str) -> Checked<Phys> {
    ensure(addr != 0 && addr % PAGE as u64 == 0, "radix3", || {
        format!("{level}: {addr:#x} is not a page's address")
    })?;
    Ok(Phys::sys(addr))
}
