// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `GspStaticConfigInfo`: what never changes about this GPU.
//!
//! Offsets are those of release 570.144. What no driver reads stays zero rather than invented.

use super::bytes::{put, put_str, put_u8, put_u16, put_u32, put_u64};
use super::rm::{self, Vram};
use crate::chip::Chip;

/// Size of the structure.
pub const SIZE: usize = 1656;

const GID_INFO: usize = 24;
const FB_REGIONS: usize = 344;
const FB_REGION: usize = 48;
const ENGINE_CAPS: usize = 1204;
const FB_LENGTH: usize = 1224;
const NAME: usize = 1260;
const SHORT_NAME: usize = 1324;
const NAME_UNICODE: usize = 1388;
const NAME_LEN: usize = 64;
const BAR1_PDE_BASE: usize = 1536;
const BAR2_PDE_BASE: usize = 1544;
const VBIOS_VALID: usize = 1552;
const INTERNAL_HANDLES: usize = 1600;
const WPR_LAYOUT: usize = 1640;

/// The reply to GET_GSP_STATIC_INFO.
pub fn reply(chip: &Chip, vram: &Vram) -> Vec<u8> {
    let mut b = vec![0; SIZE];
    gid(&mut b, chip);
    regions(&mut b, vram);
    for engine in chip.engines {
        let (word, bit) = (engine.rm_type as usize / 32, engine.rm_type % 32);
        let off = ENGINE_CAPS + 4 * word;
        if off < FB_LENGTH - 4 {
            let caps = super::bytes::u32_at(&b, off);
            put_u32(&mut b, off, caps | 1 << bit);
        }
    }
    put_u64(&mut b, FB_LENGTH, vram.size);
    put_str(&mut b, NAME, NAME_LEN, chip.marketing);
    put_str(&mut b, SHORT_NAME, NAME_LEN, &chip.name.to_uppercase());
    for (i, unit) in chip.marketing.encode_utf16().take(NAME_LEN - 1).enumerate() {
        put_u16(&mut b, NAME_UNICODE + 2 * i, unit);
    }
    put_u64(&mut b, BAR1_PDE_BASE, vram.bar1_pd);
    put_u64(&mut b, BAR2_PDE_BASE, vram.bar2_pd);
    put_u8(&mut b, VBIOS_VALID, 1);
    for (i, handle) in
        [rm::INTERNAL_CLIENT, rm::INTERNAL_DEVICE, rm::INTERNAL_SUBDEVICE].into_iter().enumerate()
    {
        put_u32(&mut b, INTERNAL_HANDLES + 4 * i, handle);
    }
    put_u64(&mut b, WPR_LAYOUT, vram.reserved_start);
    put_u64(&mut b, WPR_LAYOUT + 8, vram.frts);
    b
}

/// A stable GID: 16 bytes of SHA-1 form.
fn gid(b: &mut [u8], chip: &Chip) {
    let mut id = *b"GhostNV-gpu-0000";
    put(&mut id, 12, &chip.device_id.to_be_bytes());
    put_u32(b, GID_INFO + 4, 2);
    put_u32(b, GID_INFO + 8, id.len() as u32);
    put(b, GID_INFO + 12, &id);
}

/// The region that drivers may use, and the one that they may not.
fn regions(b: &mut [u8], vram: &Vram) {
    put_u32(b, FB_REGIONS, 2);
    let mut region = |i: usize, base: u64, end: u64, usable: bool| {
        let at = FB_REGIONS + 8 + i * FB_REGION;
        put_u64(b, at, base);
        put_u64(b, at + 8, end.saturating_sub(1));
        put_u64(b, at + 16, if usable { 0 } else { end.saturating_sub(base) });
        put_u32(b, at + 24, if usable { 10 } else { 0 });
        put_u8(b, at + 28, usable.into());
        put_u8(b, at + 29, usable.into());
        put_u8(b, at + 30, (!usable).into());
    };
    region(0, 0, vram.usable_end, true);
    region(1, vram.usable_end, vram.size, false);
}

#[cfg(test)]
mod tests {
    use super::super::bytes::{u8_at, u64_at};
    use super::*;

    #[test]
    fn exactly_one_region_is_usable_and_ends_before_rm_own_pages() {
        let chip = Chip::find("ga102").expect("ga102");
        let vram = Vram {
            size: 1 << 30,
            usable_end: 0x3000_0000,
            bar1_pd: 0x3000_0000,
            bar2_pd: 0x3000_1000,
            reserved_start: 0x3010_0000,
            frts: 0x3fe0_0000,
        };
        let b = reply(chip, &vram);
        assert_eq!(b.len(), SIZE);
        let at = FB_REGIONS + 8;
        assert_eq!((u64_at(&b, at), u64_at(&b, at + 8)), (0, 0x2fff_ffff));
        assert_eq!(u8_at(&b, at + 30), 0);
        assert_eq!((u8_at(&b, at + FB_REGION + 28), u8_at(&b, at + FB_REGION + 30)), (0, 1));
        let name = b.get(NAME..SHORT_NAME).expect("name");
        assert_eq!(
            std::ffi::CStr::from_bytes_until_nul(name).unwrap().to_str(),
            Ok(chip.marketing)
        );
    }
}
