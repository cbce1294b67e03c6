// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The trace: what happened, when, in fixed-size records.
//!
//! A file starts with [`MAGIC`]; then 32-byte little-endian records follow:
//!
//! | bytes | field |
//! |---|---|
//! | 0–7 | nanoseconds since power-on |
//! | 8 | [`Kind`] |
//! | 9 | access size in bytes, or 0 |
//! | 10–11 | reserved, 0 |
//! | 12–15 | `a`: BAR offset, RPC function, method, vector… by kind |
//! | 16–23 | `b` |
//! | 24–31 | `c` |
//!
//! A [`Kind::Text`] record is followed by `b` bytes of UTF-8, padded to a multiple of 32. A
//! [`Kind::Marker`] comes right after the [`Kind::Dma`] record with the totals at that moment, and a
//! complete file ends with a `Dma` record. Totals per kind are kept whether or not there is a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;

/// First 8 bytes of a trace file.
pub const MAGIC: [u8; 8] = *b"GNVTRC01";

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// BAR0 read: a = offset, b = value.
    RegRead = 1,
    /// BAR0 write: a = offset, b = value.
    RegWrite = 2,
    /// BAR1 read: b = offset, c = value.
    Bar1Read = 3,
    /// BAR1 write: b = offset, c = value.
    Bar1Write = 4,
    /// BAR2 (PCI BAR3) read: b = offset, c = value.
    Bar2Read = 5,
    /// BAR2 write: b = offset, c = value.
    Bar2Write = 6,
    /// PCI configuration write: a = offset, b = value.
    ConfigWrite = 7,
    /// RPC from the driver: a = function, b = control or class number, c = object handle.
    RpcIn = 8,
    /// RPC to the driver: a = function, b = control or class number, c = RM status.
    RpcOut = 9,
    /// Doorbell: a = token.
    Doorbell = 10,
    /// GPFIFO entry fetched: a = channel, b = address, c = dwords.
    GpEntry = 11,
    /// Method executed: a = method | subchannel << 16, b = data, c = channel.
    Method = 12,
    /// Copy-engine or inline transfer: a = channel, b = bytes read, c = bytes written.
    Transfer = 13,
    /// Interrupt latched: a = vector.
    Interrupt = 14,
    /// MSI sent.
    Msi = 15,
    /// TLB invalidate: b = page directory base, c = flags.
    TlbInvalidate = 16,
    /// MMU fault: a = channel, b = address, c = fault type.
    Fault = 17,
    /// Marker written by the guest: a = number.
    Marker = 18,
    /// DMA totals when a marker or the end is written: b = bytes read, c = bytes written.
    Dma = 19,
    /// Text follows: a = 1 for a violation, 2 for one that the allow-list explains; b = length.
    Text = 20,
}

impl Kind {
    /// Every kind with its name on the command line.
    pub const ALL: [(Kind, &'static str); 20] = [
        (Kind::RegRead, "reg-read"),
        (Kind::RegWrite, "reg-write"),
        (Kind::Bar1Read, "bar1-read"),
        (Kind::Bar1Write, "bar1-write"),
        (Kind::Bar2Read, "bar2-read"),
        (Kind::Bar2Write, "bar2-write"),
        (Kind::ConfigWrite, "config-write"),
        (Kind::RpcIn, "rpc-in"),
        (Kind::RpcOut, "rpc-out"),
        (Kind::Doorbell, "doorbell"),
        (Kind::GpEntry, "gp-entry"),
        (Kind::Method, "method"),
        (Kind::Transfer, "transfer"),
        (Kind::Interrupt, "interrupt"),
        (Kind::Msi, "msi"),
        (Kind::TlbInvalidate, "tlb-invalidate"),
        (Kind::Fault, "fault"),
        (Kind::Marker, "marker"),
        (Kind::Dma, "dma"),
        (Kind::Text, "text"),
    ];

    /// The kind with this number in a file.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| *kind as u8 == value)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("?", |(_, name)| name)
    }
}

/// Number of slots for totals.
const KINDS: usize = 32;

/// Writes records and keeps totals.
pub struct Trace {
    out: Option<BufWriter<File>>,
    totals: [u64; KINDS],
}

impl Trace {
    /// Keeps totals only.
    pub fn off() -> Self {
        Self { out: None, totals: [0; KINDS] }
    }

    /// Writes records to a new file.
    pub fn to_file(path: &Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("create trace {}", path.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&MAGIC).context("write trace")?;
        Ok(Self { out: Some(out), totals: [0; KINDS] })
    }

    /// Whether records are written; lets callers skip work for details.
    pub fn is_on(&self) -> bool {
        self.out.is_some()
    }

    /// Total records of a kind.
    pub fn total(&self, kind: Kind) -> u64 {
        self.totals[kind as usize]
    }

    /// Adds one record.
    pub fn record(&mut self, now: u64, kind: Kind, size: u8, a: u32, b: u64, c: u64) {
        self.totals[kind as usize] += 1;
        let Some(out) = &mut self.out else { return };
        let mut bytes = [0; 32];
        bytes[0..8].copy_from_slice(&now.to_le_bytes());
        bytes[8] = kind as u8;
        bytes[9] = size;
        bytes[12..16].copy_from_slice(&a.to_le_bytes());
        bytes[16..24].copy_from_slice(&b.to_le_bytes());
        bytes[24..32].copy_from_slice(&c.to_le_bytes());
        if let Err(e) = out.write_all(&bytes) {
            eprintln!("trace: write failed, tracing stops: {e}");
            self.out = None;
        }
    }

    /// Records a marker and the DMA totals at that moment.
    pub fn marker(&mut self, now: u64, number: u32, dma_read: u64, dma_written: u64) {
        self.record(now, Kind::Dma, 0, 0, dma_read, dma_written);
        self.record(now, Kind::Marker, 0, number, 0, 0);
    }

    /// Ends the trace with the DMA totals.
    pub fn finish(&mut self, now: u64, dma_read: u64, dma_written: u64) {
        self.record(now, Kind::Dma, 0, 0, dma_read, dma_written);
        self.flush();
    }

    /// Records a violation's text.
    pub fn violation(&mut self, now: u64, rule: &str, text: &str, allowed: bool) {
        let mut body = format!("{rule}: {text}").into_bytes();
        let len = body.len() as u64;
        self.record(now, Kind::Text, 0, 1 + u32::from(allowed), len, 0);
        body.resize(body.len().next_multiple_of(32), 0);
        if let Some(out) = &mut self.out {
            let _ = out.write_all(&body);
        }
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = out.flush();
        }
    }
}
