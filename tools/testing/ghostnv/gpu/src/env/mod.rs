// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What every unit may use: memory, the judge, the trace, the fault plan and the clock.

pub mod clock;
pub mod fault;
pub mod judge;
pub mod mem;
pub mod trace;

use clock::Clock;
use fault::FaultPlan;
use judge::Judge;
use mem::{MemError, Memory};
use serde::Serialize;
use trace::Trace;

/// The surroundings of the silicon; units borrow it for the length of one operation.
pub struct Env {
    /// VRAM and the guest memory that is mapped for DMA.
    pub mem: Memory,
    /// Collects violations and counts.
    pub judge: Judge,
    /// Records what happens.
    pub trace: Trace,
    /// Faults to inject.
    pub faults: FaultPlan,
    /// Nanoseconds since power-on.
    pub clock: Clock,
    /// What the firmware has been through.
    pub firmware: Firmware,
}

/// Counts of what the firmware has been through.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// How often it was started.
    pub boots: u64,
    /// How often it was asked to stop, and did.
    pub unloads: u64,
    /// Objects that drivers had not freed then, in all.
    pub objects_left: u64,
    /// Requests that have a reply.
    pub requests: u64,
}

impl Env {
    /// An environment with `vram` bytes of VRAM, no trace and no faults.
    pub fn new(vram: u64) -> anyhow::Result<Self> {
        Ok(Self {
            mem: Memory::new(vram)?,
            judge: Judge::default(),
            trace: Trace::off(),
            faults: FaultPlan::default(),
            clock: Clock::start(),
            firmware: Firmware::default(),
        })
    }

    /// Reports a violation to the judge and the trace.
    ///
    /// `rule` is a short stable name (`dma-unmapped`, `tlb-stale`, `rpc-checksum`) that allow-lists
    /// and tests refer to; the text says what happened, in one line.
    pub fn violation(&mut self, rule: &'static str, text: impl Into<String>) {
        let text = text.into();
        let now = self.clock.ns();
        let allowed = self.judge.allows(rule, &text);
        self.trace.violation(now, rule, &text, allowed);
        self.judge.violation(now, rule, text);
    }

    /// Memory was not reached: a violation, unless the driver has taken the bus away from the card,
    /// as it may from one that it does not trust any more. That is counted.
    pub fn unreached(&mut self, rule: &'static str, what: impl std::fmt::Display, why: MemError) {
        match why {
            MemError::NoMaster { .. } => self.judge.note(format!("DMA without the bus, {rule}")),
            _ => self.violation(rule, format!("{what}: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::mem::Phys;
    use super::*;

    #[test]
    fn without_the_bus_there_is_no_dma_and_that_is_counted() {
        let mut env = Env::new(1 << 20).expect("an environment");
        let ram = memfd_create("ghostnv-test", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&ram, 4096).expect("memory");
        env.mem.dma_map(0x1000, 4096, Some((File::from(ram), 0)), true).expect("a map");
        let at = Phys::sys(0x1000);
        env.mem.write_u64(at, 7).expect("with the bus");

        env.mem.bus_master = false;
        let why = MemError::NoMaster { at, len: 8 };
        assert_eq!(env.mem.write_u64(at, 8), Err(why));
        assert_eq!(env.mem.write(at, &[9; 8]), Err(why));
        assert_eq!(env.mem.read_u64(at), Err(why));
        assert_eq!(env.mem.read(at, &mut [0; 8]), Err(why));
        assert_eq!(env.mem.check(at, 8, true), Err(why));
        assert!(env.mem.write(Phys::vram(0), &[1]).is_ok());
        env.unreached("dma-unmapped", "test", why);
        assert_eq!(env.judge.notes.get("DMA without the bus, dma-unmapped"), Some(&1));
        assert!(env.judge.violations.is_empty());

        env.mem.bus_master = true;
        assert_eq!(env.mem.read_u64(at), Ok(7));
        env.unreached("dma-unmapped", "test", MemError::NotMapped { at, len: 8 });
        assert_eq!(env.judge.violations.len(), 1);
    }
}
