// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Submits what no well-behaved client submits, and checks that its channel alone pays for it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use ghostnv_clients::hostile::bystander::{self, Bystander};
use ghostnv_clients::hostile::{self, Options, SCENARIOS};
use ghostnv_clients::random;
use ghostnv_clients::uapi::{self, Client};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EngineChoice {
    Copy,
    Graphics,
    Both,
}

impl EngineChoice {
    fn engines(self) -> Vec<(uapi::Engine, &'static str)> {
        let (copy, graphics) = ((uapi::Engine::Copy, "copy"), (uapi::Engine::Graphics, "graphics"));
        match self {
            EngineChoice::Copy => vec![copy],
            EngineChoice::Graphics => vec![graphics],
            EngineChoice::Both => vec![copy, graphics],
        }
    }
}

/// Hostile submissions through the nouveau uAPI.
#[derive(Parser)]
#[command(name = "gpu-hostile", version)]
struct Args {
    /// The device file; the first render node by default.
    #[arg(long)]
    device: Option<PathBuf>,
    /// Engine of the channels.
    #[arg(long, value_enum, default_value = "both")]
    engine: EngineChoice,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    scenario: String,
    /// Start of the random sequences.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds, each with the next seed.
    #[arg(long, default_value_t = 1)]
    repeat: u64,
    /// A job must end within this many seconds.
    #[arg(long, default_value_t = 20)]
    limit: u64,
    /// Instead of scenarios, call at random for this many seconds.
    #[arg(long, value_name = "SECONDS")]
    random: Option<u64>,
    /// Threads that call at random.
    #[arg(long, default_value_t = 4)]
    threads: u64,
    /// Print the names of the scenarios.
    #[arg(long)]
    list: bool,
    /// Be a bystander: verified copies until standard input closes.
    #[arg(long, hide = true)]
    bystander: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        SCENARIOS.iter().for_each(|s| println!("{}: must come to: {:?}", s.name, s.expect));
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("gpu-hostile: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<u64> {
    let device = args.device.clone().map_or_else(first_render_node, Ok)?;
    let limit = Duration::from_secs(args.limit);
    if args.bystander {
        let engine = args.engine.engines().first().context("no engine")?.0;
        bystander::live(&device, engine, limit)?;
        return Ok(0);
    }
    describe(&device)?;
    if let Some(seconds) = args.random {
        return at_random(args, device, seconds, limit).map(|()| 0);
    }
    let (mut passed, mut failed) = (0u64, 0u64);
    for round in 0..args.repeat {
        let options =
            Options { device: device.clone(), seed: args.seed.wrapping_add(round), limit };
        for (engine, name) in args.engine.engines() {
            let mut bystander = start_bystander(&device, name, args.limit)?;
            bystander.advance(1, limit).context("a bystander before anything hostile")?;
            for scenario in SCENARIOS.iter().filter(|s| s.name.contains(&args.scenario)) {
                match hostile::run(scenario, engine, &options, &mut bystander) {
                    Ok(facts) => {
                        println!("gpu-hostile: ok: {} on {name}: {facts}", scenario.name);
                        passed += 1;
                    }
                    Err(error) => {
                        println!("gpu-hostile: FAILED: {} on {name}: {error:#}", scenario.name);
                        failed += 1;
                    }
                }
            }
            let copies = bystander.finish()?;
            println!("gpu-hostile: the bystander on {name} made {copies} copies, all right");
        }
    }
    println!("gpu-hostile: {passed} scenarios passed, {failed} failed, seed {}", args.seed);
    Ok(failed)
}

fn at_random(args: &Args, device: PathBuf, seconds: u64, limit: Duration) -> anyhow::Result<()> {
    println!("gpu-hostile: {seconds} s at random, seed {}", args.seed);
    let mut bystander = start_bystander(&device, "copy", args.limit)?;
    bystander.advance(1, limit).context("a bystander before anything hostile")?;
    let (seed, time) = (args.seed, Duration::from_secs(seconds));
    let options = random::Options { device, seed, time, threads: args.threads, limit };
    for line in random::run(&options, &mut bystander)? {
        println!("gpu-hostile: {line}");
    }
    bystander.finish()?;
    println!("gpu-hostile: ok: {seconds} s at random, seed {seed}");
    Ok(())
}

fn start_bystander(device: &Path, engine: &str, limit: u64) -> anyhow::Result<Bystander> {
    let device = device.to_str().context("the device's path is not text")?;
    let arguments = ["--bystander", "--device", device, "--engine", engine, "--limit"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(limit.to_string());
    Bystander::start(&arguments)
}

fn first_render_node() -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir("/dev/dri").context("/dev/dri")?;
    let nodes = entries.filter_map(|e| Some(e.ok()?.path()));
    let nodes = nodes.filter(|p| p.to_string_lossy().contains("renderD"));
    nodes.min().context("no render node in /dev/dri")
}

fn describe(device: &Path) -> anyhow::Result<()> {
    let client = Client::open(device)?;
    println!(
        "gpu-hostile: {}: device {:#06x}, chipset {:#x}, {} pushes an EXEC, {} KiB of VRAM in use",
        device.display(),
        client.param(uapi::abi::PARAM_PCI_DEVICE)?,
        client.param(uapi::abi::PARAM_CHIPSET_ID)?,
        client.param(uapi::abi::PARAM_EXEC_PUSH_MAX)?,
        client.param(uapi::abi::PARAM_VRAM_USED)? >> 10,
    );
    Ok(())
}
