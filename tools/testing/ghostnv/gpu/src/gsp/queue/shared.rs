// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The shared memory under the queues: pages scattered in system memory, and where a ring is in it.

use super::super::args::PAGE;
use super::super::bytes::{put_u32, u32_at};
use crate::env::Env;
use crate::env::mem::Phys;

/// Offset of the write pointer in a ring's header (`msgqTxHeader.writePtr`).
pub const WRITE_POINTER: u64 = 16;
/// Where the GSP puts the read pointer in its own header page (`msgqRxHeader.readPtr`).
pub const RX_OFFSET: u64 = 0x20;
/// Size of `msgqTxHeader`.
const TX_HEADER: usize = 32;
/// `msgqTxHeader.flags`: the read pointers are swapped.
const SWAP_RX: u32 = 1;

/// Where a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Offset of its header page in the shared memory.
    pub base: u64,
    /// Size with the header page.
    pub size: u64,
    /// Slots.
    pub slots: u32,
    /// Offset of the first slot from the header.
    pub entries: u64,
    /// Offset of the read pointer from the header.
    pub rx: u64,
}

impl Geometry {
    /// Whether two rings share memory.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.base < other.base + other.size && other.base < self.base + self.size
    }
}

/// The shared memory.
pub struct Shared {
    pages: Vec<u64>,
}

impl Shared {
    /// Memory made of these pages.
    pub fn new(pages: Vec<u64>) -> Self {
        Self { pages }
    }

    fn len(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// Whether a ring lies in the memory, past the page table.
    pub fn holds(&self, ring: &Geometry) -> bool {
        ring.base % PAGE == 0
            && ring.base >= PAGE
            && ring.base.checked_add(ring.size).is_some_and(|end| end <= self.len())
    }

    /// Reads and checks the header that the driver wrote.
    pub fn geometry(&self, env: &mut Env, base: u64) -> Option<Geometry> {
        let mut raw = [0; TX_HEADER];
        self.read(env, base, &mut raw)?;
        let word = |i: usize| u32_at(&raw, 4 * i);
        let (size, slots) = (u64::from(word(1)), word(3));
        let (rx, entries) = (u64::from(word(6)), u64::from(word(7)));
        let ring = Geometry { base, size, slots, entries, rx };
        let sound = word(0) == 0
            && u64::from(word(2)) == PAGE
            && word(5) == SWAP_RX
            && slots >= 2
            && entries % PAGE == 0
            && entries >= PAGE
            && size >= entries
            && (size - entries) / PAGE == u64::from(slots)
            && rx >= TX_HEADER as u64
            && rx % 4 == 0
            && rx + 4 <= entries
            && self.holds(&ring);
        if !sound {
            env.violation("queue-header", format!("command queue header at {base:#x}: {ring:?}"));
            return None;
        }
        Some(ring)
    }

    /// Writes the header of the GSP's ring, empty, and of the other's read pointer.
    pub fn publish(&self, env: &mut Env, ring: &Geometry) -> Option<()> {
        let words = [
            0,
            ring.size as u32,
            PAGE as u32,
            ring.slots,
            0,
            SWAP_RX,
            ring.rx as u32,
            ring.entries as u32,
            0,
        ];
        let mut raw = [0; TX_HEADER + 4];
        for (i, word) in words.iter().enumerate() {
            put_u32(&mut raw, 4 * i, *word);
        }
        self.write(env, ring.base, &raw)
    }

    /// Reads `count` slots from slot `first`, wrapping.
    pub fn slots(&self, env: &mut Env, ring: &Geometry, first: u32, count: u32) -> Option<Vec<u8>> {
        let page = PAGE as usize;
        let mut bytes = vec![0; count as usize * page];
        for (i, chunk) in bytes.chunks_mut(page).enumerate() {
            self.read(env, slot(ring, first, i), chunk)?;
        }
        Some(bytes)
    }

    /// Writes whole slots from slot `first`, wrapping.
    pub fn write_slots(
        &self,
        env: &mut Env,
        ring: &Geometry,
        first: u32,
        bytes: &[u8],
    ) -> Option<()> {
        for (i, chunk) in bytes.chunks(PAGE as usize).enumerate() {
            self.write(env, slot(ring, first, i), chunk)?;
        }
        Some(())
    }

    /// Reads a word in one access.
    pub fn read_u32(&self, env: &mut Env, off: u64) -> Option<u32> {
        let at = self.phys(off)?;
        env.mem.read_u32(at).map_err(|e| unmapped(env, e)).ok()
    }

    /// Writes a word in one access, after all earlier writes.
    pub fn write_u32(&self, env: &mut Env, off: u64, value: u32) -> Option<()> {
        let at = self.phys(off)?;
        env.mem.write_u32(at, value).map_err(|e| unmapped(env, e)).ok()
    }

    /// Reads bytes that do not cross a page.
    fn read(&self, env: &mut Env, off: u64, buf: &mut [u8]) -> Option<()> {
        let at = self.phys(off)?;
        env.mem.read(at, buf).map_err(|e| unmapped(env, e)).ok()
    }

    /// Writes bytes that do not cross a page.
    fn write(&self, env: &mut Env, off: u64, buf: &[u8]) -> Option<()> {
        let at = self.phys(off)?;
        env.mem.write(at, buf).map_err(|e| unmapped(env, e)).ok()
    }

    fn phys(&self, off: u64) -> Option<Phys> {
        let page = self.pages.get(usize::try_from(off / PAGE).ok()?)?;
        Some(Phys::sys(page.checked_add(off % PAGE)?))
    }
}

fn slot(ring: &Geometry, first: u32, i: usize) -> u64 {
    let n = (u64::from(first) + i as u64) % u64::from(ring.slots);
    ring.base + ring.entries + n * PAGE
}

fn unmapped(env: &mut Env, error: crate::env::mem::MemError) {
    env.unreached("dma-unmapped", "message queue", error);
}
