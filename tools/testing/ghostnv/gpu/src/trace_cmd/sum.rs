// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Adds up a trace, or the part between two markers.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::Serialize;

use super::file::{Cursor, Record, Records, open};
use super::{Part, SumArgs, names};
use crate::env::trace::Kind;

/// Distinct names kept in a table; the rest counts as `other`.
const MOST_NAMES: usize = 65536;

/// Reads and writes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Accesses {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// What happened in an interval.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Sum {
    /// Marker at its start; none is the start of the trace.
    pub from: Option<u32>,
    /// Marker at its end; none is the end of the trace.
    pub to: Option<u32>,
    /// Its length in nanoseconds.
    pub ns: u64,
    /// BAR0.
    pub mmio: Accesses,
    /// BAR0 by register.
    pub registers: BTreeMap<String, Accesses>,
    /// BAR1.
    pub bar1: Accesses,
    /// BAR2 (PCI BAR3).
    pub bar2: Accesses,
    /// PCI configuration writes.
    pub config_writes: u64,
    /// RPCs from the driver.
    pub rpcs: u64,
    /// RPCs from the driver by name.
    pub rpcs_to_gsp: BTreeMap<String, u64>,
    /// RPCs to the driver (replies and events) by name.
    pub rpcs_from_gsp: BTreeMap<String, u64>,
    /// Doorbells.
    pub doorbells: u64,
    /// GPFIFO entries.
    pub gp_entries: u64,
    /// Methods.
    pub methods: u64,
    /// Copy-engine and inline transfers.
    pub transfers: u64,
    /// Bytes that transfers read.
    pub transfer_bytes_read: u64,
    /// Bytes that transfers wrote.
    pub transfer_bytes_written: u64,
    /// Bytes read from guest memory.
    pub dma_bytes_read: u64,
    /// Bytes written to guest memory.
    pub dma_bytes_written: u64,
    /// Interrupts latched.
    pub interrupts: u64,
    /// MSIs sent.
    pub msis: u64,
    /// TLB invalidates.
    pub tlb_invalidates: u64,
    /// MMU faults.
    pub faults: u64,
    /// Violations by rule.
    pub violations: BTreeMap<String, u64>,
    /// Violations that the run's allow-list explains, by rule.
    pub allowed: BTreeMap<String, u64>,
    /// Records that this program does not know.
    pub unknown: u64,
}

/// Counts one more under a name.
fn count<T: Default>(map: &mut BTreeMap<String, T>, name: String, add: impl FnOnce(&mut T)) {
    let full = map.len() >= MOST_NAMES && !map.contains_key(&name);
    add(map.entry(if full { "other".into() } else { name }).or_default());
}

impl Sum {
    /// Adds a record.
    fn add(&mut self, r: &Record) {
        let Some(kind) = r.kind else { return self.unknown += 1 };
        match kind {
            Kind::RegRead => {
                self.mmio.reads += 1;
                count(&mut self.registers, names::register(r.a), |n| n.reads += 1);
            }
            Kind::RegWrite => {
                self.mmio.writes += 1;
                count(&mut self.registers, names::register(r.a), |n| n.writes += 1);
            }
            Kind::Bar1Read => self.bar1.reads += 1,
            Kind::Bar1Write => self.bar1.writes += 1,
            Kind::Bar2Read => self.bar2.reads += 1,
            Kind::Bar2Write => self.bar2.writes += 1,
            Kind::ConfigWrite => self.config_writes += 1,
            Kind::RpcIn => {
                self.rpcs += 1;
                count(&mut self.rpcs_to_gsp, names::rpc(r.a, r.b), |n| *n += 1);
            }
            Kind::RpcOut => count(&mut self.rpcs_from_gsp, names::rpc(r.a, r.b), |n| *n += 1),
            Kind::Doorbell => self.doorbells += 1,
            Kind::GpEntry => self.gp_entries += 1,
            Kind::Method => self.methods += 1,
            Kind::Transfer => {
                self.transfers += 1;
                self.transfer_bytes_read = self.transfer_bytes_read.saturating_add(r.b);
                self.transfer_bytes_written = self.transfer_bytes_written.saturating_add(r.c);
            }
            Kind::Interrupt => self.interrupts += 1,
            Kind::Msi => self.msis += 1,
            Kind::TlbInvalidate => self.tlb_invalidates += 1,
            Kind::Fault => self.faults += 1,
            Kind::Text if r.a == 1 || r.a == 2 => {
                let rule = r.text.split(':').next().unwrap_or_default();
                let table = if r.a == 1 { &mut self.violations } else { &mut self.allowed };
                count(table, rule.into(), |n| *n += 1);
            }
            Kind::Text | Kind::Marker | Kind::Dma => {}
        }
    }
}

/// Sums under construction: the interval that is open, and what was so far at its start.
struct Adder {
    done: Vec<Sum>,
    open: Sum,
    start: u64,
    dma_at_start: (u64, u64),
    dma: (u64, u64),
    last: u64,
}

impl Adder {
    fn begin(&mut self, r: &Record) {
        let from = (r.kind == Some(Kind::Marker)).then_some(r.a);
        self.open = Sum { from, ..Sum::default() };
        self.start = r.time;
        self.dma_at_start = self.dma;
    }

    fn end(&mut self, time: u64, marker: Option<u32>) {
        let mut sum = std::mem::take(&mut self.open);
        sum.to = marker;
        sum.ns = time.saturating_sub(self.start);
        sum.dma_bytes_read = self.dma.0.saturating_sub(self.dma_at_start.0);
        sum.dma_bytes_written = self.dma.1.saturating_sub(self.dma_at_start.1);
        self.done.push(sum);
    }
}

/// Adds up one part of a trace; with `intervals`, one sum for each pair of neighbouring markers.
pub fn sums<R: Read>(input: R, part: &Part, intervals: bool) -> anyhow::Result<Vec<Sum>> {
    let mut records = Records::new(input)?;
    add_up(&mut records, part, intervals)
}

fn add_up<R: Read>(
    records: &mut Records<R>,
    part: &Part,
    intervals: bool,
) -> anyhow::Result<Vec<Sum>> {
    let mut cursor = Cursor::new(part);
    let mut adder = Adder {
        done: Vec::new(),
        open: Sum::default(),
        start: 0,
        dma_at_start: (0, 0),
        dma: (0, 0),
        last: 0,
    };
    while let Some(r) = records.read_next()? {
        adder.last = r.time;
        if r.kind == Some(Kind::Dma) {
            adder.dma = (r.b, r.c);
        }
        let began = cursor.began();
        if !cursor.covers(&r) {
            continue;
        }
        if !began {
            adder.begin(&r);
        } else if r.kind == Some(Kind::Marker) && intervals && !cursor.is_over() {
            adder.end(r.time, Some(r.a));
            adder.begin(&r);
        }
        adder.open.add(&r);
        if cursor.is_over() {
            adder.end(r.time, part.to);
            return Ok(adder.done);
        }
    }
    cursor.finish()?;
    let last = adder.last;
    adder.end(last, None);
    Ok(adder.done)
}

/// Prints the sums.
pub fn print(args: &SumArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let sums = add_up(&mut open(&args.file)?, &args.part, args.intervals)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &sums).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    for sum in &sums {
        text(sum, args.top, out)?;
    }
    Ok(())
}

/// Prints one sum for people.
fn text(s: &Sum, top: usize, out: &mut impl Write) -> anyhow::Result<()> {
    let edge = |m: Option<u32>, none: &str| m.map_or(none.into(), |m| format!("marker {m}"));
    writeln!(
        out,
        "{} to {}: {:.3} ms",
        edge(s.from, "start"),
        edge(s.to, "end"),
        s.ns as f64 / 1e6
    )?;
    writeln!(out, "  MMIO            {:>10} reads {:>10} writes", s.mmio.reads, s.mmio.writes)?;
    writeln!(out, "  BAR1            {:>10} reads {:>10} writes", s.bar1.reads, s.bar1.writes)?;
    writeln!(out, "  BAR2            {:>10} reads {:>10} writes", s.bar2.reads, s.bar2.writes)?;
    writeln!(
        out,
        "  DMA             {:>10} bytes read {:>10} bytes written",
        s.dma_bytes_read, s.dma_bytes_written
    )?;
    writeln!(
        out,
        "  transfers       {:>10} ({} bytes read, {} written)",
        s.transfers, s.transfer_bytes_read, s.transfer_bytes_written
    )?;
    let plain = [
        ("config writes", s.config_writes),
        ("RPCs to GSP", s.rpcs),
        ("doorbells", s.doorbells),
        ("GPFIFO entries", s.gp_entries),
        ("methods", s.methods),
        ("interrupts", s.interrupts),
        ("MSIs", s.msis),
        ("TLB invalidates", s.tlb_invalidates),
        ("MMU faults", s.faults),
        ("violations", s.violations.values().sum()),
        ("unknown records", s.unknown),
    ];
    for (name, n) in plain.iter().filter(|(_, n)| *n > 0) {
        writeln!(out, "  {name:<15} {n:>10}")?;
    }
    let mut registers: Vec<_> = s.registers.iter().collect();
    registers.sort_by_key(|(_, n)| std::cmp::Reverse(n.reads.saturating_add(n.writes)));
    for (name, n) in registers.iter().take(top) {
        writeln!(out, "    {:>10} R {:>10} W  {name}", n.reads, n.writes)?;
    }
    let tables = [
        ("->", &s.rpcs_to_gsp),
        ("<-", &s.rpcs_from_gsp),
        ("!!", &s.violations),
        ("allowed", &s.allowed),
    ];
    for (arrow, table) in tables {
        for (name, n) in table {
            writeln!(out, "    {n:>10} {arrow} {name}")?;
        }
    }
    Ok(())
}
