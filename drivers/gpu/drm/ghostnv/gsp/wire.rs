// SPDX-License-Identifier: GPL-2.0

//! The framing of messages between driver and firmware.
//!
//! A message is one to sixteen queue elements of 4 KiB: an element header (checksum, sequence
//! number, count of elements), an RPC header (function, length, result) and a payload. What does
//! not fit is continued in further messages whose function is `CONTINUATION_RECORD`. This file
//! turns calls into such bytes and bytes into messages, and touches neither memory that the
//! firmware can change nor the device: what is checked here stays true afterwards.
//!
//! Facts: open-gpu-kernel-modules 570.144, `message_queue_cpu.c` (`_checkSum32`,
//! `GspMsgQueueSendCommand`) and `rpc.c` (`_issueRpcLarge`).

use kernel::prelude::*;

use super::{
    abi::{
        function,
        ElementHeader,
        RpcHeader,
        GSP_PAGE_SIZE,
        MESSAGE_HEADERS,
        MESSAGE_SIZE_MAX,
        RPC_RESULT_PENDING,
        RPC_SIGNATURE,
        RPC_VERSION, //
    },
    buffer::Buffer, //
};

/// Most bytes of payload that one message carries.
pub(crate) const PAYLOAD_MAX: usize = MESSAGE_SIZE_MAX - MESSAGE_HEADERS;

/// Where in a message its checksum is.
const CHECKSUM_OFFSET: usize = core::mem::offset_of!(ElementHeader, checksum);

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// Fewer bytes than the headers, or than the length in them, need.
    Truncated,
    /// The exclusive-or over the message is not zero.
    Checksum,
    /// Not an RPC header, or of a version this driver does not know.
    Header,
    /// The length does not cover the RPC header, or exceeds what a message can hold.
    Length,
    /// The count of elements is not what the length needs.
    Elements,
}

impl From<FrameError> for Error {
    fn from(_: FrameError) -> Self {
        EIO
    }
}

/// A message as received.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) function: u32,
    /// The firmware's status of the call; zero is success.
    pub(crate) result: u32,
    /// Sequence number of the call this answers, as far as the firmware fills it in.
    #[cfg_attr(
        not(CONFIG_DRM_GHOSTNV_KUNIT_TEST),
        expect(dead_code, reason = "replies are in the order of calls")
    )]
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// Exclusive-or of all 64-bit words, folded to 32 bits; a last partial word counts as if zeros
/// followed it.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().rev();
    let rest = rest.fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    let sum = words.fold(rest, |sum, word| {
        sum ^ word.try_into().map_or(0, u64::from_le_bytes)
    });
    // CAST: The fold keeps the lower half of the exclusive-or of both halves.
    (sum ^ (sum >> 32)) as u32
}

/// Count of queue elements that `bytes` bytes take.
pub(crate) fn elements(bytes: usize) -> Result<u32> {
    Ok(u32::try_from(bytes.div_ceil(GSP_PAGE_SIZE))?)
}

/// Replaces the contents of `out` by one message, padded with zeros to whole elements.
///
/// `sequence` counts messages, `call` counts calls.
pub(crate) fn encode(
    out: &mut Buffer,
    sequence: u32,
    call: u32,
    function: u32,
    payload: &[u8],
) -> Result {
    if payload.len() > PAYLOAD_MAX {
        return Err(EMSGSIZE);
    }
    let length = size_of::<RpcHeader>() + payload.len();
    let total = size_of::<ElementHeader>() + length;
    let element = ElementHeader {
        sequence,
        element_count: elements(total)?,
        ..Default::default()
    };
    let rpc = RpcHeader {
        version: RPC_VERSION,
        signature: RPC_SIGNATURE,
        length: u32::try_from(length)?,
        function,
        result: RPC_RESULT_PENDING,
        result_private: RPC_RESULT_PENDING,
        sequence: call,
        spare: 0,
    };

    out.clear();
    out.append(element.as_bytes())?;
    out.append(rpc.as_bytes())?;
    out.append(payload)?;
    // Zeros do not change it.
    let sum = checksum(out);
    out.append_zeros(total.next_multiple_of(GSP_PAGE_SIZE) - total)?;
    out.get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + size_of::<u32>())
        .ok_or(EINVAL)?
        .copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Splits a call's payload into the pieces that one message each carries, with their functions.
pub(crate) fn pieces(function: u32, payload: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let (first, rest) = payload.split_at(payload.len().min(PAYLOAD_MAX));
    let rest = rest
        .chunks(PAYLOAD_MAX)
        .map(|piece| (function::CONTINUATION_RECORD, piece));
    Iterator::chain(core::iter::once((function, first)), rest)
}

/// Reads the count of elements from a message's first element, and refuses an impossible one.
pub(crate) fn announced_elements(first: &[u8]) -> Result<u32, FrameError> {
    let (element, rest) =
        ElementHeader::read_from_prefix(first).map_err(|_| FrameError::Truncated)?;
    let (rpc, _) = RpcHeader::read_from_prefix(rest).map_err(|_| FrameError::Truncated)?;
    let total = message_bytes(&rpc)?;
    match elements(total) {
        Ok(count) if count == element.element_count => Ok(count),
        _ => Err(FrameError::Elements),
    }
}

/// Bytes of a message from its element header to the end of its payload.
fn message_bytes(rpc: &RpcHeader) -> Result<usize, FrameError> {
    let length = usize::try_from(rpc.length).map_err(|_| FrameError::Length)?;
    if !(size_of::<RpcHeader>()..=MESSAGE_SIZE_MAX - size_of::<ElementHeader>()).contains(&length) {
        return Err(FrameError::Length);
    }
    Ok(size_of::<ElementHeader>() + length)
}

/// Checks a message that has been copied out of the queue.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message<'_>, FrameError> {
    let (_, rest) = ElementHeader::read_from_prefix(bytes).map_err(|_| FrameError::Truncated)?;
    let (rpc, _) = RpcHeader::read_from_prefix(rest).map_err(|_| FrameError::Truncated)?;
    let total = message_bytes(&rpc)?;
    let message = bytes.get(..total).ok_or(FrameError::Truncated)?;
    if checksum(message) != 0 {
        return Err(FrameError::Checksum);
    }
    if rpc.signature != RPC_SIGNATURE || rpc.version != RPC_VERSION {
        return Err(FrameError::Header);
    }
    Ok(Message {
        function: rpc.function,
        result: rpc.result,
        sequence: rpc.sequence,
        payload: message
            .get(MESSAGE_HEADERS..)
            .ok_or(FrameError::Truncated)?,
    })
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_wire)]
mod tests {
    use super::*;

    fn message(payload: &[u8]) -> Result<Buffer> {
        let mut out = Buffer::new(MESSAGE_SIZE_MAX)?;
        encode(&mut out, 7, 9, 65, payload)?;
        Ok(out)
    }

    #[test]
    fn checksum_folds_words_and_partial_words() {
        assert_eq!(checksum(&[]), 0);
        assert_eq!(checksum(&[1, 0, 0, 0, 2, 0, 0, 0]), 3);
        assert_eq!(checksum(&[1, 0, 0, 0, 2]), 3);
        assert_eq!(checksum(&[0xff; 16]), 0);
    }

    #[test]
    fn a_message_survives_the_round_trip() -> Result {
        let out = message(&[1, 2, 3])?;
        assert_eq!(out.len(), GSP_PAGE_SIZE);
        assert_eq!(checksum(&out), 0);
        assert_eq!(announced_elements(&out), Ok(1));
        let m = decode(&out).map_err(|_| EIO)?;
        assert_eq!((m.function, m.sequence), (65, 9));
        assert_eq!(m.payload, &[1, 2, 3]);
        Ok(())
    }

    #[test]
    fn the_element_count_follows_the_length() -> Result {
        let mut payload = KVVec::new();
        payload.resize(GSP_PAGE_SIZE - MESSAGE_HEADERS, 0, GFP_KERNEL)?;
        assert_eq!(announced_elements(&message(&payload)?), Ok(1));
        payload.push(0, GFP_KERNEL)?;
        assert_eq!(announced_elements(&message(&payload)?), Ok(2));
        Ok(())
    }

    #[test]
    fn a_flipped_bit_is_a_bad_checksum() -> Result {
        let mut out = message(&[1, 2, 3])?;
        out[MESSAGE_HEADERS] ^= 0x10;
        assert_eq!(decode(&out).err(), Some(FrameError::Checksum));
        Ok(())
    }

    #[test]
    fn absurd_lengths_are_refused() -> Result {
        for length in [0u32, 31, MESSAGE_SIZE_MAX as u32, u32::MAX] {
            let mut out = message(&[])?;
            out[48 + 8..48 + 12].copy_from_slice(&length.to_le_bytes());
            assert_eq!(decode(&out).err(), Some(FrameError::Length));
            assert_eq!(announced_elements(&out), Err(FrameError::Length));
        }
        let mut out = message(&[])?;
        out[40..44].copy_from_slice(&0u32.to_le_bytes());
        assert_eq!(announced_elements(&out), Err(FrameError::Elements));
        assert_eq!(decode(&out[..40]).err(), Some(FrameError::Truncated));
        Ok(())
    }

    #[test]
    fn large_payloads_are_continued() -> Result {
        let mut payload = KVVec::new();
        payload.resize(2 * PAYLOAD_MAX + 1, 5u8, GFP_KERNEL)?;
        let mut lengths = [(0, 0); 4];
        let mut count = 0;
        for (function, piece) in pieces(73, &payload) {
            lengths[count] = (function, piece.len());
            count += 1;
        }
        assert_eq!(count, 3);
        assert_eq!(lengths[0], (73, PAYLOAD_MAX));
        assert_eq!(lengths[1], (function::CONTINUATION_RECORD, PAYLOAD_MAX));
        assert_eq!(lengths[2], (function::CONTINUATION_RECORD, 1));
        assert_eq!(pieces(73, &[]).count(), 1);
        Ok(())
    }
}
