// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A client's place at the GPU: two channels, and memory at addresses that all clients share by
//! number and none by content.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::prng::Prng;
use crate::uapi::abi::{DOMAIN_GART, DOMAIN_VRAM};
use crate::uapi::push::Pushbuf;
use crate::uapi::{Bo, Channel, Client, Engine, FenceStatus};

/// Where a copy comes from.
const SRC: u64 = 0x1_0000_0000;
/// Where it goes.
const DST: u64 = 0x1_1000_0000;
/// Where a good copy is copied once more, for the CPU to read.
const BACK: u64 = 0x1_5000_0000;
/// Pushbuffers.
const PUSH: u64 = 0x1_2000_0000;
/// An object that nothing may write.
const GUARD: u64 = 0x1_3000_0000;
/// An object that a scenario may unmap.
pub const SPARE: u64 = 0x1_4000_0000;
/// Nothing is ever mapped here.
pub const HOLE: u64 = 0x1_8000_0000;

/// Size of each object but the pushbuffers.
pub const SIZE: u64 = 256 * 1024;
/// Size of the guarded object: the CPU reads it through the BAR, which is slow.
const GUARD_SIZE: u64 = 4096;
/// Size of the object that holds pushbuffers.
const PUSH_SIZE: u64 = 1024 * 1024;
/// The good copy's pushbuffer lies here, away from a scenario's.
const GOOD_PUSH: u64 = PUSH_SIZE - 4096;

/// The place.
pub struct Seat {
    /// The open file.
    pub client: Client,
    /// The channel that a scenario may ruin.
    pub channel: Channel,
    /// A channel that must not suffer.
    pub other: Channel,
    /// Where a copy comes from, in system memory.
    pub src: Bo,
    /// Where it goes, in VRAM.
    pub dst: Bo,
    back: Bo,
    push: Bo,
    guard: Bo,
    pattern: Vec<u8>,
}

impl Seat {
    /// Opens the device and allocates everything.
    pub fn new(device: &Path, engine: Engine) -> anyhow::Result<Self> {
        let client = Client::open(device)?;
        let channel = client.channel(engine).context("first channel")?;
        let other = client.channel(engine).context("second channel")?;
        // No two clients have the same bytes.
        let pattern = Prng::new(std::process::id().into()).bytes(SIZE as usize);
        let seat = Self {
            src: client.bo(DOMAIN_GART, SIZE, SRC)?,
            dst: client.bo(DOMAIN_VRAM, SIZE, DST)?,
            back: client.bo(DOMAIN_GART, SIZE, BACK)?,
            push: client.bo(DOMAIN_GART, PUSH_SIZE, PUSH)?,
            guard: client.bo(DOMAIN_VRAM, GUARD_SIZE, GUARD)?,
            client,
            channel,
            other,
            pattern,
        };
        seat.guard.write(0, &seat.pattern[..GUARD_SIZE as usize])?;
        Ok(seat)
    }

    /// Writes a pushbuffer; returns it as EXEC wants it.
    pub fn stage(&self, bytes: &[u8]) -> anyhow::Result<(u64, u32)> {
        ensure!((bytes.len() as u64) <= GOOD_PUSH, "pushbuffer too long");
        self.push.write(0, bytes)?;
        Ok((self.push.va, bytes.len() as u32))
    }

    /// A copy that must work, checked byte by byte.
    pub fn good_copy(&self, channel: &Channel, limit: Duration) -> anyhow::Result<()> {
        self.src.write(0, &self.pattern)?;
        self.back.write(0, &vec![0; SIZE as usize])?;
        let push = Pushbuf::new().copy(self.src.va, self.dst.va, SIZE as u32);
        let push = push.copy(self.dst.va, self.back.va, SIZE as u32).bytes();
        self.push.write(GOOD_PUSH, &push)?;
        let syncobj = self.client.syncobj()?;
        let pushes = [(self.push.va + GOOD_PUSH, push.len() as u32)];
        self.client.exec(channel, &pushes, &syncobj).context("EXEC")?;
        ensure!(self.client.wait(&syncobj, limit)?, "the fence did not signal in {limit:?}");
        let status = self.client.status(&syncobj)?;
        ensure!(matches!(status, FenceStatus::Signalled), "fence: {status:?}");
        self.client.destroy(&syncobj)?;
        ensure!(self.back.read(0, SIZE as usize)? == self.pattern, "the bytes differ");
        Ok(())
    }

    /// An EXEC without pushes on the channel that a scenario used.
    pub fn empty_exec(&self) -> io::Result<()> {
        let syncobj = self.client.syncobj()?;
        self.client.exec(&self.channel, &[], &syncobj)
    }

    /// Whether memory that nothing should have written is as it was.
    pub fn intact(&self) -> anyhow::Result<()> {
        let found = self.guard.read(0, GUARD_SIZE as usize)?;
        ensure!(found == self.pattern[..GUARD_SIZE as usize], "foreign bytes in it");
        Ok(())
    }
}
