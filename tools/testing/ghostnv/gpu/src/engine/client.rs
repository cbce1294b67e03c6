// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A memory client: an engine's or Host's port to the MMU on behalf of one channel.

use std::sync::atomic::{Ordering, fence};

use crate::env::mem::{Aperture, Phys};
use crate::host::Ctx;
use crate::mmu::{Access, FaultType, MmuFault};

/// Where an engine's addresses lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Through the channel's page tables.
    Virtual,
    /// Straight to memory (physical mode of the copy engine).
    Physical(Aperture),
}

/// One channel's port to memory, interrupts and time.
pub struct Client<'a, 'b> {
    /// Units below.
    pub cx: &'a mut Ctx<'b>,
    /// The channel's page directory.
    pub root: Option<Phys>,
    /// The channel.
    pub chid: u32,
    /// Whether the channel may use privileged operations.
    pub privileged: bool,
    /// Non-stall vector of the copy engine that the channel reaches.
    pub copy_vector: Option<u32>,
    /// Non-stall vector of the runlist's primary engine.
    pub nonstall_vector: Option<u32>,
}

impl Client<'_, '_> {
    /// Reads.
    pub fn read(&mut self, space: Space, at: u64, buf: &mut [u8]) -> Result<(), MmuFault> {
        self.cx.mmu.accesses += 1;
        match space {
            Space::Virtual => self.cx.mmu.read(self.cx.env, self.root, at, buf),
            Space::Physical(aperture) => {
                let at = Phys { aperture, addr: at };
                let mem = &mut self.cx.env.mem;
                mem.check_client(at, buf.len(), false)
                    .and_then(|()| mem.read(at, buf))
                    .map_err(|_| physical_fault(at, Access::Read))
            }
        }
    }

    /// Writes.
    pub fn write(&mut self, space: Space, at: u64, buf: &[u8]) -> Result<(), MmuFault> {
        self.cx.mmu.accesses += 1;
        match space {
            Space::Virtual => self.cx.mmu.write(self.cx.env, self.root, at, buf),
            Space::Physical(aperture) => {
                let at = Phys { aperture, addr: at };
                let mem = &mut self.cx.env.mem;
                mem.check_client(at, buf.len(), true)
                    .and_then(|()| mem.write(at, buf))
                    .map_err(|_| physical_fault(at, Access::Write))
            }
        }
    }

    /// Makes everything written so far visible before what is written next.
    pub fn membar(&mut self) {
        fence(Ordering::SeqCst);
    }

    /// PTIMER, for time stamps.
    pub fn now(&self) -> u64 {
        self.cx.timer.ns(&self.cx.env.clock)
    }

    /// Raises a vector, if there is one.
    pub fn interrupt(&mut self, vector: Option<u32>) {
        if let Some(vector) = vector {
            self.cx.intr.raise(self.cx.env, vector);
        }
    }
}

fn physical_fault(at: Phys, access: Access) -> MmuFault {
    MmuFault { va: at.addr, kind: FaultType::Region, access }
}
