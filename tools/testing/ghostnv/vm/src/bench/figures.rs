// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A driver's figures, by name, from what a run leaves behind.

use std::collections::BTreeMap;
use std::ops::Range;

use super::samples::{self, Sample};

/// Offsets of registers that samples are cut and counted by.
mod register {
    /// `NV_VIRTUAL_FUNCTION` doorbell of Turing to Ada.
    pub const DOORBELL: u64 = 0xbb_0090;
    /// The invalidate command of the MMU.
    pub const MMU_INVALIDATE: u64 = 0xb8_30b0;
    /// Head of the queue to GSP-RM.
    pub const QUEUE_HEAD: u64 = 0x11_0c00;
}

/// Figures, and how often each was taken.
#[derive(Debug, Default, Clone)]
pub struct Figures(BTreeMap<String, Vec<f64>>);

/// The middle one.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

impl Figures {
    /// One more of a name.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The median of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        median(self.0.get(name)?)
    }

    /// All names with median, least, greatest and number.
    pub fn summary(&self) -> impl Iterator<Item = (&str, [f64; 4])> {
        self.0.iter().filter_map(|(name, values)| {
            let (least, most) = (
                values.iter().copied().min_by(f64::total_cmp)?,
                values.iter().copied().max_by(f64::total_cmp)?,
            );
            Some((name.as_str(), [median(values)?, least, most, values.len() as f64]))
        })
    }

    /// Adds what gpu-bench printed, but for what the counter is needed for.
    pub fn add_output(&mut self, output: &str) {
        for line in output.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ns", name, value] => self.add_text(format!("ns {name}"), value, 1.0),
                ["value", name, value] => self.add_text(name.to_owned(), value, 1.0),
                // vk-cycle.
                [.., "median", "of", "a", "cycle", value, "us"] => {
                    self.add_text("vk-cycle".into(), value, 1e-3);
                }
                _ => {}
            }
        }
    }

    fn add_text(&mut self, name: String, value: &str, unit: f64) {
        if let Ok(value) = value.parse::<f64>() {
            self.add(name, value * unit);
        }
    }

    /// Adds the guest's seconds from the loading of the driver until it was bound.
    pub fn add_status(&mut self, status: &str) {
        let at = |key: &str| {
            let value = status.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
            value.and_then(|v| v.parse::<f64>().ok())
        };
        if let (Some(up), Some(bound)) = (at("up"), at("bound")) {
            self.add("probe", bound - up);
        }
    }

    /// Adds what the counter's file says about the probes that gpu-bench named.
    pub fn add_samples(&mut self, output: &str, counter: &str) {
        let registers = registers(output);
        let all = samples::parse(counter);
        for line in output.lines() {
            let ["probe", id, name, ops] = line.split(' ').collect::<Vec<_>>()[..] else {
                continue;
            };
            let (Ok(id), Ok(ops)) = (id.parse::<u32>(), ops.parse::<f64>()) else { continue };
            let of: Vec<&Sample> = all.iter().filter(|s| s.id == id).collect();
            for sample in &of {
                self.add_sample(name, ops, sample, &registers);
            }
        }
    }

    fn add_sample(&mut self, name: &str, ops: f64, sample: &Sample, registers: &Range<u64>) {
        let at = |offset| registers.start + offset;
        match name.split('-').next().unwrap_or(name) {
            "exec" => {
                let Some(doorbell) = sample.written(at(register::DOORBELL)) else { return };
                let exec = sample.cut(sample.begin, doorbell);
                if exec.is_undisturbed() {
                    self.add("exec instructions", exec.instructions() as f64);
                    self.add("exec reads", exec.reads() as f64);
                    self.add("exec writes", exec.writes() as f64);
                    self.add("exec work items", exec.work_items() as f64);
                    self.add("exec allocations", exec.allocations() as f64);
                }
            }
            "completion" => {
                let Some(from) = sample.since_interrupt(registers) else { return };
                if from.has_no_tick() {
                    self.add("completion instructions", from.instructions() as f64);
                    self.add("completion ns", from.ns() as f64);
                    self.add("completion work items", from.work_items() as f64);
                    self.add("completion reads", from.reads() as f64);
                }
            }
            "bind" => {
                self.add(format!("{name} instructions"), sample.instructions() as f64 / ops);
                let flush = |second| sample.part(second).writes_to(at(register::MMU_INVALIDATE));
                self.add(format!("{name} map invalidates"), flush(false) as f64);
                self.add(format!("{name} unmap invalidates"), flush(true) as f64);
            }
            "rpc" => {
                let calls = sample.writes_to(at(register::QUEUE_HEAD)).max(1) as f64;
                self.add("rpc instructions", sample.instructions() as f64 / calls);
                self.add("rpc calls", calls);
            }
            _ => self.add(format!("{name} instructions"), sample.instructions() as f64),
        }
    }
}

/// Where BAR0 is.
fn registers(output: &str) -> Range<u64> {
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0);
    let bar = output.lines().find_map(|line| {
        let (start, end) = line.strip_prefix("bar 0 ")?.split_once(' ')?;
        Some(hex(start)..hex(end) + 1)
    });
    bar.unwrap_or(0..0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_becomes_figures() {
        let mut figures = Figures::default();
        figures.add_output("ns exec 5.5\nvalue bytes-per-file 700\nx\nvalue a b\n");
        figures.add_output("vk-cycle: ok: 3 cycles, median of a cycle 1500 us\nns exec 7\n");
        figures.add_status("up 1.5\nbound 3.0\nexit 0\n");
        let want = [("ns exec", 5.5), ("bytes-per-file", 700.0), ("vk-cycle", 1.5), ("probe", 1.5)];
        for (name, value) in want {
            assert_eq!(figures.get(name), Some(value), "{name}");
        }
        assert_eq!(figures.get("a"), None);
    }

    #[test]
    fn samples_become_figures() {
        let output = "bar 0 0x1000000 0x1ffffff\nprobe 1 exec 1\nprobe 16 bind-4K-2 2\n";
        let counter = "0 0 mark 1 0\n5 0 w 0x1bb0090 4\n9 0 mark 1 2\n\
            10 0 mark 16 0\n15 0 mark 16 1\n16 0 w 0x1b830b0 4\n20 0 mark 16 2\n";
        let mut figures = Figures::default();
        figures.add_samples(output, counter);
        let want = [
            ("exec instructions", 5.0),
            ("exec writes", 1.0),
            ("bind-4K-2 instructions", 5.0),
            ("bind-4K-2 map invalidates", 0.0),
            ("bind-4K-2 unmap invalidates", 1.0),
        ];
        for (name, value) in want {
            assert_eq!(figures.get(name), Some(value), "{name}");
        }
    }
}
