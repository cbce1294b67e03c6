// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Replays recorded silicon vectors on the emulated engines.
//!
//! Each vector goes the whole way that a driver's work goes: page tables, USERD, GPFIFO, doorbell,
//! Host, engine, and a final semaphore; then memory must hold, byte for byte, what silicon left.

mod case;
mod rig;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;

use crate::chip::Chip;
use case::Case;

/// Failures that are printed.
const SHOWN: usize = 10;

/// How a replay went.
#[derive(Debug, Default)]
pub struct Totals {
    /// Vectors that left memory as silicon did.
    pub passed: u64,
    /// Vectors that did not, or did not finish.
    pub failed: u64,
    /// Vectors whose methods the chip's classes do not have, by reason.
    pub skipped: BTreeMap<&'static str, Vec<String>>,
}

/// Replays the vectors of all files and prints what came of it.
pub fn run(files: &[PathBuf], chip: &'static Chip) -> anyhow::Result<Totals> {
    anyhow::ensure!(!files.is_empty(), "no vector files given");
    let mut totals = Totals::default();
    for file in files {
        let cases = case::load(file).with_context(|| format!("vectors {}", file.display()))?;
        for (line, case) in cases.iter().enumerate() {
            let place = format!("{}:{} {}", file.display(), line + 1, case.name);
            totals.replay(case, chip, &place)?;
        }
    }
    totals.print();
    Ok(totals)
}

impl Totals {
    fn replay(&mut self, case: &Case, chip: &'static Chip, place: &str) -> anyhow::Result<()> {
        if let Some(reason) = case.missing_on(chip) {
            self.skipped.entry(reason).or_default().push(place.to_string());
            return Ok(());
        }
        match rig::replay(case, chip).with_context(|| place.to_string())? {
            None => self.passed += 1,
            Some(why) => {
                self.failed += 1;
                if self.failed <= SHOWN as u64 {
                    println!("FAIL {place} ({}): {why}", case.placement);
                }
            }
        }
        Ok(())
    }

    fn print(&self) {
        for (reason, places) in &self.skipped {
            println!("SKIP {} vectors: {reason}", places.len());
            for place in places {
                println!("  {place}");
            }
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::CHIPS;

    #[test]
    fn recorded_vectors_hold_on_every_chip() {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors");
        let files = ["h200-a.jsonl.gz", "h200-b.jsonl.gz"].map(|f| dir.join(f));
        for chip in CHIPS {
            let totals = run(&files, chip).unwrap();
            assert_eq!((totals.passed, totals.failed), (760, 0), "{}", chip.name);
        }
    }
}
