// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `ghostnv-gpu trace`: prints a trace, or adds it up between two markers.
//!
//! The file format stands in [`crate::env::trace`]. A trace is read as a stream, and what is in it is
//! not trusted: a record that cannot be understood is counted, and a file that ends in the middle of
//! one (its writer was killed) ends there.

mod file;
mod names;
mod show;
mod sum;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::env::trace::Kind;

pub use self::sum::{Sum, sums};

/// What to do with a trace.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Print records, one a line.
    Show(ShowArgs),
    /// Count accesses by register, RPCs by name, doorbells, DMA, interrupts.
    Sum(SumArgs),
}

/// Which part of a trace.
#[derive(Debug, Clone, Default, Args)]
pub struct Part {
    /// Start at this marker; without one, at the start of the trace.
    #[arg(long, value_name = "MARKER", value_parser = marker)]
    pub from: Option<u32>,
    /// End at this marker, where it is first written after --from.
    #[arg(long, value_name = "MARKER", value_parser = marker)]
    pub to: Option<u32>,
}

/// Arguments of `trace show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The trace.
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub part: Part,
    /// Only these kinds (reg-read, rpc-in, doorbell…); 'reg', 'bar' and 'rpc' mean both directions.
    #[arg(long, value_delimiter = ',', value_parser = kinds, value_name = "KIND,…")]
    pub kind: Vec<Kinds>,
    /// Only registers whose name contains this, or that lie in START-END (hexadecimal).
    #[arg(long, value_name = "NAME|RANGE")]
    pub reg: Option<String>,
    /// Print at most this many lines.
    #[arg(long)]
    pub limit: Option<u64>,
}

/// Arguments of `trace sum`.
#[derive(Debug, Args)]
pub struct SumArgs {
    /// The trace.
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub part: Part,
    /// One sum for each interval between two markers, instead of one for all.
    #[arg(long)]
    pub intervals: bool,
    /// Machine-readable: an array of sums.
    #[arg(long)]
    pub json: bool,
    /// Registers to list; JSON always has all.
    #[arg(long, default_value_t = 20)]
    pub top: usize,
}

/// Some kinds of record, as one filter word names them.
#[derive(Debug, Clone)]
pub struct Kinds(pub Vec<Kind>);

/// Parses a marker number, decimal or hexadecimal.
fn marker(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|e| e.to_string())
}

/// Parses a filter word.
fn kinds(word: &str) -> Result<Kinds, String> {
    let exact: Vec<Kind> =
        Kind::ALL.iter().filter(|(_, name)| *name == word).map(|(kind, _)| *kind).collect();
    if !exact.is_empty() {
        return Ok(Kinds(exact));
    }
    let family: Vec<Kind> = Kind::ALL
        .iter()
        .filter(|(_, name)| {
            ["reg", "bar", "bar1", "bar2", "rpc"].contains(&word) && name.starts_with(word)
        })
        .map(|(kind, _)| *kind)
        .collect();
    if !family.is_empty() {
        return Ok(Kinds(family));
    }
    let all: Vec<&str> = Kind::ALL.iter().map(|(_, name)| *name).collect();
    Err(format!("no such kind; there are reg, bar, rpc, {}", all.join(", ")))
}

/// Runs a trace command; a reader that goes away (`| head`) ends it quietly.
pub fn run(command: &TraceCommand, out: &mut impl Write) -> anyhow::Result<()> {
    let done = match command {
        TraceCommand::Show(args) => show::show(args, out),
        TraceCommand::Sum(args) => sum::print(args, out),
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Err(e) if is_broken_pipe(&e) => Ok(()),
        other => other,
    }
}

/// Whether an error is the reader's going away.
fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
