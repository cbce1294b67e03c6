// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Host: channels, GPFIFO, PBDMA and runlists.

use thiserror::Error;

use crate::chip::Chip;
use crate::env::Env;
use crate::env::mem::Phys;
use crate::intr::Intr;
use crate::mmu::{Mmu, MmuFault, VasId};
use crate::timer::Timer;

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

/// All channels and runlists.
pub struct Host {
    /// The chip's table.
    pub chip: &'static Chip,
}

impl Host {
    /// No channels.
    pub fn new(chip: &'static Chip) -> Self {
        Self { chip }
    }

    /// Creates a channel; it runs once scheduled.
    pub fn create(&mut self, _env: &mut Env, _spec: ChannelSpec) -> Result<(), HostError> {
        Ok(())
    }

    /// Enables or disables scheduling of a channel (NVA06F_CTRL_CMD_GPFIFO_SCHEDULE).
    pub fn schedule(&mut self, _chid: u32, _enable: bool) -> Result<(), HostError> {
        Ok(())
    }

    /// An engine object of `class` was allocated on the channel.
    pub fn attach(&mut self, _chid: u32, _class: u32) -> Result<(), HostError> {
        Ok(())
    }

    /// The engine object went away.
    pub fn detach(&mut self, _chid: u32, _class: u32) {}

    /// Destroys a channel; work in flight is dropped.
    pub fn destroy(&mut self, _env: &mut Env, _chid: u32) -> Result<(), HostError> {
        Ok(())
    }

    /// Destroys everything (GSP unload, reset).
    pub fn reset(&mut self) {}

    /// The work-submit token of a channel.
    pub fn token(&self, runlist: u32, chid: u32) -> u32 {
        runlist << 16 | chid
    }

    /// A doorbell was rung.
    pub fn doorbell(&mut self, _env: &mut Env, _token: u32) {}

    /// Runs for at most about `budget` nanoseconds of host time.
    pub fn step(&mut self, _ctx: &mut Ctx<'_>, _budget: u64) -> Step {
        Step::Idle
    }

    /// Channels that died since the last call.
    pub fn take_errors(&mut self) -> Vec<ChannelError> {
        Vec::new()
    }
}
