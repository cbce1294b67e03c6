// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A well-behaved client in a process of its own, whose work must go on and stay right.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::seat::Seat;
use crate::uapi::Engine;

/// The bystander's life: verified copies until its standard input closes.
pub fn live(device: &Path, engine: Engine, limit: Duration) -> anyhow::Result<()> {
    let seat = Seat::new(device, engine)?;
    let closed = Arc::new(AtomicU64::new(0));
    let flag = Arc::clone(&closed);
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        flag.store(1, Ordering::Relaxed);
    });
    let mut count = 0u64;
    while closed.load(Ordering::Relaxed) == 0 {
        seat.good_copy(&seat.channel, limit).with_context(|| format!("copy {count}"))?;
        seat.intact().context("memory of the bystander")?;
        count += 1;
        writeln!(std::io::stdout(), "{count}")?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A running bystander, as its parent sees it.
pub struct Bystander {
    child: Child,
    copies: Arc<AtomicU64>,
}

impl Bystander {
    /// Starts this program again with the given arguments, which make it a bystander.
    pub fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the bystander")?;
        let output = child.stdout.take().context("the bystander has no output")?;
        let copies = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&copies);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(count) = line.parse() {
                    counter.store(count, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { child, copies })
    }

    /// How many copies it has made and checked.
    pub fn copies(&self) -> u64 {
        self.copies.load(Ordering::Relaxed)
    }

    /// Waits until it has made `more` copies; returns how many it made.
    pub fn advance(&mut self, more: u64, limit: Duration) -> anyhow::Result<u64> {
        let (from, start) = (self.copies(), Instant::now());
        loop {
            let made = self.copies() - from;
            if made >= more {
                return Ok(made);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended by itself: {status}");
            }
            if start.elapsed() > limit {
                bail!("it made {made} copies in {limit:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it end, and sees that it ends well.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the bystander failed: {status}");
        }
        Ok(self.copies())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
