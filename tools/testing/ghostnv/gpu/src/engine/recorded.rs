// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Graphics classes whose methods are taken and counted, not executed.
//!
//! Shaders, macros (MME) and rasterization are not modelled. What is executed is what does not need
//! them: inline-to-memory, and semaphores with their time stamps. A compute dispatch is counted as
//! the note `compute-dispatch`, so that a run shows what it did not do.

use super::client::Client;
use super::i2m::{I2m, UPPER_3D, UPPER_COMPUTE};
use super::semaphore::{Reduction, Semaphore};
use super::{EngineError, Unit};
use crate::chip::{Arch, Chip};

const SET_OBJECT: u32 = 0;
const SEND_PCAS_B: u32 = 0x2b8;
const SEND_SIGNALING_PCAS_B: u32 = 0x2bc;
const SEND_SIGNALING_PCAS2_B: u32 = 0x2c0;
const SET_REPORT_SEMAPHORE_A: u32 = 0x1b00;
const SET_REPORT_SEMAPHORE_C: u32 = 0x1b08;
const SET_REPORT_SEMAPHORE_D: u32 = 0x1b0c;
const REPORT_PAYLOAD_LOWER: u32 = 0x158;
const REPORT_ADDRESS_UPPER: u32 = 0x164;
const REPORT_EXECUTE: u32 = 0x168;

/// Operations of a report semaphore.
mod op {
    pub const RELEASE: u32 = 0;
    pub const ACQUIRE: u32 = 1;
    pub const REPORT_ONLY: u32 = 2;
}

/// A class's state of one channel.
pub struct Recorded {
    unit: Unit,
    class: u32,
    /// None for 2D, which has no inline path.
    i2m: Option<I2m>,
    /// SET_REPORT_SEMAPHORE_A to C.
    report: [u32; 3],
    /// SET_REPORT_SEMAPHORE_PAYLOAD and _ADDRESS (compute from c7c0 on).
    report64: Option<[u32; 4]>,
}

impl Recorded {
    /// Zeroed state.
    pub fn new(unit: Unit, chip: &Chip) -> Self {
        let compute = unit == Unit::Compute;
        Self {
            unit,
            class: unit.class(chip),
            i2m: match unit {
                Unit::ThreeD => Some(I2m::new(UPPER_3D)),
                Unit::Compute => Some(I2m::new(UPPER_COMPUTE)),
                _ => None,
            },
            report: [0; 3],
            report64: (compute && chip.arch >= Arch::Ampere).then_some([0; 4]),
        }
    }

    /// Takes a method.
    pub fn method(
        &mut self,
        c: &mut Client<'_, '_>,
        method: u32,
        data: u32,
    ) -> Result<(), EngineError> {
        if let Some(i2m) = &mut self.i2m {
            if i2m.method(c, method, data)? {
                return Ok(());
            }
        }
        if method == SET_OBJECT {
            return self.set_object(data);
        }
        if self.unit == Unit::TwoD {
            c.cx.env.judge.note("2d-method");
            return Ok(());
        }
        match method {
            SET_REPORT_SEMAPHORE_A..=SET_REPORT_SEMAPHORE_C => {
                set(&mut self.report, method - SET_REPORT_SEMAPHORE_A, data);
            }
            SET_REPORT_SEMAPHORE_D => return self.report(c, data),
            REPORT_PAYLOAD_LOWER..=REPORT_ADDRESS_UPPER if self.report64.is_some() => {
                if let Some(words) = &mut self.report64 {
                    set(words, method - REPORT_PAYLOAD_LOWER, data);
                }
            }
            REPORT_EXECUTE if self.report64.is_some() => return self.report_execute(c, data),
            _ => self.record(c, method, data),
        }
        Ok(())
    }

    fn set_object(&self, data: u32) -> Result<(), EngineError> {
        if data & 0xffff == self.class {
            return Ok(());
        }
        let (got, want) = (data & 0xffff, self.class);
        Err(EngineError::Class(format!("class {got:#x} on the subchannel of {want:#x}")))
    }

    /// Counts a method that is not executed.
    fn record(&self, c: &mut Client<'_, '_>, method: u32, data: u32) {
        let dispatch = match method {
            SEND_PCAS_B => true,
            SEND_SIGNALING_PCAS_B => data & 2 != 0,
            // Actions that schedule: 2, 3, 9, 10, 11.
            SEND_SIGNALING_PCAS2_B => matches!(data & 0xf, 2 | 3 | 9..=11),
            _ => false,
        };
        c.cx.env.judge.note(match self.unit {
            Unit::Compute if dispatch => "compute-dispatch",
            Unit::Compute => "compute-method",
            // CALL_MME_MACRO and its data.
            _ if method >= 0x3800 => "3d-macro",
            _ => "3d-method",
        });
    }

    /// SET_REPORT_SEMAPHORE_D, in 3D and compute.
    fn report(&self, c: &mut Client<'_, '_>, word: u32) -> Result<(), EngineError> {
        let [hi, lo, payload] = self.report;
        let report = Report {
            va: u64::from(hi & 0xff) << 32 | u64::from(lo),
            payload: u64::from(payload),
            wide: false,
            operation: word & 3,
            four_words: word >> 28 & 1 == 0,
            reduction: (word >> 3 & 1 != 0)
                .then(|| (Reduction::from_graphics(word >> 9), word >> 17 & 3 == 1)),
            awaken: word >> 20 & 1 != 0,
        };
        report.run(c)
    }

    /// REPORT_SEMAPHORE_EXECUTE, compute from c7c0 on.
    fn report_execute(&self, c: &mut Client<'_, '_>, word: u32) -> Result<(), EngineError> {
        let [payload_lo, payload_hi, lo, hi] = self.report64.unwrap_or_default();
        let wide = word >> 12 & 1 != 0;
        let upper = if wide { u64::from(payload_hi) << 32 } else { 0 };
        let report = Report {
            va: u64::from(hi & 0xff) << 32 | u64::from(lo),
            payload: upper | u64::from(payload_lo),
            wide,
            operation: word & 3,
            four_words: word >> 3 & 3 == 0,
            reduction: (word >> 6 & 1 != 0)
                .then(|| (Reduction::from_graphics(word >> 7), word >> 10 & 3 == 1)),
            awaken: word >> 2 & 1 != 0,
        };
        report.run(c)
    }
}

fn set<const N: usize>(words: &mut [u32; N], offset: u32, data: u32) {
    if let Some(word) = words.get_mut((offset / 4) as usize) {
        *word = data;
    }
}

/// A report semaphore, from either encoding.
struct Report {
    va: u64,
    payload: u64,
    wide: bool,
    operation: u32,
    four_words: bool,
    reduction: Option<(Reduction, bool)>,
    awaken: bool,
}

impl Report {
    fn run(self, c: &mut Client<'_, '_>) -> Result<(), EngineError> {
        let align = if self.four_words { 16 } else { [4, 8][usize::from(self.wide)] };
        if self.va % align != 0 {
            return Err(EngineError::Class(format!("report semaphore at {:#x}", self.va)));
        }
        let sem = Semaphore { va: self.va, payload: self.payload, wide: self.wide };
        match (self.operation, self.reduction) {
            (op::RELEASE, Some((op, signed))) => sem.reduce(c, op, signed, self.four_words)?,
            (op::RELEASE, None) => sem.release(c, self.four_words)?,
            // Counters are not modelled: every report reads zero, with a true time stamp.
            (op::REPORT_ONLY, _) => Semaphore { payload: 0, ..sem }.release(c, self.four_words)?,
            (op::ACQUIRE, _) => c.cx.env.judge.note("graphics-acquire"),
            _ => c.cx.env.judge.note("graphics-trap"),
        }
        if self.awaken {
            c.interrupt(c.nonstall_vector);
        }
        Ok(())
    }
}
