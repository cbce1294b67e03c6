// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RM as a driver uses it: object lifetimes, address spaces, channels, contexts.

use super::super::testing::{Driver, SCRATCH, word_at};
use super::*;
use crate::env::mem::Phys;
use crate::host::Ctx;
use crate::mmu::FaultType;

const CLIENT: u32 = 0xc1d0_0000;
const DEVICE: u32 = 0xde1d_0000;
const SUBDEVICE: u32 = 0x5d1d_0000;
const SPACE: u32 = 0x90f1_0000;
const CHANNEL: u32 = 0xf1f0_0001;
/// Where the channel's memory and its page tables are in VRAM.
const INSTANCE: u64 = 0x10_0000;
const TABLES: u64 = 0x20_0000;
const BUFFERS: u64 = 0x40_0000;

fn put(b: &mut [u8], off: usize, value: u64, size: usize) {
    b[off..off + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// Client, device, subdevice and an externally owned address space with its root set.
fn with_space() -> Driver {
    let mut d = Driver::booted();
    let mut client = [0; 120];
    put(&mut client, 0, CLIENT.into(), 4);
    assert_eq!(d.alloc(CLIENT, CLIENT, CLIENT, 0, &client), 0);
    let mut device = [0; 56];
    put(&mut device, 4, CLIENT.into(), 4);
    assert_eq!(d.alloc(CLIENT, CLIENT, DEVICE, 0x80, &device), 0);
    assert_eq!(d.alloc(CLIENT, DEVICE, SUBDEVICE, 0x2080, &[0; 4]), 0);
    let mut space = [0; 48];
    put(&mut space, 4, 8, 4);
    assert_eq!(d.alloc(CLIENT, DEVICE, SPACE, 0x90f1, &space), 0);
    let mut root = [0; 32];
    put(&mut root, 0, TABLES, 8);
    put(&mut root, 8, 4, 4);
    put(&mut root, 16, SPACE.into(), 4);
    assert_eq!(d.control(CLIENT, DEVICE, 0x80_1813, &root).0, 0);
    d.clean();
    d
}

fn channel_params(chid: u32, engine: u32) -> Vec<u8> {
    let mut p = vec![0; 368];
    let at = INSTANCE + u64::from(chid) * 0x10_000;
    put(&mut p, 16, 512, 4);
    put(&mut p, 20, u64::from((chid & 7) << 8 | (chid >> 3) << 12 | 1 << 21), 4);
    put(&mut p, 28, SPACE.into(), 4);
    put(&mut p, 128, engine.into(), 4);
    let memory = [(144, at, 0x1000, 2), (168, at + 0x1000, 0x200, 2), (192, at, 0x200, 2)];
    for (off, base, size, space) in memory.into_iter().chain([(216, SCRATCH, 0x2000, 1)]) {
        put(&mut p, off, base, 8);
        put(&mut p, off + 8, size, 8);
        put(&mut p, off + 16, space, 4);
    }
    p
}

fn with_channel(engine: u32) -> Driver {
    let mut d = with_space();
    assert_eq!(d.alloc(CLIENT, DEVICE, CHANNEL, 0xc56f, &channel_params(1, engine)), 0);
    d.clean();
    d
}

/// Maps 4 MiB from `BUFFERS` at the same virtual address, for privileged clients.
fn map_buffers(d: &mut Driver) {
    let mem = &mut d.hw.env.mem;
    let mut word = |at: u64, value: u64| mem.write_u64(Phys::vram(at), value).expect("VRAM");
    for level in 0..3 {
        word(TABLES + level * 0x1000, (TABLES + (level + 1) * 0x1000) >> 4 | 2);
    }
    for i in 0..2 {
        let page = BUFFERS + i * 0x20_0000;
        word(TABLES + 0x3000 + (page >> 21) * 16, page >> 4 | 1 << 5 | 1);
    }
}

fn promote_params(ids: &[u16]) -> Vec<u8> {
    let mut p = vec![0; 560];
    put(&mut p, 0, 1, 4);
    put(&mut p, 12, CLIENT.into(), 4);
    put(&mut p, 16, CHANNEL.into(), 4);
    put(&mut p, 40, ids.len() as u64, 4);
    for (i, id) in ids.iter().enumerate() {
        put(&mut p, 48 + i * 32 + 8, BUFFERS, 8);
        put(&mut p, 48 + i * 32 + 28, (*id).into(), 2);
    }
    put(&mut p, 48, BUFFERS, 8);
    put(&mut p, 64, 0x20_0000, 8);
    put(&mut p, 72, 4, 4);
    put(&mut p, 78, 1, 1);
    p
}

#[test]
fn handles_live_as_long_as_their_parents() {
    type Step = fn(&mut Driver) -> u32;
    let cases: [(&str, Step, u32); 9] = [
        ("unknown client", |d| d.alloc(7, 7, 8, 0x80, &[0; 56]), 0x23),
        ("unknown parent", |d| d.alloc(CLIENT, 7, 8, 0x80, &[0; 56]), 0x36),
        ("taken handle", |d| d.alloc(CLIENT, DEVICE, SPACE, 0x2080, &[0; 4]), 0x19),
        ("taken client", |d| d.alloc(CLIENT, CLIENT, CLIENT, 0, &[]), 0x19),
        ("unknown object", |d| d.control(CLIENT, 9, 0x2080_0137, &[0; 4]).0, 0x57),
        ("unknown free", |d| d.free(CLIENT, 9), 0x57),
        ("double free", |d| [d.free(CLIENT, SUBDEVICE), d.free(CLIENT, SUBDEVICE)][1], 0x57),
        ("free below a parent", |d| [d.free(CLIENT, DEVICE), d.free(CLIENT, SPACE)][1], 0x57),
        ("dead client", |d| [d.free(CLIENT, CLIENT), d.free(CLIENT, DEVICE)][1], 0x23),
    ];
    for (what, step, status) in cases {
        let mut d = with_space();
        assert_eq!(step(&mut d), status, "{what}");
        d.violated("rm-handle");
    }
    let mut d = with_space();
    assert_eq!(d.free(CLIENT, CLIENT), 0);
    assert_eq!(d.alloc(CLIENT, CLIENT, CLIENT, 0, &[]), 0);
    d.clean();
}

#[test]
fn classes_and_sizes_are_checked() {
    type Step = fn(&mut Driver) -> u32;
    let cases: [(&str, Step, u32); 7] = [
        ("rm-class", |d| d.alloc(CLIENT, DEVICE, 8, 0x1234, &[]), 0x22),
        ("rm-class", |d| d.alloc(CLIENT, SUBDEVICE, 8, 0x90f1, &[0; 48]), 0x36),
        ("rm-class", |d| d.control(CLIENT, DEVICE, 0x2080_0137, &[0; 4]).0, 0x56),
        ("rm-params", |d| d.alloc(CLIENT, DEVICE, 8, 0x90f1, &[0; 47]), 0x3a),
        ("rm-params", |d| d.control(CLIENT, SUBDEVICE, 0x2080_0137, &[0; 5]).0, 0x3a),
        ("rm-params", |d| d.control(CLIENT, SUBDEVICE, 0x2080_0138, &[9; 8]).0, 0x1f),
        ("rm-handle", |d| d.free(INTERNAL_CLIENT, INTERNAL_DEVICE), 0x1f),
    ];
    for (rule, step, status) in cases {
        let mut d = with_space();
        assert_eq!(step(&mut d), status, "{rule}");
        d.violated(rule);
    }
    let mut d = with_space();
    assert_eq!(d.control(CLIENT, SUBDEVICE, 0x2080_ffff, &[]).0, 0x56);
    d.clean();
}

#[test]
fn tables_describe_the_chip() {
    let mut d = with_space();
    let c = INTERNAL_CLIENT;
    let (status, gpcs) = d.control(c, INTERNAL_SUBDEVICE, 0x2080_0137, &[0; 4]);
    assert_eq!((status, word_at(&gpcs, 0)), (0, 0x7f));
    let (_, vectors) = d.control(c, INTERNAL_SUBDEVICE, 0x2080_0a5c, &[0; 2068]);
    assert_eq!((word_at(&vectors, 0), word_at(&vectors, 4), word_at(&vectors, 12)), (6, 50, 131));
    let (_, engines) = d.control(c, INTERNAL_SUBDEVICE, 0x2080_1112, &[0; 3212]);
    assert_eq!(word_at(&engines, 4), 5);
    // CE2 on runlist 1: RM engine type, runlist, host-driven.
    let entry = &engines[12 + 3 * 100..];
    assert_eq!((word_at(entry, 8), word_at(entry, 12), word_at(entry, 48)), (11, 1, 1));
    assert!(entry[84..].starts_with(b"CE2\0"));
    d.clean();
}

#[test]
fn a_copy_channel_is_bound_scheduled_and_freed() {
    let mut d = with_channel(11);
    let bind = 11u32.to_le_bytes();
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0103, &[1, 0]).0, 0x40);
    d.violated("channel-schedule");
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0104, &9u32.to_le_bytes()).0, 0x1f);
    d.violated("rm-params");
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0104, &bind).0, 0);
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0103, &[1, 0]).0, 0);
    assert_eq!(d.alloc(CLIENT, CHANNEL, 0xc7b5, 0xc7b5, &[1, 0, 0, 0, 11, 0, 0, 0]), 0);
    assert_eq!(d.alloc(CLIENT, CHANNEL, 0xc7b6, 0xc7b5, &[1, 0, 0, 0, 12, 0, 0, 0]), 0x1f);
    d.violated("rm-params");
    let (_, token) = d.control(CLIENT, CHANNEL, 0xc36f_0108, &[0; 4]);
    assert_eq!(word_at(&token, 0), 0x1_0001);
    assert_eq!(d.free(CLIENT, CHANNEL), 0);
    assert_eq!(d.free(CLIENT, 0xc7b5), 0x57);
    d.violated("rm-handle");
    assert_eq!(d.alloc(CLIENT, DEVICE, CHANNEL, 0xc56f, &channel_params(1, 11)), 0);
    d.clean();
}

#[test]
fn channel_memory_is_the_drivers_and_nobody_elses() {
    let cases: [(&str, usize, u64); 9] = [
        ("channel-memory", 144, 0x7ff_f000 + 0x1000),
        ("channel-memory", 168, 0xfff_fe00),
        ("channel-memory", 168, INSTANCE + 0x1_0000 + 0x800),
        ("rm-params", 144, INSTANCE + 0x10),
        ("rm-params", 192, 0),
        ("rm-params", 128, 77),
        ("rm-params", 16, 500),
        ("channel-method-buffer", 216, 0x10),
        ("rm-handle", 28, 3),
    ];
    for (rule, off, value) in cases {
        let mut d = with_channel(1);
        let mut p = channel_params(2, 1);
        let size = if [144, 168, 192, 216].contains(&off) { 8 } else { 4 };
        put(&mut p, off, value, size);
        if off == 144 {
            put(&mut p, 192, value, 8);
        }
        let status = d.alloc(CLIENT, DEVICE, CHANNEL + 1, 0xc56f, &p);
        assert_eq!(status == 0, rule == "channel-method-buffer", "{rule} {off}");
        d.violated(rule);
    }
    let mut d = with_channel(1);
    let mut same_id = channel_params(2, 1);
    same_id[20..24].copy_from_slice(&channel_params(1, 1)[20..24]);
    assert_eq!(d.alloc(CLIENT, DEVICE, CHANNEL + 1, 0xc56f, &same_id), 0x17);
    d.violated("channel-id");
}

#[test]
fn a_graphics_object_needs_its_context() {
    const BUFFERS_OF_A_CHANNEL: [u16; 8] = [0, 2, 3, 4, 5, 6, 9, 10];
    let mut d = with_channel(1);
    assert_eq!(d.alloc(CLIENT, CHANNEL, 0x9700_0000, 0xc797, &[]), 0x40);
    d.violated("gr-context");
    let promote = promote_params(&BUFFERS_OF_A_CHANNEL);
    assert_eq!(d.control(CLIENT, SUBDEVICE, 0x2080_012b, &promote).0, 0x1e);
    d.violated("gr-context");
    map_buffers(&mut d);
    assert_eq!(d.control(CLIENT, SUBDEVICE, 0x2080_012b, &promote).0, 0);
    assert_eq!(d.alloc(CLIENT, CHANNEL, 0x9700_0000, 0xc797, &[]), 0);
    assert_eq!(d.alloc(CLIENT, CHANNEL, 0xc7c0, 0xc7c0, &[]), 0);
    d.clean();
    let mut outside = promote.clone();
    put(&mut outside, 48, 0x7f0_0000, 8);
    assert_eq!(d.control(CLIENT, SUBDEVICE, 0x2080_012b, &outside).0, 0x1e);
    d.violated("gr-context");
}

#[test]
fn an_address_space_outlives_its_channels() {
    let mut d = with_channel(11);
    assert_eq!(d.free(CLIENT, SPACE), 0);
    d.violated("rm-handle");
    let mut d = with_channel(11);
    assert_eq!(d.free(CLIENT, CLIENT), 0);
    d.clean();
}

#[test]
fn rm_owns_a_range_of_its_own_spaces() {
    let mut d = with_space();
    assert_eq!(d.alloc(CLIENT, DEVICE, SPACE + 1, 0x90f1, &[0; 48]), 0);
    let mut p = [0; 184];
    put(&mut p, 8, 1 << 29, 8);
    put(&mut p, 16, 1 << 32, 8);
    put(&mut p, 24, (1 << 32) + (1 << 29) - 1, 8);
    put(&mut p, 32, 3, 4);
    for (i, (size, shift)) in [(0x20, 47), (0x1000, 38), (0x1000, 29)].into_iter().enumerate() {
        put(&mut p, 40 + i * 24, TABLES + i as u64 * 0x1000, 8);
        put(&mut p, 48 + i * 24, size, 8);
        put(&mut p, 56 + i * 24, 1, 4);
        put(&mut p, 60 + i * 24, shift, 1);
    }
    assert_eq!(d.control(CLIENT, SPACE + 1, 0x90f1_0106, &p).0, 0);
    d.clean();
    assert_eq!(d.control(CLIENT, SPACE, 0x90f1_0106, &p).0, 0x1f);
    d.violated("rm-params");
    put(&mut p, 16, 0, 8);
    assert_eq!(d.control(CLIENT, SPACE + 1, 0x90f1_0106, &p).0, 0x1f);
    d.violated("rm-params");
}

#[test]
fn a_bar_page_directory_takes_one_entry() {
    let mut d = with_space();
    let request =
        |bar: u64, entry: u64, shift: u64| [bar, entry, shift].map(u64::to_le_bytes).concat();
    let info = d.call(65, &[0; 1656]).payload;
    assert_eq!(d.call(70, &request(1, 0x2_0002, 47)).result, 0);
    let pd = u64::from(word_at(&info, 1544));
    assert_eq!(d.hw.env.mem.read_u64(Phys::vram(pd)), Ok(0x2_0002));
    assert_eq!(d.hw.bars.bar2, Some(Phys::vram(pd)));
    d.clean();
    assert_eq!(d.call(70, &request(2, 0, 47)).result, 0x1f);
    d.violated("rm-params");
}

#[test]
fn a_dead_channel_is_announced_and_stays_off() {
    let mut d = with_channel(11);
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0104, &11u32.to_le_bytes()).0, 0);
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0103, &[1, 0]).0, 0);
    // The ring is not mapped: fetching its first entry faults.
    let gp_put = Phys::vram(INSTANCE + 0x1_0000 + 0x1000 + 0x8c);
    d.hw.env.mem.write_u32(gp_put, 1).expect("VRAM");
    let hw = &mut d.hw;
    hw.host.doorbell(&mut hw.env, 0x1_0001);
    let ctx = &mut Ctx { env: &mut hw.env, mmu: &mut hw.mmu, intr: &mut hw.intr, timer: &hw.timer };
    hw.host.step(ctx, 1_000_000);
    hw.env.judge.violations.clear();
    d.gsp.step(&mut d.hw);
    assert_eq!(d.pop().map(|r| (r.function, r.payload.len())), Some((0x1005, 0)));
    let log = d.pop().expect("log").payload;
    assert_eq!((log.len(), word_at(&log, 0), word_at(&log, 8)), (272, 31, 1));
    assert!(log[12..].starts_with(b"channel 1: "));
    let rc = d.pop().expect("recovery");
    assert_eq!((rc.function, rc.payload.len()), (0x1004, 48));
    let fields = [0, 4, 16, 28, 32, 36].map(|off| word_at(&rc.payload, off));
    assert_eq!(fields, [11, 1, 31, 0, 0, FaultType::Pde as u32]);
    assert_eq!(d.control(CLIENT, CHANNEL, 0xa06f_0103, &[1, 0]).0, 0x40);
    assert_eq!(d.free(CLIENT, CHANNEL), 0);
    d.clean();
}
