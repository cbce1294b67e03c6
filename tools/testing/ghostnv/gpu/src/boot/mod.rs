// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the high-secure microcode does, and what it refuses.
//!
//! Three programs boot the GSP. FWSEC, from the ROM, runs on the GSP's falcon and sets WPR2 up
//! around the FRTS region. booter_load runs on SEC2, verifies everything that the WPR meta
//! describes, moves it into WPR2 and starts the RISC-V core. booter_unload takes WPR2 down again,
//! after saving it when the card suspends. The model performs their effects at once, when the
//! falcon is started, and only if every byte that the driver loaded is what the boot ROM would
//! have accepted. A refusal is a violation, and leaves the card as the refusal would.

mod booter;
mod fwsec;
mod meta;
mod radix3;
mod suspend;
mod ucode;

#[cfg(test)]
mod tests;

use crate::env::Env;
use crate::env::fault::Stage;
use crate::gpu::Gpu;
use crate::machine::Machine;

/// Which falcon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FalconId {
    /// 0x110000.
    Gsp,
    /// 0x840000.
    Sec2,
}

/// What firmware below the driver leaves in scratch registers.
#[derive(Debug, Default)]
pub struct State {
    /// 0x001438: bits 31:16 are FWSEC-FRTS's error code.
    frts_status: u32,
    /// 0x001454: bits 15:0 are FWSEC-SB's error code.
    sb_status: u32,
    /// Whether GFW boot is stuck; decided when it is first looked at.
    gfw_stuck: Option<bool>,
}

/// Why microcode was refused, or refused what it was given.
#[derive(Debug)]
struct Reject {
    rule: &'static str,
    text: String,
}

impl Reject {
    fn new(rule: &'static str, text: impl Into<String>) -> Self {
        Self { rule, text: text.into() }
    }

    fn report(self, env: &mut Env) {
        env.violation(self.rule, self.text);
    }
}

/// A result that may be a refusal.
type Checked<T = ()> = Result<T, Reject>;

/// Refuses unless `good`.
fn ensure(good: bool, rule: &'static str, text: impl FnOnce() -> String) -> Checked {
    if good { Ok(()) } else { Err(Reject::new(rule, text())) }
}

/// A falcon's CPU was started ([`crate::falcon::Event::Start`]): runs it to its halt.
pub fn run(gpu: &mut Gpu, id: FalconId) {
    let falcon = match id {
        FalconId::Gsp => &gpu.hw.gsp_falcon,
        FalconId::Sec2 => &gpu.hw.sec2,
    };
    if falcon.is_halted() {
        let text = format!("the driver started {id:?}'s RISC-V core, which only booter may");
        gpu.hw.env.violation("riscv-start", text);
        return;
    }
    // With nothing loaded the processor runs into an invalid instruction and halts.
    if falcon.memory.has_code() {
        match id {
            FalconId::Gsp => fwsec::run(&mut gpu.hw),
            FalconId::Sec2 => booter::run(gpu),
        }
    }
    gpu.hw.env.mem.protected = gpu.hw.wpr2.lo..gpu.hw.wpr2.hi;
    match id {
        FalconId::Gsp => gpu.hw.gsp_falcon.halt(),
        FalconId::Sec2 => gpu.hw.sec2.halt(),
    }
}

/// A falcon was reset ([`crate::falcon::Event::Reset`]); a GSP reset stops GSP-RM.
pub fn reset(gpu: &mut Gpu, id: FalconId) {
    if id == FalconId::Gsp {
        gpu.gsp.stop(&mut gpu.hw);
    }
}

/// Reads the registers that firmware before and below the driver leaves its results in:
/// 0x001438, 0x001454, 0x118128, 0x118234, 0x1fa824, 0x1fa828. None for any other.
pub fn read(hw: &mut Machine, off: u32) -> Option<u32> {
    let state = &mut hw.boot;
    Some(match off {
        0x00_1438 => state.frts_status,
        0x00_1454 => state.sb_status,
        // GFW boot progress may be read, and is complete.
        0x11_8128 => 1,
        0x11_8234 => {
            let faults = &mut hw.env.faults;
            if *state.gfw_stuck.get_or_insert_with(|| faults.boot(Stage::Gfw)) { 0 } else { 0xff }
        }
        0x1f_a824 => wpr2_register(hw.wpr2.lo),
        0x1f_a828 => wpr2_register(hw.wpr2.hi),
        _ => return None,
    })
}

/// WPR2 bounds hold bits 39:12 of the address in bits 31:4.
fn wpr2_register(addr: u64) -> u32 {
    ((addr >> 12) as u32) << 4
}
