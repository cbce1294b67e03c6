// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One channel: its PBDMA state, and a slice of its work.
//!
//! Work runs as hardware pipelines it: Host goes on with methods of its own while an engine is
//! busy, and only an engine method, WFI, SET_REFERENCE or a release that asks for it waits. A
//! release without RELEASE_WFI is therefore seen before a copy that was launched earlier.

use super::error::Stop;
use super::fetch::{Fetch, Refill};
use super::methods::{self, Done, HostMethods};
use super::push::{Decoder, Item, Method};
use super::userd::{self, Progress};
use super::{ChannelSpec, Ctx};
use crate::chip::{Chip, Engine, EngineKind};
use crate::engine::client::Client;
use crate::engine::{Engines, Unit};
use crate::env::trace::Kind;

/// Cost of a GPFIFO entry, in words.
const ENTRY_COST: u64 = 8;

/// Cost of a method, in words.
const METHOD_COST: u64 = 4;

/// Cost of an engine's access to memory, in words: finding out where it leads.
const ACCESS_COST: u64 = 1;

/// Bytes moved that cost as much as a word.
const BYTES_PER_WORD: u64 = 64;

/// How a slice ended.
#[derive(Debug)]
pub enum Slice {
    /// Nothing left until the next doorbell.
    Idle,
    /// Waits for a semaphore.
    Blocked,
    /// There is more to do.
    More,
    /// The channel died.
    Stopped(Stop),
}

/// A channel.
pub struct Channel {
    /// What RM said.
    pub spec: ChannelSpec,
    /// RM scheduled it.
    pub scheduled: bool,
    /// It was stopped by an error.
    pub dead: bool,
    /// What it reads.
    pub fetch: Fetch,
    /// Classes whose objects RM allocated.
    pub objects: Vec<u32>,
    decoder: Decoder,
    /// Decoded, but not executed.
    held: Option<Method>,
    host: HostMethods,
    engines: Engines,
    copy: Option<&'static Engine>,
    primary: Option<&'static Engine>,
    /// What USERD holds.
    written: Progress,
}

/// The budget of a slice, in words.
struct Budget(u64);

impl Budget {
    fn spend(&mut self, words: u64) {
        self.0 = self.0.saturating_sub(words);
    }
}

/// What decoding came to.
enum Next {
    Method(Method),
    Idle,
    Exhausted,
}

impl Channel {
    /// A channel that is not scheduled.
    pub fn new(chip: &'static Chip, spec: ChannelSpec) -> Self {
        let on_runlist = |e: &&Engine| e.runlist == spec.runlist;
        let is_copy = |e: &&Engine| matches!(e.kind, EngineKind::Copy(_));
        // Subchannels and the non-stall vector are the runlist's, whichever engine RM named.
        let primary = chip.engines.iter().find(on_runlist);
        // The engine itself if it copies; on the graphics runlist, the first GRCE.
        let copy = chip
            .engine(spec.rm_type)
            .filter(is_copy)
            .or_else(|| chip.engines.iter().filter(on_runlist).find(is_copy));
        Self {
            scheduled: false,
            dead: false,
            fetch: Fetch::default(),
            objects: Vec::new(),
            decoder: Decoder::default(),
            held: None,
            host: HostMethods::default(),
            engines: Engines::new(chip),
            copy,
            primary,
            written: Progress::default(),
            spec,
        }
    }

    /// Whether the channel is on a runlist that executes graphics.
    fn graphics(&self) -> bool {
        self.primary.is_some_and(|e| e.kind == EngineKind::Graphics)
    }

    /// Runs for at most about `words` words' worth of work.
    pub fn run(&mut self, cx: &mut Ctx<'_>, chip: &'static Chip, words: u64) -> Slice {
        let mut client = Client {
            root: cx.mmu.vas_root(self.spec.vas),
            cx,
            chid: self.spec.chid,
            privileged: self.spec.privileged,
            copy_vector: self.copy.map(|e| e.nonstall),
            nonstall_vector: self.primary.map(|e| e.nonstall),
        };
        client.cx.mmu.privileged = self.spec.privileged;
        let mut budget = Budget(words);
        let slice = self.work(&mut client, chip, &mut budget).unwrap_or_else(Slice::Stopped);
        client.cx.mmu.privileged = false;
        self.write_back(cx);
        slice
    }

    fn work(
        &mut self,
        c: &mut Client<'_, '_>,
        chip: &'static Chip,
        budget: &mut Budget,
    ) -> Result<Slice, Stop> {
        while budget.0 > 0 {
            let method = match self.next(c, budget)? {
                Next::Method(m) => m,
                Next::Exhausted => break,
                Next::Idle if self.engines.busy() => {
                    self.run_engine(c, budget)?;
                    continue;
                }
                Next::Idle => return Ok(Slice::Idle),
            };
            let for_engine = methods::is_for_engine(&method);
            if self.engines.busy() && (for_engine || methods::waits_for_idle(&method)) {
                self.run_engine(c, budget)?;
                continue;
            }
            budget.spend(METHOD_COST);
            let done = if for_engine {
                let before = c.cx.mmu.accesses;
                self.send(c, chip, &method)?;
                budget.spend(c.cx.mmu.accesses.wrapping_sub(before) * ACCESS_COST);
                Done::Next
            } else {
                self.host.execute(c, chip.arch, &method)?
            };
            if done == Done::Blocked {
                if !self.engines.busy() {
                    return Ok(Slice::Blocked);
                }
                self.run_engine(c, budget)?;
                continue;
            }
            self.held = None;
            record_method(c, &method);
            match done {
                Done::Reference(value) => self.fetch.progress.reference = value,
                Done::Yield => return Ok(Slice::More),
                Done::Next | Done::Blocked => {}
            }
        }
        Ok(Slice::More)
    }

    fn run_engine(&mut self, c: &mut Client<'_, '_>, budget: &mut Budget) -> Result<(), Stop> {
        let before = c.cx.mmu.accesses;
        let result = self.engines.run(c);
        let bytes = result.map_err(|e| Stop::engine(e, self.copy.map(|e| e.kind)))?;
        let accesses = c.cx.mmu.accesses.wrapping_sub(before);
        budget.spend(1 + bytes / BYTES_PER_WORD + accesses * ACCESS_COST);
        Ok(())
    }

    /// Sends a method to the engine of its subchannel.
    fn send(
        &mut self,
        c: &mut Client<'_, '_>,
        chip: &'static Chip,
        m: &Method,
    ) -> Result<(), Stop> {
        let unit = match (self.graphics(), m.subch) {
            (_, 5..) => {
                let text = format!("software method {:#x} on subchannel {}", m.addr, m.subch);
                return Err(Stop::pbdma("DEVICE", text));
            }
            (true, 0) => Unit::ThreeD,
            (true, 1) => Unit::Compute,
            (true, 2) => Unit::InlineToMemory,
            (true, 3) => Unit::TwoD,
            _ => Unit::Copy,
        };
        let class = unit.class(chip);
        // Copy engines are reached without an object: nothing about them is set up by RM.
        if unit != Unit::Copy && !self.objects.contains(&class) {
            let text = format!("channel {}: method {:#x} of class {class:#x}", c.chid, m.addr);
            c.cx.env.violation("engine-no-object", text);
            // Once is enough to say it.
            self.objects.push(class);
        }
        let result = self.engines.method(c, unit, m.addr, m.data);
        result.map_err(|e| Stop::engine(e, self.copy.map(|e| e.kind)))
    }

    /// The next method, decoding and fetching as needed.
    fn next(&mut self, c: &mut Client<'_, '_>, budget: &mut Budget) -> Result<Next, Stop> {
        if let Some(m) = self.held {
            return Ok(Next::Method(m));
        }
        while budget.0 > 0 {
            let Some(word) = self.fetch.word() else {
                budget.spend(ENTRY_COST);
                match self.fetch.refill(c, &self.spec, &self.decoder)? {
                    Refill::Fetched => continue,
                    Refill::Empty => return Ok(Next::Idle),
                }
            };
            budget.spend(1);
            let item = self.decoder.feed(word);
            match item.map_err(|bad| Stop::pbdma("PBENTRY", format!("word {:#x}", bad.0)))? {
                Item::Nothing => {}
                Item::EndSegment => self.fetch.end_segment(),
                Item::Method(m) => {
                    self.held = Some(m);
                    return Ok(Next::Method(m));
                }
            }
        }
        Ok(Next::Exhausted)
    }

    fn write_back(&mut self, cx: &mut Ctx<'_>) {
        let (old, new) = (&self.written, &self.fetch.progress);
        if old == new {
            return;
        }
        if let Err(e) = userd::write_back(&mut cx.env.mem, self.spec.userd, old, new) {
            cx.env.unreached("userd-range", format_args!("channel {}", self.spec.chid), e);
        }
        self.written = self.fetch.progress;
    }
}

fn record_method(c: &mut Client<'_, '_>, m: &Method) {
    let env = &mut *c.cx.env;
    let now = if env.trace.is_on() { env.clock.ns() } else { 0 };
    let a = m.addr | u32::from(m.subch) << 16;
    env.trace.record(now, Kind::Method, 0, a, u64::from(m.data), u64::from(c.chid));
}
