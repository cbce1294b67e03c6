// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Holds the driver to what EXEC and VM_BIND promise.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use ghostnv_clients::semantics;

/// Checks of EXEC and VM_BIND through the nouveau uAPI.
#[derive(Parser)]
#[command(name = "gpu-uapi", version)]
struct Args {
    /// The device file; the first render node by default.
    #[arg(long)]
    device: Option<PathBuf>,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    case: String,
    /// The driver is nouveau: leave out what it does not promise.
    #[arg(long)]
    nouveau: bool,
    /// Instead, run the cases that take all video memory; give the card little.
    #[arg(long)]
    greedy: bool,
    /// Instead, run the cases that have the hardware be slow, which the emulated GPU can.
    #[arg(long, conflicts_with = "greedy")]
    slow: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("gpu-uapi: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<u64> {
    let node = || -> anyhow::Result<PathBuf> {
        let entries = std::fs::read_dir("/dev/dri").context("/dev/dri")?;
        let nodes = entries.filter_map(|e| Some(e.ok()?.path()));
        let nodes = nodes.filter(|p| p.to_string_lossy().contains("renderD"));
        nodes.min().context("no render node in /dev/dri")
    };
    let device = args.device.clone().map_or_else(node, Ok)?;
    let (mut passed, mut failed) = (0u64, 0u64);
    let cases: Vec<_> = match (args.greedy, args.slow) {
        (true, _) => semantics::greedy().collect(),
        (_, true) => semantics::slow().collect(),
        _ => semantics::cases().collect(),
    };
    for case in cases {
        if !case.name.contains(&args.case) || (args.nouveau && case.ghostnv_only) {
            continue;
        }
        let start = Instant::now();
        match semantics::run(case, &device) {
            Ok(()) => {
                println!("gpu-uapi: ok: {} in {} ms", case.name, start.elapsed().as_millis());
                passed += 1;
            }
            Err(error) => {
                println!("gpu-uapi: FAILED: {}: {error:#}", case.name);
                failed += 1;
            }
        }
    }
    println!("gpu-uapi: {passed} passed, {failed} failed");
    Ok(failed)
}
