// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Jobs on the channel: a copy, a semaphore, an interrupt.

use super::channel::{
    BAR1_SEMAPHORE, BAR1_USERD, Channel, ENTRIES, PAGES, PUSH, SEMAPHORE, SOURCE, TARGET,
};
use super::paging::system;
use super::{Driver, Result, Sabotage, words};

const BYTES: usize = (PAGES * 0x1000) as usize;

/// A header for `count` data words from method `address` on.
fn methods(subchannel: u32, address: u32, data: &[u32]) -> Vec<u32> {
    let mut out = vec![1 << 29 | (data.len() as u32) << 16 | subchannel << 13 | address >> 2];
    out.extend(data);
    out
}

/// Bytes that tell pages and jobs apart.
fn pattern(job: u32) -> Vec<u8> {
    (0..BYTES as u32).map(|i| (i ^ i >> 8 ^ job.wrapping_mul(0x55)) as u8).collect()
}

impl Driver {
    /// Copies, then maps other memory at the same address and copies again.
    pub fn copies(&mut self, channel: &mut Channel) -> Result {
        self.card.store(channel.source, &pattern(1));
        self.copy(channel, 1)?;
        let other = self.card.alloc_with(&pattern(2));
        let mut space = self.rm.space.clone();
        for i in 0..PAGES {
            self.map(&mut space, SOURCE + i * 0x1000, system(other + i * 0x1000));
        }
        if !self.does(Sabotage::NoInvalidate) {
            self.invalidate(&space)?;
        }
        self.rm.space = space;
        self.copy(channel, 2)
    }

    fn copy(&mut self, channel: &mut Channel, job: u32) -> Result {
        let mut program = self.copy_engine();
        program.extend(self.release(job));
        match self.sabotage {
            Sabotage::BadHeader => program.insert(0, 2 << 29),
            Sabotage::SoftwareMethod => {
                program.splice(0..0, methods(6, 0x100, &[0])).for_each(drop)
            }
            Sabotage::HostMethod => program.splice(0..0, methods(0, 0x04, &[0])).for_each(drop),
            _ => {}
        }
        self.card.store(channel.push, &words(&program));
        self.submit(channel, program.len() as u32);
        self.finish(channel, job)
    }

    /// The copy engine's part.
    fn copy_engine(&self) -> Vec<u32> {
        let split = |va: u64| [(va >> 32) as u32, va as u32];
        let ([src_hi, src], [dst_hi, dst]) = (split(SOURCE), split(TARGET));
        let pitch = self.pick(Sabotage::CopyPitch, 0x800, 0x1000);
        let mut out =
            methods(4, 0x400, &[src_hi, src, dst_hi, dst, pitch, pitch, 0x1000, PAGES as u32]);
        // Not pipelined, flush, pitch-linear on both sides, several lines.
        let launch = 2 | 1 << 2 | 1 << 7 | 1 << 8 | 1 << 9;
        let wrong = match self.sabotage {
            Sabotage::CopyField => 1 << 24,
            Sabotage::PhysicalCopy => 1 << 13,
            _ => 0,
        };
        out.extend(methods(4, 0x300, &[launch | wrong]));
        out
    }

    /// Host's part: a semaphore release behind the engine, and the interrupt.
    fn release(&self, job: u32) -> Vec<u32> {
        let at = SEMAPHORE + self.pick(Sabotage::SemaphoreAlignment, 8, 0);
        // Release with a timestamp, after the engine: 16 bytes, aligned to 16.
        let execute = 1 | 1 << 20 | 1 << 25;
        let mut out = methods(0, 0x5c, &[at as u32, (at >> 32) as u32, job, 0, execute]);
        out.extend(methods(0, 0x20, &[0]));
        out
    }

    /// Ring entry, GP_PUT, doorbell.
    fn submit(&mut self, channel: &mut Channel, count: u32) {
        let push = PUSH + self.pick(Sabotage::SegmentUnmapped, 0x10_0000, 0);
        let mut entry = push | u64::from(count) << 42;
        if self.does(Sabotage::EntryOpcode) {
            entry = 1 << 32;
        }
        self.card.store(channel.ring + u64::from(channel.put) * 8, &entry.to_le_bytes());
        channel.put = (channel.put + 1) % ENTRIES;
        let put = self.pick(Sabotage::PutRange, ENTRIES + 1, channel.put);
        if !self.does(Sabotage::NoPut) {
            self.card.bar1_wr(BAR1_USERD + 0x8c, put);
        }
        let token = channel.token ^ self.pick(Sabotage::WrongToken, 1, 0);
        if !self.does(Sabotage::NoDoorbell) {
            self.card.wr(0xbb_0090, token);
        }
    }

    /// Waits for the interrupt, serves it, and checks what the job left in memory.
    fn finish(&mut self, channel: &Channel, job: u32) -> Result {
        let waited = self.card.wait_msi("interrupt of a job");
        if let Err(timeout) = waited {
            return Err(self.channel_error().unwrap_or(timeout));
        }
        self.serve_interrupt(channel);
        if self.card.bar1_rd(BAR1_SEMAPHORE) != job {
            return Err(format!("semaphore of job {job} was not released"));
        }
        if self.card.vram_load(channel.target, BYTES) != pattern(job) {
            return Err(format!("job {job} copied something else"));
        }
        Ok(())
    }

    /// Disarm, look, acknowledge, re-arm.
    fn serve_interrupt(&mut self, channel: &Channel) {
        let c = &mut self.card;
        let leaf = channel.vector / 32;
        c.wr(0xb8_1610, 0xf);
        if c.rd(0xb8_1600) >> (leaf / 2) & 1 != 0 {
            let pending = c.rd(0xb8_1000 + 4 * leaf);
            c.wr(0xb8_1000 + 4 * leaf, pending);
        }
        if !self.does(Sabotage::NotRearmed) {
            self.card.wr(0xb8_1608, 0xf);
        }
    }
}
