// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The command and message queues: two rings of pages in shared system memory.
//!
//! Each ring starts with a page of headers: the writer's geometry and write pointer, and, because
//! both sides set the swap flag, the *other* ring's read pointer. So the side that owns a header
//! page is the only one that writes to it. The driver owns everything in the command ring's page
//! and the elements after it, and nothing it writes there is trusted: every defect is a violation
//! with a rule of its own, and a defective element is dropped as RM drops it.

mod shared;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::args::Arguments;
use super::bytes::{put_u32, u32_at};
use super::element::{self, Header, MAX_PAGES, MAX_PAYLOAD, PAGE};
use super::function;
use crate::env::Env;
use crate::env::fault::Absurd;
use shared::{Geometry, Shared};

/// Longest request that is put together from continuation records.
const MAX_REQUEST: usize = 16 << 20;
/// Elements kept for a driver that does not read.
const MAX_BACKLOG: usize = 512;

/// A whole request from the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// RPC function.
    pub function: u32,
    /// RPC sequence number, which the reply repeats.
    pub sequence: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A reply or an event for the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// RPC function.
    pub function: u32,
    /// RPC sequence number.
    pub sequence: u32,
    /// RPC result.
    pub result: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// How to spoil a message, for the fault plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// Flip a checksum bit.
    Checksum,
    /// Claim half the payload.
    Length,
    /// Another signature.
    Signature,
    /// Another number in the headers.
    Header {
        /// Where, from the element's start.
        at: usize,
        /// Its size in bytes.
        width: u8,
        /// What becomes of it.
        value: Absurd,
    },
    /// The write pointer says something else, once.
    Pointer(Absurd),
}

/// A request of which continuation records are missing.
struct Partial {
    request: Request,
    total: usize,
}

/// Both rings, from the GSP's side.
pub struct Queues {
    shared: Shared,
    command: Geometry,
    message: Geometry,
    /// Next slot to read, and the next expected sequence number.
    read: u32,
    read_sequence: u32,
    partial: Option<Partial>,
    /// Next slot to write, and its sequence number.
    write: u32,
    write_sequence: u32,
    backlog: VecDeque<Vec<u8>>,
    /// What to publish instead of the write pointer, next time.
    spoil_pointer: Option<Absurd>,
}

impl Queues {
    /// Finds the rings and publishes the message ring's header.
    pub fn new(env: &mut Env, args: &Arguments) -> Option<Self> {
        let shared = Shared::new(args.pages.clone());
        let command = shared.geometry(env, args.command)?;
        let message = Geometry { base: args.message, rx: shared::RX_OFFSET, ..command };
        if !shared.holds(&message) || message.overlaps(&command) {
            env.violation("gsp-boot-args", format!("no message queue fits at {:#x}", args.message));
            return None;
        }
        shared.publish(env, &message)?;
        Some(Self {
            shared,
            command,
            message,
            read: 0,
            read_sequence: 0,
            partial: None,
            write: 0,
            write_sequence: 0,
            backlog: VecDeque::new(),
            spoil_pointer: None,
        })
    }

    /// The next whole request; defective elements on the way are reported and dropped.
    pub fn receive(&mut self, env: &mut Env) -> Option<Request> {
        // The driver can move its write pointer while this runs: look at each slot at most twice.
        for _ in 0..self.command.slots.saturating_mul(2) {
            let available = self.available(env);
            if available == 0 {
                return None;
            }
            let (request, used) = self.element(env, available)?;
            self.read = (self.read + used) % self.command.slots;
            self.shared.write_u32(env, self.message.base + self.message.rx, self.read)?;
            if request.is_some() {
                return request;
            }
        }
        None
    }

    /// Slots between the read and the write pointer.
    fn available(&mut self, env: &mut Env) -> u32 {
        let at = self.command.base + shared::WRITE_POINTER;
        let Some(write) = self.shared.read_u32(env, at) else { return 0 };
        if write >= self.command.slots {
            let text = format!("command write pointer {write} of {} slots", self.command.slots);
            env.violation("queue-pointer", text);
            return 0;
        }
        (write + self.command.slots - self.read) % self.command.slots
    }

    /// Reads one element: the request that it completes, if any, and the slots to consume.
    ///
    /// `None` when memory cannot be read.
    fn element(&mut self, env: &mut Env, available: u32) -> Option<(Option<Request>, u32)> {
        let mut bytes = self.shared.slots(env, &self.command, self.read, 1)?;
        let header = Header::read(&bytes);
        let pages = match header.check() {
            Ok(pages) if pages as u32 <= available => pages as u32,
            Ok(pages) => {
                let text = format!("element of {pages} slots, {available} written");
                env.violation("rpc-elem-count", text);
                return Some((None, available));
            }
            Err(defect) => {
                env.violation(defect.rule(), format!("slot {}: {defect}", self.read));
                let skip = header.pages.clamp(1, MAX_PAGES as u32).min(available);
                return Some((None, skip));
            }
        };
        if pages > 1 {
            bytes = self.shared.slots(env, &self.command, self.read, pages)?;
        }
        let payload = match element::payload(&header, &bytes) {
            Ok(payload) => payload,
            Err(defect) => {
                let text = format!("function {}: {defect}", header.function);
                env.violation(defect.rule(), text);
                return Some((None, pages));
            }
        };
        self.check_sequence(env, &header);
        Some((self.assemble(env, &header, payload), pages))
    }

    fn check_sequence(&mut self, env: &mut Env, header: &Header) {
        if header.queue_sequence != self.read_sequence {
            let text = format!(
                "function {}: queue sequence {}, expected {}",
                header.function, header.queue_sequence, self.read_sequence
            );
            env.violation("rpc-sequence", text);
        }
        self.read_sequence = header.queue_sequence.wrapping_add(1);
    }

    /// Adds an element to the request it belongs to.
    fn assemble(&mut self, env: &mut Env, header: &Header, payload: &[u8]) -> Option<Request> {
        if header.function == function::CONTINUATION_RECORD {
            let Some(mut partial) = self.partial.take() else {
                env.violation("rpc-continuation", "continuation record of nothing");
                return None;
            };
            let room = partial.total.saturating_sub(partial.request.payload.len());
            if payload.is_empty() || payload.len() > room {
                let text = format!("record of {:#x} bytes, {room:#x} missing", payload.len());
                env.violation("rpc-continuation", text);
                return None;
            }
            partial.request.payload.extend_from_slice(payload);
            if payload.len() == room {
                return Some(partial.request);
            }
            self.partial = Some(partial);
            return None;
        }
        if let Some(partial) = self.partial.take() {
            let text = format!(
                "function {} cuts off function {}",
                header.function, partial.request.function
            );
            env.violation("rpc-continuation", text);
        }
        let (function, sequence) = (header.function, header.sequence);
        let request = Request { function, sequence, payload: payload.to_vec() };
        let total = total_size(function, payload);
        if payload.len() < MAX_PAYLOAD || total <= MAX_PAYLOAD {
            return Some(request);
        }
        if total > MAX_REQUEST {
            env.violation("rpc-length", format!("function {function} announces {total:#x} bytes"));
            return None;
        }
        self.partial = Some(Partial { request, total });
        None
    }

    /// Queues a message; [`Queues::flush`] writes it.
    pub fn send(&mut self, env: &mut Env, message: &Message, spoil: Option<Spoil>) {
        let mut chunks = message.payload.chunks(MAX_PAYLOAD);
        let first = chunks.next().unwrap_or(&[]);
        let Message { function, sequence, result, .. } = *message;
        self.enqueue(env, element::build(function, sequence, result, first), spoil);
        for chunk in chunks {
            let e = element::build(function::CONTINUATION_RECORD, sequence, result, chunk);
            self.enqueue(env, e, None);
        }
    }

    fn enqueue(&mut self, env: &mut Env, mut e: Vec<u8>, spoil: Option<Spoil>) {
        if self.backlog.len() >= MAX_BACKLOG {
            env.judge.note("message queue overflow");
            return;
        }
        match spoil {
            Some(Spoil::Length) => {
                let length = Header::read(&e).length;
                element::patch_rpc(&mut e, 8, length / 2);
            }
            Some(Spoil::Signature) => element::patch_rpc(&mut e, 4, !element::SIGNATURE),
            Some(Spoil::Pointer(value)) => self.spoil_pointer = Some(value),
            Some(Spoil::Checksum | Spoil::Header { .. }) | None => {}
        }
        element::stamp(&mut e, self.write_sequence);
        if let Some(Spoil::Header { at, width, value }) = spoil {
            let new = value.of(u32_at(&e, at).into(), width);
            put_u32(&mut e, at, new as u32);
            element::seal(&mut e);
        }
        if spoil == Some(Spoil::Checksum) {
            element::spoil_checksum(&mut e);
        }
        self.write_sequence = self.write_sequence.wrapping_add(1);
        self.backlog.push_back(e);
    }

    /// Writes what fits into the message ring, and says whether anything was written.
    pub fn flush(&mut self, env: &mut Env) -> bool {
        let mut written = false;
        while let Some(e) = self.backlog.front() {
            let pages = (e.len() / PAGE) as u32;
            let Some(free) = self.free(env) else { break };
            if pages > free {
                break;
            }
            let e = self.backlog.pop_front().unwrap_or_default();
            if self.shared.write_slots(env, &self.message, self.write, &e).is_none() {
                break;
            }
            self.write = (self.write + pages) % self.message.slots;
            let at = self.message.base + shared::WRITE_POINTER;
            let absurd = self.spoil_pointer.take();
            let published = absurd.map_or(self.write, |a| a.of(self.write.into(), 4) as u32);
            if self.shared.write_u32(env, at, published).is_none() {
                break;
            }
            written = true;
        }
        written
    }

    /// Whether messages wait for room.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Free slots of the message ring.
    fn free(&mut self, env: &mut Env) -> Option<u32> {
        let read = self.shared.read_u32(env, self.command.base + self.command.rx)?;
        if read >= self.message.slots {
            let text = format!("message read pointer {read} of {} slots", self.message.slots);
            env.violation("queue-pointer", text);
            return None;
        }
        Some((read + self.message.slots - self.write - 1) % self.message.slots)
    }
}

/// The payload size that a request announces; other functions cannot be split.
fn total_size(function: u32, payload: &[u8]) -> usize {
    let field = |off| u32_at(payload, off) as usize;
    match function {
        function::GSP_RM_CONTROL => field(16).saturating_add(24),
        function::GSP_RM_ALLOC => field(20).saturating_add(32),
        function::SET_REGISTRY => field(0),
        function::ALLOC_MEMORY => field(40).saturating_mul(8).saturating_add(56),
        _ => payload.len(),
    }
}
