// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults, nonsense and rounds of taking away: what a driver on the emulated GPU must survive.
//!
//! Runs as root in the guest, with the driver's module loaded and nothing bound.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ghostnv_clients::soak::card::Card;
use ghostnv_clients::soak::faults::Sweep;
use ghostnv_clients::soak::{Effort, absurd, rounds, work};
use ghostnv_clients::uapi;

/// Soak tests of a driver.
#[derive(Parser)]
#[command(name = "gpu-soak", version)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Each fault at each place: the matrix.
    Faults(Common),
    /// Nonsense in every reply that the driver reads.
    Absurd(Common),
    /// Binds, works and unbinds.
    Bind(Common),
    /// Creates and destroys Vulkan devices.
    Devices(Common),
    /// Kills clients with work under way.
    Kill(Common),
    /// Takes the card away under load.
    Remove(Common),
    /// Is a busy client until it is killed.
    #[command(hide = true)]
    Load {
        #[arg(long)]
        node: PathBuf,
        #[arg(long, value_enum)]
        engine: EngineChoice,
    },
}

#[derive(Args)]
struct Common {
    /// The driver's name below /sys/bus/pci/drivers.
    #[arg(long, default_value = "ghostnv")]
    driver: String,
    /// Rounds; in a sweep, which of the first `stride` steps to begin with.
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// Take every so many steps of a sweep.
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Of faults, in the sweep of register accesses, of which there are too many to take each one:
    /// the next step is at an access this many percent, and one, further on.
    #[arg(long, default_value_t = 6)]
    growth: u64,
    /// Print each step.
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineChoice {
    Copy,
    Graphics,
}

type Run = fn(&mut Card, Effort) -> anyhow::Result<bool>;

fn run(cli: Cli) -> anyhow::Result<bool> {
    let (common, part): (Common, Run) = match cli.part {
        Part::Faults(common) => (common, |card, effort| Sweep::new(card, effort).run()),
        Part::Absurd(common) => (common, absurd::run),
        Part::Bind(common) => (common, rounds::bind),
        Part::Devices(common) => (common, rounds::devices),
        Part::Kill(common) => (common, rounds::kill),
        Part::Remove(common) => (common, rounds::remove),
        Part::Load { node, engine } => {
            let engine = match engine {
                EngineChoice::Copy => uapi::Engine::Copy,
                EngineChoice::Graphics => uapi::Engine::Graphics,
            };
            work::load(&node, engine)?;
            return Ok(true);
        }
    };
    let mut card = Card::find(&common.driver)?;
    if card.bound() {
        card.unbind()?;
    }
    card.complaints();
    let Common { count, stride, growth, verbose, .. } = common;
    part(&mut card, Effort { count, stride: stride.max(1), growth, verbose })
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("gpu-soak: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
