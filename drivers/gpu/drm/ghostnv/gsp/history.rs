// SPDX-License-Identifier: GPL-2.0

//! The latest calls to the firmware.
//!
//! When the firmware refuses a call or falls silent, the first question is what it had been asked
//! before. The log tells of what failed; this remembers what went well, too: `calls` in the GPU's
//! directory of debugfs has a line for each call, the oldest first. Names and numbers only: what
//! was in a message may be a client's, and is nobody else's business.

use kernel::{
    debugfs::Writer,
    fmt, new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// Calls that are remembered: a boot makes less than a hundred.
const CALLS: usize = 256;

/// Of [`Record`]'s columns.
const HEADING: &str = "        us ago        us function  error  name";

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) name: &'static str,
    pub(super) function: u32,
    pub(super) start: Instant<Monotonic>,
    /// From the wish to make it until its reply was read; other calls may have been waited for.
    pub(super) took: Delta,
    /// What its caller got.
    pub(super) result: Result,
}

/// As many as `room` says; the oldest one at `oldest` once it is full.
struct Ring {
    records: KVec<Record>,
    room: usize,
    oldest: usize,
}

impl Ring {
    fn new(room: usize) -> Result<Self> {
        Ok(Self {
            records: KVec::with_capacity(room, GFP_KERNEL)?,
            room,
            oldest: 0,
        })
    }

    /// Puts one into the place of the oldest. Allocates nothing.
    fn add(&mut self, record: Record) {
        if self.records.len() < self.room {
            // There is room from the start.
            let _ = self.records.push_within_capacity(record);
        } else if let Some(slot) = self.records.get_mut(self.oldest) {
            *slot = record;
            self.oldest = (self.oldest + 1) % self.records.len();
        }
    }

    /// All of them by age.
    fn by_age(&self) -> impl Iterator<Item = &Record> {
        let (new, old) = self
            .records
            .split_at_checked(self.oldest)
            .unwrap_or_default();
        [old, new].into_iter().flatten()
    }
}

/// Shared by the conversation and by the file that shows it.
///
/// The mutex is taken while a call is made, for which fences may wait: whoever holds it allocates
/// nothing.
#[derive(Clone)]
pub(super) struct History(Arc<Mutex<Ring>>);

impl History {
    /// One that remembers nothing yet.
    pub(super) fn new() -> Result<Self> {
        let ring = Ring::new(CALLS)?;
        Ok(Self(Arc::pin_init(new_mutex!(ring), GFP_KERNEL)?))
    }

    /// Remembers a call.
    pub(super) fn add(&self, record: Record) {
        self.0.lock().add(record);
    }

    fn copy(&self) -> Result<KVec<Record>> {
        let mut copy = KVec::with_capacity(CALLS, GFP_KERNEL)?;
        for record in self.0.lock().by_age() {
            // There is room for all.
            let _ = copy.push_within_capacity(*record);
        }
        Ok(copy)
    }
}

impl Writer for History {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.copy().map_err(|_| fmt::Error)?;
        writeln!(f, "{HEADING}")?;
        for record in &records {
            writeln!(
                f,
                "{:>14} {:>9} {:>8} {:>6}  {}",
                record.start.elapsed().as_micros_ceil(),
                record.took.as_micros_ceil(),
                record.function,
                record.result.map_or_else(|e| e.to_errno(), |()| 0),
                record.name,
            )?;
        }
        Ok(())
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_history)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_there_by_age() -> Result {
        // How many are made, and which of them are left.
        for (made, left) in [(0u32, 0..0), (1, 0..1), (3, 0..3), (4, 1..4), (7, 4..7)] {
            let mut ring = Ring::new(3)?;
            for function in 0..made {
                ring.add(Record {
                    name: "",
                    function,
                    start: Instant::now(),
                    took: Delta::ZERO,
                    result: Ok(()),
                });
            }
            assert!(ring.by_age().map(|record| record.function).eq(left));
        }
        Ok(())
    }
}
