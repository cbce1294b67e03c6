// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PTIMER: nanoseconds that the CPU and the engines agree on.
//!
//! TIME_0 counts in steps of 32 ns, so its low five bits read zero. The driver may set the time by
//! halves. The alarm is storage only: under GSP-RM no driver arms it.

use crate::env::clock::Clock;

const TIME_0: u32 = 0x400;
const TIME_1: u32 = 0x410;
/// INTR, INTR_EN, NUMERATOR, DENOMINATOR, ALARM.
const STORAGE: [u32; 5] = [0x100, 0x140, 0x200, 0x210, 0x420];
const INTR: usize = 0;

/// The nanosecond timer: the crystal plus what the driver set.
#[derive(Default)]
pub struct Timer {
    /// Added to the clock.
    pub offset: i64,
    storage: [u32; STORAGE.len()],
}

impl Timer {
    /// Nanoseconds.
    pub fn ns(&self, clock: &Clock) -> u64 {
        clock.ns().wrapping_add_signed(self.offset)
    }

    /// What TIME_0 shows.
    pub fn low(&self, clock: &Clock) -> u32 {
        self.ns(clock) as u32 & !0x1f
    }

    /// What TIME_1 shows.
    pub fn high(&self, clock: &Clock) -> u32 {
        (self.ns(clock) >> 32) as u32
    }

    /// Reads a register by its offset from 0x9000; None if unknown.
    pub fn read(&self, clock: &Clock, off: u32) -> Option<u32> {
        match off {
            TIME_0 => Some(self.low(clock)),
            TIME_1 => Some(self.high(clock)),
            _ => STORAGE.iter().position(|&o| o == off).and_then(|i| self.storage.get(i).copied()),
        }
    }

    /// Writes a register; false if unknown.
    pub fn write(&mut self, clock: &Clock, off: u32, value: u32) -> bool {
        let now = self.ns(clock);
        match off {
            TIME_0 => self.set(clock, now & !0xffff_ffff | u64::from(value)),
            TIME_1 => self.set(clock, now & 0xffff_ffff | u64::from(value) << 32),
            _ => match STORAGE.iter().position(|&o| o == off) {
                // No cause is ever pending, and writing ones clears.
                Some(INTR) => {}
                Some(i) => self.storage[i] = value,
                None => return false,
            },
        }
        true
    }

    fn set(&mut self, clock: &Clock, ns: u64) {
        self.offset = ns.wrapping_sub(clock.ns()) as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_can_be_set_by_halves_and_goes_on() {
        let clock = Clock::start();
        let mut t = Timer::default();
        assert!(t.write(&clock, TIME_1, 0x17));
        assert!(t.write(&clock, TIME_0, 0x1000_0000));
        assert_eq!(t.read(&clock, TIME_1), Some(0x17));
        let low = t.read(&clock, TIME_0).unwrap();
        assert!((0x1000_0000..0x2000_0000).contains(&low) && low & 0x1f == 0);
        assert!(!t.write(&clock, 0x404, 1));
        assert!(t.write(&clock, 0x140, 5));
        assert_eq!(t.read(&clock, 0x140), Some(5));
    }
}
