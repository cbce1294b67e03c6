// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Creates and destroys a Vulkan instance and device again and again, with one empty submission
//! to each queue family, and checks that this process and the GPU hold no more afterwards.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use ghostnv_clients::process::Usage;
use ghostnv_clients::uapi::{Client, abi};
use ghostnv_clients::vk::{Device, Instance};

/// Instance and device cycles.
#[derive(Parser)]
#[command(name = "vk-cycle", version)]
struct Args {
    /// Number of cycles.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// Cycles before the first reading, in which libraries load and caches fill.
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
    /// Growth of resident memory that is allowed, in KiB.
    #[arg(long, default_value_t = 4096)]
    growth: u64,
    /// Growth of the video memory in use that is allowed, in KiB.
    #[arg(long, default_value_t = 256)]
    vram_growth: u64,
    /// Keep one instance and cycle devices only.
    #[arg(long)]
    keep_instance: bool,
    /// Longest wait for the GPU, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Take any device, not only an NVIDIA GPU.
    #[arg(long)]
    any_device: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("vk-cycle: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// KiB of video memory in use by anyone, of the first device that can tell.
fn vram_kib() -> u64 {
    let entries = std::fs::read_dir("/dev/dri").into_iter().flatten();
    let mut nodes: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    nodes.retain(|path| path.to_string_lossy().contains("renderD"));
    nodes.sort();
    let used = |path: &PathBuf| Client::open(path).ok()?.param(abi::PARAM_VRAM_USED).ok();
    nodes.iter().find_map(used).unwrap_or(0) >> 10
}

fn run(args: &Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let kept = args.keep_instance.then(Instance::new).transpose()?;
    let mut first = None;
    let mut submits = 0;
    let mut times = Vec::new();
    for turn in 0..args.count {
        if turn == args.warm_up.min(args.count / 2) {
            first = Some((Usage::now()?, vram_kib()));
        }
        let instance = kept.clone().map_or_else(Instance::new, Ok)?;
        let begin = Instant::now();
        submits += cycle(&instance, args).with_context(|| format!("cycle {turn}"))?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let (last, vram) = (Usage::now()?, vram_kib());
    let (first, vram_before) = first.unwrap_or((last, vram));
    let growth = last.rss_kib.saturating_sub(first.rss_kib);
    let facts = format!(
        "{} cycles, {submits} submissions, open files {} then {}, resident memory {} KiB then {} \
         KiB, video memory in use {vram_before} KiB then {vram} KiB, {:.1} s, median of a cycle {} us",
        args.count,
        first.fds,
        last.fds,
        first.rss_kib,
        last.rss_kib,
        start.elapsed().as_secs_f64(),
        times.get(times.len() / 2).map_or(0, Duration::as_micros)
    );
    ensure!(last.fds == first.fds, "open files are not freed: {facts}");
    ensure!(growth <= args.growth, "resident memory grew by {growth} KiB: {facts}");
    let growth = vram.saturating_sub(vram_before);
    ensure!(growth <= args.vram_growth, "video memory in use grew by {growth} KiB: {facts}");
    println!("vk-cycle: ok: {facts}");
    Ok(())
}

fn cycle(instance: &std::rc::Rc<Instance>, args: &Args) -> anyhow::Result<u64> {
    let adapter = instance.pick(args.any_device)?;
    let mut families: Vec<u32> =
        adapter.graphics_family().into_iter().chain(adapter.transfer_family()).collect();
    families.dedup();
    let device = Device::new(instance, &adapter, &families)?;
    for &family in &families {
        device.submit_empty(family, Duration::from_secs(args.timeout))?;
    }
    Ok(families.len() as u64)
}
