// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A tiny driver for tests: its side of the queues, written without the GSP's code.

use std::fs::File;

use super::{BootInfo, Gsp};
use crate::chip::Chip;
use crate::env::Env;
use crate::env::mem::Phys;
use crate::machine::Machine;

/// Where guest memory is for DMA, and its size.
const RAM: u64 = 0x1_0000_0000;
const RAM_SIZE: u64 = 2 << 20;
/// LibOS arguments, RMARGS, shared memory.
pub const LIBOS: u64 = RAM;
const RMARGS: u64 = RAM + 0x1000;
const SHARED: u64 = RAM + 0x2000;
const PAGES: u64 = 129;
pub const CMDQ: u64 = SHARED + 0x1000;
pub const MSGQ: u64 = SHARED + 0x41000;
/// System memory that no queue uses.
pub const SCRATCH: u64 = RAM + 0x10_0000;
pub const SLOTS: u32 = 63;
const CHUNK: usize = 0x10000 - 80;
/// VRAM, and where its reserved part begins.
const VRAM: u64 = 256 << 20;
const RESERVED: u64 = 128 << 20;

/// What the driver received.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub function: u32,
    pub sequence: u32,
    pub result: u32,
    pub payload: Vec<u8>,
}

/// A card, and the driver's state.
pub struct Driver {
    pub hw: Machine,
    pub gsp: Gsp,
    pub write: u32,
    pub read: u32,
    pub sequence: u32,
    rpc_sequence: u32,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn quads(quads: &[u64]) -> Vec<u8> {
    quads.iter().flat_map(|q| q.to_le_bytes()).collect()
}

pub fn info() -> BootInfo {
    BootInfo {
        libos_args: LIBOS,
        reserved_start: RESERVED,
        frts: VRAM - (2 << 20),
        fb_size: VRAM,
        resume: false,
    }
}

impl Driver {
    /// Memory is prepared, the GSP is off.
    pub fn new() -> Self {
        let mut env = Env::new(VRAM).expect("VRAM");
        let fd = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        rustix::fs::ftruncate(&fd, RAM_SIZE).expect("size");
        env.mem.dma_map(RAM, RAM_SIZE, Some((File::from(fd), 0)), true).expect("map");
        let hw = Machine::new(Chip::find("ga102").expect("ga102"), env, None);
        let mut d =
            Self { hw, gsp: Gsp::default(), write: 0, read: 0, sequence: 0, rpc_sequence: 0 };
        d.put(LIBOS, &quads(&[0x004c_4f47_494e_4954, SCRATCH, 0x1_0000, 0x101]));
        d.put(LIBOS + 32, &quads(&[0x524d_4152_4753, RMARGS, 0x1000, 0x101]));
        d.rmargs(false);
        let ptes: Vec<u64> = (0..PAGES).map(|i| SHARED + i * 0x1000).collect();
        d.put(SHARED, &quads(&ptes));
        d.put(CMDQ, &words(&[0, 0x40000, 0x1000, SLOTS, 0, 1, 0x20, 0x1000]));
        d.hw.gsp_falcon.start_riscv();
        d
    }

    /// As [`Driver::new`], and RM is up.
    pub fn booted() -> Self {
        let mut d = Self::new();
        d.boot();
        d
    }

    pub fn boot(&mut self) {
        self.push(72, &system_info());
        self.push(73, &registry(4));
        self.gsp.start(&mut self.hw, info());
        assert_eq!(self.pop().map(|r| (r.function, r.payload.len())), Some((0x1002, 40)));
        assert_eq!(self.pop().map(|r| (r.function, r.payload.len())), Some((0x1001, 0)));
        self.clean();
    }

    pub fn rmargs(&mut self, resume: bool) {
        self.put(RMARGS, &quads(&[SHARED, PAGES, 0x1000, 0x41000]));
        let level = if resume { 3 } else { 0 };
        self.put(RMARGS + 32, &words(&[level, 0, resume.into(), 0, 1]));
    }

    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.hw.env.mem.write(Phys::sys(at), bytes).expect("guest memory");
    }

    pub fn word(&mut self, at: u64) -> u32 {
        self.hw.env.mem.read_u32(Phys::sys(at)).expect("guest memory")
    }

    /// Nothing was violated so far.
    pub fn clean(&self) {
        assert!(self.hw.env.judge.violations.is_empty(), "{:?}", self.hw.env.judge.violations);
    }

    /// Exactly this rule was violated, and is forgotten.
    pub fn violated(&mut self, rule: &str) {
        let rules: Vec<_> = self.hw.env.judge.violations.keys().copied().collect();
        assert_eq!(rules, [rule], "{:?}", self.hw.env.judge.violations);
        self.hw.env.judge.violations.clear();
    }

    /// Writes one element; the header can be changed before it is sealed.
    pub fn element(&mut self, function: u32, payload: &[u8], change: impl FnOnce(&mut [u8])) {
        let mut e = words(&[0, 0, 0, 0, 0, 0, 0, 0]);
        let pages = (80 + payload.len()).div_ceil(0x1000) as u32;
        e.extend(words(&[0, self.sequence, pages, 0, 0x0300_0000, 0x4350_5256]));
        e.extend(words(&[32 + payload.len() as u32, function, !0, !0, self.rpc_sequence, 0]));
        e.extend(payload);
        change(&mut e);
        e.resize(pages as usize * 0x1000, 0);
        let sum = xor(&e) ^ word_at(&e, 32);
        e[32..36].copy_from_slice(&sum.to_le_bytes());
        for page in e.chunks(0x1000) {
            self.put(CMDQ + 0x1000 + u64::from(self.write) * 0x1000, page);
            self.write = (self.write + 1) % SLOTS;
        }
        self.sequence += 1;
        self.put(CMDQ + 16, &self.write.to_le_bytes());
    }

    /// Sends a request, split if it is long.
    pub fn push(&mut self, function: u32, payload: &[u8]) {
        let mut chunks = payload.chunks(CHUNK);
        self.element(function, chunks.next().unwrap_or(&[]), |_| {});
        for chunk in chunks {
            self.element(71, chunk, |_| {});
        }
        self.rpc_sequence += 1;
    }

    /// Reads one message, put together as long as continuation records follow.
    pub fn pop(&mut self) -> Option<Received> {
        let mut message = self.pop_element()?;
        while self.peek() == Some(71) {
            message.payload.extend(self.pop_element()?.payload);
        }
        Some(message)
    }

    fn slot(&mut self) -> Option<u64> {
        let write = self.word(MSGQ + 16);
        (write != self.read).then(|| MSGQ + 0x1000 + u64::from(self.read) * 0x1000)
    }

    fn peek(&mut self) -> Option<u32> {
        let at = self.slot()?;
        Some(self.word(at + 60))
    }

    fn pop_element(&mut self) -> Option<Received> {
        let at = self.slot()?;
        let pages = self.word(at + 40);
        let mut e = Vec::new();
        for _ in 0..pages {
            let mut page = [0; 0x1000];
            let at = self.slot().expect("all pages are written");
            self.hw.env.mem.read(Phys::sys(at), &mut page).expect("guest memory");
            e.extend(page);
            self.read = (self.read + 1) % SLOTS;
        }
        self.put(CMDQ + 0x20, &self.read.to_le_bytes());
        let end = 48 + word_at(&e, 56) as usize;
        assert_eq!(xor(&e[..end.next_multiple_of(8)]), 0, "checksum");
        assert_eq!((word_at(&e, 48), word_at(&e, 52)), (0x0300_0000, 0x4350_5256));
        let (function, sequence, result) = (word_at(&e, 60), word_at(&e, 72), word_at(&e, 64));
        Some(Received { function, sequence, result, payload: e[80..end].to_vec() })
    }

    /// Sends a request and returns its reply.
    pub fn call(&mut self, function: u32, payload: &[u8]) -> Received {
        let sequence = self.rpc_sequence;
        self.push(function, payload);
        self.gsp.doorbell(&mut self.hw);
        let reply = self.pop().expect("reply");
        assert_eq!((reply.function, reply.sequence), (function, sequence));
        reply
    }

    /// GSP_RM_ALLOC; returns the status.
    pub fn alloc(&mut self, client: u32, parent: u32, handle: u32, class: u32, p: &[u8]) -> u32 {
        let mut m = words(&[client, parent, handle, class, 0, p.len() as u32, 0, 0]);
        m.extend(p);
        let reply = self.call(103, &m);
        assert_eq!((reply.result, reply.payload.len()), (0, m.len()));
        word_at(&reply.payload, 16)
    }

    /// GSP_RM_CONTROL; returns status and parameters.
    pub fn control(&mut self, client: u32, object: u32, cmd: u32, p: &[u8]) -> (u32, Vec<u8>) {
        let mut m = words(&[client, object, cmd, 0, p.len() as u32, 0]);
        m.extend(p);
        let reply = self.call(76, &m);
        assert_eq!((reply.result, reply.payload.len()), (0, m.len()));
        (word_at(&reply.payload, 12), reply.payload[24..].to_vec())
    }

    /// FREE; returns the status.
    pub fn free(&mut self, client: u32, object: u32) -> u32 {
        let reply = self.call(10, &words(&[client, 0, object, 0]));
        word_at(&reply.payload, 12)
    }
}

/// Exclusive or of all 64-bit words, folded.
fn xor(bytes: &[u8]) -> u32 {
    let word = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("8 bytes"));
    let sum = bytes.chunks(8).map(word).fold(0, |a, b| a ^ b);
    (sum >> 32) as u32 ^ sum as u32
}

/// A little-endian word.
pub fn word_at(bytes: &[u8], off: usize) -> u32 {
    u32::from_le_bytes(bytes[off..off + 4].try_into().expect("4 bytes"))
}

/// `GspSystemInfo` of a GA102.
fn system_info() -> Vec<u8> {
    let mut b = vec![0; 928];
    let mut put = |off: usize, v: u64| b[off..off + 8].copy_from_slice(&v.to_le_bytes());
    put(0, 0xfd00_0000);
    put(8, 0x8_0000_0000);
    put(16, 0x9_0000_0000);
    put(72, 1 << 47);
    put(80, 0x1000_0008_8000);
    put(88, 0x2204_10de);
    b
}

/// A registry with one key, padded with a binary value to `size` bytes.
pub fn registry(value: usize) -> Vec<u8> {
    let size = 8 + 16 + 8 + value as u32;
    let mut b = words(&[size, 1, 24, 2, 32, value as u32]);
    b.extend(b"RMTest1\0");
    b.resize(size as usize, 7);
    b
}
