// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Page tables: every walk ends, whatever the entries say, and what is cached stays bounded.
//!
//! Input: records. A tag below 128 stores an entry in the first 64 KiB of VRAM; others read, write
//! or invalidate through a root in it.

#![no_main]

mod input;

use ghostnv_gpu::env::Env;
use ghostnv_gpu::env::mem::Phys;
use ghostnv_gpu::mmu::Mmu;
use input::Input;
use libfuzzer_sys::fuzz_target;

const MOST_RECORDS: u32 = 200;
/// Bytes of an access: more than a page, so that it crosses into the next.
const LONG: usize = 0x3000;
/// The TLB of the model is bounded; more entries than this means that it is not.
const MOST_CACHED: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut env = Env::new(1 << 20).expect("memory");
    let mut mmu = Mmu::default();
    let root = Some(Phys::vram(0x1000));
    for _ in 0..MOST_RECORDS {
        if input.is_empty() {
            break;
        }
        let tag = input.number(1);
        if tag < 128 {
            let at = input.number(2) & !7;
            let low = input.number(8);
            // Half of the entries point back into the tables.
            let entry = if tag & 1 == 0 { low & 0xff | (low & 0xff00) << 4 | 2 } else { low };
            env.mem.write_u64(Phys::vram(at), entry).expect("in VRAM");
            continue;
        }
        let va = input.number(7);
        let mut buf = [0; LONG];
        let len = if tag & 8 == 0 { 16 } else { LONG };
        let _ = match tag & 7 {
            0 => mmu.read(&mut env, root, va, &mut buf[..len]),
            1 => mmu.write(&mut env, root, va, &buf[..len]),
            2 => mmu.read_u32(&mut env, root, va).map(drop),
            3 => mmu.read_u64(&mut env, root, va).map(drop),
            4 => mmu.write_u32(&mut env, root, va, 0x1234_5678),
            5 => mmu.read(&mut env, None, va, &mut buf[..len]),
            6 => {
                mmu.invalidate(&mut env, root);
                Ok(())
            }
            _ => {
                mmu.write_reg(&mut env, 0xb8_3000 + (va as u32 & 0xffc), (va >> 16) as u32);
                Ok(())
            }
        };
        assert!(mmu.cached() <= MOST_CACHED);
    }
});
