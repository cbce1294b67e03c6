// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Host and engines together: channels whose address space is VRAM itself.

mod copy;
mod errors;
mod graphics;
mod hostile;
mod order;

use super::*;
use crate::chip::CHIPS;

/// Runlist 0's engine and its second GRCE, and two copy engines with runlists of their own.
const GR: u32 = 1;
const GRCE1: u32 = 10;
const CE2: u32 = 11;
const CE3: u32 = 12;

/// Free memory for tests.
const DATA: u64 = 0x20_0000;
/// Addresses from here to 2^48 are sparse: reads give 0, writes are dropped.
const SPARSE: u64 = 1 << 47;

/// What the model has below the firmware, and channels that were created by hand.
struct Rig {
    env: Env,
    mmu: Mmu,
    intr: Intr,
    timer: Timer,
    host: Host,
    /// (channel, next free entry, next free pushbuffer byte)
    channels: Vec<(u32, u32, u64)>,
    vas: VasId,
}

impl Rig {
    fn new() -> Self {
        let mut env = Env::new(4 << 20).unwrap();
        let mut put = |at, word| env.mem.write_u64(Phys::vram(at), word).unwrap();
        // Directories, then two 2 MiB pages: virtual is physical.
        put(0x1000, 0x2000 >> 4 | 2);
        put(0x1008, 1 << 3);
        put(0x2000, 0x3000 >> 4 | 2);
        put(0x3000, 0x4000 >> 4 | 2);
        put(0x4000, 1);
        put(0x4010, 0x20_0000 >> 4 | 1);
        let mut mmu = Mmu::default();
        let vas = mmu.vas_create();
        mmu.vas_set_root(vas, Some(Phys::vram(0x1000)));
        let (intr, timer, host) = (Intr::default(), Timer::default(), Host::new(CHIPS[0]));
        Self { env, mmu, intr, timer, host, channels: Vec::new(), vas }
    }

    fn spec(&self, chid: u32, rm_type: u32) -> ChannelSpec {
        ChannelSpec {
            chid,
            rm_type,
            runlist: self.host.chip.engine(rm_type).unwrap().runlist,
            inst: Phys::vram(0x8000),
            userd: Phys::vram(0x1_0000 + u64::from(chid) * 512),
            gpfifo: 0x2_0000 + u64::from(chid) * 0x1000,
            entries: 64,
            vas: self.vas,
            privileged: false,
        }
    }

    /// Adds a scheduled channel.
    fn channel(&mut self, chid: u32, rm_type: u32) -> u32 {
        let spec = self.spec(chid, rm_type);
        self.host.create(&mut self.env, spec).unwrap();
        self.host.schedule(chid, true).unwrap();
        self.channels.push((chid, 0, 0x10_0000 + u64::from(chid) * 0x1_0000));
        chid
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.env.mem.write(Phys::vram(at), bytes).unwrap();
    }

    fn read(&mut self, at: u64) -> u64 {
        self.env.mem.read_u64(Phys::vram(at)).unwrap()
    }

    fn userd(&mut self, chid: u32, off: u64) -> u32 {
        self.env.mem.read_u32(Phys::vram(0x1_0000 + u64::from(chid) * 512 + off)).unwrap()
    }

    /// Puts words where `chid`'s next segment goes, and an entry for them.
    fn push(&mut self, chid: u32, words: &[u32]) -> u64 {
        let slot = self.channels.iter_mut().find(|c| c.0 == chid).unwrap();
        let at = slot.2;
        slot.2 += words.len() as u64 * 4;
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.write(at, &bytes);
        self.entry(chid, at | (words.len() as u64) << 42);
        at
    }

    /// Adds a raw entry and rings.
    fn entry(&mut self, chid: u32, raw: u64) {
        let slot = self.channels.iter_mut().find(|c| c.0 == chid).unwrap();
        let index = slot.1;
        slot.1 = (index + 1) % 64;
        let put = slot.1;
        let ring = 0x2_0000 + u64::from(chid) * 0x1000;
        self.write(ring + u64::from(index) * 8, &raw.to_le_bytes());
        self.write(0x1_0000 + u64::from(chid) * 512 + 0x8c, &put.to_le_bytes());
        self.ring(chid);
    }

    fn ring(&mut self, chid: u32) {
        for runlist in 0..3 {
            if self.host.channels[&chid].spec.runlist == runlist {
                let token = self.host.token(runlist, chid);
                self.host.doorbell(&mut self.env, token);
            }
        }
    }

    /// One call of the bus loop; with 0 ns as many as there are runlists, a turn each.
    fn step(&mut self, ns: u64) -> Step {
        let calls = if ns == 0 { self.host.runlists.len() } else { 1 };
        (0..calls).map(|_| self.call(ns)).last().unwrap_or(Step::Idle)
    }

    /// One call of the bus loop.
    fn call(&mut self, ns: u64) -> Step {
        let mut ctx = Ctx {
            env: &mut self.env,
            mmu: &mut self.mmu,
            intr: &mut self.intr,
            timer: &self.timer,
        };
        self.host.step(&mut ctx, ns)
    }

    fn settle(&mut self) -> Step {
        for _ in 0..10_000 {
            let step = self.step(1_000_000);
            if step != Step::Busy {
                return step;
            }
        }
        Step::Busy
    }
}

/// Header and data of consecutive methods.
fn inc(subch: u32, method: u32, data: &[u32]) -> Vec<u32> {
    let header = 1 << 29 | (data.len() as u32) << 16 | subch << 13 | method >> 2;
    [&[header], data].concat()
}

/// SEM_ADDR to SEM_EXECUTE.
fn sem(va: u64, payload: u64, execute: u32) -> Vec<u32> {
    let (hi, payload_hi) = ((va >> 32) as u32, (payload >> 32) as u32);
    inc(0, 0x5c, &[va as u32, hi, payload as u32, payload_hi, execute])
}

/// A 32-bit release at once.
fn release(va: u64, payload: u32) -> Vec<u32> {
    sem(va, u64::from(payload), 1)
}
