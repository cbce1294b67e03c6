// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs cases, a few at a time, and prints each result when it is there.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;

use super::table::Case;

/// Exit status of a test that says it cannot run here.
const SKIPPED: i32 = 77;
/// Exit status of scripts/vm at its time limit.
const TIMED_OUT: i32 = 124;
/// Lines of a failed test's log that are shown.
const SHOWN: usize = 30;

/// The emulated GPU's report, in a run's directory.
const REPORT: &str = "report.json";

/// What is read of the emulated GPU's report.
#[derive(Deserialize)]
struct Report {
    /// How often each fault of the script fired.
    faults_fired: Vec<u64>,
}

/// Where things are.
pub struct Place {
    /// scripts/vm.
    pub vm: PathBuf,
    /// Test programs, for the guest.
    pub programs: PathBuf,
    /// Logs.
    pub logs: PathBuf,
}

/// A test's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It says it cannot run here, and why.
    Skipped(String),
    /// It failed, and how.
    Failed(String),
}

/// Runs all cases, at most `jobs` at a time; prints TAP.
pub fn run_all(cases: &[Case], place: &Place, jobs: usize) -> anyhow::Result<Vec<Verdict>> {
    fs::create_dir_all(&place.logs)
        .with_context(|| format!("cannot create {}", place.logs.display()))?;
    println!("TAP version 13\n1..{}", cases.len());
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    let start = Instant::now();
                    let verdict = run_one(case, place)
                        .unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
                    if let Ok(mut list) = verdicts.lock() {
                        print(index + 1, case, &verdict, start, place);
                        list.push(verdict);
                    }
                }
            });
        }
    });
    verdicts.into_inner().ok().context("a worker failed")
}

fn log_path(case: &Case, place: &Place) -> PathBuf {
    place.logs.join(format!("{}.log", case.name.replace('/', "-")))
}

fn run_one(case: &Case, place: &Place) -> anyhow::Result<Verdict> {
    let path = log_path(case, place);
    let mut log =
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut command = Command::new(&place.vm);
    let kept = path.with_extension("run");
    if let Some(faults) = &case.fault {
        let script = path.with_extension("fault.toml");
        fs::write(&script, faults).with_context(|| format!("write {}", script.display()))?;
        let _ = fs::remove_file(kept.join(REPORT));
        command.arg("--fault").arg(script).env("GHOSTNV_RUN_DIR", &kept);
    }
    command
        .args(["--driver", &case.driver, "--chip", &case.chip, "--strict"])
        .args(["--timeout", &case.timeout.to_string()])
        .arg("--share")
        .arg(&place.programs)
        .args(&case.options)
        .args(["--", "bash", "-c", &case.script])
        .env("GHOSTNV_QUIET", "1");
    writeln!(log, "{command:?}")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("cannot run {}", place.vm.display()))?;
    let text = || String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
    Ok(match status.code() {
        Some(0) if case.fault.is_some() => all_fired(&fs::read_to_string(kept.join(REPORT))?)?,
        Some(0) => Verdict::Passed,
        Some(SKIPPED) => Verdict::Skipped(reason(&text())),
        Some(TIMED_OUT) => Verdict::Failed(format!("no end after {} s", case.timeout)),
        Some(code) => Verdict::Failed(format!("exit status {code}")),
        None => Verdict::Failed("killed".into()),
    })
}

/// A test of faults that did not happen shows nothing.
fn all_fired(report: &str) -> anyhow::Result<Verdict> {
    let report: Report = serde_json::from_str(report).context("the model's report")?;
    let silent = report.faults_fired.iter().position(|fired| *fired == 0);
    Ok(match silent {
        None => Verdict::Passed,
        Some(n) => Verdict::Failed(format!("fault {} of the script did not fire", n + 1)),
    })
}

/// Why a test was skipped: its last line that says so.
fn reason(log: &str) -> String {
    let line = log.lines().rev().find_map(|l| Some(l.split_once("skipped: ")?.1));
    line.unwrap_or("no reason given").trim().to_owned()
}

fn print(number: usize, case: &Case, verdict: &Verdict, start: Instant, place: &Place) {
    let seconds = start.elapsed().as_secs_f64();
    match verdict {
        Verdict::Passed => println!("ok {number} - {} # {seconds:.1} s", case.name),
        Verdict::Skipped(why) => println!("ok {number} - {} # SKIP {why}", case.name),
        Verdict::Failed(how) => {
            let path = log_path(case, place);
            println!("not ok {number} - {} # {how}, {seconds:.1} s", case.name);
            let log = fs::read(&path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().skip(1).collect();
            for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                println!("# {line}");
            }
            println!("# log: {}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, script: &str) -> Case {
        Case {
            name: name.into(),
            about: String::new(),
            driver: "none".into(),
            chip: "ga102".into(),
            options: Vec::new(),
            timeout: 1,
            fault: None,
            script: script.into(),
        }
    }

    #[test]
    fn every_fault_must_fire() {
        let verdict = |fired: &str| all_fired(&format!("{{\"faults_fired\": {fired}}}")).unwrap();
        assert_eq!(verdict("[1, 3]"), Verdict::Passed);
        assert_eq!(verdict("[1, 0]"), Verdict::Failed("fault 2 of the script did not fire".into()));
        assert!(all_fired("{}").is_err());
    }

    #[test]
    fn exit_statuses_become_verdicts() {
        let logs = std::env::temp_dir().join(format!("vmtest-{}", std::process::id()));
        fs::create_dir_all(&logs).unwrap();
        // A stand-in for scripts/vm that runs the script here.
        let vm = logs.join("vm");
        fs::write(&vm, "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n")
            .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&vm, mode).unwrap();
        let place = Place { vm, programs: logs.clone(), logs: logs.clone() };
        for (script, verdict) in [
            ("true", Verdict::Passed),
            ("echo 'x: skipped: no shaders'; exit 77", Verdict::Skipped("no shaders".into())),
            ("exit 3", Verdict::Failed("exit status 3".into())),
            ("exit 124", Verdict::Failed("no end after 1 s".into())),
        ] {
            assert_eq!(run_one(&case("a/b", script), &place).unwrap(), verdict, "{script}");
        }
        let cases = [case("a/1", "exit 1"), case("a/2", "true"), case("a/3", "true")];
        let verdicts = run_all(&cases, &place, 2).unwrap();
        assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Passed).count(), 2);
        assert_eq!(verdicts.len(), 3);
        fs::remove_dir_all(&logs).unwrap();
    }
}
