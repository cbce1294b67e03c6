// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PTIMER.

use crate::env::clock::Clock;

/// The nanosecond timer: the crystal plus what the driver set.
#[derive(Default)]
pub struct Timer {
    /// Added to the clock.
    pub offset: i64,
}

impl Timer {
    /// Nanoseconds.
    pub fn ns(&self, clock: &Clock) -> u64 {
        clock.ns().wrapping_add_signed(self.offset)
    }
}
