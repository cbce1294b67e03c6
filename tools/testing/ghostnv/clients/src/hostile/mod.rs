// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Submissions that no well-behaved application makes, and what must come of them.
//!
//! The contract of the uAPI: a job ends in bounded time whatever its pushbuffer holds. If it
//! could not be executed its channel is dead: the fence carries an error, and later EXECs on the
//! channel say ENODEV. The client's other channels and all other clients go on.

pub mod bystander;
mod scenarios;
pub mod seat;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::uapi::{Engine, FenceStatus};
use bystander::Bystander;
pub use scenarios::{Expect, SCENARIOS, Scenario};
use seat::Seat;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device file.
    pub device: PathBuf,
    /// Start of the random sequences.
    pub seed: u64,
    /// A job must end within this.
    pub limit: Duration,
}

/// What became of one scenario.
#[derive(Debug)]
pub struct Outcome {
    /// What EXEC said.
    submitted: io::Result<()>,
    /// Time until the fence signalled; `None` when it did not in time.
    ended: Option<Duration>,
    /// The fence's state at the end.
    status: Option<FenceStatus>,
    /// What a good EXEC on the same channel said afterwards.
    later: io::Result<()>,
}

impl Outcome {
    fn died(&self) -> bool {
        matches!(self.status, Some(FenceStatus::Failed(_)))
            && self.later.as_ref().is_err_and(crate::uapi::is_dead)
    }

    /// It ended because it had taken too long, and not because anybody had seen what was wrong.
    fn ran_out_of_time(&self) -> bool {
        let time = rustix::io::Errno::TIME.raw_os_error();
        matches!(&self.status, Some(FenceStatus::Failed(e)) if e.raw_os_error() == Some(time))
    }

    fn finished(&self) -> bool {
        matches!(self.status, Some(FenceStatus::Signalled)) && self.later.is_ok()
    }

    /// Judges it. Only a job that `lingers` may take all the time that jobs have.
    fn check(&self, expect: Expect, lingers: bool) -> anyhow::Result<()> {
        if let Expect::Refused = expect {
            ensure!(self.submitted.is_err(), "EXEC accepted it");
            ensure!(self.later.is_ok(), "the channel is dead though EXEC refused the job");
            return Ok(());
        }
        if let Err(error) = &self.submitted {
            anyhow::bail!("EXEC refused it: {error}");
        }
        ensure!(self.ended.is_some(), "the job did not end in time");
        if expect == Expect::Dies {
            ensure!(lingers || !self.ran_out_of_time(), "nobody saw what is wrong with the job");
        }
        match expect {
            Expect::Finishes => ensure!(self.finished(), "the job should have finished"),
            Expect::Dies => ensure!(self.died(), "the channel should have died, with an error"),
            Expect::Ends | Expect::Refused => {
                ensure!(self.finished() || self.died(), "neither finished nor dead");
            }
        }
        Ok(())
    }

    /// The facts, for people.
    fn text(&self) -> String {
        let later = match &self.later {
            Ok(()) => "the channel works on".to_owned(),
            Err(error) => format!("later EXEC: {error}"),
        };
        let fence = match (&self.submitted, &self.ended, &self.status) {
            (Err(error), ..) => format!("EXEC: {error}"),
            (_, None, _) => "the fence did not signal".to_owned(),
            (_, Some(time), Some(FenceStatus::Failed(error))) => {
                format!("fence failed after {:.2} s: {error}", time.as_secs_f64())
            }
            (_, Some(time), _) => format!("fence signalled after {:.2} s", time.as_secs_f64()),
        };
        format!("{fence}; {later}")
    }
}

/// Runs one scenario on one engine beside a bystander; returns the facts as text.
pub fn run(
    scenario: &Scenario,
    engine: Engine,
    options: &Options,
    bystander: &mut Bystander,
) -> anyhow::Result<String> {
    let seat = Seat::new(&options.device, engine)?;
    seat.good_copy(&seat.other, options.limit).context("a good copy before")?;
    let before = bystander.copies();
    let outcome = submit(scenario, &seat, options)?;
    let during = bystander.copies() - before;
    outcome.check(scenario.expect, scenario.lingers).with_context(|| outcome.text())?;
    if scenario.lingers {
        ensure!(during > 0, "the bystander stood still meanwhile; {}", outcome.text());
    }
    let mut rest = || -> anyhow::Result<u64> {
        seat.good_copy(&seat.other, options.limit).context("the client's other channel")?;
        seat.intact().context("memory of the client")?;
        bystander.advance(3, options.limit).context("the bystander")
    };
    let after = rest().with_context(|| format!("afterwards; {}", outcome.text()))?;
    Ok(format!("{}; bystander made {during} copies meanwhile, {after} after", outcome.text()))
}

fn submit(scenario: &Scenario, seat: &Seat, options: &Options) -> anyhow::Result<Outcome> {
    let pushes = (scenario.prepare)(seat, options)?;
    let syncobj = seat.client.syncobj()?;
    let start = Instant::now();
    let submitted = seat.client.exec(&seat.channel, &pushes, &syncobj);
    let (mut ended, mut status) = (None, None);
    if submitted.is_ok() && seat.client.wait(&syncobj, options.limit)? {
        ended = Some(start.elapsed());
        status = Some(seat.client.status(&syncobj)?);
    }
    // A job that has not ended holds up whatever follows it on the channel.
    let later = match (&submitted, &ended) {
        (Ok(()), None) => Err(io::ErrorKind::TimedOut.into()),
        _ => seat.empty_exec(),
    };
    Ok(Outcome { submitted, ended, status, later })
}
