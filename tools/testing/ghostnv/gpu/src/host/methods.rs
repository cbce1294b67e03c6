// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Host methods: byte addresses below 0x100, which Host executes itself.

use super::error::Stop;
use super::memop;
use super::push::Method;
use super::semaphore::{self, Acquire};
use crate::chip::Arch;
use crate::engine::client::Client;

const SET_OBJECT: u32 = 0x00;
const NOP: u32 = 0x08;
const SEMAPHORE_A: u32 = 0x10;
const SEMAPHORE_C: u32 = 0x18;
const SEMAPHORE_D: u32 = 0x1c;
const NON_STALL_INTERRUPT: u32 = 0x20;
const FB_FLUSH: u32 = 0x24;
const MEM_OP_A: u32 = 0x28;
const MEM_OP_C: u32 = 0x30;
const MEM_OP_D: u32 = 0x34;
const SET_REFERENCE: u32 = 0x50;
const SEM_ADDR_LO: u32 = 0x5c;
const SEM_PAYLOAD_HI: u32 = 0x68;
const SEM_EXECUTE: u32 = 0x6c;
const WFI: u32 = 0x78;
const CRC_CHECK: u32 = 0x7c;
const YIELD: u32 = 0x80;
const CLEAR_FAULTED: u32 = 0x84;
/// First address that goes to an engine.
const FIRST_ENGINE: u32 = 0x100;

/// What a Host method did to the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Go on.
    Next,
    /// An acquire failed; try again later.
    Blocked,
    /// Let other channels run.
    Yield,
    /// SET_REFERENCE: the new value of REF.
    Reference(u32),
}

/// Host's method state of one channel.
#[derive(Debug, Default)]
pub struct HostMethods {
    /// SEMAPHORE_A to C.
    legacy: [u32; 3],
    /// MEM_OP_A to C.
    mem_op: [u32; 3],
    /// SEM_ADDR_LO, _HI, SEM_PAYLOAD_LO, _HI.
    sem: [u32; 4],
}

/// Whether a method goes to an engine; SET_OBJECT does.
pub fn is_for_engine(m: &Method) -> bool {
    m.addr >= FIRST_ENGINE || m.addr == SET_OBJECT
}

/// Whether a Host method waits for the engine to be idle.
pub fn waits_for_idle(m: &Method) -> bool {
    match m.addr {
        SET_REFERENCE | WFI => true,
        SEM_EXECUTE => semaphore::waits(m.data),
        SEMAPHORE_D => semaphore::legacy_waits(m.data),
        _ => false,
    }
}

impl HostMethods {
    /// Executes a Host method.
    pub fn execute(
        &mut self,
        c: &mut Client<'_, '_>,
        arch: Arch,
        m: &Method,
    ) -> Result<Done, Stop> {
        match m.addr {
            NOP => {}
            SEMAPHORE_A..=SEMAPHORE_C => store(&mut self.legacy, m.addr - SEMAPHORE_A, m.data),
            SEMAPHORE_D => return acquired(semaphore::legacy(c, &self.legacy, m.data)?),
            NON_STALL_INTERRUPT => c.interrupt(c.nonstall_vector),
            FB_FLUSH => c.membar(),
            MEM_OP_A..=MEM_OP_C => store(&mut self.mem_op, m.addr - MEM_OP_A, m.data),
            MEM_OP_D => memop::execute(c, &self.mem_op, m.data)?,
            SET_REFERENCE => {
                c.membar();
                return Ok(Done::Reference(m.data));
            }
            SEM_ADDR_LO..=SEM_PAYLOAD_HI => store(&mut self.sem, m.addr - SEM_ADDR_LO, m.data),
            SEM_EXECUTE => return acquired(semaphore::execute(c, &self.sem, m.data)?),
            WFI => {}
            // What the CRC covers is not public, so the comparison cannot be made.
            CRC_CHECK if arch < Arch::Ampere => c.cx.env.judge.note("host-crc-check"),
            YIELD => return yields(arch, m.data),
            CLEAR_FAULTED => {
                // No engine here waits in a faulted state, so Host would wait until it times out.
                return Err(Stop::pbdma("CLEAR_FAULTED", format!("{:#x} timed out", m.data)));
            }
            _ => {
                let text = format!("Host method {:#x}, data {:#x}", m.addr, m.data);
                return Err(Stop::pbdma("METHOD", text));
            }
        }
        Ok(Done::Next)
    }
}

fn store<const N: usize>(words: &mut [u32; N], offset: u32, data: u32) {
    if let Some(word) = words.get_mut((offset / 4) as usize) {
        *word = data;
    }
}

fn acquired(result: Acquire) -> Result<Done, Stop> {
    Ok(match result {
        Acquire::Passed => Done::Next,
        Acquire::Failed => Done::Blocked,
    })
}

fn yields(arch: Arch, data: u32) -> Result<Done, Stop> {
    match data & 3 {
        0 => Ok(Done::Next),
        2 if arch < Arch::Ampere => Ok(Done::Yield),
        3 => Ok(Done::Yield),
        _ => Err(Stop::pbdma("METHOD", format!("YIELD {data:#x}"))),
    }
}
