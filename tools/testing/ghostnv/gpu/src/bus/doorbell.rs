// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The usermode page, trapped or shared.
//!
//! *Trapped* (the default): every ring is a message. It costs the guest a posted write, is seen in
//! order with all other accesses, and none is lost.
//!
//! *Shared*: the page is memory that guest and card both map, and the loop looks at the doorbell
//! word at each turn. A ring is a store (nanoseconds), but:
//!
//! * any region that can be mapped switches off QEMU's posted writes for the whole device, so each
//!   other register write waits for its reply;
//! * a ring is seen when the loop comes by: at once while work goes on, after up to
//!   [`LOOK_NS`] when the card is idle, which therefore never sleeps longer;
//! * two rings between two looks leave only the second token, where hardware queues both. A driver
//!   that uses several channels can hang in this mode for no fault of its own;
//! * TIME_0 and TIME_1 tick only as often as the loop looks.
//!
//! It is there to measure how fast submission can be, with one channel.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::pci::BAR0_SIZE;
use crate::gpu::bar0::{
    USERMODE, USERMODE_CFG0, USERMODE_DOORBELL, USERMODE_TIME_0, USERMODE_TIME_1,
};

/// Longest sleep with a shared page.
pub const LOOK_NS: u64 = 50_000;
/// Where the page is in BAR0.
pub const PAGE: u64 = USERMODE as u64;
/// Bytes of the page.
pub const PAGE_SIZE: u64 = 4096;
/// What the doorbell word holds when nobody rang; no token has all bits.
const QUIET: u32 = !0;

/// The page.
pub struct SharedPage {
    fd: OwnedFd,
    page: MmapRegion,
}

impl SharedPage {
    /// Creates the page; `class` is the usermode class that CFG0 shows.
    pub fn new(class: u32) -> anyhow::Result<Self> {
        // As long as BAR0, because a client maps a region's file at the offset in the region.
        let fd = memfd_create("ghostnv-usermode", MemfdFlags::CLOEXEC).context("usermode memfd")?;
        ftruncate(&fd, BAR0_SIZE).context("size the usermode memfd")?;
        let file = File::from(fd.try_clone().context("usermode memfd")?);
        let page = MmapRegion::from_file(FileOffset::new(file, PAGE), PAGE_SIZE as usize)
            .context("map the usermode page")?;
        let this = Self { fd, page };
        this.swap(USERMODE_CFG0, class);
        this.swap(USERMODE_DOORBELL, QUIET);
        Ok(this)
    }

    /// The file to map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The token of a ring since the last look.
    pub fn take(&self) -> Option<u32> {
        // Looking is a plain load; only a ring pays for the exchange.
        let word = self.page.get_atomic_ref::<AtomicU32>(USERMODE_DOORBELL as usize).ok()?;
        if word.load(Ordering::Relaxed) == QUIET {
            return None;
        }
        Some(word.swap(QUIET, Ordering::AcqRel)).filter(|&token| token != QUIET)
    }

    /// Shows the time.
    pub fn tick(&self, low: u32, high: u32) {
        self.swap(USERMODE_TIME_1, high);
        self.swap(USERMODE_TIME_0, low);
    }

    fn swap(&self, at: u32, value: u32) {
        if let Ok(word) = self.page.get_atomic_ref::<AtomicU32>(at as usize) {
            word.store(value, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_seen_once_even_with_token_zero() {
        let page = SharedPage::new(0xc561).unwrap();
        let word = |at: u32| {
            page.page.get_atomic_ref::<AtomicU32>(at as usize).unwrap().load(Ordering::SeqCst)
        };
        assert_eq!(page.take(), None);
        page.swap(USERMODE_DOORBELL, 0);
        assert_eq!((page.take(), page.take()), (Some(0), None));
        page.tick(0x20, 1);
        assert_eq!((word(USERMODE_TIME_0), word(USERMODE_TIME_1), word(0)), (0x20, 1, 0xc561));
    }
}
