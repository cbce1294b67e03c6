// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A small driver that does one job: boot the GSP, copy memory twice on a channel, shut down.
//!
//! It knows the card only through its BARs, configuration space, messages and guest memory, and
//! shares no code with the model: what it writes, it builds itself. Each [`Sabotage`] makes it do
//! one thing wrong, at the one place that asks for it.

pub mod blobs;
mod card;
pub mod channel;
mod falcon;
mod gsp;
mod job;
mod paging;
pub mod rm;
mod rom;
mod rpc;

use std::fs::File;

use ghostnv_gpu::gpu::Gpu;

use blobs::Blobs;
use card::Card;
use rm::Rm;
use rpc::Queues;

/// What the driver noticed by itself.
pub type Result<T = ()> = std::result::Result<T, String>;

/// Where guest memory is on the bus, and how much.
pub const RAM_BASE: u64 = 0x1_0000_0000;
pub const RAM_SIZE: u64 = 64 << 20;

/// The one thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    Nothing,
    // Bus and falcons.
    BusMasterOff,
    FwsecSignature,
    FwsecByte,
    FwsecBrom,
    FwsecRegion,
    CoreSelect,
    FalconDmaAddress,
    BooterSignature,
    BooterEntry,
    // What booter checks.
    MetaMagic,
    MetaFrts,
    MetaHeap,
    Radix3Entry,
    Radix3Order,
    GspByte,
    GspSignature,
    BootloaderOffset,
    // GSP boot and queues.
    RmArgsName,
    SharedPages,
    QueueGeometry,
    SystemInfoDevice,
    RegistrySize,
    BootOrder,
    NoQueueDoorbell,
    RpcChecksum,
    RpcSequence,
    RpcSignature,
    RpcLength,
    RpcElements,
    WritePointer,
    // RM.
    UnknownHandle,
    DuplicateHandle,
    WrongClass,
    WrongParent,
    WrongSize,
    PageDirectorySize,
    RingSize,
    UserdAddress,
    EngineRunlist,
    ScheduleUnbound,
    DoubleFree,
    FreeSpaceFirst,
    // Page tables.
    PteInvalid,
    PtePastVram,
    PteUnmapped,
    PteReadOnly,
    PteKind,
    PdeInvalid,
    NoInvalidate,
    InvalidateOther,
    BarUnmapped,
    PteIntoWpr2,
    PraminIntoWpr2,
    PraminPastEnd,
    // Channel and engine.
    NoDoorbell,
    WrongToken,
    NoPut,
    PutRange,
    EntryOpcode,
    SegmentUnmapped,
    BadHeader,
    SoftwareMethod,
    HostMethod,
    SemaphoreAlignment,
    CopyPitch,
    CopyField,
    PhysicalCopy,
    // Interrupts.
    LeafDisabled,
    NotRearmed,
    // Shutdown.
    UnloadLength,
    LoadInsteadOfUnload,
}

/// The driver and its card.
pub struct Driver {
    pub card: Card,
    blobs: Blobs,
    queues: Queues,
    rm: Rm,
    sabotage: Sabotage,
}

impl Driver {
    /// A driver that has just been handed its device.
    pub fn new(gpu: Gpu, ram: File, blobs: Blobs, sabotage: Sabotage) -> Self {
        Self {
            card: Card::new(gpu, ram),
            blobs,
            queues: Queues::default(),
            rm: Rm::default(),
            sabotage,
        }
    }

    fn does(&self, what: Sabotage) -> bool {
        self.sabotage == what
    }

    /// `wrong` if the driver commits this sabotage, else `right`.
    fn pick<T>(&self, what: Sabotage, wrong: T, right: T) -> T {
        if self.does(what) { wrong } else { right }
    }

    /// Does the whole job.
    pub fn run(&mut self) -> Result {
        self.probe()?;
        self.boot()?;
        self.static_info()?;
        self.objects()?;
        let mut channel = self.open_channel()?;
        self.copies(&mut channel)?;
        self.close_channel(&channel)?;
        self.shutdown()
    }

    /// Finds out what the card is.
    fn probe(&mut self) -> Result {
        self.card.config_write(4, self.pick(Sabotage::BusMasterOff, 2, 6));
        if self.card.rd(0) != 0x1720_00a1 || self.card.rd(4) != 0 {
            return Err("not a GA102".into());
        }
        self.card.wait("GFW boot", |c| c.rd(0x11_8128) & 1 != 0 && c.rd(0x11_8234) & 0xff == 0xff)
    }
}

/// Bytes of 32-bit words.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Stores a field.
fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    put(bytes, at, &value.to_le_bytes());
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
