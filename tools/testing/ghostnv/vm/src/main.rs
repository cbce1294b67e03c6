// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs a table of tests through `scripts/vm`, each in a VM of its own, and reports them as TAP.
//!
//! A test is a shell script that runs in the guest. Its exit status is its result, and `--strict`
//! adds what the kernel and the judge of the emulated GPU found; so the table holds what a person
//! would type, and any failing test can be repeated by hand from its log's first line.

mod runner;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use runner::{Place, Verdict};
use table::Table;

/// How many times longer the debug flavour may take: KASAN and lockdep cost that much.
const DEBUG_PATIENCE: u64 = 8;

/// Tests of kernel drivers on the emulated GPU.
#[derive(Parser)]
#[command(name = "vmtest", version)]
struct Args {
    /// Table of tests; may be repeated.
    #[arg(long, required = true)]
    table: Vec<PathBuf>,
    /// The program that boots a VM.
    #[arg(long)]
    vm: PathBuf,
    /// Directory of test programs, which the guest sees as /mnt/share.
    #[arg(long)]
    programs: PathBuf,
    /// Directory for logs.
    #[arg(long)]
    logs: PathBuf,
    /// Only tests whose name contains one of these.
    #[arg(long)]
    filter: Vec<String>,
    /// Run the tests as if they named this driver.
    #[arg(long)]
    driver: Option<String>,
    /// Kernel flavour.
    #[arg(long)]
    kernel: Option<String>,
    /// VMs at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Print the names of the tests.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vmtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let mut cases = Vec::new();
    for table in &args.table {
        cases.extend(Table::read(table)?.cases());
    }
    if !args.filter.is_empty() {
        cases.retain(|case| args.filter.iter().any(|f| case.name.contains(f)));
    }
    anyhow::ensure!(!cases.is_empty(), "no test matches");
    for case in &mut cases {
        case.driver = args.driver.clone().unwrap_or_else(|| case.driver.clone());
        case.options.extend(args.kernel.iter().flat_map(|k| ["--kernel".to_owned(), k.clone()]));
        if args.kernel.as_ref().is_some_and(|k| k.ends_with("debug")) {
            case.timeout *= DEBUG_PATIENCE;
        }
    }
    if args.list {
        cases.iter().for_each(|case| println!("{}: {}", case.name, case.about));
        return Ok(true);
    }
    let place =
        Place { vm: args.vm.clone(), programs: args.programs.clone(), logs: args.logs.clone() };
    let verdicts = runner::run_all(&cases, &place, args.jobs)?;
    let count = |want: fn(&Verdict) -> bool| verdicts.iter().filter(|v| want(v)).count();
    let failed = count(|v| matches!(v, Verdict::Failed(_)));
    println!(
        "{} passed, {failed} failed, {} skipped",
        count(|v| matches!(v, Verdict::Passed)),
        count(|v| matches!(v, Verdict::Skipped(_)))
    );
    Ok(failed == 0)
}
