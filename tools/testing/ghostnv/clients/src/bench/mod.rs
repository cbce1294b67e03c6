// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `gpu-bench` measures: the same calls on any driver of nouveau's uAPI.
//!
//! Each sample is between marks (see [`crate::meter`]) for the instruction counter, and timed for
//! runs without it. Lines on standard output tell the rest:
//!
//! ```text
//! bar INDEX START END        where the GPU's registers and memory are
//! probe ID NAME OPS          what the marks with that number are about, and of how many operations
//! ns NAME MEDIAN             median time of a sample, per operation
//! value NAME NUMBER          something that is neither
//! ```

mod memory;
mod objects;
mod submit;

use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::meter::Probe;
use crate::uapi::Client;

pub use memory::memory;
pub use objects::{binds, gem, rpc};
pub use submit::{completion, exec};

/// First address that scenarios map anything at.
const VA: u64 = 4 << 30;

/// What is common to all scenarios.
pub struct Bench<'a> {
    /// The device file.
    pub device: &'a Path,
    /// Samples of each kind.
    pub samples: usize,
    /// Only these scenarios, or figures; all if there are none.
    pub only: Vec<String>,
    /// Numbers of live objects to measure with.
    pub live: Vec<usize>,
}

impl Bench<'_> {
    /// Whether a scenario, or a figure of one, is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let part = |only: &str| only == name || name.starts_with(only) || only.starts_with(name);
        self.only.is_empty() || self.only.iter().any(|only| part(only))
    }

    fn open(&self) -> anyhow::Result<Client> {
        Client::open(self.device)
    }
}

/// Where the GPU's BARs are, from sysfs.
pub fn bars(device: &Path) -> anyhow::Result<()> {
    let name = device.file_name().context("the device has no name")?;
    let path = Path::new("/sys/class/drm").join(name).join("device/resource");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (index, line) in text.lines().take(6).enumerate() {
        let mut words = line.split(' ');
        let (start, end) = (words.next().unwrap_or("0"), words.next().unwrap_or("0"));
        println!("bar {index} {start} {end}");
    }
    Ok(())
}

/// Takes samples of something and prints what was measured.
struct Sampler<'a> {
    probe: &'a Probe,
    name: String,
    ops: usize,
    times: Vec<u64>,
}

impl<'a> Sampler<'a> {
    fn new(probe: &'a Probe, name: impl Into<String>, ops: usize) -> Self {
        let name = name.into();
        println!("probe {} {name} {ops}", probe.id);
        Self { probe, name, ops, times: Vec::new() }
    }

    /// Takes one: `first`, then `second`.
    fn sample<E: Into<anyhow::Error>>(
        &mut self,
        first: impl FnOnce() -> Result<(), E>,
        second: impl FnOnce() -> Result<(), E>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        self.probe.begin();
        let first = first();
        self.probe.middle();
        let second = second();
        self.probe.end();
        self.times.push(start.elapsed().as_nanos() as u64);
        first.and(second).map_err(Into::into).with_context(|| self.name.clone())
    }
}

impl Drop for Sampler<'_> {
    fn drop(&mut self) {
        self.times.sort_unstable();
        if let Some(median) = self.times.get(self.times.len() / 2) {
            println!("ns {} {:.1}", self.name, *median as f64 / self.ops as f64);
        }
    }
}
