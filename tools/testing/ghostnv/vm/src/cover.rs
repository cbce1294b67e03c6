// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How much of a module of the kernel ran, file by file, from the addresses that ran and the module's
//! disassembly. A file is the path of a Rust function without its type and name; modules that are
//! within a file count as the file does.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;

/// How much of a module ran.
#[derive(Parser)]
#[command(name = "vmcover", version)]
struct Args {
    /// Where the module's code was in the guest.
    #[arg(long, value_parser = hex)]
    base: u64,
    /// Addresses that ran, one a line.
    #[arg(long)]
    ran: PathBuf,
    /// The module as llvm-objdump shows it.
    #[arg(long)]
    text: PathBuf,
    /// Name the functions that were not entered, too.
    #[arg(long)]
    list: bool,
}

fn hex(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
}

/// A function, and its instructions' offsets.
#[derive(Debug, PartialEq)]
struct Function {
    name: String,
    offsets: Vec<u64>,
}

/// What there is, and what of it ran.
#[derive(Debug, Default, PartialEq)]
struct Sum {
    functions: [usize; 2],
    instructions: [usize; 2],
}

/// The functions of a disassembly.
fn functions(text: &str) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    for line in text.lines() {
        if let Some((_, name)) = line.split_once(" <").filter(|_| line.ends_with(">:")) {
            let name = name.trim_end_matches(">:").to_owned();
            functions.push(Function { name, offsets: Vec::new() });
        } else if let Some((offset, code)) = line.split_once(':') {
            // What fills the gaps between functions never runs.
            let filler = code.trim_start().starts_with("nop") || code.contains("int3");
            if let (Ok(offset), Some(function), false) =
                (hex(offset.trim()), functions.last_mut(), filler)
            {
                function.offsets.push(offset);
            }
        }
    }
    functions
}

/// The file that a function of the driver is in; nothing for what is not the driver's, or is a test.
fn file(name: &str) -> Option<String> {
    let start = name.find("ghostnv::").filter(|_| !name.contains("::tests::"))?;
    // Generic functions of other crates, made for a type of the driver, start with another name.
    if name[..start].contains("::") {
        return None;
    }
    let path = &name[start + "ghostnv::".len()..];
    let parts: Vec<&str> = path.split("::").collect();
    let is_module = |part: &&&str| {
        part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    let modules: Vec<&str> =
        parts[..parts.len() - 1].iter().take_while(is_module).copied().collect();
    let modules = &modules[..modules.len().min(2)];
    Some(if modules.is_empty() { "ghostnv".to_owned() } else { modules.join("/") })
}

/// Sums by file, and the functions that were not entered.
fn sums(functions: &[Function], ran: &HashSet<u64>) -> (BTreeMap<String, Sum>, Vec<String>) {
    let mut files = BTreeMap::<String, Sum>::new();
    let mut missed = Vec::new();
    for function in functions {
        let Some(file) = file(&function.name) else { continue };
        let hit = function.offsets.iter().filter(|offset| ran.contains(offset)).count();
        let sum = files.entry(file).or_default();
        sum.functions[0] += 1;
        sum.functions[1] += usize::from(hit != 0);
        sum.instructions[0] += function.offsets.len();
        sum.instructions[1] += hit;
        if hit == 0 {
            missed.push(function.name.clone());
        }
    }
    (files, missed)
}

fn line(name: &str, sum: &Sum) -> String {
    let percent = |[all, some]: [usize; 2]| some * 100 / all.max(1);
    format!(
        "{name:<24} {:>5} of {:>5} functions {:>4} %   {:>7} of {:>7} instructions {:>4} %",
        sum.functions[1],
        sum.functions[0],
        percent(sum.functions),
        sum.instructions[1],
        sum.instructions[0],
        percent(sum.instructions),
    )
}

fn run(args: &Args) -> anyhow::Result<()> {
    let read =
        |path: &PathBuf| fs::read_to_string(path).with_context(|| path.display().to_string());
    let ran = read(&args.ran)?
        .lines()
        .filter_map(|at| hex(at).ok()?.checked_sub(args.base))
        .collect::<HashSet<_>>();
    let functions = functions(&read(&args.text)?);
    let (files, missed) = sums(&functions, &ran);
    let mut all = Sum::default();
    for (name, sum) in &files {
        println!("{}", line(name, sum));
        for i in 0..2 {
            all.functions[i] += sum.functions[i];
            all.instructions[i] += sum.instructions[i];
        }
    }
    ensure!(all.instructions[1] > 0, "nothing of the module ran: is the base right?");
    println!("{}", line("all", &all));
    if args.list {
        missed.iter().for_each(|name| println!("not entered: {name}"));
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmcover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000000010 <ghostnv::gsp::rpc::make>:\n      10:      \tpushq\t%rbp\n\
              11:      \tretq\n      12:      \tint3\n\n0000000000000020 <memcpy>:\n      20:\tretq\n\
        0000000000000030 <<ghostnv::gsp::rpc::Link>::call>:\n      30:\tud2\n";

    #[test]
    fn instructions_belong_to_functions() {
        let functions = functions(TEXT);
        assert_eq!(functions.len(), 3);
        assert_eq!(functions[0].offsets, [0x10, 0x11]);
        let (files, missed) = sums(&functions, &HashSet::from([0x10, 0x20]));
        let sum = Sum { functions: [2, 1], instructions: [3, 1] };
        assert_eq!(files, BTreeMap::from([("gsp/rpc".to_owned(), sum)]));
        assert_eq!(missed, ["<ghostnv::gsp::rpc::Link>::call"]);
    }

    #[test]
    fn names_tell_the_file() {
        let cases = [
            ("ghostnv::vm::bind::Maps::prepare", Some("vm/bind")),
            ("<ghostnv::mem::bar2::Bar2>::show", Some("mem/bar2")),
            ("<ghostnv::gsp::abi::r570_144::boot::X as Foo>::y", Some("gsp/abi")),
            ("<ghostnv::vm::Vm>::new", Some("vm")),
            ("ghostnv::gsp::rpc::tests::a_test", None),
            ("kernel::sync::Arc<ghostnv::vm::Vm>::drop", None),
        ];
        for (name, expected) in cases {
            assert_eq!(file(name).as_deref(), expected, "{name}");
        }
    }
}
