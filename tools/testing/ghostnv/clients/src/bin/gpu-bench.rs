// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measures a driver of nouveau's uAPI; `scripts/bench` runs it and reads what it prints.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ghostnv_clients::bench::{self, Bench};

/// Measurements.
#[derive(Parser)]
#[command(name = "gpu-bench", version)]
struct Args {
    /// The device file.
    #[arg(long, default_value = "/dev/dri/renderD128")]
    device: PathBuf,
    /// Only these: exec, completion, bind, gem, rpc, memory, or one figure such as bind-64K-1024.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Samples of each kind.
    #[arg(long, default_value_t = 100)]
    samples: usize,
    /// Numbers of live objects, increasing, four at most.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    live: Vec<usize>,
}

type Scenario = fn(&Bench<'_>) -> anyhow::Result<()>;

const SCENARIOS: [(&str, Scenario); 6] = [
    ("exec", bench::exec),
    ("completion", bench::completion),
    ("bind", bench::binds),
    ("rpc", bench::rpc),
    ("memory", bench::memory),
    ("gem", bench::gem),
];

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("gpu-bench: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    bench::bars(&args.device)?;
    let bench = Bench {
        device: &args.device,
        samples: args.samples,
        only: args.only.clone(),
        live: args.live.clone(),
    };
    for (name, scenario) in SCENARIOS {
        if bench.wants(name) {
            scenario(&bench).context(name)?;
        }
    }
    Ok(())
}
