// SPDX-License-Identifier: GPL-2.0

//! The two rings that driver and firmware talk through.
//!
//! Both are in one piece of system memory: a page with the bus addresses of all its pages, the
//! command ring that the driver writes and the message ring that the firmware writes. A ring's
//! write pointer is in its own header and its read pointer in the *other* ring's, so that each
//! side only ever writes its own half. Pointers count elements of 4 KiB; a ring is empty when
//! they are equal and holds one element less than it has.
//!
//! Everything is copied out before it is looked at. The firmware may write its half at any time,
//! and a check means nothing for memory that can change after it.
//!
//! Facts: open-gpu-kernel-modules 570.144, `msgq_priv.h` and `message_queue_cpu.c`.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        DmaAddress, //
    },
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    sync::barrier::{
        dma_mb,
        Full,
        Read,
        Write, //
    },
};

use super::{
    abi::{
        queue,
        QueueHeader,
        GSP_PAGE_SIZE, //
    },
    buffer::Buffer,
    wire, //
};

/// Memory that holds both rings: the device's, or a test's.
pub(crate) trait QueueMemory {
    /// Reads the word at byte `offset`.
    fn load(&self, offset: usize) -> Result<u32>;
    /// Writes the word at byte `offset`.
    fn store(&mut self, offset: usize, value: u32) -> Result;
    /// Copies out.
    fn read(&self, offset: usize, out: &mut [u8]) -> Result;
    /// Copies in.
    fn write(&mut self, offset: usize, data: &[u8]) -> Result;
}

/// Queue memory that the GSP reaches.
pub(crate) struct SharedMemory(Coherent<[u8]>);

impl SharedMemory {
    /// Allocates the memory and fills in the page addresses.
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        let mut memory = Self(Coherent::zeroed_slice(dev, queue::MEMORY, GFP_KERNEL)?);
        let base = memory.dma_address();
        for page in 0..Self::PAGES {
            let address = page
                .checked_mul(GSP_PAGE_SIZE)
                .and_then(|offset| base.checked_add(offset as u64))
                .ok_or(EOVERFLOW)?;
            memory.write(page * size_of::<u64>(), &address.to_le_bytes())?;
        }
        Ok(memory)
    }

    /// Count of pages, and of entries in the first one.
    pub(crate) const PAGES: usize = queue::MEMORY / GSP_PAGE_SIZE;

    /// Bus address of the memory.
    pub(crate) fn dma_address(&self) -> DmaAddress {
        self.0.dma_address()
    }
}

impl QueueMemory for SharedMemory {
    fn load(&self, offset: usize) -> Result<u32> {
        let end = offset.checked_add(size_of::<u32>()).ok_or(EINVAL)?;
        let word = io_project!(self.0, [try: offset..end]).try_cast::<u32>()?;
        Ok(u32::from_le(word.read_val()))
    }

    fn store(&mut self, offset: usize, value: u32) -> Result {
        let end = offset.checked_add(size_of::<u32>()).ok_or(EINVAL)?;
        let word = io_project!(self.0, [try: offset..end]).try_cast::<u32>()?;
        word.write_val(value.to_le());
        Ok(())
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        let end = offset.checked_add(out.len()).ok_or(EINVAL)?;
        io_project!(self.0, [try: offset..end]).copy_to_slice(out);
        Ok(())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result {
        let end = offset.checked_add(data.len()).ok_or(EINVAL)?;
        io_project!(self.0, [try: offset..end]).copy_from_slice(data);
        Ok(())
    }
}

/// Elements between `from` and `to`, going forward around the ring.
const fn distance(from: u32, to: u32) -> u32 {
    (to + queue::ELEMENTS - from) % queue::ELEMENTS
}

/// What taking a message out of the ring gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There is none, or its last element is not written yet.
    Nothing,
    /// One; its bytes are in the caller's buffer.
    Message,
    /// One that cannot be; it has been dropped.
    Bad(wire::FrameError),
}

/// Both rings, seen from the driver.
pub(crate) struct Rings<M> {
    memory: M,
    /// Next sequence number of a message of ours.
    sequence: u32,
    /// Our own pointers. Shared memory gets copies; it is never asked for them.
    write: u32,
    read: u32,
}

impl<M: QueueMemory> Rings<M> {
    /// Makes the command ring ready. The firmware does the same with the other when it starts.
    pub(crate) fn new(mut memory: M) -> Result<Self> {
        let header = QueueHeader {
            version: 0,
            size: u32::try_from(queue::SIZE)?,
            element_size: u32::try_from(GSP_PAGE_SIZE)?,
            element_count: queue::ELEMENTS,
            write_pointer: 0,
            flags: 1,
            read_pointer_offset: u32::try_from(queue::READ_POINTER)?,
            entries_offset: u32::try_from(queue::ENTRIES)?,
        };
        memory.write(queue::COMMAND, header.as_bytes())?;
        memory.store(queue::COMMAND + queue::READ_POINTER, 0)?;
        Ok(Self {
            memory,
            sequence: 0,
            write: 0,
            read: 0,
        })
    }

    /// The memory behind the rings.
    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }

    /// Sequence number that the next message must carry.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence
    }

    /// Elements that a message may take now.
    pub(crate) fn free(&self) -> Result<u32> {
        let read = self.pointer(queue::MESSAGE + queue::READ_POINTER)?;
        Ok(queue::ELEMENTS - 1 - distance(read, self.write))
    }

    /// Reads a pointer that the firmware writes; outside the ring it is an error.
    fn pointer(&self, offset: usize) -> Result<u32> {
        let value = self.memory.load(offset)?;
        if value < queue::ELEMENTS {
            Ok(value)
        } else {
            Err(EIO)
        }
    }

    /// Puts a message, which must be whole elements, into the command ring.
    ///
    /// `EAGAIN` says that the firmware has to read some of what is in the ring first.
    pub(crate) fn put(&mut self, message: &[u8]) -> Result {
        let count = wire::elements(message.len())?;
        if count == 0 || count > self.free()? {
            return Err(EAGAIN);
        }
        for (index, element) in (0..).zip(message.chunks(GSP_PAGE_SIZE)) {
            let slot = (self.write + index) % queue::ELEMENTS;
            self.memory
                .write(queue::COMMAND + element_offset(slot), element)?;
        }
        self.write = (self.write + count) % queue::ELEMENTS;
        self.sequence = self.sequence.wrapping_add(1);
        // The elements are visible before the pointer that says so.
        dma_mb(Write);
        self.memory
            .store(queue::COMMAND + queue::WRITE_POINTER, self.write)
    }

    /// Takes the next message out of the message ring, into `out`.
    pub(crate) fn take(&mut self, out: &mut Buffer) -> Result<Taken> {
        let write = self.pointer(queue::MESSAGE + queue::WRITE_POINTER)?;
        let available = distance(self.read, write);
        if available == 0 {
            return Ok(Taken::Nothing);
        }
        // The pointer is read before what it points to.
        dma_mb(Read);

        out.clear();
        out.append_zeros(GSP_PAGE_SIZE)?;
        self.read_element(self.read, out)?;
        let count = match wire::announced_elements(out) {
            Ok(count) if count <= available => count,
            Ok(_) => return self.drop_bad(available, wire::FrameError::Elements),
            Err(e) => return self.drop_bad(1, e),
        };
        for index in 1..count {
            let start = out.len();
            out.append_zeros(GSP_PAGE_SIZE)?;
            let tail = out.get_mut(start..).ok_or(EINVAL)?;
            self.read_element((self.read + index) % queue::ELEMENTS, tail)?;
        }
        self.advance(count)?;
        // From here on only the copy counts; the first element was read once.
        Ok(match wire::decode(out) {
            Ok(_) => Taken::Message,
            Err(e) => Taken::Bad(e),
        })
    }

    fn read_element(&self, slot: u32, out: &mut [u8]) -> Result {
        self.memory.read(queue::MESSAGE + element_offset(slot), out)
    }

    fn drop_bad(&mut self, count: u32, error: wire::FrameError) -> Result<Taken> {
        self.advance(count)?;
        Ok(Taken::Bad(error))
    }

    /// Gives elements back to the firmware.
    fn advance(&mut self, count: u32) -> Result {
        self.read = (self.read + count) % queue::ELEMENTS;
        // The copies are complete before the firmware may overwrite the originals.
        dma_mb(Full);
        self.memory
            .store(queue::COMMAND + queue::READ_POINTER, self.read)
    }
}

/// Where in its ring an element starts.
const fn element_offset(slot: u32) -> usize {
    queue::ENTRIES + (slot % queue::ELEMENTS) as usize * GSP_PAGE_SIZE
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_queue)]
mod tests {
    use super::{
        super::abi::{
            function,
            MESSAGE_SIZE_MAX, //
        },
        *, //
    };

    /// Rings in plain memory, and what the firmware would do to them.
    struct Fake(KVVec<u8>);

    impl QueueMemory for Fake {
        fn load(&self, offset: usize) -> Result<u32> {
            let mut word = [0; 4];
            self.read(offset, &mut word)?;
            Ok(u32::from_le_bytes(word))
        }
        fn store(&mut self, offset: usize, value: u32) -> Result {
            self.write(offset, &value.to_le_bytes())
        }
        fn read(&self, offset: usize, out: &mut [u8]) -> Result {
            let end = offset + out.len();
            out.copy_from_slice(self.0.get(offset..end).ok_or(EINVAL)?);
            Ok(())
        }
        fn write(&mut self, offset: usize, data: &[u8]) -> Result {
            let end = offset + data.len();
            self.0
                .get_mut(offset..end)
                .ok_or(EINVAL)?
                .copy_from_slice(data);
            Ok(())
        }
    }

    fn buffers() -> Result<(Buffer, Buffer)> {
        Ok((
            Buffer::new(MESSAGE_SIZE_MAX)?,
            Buffer::new(MESSAGE_SIZE_MAX)?,
        ))
    }

    impl Rings<Fake> {
        fn fake() -> Result<Self> {
            let mut memory = KVVec::new();
            memory.resize(queue::MEMORY, 0, GFP_KERNEL)?;
            Self::new(Fake(memory))
        }

        /// The firmware writes a message at its pointer.
        fn firmware_writes(&mut self, message: &[u8]) -> Result {
            let at = queue::MESSAGE + queue::WRITE_POINTER;
            let mut write = self.memory.load(at)?;
            for element in message.chunks(GSP_PAGE_SIZE) {
                self.memory
                    .write(queue::MESSAGE + element_offset(write), element)?;
                write = (write + 1) % queue::ELEMENTS;
            }
            self.memory.store(at, write)
        }

        /// The firmware reads all that is in the command ring, and writes the same.
        fn firmware_echoes(&mut self) -> Result {
            let at = queue::MESSAGE + queue::READ_POINTER;
            let write = self.memory.load(queue::COMMAND + queue::WRITE_POINTER)?;
            let mut read = self.memory.load(at)?;
            let mut element = KVVec::from_elem(0u8, GSP_PAGE_SIZE, GFP_KERNEL)?;
            while read != write {
                self.memory
                    .read(queue::COMMAND + element_offset(read), &mut element)?;
                self.firmware_writes(&element)?;
                read = (read + 1) % queue::ELEMENTS;
            }
            self.memory.store(at, read)
        }

        /// Takes all messages of call 9 and puts their payloads together; returns how many.
        fn join(&mut self, first: u32, got: &mut Buffer, joined: &mut KVVec<u8>) -> Result<usize> {
            let mut count = 0;
            while self.take(got)? == Taken::Message {
                let message = wire::decode(got)?;
                let expected = if joined.is_empty() && count == 0 {
                    first
                } else {
                    function::CONTINUATION_RECORD
                };
                if (message.function, message.sequence) != (expected, 9) {
                    return Err(EBADMSG);
                }
                joined.extend_from_slice(message.payload, GFP_KERNEL)?;
                count += 1;
            }
            Ok(count)
        }
    }

    #[test]
    fn a_ring_holds_one_element_less_than_it_has() -> Result {
        let mut rings = Rings::fake()?;
        let mut out = Buffer::new(MESSAGE_SIZE_MAX)?;
        for n in 0..queue::ELEMENTS - 1 {
            assert_eq!(rings.next_sequence(), n);
            wire::encode(&mut out, n, 0, 1, &[])?;
            rings.put(&out)?;
        }
        assert_eq!(rings.free()?, 0);
        assert_eq!(rings.put(&out), Err(EAGAIN));
        rings
            .memory
            .store(queue::MESSAGE + queue::READ_POINTER, 62)?;
        assert_eq!(rings.free()?, queue::ELEMENTS - 1);
        Ok(())
    }

    #[test]
    fn messages_wrap_in_both_directions() -> Result {
        let mut rings = Rings::fake()?;
        let (mut out, mut got) = buffers()?;
        let mut payload = KVVec::new();
        payload.resize(wire::PAYLOAD_MAX, 0x5a, GFP_KERNEL)?;
        wire::encode(&mut out, 0, 0, 1, &payload)?;
        for _ in 0..10 {
            rings.put(&out)?;
            let write = rings.write;
            rings
                .memory
                .store(queue::MESSAGE + queue::READ_POINTER, write)?;
            rings.firmware_writes(&out)?;
            assert_eq!(rings.take(&mut got)?, Taken::Message);
            assert!(got[..] == out[..]);
            assert_eq!(rings.take(&mut got)?, Taken::Nothing);
        }
        Ok(())
    }

    #[test]
    fn pointers_outside_the_ring_are_errors() -> Result {
        let mut rings = Rings::fake()?;
        let (_, mut got) = buffers()?;
        rings
            .memory
            .store(queue::MESSAGE + queue::WRITE_POINTER, queue::ELEMENTS)?;
        assert_eq!(rings.take(&mut got), Err(EIO));
        rings
            .memory
            .store(queue::MESSAGE + queue::READ_POINTER, u32::MAX)?;
        assert_eq!(rings.free(), Err(EIO));
        Ok(())
    }

    #[test]
    fn bad_messages_are_dropped_and_the_next_one_is_read() -> Result {
        let mut rings = Rings::fake()?;
        let (mut out, mut got) = buffers()?;
        wire::encode(&mut out, 0, 0, 1, &[1])?;
        out[80] ^= 1;
        rings.firmware_writes(&out)?;
        out[80] ^= 1;
        rings.firmware_writes(&out)?;
        assert_eq!(
            rings.take(&mut got)?,
            Taken::Bad(wire::FrameError::Checksum)
        );
        assert_eq!(rings.take(&mut got)?, Taken::Message);

        // A message that claims more elements than the firmware has written.
        let mut large = KVVec::new();
        large.resize(GSP_PAGE_SIZE, 0, GFP_KERNEL)?;
        wire::encode(&mut out, 0, 0, 1, &large)?;
        rings.firmware_writes(&out[..GSP_PAGE_SIZE])?;
        assert_eq!(
            rings.take(&mut got)?,
            Taken::Bad(wire::FrameError::Elements)
        );
        Ok(())
    }

    #[test]
    fn what_exceeds_a_message_crosses_in_pieces() -> Result {
        const MAX: usize = wire::PAYLOAD_MAX;
        let (mut out, mut got) = buffers()?;
        // Three full messages fit into a ring.
        for (bytes, messages, waits) in [
            (0, 1, 0),
            (MAX - 1, 1, 0),
            (MAX, 1, 0),
            (MAX + 1, 2, 0),
            (3 * MAX, 3, 0),
            (8 * MAX + 5, 9, 2),
        ] {
            let mut rings = Rings::fake()?;
            let (mut sent, mut joined) = (KVVec::new(), KVVec::new());
            sent.extend_with(bytes, 0u8, GFP_KERNEL)?;
            for (byte, index) in sent.iter_mut().zip((0u32..).step_by(7)) {
                *byte = (index % 251) as u8;
            }
            let (mut taken, mut waited) = (0, 0);
            for (function, piece) in wire::pieces(73, &sent) {
                wire::encode(&mut out, rings.next_sequence(), 9, function, piece)?;
                if rings.put(&out) == Err(EAGAIN) {
                    waited += 1;
                    rings.firmware_echoes()?;
                    taken += rings.join(73, &mut got, &mut joined)?;
                    rings.put(&out)?;
                }
            }
            rings.firmware_echoes()?;
            taken += rings.join(73, &mut got, &mut joined)?;
            assert_eq!((taken, waited), (messages, waits));
            assert_eq!(rings.next_sequence() as usize, messages);
            assert!(joined[..] == sent[..]);
        }
        Ok(())
    }
}
