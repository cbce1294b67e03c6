// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The `ghostnv-gpu` command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ghostnv_gpu::bus::doorbell::SharedPage;
use ghostnv_gpu::bus::pci;
use ghostnv_gpu::bus::serve::{Listener, run};
use ghostnv_gpu::bus::server::Server;
use ghostnv_gpu::chip::{CHIPS, Chip};
use ghostnv_gpu::env::Env;
use ghostnv_gpu::env::fault::FaultPlan;
use ghostnv_gpu::env::judge::AllowList;
use ghostnv_gpu::env::trace::Trace;
use ghostnv_gpu::firmware::{self, FirmwareSet};
use ghostnv_gpu::gpu::Gpu;
use ghostnv_gpu::machine::Machine;
use ghostnv_gpu::report::Report;
use ghostnv_gpu::trace_cmd::{self, TraceCommand};
use ghostnv_gpu::vectors;

/// Exit code of a strict run with violations.
const VIOLATED: u8 = 3;

/// An emulated NVIDIA GPU that QEMU sees as a PCI device over vfio-user.
#[derive(Parser)]
#[command(version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve one QEMU and exit when it goes away.
    Serve(Serve),
    /// Replay pushbuffers whose effect silicon recorded.
    Vectors {
        /// Chip to replay them on.
        #[arg(long, default_value = "ga102", value_parser = chip)]
        chip: &'static Chip,
        /// Vector files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Look into a trace.
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Convert firmware files.
    #[command(subcommand)]
    Firmware(Firmware),
}

#[derive(Subcommand)]
enum Firmware {
    /// Write the files that nova-core loads, from those that nouveau loads.
    Nova {
        /// Directory that gets nvidia/CHIP/gsp/*.
        #[arg(long)]
        out: PathBuf,
        /// The nvidia directory of linux-firmware.
        nvidia: PathBuf,
    },
}

#[derive(Args)]
struct Serve {
    /// Socket that QEMU's vfio-user-pci connects to.
    #[arg(long)]
    socket: PathBuf,
    /// Chip to emulate.
    #[arg(long, default_value = "ga102", value_parser = chip)]
    chip: &'static Chip,
    /// VRAM in MiB [default: the chip's].
    #[arg(long, value_parser = clap::value_parser!(u64).range(256..=65536))]
    vram: Option<u64>,
    /// BAR1 in MiB, a power of two.
    #[arg(long, default_value_t = 256, value_parser = bar1)]
    bar1: u64,
    /// Offer MSI alone. QEMU 11.1 aborts when a vfio-user device with MSI-X is unplugged.
    #[arg(long)]
    no_msix: bool,
    /// Exit with 3 if anything happened that no correct driver does.
    #[arg(long)]
    strict: bool,
    /// Faults to inject (TOML).
    #[arg(long)]
    fault: Option<PathBuf>,
    /// Write a trace.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// The nvidia directory of linux-firmware; what the driver loads is compared with it.
    #[arg(long)]
    firmware: Option<PathBuf>,
    /// Violations that are explained (TOML); may be repeated.
    #[arg(long)]
    allow: Vec<PathBuf>,
    /// Write the summary as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// How doorbells arrive: trapped (ordered, none lost) or by shared memory (fast, one channel).
    #[arg(long, value_enum, default_value_t = Doorbell::Trap)]
    doorbell: Doorbell,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Doorbell {
    Trap,
    Shared,
}

fn chip(name: &str) -> Result<&'static Chip, String> {
    Chip::find(name).ok_or_else(|| {
        let names: Vec<_> = CHIPS.iter().map(|c| c.name).collect();
        format!("known chips: {}", names.join(", "))
    })
}

fn bar1(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(mib) if mib.is_power_of_two() && (64..=65536).contains(&mib) => Ok(mib),
        _ => Err("a power of two from 64 to 65536".into()),
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Vectors { chip, files } => vectors::run(&files, chip)
            .map(|totals| if totals.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
        Command::Trace(command) => {
            trace_cmd::run(&command, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS)
        }
        Command::Firmware(Firmware::Nova { out, nvidia }) => {
            firmware::nova(&nvidia, &out).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|e| {
        eprintln!("ghostnv-gpu: {e:#}");
        ExitCode::FAILURE
    })
}

fn serve(options: &Serve) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("handle signals")?;
    }
    let mut server = Server::new(card(options)?, page(options)?);
    let listener = Listener::bind(&options.socket)?;
    let served = match listener.accept(&stop)? {
        Some(mut conn) => run(&mut conn, &mut server, &stop),
        None => Ok(()),
    };
    let report = finish(&mut server.gpu, options)?;
    served?;
    let failed = options.strict && report.violation_count > 0;
    Ok(if failed { ExitCode::from(VIOLATED) } else { ExitCode::SUCCESS })
}

fn card(options: &Serve) -> anyhow::Result<Gpu> {
    let mut env = Env::new(options.vram.unwrap_or(options.chip.vram_mib) << 20)?;
    env.judge.loud = true;
    if let Some(path) = &options.fault {
        env.faults = FaultPlan::load(path)?;
    }
    if let Some(path) = &options.trace {
        env.trace = Trace::to_file(path)?;
    }
    for path in &options.allow {
        let with = || format!("allow-list {}", path.display());
        let text = std::fs::read_to_string(path).with_context(with)?;
        let list: AllowList = toml::from_str(&text).with_context(with)?;
        env.judge.allow.extend(list.allow);
    }
    let load = |path| FirmwareSet::load(path, options.chip);
    let firmware = options.firmware.as_deref().map(load).transpose()?;
    let board = pci::Options { bar1: options.bar1 << 20, msix: !options.no_msix };
    Ok(Gpu::with_options(Machine::new(options.chip, env, firmware), board))
}

fn page(options: &Serve) -> anyhow::Result<Option<SharedPage>> {
    let shared = options.doorbell == Doorbell::Shared;
    shared.then(|| SharedPage::new(options.chip.classes.usermode)).transpose()
}

/// Ends the trace and says what happened.
fn finish(gpu: &mut Gpu, options: &Serve) -> anyhow::Result<Report> {
    let env = &mut gpu.hw.env;
    let (now, read, written) = (env.clock.ns(), env.mem.dma_read, env.mem.dma_written);
    env.trace.finish(now, read, written);
    let report = Report::of(gpu);
    eprint!("{}", report.screen());
    if let Some(path) = &options.report {
        let json = serde_json::to_string_pretty(&report).context("report")?;
        std::fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(report)
}
