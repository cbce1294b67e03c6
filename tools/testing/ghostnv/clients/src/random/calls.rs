// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The calls, and how their arguments come about.

use super::values::{self, BASE, PAGE, PAGES};
use crate::prng::Prng;
use crate::uapi::raw::{Arena, Argument};

/// An ioctl that is called.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub number: u8,
    /// How often, among all.
    pub weight: u64,
    /// Pointers in it may be replaced by anything, since the kernel only reads there.
    pub mutable: bool,
    /// Makes the argument.
    pub make: fn(&mut Prng, &Arena) -> Argument,
}

const fn kind(
    name: &'static str,
    number: u8,
    weight: u64,
    make: fn(&mut Prng, &Arena) -> Argument,
) -> Kind {
    Kind { name, number, weight, mutable: true, make }
}

/// Like [`kind`], for what the kernel writes through pointers for.
const fn writes(
    name: &'static str,
    number: u8,
    weight: u64,
    make: fn(&mut Prng, &Arena) -> Argument,
) -> Kind {
    Kind { name, number, weight, mutable: false, make }
}

/// Handles, channels and synchronization objects that there likely are.
const FEW: u64 = 8;

/// Where in the arena each list starts.
const OPS: usize = 0x1_0000;
const PUSHES: usize = 0x4_0000;
const WAITS: usize = 0x8_0000;
const SIGNALS: usize = 0x9_0000;
const HANDLES: usize = 0xa_0000;
const POINTS: usize = 0xb_0000;
const RESULTS: usize = 0xc_0000;

/// All of them.
pub const KINDS: &[Kind] = &[
    kind("GETPARAM", 0x40, 10, |p, _| Argument::new().u64(values::few(p, 22).into()).u64(p.word())),
    kind("CHANNEL_ALLOC", 0x42, 4, channel_alloc),
    kind("CHANNEL_FREE", 0x43, 3, |p, _| Argument::new().u32(values::few(p, 4))),
    kind("NVIF", 0x47, 20, nvif),
    kind("VM_INIT", 0x50, 3, |p, _| Argument::new().u64(values::any(p)).u64(values::any(p))),
    kind("VM_BIND", 0x51, 60, vm_bind),
    kind("EXEC", 0x52, 60, exec),
    kind("GET_ZCULL_INFO", 0x53, 2, |p, _| Argument::new().raw(&p.bytes(48))),
    kind("GEM_NEW", 0x80, 30, gem_new),
    kind("GEM_PUSHBUF", 0x81, 2, |p, _| Argument::new().raw(&p.bytes(64))),
    kind("GEM_CPU_PREP", 0x82, 10, |p, _| {
        // Without NOWAIT now and then only: it takes as long as the job.
        let wait = u32::from(p.below(8) == 0);
        Argument::new().u32(values::few(p, FEW)).u32(values::flags(p, 4) | (1 - wait))
    }),
    kind("GEM_CPU_FINI", 0x83, 2, |p, _| Argument::new().u32(values::few(p, FEW))),
    kind("GEM_INFO", 0x84, 10, |p, _| Argument::new().u32(values::few(p, FEW)).raw(&p.bytes(36))),
    kind("GEM_CLOSE", 0x09, 20, |p, _| Argument::new().u32(values::few(p, FEW)).u32(0)),
    kind("PRIME_HANDLE_TO_FD", 0x2d, 6, |p, _| {
        let flags = values::flags(p, 0x8_0002);
        Argument::new().u32(values::few(p, FEW)).u32(flags).u32(u32::MAX)
    }),
    kind("SYNCOBJ_CREATE", 0xbf, 6, |p, _| Argument::new().u32(0).u32(values::flags(p, 1))),
    kind("SYNCOBJ_DESTROY", 0xc0, 3, |p, _| Argument::new().u32(values::few(p, FEW)).u32(0)),
    kind("SYNCOBJ_HANDLE_TO_FD", 0xc1, 5, |p, _| {
        let flags = values::flags(p, 3);
        let point = if flags & 2 == 0 { 0 } else { p.below(8) };
        Argument::new().u32(values::few(p, FEW)).u32(flags).u32(u32::MAX).u32(0).u64(point)
    }),
    writes("SYNCOBJ_WAIT", 0xc3, 5, |p, a| {
        let (handles, count, flags) = (handles(p, a), p.below(5) as u32, values::flags(p, 7));
        Argument::new().u64(handles).u64(soon(p)).u32(count).u32(flags).u64(0).u64(0)
    }),
    writes("SYNCOBJ_RESET", 0xc4, 2, handle_array),
    writes("SYNCOBJ_SIGNAL", 0xc5, 3, handle_array),
    writes("SYNCOBJ_TIMELINE_WAIT", 0xca, 5, |p, a| {
        let (handles, points, count) = (handles(p, a), points(p, a), p.below(5) as u32);
        let tail = values::flags(p, 7);
        Argument::new().u64(handles).u64(points).u64(soon(p)).u32(count).u32(tail).u64(0).u64(0)
    }),
    writes("SYNCOBJ_QUERY", 0xcb, 3, |p, a| {
        let (handles, count, flags) = (handles(p, a), p.below(5) as u32, values::flags(p, 1));
        let into = values::pointer(p, a, RESULTS);
        Argument::new().u64(handles).u64(into).u32(count).u32(flags)
    }),
    kind("SYNCOBJ_TRANSFER", 0xcc, 3, |p, _| {
        let (from, to) = (values::few(p, FEW), values::few(p, FEW));
        let points = [p.below(8), p.below(8)];
        Argument::new().u32(from).u32(to).u64(points[0]).u64(points[1]).u32(0).u32(0)
    }),
    writes("SYNCOBJ_TIMELINE_SIGNAL", 0xcd, 3, |p, a| {
        let (handles, points, count) = (handles(p, a), points(p, a), p.below(5) as u32);
        Argument::new().u64(handles).u64(points).u32(count).u32(0)
    }),
    kind("a number that is none", 0, 2, |p, _| {
        let len = p.index(256);
        Argument::new().raw(&p.bytes(len))
    }),
];

/// Some milliseconds from now, by the clock that waits go by.
fn soon(prng: &mut Prng) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    match prng.below(4) {
        0 => 0,
        1 => 1 << 63,
        _ => now + prng.below(10_000_000),
    }
}

fn handles(prng: &mut Prng, arena: &Arena) -> u64 {
    let words: Vec<u8> = (0..4).flat_map(|_| values::few(prng, FEW).to_le_bytes()).collect();
    let _ = arena.write(HANDLES, &words);
    values::pointer(prng, arena, HANDLES)
}

fn points(prng: &mut Prng, arena: &Arena) -> u64 {
    let words: Vec<u8> = (0..4).flat_map(|_| prng.below(8).to_le_bytes()).collect();
    let _ = arena.write(POINTS, &words);
    values::pointer(prng, arena, POINTS)
}

fn handle_array(prng: &mut Prng, arena: &Arena) -> Argument {
    let handles = handles(prng, arena);
    Argument::new().u64(handles).u32(prng.below(5) as u32).u32(0)
}

fn channel_alloc(prng: &mut Prng, _: &Arena) -> Argument {
    let engine = [0x01, 0x30, 0x30, 0, u32::MAX, 0x40][prng.index(6)];
    let mode = if prng.below(8) == 0 { prng.word() as u32 } else { u32::MAX };
    Argument::new().u32(mode).u32(engine).raw(&prng.bytes(80))
}

/// Messages of the kinds there are, to objects that there may be.
fn nvif(prng: &mut Prng, _: &Arena) -> Argument {
    let kind = if prng.below(8) == 0 { prng.word() as u8 } else { 1 + prng.below(4) as u8 };
    let channel = kind == 1 || prng.below(2) == 0;
    let (route, token) = if channel { (0xff, values::few(prng, 4)) } else { (0, 0) };
    let object = u64::from(values::few(prng, FEW));
    let target = if matches!(kind, 3 | 4) { object } else { 0 };
    let head = Argument::new().raw(&[0, kind, 0, 0, 0, 0, 0xff, route]).u64(token.into());
    let head = head.u64(target);
    match kind {
        1 => head.raw(&[0, prng.below(17) as u8, 0, 0, 0, 0, 0, 0]).raw(&[0; 128]),
        2 => {
            let class = [0x80, 0xc7b5, 0xc5b5, 0xc9b5, 0xc797, 0xc56f, prng.word() as u32];
            let class = class[prng.index(7)];
            let head = head.raw(&[0, 0, 0, 0, 0, 0, 0, route]).u64(token.into());
            head.u64(object).u32(prng.word() as u32).u32(class).raw(&[0; 16])
        }
        4 => head.raw(&[0, 0, 0, 0, 0, 0, 0, 0]).raw(&[0; 104]),
        _ => head,
    }
}

fn gem_new(prng: &mut Prng, _: &Arena) -> Argument {
    let domain = values::flags(prng, 0x2f);
    let size = values::length(prng);
    let tile = values::flags(prng, 0x0700);
    let align = if prng.below(4) == 0 { values::any(prng) as u32 } else { 0x1000 };
    Argument::new()
        .u32(0)
        .u32(domain)
        .u64(size)
        .u64(0)
        .u64(0)
        .u32(prng.word() as u32)
        .u32(tile)
        .u32(0)
        .u32(align)
}

/// A list of synchronization objects: where, and how many.
fn syncs(prng: &mut Prng, arena: &Arena, offset: usize) -> (u32, u64) {
    let count = if prng.below(2) == 0 { 0 } else { prng.below(5) };
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.extend(values::flags(prng, 1).to_le_bytes());
        bytes.extend(values::few(prng, FEW).to_le_bytes());
        bytes.extend(prng.below(8).to_le_bytes());
    }
    let _ = arena.write(offset, &bytes);
    (count as u32, values::pointer(prng, arena, offset))
}

fn vm_bind(prng: &mut Prng, arena: &Arena) -> Argument {
    let count = if prng.below(4) == 0 { prng.below(60) } else { 1 };
    let mut bytes = Vec::new();
    for _ in 0..count {
        let sparse = if prng.below(6) == 0 { 0x100 } else { 0 };
        bytes.extend(values::few(prng, 2).to_le_bytes());
        bytes.extend((values::few(prng, 7) | sparse).to_le_bytes());
        bytes.extend(values::few(prng, FEW).to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(values::address(prng).to_le_bytes());
        let offset = if prng.below(4) == 0 { values::length(prng) } else { 0 };
        bytes.extend(offset.to_le_bytes());
        bytes.extend(values::length(prng).to_le_bytes());
    }
    let _ = arena.write(OPS, &bytes);
    let later = prng.below(2) as u32;
    let (waits, wait_ptr) = syncs(prng, arena, WAITS);
    let (signals, signal_ptr) = syncs(prng, arena, SIGNALS);
    Argument::new()
        .u32(if prng.below(64) == 0 { values::any(prng) as u32 } else { count as u32 })
        .u32(if prng.below(32) == 0 { values::any(prng) as u32 } else { later })
        .u32(waits * later)
        .u32(signals * later)
        .u64(wait_ptr)
        .u64(signal_ptr)
        .u64(values::pointer(prng, arena, OPS))
}

fn exec(prng: &mut Prng, arena: &Arena) -> Argument {
    let count = if prng.below(8) == 0 { prng.below(300) } else { prng.below(4) };
    let mut bytes = Vec::new();
    for _ in 0..count {
        // The client's pushbuffers are on the first page.
        let block = prng.below(BLOCKS as u64) * BLOCK as u64;
        let va = if prng.below(16) == 0 { values::address(prng) } else { BASE + block };
        let len = if prng.below(16) == 0 { values::any(prng) as u32 } else { block_words(prng) };
        bytes.extend(va.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(values::flags(prng, 1).to_le_bytes());
    }
    let _ = arena.write(PUSHES, &bytes);
    let (waits, wait_ptr) = syncs(prng, arena, WAITS);
    let (signals, signal_ptr) = syncs(prng, arena, SIGNALS);
    Argument::new()
        .u32(values::few(prng, 3))
        .u32(if prng.below(64) == 0 { values::any(prng) as u32 } else { count as u32 })
        .u32(waits)
        .u32(signals)
        .u64(wait_ptr)
        .u64(signal_ptr)
        .u64(values::pointer(prng, arena, PUSHES))
}

/// Bytes of one pushbuffer of [`pushbuffers`].
pub const BLOCK: usize = 1024;
/// Pushbuffers on the page.
pub const BLOCKS: usize = PAGE as usize / BLOCK;

fn block_words(prng: &mut Prng) -> u32 {
    4 * (1 + prng.below(BLOCK as u64 / 4) as u32)
}

/// A page of pushbuffers: most copy between places of the client, some are garbage, one never ends.
pub fn pushbuffers(prng: &mut Prng) -> Vec<u8> {
    use crate::uapi::push::Pushbuf;

    let mut page = Vec::new();
    for number in 0..BLOCKS {
        let place = |prng: &mut Prng| BASE + PAGE * prng.below(PAGES);
        let mut block = match prng.below(16) {
            0 => prng.bytes(BLOCK),
            1 => vec![0xff; BLOCK],
            2 if number == 0 => Pushbuf::new().acquire(place(prng), 0x1234_5678).bytes(),
            2 | 3 => {
                let mut push = Pushbuf::new();
                for _ in 0..20 {
                    let method = prng.below(0x1000) as u32 * 4;
                    let data = [prng.word() as u32, prng.word() as u32];
                    push = push.methods(prng.below(8) as u32, method, &data);
                }
                push.bytes()
            }
            _ => {
                let (from, to) = (place(prng), place(prng));
                Pushbuf::new().copy(from, to, prng.size(PAGE) as u32).bytes()
            }
        };
        // What follows is no method.
        block.resize(BLOCK, 0);
        page.extend(block);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_the_sizes_of_the_header() {
        let arena = Arena::new().unwrap();
        let mut prng = Prng::new(1);
        let sizes = [
            ("GETPARAM", 16),
            ("CHANNEL_ALLOC", 88),
            ("CHANNEL_FREE", 4),
            ("VM_INIT", 16),
            ("VM_BIND", 40),
            ("EXEC", 40),
            ("GET_ZCULL_INFO", 48),
            ("GEM_NEW", 48),
            ("GEM_PUSHBUF", 64),
            ("GEM_CPU_PREP", 8),
            ("GEM_CPU_FINI", 4),
            ("GEM_INFO", 40),
            ("GEM_CLOSE", 8),
            ("PRIME_HANDLE_TO_FD", 12),
            ("SYNCOBJ_CREATE", 8),
            ("SYNCOBJ_DESTROY", 8),
            ("SYNCOBJ_HANDLE_TO_FD", 24),
            ("SYNCOBJ_WAIT", 40),
            ("SYNCOBJ_RESET", 16),
            ("SYNCOBJ_SIGNAL", 16),
            ("SYNCOBJ_TIMELINE_WAIT", 48),
            ("SYNCOBJ_QUERY", 24),
            ("SYNCOBJ_TRANSFER", 32),
            ("SYNCOBJ_TIMELINE_SIGNAL", 24),
        ];
        for (name, size) in sizes {
            let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
            assert_eq!((kind.make)(&mut prng, &arena).bytes().len(), size, "{name}");
        }
    }

    #[test]
    fn pushbuffers_fill_a_page() {
        assert_eq!(pushbuffers(&mut Prng::new(2)).len() as u64, PAGE);
    }
}
