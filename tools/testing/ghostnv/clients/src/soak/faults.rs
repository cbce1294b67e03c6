// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The fault matrix: each thing that can break, at each place at which it can.
//!
//! How many requests the firmware gets from binding, from a client's life and from unbinding is
//! counted in a clean round first; then each of them has its reply lost, late, corrupt or an error.
//! Whatever happens must end in bounded time. If it ended with an error, it is the one that driver.rst
//! names, and the driver has said so; and once the fault is gone the next round works.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::io::Errno;

use super::card::{Ask, Card};
use super::{BOUND, Effort, JOB, Row, work};
use crate::uapi::Client;
use crate::uapi::abi::{DOMAIN_GART, DOMAIN_VRAM};

/// The phase in which a client comes and goes.
const LIFE: &str = "a client's life";

/// What the driver must make of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Get over it.
    GetOver,
    /// Notice it and say so. The firmware is fine.
    Notice,
    /// The same, and the firmware counts as dead.
    GiveUp,
    /// The same, unless what is left of the reply holds all that is read of it.
    GiveUpIfMissed,
}

/// What becomes of a reply.
struct Action {
    name: &'static str,
    /// In the fault script.
    script: &'static str,
    must: Must,
    /// What a call may fail with.
    errors: &'static [Errno],
}

const fn action(
    name: &'static str,
    script: &'static str,
    must: Must,
    errors: &'static [Errno],
) -> Action {
    Action { name, script, must, errors }
}

/// A reply that cannot be read is waited for in vain.
const MISSED: &[Errno] = &[Errno::TIMEDOUT, Errno::NODEV];
/// If it can be, but for what is missing at its end.
const CUT: &[Errno] = &[Errno::IO, Errno::TIMEDOUT, Errno::NODEV];

/// Once the firmware counts as dead, calls fail with `ENODEV`.
const ACTIONS: [Action; 7] = [
    action("late", "action='delay'\nms=150", Must::GetOver, &[]),
    action("busy", "action='status'\nstatus=3", Must::GetOver, &[]),
    action("lost", "action='swallow'", Must::GiveUp, MISSED),
    action("bad checksum", "action='checksum'", Must::GiveUp, MISSED),
    action("bad length", "action='length'", Must::GiveUpIfMissed, CUT),
    action("bad signature", "action='signature'", Must::GiveUp, MISSED),
    // NV_ERR_INSUFFICIENT_RESOURCES.
    action("refused", "action='status'\nstatus=0x1a", Must::Notice, &[Errno::NOSPC]),
];

impl Must {
    /// Whether the driver may have given up the firmware.
    fn is_deadly(self) -> bool {
        matches!(self, Self::GiveUp | Self::GiveUpIfMissed)
    }

    /// What is wrong about an end, if anything is.
    fn broken_by(self, end: &End) -> Option<&'static str> {
        match (self, end) {
            (Self::GetOver, End::Refused { .. }) => Some("not got over"),
            (Self::Notice | Self::GiveUp, End::Unharmed) => Some("not noticed"),
            _ => None,
        }
    }
}

/// A client's life has more interrupts than this.
const LOST: u64 = 8;

/// How a step ended.
#[derive(Debug)]
enum End {
    Unharmed,
    /// With an error, unless only the driver complained, and what it said.
    Refused {
        error: Option<anyhow::Error>,
        said: Vec<String>,
    },
}

impl End {
    /// The number of an error that is none of these.
    fn unlike(&self, errors: &[Errno]) -> Option<String> {
        let Self::Refused { error: Some(error), .. } = self else {
            return None;
        };
        let number = error.chain().find_map(|cause| {
            let io = cause.downcast_ref::<std::io::Error>().and_then(|e| e.raw_os_error());
            io.or_else(|| cause.downcast_ref::<Errno>().map(|e| e.raw_os_error()))
        });
        let known = |number| errors.iter().any(|e| e.raw_os_error() == number);
        (!number.is_some_and(known)).then(|| format!("ended with another error: {error:#}"))
    }
}

/// Which of the requests from 1 to `count` a sweep takes that takes one of `stride`: at least one of
/// them, if there are any. `salt` has another sweep take others.
fn chosen(count: u64, stride: u64, salt: usize) -> impl Iterator<Item = u64> {
    let first = 1 + salt as u64 % stride.min(count.max(1));
    (first..=count).step_by(usize::try_from(stride).unwrap_or(usize::MAX))
}

/// A sweep under way.
pub struct Sweep<'a> {
    card: &'a mut Card,
    effort: Effort,
}

impl<'a> Sweep<'a> {
    /// The card is not bound.
    pub fn new(card: &'a mut Card, effort: Effort) -> Self {
        Self { card, effort }
    }

    /// Everything; says whether nothing was wrong.
    pub fn run(mut self) -> anyhow::Result<bool> {
        let mut good = true;
        let counts = self.count()?;
        println!(
            "requests to the firmware: {} to bind, {} in a client's life, {} to unbind",
            counts[0], counts[1], counts[2]
        );
        type Step = fn(&mut Sweep<'_>) -> anyhow::Result<()>;
        let phases: [(&str, bool, Step); 3] = [
            ("binding", false, |s| Ok(s.card.bind()?)),
            (LIFE, true, |s| work::life(&s.card.node()?, JOB)),
            ("unbinding", true, |s| Ok(s.card.unbind()?)),
        ];
        for ((phase, bound, step), count) in phases.into_iter().zip(counts) {
            for (number, action) in ACTIONS.iter().enumerate() {
                let mut row = Row::new(format!("{phase}: {}", action.name));
                // Another offset for each action, so that few steps still see many places.
                for nth in chosen(count.into(), self.effort.stride, 2 * number) {
                    let script = format!("[[fault]]\nkind='rpc'\n{}\nnth={nth}\n", action.script);
                    let title = format!("{phase}, request {nth}, {}", action.name);
                    self.step(&mut row, &title, &script, bound, action, step)?;
                }
                good &= row.print();
            }
        }
        good &= self.stages()?;
        good &= self.registers()?;
        good &= self.interrupts()?;
        good &= self.page_faults()?;
        self.card.load("")?;
        Ok(good)
    }

    /// Requests in each phase of a round without faults.
    fn count(&mut self) -> anyhow::Result<[u32; 3]> {
        self.card.load("")?;
        // The first round does what is done once.
        for _ in 0..2 {
            self.healthy(true)?;
            self.healthy(false)?;
        }
        let mut marks = [self.card.ask(Ask::Requests)?; 4];
        self.healthy(true)?;
        marks[1] = self.card.ask(Ask::Requests)?;
        work::life(&self.card.node()?, JOB)?;
        marks[2] = self.card.ask(Ask::Requests)?;
        let objects = self.card.ask(Ask::Objects)?;
        self.healthy(false)?;
        marks[3] = self.card.ask(Ask::Requests)?;
        ensure!(self.card.ask(Ask::Left)? == 0, "of {objects} objects some were not freed");
        Ok([marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]])
    }

    /// Has the driver bound, or not, without a fault.
    fn healthy(&mut self, bound: bool) -> anyhow::Result<()> {
        if self.card.bound() == bound {
            return Ok(());
        }
        let done = if bound { self.card.bind() } else { self.card.unbind() };
        done.with_context(|| format!("without a fault: {:?}", self.card.complaints()))
    }

    /// One fault at one place.
    fn step(
        &mut self,
        row: &mut Row,
        title: &str,
        script: &str,
        bound: bool,
        action: &Action,
        step: fn(&mut Sweep<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.healthy(bound)?;
        // Somebody who has done nothing to deserve it.
        let other =
            if title.starts_with(LIFE) { Some(Client::open(&self.card.node()?)?) } else { None };
        let end = self.attempt(row, title, script, step)?;
        row.steps += 1;
        match &end {
            End::Unharmed => row.unharmed += 1,
            End::Refused { .. } => row.refused += 1,
        }
        if let Some(what) = action.must.broken_by(&end) {
            row.wrong.push(format!("{title}: {what}"));
        }
        if let Some(what) = end.unlike(action.errors) {
            row.wrong.push(format!("{title}: {what}"));
        }
        let given_up = match &end {
            End::Refused { said, .. } => said.iter().any(|line| line.contains("the GPU is lost")),
            End::Unharmed => false,
        };
        if let Some(other) = other.filter(|_| given_up) {
            self.lost(other).with_context(|| format!("after {title}"))?;
        }
        self.recover(action.must.is_deadly() || !bound)
            .with_context(|| format!("after {title}"))?;
        Ok(())
    }

    /// Loads a fault, does something, and sees how it ends.
    fn attempt(
        &mut self,
        row: &mut Row,
        title: &str,
        script: &str,
        step: impl FnOnce(&mut Sweep<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<End> {
        self.card.complaints();
        self.card.load(script)?;
        let start = Instant::now();
        let result = step(self);
        let time = start.elapsed();
        let said = self.card.complaints();
        let fired = self.card.ask(Ask::Fired)?;
        self.card.load("")?;
        row.longest = row.longest.max(time.as_secs_f64());
        if time > BOUND {
            row.wrong.push(format!("{title}: took {time:?}"));
        }
        if fired == 0 {
            row.wrong.push(format!("{title}: the fault did not fire"));
        }
        let end = match result {
            Ok(()) if said.is_empty() => End::Unharmed,
            Ok(()) => End::Refused { error: None, said },
            Err(error) => End::Refused { error: Some(error), said },
        };
        if let End::Refused { error, said } = &end {
            let error = error.as_ref().map_or("no error".to_owned(), |e| format!("{e:#}"));
            if said.is_empty() {
                row.wrong.push(format!("{title}: {error}, and no word about it"));
            }
            if self.effort.verbose {
                println!("  {title}: {error}, {:.1} s: {}", time.as_secs_f64(), said.join(" | "));
            }
        }
        Ok(end)
    }

    /// A driver that has given a GPU up gives nobody memory of it, and binds it after a reset only.
    fn lost(&mut self, other: Client) -> anyhow::Result<()> {
        const ENODEV: Option<i32> = Some(19);
        for domain in [DOMAIN_VRAM, DOMAIN_GART] {
            let errno = other.new_object(domain, 1 << 20).err().and_then(|e| e.raw_os_error());
            ensure!(errno == ENODEV, "GEM_NEW of a GPU that is lost: errno {errno:?}");
        }
        ensure!(Client::open(&self.card.node()?).is_err(), "a GPU that is lost has new clients");
        drop(other);
        self.card.unbind()?;
        ensure!(self.card.bind().is_err(), "bound without a reset");
        self.card.reset()?;
        Ok(self.card.bind()?)
    }

    /// Without the fault all works again. Says whether that took a reset.
    fn recover(&mut self, anew: bool) -> anyhow::Result<bool> {
        if self.card.bound() && anew {
            self.card.unbind().context("unbind")?;
        }
        self.card.complaints();
        let reset = !self.card.bound() && self.card.bind().is_err();
        if reset {
            // What the last boot has protected only a reset takes away.
            self.card.reset()?;
            let said = self.card.complaints();
            self.card.bind().with_context(|| format!("not even after a reset: {said:?}"))?;
        }
        work::life(&self.card.node()?, JOB).context("the next client")?;
        Ok(reset)
    }

    /// The firmware stops at a stage of its boot.
    fn stages(&mut self) -> anyhow::Result<bool> {
        let mut row = Row::new("boot stops at a stage");
        // The last is whether only a reset helps: what a stage has left behind.
        for (stage, said, resets) in [
            ("gfw", "GFW", true),
            ("fwsec", "FWSEC", false),
            ("booter", "booter_load", false),
            ("riscv", "RISC-V", false),
            ("init-done", "GSP_INIT_DONE", false),
            ("queue", "GSP_INIT_DONE", false),
            ("booter-unload", "booter_unload", true),
        ] {
            let unload = stage == "booter-unload";
            self.healthy(unload)?;
            let script = format!("[[fault]]\nkind='boot'\nstage='{stage}'\n");
            let end = self.attempt(&mut row, stage, &script, |s| {
                if stage == "gfw" {
                    // It runs when the board gets power, or is reset.
                    s.card.reset()?;
                }
                Ok(if unload { s.card.unbind() } else { s.card.bind() }?)
            })?;
            row.steps += 1;
            match end {
                End::Refused { said: lines, .. } if lines.iter().any(|l| l.contains(said)) => {
                    row.refused += 1;
                }
                End::Refused { said: lines, .. } => {
                    row.wrong.push(format!("{stage}: nobody named {said}: {}", lines.join(" | ")));
                }
                End::Unharmed => row.wrong.push(format!("{stage}: not noticed")),
            }
            let reset = self.recover(true).with_context(|| format!("after {stage}"))?;
            if reset != resets {
                let what = if reset { "only after a reset" } else { "without a reset" };
                row.wrong.push(format!("{stage}: bound again {what}"));
            }
        }
        Ok(row.print())
    }

    /// All registers read as ones from some access on: of binding, of a life, of unbinding.
    fn registers(&mut self) -> anyhow::Result<bool> {
        let mut row = Row::new("registers read as ones from the nth");
        let mut nth = 1;
        let mut through = false;
        while !through {
            self.healthy(false)?;
            let script = format!("[[fault]]\nkind='all-ones'\nnth={nth}\n");
            let title = format!("read {nth}");
            let mut all = false;
            let end = self.attempt(&mut row, &title, &script, |s| {
                s.card.bind()?;
                let _ = work::life(&s.card.node()?, JOB);
                all = s.card.ask(Ask::Fired)? == 0;
                if all {
                    // Past the last access: now they are ones from the next one on.
                    s.card.load("[[fault]]\nkind='all-ones'\n")?;
                }
                Ok(s.card.unbind()?)
            })?;
            row.steps += 1;
            match end {
                End::Refused { .. } => row.refused += 1,
                End::Unharmed => row.wrong.push(format!("{title}: not noticed")),
            }
            through = all;
            self.card.reset()?;
            self.recover(true).with_context(|| format!("after {title}"))?;
            nth += 1 + nth * self.effort.growth / 100;
        }
        Ok(row.print())
    }

    /// Interrupts get lost.
    fn interrupts(&mut self) -> anyhow::Result<bool> {
        let mut row = Row::new("all interrupts are lost");
        self.healthy(false)?;
        let script = "[[fault]]\nkind='drop-msi'\ncount=1000000\n";
        let end = self.attempt(&mut row, "binding", script, |s| {
            s.card.bind()?;
            Ok(s.card.unbind()?)
        })?;
        row.steps += 1;
        match end {
            End::Unharmed => row.unharmed += 1,
            End::Refused { error, said } => row.wrong.push(format!("{error:?}: {said:?}")),
        }
        self.recover(true)?;
        // A job whose interrupt is lost ends when somebody looks.
        let life = |s: &mut Sweep<'_>| work::life(&s.card.node()?, JOB);
        let mut lose = |row: &mut Row, title: &str, script: &str| -> anyhow::Result<()> {
            let end = self.attempt(row, title, script, life)?;
            row.steps += 1;
            match end {
                End::Unharmed => row.unharmed += 1,
                End::Refused { .. } => row.wrong.push(format!("{title}: {end:?}")),
            }
            self.recover(true)?;
            Ok(())
        };
        lose(&mut row, "a client's life", script)?;
        let good = row.print();
        let mut row = Row::new("one interrupt is lost");
        for nth in 1..=LOST {
            let script = format!("[[fault]]\nkind='drop-msi'\nnth={nth}\n");
            lose(&mut row, &format!("interrupt {nth}"), &script)?;
        }
        Ok(row.print() && good)
    }

    /// Pages fault that are mapped.
    fn page_faults(&mut self) -> anyhow::Result<bool> {
        let mut row = Row::new("a mapped page faults");
        for va in [0x1_0000_0000u64, 0x1_1000_0000, 0x1_2000_0000 + (1 << 20) - 4096] {
            let title = format!("{va:#x}");
            let script = format!("[[fault]]\nkind='mmu-fault'\nva={va}\n");
            self.healthy(true)?;
            let end =
                self.attempt(&mut row, &title, &script, |s| work::life(&s.card.node()?, JOB))?;
            row.steps += 1;
            match end {
                End::Refused { .. } => row.refused += 1,
                End::Unharmed => row.wrong.push(format!("{title}: not noticed")),
            }
            thread::sleep(Duration::from_millis(10));
            self.recover(false).with_context(|| format!("after {title}"))?;
        }
        Ok(row.print())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_at_least_one_and_with_stride_one_all() {
        for count in 1..40 {
            assert_eq!(chosen(count, 1, 5).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
            for salt in 0..20 {
                let some: Vec<u64> = chosen(count, 11, salt).collect();
                assert!(!some.is_empty() && some.iter().all(|n| (1..=count).contains(n)));
            }
        }
        assert_eq!(chosen(0, 1, 3).count(), 0);
        assert_ne!(chosen(31, 11, 0).next(), chosen(31, 11, 2).next());
    }

    #[test]
    fn ends_are_judged() {
        let refused = |said: &str| End::Refused { error: None, said: vec![said.to_owned()] };
        for (must, end, wrong) in [
            (Must::GetOver, End::Unharmed, false),
            (Must::GetOver, refused("any"), true),
            (Must::Notice, End::Unharmed, true),
            (Must::GiveUp, End::Unharmed, true),
            (Must::GiveUp, refused("any"), false),
            (Must::GiveUpIfMissed, End::Unharmed, false),
        ] {
            assert_eq!(must.broken_by(&end).is_some(), wrong, "{must:?}");
        }
    }

    #[test]
    fn errors_are_judged() {
        let error = |e: anyhow::Error| End::Refused { error: Some(e.context("x")), said: vec![] };
        let io = || std::io::Error::from(Errno::IO);
        for (end, wrong) in [
            (End::Unharmed, false),
            (error(io().into()), false),
            (error(Errno::IO.into()), false),
            (error(Errno::INVAL.into()), true),
            (error(anyhow::anyhow!("other bytes")), true),
        ] {
            assert_eq!(end.unlike(&[Errno::IO, Errno::NODEV]).is_some(), wrong, "{end:?}");
        }
    }
}
