// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's crystal: nanoseconds since power-on.

use std::time::Instant;

/// A monotonic clock that starts at zero.
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Nanoseconds since the start.
    pub fn ns(&self) -> u64 {
        // 2^64 ns are 584 years.
        self.start.elapsed().as_nanos() as u64
    }
}
