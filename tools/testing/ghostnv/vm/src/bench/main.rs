// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Compares GhostNV with nouveau: the same VM, the same device, the same kernel, one after the other.
//!
//! Each driver first runs once with the instruction counter of `scripts/vm --meter`, for what is
//! counted, then as often as wanted without it, in turns, for what is timed.

mod figures;
mod roundtrip;
mod rows;
mod samples;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::json;

use figures::Figures;

/// The drivers that are compared.
const DRIVERS: [&str; 2] = ["ghostnv", "nouveau"];

/// GhostNV beside nouveau.
#[derive(Parser)]
#[command(name = "vmbench", version)]
struct Args {
    /// The program that boots a VM.
    #[arg(long)]
    vm: PathBuf,
    /// Directory of test programs, which the guest sees as /mnt/share.
    #[arg(long)]
    programs: PathBuf,
    /// Directory for logs.
    #[arg(long)]
    logs: PathBuf,
    /// File for the figures.
    #[arg(long)]
    json: PathBuf,
    /// Chip.
    #[arg(long, default_value = "ga102")]
    chip: String,
    /// Boots of each driver for times.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Numbers of live objects.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    live: Vec<u64>,
    /// Samples of what is counted.
    #[arg(long, default_value_t = 100)]
    samples: u32,
    /// `DRIVER=BYTES` of code, as `size` says; may be repeated.
    #[arg(long)]
    text: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    /// Boots a driver, runs a script; its output, and the run's directory.
    fn boot(
        &self,
        driver: &str,
        what: &str,
        options: &[&str],
        script: &str,
    ) -> anyhow::Result<(String, PathBuf)> {
        let directory = self.logs.join(format!("{driver}-{what}"));
        let log = directory.with_extension("log");
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let status = Command::new(&self.vm)
            .args(["--driver", driver, "--chip", &self.chip, "--strict", "--timeout", "3000"])
            .arg("--share")
            .arg(&self.programs)
            .args(options)
            .args(["--", "sh", "-ec", script])
            .env("GHOSTNV_RUN_DIR", &directory)
            .env("GHOSTNV_QUIET", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .with_context(|| self.vm.display().to_string())?;
        ensure!(status.success(), "{driver}, {what}: {status}, see {}", log.display());
        Ok((fs::read_to_string(&log)?, directory))
    }

    /// What is counted.
    fn count(&self, driver: &str, figures: &mut Figures) -> anyhow::Result<()> {
        let file = self.logs.join(format!("{driver}.meter"));
        let live: Vec<String> = self.live.iter().map(u64::to_string).collect();
        let script = format!(
            "/mnt/share/gpu-bench --only exec,completion,bind,rpc,gem --samples {} --live {}",
            self.samples,
            live.join(",")
        );
        let path = file.to_string_lossy();
        let (output, _) = self.boot(driver, "counted", &["--meter", &path], &script)?;
        figures.add_samples(&output, &read(&file)?);
        Ok(())
    }

    /// What is timed; what memory things take comes with the first round.
    fn time(&self, driver: &str, round: usize, figures: &mut Figures) -> anyhow::Result<()> {
        let memory = if round == 0 { ",memory" } else { "" };
        let script = format!(
            "/mnt/share/gpu-bench --only exec,completion,rpc{memory} --samples 50\n\
             /mnt/share/vk-cycle --count 12 --warm-up 2 --keep-instance"
        );
        let (output, directory) = self.boot(driver, "timed", &[], &script)?;
        figures.add_output(&output);
        figures.add_status(&read(&directory.join("status"))?);
        Ok(())
    }

    /// Goodbyes to the firmware, which all drivers say in the same words.
    fn unload(&self, driver: &str, figures: &mut Figures) -> anyhow::Result<()> {
        let trace = self.logs.join(format!("{driver}.trace"));
        let module = driver.replace('-', "_");
        let script = format!(
            "rmmod nova_drm 2>/dev/null || :\n\
             for i in 1 2 3 4 5 6 7 8; do rmmod {module}; modprobe {module}; done\n\
             rmmod {module}"
        );
        self.boot(driver, "unload", &["--trace", &trace.to_string_lossy()], &script)?;
        for us in roundtrip::unloading(&trace)? {
            figures.add("rpc unload us", us);
        }
        Ok(fs::remove_file(trace)?)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn run(args: &Args) -> anyhow::Result<()> {
    fs::create_dir_all(&args.logs).with_context(|| args.logs.display().to_string())?;
    let mut figures = [Figures::default(), Figures::default()];
    for text in &args.text {
        let known = DRIVERS.iter().zip(&mut figures).find(|(d, _)| text.starts_with(**d));
        if let (Some((_, figures)), Some((_, bytes))) = (known, text.split_once('=')) {
            figures.add("text", bytes.parse().with_context(|| text.clone())?);
        }
    }
    for (driver, figures) in DRIVERS.iter().zip(&mut figures) {
        eprintln!("{driver}: counting");
        args.count(driver, figures)?;
    }
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        for (driver, figures) in DRIVERS.iter().zip(&mut figures) {
            args.time(driver, round, figures)?;
        }
    }
    let mut nova = Figures::default();
    let [ghostnv, nouveau] = &mut figures;
    for (driver, figures) in
        [(DRIVERS[0], ghostnv), (DRIVERS[1], nouveau), ("nova-core", &mut nova)]
    {
        eprintln!("{driver}: unloading");
        args.unload(driver, figures)?;
    }
    report(args, &figures, &nova)
}

/// Prints the table and writes the file.
fn report(args: &Args, [ghostnv, nouveau]: &[Figures; 2], nova: &Figures) -> anyhow::Result<()> {
    let rows = rows::rows(&args.live);
    let lines: Vec<_> = rows.iter().map(|row| row.line(ghostnv, nouveau, nova)).collect();
    println!("{}", rows::heading());
    lines.iter().for_each(|line| println!("{line}"));
    let mut missed = lines.iter().filter(|line| line.is_missed()).count();
    if let Some((growth, logarithmic)) = rows::growth(&args.live, ghostnv) {
        println!("GEM cost grows {growth:.2}-fold; {logarithmic:.2}-fold is logarithmic");
        missed += usize::from(growth > logarithmic);
    }
    let unknown = lines.iter().filter(|line| line.is_unknown()).count();
    println!("{} rows, {missed} targets missed, {unknown} without a figure", lines.len());
    let all = |figures: &Figures| {
        let entry = |(name, [median, least, most, number]): (&str, [f64; 4])| {
            (
                name.to_owned(),
                json!({"median": median, "min": least, "max": most, "samples": number}),
            )
        };
        figures.summary().map(entry).collect::<serde_json::Map<_, _>>()
    };
    let document = json!({
        "chip": args.chip, "rounds": args.rounds, "rows": lines,
        "ghostnv": all(ghostnv), "nouveau": all(nouveau), "nova-core": all(nova),
    });
    fs::write(&args.json, serde_json::to_string_pretty(&document)?)
        .with_context(|| args.json.display().to_string())
}
