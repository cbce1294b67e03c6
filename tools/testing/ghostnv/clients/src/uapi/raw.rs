// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctl, mmap, dup2")]

//! Calls with any argument whatever, for clients that mean no good.
//!
//! What goes wrong has to go wrong in the kernel. So this side stays sound: descriptors are changed
//! under a call's feet by replacing them, never by closing, and memory behind a mapping is accessed
//! by system calls, which fail where an instruction would be a signal.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr;

use rustix::fs::MemfdFlags;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use rustix::mm::{MapFlags, ProtFlags};

/// As many bytes as the size in an ioctl's number can say.
pub const ARGUMENT_MAX: usize = 1 << 14;

/// An ioctl's argument. Its memory is as large as any number says.
pub struct Argument {
    bytes: Box<[u8; ARGUMENT_MAX]>,
    len: usize,
}

impl Argument {
    /// No bytes.
    pub fn new() -> Self {
        Self { bytes: Box::new([0; ARGUMENT_MAX]), len: 0 }
    }

    /// Adds 32 bits.
    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// Adds 64 bits.
    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// Adds bytes; those that there is no room for are left out.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
        }
        self.len = (self.len + bytes.len()).min(ARGUMENT_MAX);
        self
    }

    /// The bytes so far.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// 32 bits of it.
    pub fn word(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[offset..offset + 4]);
        u32::from_le_bytes(bytes)
    }
}

impl Default for Argument {
    fn default() -> Self {
        Self::new()
    }
}

struct Any<'a> {
    opcode: Opcode,
    argument: &'a mut Argument,
}

// SAFETY: the argument has as much memory as the opcode can say; pointers in it are the concern of
// whoever calls `ioctl`.
unsafe impl Ioctl for Any<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument.bytes.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Calls a DRM ioctl: two bits of direction, the size that is claimed, the number.
///
/// # Safety
///
/// The argument names no memory of this process that the kernel must not write, except in an
/// [`Arena`].
pub unsafe fn ioctl(
    fd: BorrowedFd<'_>,
    direction: u32,
    size: usize,
    number: u8,
    argument: &mut Argument,
) -> io::Result<()> {
    let size = size.min(ARGUMENT_MAX - 1) as u32;
    let opcode = (direction & 3) << 30 | size << 16 | u32::from(b'd') << 8 | u32::from(number);
    // SAFETY: promised by the caller.
    Ok(unsafe { rustix::ioctl::ioctl(fd, Any { opcode, argument }) }?)
}

/// Takes over a descriptor that an ioctl has made.
///
/// # Safety
///
/// An ioctl has just returned it, and nobody else has taken it.
pub unsafe fn take_fd(fd: u32) -> OwnedFd {
    // SAFETY: promised by the caller.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Descriptors that stay valid, though what is behind them changes at any time.
pub struct Slots(Vec<OwnedFd>);

impl Slots {
    /// As many, all the same.
    pub fn new(count: usize, file: &File) -> io::Result<Self> {
        (0..count).map(|_| Ok(file.try_clone()?.into())).collect::<io::Result<_>>().map(Self)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> BorrowedFd<'_> {
        self.0[index % self.0.len()].as_fd()
    }

    /// Closes what is behind one, whoever uses it, and puts something else there.
    pub fn replace(&self, index: usize, with: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self`; this owner never drops.
        let slot = unsafe { OwnedFd::from_raw_fd(self.get(index).as_raw_fd()) };
        let mut slot = ManuallyDrop::new(slot);
        Ok(rustix::io::dup2(with, &mut slot)?)
    }
}

/// Memory that the kernel may read and write as it likes, between two pages where it cannot.
pub struct Arena {
    scratch: File,
    map: Mapping,
}

impl Arena {
    /// Bytes of an arena.
    pub const SIZE: usize = 1 << 20;

    /// All zeroes.
    pub fn new() -> io::Result<Self> {
        let scratch = File::from(rustix::fs::memfd_create("arena", MemfdFlags::CLOEXEC)?);
        scratch.set_len(Self::SIZE as u64)?;
        let map = Mapping::new(scratch.as_fd(), 0, Self::SIZE)?;
        Ok(Self { scratch, map })
    }

    /// Address of a byte.
    pub fn address(&self, offset: usize) -> u64 {
        self.map.at as u64 + offset as u64
    }

    /// Writes bytes, while the kernel may be reading.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let room = Self::SIZE.saturating_sub(offset).min(bytes.len());
        self.scratch.write_all_at(&bytes[..room], offset as u64)
    }
}

/// A mapping that is only touched by the kernel. A page follows it where nothing is.
pub struct Mapping {
    at: *mut c_void,
    len: usize,
}

// SAFETY: nobody has references into it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a part of a file for reading and writing.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let whole = len.checked_add(4096).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: new mappings, the first at an address of the kernel's choice.
        let at = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                whole,
                ProtFlags::empty(),
                MapFlags::PRIVATE,
            )
        }?;
        let this = Self { at, len: whole };
        // SAFETY: it replaces a part of the first one, which nobody knows yet.
        unsafe { rustix::mm::mmap(at, len, prot, flags | MapFlags::FIXED, fd, offset) }?;
        Ok(this)
    }

    /// Writes bytes from the start on; `EFAULT` where there is no memory.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let source = File::from(rustix::fs::memfd_create("bytes", MemfdFlags::CLOEXEC)?);
        source.write_all_at(bytes, 0)?;
        let len = bytes.len().min(self.len - 4096);
        // SAFETY: the mapping is ours, and no reference points into it but this one.
        let to = unsafe { std::slice::from_raw_parts_mut(self.at.cast(), len) };
        source.read_exact_at(to, 0)
    }

    /// Has the kernel write one page, from a file; `EFAULT` where there is no memory.
    pub fn fill(&self, source: &File) -> io::Result<()> {
        // SAFETY: the mapping is ours, and no reference points into it but this one.
        let to = unsafe { std::slice::from_raw_parts_mut(self.at.cast(), 4096) };
        source.read_exact_at(to, 0)
    }

    /// Has the kernel read all of it; `EFAULT` where there is no memory.
    pub fn read(&self) -> io::Result<()> {
        let sink = File::from(rustix::fs::memfd_create("bytes", MemfdFlags::CLOEXEC)?);
        // SAFETY: the mapping is ours, and no reference points into it but this one.
        let from = unsafe { std::slice::from_raw_parts(self.at.cast(), self.len - 4096) };
        sink.write_all_at(from, 0)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference points into it.
        let _ = unsafe { rustix::mm::munmap(self.at, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_change_under_their_users() {
        let null = File::open("/dev/null").unwrap();
        let slots = Slots::new(2, &null).unwrap();
        let arena = Arena::new().unwrap();
        arena.write(5, b"abc").unwrap();
        let before = slots.get(1);
        slots.replace(1, arena.scratch.as_fd()).unwrap();
        let file = File::from(before.try_clone_to_owned().unwrap());
        let mut bytes = [0; 3];
        file.read_exact_at(&mut bytes, 5).unwrap();
        assert_eq!(&bytes, b"abc");
    }

    #[test]
    fn a_mapping_without_memory_fails_softly() {
        let empty = File::from(rustix::fs::memfd_create("empty", MemfdFlags::CLOEXEC).unwrap());
        let mapping = Mapping::new(empty.as_fd(), 0, 8192).unwrap();
        assert_eq!(mapping.write(b"x").unwrap_err().raw_os_error(), Some(14));
        empty.set_len(8192).unwrap();
        mapping.write(b"x").unwrap();
        mapping.read().unwrap();
    }
}
