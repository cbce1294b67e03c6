// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pushbuffers and ring entries of two channels: Host and the engines neither panic nor run long.
//!
//! Input: an engine each, then records. A record with tag 0 is a raw ring entry; others are a
//! segment of up to 63 words.

#![no_main]

mod input;

use ghostnv_gpu::chip::CHIPS;
use ghostnv_gpu::env::Env;
use ghostnv_gpu::env::mem::Phys;
use ghostnv_gpu::host::{ChannelSpec, Ctx, Host, Step};
use ghostnv_gpu::intr::Intr;
use ghostnv_gpu::mmu::Mmu;
use ghostnv_gpu::timer::Timer;
use input::Input;
use libfuzzer_sys::fuzz_target;

/// GR, the second graphics copy engine, two copy engines: RM types.
const ENGINES: [u32; 4] = [1, 10, 11, 12];
const RING: u64 = 0x2_0000;
const USERD: u64 = 0x1_0000;
const PUSH: u64 = 0x10_0000;
const ENTRIES: u64 = 64;
/// Turns of the loop; each is short.
const TURNS: u32 = 60;
const MOST_RECORDS: u64 = 48;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let chip = CHIPS[input.number(1) as usize % CHIPS.len()];
    let mut env = Env::new(4 << 20).expect("memory");
    let mut mmu = Mmu::default();
    let mut put = |at, word| env.mem.write_u64(Phys::vram(at), word).expect("in VRAM");
    // Two 2 MiB pages, virtual is physical; from 2^47 on all is sparse.
    put(0x1000, 0x2000 >> 4 | 2);
    put(0x1008, 1 << 3);
    put(0x2000, 0x3000 >> 4 | 2);
    put(0x3000, 0x4000 >> 4 | 2);
    put(0x4000, 1);
    put(0x4010, 0x20_0000 >> 4 | 1);
    let vas = mmu.vas_create();
    mmu.vas_set_root(vas, Some(Phys::vram(0x1000)));
    let (mut intr, timer, mut host) = (Intr::default(), Timer::default(), Host::new(chip));
    let mut tokens = [0; 2];
    for chid in 0..2u32 {
        let rm_type = ENGINES[input.number(1) as usize % ENGINES.len()];
        let Some(engine) = chip.engine(rm_type) else { return };
        let runlist = engine.runlist;
        let at = u64::from(chid);
        let spec = ChannelSpec {
            chid,
            rm_type,
            runlist,
            inst: Phys::vram(0x8000 + at * 0x1000),
            userd: Phys::vram(USERD + at * 512),
            gpfifo: RING + at * 0x1000,
            entries: ENTRIES as u32,
            vas,
            privileged: false,
        };
        host.create(&mut env, spec).expect("a channel");
        host.schedule(chid, true).expect("a channel");
        tokens[chid as usize] = host.token(runlist, chid);
    }
    let (mut put_index, mut at, mut records) = ([0u64; 2], PUSH, 0);
    while !input.is_empty() && records < MOST_RECORDS {
        records += 1;
        let tag = input.number(1);
        let chid = (tag >> 7) as usize;
        let entry = match tag & 0x3f {
            0 => input.number(8),
            words => {
                let bytes = input.bytes(words as usize * 4);
                env.mem.write(Phys::vram(at), bytes).expect("in VRAM");
                let entry = at | words << 42;
                at += words * 4;
                entry
            }
        };
        let (ring, slot) = (RING + chid as u64 * 0x1000, put_index[chid] % ENTRIES);
        env.mem.write_u64(Phys::vram(ring + slot * 8), entry).expect("in VRAM");
        put_index[chid] += 1;
        let put = (put_index[chid] % ENTRIES) as u32;
        let userd = Phys::vram(USERD + chid as u64 * 512 + 0x8c);
        env.mem.write_u32(userd, put).expect("in VRAM");
        if tag & 0x40 != 0 {
            host.doorbell(&mut env, tokens[chid]);
        }
    }
    tokens.iter().for_each(|token| host.doorbell(&mut env, *token));
    for _ in 0..TURNS {
        let mut ctx = Ctx { env: &mut env, mmu: &mut mmu, intr: &mut intr, timer: &timer };
        if host.step(&mut ctx, 0) == Step::Idle {
            break;
        }
    }
    host.take_errors();
});
