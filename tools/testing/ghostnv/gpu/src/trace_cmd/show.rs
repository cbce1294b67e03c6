// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Prints records, one a line.

use std::io::Write;

use super::file::{Cursor, Record, open};
use super::{ShowArgs, names};
use crate::env::trace::Kind;

/// Prints what the arguments select.
pub fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut records = open(&args.file)?;
    let mut cursor = Cursor::new(&args.part);
    let filter = Filter::new(args);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while let Some(record) = records.read_next()? {
        if left == 0 || cursor.is_over() {
            break;
        }
        if cursor.covers(&record) && filter.wants(&record) {
            writeln!(out, "{:>14.3} {}", record.time as f64 / 1e3, line(&record))?;
            left -= 1;
        }
    }
    if left > 0 { cursor.finish() } else { Ok(()) }
}

/// What to print.
struct Filter {
    kinds: Vec<Kind>,
    range: Option<(u32, u32)>,
    name: Option<String>,
}

impl Filter {
    fn new(args: &ShowArgs) -> Self {
        let hex = |t: &str| u32::from_str_radix(t.trim_start_matches("0x"), 16).ok();
        let range = args.reg.as_deref().and_then(|r| match r.split_once('-') {
            Some((first, last)) => Some((hex(first)?, hex(last)?)),
            None => r.starts_with("0x").then(|| hex(r).map(|at| (at, at)))?,
        });
        let name = args.reg.clone().filter(|_| range.is_none()).map(|n| n.to_uppercase());
        Self { kinds: args.kind.iter().flat_map(|k| k.0.clone()).collect(), range, name }
    }

    fn wants(&self, r: &Record) -> bool {
        if !self.kinds.is_empty() && !r.kind.is_some_and(|kind| self.kinds.contains(&kind)) {
            return false;
        }
        if self.range.is_none() && self.name.is_none() {
            return true;
        }
        matches!(r.kind, Some(Kind::RegRead | Kind::RegWrite))
            && self.range.is_none_or(|(first, last)| (first..=last).contains(&r.a))
            && self.name.as_ref().is_none_or(|n| names::register(r.a).contains(n))
    }
}

/// One record in words.
fn line(r: &Record) -> String {
    let Some(kind) = r.kind else { return "? unknown record".into() };
    let (a, b, c) = (r.a, r.b, r.c);
    match kind {
        Kind::RegRead => format!("R{} {a:06x} {} -> {b:#x}", r.size, names::register(a)),
        Kind::RegWrite => format!("W{} {a:06x} {} <- {b:#x}", r.size, names::register(a)),
        Kind::Bar1Read => format!("R{} BAR1+{b:#x} -> {c:#x}", r.size),
        Kind::Bar1Write => format!("W{} BAR1+{b:#x} <- {c:#x}", r.size),
        Kind::Bar2Read => format!("R{} BAR2+{b:#x} -> {c:#x}", r.size),
        Kind::Bar2Write => format!("W{} BAR2+{b:#x} <- {c:#x}", r.size),
        Kind::ConfigWrite => format!("W{} config+{a:#x} <- {b:#x}", r.size),
        Kind::RpcIn => format!("rpc > {} object {c:#x}", names::rpc(a, b)),
        Kind::RpcOut => format!("rpc < {} status {c:#x}", names::rpc(a, b)),
        Kind::Doorbell => format!("doorbell {a:#x} (runlist {}, channel {})", a >> 16, a & 0xffff),
        Kind::GpEntry => format!("channel {a}: segment {b:#x}, {c} dwords"),
        Kind::Method => {
            format!("channel {c}: method {:#06x} subchannel {} <- {b:#x}", a & 0xffff, a >> 16)
        }
        Kind::Transfer => format!("channel {a}: transfer, {b} bytes read, {c} written"),
        Kind::Interrupt => format!("interrupt {a}"),
        Kind::Msi => "MSI".into(),
        Kind::TlbInvalidate => format!("TLB invalidate {b:#x} flags {c:#x}"),
        Kind::Fault => format!("channel {a}: MMU fault at {b:#x}, type {c:#x}"),
        Kind::Marker => format!("marker {a}"),
        Kind::Dma => format!("DMA so far: {b} bytes read, {c} written"),
        Kind::Text if a == 1 => format!("VIOLATION {}", r.text),
        Kind::Text if a == 2 => format!("violation (allowed) {}", r.text),
        Kind::Text => r.text.clone(),
    }
}
