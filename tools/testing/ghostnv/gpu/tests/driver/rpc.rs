// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The message queues.

use super::{Driver, Result, Sabotage, get32, put, put32, words};

const PAGE: u64 = 0x1000;
const SLOTS: u32 = 63;
const COMMAND: u64 = 0x1000;
const MESSAGE: u64 = 0x4_1000;

/// Where the queues are and how far both sides are.
#[derive(Default)]
pub struct Queues {
    shared: u64,
    write: u32,
    read: u32,
    sequence: u32,
    /// Exception type of a channel that the GSP said died.
    rc: Option<u32>,
}

/// All 64-bit words, exclusive or, folded.
fn fold(bytes: &[u8]) -> u32 {
    let mut sum = 0u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum ^= u64::from_le_bytes(word);
    }
    sum as u32 ^ (sum >> 32) as u32
}

impl Driver {
    /// Makes the shared memory and the command queue's header.
    pub fn make_queues(&mut self) -> u64 {
        let shared = self.card.alloc(129 * PAGE as usize);
        let shift = self.pick(Sabotage::SharedPages, PAGE, 0);
        let table: Vec<u8> =
            (0..129).flat_map(|i| (shared + i * PAGE + shift).to_le_bytes()).collect();
        self.card.store(shared, &table);
        let slots = self.pick(Sabotage::QueueGeometry, SLOTS + 1, SLOTS);
        let header = words(&[0, 0x4_0000, 0x1000, slots, 0, 1, 0x20, 0x1000]);
        self.card.store(shared + COMMAND, &header);
        self.queues.shared = shared;
        shared
    }

    /// Whether this message is the one that queue sabotage spoils: the first control.
    fn spoils(&self, function: u32, what: Sabotage) -> bool {
        function == 76 && self.does(what)
    }

    /// Sends a message.
    pub fn send(&mut self, function: u32, payload: &[u8]) {
        let pages = (80 + payload.len()).div_ceil(PAGE as usize);
        let mut e = vec![0; pages * PAGE as usize];
        let q = &self.queues;
        let sequence = q.sequence + u32::from(self.spoils(function, Sabotage::RpcSequence));
        let count = pages as u32 + u32::from(self.spoils(function, Sabotage::RpcElements));
        let signature = 0x4350_5256 ^ u32::from(self.spoils(function, Sabotage::RpcSignature));
        let length = 32 + payload.len() as u32;
        let length = length + 8 * u32::from(self.spoils(function, Sabotage::RpcLength));
        put(&mut e, 36, &words(&[sequence, count]));
        let rpc = [0x0300_0000, signature, length, function, u32::MAX, u32::MAX, sequence];
        put(&mut e, 48, &words(&rpc));
        put(&mut e, 80, payload);
        let sum = fold(&e) ^ u32::from(self.spoils(function, Sabotage::RpcChecksum));
        put32(&mut e, 32, sum);
        for page in e.chunks(PAGE as usize) {
            let at = self.queues.shared + COMMAND + PAGE * u64::from(1 + self.queues.write);
            self.card.store(at, page);
            self.queues.write = (self.queues.write + 1) % SLOTS;
        }
        self.queues.sequence += 1;
        let write =
            if self.spoils(function, Sabotage::WritePointer) { 99 } else { self.queues.write };
        self.card.store(self.queues.shared + COMMAND + 16, &write.to_le_bytes());
        if !self.spoils(function, Sabotage::NoQueueDoorbell) {
            self.card.wr(0x11_0c00, 0);
        }
    }

    /// Takes the next message: function, result, payload.
    fn receive(&mut self) -> Result<(u32, u32, Vec<u8>)> {
        let (shared, read) = (self.queues.shared, self.queues.read);
        self.card.wait("message", |c| c.load32(shared + MESSAGE + 16) != read)?;
        let slot = |i: u32| shared + MESSAGE + PAGE * u64::from(1 + (read + i) % SLOTS);
        let head = self.card.load(slot(0), PAGE as usize);
        let pages = get32(&head, 40);
        let e: Vec<u8> = (0..pages).flat_map(|i| self.card.load(slot(i), PAGE as usize)).collect();
        if get32(&e, 52) != 0x4350_5256 || fold(&e) != 0 {
            return Err("damaged message".into());
        }
        let end = 48 + get32(&e, 56) as usize;
        self.queues.read = (read + pages) % SLOTS;
        let read = self.queues.read.to_le_bytes();
        self.card.store(shared + COMMAND + 0x20, &read);
        let (function, result) = (get32(&e, 60), get32(&e, 64));
        if function == 0x1004 {
            self.queues.rc = Some(get32(&e, 80 + 16));
        }
        Ok((function, result, e[80..end].to_vec()))
    }

    /// Takes what the GSP said meanwhile: whether a channel died.
    pub fn channel_error(&mut self) -> Option<String> {
        while self.card.load32(self.queues.shared + MESSAGE + 16) != self.queues.read {
            self.receive().ok()?;
        }
        self.queues.rc.map(|except| format!("channel died: exception {except}"))
    }

    /// Waits for an event; others before it are taken.
    pub fn expect_event(&mut self, event: u32) -> Result {
        while self.receive()?.0 != event {}
        Ok(())
    }

    /// Sends a request and waits for its reply.
    pub fn call(&mut self, function: u32, payload: &[u8]) -> Result<Vec<u8>> {
        self.send(function, payload);
        loop {
            match self.receive()? {
                (f, 0, payload) if f == function => return Ok(payload),
                (f, result, _) if f == function => {
                    return Err(format!("function {f}: result {result:#x}"));
                }
                _ => {}
            }
        }
    }
}
