// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One message queue element: a `GSP_MSG_QUEUE_ELEMENT` header, an RPC header, a payload.
//!
//! An element occupies 1 to 16 pages of the ring. A message that does not fit is split: the first
//! element carries the function, the others carry `CONTINUATION_RECORD`. This file knows the bytes
//! and nothing of rings, so that arbitrary bytes can be thrown at it.

use thiserror::Error;

use super::bytes::{put, put_u32, u32_at};

/// Size of a ring slot.
pub const PAGE: usize = 0x1000;
/// Slots that one element may take.
pub const MAX_PAGES: usize = 16;
/// `GSP_MSG_QUEUE_ELEMENT` up to the RPC header.
pub const ELEMENT_HEADER: usize = 48;
/// `rpc_message_header_v03_00`.
pub const RPC_HEADER: usize = 32;
/// Offset of the payload.
pub const PAYLOAD: usize = ELEMENT_HEADER + RPC_HEADER;
/// Payload that one element can carry.
pub const MAX_PAYLOAD: usize = MAX_PAGES * PAGE - PAYLOAD;
/// RPC header version 3.0.
pub const VERSION: u32 = 0x0300_0000;
/// "VRPC".
pub const SIGNATURE: u32 = 0x4350_5256;

const CHECKSUM: usize = 32;
const SEQUENCE: usize = 36;
const COUNT: usize = 40;

/// The headers of an element, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Sequence number of the queue.
    pub queue_sequence: u32,
    /// Slots that the element says it takes.
    pub pages: u32,
    /// RPC header version.
    pub version: u32,
    /// RPC signature.
    pub signature: u32,
    /// RPC length: RPC header and payload.
    pub length: u32,
    /// RPC function.
    pub function: u32,
    /// RPC sequence number; replies repeat it.
    pub sequence: u32,
}

/// What is wrong with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Defect {
    /// Wrong signature.
    #[error("signature {0:#010x} is not VRPC")]
    Signature(u32),
    /// Wrong header version.
    #[error("RPC header version {0:#010x}")]
    Version(u32),
    /// RPC length out of range.
    #[error("RPC length {0:#x}")]
    Length(u32),
    /// Slot count does not fit the length.
    #[error("{pages} slots for an RPC of {length:#x} bytes")]
    Count {
        /// Slots given.
        pages: u32,
        /// RPC length.
        length: u32,
    },
    /// Checksum is not zero.
    #[error("checksum folds to {0:#010x}")]
    Checksum(u32),
}

impl Defect {
    /// The judge's rule.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Signature(_) => "rpc-signature",
            Self::Version(_) => "rpc-version",
            Self::Length(_) => "rpc-length",
            Self::Count { .. } => "rpc-elem-count",
            Self::Checksum(_) => "rpc-checksum",
        }
    }
}

impl Header {
    /// Reads the headers from an element's first page.
    pub fn read(page: &[u8]) -> Self {
        let rpc = |off| u32_at(page, ELEMENT_HEADER + off);
        Self {
            queue_sequence: u32_at(page, SEQUENCE),
            pages: u32_at(page, COUNT),
            version: rpc(0),
            signature: rpc(4),
            length: rpc(8),
            function: rpc(12),
            sequence: rpc(24),
        }
    }

    /// Checks everything but the checksum, and says how many slots the element takes.
    pub fn check(&self) -> Result<usize, Defect> {
        if self.signature != SIGNATURE {
            return Err(Defect::Signature(self.signature));
        }
        if self.version != VERSION {
            return Err(Defect::Version(self.version));
        }
        let length = self.length as usize;
        if !(RPC_HEADER..=MAX_PAYLOAD + RPC_HEADER).contains(&length) {
            return Err(Defect::Length(self.length));
        }
        let pages = (ELEMENT_HEADER + length).div_ceil(PAGE);
        if self.pages as usize != pages {
            return Err(Defect::Count { pages: self.pages, length: self.length });
        }
        Ok(pages)
    }
}

/// The payload of a whole element whose header was checked; verifies the checksum.
pub fn payload<'a>(header: &Header, element: &'a [u8]) -> Result<&'a [u8], Defect> {
    let end = ELEMENT_HEADER.saturating_add(header.length as usize);
    let used = element.get(..end).ok_or(Defect::Length(header.length))?;
    // RM adds up whole words, with what the driver left behind the payload in the last one.
    match checksum(element.get(..end.next_multiple_of(8)).unwrap_or(used)) {
        0 => used.get(PAYLOAD..).ok_or(Defect::Length(header.length)),
        sum => Err(Defect::Checksum(sum)),
    }
}

/// Exclusive or of all 64-bit words, folded to 32 bits. The element's own checksum field makes it
/// zero. A rest of less than 8 bytes counts as padded with zeros.
pub fn checksum(bytes: &[u8]) -> u32 {
    let sum = bytes.chunks(8).fold(0u64, |sum, chunk| {
        let mut word = [0; 8];
        put(&mut word, 0, chunk);
        sum ^ u64::from_le_bytes(word)
    });
    (sum >> 32) as u32 ^ sum as u32
}

/// Sets the checksum field of a finished element.
pub fn seal(element: &mut [u8]) {
    put_u32(element, CHECKSUM, 0);
    let sum = checksum(element);
    put_u32(element, CHECKSUM, sum);
}

/// Flips a checksum bit.
pub fn spoil_checksum(element: &mut [u8]) {
    let sum = u32_at(element, CHECKSUM);
    put_u32(element, CHECKSUM, sum ^ 1);
}

/// Builds an element without its queue sequence number and checksum (see [`stamp`]).
///
/// The payload is cut to [`MAX_PAYLOAD`]; the element is padded with zeros to whole pages.
pub fn build(function: u32, sequence: u32, result: u32, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let pages = (PAYLOAD + payload.len()).div_ceil(PAGE);
    let mut e = vec![0; pages * PAGE];
    put_u32(&mut e, COUNT, pages as u32);
    let length = (RPC_HEADER + payload.len()) as u32;
    let rpc = [VERSION, SIGNATURE, length, function, result, 0, sequence, 0];
    for (i, word) in rpc.iter().enumerate() {
        put_u32(&mut e, ELEMENT_HEADER + 4 * i, *word);
    }
    put(&mut e, PAYLOAD, payload);
    e
}

/// Gives an element its queue sequence number and seals it.
pub fn stamp(element: &mut [u8], queue_sequence: u32) {
    put_u32(element, SEQUENCE, queue_sequence);
    seal(element);
}

/// Overwrites a word of the RPC header of an element that is not sealed yet.
pub fn patch_rpc(element: &mut [u8], off: usize, value: u32) {
    put_u32(element, ELEMENT_HEADER + off, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(payload: &[u8]) -> Vec<u8> {
        let mut e = build(76, 5, 0, payload);
        stamp(&mut e, 9);
        e
    }

    #[test]
    fn what_is_built_reads_back() {
        for len in [0, 1, 7, PAGE - PAYLOAD, PAGE - PAYLOAD + 1, MAX_PAYLOAD] {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let e = element(&data);
            let h = Header::read(&e);
            assert_eq!(h.check(), Ok(e.len() / PAGE));
            assert_eq!((h.function, h.sequence, h.queue_sequence), (76, 5, 9));
            assert_eq!(payload(&h, &e), Ok(&data[..]));
        }
    }

    #[test]
    fn each_defect_is_named() {
        let rules = [
            (ELEMENT_HEADER + 4, "rpc-signature"),
            (ELEMENT_HEADER, "rpc-version"),
            (ELEMENT_HEADER + 8, "rpc-length"),
            (COUNT, "rpc-elem-count"),
            (CHECKSUM, "rpc-checksum"),
            (PAYLOAD, "rpc-checksum"),
        ];
        for (off, rule) in rules {
            let mut e = element(&[1, 2, 3, 4]);
            put_u32(&mut e, off, 0x0007_7777);
            let h = Header::read(&e);
            let got = h.check().and_then(|_| payload(&h, &e)).map_err(Defect::rule);
            assert_eq!(got, Err(rule), "field at {off}");
        }
    }

    #[test]
    fn what_follows_the_payload_in_its_last_word_counts() {
        let mut e = element(&[1, 2, 3]);
        let h = Header::read(&e);
        e[PAYLOAD + 8] = 1;
        assert!(payload(&h, &e).is_ok());
        e[PAYLOAD + 4] = 1;
        assert_eq!(payload(&h, &e).map_err(Defect::rule), Err("rpc-checksum"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, valid: bool, length: u32) {
            let mut e = bytes;
            if valid {
                patch_rpc(&mut e, 0, VERSION);
                patch_rpc(&mut e, 4, SIGNATURE);
                patch_rpc(&mut e, 8, length & 0x1ffff);
            }
            let h = Header::read(&e);
            let _ = h.check();
            let _ = payload(&h, &e);
        }
    }
}
