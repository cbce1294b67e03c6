// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Has the kernel run out of memory at every place of every call, and checks that it copes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ghostnv_clients::starve::Starver;

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
    /// Instead of calls, bind the driver to the card, with this many places failing.
    #[arg(long, value_name = "PLACES")]
    probe: Option<u32>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let run = || {
        let starver = Starver::new(&args.device, &args.only)?;
        match args.probe {
            Some(samples) => starver.probe(samples),
            None => starver.run(),
        }
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
