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
use mem::Memory;
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
}
