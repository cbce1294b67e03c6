// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Falcon microcontrollers.

use crate::chip::Chip;
use crate::env::Env;

/// What a register write asks of the units around the falcon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// CPUCTL.STARTCPU: [`crate::boot::run`] decides what runs.
    Start,
    /// The RISC-V core's CPUCTL start bit.
    RiscvStart,
    /// GSP queue doorbell (QUEUE_HEAD 0).
    QueueHead,
    /// The engine was reset: [`crate::boot::reset`].
    Reset,
    /// INTR_RETRIGGER: raise the vector again if an enabled cause is still pending.
    RetriggerIntr,
}

/// One falcon.
pub struct Falcon {
    /// Mailboxes 0 and 1.
    pub mailbox: [u32; 2],
}

impl Falcon {
    /// The GSP's.
    pub fn gsp(_chip: &Chip) -> Self {
        Self { mailbox: [0; 2] }
    }

    /// SEC2's.
    pub fn sec2(_chip: &Chip) -> Self {
        Self { mailbox: [0; 2] }
    }

    /// Reads the register at `off` from the falcon's base (0..0x2000); None if unknown.
    pub fn read(&mut self, _off: u32) -> Option<u32> {
        None
    }

    /// Writes a register.
    pub fn write(&mut self, _env: &mut Env, _off: u32, _value: u32) -> Option<Event> {
        None
    }

    /// Whether an enabled cause is pending towards the CPU.
    pub fn intr_pending(&self) -> bool {
        false
    }

    /// Sets IRQSTAT.SWGEN0 and says whether it is enabled towards the CPU.
    pub fn post_swgen0(&mut self) -> bool {
        true
    }
}
