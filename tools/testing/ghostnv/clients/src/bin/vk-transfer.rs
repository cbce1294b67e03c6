// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Moves bytes through the GPU in every way Vulkan's transfer commands know, and checks them.
//!
//! Exit status: 0 when every byte was right, 1 when not, 77 when all of it had to be skipped.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ghostnv_clients::transfer::{self, Options, Queues};

/// Exit status of a test that was skipped.
const SKIPPED: u8 = 77;

#[derive(Clone, Copy, ValueEnum)]
enum Queue {
    Transfer,
    Graphics,
    Both,
}

/// A verified transfer workload.
#[derive(Parser)]
#[command(name = "vk-transfer", version)]
struct Args {
    /// Queue families to submit to; both are taken in turn, ordered by a timeline semaphore.
    #[arg(long, value_enum, default_value = "both")]
    queue: Queue,
    /// Start of the random sequence.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// MiB that buffer operations move at least.
    #[arg(long, default_value_t = 96)]
    mib: u64,
    /// Run the workload this many times, each with the next seed.
    #[arg(long, default_value_t = 1)]
    repeat: u64,
    /// Longest wait for the GPU, in seconds.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Print the totals as JSON too.
    #[arg(long)]
    json: bool,
    /// Take any device, not only an NVIDIA GPU.
    #[arg(long)]
    any_device: bool,
    /// Corrupt one byte before each comparison, and succeed if each corruption is reported.
    #[arg(long)]
    self_test: bool,
    /// Behave as with this release of NVK ("26.2"): to test what is skipped there.
    #[arg(long, hide = true, value_parser = release)]
    assume_nvk: Option<(u32, u32)>,
}

fn release(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parts.ok_or_else(|| "MAJOR.MINOR".into())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut status = ExitCode::SUCCESS;
    for seed in (args.seed..).take(usize::try_from(args.repeat).unwrap_or(usize::MAX)) {
        match once(&args, seed) {
            Ok(0) => {}
            Ok(code) => status = ExitCode::from(code),
            Err(error) => {
                println!("vk-transfer: FAILED: {error:#}, seed {seed}");
                return ExitCode::FAILURE;
            }
        }
    }
    status
}

fn once(args: &Args, seed: u64) -> anyhow::Result<u8> {
    let options = Options {
        seed,
        mib: args.mib,
        queues: match args.queue {
            Queue::Transfer => Queues::Transfer,
            Queue::Graphics => Queues::Graphics,
            Queue::Both => Queues::Both,
        },
        any_device: args.any_device,
        self_test: args.self_test,
        assume_nvk: args.assume_nvk,
        limit: Duration::from_secs(args.timeout),
    };
    let totals = transfer::run(&options)?;
    if args.json {
        println!("{}", totals.json(seed));
    }
    if totals.nothing_ran() {
        println!("vk-transfer: skipped: nothing is left to run");
        return Ok(SKIPPED);
    }
    println!("vk-transfer: {}", totals.line(seed));
    Ok(u8::from(!totals.ok()))
}
