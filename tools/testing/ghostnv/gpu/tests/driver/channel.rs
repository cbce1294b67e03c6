// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A channel on a copy engine.

use super::paging::{system, vram};
use super::rm::{CLIENT, DEVICE, VASPACE};
use super::{Driver, Result, Sabotage, put32, put64, words};

pub const CHANNEL: u32 = 0xf1f0_0001;
const COPY: u32 = 0xc7b5_0001;
const CHID: u32 = 3;
/// The third copy engine: RM engine type, runlist.
const ENGINE: u32 = 11;
const RUNLIST: u32 = 1;
pub const ENTRIES: u32 = 16;

/// Virtual addresses.
pub const RING: u64 = 0x20_0000;
pub const PUSH: u64 = 0x20_1000;
pub const SEMAPHORE: u64 = 0x20_2000;
pub const SOURCE: u64 = 0x40_0000;
pub const TARGET: u64 = 0x60_0000;
/// Pages that are copied.
pub const PAGES: u64 = 4;
/// Where the CPU sees USERD and the semaphore in BAR1.
pub const BAR1_USERD: u64 = 0x1000;
pub const BAR1_SEMAPHORE: u64 = 0x2000;

/// The channel and its memory.
pub struct Channel {
    pub ring: u64,
    pub push: u64,
    pub source: u64,
    pub target: u64,
    pub put: u32,
    pub token: u32,
    pub vector: u32,
}

impl Driver {
    /// Allocates, maps, binds and schedules a channel.
    pub fn open_channel(&mut self) -> Result<Channel> {
        let channel = Channel {
            ring: self.card.alloc(0x1000),
            push: self.card.alloc(0x1000),
            source: self.card.alloc((PAGES * 0x1000) as usize),
            target: self.card.alloc_vram(PAGES * 0x1000),
            put: 0,
            token: RUNLIST << 16 | CHID,
            vector: self.rm.copy_vectors[2],
        };
        let userd = self.card.alloc_vram(0x1000);
        let semaphore = self.card.alloc_vram(0x1000);
        self.map_channel(&channel, userd, semaphore)?;
        let engine = self.pick(Sabotage::EngineRunlist, 10, ENGINE);
        let params = self.channel_params(userd);
        self.alloc(DEVICE, CHANNEL, 0xc56f, &params)?;
        if !self.does(Sabotage::ScheduleUnbound) {
            self.control(CLIENT, CHANNEL, 0xa06f_0104, &words(&[engine]))?;
            self.alloc(CHANNEL, COPY, 0xc7b5, &words(&[1, ENGINE]))?;
        }
        self.control(CLIENT, CHANNEL, 0xa06f_0103, &[1, 0])?;
        let (leaf, bit) = (channel.vector / 32, channel.vector % 32);
        if !self.does(Sabotage::LeafDisabled) {
            self.card.wr(0xb8_1200 + 4 * leaf, 1 << bit);
        }
        self.card.wr(0xb8_1608, 0xf);
        Ok(channel)
    }

    fn map_channel(&mut self, c: &Channel, userd: u64, semaphore: u64) -> Result {
        let mut space = self.rm.space.clone();
        self.map(&mut space, RING, system(c.ring));
        self.map(&mut space, PUSH, system(c.push));
        self.map(&mut space, SEMAPHORE, vram(semaphore));
        let source = self.pick(Sabotage::PteUnmapped, 0x7000_0000_0000, c.source);
        for i in 0..PAGES {
            self.map(&mut space, SOURCE + i * 0x1000, system(source + i * 0x1000));
            let pte = match self.sabotage {
                Sabotage::PteInvalid => vram(c.target + i * 0x1000) & !1,
                Sabotage::PtePastVram => vram((1 << 36) + i * 0x1000),
                Sabotage::PteIntoWpr2 => vram(self.wpr2() + i * 0x1000),
                Sabotage::PteReadOnly => vram(c.target + i * 0x1000) | 1 << 6,
                Sabotage::PteKind => vram(c.target + i * 0x1000) | 7 << 56,
                _ => vram(c.target + i * 0x1000),
            };
            self.map(&mut space, TARGET + i * 0x1000, pte);
        }
        self.rm.space = space;
        let mut bar = self.rm.bar1.clone();
        self.map(&mut bar, BAR1_USERD, vram(userd));
        if !self.does(Sabotage::BarUnmapped) {
            self.map(&mut bar, BAR1_SEMAPHORE, vram(semaphore));
        }
        self.invalidate(&bar)?;
        self.rm.bar1 = bar;
        if self.does(Sabotage::PraminPastEnd) {
            self.card.vram_store(1 << 38, &[0; 4]);
        }
        if self.does(Sabotage::PraminIntoWpr2) {
            let at = self.wpr2();
            self.card.vram_load(at, 4);
        }
        Ok(())
    }

    /// Start of the write-protected region.
    fn wpr2(&mut self) -> u64 {
        u64::from(self.card.rd(0x1f_a824) >> 4) << 12
    }

    /// NV_CHANNEL_ALLOC_PARAMS.
    fn channel_params(&mut self, userd: u64) -> Vec<u8> {
        let inst = self.card.alloc_vram(0x1000);
        let method_buffer = self.card.alloc(0x2000);
        let userd = self.pick(Sabotage::UserdAddress, 1 << 40, userd);
        let mut p = vec![0; 368];
        put64(&mut p, 8, RING);
        put32(&mut p, 16, self.pick(Sabotage::RingSize, ENTRIES - 1, ENTRIES));
        // The channel id, as the place of its USERD: page and index, both fixed.
        put32(&mut p, 20, 1 << 21 | (CHID / 8) << 12 | 1 << 11 | (CHID % 8) << 8);
        put32(&mut p, 28, VASPACE);
        put32(&mut p, 128, ENGINE);
        let memory = [
            (144, inst, 0x1000, 2),
            (168, userd, 0x200, 2),
            (192, inst, 0x200, 2),
            (216, method_buffer, 0x2000, 1),
        ];
        for (at, base, size, space) in memory {
            put64(&mut p, at, base);
            put64(&mut p, at + 8, size);
            put32(&mut p, at + 16, space);
        }
        p
    }

    /// Takes everything apart in the right order.
    pub fn close_channel(&mut self, channel: &Channel) -> Result {
        self.card.wr(0xb8_1400 + 4 * (channel.vector / 32), 1 << (channel.vector % 32));
        if self.does(Sabotage::FreeSpaceFirst) {
            self.free(VASPACE)?;
        }
        self.free(CHANNEL)?;
        if self.does(Sabotage::DoubleFree) {
            self.free(CHANNEL)?;
        }
        if !self.does(Sabotage::FreeSpaceFirst) {
            self.control(CLIENT, DEVICE, 0x80_1814, &words(&[VASPACE, 0]))?;
            self.free(VASPACE)?;
        }
        self.free(CLIENT)
    }
}
