// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Suspend and resume: WPR2 moves to system memory, and back.
//!
//! The driver gives booter_unload a suspend-resume meta with the radix3 of as many pages as WPR2
//! has. Hardware stores WPR2 there, encrypted. The model stores pages that nobody can guess and,
//! in the first, what it needs to boot again; a page that is not as it was refuses the resume.

use crate::env::Env;
use crate::env::mem::Phys;
use crate::gsp::BootInfo;
use crate::machine::{Machine, Wpr2};

use super::meta::{MAGIC as WPR_MAGIC, Meta, UNION_AT, VERIFIED, VERIFIED_AT};
use super::{Checked, Reject, ensure, radix3};

/// `GSP_FW_SR_META_MAGIC`.
pub(super) const MAGIC: u64 = 0x8a3b_b9e6_c6c3_9d93;
/// Words of a page.
const WORDS: usize = radix3::PAGE / 8;
/// Words of the first page that hold the state, after the key.
const STATE: usize = 7;

/// Checks a suspend-resume meta: address of the radix3 and size.
fn check(meta: &Meta) -> Checked<(u64, u64)> {
    ensure(meta.long(0) == MAGIC && meta.long(8) == 2, "sr-meta", || {
        format!("magic {:#x}, revision {}", meta.long(0), meta.long(8))
    })?;
    Ok((meta.long(16), meta.long(24)))
}

/// Page `n` of the saved data.
fn page(key: u64, n: u64, state: &[u64; STATE]) -> [u8; radix3::PAGE] {
    let mut page = [0; radix3::PAGE];
    for (i, bytes) in page.chunks_exact_mut(8).enumerate() {
        let word = match (n, i) {
            (0, 0) => key,
            (0, 1..=STATE) => state[i - 1],
            _ => (key ^ (n * WORDS as u64 + i as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    page
}

/// Saves WPR2.
pub(super) fn save(hw: &mut Machine, addr: u64) -> Checked {
    let (root, size) = check(&Meta::read(&mut hw.env, addr, "sr-meta")?)?;
    let wpr2 = hw.wpr2;
    ensure(wpr2.hi > wpr2.lo && size >= wpr2.hi - wpr2.lo, "sr-meta", || {
        format!("{size:#x} bytes for WPR2 {:#x}..{:#x}", wpr2.lo, wpr2.hi)
    })?;
    let mut meta = [0; super::meta::LEN];
    hw.env
        .mem
        .read(Phys::vram(wpr2.lo), &mut meta)
        .map_err(|e| Reject::new("sr-meta", e.to_string()))?;
    let meta = Meta(meta);
    ensure(meta.long(0) == WPR_MAGIC && meta.long(VERIFIED_AT) == VERIFIED, "sr-meta", || {
        "WPR2 does not hold a booted GSP".into()
    })?;
    let state = [
        meta.non_wpr_heap(),
        meta.frts(),
        meta.fb_size(),
        wpr2.lo,
        wpr2.hi,
        meta.long(UNION_AT),
        size,
    ];
    let key = hw.env.clock.ns() | 1;
    radix3::walk(&mut hw.env, root, size, |env, n, at| {
        let page = page(key, n, &state);
        env.mem.write(at, &page).map_err(|e| Reject::new("sr-data", format!("page {n}: {e}")))
    })
}

/// Restores WPR2 and says what was booted there.
pub(super) fn restore(env: &mut Env, meta: &Meta) -> Checked<(Wpr2, BootInfo)> {
    let (root, size) = check(meta)?;
    let mut key = 0;
    let mut state = [0; STATE];
    radix3::walk(env, root, size, |env, n, at| {
        let mut got = [0; radix3::PAGE];
        env.mem.read(at, &mut got).map_err(|e| Reject::new("sr-data", format!("page {n}: {e}")))?;
        if n == 0 {
            let first = Meta::head(&got);
            key = first[0];
            state.copy_from_slice(&first[1..]);
        }
        ensure(key & 1 == 1 && got == page(key, n, &state), "sr-data", || {
            format!("page {n} is not what was saved")
        })
    })?;
    let [reserved_start, frts, fb_size, lo, hi, libos_args, saved] = state;
    ensure(saved == size && hi <= env.mem.vram_size() && lo < hi, "sr-data", || {
        format!("{size:#x} bytes, but {saved:#x} were saved")
    })?;
    let info = BootInfo { libos_args, reserved_start, frts, fb_size, resume: true };
    Ok((Wpr2 { lo, hi }, info))
}

impl Meta {
    /// The key and state words of the first saved page.
    fn head(page: &[u8; radix3::PAGE]) -> [u64; STATE + 1] {
        let mut words = [0; STATE + 1];
        for (word, bytes) in words.iter_mut().zip(page.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b));
        }
        words
    }
}
