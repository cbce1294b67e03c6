// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The verified transfer workload: operations on the GPU, the same on a shadow, byte-exact
//! comparison.

mod buffers;
mod chain;
mod diff;
mod images;
mod plan;
mod shadow;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::prng::Prng;
use crate::vk::{Adapter, Device, Instance};
use chain::Chain;

/// Differences reported before the workload gives up.
const MOST_DIFFS: usize = 8;

/// Which queue families take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// The transfer family: copy engines alone.
    Transfer,
    /// The graphics family.
    Graphics,
    /// Both in turn, ordered by a timeline semaphore.
    Both,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Start of the random sequence.
    pub seed: u64,
    /// MiB that the random part moves at least.
    pub mib: u64,
    /// Queue families.
    pub queues: Queues,
    /// Take any device, not only an NVIDIA GPU.
    pub any_device: bool,
    /// Corrupt one byte before each comparison, and succeed if each is reported.
    pub self_test: bool,
    /// Behave as with this release of NVK.
    pub assume_nvk: Option<(u32, u32)>,
    /// Longest wait for the GPU.
    pub limit: Duration,
}

impl Options {
    /// Corrupts one byte when the workload tests itself.
    fn sabotage(&self, found: &mut [u8], totals: &mut Totals) {
        if self.self_test && !found.is_empty() {
            let mut prng = Prng::new(self.seed ^ totals.verified);
            found[prng.index(found.len())] ^= 1 << prng.below(8);
            totals.sabotaged += 1;
        }
    }

    /// Gives up when enough differences were seen.
    fn check(&self, totals: &Totals) -> anyhow::Result<()> {
        ensure!(self.self_test || totals.diffs.len() < MOST_DIFFS, "too many differences");
        Ok(())
    }
}

/// Operations of one kind.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    /// How many.
    pub ops: u64,
    /// Bytes they wrote.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.ops += 1;
        self.bytes += bytes;
    }
}

/// What was done and found.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    /// The device's name.
    pub device: String,
    /// The driver's name and version.
    pub driver: String,
    /// vkCmdFillBuffer.
    pub fill: Count,
    /// vkCmdUpdateBuffer.
    pub update: Count,
    /// vkCmdCopyBuffer.
    pub copy: Count,
    /// vkCmdCopyBufferToImage.
    pub to_image: Count,
    /// vkCmdCopyImageToBuffer.
    pub from_image: Count,
    /// vkCmdCopyImage.
    pub image: Count,
    /// Bytes the CPU wrote through mappings.
    pub upload: u64,
    /// Bytes compared.
    pub verified: u64,
    /// Image shapes tried.
    pub images: u64,
    /// Submissions by queue.
    pub submissions: Vec<(&'static str, u64)>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// What differs.
    pub diffs: Vec<String>,
    /// Bytes corrupted on purpose.
    pub sabotaged: u64,
    /// Time it took.
    pub elapsed: Duration,
}

impl Totals {
    fn differs(&mut self, text: String) {
        if self.diffs.len() < MOST_DIFFS {
            eprintln!("vk-transfer: DIFFERS: {text}");
        }
        self.diffs.push(text);
    }

    fn skips(&mut self, text: String) {
        println!("vk-transfer: skipped: {text}");
        self.skipped.push(text);
    }

    fn kinds(&self) -> [(&'static str, Count); 6] {
        [
            ("fill", self.fill),
            ("update", self.update),
            ("copy", self.copy),
            ("buffer-to-image", self.to_image),
            ("image-to-buffer", self.from_image),
            ("image-to-image", self.image),
        ]
    }

    /// Operations of all kinds.
    pub fn ops(&self) -> u64 {
        self.kinds().iter().map(|(_, c)| c.ops).sum()
    }

    /// Bytes that all operations wrote.
    pub fn bytes(&self) -> u64 {
        self.kinds().iter().map(|(_, c)| c.bytes).sum()
    }

    /// Whether nothing ran, because all of it had to be skipped.
    pub fn nothing_ran(&self) -> bool {
        self.ops() == 0
    }

    /// Whether everything was as it should be.
    pub fn ok(&self) -> bool {
        self.diffs.len() as u64 == self.sabotaged
    }

    /// The closing line.
    pub fn line(&self, seed: u64) -> String {
        let kinds = self.kinds().map(|(name, c)| format!("{name} {}", c.ops)).join(", ");
        let queues = self.submissions.iter().map(|(name, n)| format!("{name} {n}"));
        let queues = queues.collect::<Vec<_>>().join(", ");
        let verdict = match (self.ok(), self.sabotaged) {
            (false, _) => "FAILED".to_owned(),
            (true, 0) => "ok".to_owned(),
            (true, n) => format!("ok (self-test: {n} of {n} corruptions reported)"),
        };
        format!(
            "{verdict}: {} ops ({kinds}), {} bytes moved, {} bytes verified, {} images, \
             submissions: {queues}, {} differences, seed {seed}, {:.1} s",
            self.ops(),
            self.bytes(),
            self.verified,
            self.images,
            self.diffs.len(),
            self.elapsed.as_secs_f64(),
        )
    }

    /// The same for programs.
    pub fn json(&self, seed: u64) -> serde_json::Value {
        let kinds = self.kinds().map(|(k, c)| (k, json!({ "ops": c.ops, "bytes": c.bytes })));
        json!({
            "device": self.device, "driver": self.driver, "seed": seed, "ok": self.ok(),
            "ops": self.ops(), "bytes": self.bytes(), "verified": self.verified,
            "upload": self.upload, "images": self.images,
            "kinds": serde_json::Map::from_iter(kinds.map(|(k, v)| (k.to_owned(), v))),
            "submissions": self.submissions.iter().map(|(q, n)| json!({ "queue": q, "count": n }))
                .collect::<Vec<_>>(),
            "skipped": self.skipped, "differences": self.diffs,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

/// Runs the workload.
pub fn run(options: &Options) -> anyhow::Result<Totals> {
    let start = Instant::now();
    let instance = Instance::new()?;
    let mut adapter = instance.pick(options.any_device)?;
    if let Some(release) = options.assume_nvk {
        adapter.assume_release(release);
    }
    println!(
        "vk-transfer: {} ({}), {} MiB of VRAM",
        adapter.name,
        adapter.driver,
        adapter.vram() >> 20
    );
    let mut totals = Totals {
        device: adapter.name.clone(),
        driver: adapter.driver.clone(),
        ..Totals::default()
    };
    let families = families(&adapter, options, &mut totals)?;
    if families.is_empty() {
        return Ok(totals);
    }
    let indices: Vec<u32> = families.iter().map(|f| f.1).collect();
    let device = Device::new(&instance, &adapter, &indices)?;
    let mut chain = Chain::new(&device, &families, options.limit)?;
    let done = buffers::run(&device, &mut chain, options, &mut totals)
        .and_then(|()| images::run(&device, &mut chain, options, &mut totals));
    totals.submissions = chain.submissions();
    totals.elapsed = start.elapsed();
    // Differences that were found say more than the error that ended the search.
    match done {
        Err(error) if totals.diffs.is_empty() || options.self_test => Err(error),
        _ => Ok(totals),
    }
}

/// The queue families that take part, by name.
fn families(
    adapter: &Adapter,
    options: &Options,
    totals: &mut Totals,
) -> anyhow::Result<Vec<(&'static str, u32)>> {
    let transfer = adapter.transfer_family().map(|f| ("transfer", f));
    let graphics = adapter.graphics_family().map(|f| ("graphics", f));
    let graphics = graphics.filter(|_| {
        let skip = adapter.copies_with_shaders() && options.queues != Queues::Transfer;
        if skip {
            totals.skips(format!(
                "the graphics queue: {} copies with compute shaders there",
                adapter.driver
            ));
        }
        !skip
    });
    let missing = "the device has no such queue family";
    Ok(match options.queues {
        Queues::Transfer => vec![transfer.context(missing)?],
        Queues::Graphics => graphics.into_iter().collect(),
        Queues::Both if transfer.is_none() && options.any_device => {
            totals.skips("the transfer queue: the device has no such family".into());
            graphics.into_iter().collect()
        }
        Queues::Both if transfer.is_none() => bail!("{missing}"),
        Queues::Both => transfer.into_iter().chain(graphics).collect(),
    })
}
