// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Host: channels, GPFIFO, PBDMA and runlists.
//!
//! | file | what |
//! |---|---|
//! | `runlist` | whose turn it is |
//! | `channel` | one channel's state and a slice of its work |
//! | `fetch` | what a PBDMA reads, and how far ahead |
//! | `userd`, `gpfifo`, `push` | the three things it reads, decoded |
//! | `methods`, `semaphore`, `memop` | methods below 0x100, which Host executes |
//! | `error` | why a channel stops |
//!
//! Nothing here waits: a channel gets a slice of work, and what is left stays in its state.

mod channel;
mod error;
mod fetch;
mod gpfifo;
mod memop;
mod methods;
mod push;
mod runlist;
mod semaphore;
#[cfg(test)]
mod tests;
mod userd;

use std::collections::BTreeMap;
use std::ops::Bound;

use thiserror::Error;

use crate::chip::Chip;
use crate::env::Env;
use crate::env::mem::Phys;
use crate::env::trace::Kind;
use crate::intr::Intr;
use crate::mmu::{Mmu, MmuFault, VasId};
use crate::timer::Timer;
use channel::{Channel, Slice};
use error::Stop;
use runlist::Runlist;

/// What RM says about a new channel.
#[derive(Debug, Clone)]
pub struct ChannelSpec {
    /// Channel id, chip-wide.
    pub chid: u32,
    /// RM engine type of the first engine on its runlist.
    pub rm_type: u32,
    /// Runlist.
    pub runlist: u32,
    /// Instance block.
    pub inst: Phys,
    /// USERD (512 bytes).
    pub userd: Phys,
    /// GPFIFO ring, GPU virtual address.
    pub gpfifo: u64,
    /// Its entries.
    pub entries: u32,
    /// Address space.
    pub vas: VasId,
    /// May use privileged host methods.
    pub privileged: bool,
}

/// Why a channel call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostError {
    /// The id is taken.
    #[error("channel id in use")]
    InUse,
    /// No such channel.
    #[error("no such channel")]
    NoChannel,
    /// A parameter is out of range.
    #[error("bad channel parameter")]
    Invalid,
}

/// A channel that died, for RM to report.
#[derive(Debug, Clone)]
pub struct ChannelError {
    /// Channel.
    pub chid: u32,
    /// RM engine type.
    pub rm_type: u32,
    /// Runlist.
    pub runlist: u32,
    /// ROBUST_CHANNEL error number (`nverror.h`): 13 GR, 31 MMU fault, 32 PBDMA, 39+ CE.
    pub except: u32,
    /// The fault, if it was one.
    pub fault: Option<MmuFault>,
    /// One line for the log.
    pub text: String,
}

/// What the engines may use while they run.
pub struct Ctx<'a> {
    /// Surroundings.
    pub env: &'a mut Env,
    /// Page tables.
    pub mmu: &'a mut Mmu,
    /// Interrupt tree.
    pub intr: &'a mut Intr,
    /// Time stamps.
    pub timer: &'a Timer,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is pending.
    Idle,
    /// A channel waits for a semaphore; look again soon.
    Blocked,
    /// The budget ran out.
    Busy,
}

/// Channel ids have 12 bits.
const MOST_CHANNELS: u32 = 1 << 12;

/// A channel's work per turn, in pushbuffer words (see [`channel`]).
const SLICE_WORDS: u64 = 8192;

/// Most errors kept for RM; a channel adds at most one in its life.
const MOST_ERRORS: usize = MOST_CHANNELS as usize;

/// All channels and runlists.
pub struct Host {
    /// The chip's table.
    pub chip: &'static Chip,
    channels: BTreeMap<u32, Channel>,
    runlists: BTreeMap<u32, Runlist>,
    /// The runlist that had the last turn.
    last: u32,
    errors: Vec<ChannelError>,
}

impl Host {
    /// No channels.
    pub fn new(chip: &'static Chip) -> Self {
        let (channels, runlists) = (BTreeMap::new(), BTreeMap::new());
        Self { chip, channels, runlists, last: u32::MAX, errors: Vec::new() }
    }

    /// Creates a channel; it runs once scheduled.
    ///
    /// A USERD that is not memory is a violation now and stops the channel later.
    pub fn create(&mut self, env: &mut Env, spec: ChannelSpec) -> Result<(), HostError> {
        let on_runlist = |e: &crate::chip::Engine| e.runlist == spec.runlist;
        let valid = spec.chid < MOST_CHANNELS
            && self.chip.engine(spec.rm_type).is_some_and(on_runlist)
            && spec.entries.is_power_of_two()
            && spec.gpfifo % gpfifo::ENTRY_BYTES == 0
            && spec.userd.addr % userd::SIZE == 0;
        if !valid {
            return Err(HostError::Invalid);
        }
        if self.channels.contains_key(&spec.chid) {
            return Err(HostError::InUse);
        }
        if let Err(e) = env.mem.check(spec.userd, userd::SIZE as usize, true) {
            env.violation("userd-range", format!("channel {}: {e}", spec.chid));
        }
        self.runlists.entry(spec.runlist).or_default();
        self.channels.insert(spec.chid, Channel::new(self.chip, spec));
        Ok(())
    }

    /// Enables or disables scheduling of a channel (NVA06F_CTRL_CMD_GPFIFO_SCHEDULE).
    pub fn schedule(&mut self, chid: u32, enable: bool) -> Result<(), HostError> {
        let channel = self.channels.get_mut(&chid).ok_or(HostError::NoChannel)?;
        channel.scheduled = enable;
        if let Some(runlist) = self.runlists.get_mut(&channel.spec.runlist) {
            if enable && !channel.dead {
                // What was left when scheduling stopped goes on.
                runlist.add(chid);
            } else {
                runlist.remove(chid);
            }
        }
        Ok(())
    }

    /// An engine object of `class` was allocated on the channel.
    pub fn attach(&mut self, chid: u32, class: u32) -> Result<(), HostError> {
        let channel = self.channels.get_mut(&chid).ok_or(HostError::NoChannel)?;
        if !channel.objects.contains(&class) {
            channel.objects.push(class);
        }
        Ok(())
    }

    /// The engine object went away.
    pub fn detach(&mut self, chid: u32, class: u32) {
        if let Some(channel) = self.channels.get_mut(&chid) {
            channel.objects.retain(|c| *c != class);
        }
    }

    /// Destroys a channel; work in flight is dropped.
    pub fn destroy(&mut self, _env: &mut Env, chid: u32) -> Result<(), HostError> {
        let channel = self.channels.remove(&chid).ok_or(HostError::NoChannel)?;
        if let Some(runlist) = self.runlists.get_mut(&channel.spec.runlist) {
            runlist.remove(chid);
        }
        Ok(())
    }

    /// Destroys everything (GSP unload, reset).
    pub fn reset(&mut self) {
        self.channels.clear();
        self.runlists.clear();
        self.errors.clear();
    }

    /// The work-submit token of a channel.
    pub fn token(&self, runlist: u32, chid: u32) -> u32 {
        runlist << 16 | chid
    }

    /// A doorbell was rung. Hardware ignores a token that means nothing.
    pub fn doorbell(&mut self, env: &mut Env, token: u32) {
        let now = if env.trace.is_on() { env.clock.ns() } else { 0 };
        env.trace.record(now, Kind::Doorbell, 0, token, 0, 0);
        let (runlist, chid) = (token >> 16 & 0x7f, token & 0xfff);
        let channel = self
            .channels
            .get_mut(&chid)
            .filter(|c| token & !0x7f_0fff == 0 && c.spec.runlist == runlist);
        let Some(channel) = channel else {
            env.judge.note("doorbell-bad-token");
            return;
        };
        if channel.dead {
            // The driver may not have heard of the error yet.
            env.judge.note("doorbell-dead-channel");
            return;
        }
        channel.fetch.pending = true;
        if !channel.scheduled {
            env.violation("doorbell-unscheduled", format!("channel {chid}"));
            return;
        }
        self.runlists.entry(runlist).or_default().add(chid);
    }

    /// Runs for at most about `budget` nanoseconds of host time, and a turn: the next call goes on
    /// with the next runlist.
    pub fn step(&mut self, ctx: &mut Ctx<'_>, budget: u64) -> Step {
        let end = ctx.env.clock.ns().saturating_add(budget);
        loop {
            // A round asks every runnable channel of every runlist once.
            let mut worked = false;
            let mut blocked = false;
            let rounds = self.runlists.values().map(Runlist::len).max().unwrap_or(0);
            for _ in 0..rounds * self.runlists.len() {
                let Some(id) = self.next_runlist() else { break };
                match self.turn(ctx, id) {
                    Turn::Nobody => continue,
                    Turn::Blocked => blocked = true,
                    Turn::Worked => worked = true,
                }
                if ctx.env.clock.ns() >= end {
                    let left = self.runlists.values().any(|r| !r.is_empty());
                    return if left { Step::Busy } else { Step::Idle };
                }
            }
            if !worked {
                return if blocked { Step::Blocked } else { Step::Idle };
            }
        }
    }

    /// Runlists take turns, too, from one call of [`Self::step`] to the next.
    fn next_runlist(&mut self) -> Option<u32> {
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let next = self.runlists.range(after).next().or_else(|| self.runlists.iter().next());
        self.last = *next?.0;
        Some(self.last)
    }

    /// Gives the next channel of a runlist its turn.
    fn turn(&mut self, ctx: &mut Ctx<'_>, id: u32) -> Turn {
        let Some(runlist) = self.runlists.get_mut(&id) else { return Turn::Nobody };
        let runs = |chid| self.channels.get(&chid).is_some_and(|c| c.scheduled);
        if runlist.is_kept(ctx.env.clock.ns(), runs) {
            return Turn::Blocked;
        }
        let Some(chid) = runlist.take() else { return Turn::Nobody };
        let Some(channel) = self.channels.get_mut(&chid) else { return Turn::Nobody };
        let injected = ctx.env.faults.total_fired();
        match channel.run(ctx, self.chip, SLICE_WORDS) {
            Slice::Idle => Turn::Worked,
            Slice::More => {
                runlist.add(chid);
                Turn::Worked
            }
            Slice::Blocked => {
                runlist.add(chid);
                if let Some(ms) = ctx.env.faults.hog() {
                    runlist.keep(chid, ms);
                }
                Turn::Blocked
            }
            Slice::Stopped(stop) => {
                channel.dead = true;
                let injected = ctx.env.faults.total_fired() > injected && stop.fault.is_some();
                let error = channel_error(&channel.spec, stop, ctx.env, injected);
                if self.errors.len() < MOST_ERRORS {
                    self.errors.push(error);
                }
                Turn::Worked
            }
        }
    }

    /// Channels that died since the last call.
    pub fn take_errors(&mut self) -> Vec<ChannelError> {
        std::mem::take(&mut self.errors)
    }
}

/// What came of a turn.
enum Turn {
    Nobody,
    Blocked,
    Worked,
}

/// Tells judge and trace of a channel's end, unless the fault was injected.
fn channel_error(spec: &ChannelSpec, stop: Stop, env: &mut Env, injected: bool) -> ChannelError {
    let text = format!("channel {}: {}", spec.chid, stop.text);
    if let Some(fault) = &stop.fault {
        let now = env.clock.ns();
        env.trace.record(now, Kind::Fault, 0, spec.chid, fault.va, fault.kind as u64);
    }
    if !injected {
        env.violation(stop.rule, text.clone());
    }
    ChannelError {
        chid: spec.chid,
        rm_type: spec.rm_type,
        runlist: spec.runlist,
        except: stop.except,
        fault: stop.fault,
        text,
    }
}
