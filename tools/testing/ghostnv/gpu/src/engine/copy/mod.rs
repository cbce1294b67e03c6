// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The copy engine: classes c5b5 (Turing) and c7b5 (Ampere, Ada).
//!
//! Methods are state until LAUNCH_DMA, which decodes all of it at once. The launch then runs in
//! pieces; when the transfer is done come flush, semaphore and interrupt, in this order.

mod launch;
mod transfer;

use super::client::Client;
use super::{EngineError, LaunchError};
use crate::chip::{Arch, Chip};
use crate::env::trace::Kind;
use launch::{Finish, Launch};

/// Method addresses.
mod reg {
    pub const SET_OBJECT: u32 = 0x0;
    pub const NOP: u32 = 0x100;
    pub const PM_TRIGGER: u32 = 0x140;
    pub const PM_TRIGGER_END: u32 = 0x1114;
    pub const SET_MONITORED_FENCE_TYPE: u32 = 0x21c;
    pub const SET_MONITORED_FENCE_SIGNAL_ADDR_LO: u32 = 0x224;
    pub const SET_SEMAPHORE_A: u32 = 0x240;
    pub const SET_SEMAPHORE_PAYLOAD: u32 = 0x248;
    pub const SET_SEMAPHORE_PAYLOAD_UPPER: u32 = 0x24c;
    pub const SET_RENDER_ENABLE_A: u32 = 0x254;
    pub const SET_RENDER_ENABLE_C: u32 = 0x25c;
    pub const SET_SRC_PHYS_MODE: u32 = 0x260;
    pub const SET_DST_PHYS_MODE: u32 = 0x264;
    pub const LAUNCH_DMA: u32 = 0x300;
    pub const OFFSET_IN_UPPER: u32 = 0x400;
    pub const OFFSET_OUT_UPPER: u32 = 0x408;
    pub const PITCH_IN: u32 = 0x410;
    pub const PITCH_OUT: u32 = 0x414;
    pub const LINE_LENGTH_IN: u32 = 0x418;
    pub const LINE_COUNT: u32 = 0x41c;
    pub const SET_REMAP_CONST_A: u32 = 0x700;
    pub const SET_REMAP_CONST_B: u32 = 0x704;
    pub const SET_REMAP_COMPONENTS: u32 = 0x708;
    pub const SET_DST_BLOCK_SIZE: u32 = 0x70c;
    pub const SET_DST_ORIGIN: u32 = 0x720;
    pub const SET_SRC_BLOCK_SIZE: u32 = 0x728;
    pub const SET_SRC_ORIGIN: u32 = 0x73c;
    pub const SRC_ORIGIN_X: u32 = 0x744;
    pub const DST_ORIGIN_X: u32 = 0x74c;
    pub const DST_ORIGIN_Y: u32 = 0x750;
    /// First byte past the state that is kept.
    pub const END: u32 = 0x754;
}

/// Method state, by address.
#[derive(Clone)]
struct State {
    words: [u32; (reg::END / 4) as usize],
}

impl State {
    fn get(&self, method: u32) -> u32 {
        self.words.get((method / 4) as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, method: u32, data: u32) {
        if let Some(word) = self.words.get_mut((method / 4) as usize) {
            *word = data;
        }
    }

    /// An address from an upper (17 bits) and a lower method.
    fn address(&self, upper: u32) -> u64 {
        u64::from(self.get(upper) & 0x1_ffff) << 32 | u64::from(self.get(upper + 4))
    }
}

/// A copy engine's context of one channel.
pub struct Copy {
    state: Box<State>,
    /// c7b5's additions to c5b5 exist.
    ampere: bool,
    class: u32,
    active: Option<Box<Launch>>,
}

impl Copy {
    /// Zeroed state.
    pub fn new(chip: &Chip) -> Self {
        Self {
            state: Box::new(State { words: [0; (reg::END / 4) as usize] }),
            ampere: chip.arch >= Arch::Ampere,
            class: chip.classes.copy,
            active: None,
        }
    }

    /// Takes a method.
    pub fn method(
        &mut self,
        c: &mut Client<'_, '_>,
        method: u32,
        data: u32,
    ) -> Result<(), EngineError> {
        match method {
            reg::SET_OBJECT if data & 0xffff == self.class => {}
            reg::SET_OBJECT => {
                let text = format!("class {:#x} on a copy engine", data & 0xffff);
                return Err(EngineError::FrontEnd(text));
            }
            reg::NOP | reg::PM_TRIGGER | reg::PM_TRIGGER_END => {}
            reg::LAUNCH_DMA => self.launch(c, data)?,
            // The packed origins are the same state as the pairs of 32-bit ones.
            reg::SET_SRC_ORIGIN => self.set_origin(reg::SRC_ORIGIN_X, data),
            reg::SET_DST_ORIGIN => self.set_origin(reg::DST_ORIGIN_X, data),
            _ if self.is_state(method) => self.state.set(method, data),
            _ => return Err(EngineError::FrontEnd(format!("illegal method {method:#x}"))),
        }
        Ok(())
    }

    fn is_state(&self, method: u32) -> bool {
        use reg::*;
        match method {
            SET_MONITORED_FENCE_TYPE..=SET_MONITORED_FENCE_SIGNAL_ADDR_LO
            | SET_SEMAPHORE_PAYLOAD_UPPER => self.ampere,
            SET_SEMAPHORE_A..=SET_SEMAPHORE_PAYLOAD
            | SET_RENDER_ENABLE_A..=SET_RENDER_ENABLE_C
            | SET_SRC_PHYS_MODE..=SET_DST_PHYS_MODE
            | OFFSET_IN_UPPER..=LINE_COUNT
            | SET_REMAP_CONST_A..=SET_DST_ORIGIN
            | SET_SRC_BLOCK_SIZE..=SET_SRC_ORIGIN
            | SRC_ORIGIN_X..=DST_ORIGIN_Y => true,
            _ => false,
        }
    }

    fn set_origin(&mut self, x: u32, data: u32) {
        self.state.set(x, data & 0xffff);
        self.state.set(x + 4, data >> 16);
    }

    fn launch(&mut self, c: &mut Client<'_, '_>, word: u32) -> Result<(), EngineError> {
        let launch = Launch::decode(&self.state, self.ampere, c.privileged, word)?;
        if self.state.get(reg::SET_RENDER_ENABLE_C) & 7 > 1 {
            // Modes 2 to 4 compare memory in a layout that no public source gives.
            c.cx.env.judge.note("copy-conditional-render");
        }
        self.active = Some(Box::new(launch));
        Ok(())
    }

    /// Whether a launch is in progress.
    pub fn busy(&self) -> bool {
        self.active.is_some()
    }

    /// Does a piece of the launch; returns the bytes it moved.
    pub fn run(&mut self, c: &mut Client<'_, '_>) -> Result<u64, EngineError> {
        let Some(launch) = &mut self.active else { return Ok(0) };
        let mut moved = 0;
        if let Some(transfer) = &mut launch.transfer {
            moved = transfer.run(c)?;
            if !transfer.done() {
                return Ok(moved);
            }
            let now = if c.cx.env.trace.is_on() { c.cx.env.clock.ns() } else { 0 };
            let (read, written) = (transfer.read, transfer.written);
            c.cx.env.trace.record(now, Kind::Transfer, 0, c.chid, read, written);
        }
        let finish = launch.finish;
        self.active = None;
        finish.run(c)?;
        Ok(moved)
    }
}

impl Finish {
    /// Flush, semaphore, interrupt.
    fn run(&self, c: &mut Client<'_, '_>) -> Result<(), EngineError> {
        if self.flush {
            c.membar();
        }
        if let Some(sem) = self.semaphore {
            match self.reduction {
                Some((op, signed)) => sem.reduce(c, op, signed, self.timestamp)?,
                None => sem.release(c, self.timestamp)?,
            }
        }
        if self.interrupt {
            c.interrupt(c.copy_vector);
        }
        Ok(())
    }
}

fn refuse<T>(code: LaunchError, why: &'static str) -> Result<T, EngineError> {
    Err(EngineError::Launch(code, why))
}
