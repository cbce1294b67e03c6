// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Has the kernel run out of memory at every place of every call, and checks that it copes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ghostnv_clients::starve::{Kind, Starver};

/// Calls during which an allocation fails; needs a kernel with fault injection.
#[derive(Parser)]
#[command(name = "gpu-starve", version)]
struct Args {
    /// The device file.
    #[arg(long, default_value = "/dev/dri/renderD128")]
    device: PathBuf,
    /// Only calls whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// How often to go through all calls.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Instead of calls, bind the driver to the card, with up to this many places failing.
    #[arg(long, value_name = "PLACES")]
    probe: Option<u32>,
    /// Begin no further bind after so many seconds.
    #[arg(long, default_value_t = 600, requires = "probe")]
    seconds: u64,
    /// Print how each call ended, and have the kernel log where memory was missing.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let run = || {
        for kind in [Kind::Objects, Kind::Pages] {
            let starver = Starver::new(kind, &args.device, &args.only, args.verbose)?;
            match args.probe {
                // Half of the time for each kind.
                Some(samples) => starver.probe(samples, Duration::from_secs(args.seconds / 2))?,
                None => (0..args.rounds).try_for_each(|_| starver.run())?,
            }
        }
        anyhow::Ok(())
    };
    match run() {
        Ok(()) => {
            println!("gpu-starve: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("gpu-starve: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
