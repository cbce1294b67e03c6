// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver tells RM before it boots: `GspSystemInfo` and the registry.
//!
//! RM maps nothing by these addresses here, so the check is that they are what a driver reads from
//! PCI configuration space and from the chip's table: set, aligned, of this device.

use super::bytes::{u8_at, u32_at, u64_at};
use crate::machine::Machine;

/// `sizeof(GspSystemInfo)`.
const SIZE: usize = 928;
/// Where BAR0 shows PCI configuration space, and how much of it.
const CONFIG_MIRROR: (u32, u32) = (0x08_8000, 0x1000);
/// PCI vendor.
const NVIDIA: u32 = 0x10de;
/// `sizeof(PACKED_REGISTRY_TABLE)` without entries.
const TABLE: usize = 8;
/// `sizeof(PACKED_REGISTRY_ENTRY)`.
const ENTRY: usize = 16;
/// Longest key.
const MAX_KEY: usize = 256;

/// Checks SET_SYSTEM_INFO.
pub fn check(hw: &mut Machine, payload: &[u8]) {
    let mut wrong = |text: String| hw.env.violation("system-info", text);
    if payload.len() != SIZE {
        return wrong(format!("{} bytes, not {SIZE}", payload.len()));
    }
    for (name, off, align) in [
        ("gpuPhysAddr", 0, 16 << 20),
        ("gpuPhysFbAddr", 8, 64 << 20),
        ("gpuPhysInstAddr", 16, 16 << 20),
    ] {
        let at = u64_at(payload, off);
        if at == 0 || at % align != 0 {
            wrong(format!("{name} {at:#x}"));
        }
    }
    let va = u64_at(payload, 72);
    if va == 0 {
        wrong("maxUserVa is 0".into());
    }
    let mirror = (u32_at(payload, 80), u32_at(payload, 84));
    if mirror != CONFIG_MIRROR {
        wrong(format!("PCI configuration mirror at {:#x}+{:#x}", mirror.0, mirror.1));
    }
    let id = u32_at(payload, 88);
    if id != u32::from(hw.chip.device_id) << 16 | NVIDIA {
        wrong(format!("PCIDeviceID {id:#010x}"));
    }
}

/// Checks SET_REGISTRY: every entry, its key and its value lie in the table.
pub fn check_registry(hw: &mut Machine, payload: &[u8]) {
    if let Err(text) = registry(payload) {
        hw.env.violation("registry", text);
    }
}

fn registry(payload: &[u8]) -> Result<(), String> {
    let (size, count) = (u32_at(payload, 0) as usize, u32_at(payload, 4) as usize);
    if payload.len() < TABLE || size != payload.len() {
        return Err(format!("table of {size} bytes in a payload of {}", payload.len()));
    }
    let strings = count
        .checked_mul(ENTRY)
        .and_then(|n| n.checked_add(TABLE))
        .filter(|&n| n <= size)
        .ok_or_else(|| format!("{count} entries in {size} bytes"))?;
    for (i, entry) in payload.get(TABLE..strings).unwrap_or(&[]).chunks_exact(ENTRY).enumerate() {
        let name = u32_at(entry, 0) as usize;
        let key = name_at(payload, name, strings).ok_or_else(|| format!("entry {i}: no key"))?;
        let (data, length) = (u32_at(entry, 8) as usize, u32_at(entry, 12) as usize);
        let sound = match u8_at(entry, 4) {
            // A word is in the entry itself; drivers set its length to 0 or 4.
            1 => length == 0 || length == 4,
            2 | 3 => data >= strings && data.checked_add(length).is_some_and(|end| end <= size),
            _ => false,
        };
        if !sound {
            return Err(format!("{key}: type {}, {data:#x}+{length:#x}", u8_at(entry, 4)));
        }
    }
    Ok(())
}

fn name_at(payload: &[u8], off: usize, strings: usize) -> Option<&str> {
    let bytes = payload.get(off..).filter(|_| off >= strings)?;
    let end = bytes.iter().take(MAX_KEY).position(|&b| b == 0)?;
    std::str::from_utf8(bytes.get(..end)?).ok().filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bytes::{put, put_u32};
    use super::*;

    /// One word entry with a key.
    fn table() -> Vec<u8> {
        let mut t = vec![0; 32];
        put_u32(&mut t, 0, 32);
        put_u32(&mut t, 4, 1);
        put_u32(&mut t, 8, 24);
        put_u32(&mut t, 12, 1);
        put_u32(&mut t, 16, 7);
        put(&mut t, 24, b"RMKey\0");
        t
    }

    #[test]
    fn a_sound_table_passes_and_each_defect_does_not() {
        assert_eq!(registry(&table()), Ok(()));
        for (off, value) in [(0, 31), (4, 2), (8, 8), (8, 32), (8, 30), (12, 4), (12, 3), (20, 5)] {
            let mut t = table();
            put_u32(&mut t, off, value);
            assert!(registry(&t).is_err(), "{value} at {off}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_tables_never_panic(mut t: Vec<u8>, fix: bool) {
            if fix {
                let n = t.len() as u32;
                put_u32(&mut t, 0, n);
            }
            let _ = registry(&t);
        }
    }
}
