// SPDX-License-Identifier: GPL-2.0 OR MIT

//! vfio-user messages as bytes.
//!
//! Every message is a 16-byte header and a body; all fields are little-endian here, because both
//! ends run on the same host. Parsing borrows the body, checks every length, and knows nothing of
//! the device, so that it can be fed arbitrary bytes.

use rustix::io::Errno;

/// Bytes of the header.
pub const HEADER: usize = 16;
/// Largest region access that is served, as `max_data_xfer_size` says.
pub const MAX_XFER: usize = 1 << 20;
/// Largest message that is read rather than drained.
pub const MAX_MESSAGE: usize = MAX_XFER + 4096;
/// Most descriptors in one message, as `max_msg_fds` says.
pub const MAX_FDS: usize = 16;

/// Header flag: this is a reply.
pub const FLAG_REPLY: u32 = 1;
/// Header flag: the sender wants no reply.
pub const FLAG_NO_REPLY: u32 = 0x10;
/// Header flag: the reply carries an error number.
pub const FLAG_ERROR: u32 = 0x20;

/// A message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the client, repeated in the reply.
    pub id: u16,
    /// Command.
    pub command: u16,
    /// Bytes of the message with its header.
    pub size: u32,
    /// `FLAG_*`; the low four bits are the type.
    pub flags: u32,
    /// Error number of a reply.
    pub error: u32,
}

impl Header {
    /// Reads a header; None if there are too few bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        let (id, command) = (f.u16().ok()?, f.u16().ok()?);
        let (size, flags, error) = (f.u32().ok()?, f.u32().ok()?, f.u32().ok()?);
        Some(Self { id, command, size, flags, error })
    }

    /// The header as bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0..2].copy_from_slice(&self.id.to_le_bytes());
        out[2..4].copy_from_slice(&self.command.to_le_bytes());
        out[4..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..12].copy_from_slice(&self.flags.to_le_bytes());
        out[12..16].copy_from_slice(&self.error.to_le_bytes());
        out
    }

    /// Whether the client waits for a reply.
    pub fn wants_reply(&self) -> bool {
        self.flags & FLAG_NO_REPLY == 0
    }
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// First message: protocol version and capabilities as JSON.
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
        /// JSON text without its terminating zero; may be empty.
        caps: &'a [u8],
    },
    /// Guest memory becomes reachable.
    DmaMap {
        /// Bit 0 readable, bit 1 writable.
        flags: u32,
        /// Offset in the descriptor that comes along.
        offset: u64,
        /// Guest physical address.
        iova: u64,
        /// Bytes.
        size: u64,
    },
    /// Guest memory goes away.
    DmaUnmap {
        /// Bit 0 dirty bitmap wanted, bit 1 everything.
        flags: u32,
        /// Guest physical address.
        iova: u64,
        /// Bytes.
        size: u64,
    },
    /// What the device is.
    DeviceInfo,
    /// What a region is.
    RegionInfo {
        /// Room for the answer.
        argsz: u32,
        /// Region.
        index: u32,
    },
    /// What an interrupt is.
    IrqInfo {
        /// Interrupt.
        index: u32,
    },
    /// Sets, masks or triggers interrupts.
    SetIrqs {
        /// One `IRQ_DATA_*` and one `IRQ_ACTION_*`.
        flags: u32,
        /// Interrupt.
        index: u32,
        /// First vector.
        start: u32,
        /// Vectors.
        count: u32,
        /// One byte a vector with `IRQ_DATA_BOOL`.
        data: &'a [u8],
    },
    /// Reads a region.
    Read {
        /// Region.
        region: u32,
        /// Offset in it.
        offset: u64,
        /// Bytes.
        count: u32,
    },
    /// Writes a region.
    Write(Write<'a>),
    /// Several posted writes.
    WriteMulti(WriteMulti<'a>),
    /// Function-level reset.
    Reset,
}

/// One region write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// Region.
    pub region: u32,
    /// Offset in it.
    pub offset: u64,
    /// What is written.
    pub data: &'a [u8],
}

/// The body of a REGION_WRITE_MULTI: 24-byte records with up to 8 bytes of data each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteMulti<'a>(&'a [u8]);

const MULTI_RECORD: usize = 24;

impl<'a> Iterator for WriteMulti<'a> {
    type Item = Write<'a>;

    fn next(&mut self) -> Option<Write<'a>> {
        let (record, rest) = self.0.split_at_checked(MULTI_RECORD)?;
        self.0 = rest;
        let mut f = Fields(record);
        let (offset, region, count) = (f.u64().ok()?, f.u32().ok()?, f.u32().ok()?);
        Some(Write { region, offset, data: f.0.get(..count as usize)? })
    }
}

/// Parses a request's body.
pub fn parse(command: u16, body: &[u8]) -> Result<Request<'_>, Errno> {
    let mut f = Fields(body);
    match command {
        1 => {
            let (major, minor) = (f.u16()?, f.u16()?);
            let end = f.0.iter().position(|&b| b == 0).unwrap_or(f.0.len());
            Ok(Request::Version { major, minor, caps: &f.0[..end] })
        }
        2 => {
            let (_argsz, flags, offset) = (f.u32()?, f.u32()?, f.u64()?);
            Ok(Request::DmaMap { flags, offset, iova: f.u64()?, size: f.u64()? })
        }
        3 => {
            let (_argsz, flags) = (f.u32()?, f.u32()?);
            Ok(Request::DmaUnmap { flags, iova: f.u64()?, size: f.u64()? })
        }
        4 => Ok(Request::DeviceInfo),
        5 => {
            let (argsz, _flags) = (f.u32()?, f.u32()?);
            Ok(Request::RegionInfo { argsz, index: f.u32()? })
        }
        7 => {
            let (_argsz, _flags) = (f.u32()?, f.u32()?);
            Ok(Request::IrqInfo { index: f.u32()? })
        }
        8 => {
            let (_argsz, flags, index) = (f.u32()?, f.u32()?, f.u32()?);
            let (start, count) = (f.u32()?, f.u32()?);
            Ok(Request::SetIrqs { flags, index, start, count, data: f.0 })
        }
        9 => {
            let (offset, region, count) = (f.u64()?, f.u32()?, f.u32()?);
            Ok(Request::Read { region, offset, count })
        }
        10 => {
            let (offset, region, count) = (f.u64()?, f.u32()?, f.u32()?);
            let data = f.0.get(..count as usize).ok_or(Errno::INVAL)?;
            Ok(Request::Write(Write { region, offset, data }))
        }
        13 => Ok(Request::Reset),
        15 => parse_multi(f),
        // Region ioeventfds, DMA by message and dirty pages are not offered.
        6 | 11 | 12 | 14 => Err(Errno::OPNOTSUPP),
        _ => Err(Errno::NOSYS),
    }
}

fn parse_multi(mut f: Fields<'_>) -> Result<Request<'_>, Errno> {
    let count = usize::try_from(f.u64()?).map_err(|_| Errno::INVAL)?;
    let bytes = count.checked_mul(MULTI_RECORD).ok_or(Errno::INVAL)?;
    let records = WriteMulti(f.0.get(..bytes).ok_or(Errno::INVAL)?);
    // A record that claims more data than it has room for would end the iteration early.
    if records.count() != count {
        return Err(Errno::INVAL);
    }
    Ok(Request::WriteMulti(records))
}

/// Takes little-endian fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Errno::INVAL)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, Errno> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Errno> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Errno> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn multi_splits_into_writes_and_rejects_overlong_records() {
        let mut body = 2u64.to_le_bytes().to_vec();
        for (offset, count) in [(0x100u64, 4u32), (0x200, 8)] {
            body.extend(offset.to_le_bytes());
            body.extend(0u32.to_le_bytes());
            body.extend(count.to_le_bytes());
            body.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        }
        let Ok(Request::WriteMulti(multi)) = parse(15, &body) else { panic!("not parsed") };
        let got: Vec<_> = multi.map(|w| (w.offset, w.data.to_vec())).collect();
        assert_eq!(got[0], (0x100, vec![1, 2, 3, 4]));
        assert_eq!(got[1], (0x200, vec![1, 2, 3, 4, 5, 6, 7, 8]));

        body[20] = 9;
        assert_eq!(parse(15, &body), Err(Errno::INVAL));
        body[0] = 3;
        assert_eq!(parse(15, &body), Err(Errno::INVAL));
    }

    #[test]
    fn headers_round_trip() {
        let h = Header { id: 7, command: 9, size: 32, flags: FLAG_NO_REPLY, error: 0 };
        assert_eq!(Header::parse(&h.bytes()), Some(h));
        assert!(!h.wants_reply());
        assert_eq!(Header::parse(&h.bytes()[..15]), None);
    }

    proptest! {
        #[test]
        fn any_body_parses_or_fails(command in 0u16..20, body in prop::collection::vec(any::<u8>(), 0..128)) {
            if let Ok(Request::WriteMulti(m)) = parse(command, &body) {
                prop_assert!(m.count() <= body.len());
            }
        }
    }
}
