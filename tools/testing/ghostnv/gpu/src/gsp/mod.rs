// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The firmware's side: message queues, RPCs, and RM's object tree.

use crate::machine::Machine;

/// What booter verified and the GSP starts from.
#[derive(Debug, Clone, Default)]
pub struct BootInfo {
    /// Address of the LibOS init arguments (GSP mailboxes), system memory.
    pub libos_args: u64,
    /// From the WPR meta: start of all reserved VRAM (`nonWprHeapOffset`).
    pub reserved_start: u64,
    /// From the WPR meta: FRTS offset.
    pub frts: u64,
    /// From the WPR meta: VRAM size.
    pub fb_size: u64,
    /// Resumed from suspend (SR meta) rather than booted.
    pub resume: bool,
}

/// GSP-RM.
#[derive(Default)]
pub struct Gsp {
    /// Booted and not unloaded.
    pub running: bool,
}

impl Gsp {
    /// The RISC-V core starts; sets up queues and drains what is already in the command queue.
    pub fn start(&mut self, _hw: &mut Machine, _info: BootInfo) {
        self.running = true;
    }

    /// The driver wrote the queue doorbell (0x110c00).
    pub fn doorbell(&mut self, _hw: &mut Machine) {}

    /// Delayed replies that are due, channel errors to report. Called after every slice of work.
    pub fn step(&mut self, _hw: &mut Machine) {}

    /// Time (ns) of the next delayed reply, if any.
    pub fn deadline(&self) -> Option<u64> {
        None
    }

    /// The core stops (booter_unload, reset); all RM objects are gone.
    pub fn stop(&mut self, _hw: &mut Machine) {
        self.running = false;
    }
}
