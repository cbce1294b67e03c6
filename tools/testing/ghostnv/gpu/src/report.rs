// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a run came to: one screen for people, JSON for tests.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::env::Firmware;
use crate::env::judge::Tally;
use crate::env::trace::Kind;
use crate::gpu::Gpu;

/// Notes on the screen; all are in the JSON.
const SCREEN_NOTES: usize = 12;
/// Texts a rule on the screen.
const SCREEN_TEXTS: usize = 2;

/// A report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Chip.
    pub chip: &'static str,
    /// Length of the run.
    pub seconds: f64,
    /// Number of violations that nothing explains.
    pub violation_count: u64,
    /// Those, by rule.
    pub violations: BTreeMap<&'static str, Tally>,
    /// Violations that the allow-list explains.
    pub allowed: BTreeMap<&'static str, Tally>,
    /// Oddities.
    pub notes: BTreeMap<String, u64>,
    /// Totals by kind of trace record.
    pub totals: BTreeMap<&'static str, u64>,
    /// Bytes read by DMA.
    pub dma_read: u64,
    /// Bytes written by DMA.
    pub dma_written: u64,
    /// How often each fault of the script fired.
    pub faults_fired: Vec<u64>,
    /// What the firmware has been through.
    pub firmware: Firmware,
}

impl Report {
    /// Sums up a run.
    pub fn of(gpu: &Gpu) -> Self {
        let env = &gpu.hw.env;
        Self {
            chip: gpu.hw.chip.name,
            seconds: env.clock.ns() as f64 / 1e9,
            violation_count: env.judge.count(),
            violations: env.judge.violations.clone(),
            allowed: env.judge.allowed.clone(),
            notes: env.judge.notes.clone(),
            totals: Kind::ALL.iter().map(|&(kind, name)| (name, env.trace.total(kind))).collect(),
            dma_read: env.mem.dma_read,
            dma_written: env.mem.dma_written,
            faults_fired: env.faults.fired(),
            firmware: env.firmware,
        }
    }

    /// One screen.
    pub fn screen(&self) -> String {
        let mut s = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_screen(&mut s);
        s
    }

    fn write_screen(&self, s: &mut String) -> std::fmt::Result {
        writeln!(s, "ghostnv-gpu: {} for {:.1} s", self.chip, self.seconds)?;
        for (name, total) in self.totals.iter().filter(|(_, n)| **n > 0) {
            write!(s, " {name} {total}")?;
        }
        writeln!(s, "\n dma: read {} B, written {} B", self.dma_read, self.dma_written)?;
        let Firmware { boots, unloads, objects_left, requests } = self.firmware;
        writeln!(
            s,
            " firmware: {boots} boots, {requests} requests, {unloads} unloads, {objects_left} objects not freed by then"
        )?;
        if !self.faults_fired.is_empty() {
            writeln!(s, " injected faults, how often each fired: {:?}", self.faults_fired)?;
        }
        let mut notes: Vec<_> = self.notes.iter().collect();
        notes.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (name, count) in notes.iter().take(SCREEN_NOTES) {
            writeln!(s, " note {count:>7} x {name}")?;
        }
        if notes.len() > SCREEN_NOTES {
            writeln!(s, " note … and {} more kinds", notes.len() - SCREEN_NOTES)?;
        }
        for (title, map) in [("allowed", &self.allowed), ("VIOLATION", &self.violations)] {
            for (rule, tally) in map {
                writeln!(s, " {title} {:>7} x {rule}", tally.count)?;
                for (at, text) in tally.texts.iter().take(SCREEN_TEXTS) {
                    writeln!(s, "      at {:.6} s: {text}", *at as f64 / 1e9)?;
                }
            }
        }
        writeln!(s, "{} violations", self.violation_count)
    }
}
