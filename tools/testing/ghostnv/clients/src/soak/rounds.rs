// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rounds after which everything must be as before: binding and unbinding, Vulkan devices, clients
//! killed with work under way, the card taken away under load.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::card::{Ask, Card};
use super::leaks::{self, Figures, NOISE_KIB};
use super::work::{self, Load};
use super::{BOUND, Effort, JOB};
use crate::prng::Prng;

/// Vulkan devices that one process makes.
const DEVICES: u64 = 50;
/// Rounds before the first reading.
const WARM_UP: u64 = 3;
/// How long a client may take to notice that its device is gone: its job's deadline, and more.
const NOTICE: Duration = Duration::from_secs(30);
/// Pages of the kernel's caches, in KiB, that removals leave partly in use; 60 of them leave none for
/// good. Objects have the noise of other rounds.
const REMOVAL_PAGES_KIB: i64 = 512;
/// For how many milliseconds a card is out of its slot.
const OUT: u64 = 1500;

/// Runs rounds; compares what is held after the first few, after half of the others, and at the end.
fn rounds(
    card: &mut Card,
    effort: Effort,
    what: &str,
    pages: i64,
    mut round: impl FnMut(&mut Card, u64) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let half = effort.count.div_ceil(2).max(1);
    let mut readings = Vec::new();
    let mut turn = 0;
    for rounds in [WARM_UP, half, half] {
        for _ in 0..rounds {
            round(card, turn).with_context(|| {
                format!("{what}, round {turn}; the driver said {:?}", card.complaints())
            })?;
            turn += 1;
            if effort.verbose || turn % 25 == 0 {
                println!("  {what}: {turn} of {}", WARM_UP + 2 * half);
            }
        }
        readings.push(Figures::take(card)?);
    }
    let readings: &[Figures; 3] = readings.as_slice().try_into().context("readings")?;
    let moved = leaks::check(readings.each_ref(), pages).with_context(|| what.to_owned())?;
    let left = card.ask(Ask::Left)?;
    ensure!(left == 0, "{what}: {left} objects were left to the firmware when it was stopped");
    println!("{what}: {} rounds, {:.1} s: {moved}", 2 * half, start.elapsed().as_secs_f64());
    Ok(true)
}

/// Binds, works and unbinds.
pub fn bind(card: &mut Card, effort: Effort) -> anyhow::Result<bool> {
    rounds(card, effort, "bind and unbind", NOISE_KIB, |card, _| {
        card.bind().context("bind")?;
        work::life(&card.node()?, JOB)?;
        card.unbind().context("unbind")?;
        silent(card)
    })
}

/// Creates and destroys Vulkan devices, as many as there are to be rounds.
pub fn devices(card: &mut Card, effort: Effort) -> anyhow::Result<bool> {
    let program = std::env::current_exe()?.with_file_name("vk-cycle");
    let effort = Effort { count: effort.count.div_ceil(DEVICES), ..effort };
    card.bind().context("bind")?;
    let what = format!("{DEVICES} Vulkan devices");
    let good = rounds(card, effort, &what, NOISE_KIB, |card, _| {
        let count = DEVICES.to_string();
        let done = Command::new(&program).args(["--timeout", "300", "--count", &count]).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        silent(card)
    })?;
    card.unbind().context("unbind")?;
    Ok(good)
}

/// The driver has nothing to complain about.
fn silent(card: &mut Card) -> anyhow::Result<()> {
    let said = card.complaints();
    ensure!(said.is_empty(), "{said:?}");
    Ok(())
}

/// Kills clients with work under way.
pub fn kill(card: &mut Card, effort: Effort) -> anyhow::Result<bool> {
    card.bind().context("bind")?;
    let mut random = Prng::new(effort.count);
    let good = rounds(card, effort, "SIGKILL of a busy client", NOISE_KIB, |card, turn| {
        let node = card.node()?;
        let load = Load::start(&node, if turn % 2 == 0 { "copy" } else { "graphics" })?;
        thread::sleep(Duration::from_millis(u64::from(random.bytes(1)[0])));
        load.kill()?;
        if turn % 10 == 0 {
            work::life(&node, JOB).context("the next client")?;
        }
        Ok(())
    })?;
    silent(card)?;
    card.unbind().context("unbind")?;
    Ok(good)
}

/// Takes the card away from busy clients: the driver is unbound, the slot is emptied by the
/// kernel, and, what nobody is asked about, by hand.
pub fn remove(card: &mut Card, effort: Effort) -> anyhow::Result<bool> {
    card.bind().context("bind")?;
    let good = rounds(card, effort, "removal under load", REMOVAL_PAGES_KIB, |card, turn| {
        let node = card.node()?;
        let loads = [Load::start(&node, "copy")?, Load::start(&node, "graphics")?];
        let start = Instant::now();
        match turn % 3 {
            0 => card.unbind().context("unbind")?,
            1 => card.remove()?,
            _ => {
                card.pull(OUT)?;
                // The clients go on for a moment, as nobody knows it yet.
                thread::sleep(Duration::from_millis(100));
                card.remove()?;
            }
        }
        let time = start.elapsed();
        ensure!(time < BOUND, "it took {time:?}");
        for load in loads {
            load.ends(NOTICE)?;
        }
        match turn % 3 {
            0 => card.bind().context("bind")?,
            _ => card.rescan(BOUND)?,
        }
        if turn % 3 != 2 {
            silent(card)?;
        }
        card.complaints();
        work::life(&card.node()?, JOB).context("the next client")
    })?;
    card.unbind().context("unbind")?;
    Ok(good)
}
