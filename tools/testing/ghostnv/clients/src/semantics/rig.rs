// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What every case starts with: a client, channels, memory.

use std::path::Path;

use anyhow::{Context, ensure};

use super::SOON;
use crate::uapi::abi::{BIND_MAP, BIND_UNMAP, BindOp, DOMAIN_GART};
use crate::uapi::push::Pushbuf;
use crate::uapi::{Bo, Channel, Client, Engine, Syncobj, Wait};

/// Pushbuffers.
const CODE: u64 = 0x1_0000_0000;
/// What pushbuffers read and write.
const DATA: u64 = 0x1_1000_0000;
/// Memory that a case makes.
const MORE: u64 = 0x2_0000_0000;
/// Where cases bind what they like.
pub const PLACE: u64 = 0x10_0000_0000;
/// Size of the first two objects.
const SIZE: u64 = 0x1_0000;
/// Room for one pushbuffer.
const SLOT: u64 = 0x400;
/// The word that holds up jobs, in the data.
const GATE: u64 = 0x8000;

/// A push as EXEC takes it.
pub type Push = (u64, u32, u32);

/// The start.
pub struct Rig {
    /// The open file.
    pub client: Client,
    /// A channel of a copy engine.
    pub one: Channel,
    /// Another one.
    pub two: Channel,
    /// A channel of the graphics engine.
    pub graphics: Channel,
    /// What pushbuffers read and write.
    pub data: Bo,
    code: Bo,
    next: u64,
    objects: u64,
}

impl Rig {
    /// Opens the device and allocates everything.
    pub fn new(device: &Path) -> anyhow::Result<Self> {
        let client = Client::open(device)?;
        Ok(Self {
            one: client.channel(Engine::Copy)?,
            two: client.channel(Engine::Copy)?,
            graphics: client.channel(Engine::Graphics)?,
            data: client.bo(DOMAIN_GART, SIZE, DATA)?,
            code: client.bo(DOMAIN_GART, SIZE, CODE)?,
            client,
            next: 0,
            objects: MORE,
        })
    }

    /// One more object in system memory, mapped for the CPU and, out of the way, for the GPU.
    pub fn object(&mut self, size: u64) -> anyhow::Result<Bo> {
        let va = self.objects;
        self.objects += size.next_multiple_of(0x20_0000);
        self.client.bo(DOMAIN_GART, size, va)
    }

    /// Writes a pushbuffer. There is room for some; the oldest is overwritten.
    pub fn stage(&mut self, push: &Pushbuf) -> anyhow::Result<Push> {
        let bytes = push.bytes();
        ensure!(bytes.len() as u64 <= SLOT, "pushbuffer too long");
        let offset = self.next;
        self.next = (self.next + SLOT) % SIZE;
        self.code.write(offset, &bytes)?;
        Ok((self.code.va + offset, bytes.len() as u32, 0))
    }

    /// A push that stores a word in the data.
    pub fn store(&mut self, offset: u64, value: u32) -> anyhow::Result<Push> {
        self.stage(&Pushbuf::new().release(self.data.va + offset, value))
    }

    /// Closes the gate; returns a push that waits there, and one that opens it.
    pub fn gate(&mut self) -> anyhow::Result<(Push, Push)> {
        self.data.write(GATE, &[0; 4])?;
        let gate = self.data.va + GATE;
        let shut = self.stage(&Pushbuf::new().acquire(gate, 1))?;
        Ok((shut, self.stage(&Pushbuf::new().release(gate, 1))?))
    }

    /// A word of the data.
    pub fn word(&self, offset: u64) -> anyhow::Result<u32> {
        let bytes = self.data.read(offset, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().ok().context("four bytes")?))
    }

    /// Waits for a syncobj's fence.
    pub fn wait(&self, what: &str, syncobj: &Syncobj) -> anyhow::Result<()> {
        let ended = self.client.wait(syncobj, SOON).with_context(|| what.to_owned())?;
        ensure!(ended, "{what}: no end");
        Ok(())
    }

    /// What the GPU reads, word by word, at addresses; jobs wait for `waits` before they do.
    pub fn peek(&mut self, addresses: &[u64], waits: &[Wait<'_>]) -> anyhow::Result<Vec<u32>> {
        let done = self.client.syncobj()?;
        let mut words = Vec::new();
        for some in addresses.chunks(16) {
            let mut push = Pushbuf::new();
            for (i, &va) in some.iter().enumerate() {
                push = push.copy(va, self.data.va + 4 * i as u64, 4);
            }
            self.data.write(0, &[0xee; 64])?;
            let push = self.stage(&push)?;
            self.client.submit(self.one.id, &[push], waits, &[Wait::Binary(&done)])?;
            self.wait("what the GPU reads", &done)?;
            for i in 0..some.len() {
                words.push(self.word(4 * i as u64)?);
            }
        }
        self.client.destroy(&done)?;
        Ok(words)
    }
}

/// Maps a part of an object.
pub fn map(bo: &Bo, addr: u64, bo_offset: u64, range: u64) -> BindOp {
    BindOp { op: BIND_MAP, handle: bo.handle, addr, bo_offset, range, ..BindOp::default() }
}

/// Unmaps what there is in a range.
pub fn unmap(addr: u64, range: u64) -> BindOp {
    BindOp { op: BIND_UNMAP, addr, range, ..BindOp::default() }
}
