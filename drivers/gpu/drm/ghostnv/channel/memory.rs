// SPDX-License-Identifier: GPL-2.0

//! The memory through which the CPU gives work to a channel and learns that it is done.
//!
//! It is system memory that is coherent with the CPU's caches, so that submitting is a few stores
//! to cached memory and one to the doorbell, and completion is a load. What only the kernel writes
//! (entries and tails) is mapped read-only for the GPU.

use core::ops::Range;

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        DmaAddress, //
    },
    io::{
        io_read,
        io_write, //
    },
    prelude::*,
    sync::barrier::{
        dma_mb,
        Read,
        Write, //
    },
};

use super::{
    fence::{
        Tail,
        TAIL_BYTES,
        TAIL_WORDS, //
    },
    job::JOBS,
    queue::Host,
    ring::{
        Entry,
        Position,
        ENTRIES, //
    },
};

/// Bytes of a page.
const PAGE: usize = 4096;
/// 64-bit words of a page.
const WORDS: usize = PAGE / size_of::<u64>();
/// 64-bit words of a tail.
const TAIL_STEP: usize = TAIL_WORDS / 2;

/// Pages of entries.
const ENTRY_PAGES: usize = ENTRIES / WORDS;
/// Pages of tails.
const TAIL_PAGES: usize = JOBS * TAIL_STEP / WORDS;
/// Page with the tails of the first jobs.
const TAILS: usize = ENTRY_PAGES;
/// Page of the word that tells which job was done last.
const FENCE: usize = TAILS + TAIL_PAGES;
const PAGES: usize = FENCE + 1;

/// The memory of one channel.
pub(crate) struct Memory(Coherent<[[u64; WORDS]; PAGES]>);

impl Memory {
    /// Entries and tails, in bytes from the start; mapped read-only for the GPU.
    pub(crate) const READ_ONLY: Range<usize> = 0..FENCE * PAGE;
    /// The page that the GPU writes job numbers to, in bytes from the start.
    pub(crate) const WRITABLE: Range<usize> = FENCE * PAGE..(FENCE + 1) * PAGE;

    /// Allocates it, all zeroes.
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        Ok(Self(Coherent::zeroed(dev, GFP_KERNEL)?))
    }

    /// Bus address of the byte at `offset`.
    pub(crate) fn address(&self, offset: usize) -> DmaAddress {
        // CAST: from usize, which is never wider.
        self.0.dma_address() + offset as DmaAddress
    }
}

/// How Host is told of work.
pub(crate) trait Doorbell: Send + Sync {
    /// Has Host look at the ring, of which the entries before index `put` are valid.
    fn submit(&self, put: u32);
}

/// A channel's memory in use.
///
/// It is let go of in this order: the channel, where the GPU finds the memory (`M`), the memory.
pub(crate) struct Ring<D, M> {
    doorbell: D,
    _mapped: M,
    memory: Memory,
    tail: Tail,
    /// The entry that runs the first tail.
    first_tail: Entry,
}

impl<D: Doorbell, M> Ring<D, M> {
    /// `read_only` and `writable` are where the GPU finds [`Memory::READ_ONLY`] and
    /// [`Memory::WRITABLE`] in the channel's address space.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is out of Host's reach.
    pub(crate) fn new(
        memory: Memory,
        mapped: M,
        doorbell: D,
        read_only: u64,
        writable: u64,
    ) -> Result<Self> {
        // CAST: constants far below 2^32.
        const TAILS_AT: u64 = (TAILS * PAGE) as u64;
        const LAST_TAIL: u64 = (JOBS as u64 - 1) * TAIL_BYTES as u64;

        let tails = read_only.checked_add(TAILS_AT).ok_or(EINVAL)?;
        let last = tails.checked_add(LAST_TAIL).ok_or(EINVAL)?;
        Entry::segment(last, TAIL_BYTES, false)?;
        Ok(Self {
            doorbell,
            _mapped: mapped,
            memory,
            tail: Tail::new(writable)?,
            first_tail: Entry::segment(tails, TAIL_BYTES, false)?,
        })
    }

    /// Where Host is told of work.
    pub(crate) fn doorbell(&self) -> &D {
        &self.doorbell
    }
}

impl<D: Doorbell, M: Send + Sync> Host for Ring<D, M> {
    #[inline]
    fn write_entry(&self, at: Position, entry: Entry) {
        // CAST: less than `ENTRIES`.
        let index = at.index() as usize;
        io_write!(
            self.memory.0,
            [build: index / WORDS % ENTRY_PAGES][build: index % WORDS],
            entry.into_raw()
        );
    }

    #[inline]
    fn write_tail(&self, number: u64) -> Entry {
        // CAST: less than `JOBS`.
        let index = (number % JOBS as u64) as usize;
        let word = index * TAIL_STEP;
        let words = self.tail.of_job(number);
        for (i, pair) in words.chunks_exact(2).enumerate() {
            if let [low, high] = *pair {
                io_write!(
                    self.memory.0,
                    [build: TAILS + word / WORDS % TAIL_PAGES]
                        [build: (word % WORDS + i % TAIL_STEP) % WORDS],
                    u64::from(low) | u64::from(high) << 32
                );
            }
        }
        // CAST: `index` is less than `JOBS`.
        self.first_tail.moved(index as u32 * TAIL_BYTES)
    }

    #[inline]
    fn submit(&self, end: Position) {
        // Entries and segments arrive before the index that makes Host look at them.
        dma_mb(Write);
        self.doorbell.submit(end.index());
    }

    #[inline]
    fn completed(&self) -> u64 {
        let number = u64::from_le(io_read!(self.memory.0, [build: FENCE][build: 0]));
        dma_mb(Read);
        number
    }
}

// What the layout must be like for the above.
const _: () = {
    assert!(ENTRIES % WORDS == 0);
    assert!(JOBS * TAIL_STEP % WORDS == 0);
    assert!(WORDS % TAIL_STEP == 0);
    assert!(TAIL_WORDS % 2 == 0);
};
