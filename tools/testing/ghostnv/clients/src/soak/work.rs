// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What clients do meanwhile: one life from open to close, and load that never ends by itself.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::hostile::seat::{SIZE, Seat};
use crate::uapi::Engine;
use crate::uapi::push::Pushbuf;

/// Copies of a push of the load.
const COPIES: usize = 24;
/// Submissions that the load keeps under way.
const DEPTH: usize = 8;

/// A client's whole life: address space, two channels with objects, memory, a verified copy.
pub fn life(node: &Path, limit: Duration) -> anyhow::Result<()> {
    let seat = Seat::new(node, Engine::Copy)?;
    seat.good_copy(&seat.channel, limit)?;
    seat.intact()
}

/// Submits copies without end, several at a time; says "busy" when the first ones are under way.
pub fn load(node: &Path, engine: Engine) -> anyhow::Result<()> {
    let seat = Seat::new(node, engine)?;
    let copies = (0..COPIES)
        .fold(Pushbuf::new(), |push, _| push.copy(seat.src.va, seat.dst.va, SIZE as u32));
    let push = seat.stage(&copies.bytes())?;
    let mut under_way = VecDeque::new();
    for round in 0u64.. {
        let syncobj = seat.client.syncobj()?;
        seat.client.exec(&seat.channel, &[push], &syncobj).context("EXEC")?;
        under_way.push_back(syncobj);
        if under_way.len() == DEPTH {
            if round + 1 == DEPTH as u64 {
                writeln!(std::io::stdout(), "busy")?;
            }
            let oldest = under_way.pop_front().context("nothing under way")?;
            ensure!(seat.client.wait(&oldest, Duration::from_secs(60))?, "a job hangs");
            seat.client.destroy(&oldest)?;
        }
    }
    Ok(())
}

/// A process that runs [`load`].
pub struct Load(Child);

impl Load {
    /// Starts one and waits until it is busy.
    pub fn start(node: &Path, engine: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["load", "--engine", engine, "--node"])
            .arg(node)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a client")?;
        let output = child.stdout.take().context("the client has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let mut load = Self(child);
        if line != "busy\n" {
            let status = load.0.wait()?;
            bail!("a client ended before it was busy: {status} {line}");
        }
        Ok(load)
    }

    /// SIGKILL; returns when the kernel has taken all of it away.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.0.kill().context("SIGKILL")?;
        let status = self.0.wait()?;
        ensure!(status.code().is_none(), "the client had ended by itself: {status}");
        Ok(())
    }

    /// Waits for it to notice by itself that its device is gone.
    pub fn ends(mut self, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.0.try_wait()?.is_none() {
            ensure!(start.elapsed() < limit, "a client hangs {limit:?} after its device went");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
