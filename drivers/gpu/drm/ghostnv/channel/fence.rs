// SPDX-License-Identifier: GPL-2.0

//! How the GPU says that a job is done.
//!
//! After the segments of a job comes one of the kernel's own, the job's *tail*: Host waits until
//! the engine is idle and all it wrote is visible, writes the job's number into system memory, and
//! raises the engine's non-stalling interrupt. The numbers of a channel only grow, so one word a
//! channel says of all its jobs whether they are done, and it is read without touching the bus.
//!
//! A client can map anything into its address space but the word, yet nothing keeps its commands
//! from writing there by address. That hurts nobody but itself: a number that was never given out
//! is cut down to those that were, and fences that signal too early are the client's own.
//!
//! Facts: open-gpu-doc `dev_ram.ref.txt` "FIFO_DMA", `dev_pbdma.ref.txt` "HOST METHODS",
//! `clc46f.h`, `clc56f.h`.

use kernel::{
    dma_fence::FenceOps,
    prelude::*, //
};

/// Methods of Host, by byte address. They are the same for all channel classes from Volta on.
mod method {
    pub(super) const NON_STALL_INTERRUPT: u32 = 0x20;
    /// Followed by SEM_ADDR_HI, SEM_PAYLOAD_LO, SEM_PAYLOAD_HI and SEM_EXECUTE.
    pub(super) const SEM_ADDR_LO: u32 = 0x5c;
}

/// Bits of SEM_EXECUTE.
mod sem_execute {
    pub(super) const RELEASE: u32 = 1;
    /// Waits for the engine, then for its writes to be visible to the CPU.
    pub(super) const RELEASE_WFI: u32 = 1 << 20;
    pub(super) const PAYLOAD_64BIT: u32 = 1 << 24;
}

/// Bits of an address that a semaphore can have.
const ADDRESS_BITS: u32 = 40;

/// 32-bit words of a tail.
pub(crate) const TAIL_WORDS: usize = 8;
/// Bytes of a tail.
pub(crate) const TAIL_BYTES: u32 = TAIL_WORDS as u32 * 4;

/// Header of `count` data words for consecutive methods from `method` on, on subchannel 0.
const fn incrementing(method: u32, count: u32) -> u32 {
    1 << 29 | count << 16 | method / 4
}

/// The commands that say that a job is done, but for the job's number.
#[derive(Clone, Copy)]
pub(crate) struct Tail([u32; TAIL_WORDS]);

impl Tail {
    const NUMBER: usize = 3;

    /// Commands that write to the word at `va`, which is aligned to 8 bytes.
    pub(crate) fn new(va: u64) -> Result<Self> {
        if va % 8 != 0 || va >> ADDRESS_BITS != 0 {
            return Err(EINVAL);
        }
        let [address_lo, address_hi] = halves(va);
        Ok(Self([
            incrementing(method::SEM_ADDR_LO, 5),
            address_lo,
            address_hi,
            0,
            0,
            sem_execute::RELEASE | sem_execute::RELEASE_WFI | sem_execute::PAYLOAD_64BIT,
            incrementing(method::NON_STALL_INTERRUPT, 1),
            0,
        ]))
    }

    /// All of them, for the job `number`.
    pub(crate) fn of_job(self, number: u64) -> [u32; TAIL_WORDS] {
        let mut words = self.0;
        [words[Self::NUMBER], words[Self::NUMBER + 1]] = halves(number);
        words.map(u32::to_le)
    }
}

/// Low and high half.
fn halves(value: u64) -> [u32; 2] {
    // CAST: by intent.
    [value as u32, (value >> 32) as u32]
}

/// What the fences of a channel say about themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeline {
    /// Jobs of the graphics engine.
    Graphics,
    /// Jobs of a copy engine.
    Copy,
}

impl FenceOps for Timeline {
    fn driver_name(&self) -> &CStr {
        c"ghostnv"
    }

    fn timeline_name(&self) -> &CStr {
        match self {
            Self::Graphics => c"graphics",
            Self::Copy => c"copy",
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_channel_fence)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_releases_and_interrupts() -> Result {
        assert_eq!(
            Tail::new(0x80_1234_5678)?.of_job(0x1_0000_0002),
            [
                // SEM_ADDR_LO, five words.
                0x2005_0017,
                0x1234_5678,
                0x80,
                2,
                1,
                // RELEASE, RELEASE_WFI, PAYLOAD_SIZE 64 bits.
                0x0110_0001,
                // NON_STALL_INTERRUPT, one word.
                0x2001_0008,
                0,
            ]
        );
        Ok(())
    }

    #[test]
    fn semaphores_have_their_limits() {
        for va in [4, 0x1001, 1 << 40, u64::MAX - 7] {
            assert!(Tail::new(va).is_err());
        }
    }
}
