// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Host semaphores: SEM_EXECUTE, and the older SEMAPHORED with its other polarities.

use super::error::Stop;
use crate::engine::client::Client;
use crate::engine::semaphore::{Reduction, Semaphore};

/// What became of an operation; only an acquire can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquire {
    /// Done.
    Passed,
    /// Memory does not hold what is waited for.
    Failed,
}

/// What to do with the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Acquire(Wait),
    Release,
    Reduce(Reduction, bool),
}

/// What an acquire waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Equal,
    StrictGeq,
    CircGeq,
    And,
    Nor,
}

impl Wait {
    fn satisfied(self, wide: bool, mem: u64, payload: u64) -> bool {
        let mask = if wide { u64::MAX } else { u64::from(u32::MAX) };
        match self {
            Self::Equal => mem == payload,
            Self::StrictGeq => mem >= payload,
            Self::CircGeq => {
                let top = (mask >> 1) + 1;
                mem.wrapping_sub(payload) & top == 0
            }
            Self::And => mem & payload != 0,
            Self::Nor => !(mem | payload) & mask != 0,
        }
    }
}

/// Whether SEM_EXECUTE waits for the engine (RELEASE_WFI).
pub fn waits(word: u32) -> bool {
    word & 7 == 1 && word >> 20 & 1 != 0
}

/// Whether SEMAPHORED waits for the engine; there, 0 means yes.
pub fn legacy_waits(word: u32) -> bool {
    word & 0x1f == 2 && word >> 20 & 1 == 0
}

/// SEM_EXECUTE, with SEM_ADDR_LO, _HI, SEM_PAYLOAD_LO and _HI.
pub fn execute(c: &mut Client<'_, '_>, regs: &[u32; 4], word: u32) -> Result<Acquire, Stop> {
    let wide = word >> 24 & 1 != 0;
    let timestamp = word >> 25 & 1 != 0;
    let unsigned = word >> 31 != 0;
    let op = match word & 7 {
        0 => Op::Acquire(Wait::Equal),
        1 => Op::Release,
        2 => Op::Acquire(Wait::StrictGeq),
        3 => Op::Acquire(Wait::CircGeq),
        4 => Op::Acquire(Wait::And),
        5 => Op::Acquire(Wait::Nor),
        6 => reduction(word, wide, !unsigned)?,
        _ => return Err(Stop::pbdma("SEMAPHORE", format!("SEM_EXECUTE {word:#x}"))),
    };
    let [lo, hi, payload_lo, payload_hi] = *regs;
    let upper = if wide { u64::from(payload_hi) << 32 } else { 0 };
    let sem = Semaphore {
        // The two lowest bits are not part of SEM_ADDR_LO.
        va: u64::from(hi & 0xff) << 32 | u64::from(lo & !3),
        payload: upper | u64::from(payload_lo),
        wide,
    };
    run(c, &sem, op, timestamp)
}

/// SEMAPHORED, with SEMAPHOREA to C.
pub fn legacy(c: &mut Client<'_, '_>, regs: &[u32; 3], word: u32) -> Result<Acquire, Stop> {
    let timestamp = word >> 24 & 1 == 0;
    let op = match word & 0x1f {
        1 => Op::Acquire(Wait::Equal),
        2 => Op::Release,
        4 => Op::Acquire(Wait::CircGeq),
        8 => Op::Acquire(Wait::And),
        0x10 => reduction(word, false, word >> 31 == 0)?,
        _ => return Err(Stop::pbdma("SEMAPHORE", format!("SEMAPHORED {word:#x}"))),
    };
    let [hi, lo, payload] = *regs;
    let va = u64::from(hi & 0xff) << 32 | u64::from(lo & !3);
    let sem = Semaphore { va, payload: u64::from(payload), wide: false };
    // A reduction has no 16-byte form here.
    run(c, &sem, op, timestamp && op == Op::Release)
}

fn reduction(word: u32, wide: bool, signed: bool) -> Result<Op, Stop> {
    let op = Reduction::from_host(word >> 27 & 0xf)
        .filter(|op| !matches!(op, Reduction::FAdd | Reduction::FMin | Reduction::FMax));
    let valid = match op {
        Some(Reduction::Inc | Reduction::Dec) => !wide && !signed,
        Some(Reduction::Add) => !(wide && signed),
        Some(_) => true,
        None => false,
    };
    match op.filter(|_| valid) {
        Some(op) => Ok(Op::Reduce(op, signed)),
        None => Err(Stop::pbdma("SEMAPHORE", format!("invalid reduction {word:#x}"))),
    }
}

fn run(c: &mut Client<'_, '_>, sem: &Semaphore, op: Op, timestamp: bool) -> Result<Acquire, Stop> {
    let acquire = matches!(op, Op::Acquire(_));
    let align = match (timestamp && !acquire, sem.wide) {
        (true, _) => 16,
        (false, true) => 8,
        (false, false) => 4,
    };
    if sem.va % align != 0 {
        let text = format!("address {:#x} is not {align}-byte aligned", sem.va);
        return Err(Stop::pbdma("SEMAPHORE", text));
    }
    let result = match op {
        Op::Release => sem.release(c, timestamp).map(|()| true),
        Op::Reduce(op, signed) => sem.reduce(c, op, signed, timestamp).map(|()| true),
        Op::Acquire(wait) => sem.load(c).map(|mem| wait.satisfied(sem.wide, mem, sem.payload)),
    };
    match result {
        Ok(true) => Ok(Acquire::Passed),
        Ok(false) => Ok(Acquire::Failed),
        Err(fault) => Err(Stop::fault("semaphore-fault", fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquires() {
        // (condition, 64-bit, memory, payload, passes)
        let cases = [
            (Wait::Equal, false, 5, 5, true),
            (Wait::Equal, false, 6, 5, false),
            (Wait::StrictGeq, false, 0xffff_fff0, 5, true),
            (Wait::CircGeq, false, 0xffff_fff0, 5, false),
            (Wait::CircGeq, false, 5, 0xffff_fff0, true),
            (Wait::CircGeq, true, 5, 0xffff_fff0, false),
            (Wait::CircGeq, true, 5, u64::MAX, true),
            (Wait::And, false, 6, 8, false),
            (Wait::And, false, 6, 2, true),
            (Wait::Nor, false, 0xffff_0000, 0x0000_ffff, false),
            (Wait::Nor, true, 0xffff_0000, 0x0000_ffff, true),
        ];
        for (wait, wide, mem, payload, want) in cases {
            assert_eq!(wait.satisfied(wide, mem, payload), want, "{wait:?} {mem:#x} {payload:#x}");
        }
    }

    #[test]
    fn reductions_that_do_not_exist() {
        // (op, 64-bit, signed, exists)
        let cases = [
            (6, false, false, true),
            (6, false, true, false),
            (7, true, false, false),
            (5, true, true, false),
            (5, true, false, true),
            (2, true, true, true),
            (8, false, false, false),
            (0xa, false, false, false),
        ];
        for (op, wide, signed, want) in cases {
            assert_eq!(reduction(op << 27, wide, signed).is_ok(), want, "{op} {wide} {signed}");
        }
    }
}
