// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctl and mmap")]

//! One open file of the device, and what is made from it.
//!
//! Objects borrow nothing: like an application, a test may use a handle after it was freed, and
//! the kernel has to say no. Closing the file frees everything.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags};

use super::abi::{self, nr, nvif};

/// Start of the part of the address space that the kernel keeps for itself.
const KERNEL_VA: u64 = 1 << 39;

/// A read-write ioctl whose argument is one `T`.
struct ReadWrite<'a, T> {
    opcode: Opcode,
    data: &'a mut T,
}

// SAFETY: the opcode states the size of `T`, so the kernel touches no other bytes; what pointers
// inside `T` name is up to the callers of `call`.
unsafe impl<T> Ioctl for ReadWrite<'_, T> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.data).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Calls an ioctl.
///
/// # Safety
///
/// `T` is one of [`abi`]'s structures, the one that belongs to the number, and memory that it
/// names is alive, and writable where the kernel writes it.
pub(super) unsafe fn call<T>(
    fd: BorrowedFd<'_>,
    group: u8,
    number: u8,
    data: &mut T,
) -> io::Result<()> {
    let opcode = opcode::read_write::<T>(group, number);
    // SAFETY: promised by the caller.
    Ok(unsafe { rustix::ioctl::ioctl(fd, ReadWrite { opcode, data }) }?)
}

/// Whether an error says that the channel or the device is dead.
pub fn is_dead(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The time at which to give up, as the ioctls take it.
pub(super) fn until(limit: Duration) -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let until = Duration::new(now.tv_sec as u64, now.tv_nsec as u32).saturating_add(limit);
    i64::try_from(until.as_nanos()).unwrap_or(i64::MAX)
}

/// Whether a wait ended in time.
pub(super) fn in_time(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::TIME.raw_os_error()) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The engine of a channel, as CHANNEL_ALLOC names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Graphics and compute, with a copy engine beside.
    Graphics,
    /// A copy engine.
    Copy,
}

/// An open device file.
pub struct Client {
    file: File,
}

impl Client {
    /// Opens the device and takes charge of its address space below the kernel's part.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let client = Self { file };
        let mut init =
            abi::VmInit { kernel_managed_addr: KERNEL_VA, kernel_managed_size: KERNEL_VA };
        // SAFETY: the structure names no memory.
        unsafe { client.drm(nr::VM_INIT, &mut init) }.context("VM_INIT")?;
        Ok(client)
    }

    /// The open file.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// # Safety
    ///
    /// As for [`call`].
    pub(super) unsafe fn drm<T>(&self, number: u8, data: &mut T) -> io::Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call(self.file.as_fd(), abi::TYPE_DRM, number, data) }
    }

    /// GETPARAM.
    pub fn param(&self, param: u64) -> io::Result<u64> {
        let mut data = abi::GetParam { param, value: 0 };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::GETPARAM, &mut data) }?;
        Ok(data.value)
    }

    /// Has `count` channels of each engine at a time, and frees them. A driver may keep some of
    /// their memory for those that come next.
    pub fn warm_up(&self, count: usize) -> anyhow::Result<()> {
        for engine in [Engine::Copy, Engine::Graphics] {
            let channels: Vec<Channel> =
                (0..count).map(|_| self.channel(engine)).collect::<anyhow::Result<_>>()?;
            for channel in &channels {
                self.free(channel)?;
            }
        }
        Ok(())
    }

    /// CHANNEL_ALLOC, and a copy object on the channel.
    pub fn channel(&self, engine: Engine) -> anyhow::Result<Channel> {
        let mut data = abi::ChannelAlloc {
            fb_ctxdma_handle: u32::MAX,
            tt_ctxdma_handle: if engine == Engine::Graphics { 0x01 } else { 0x30 },
            ..abi::ChannelAlloc::default()
        };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::CHANNEL_ALLOC, &mut data) }.context("CHANNEL_ALLOC")?;
        let channel = Channel { id: data.channel, notifier: data.notifier_handle };
        let class = self.copy_class(&channel)?;
        let header = abi::NvifHeader {
            kind: nvif::NEW,
            owner: nvif::OWNER_ANY,
            route: nvif::ROUTE_CHANNEL,
            token: channel.id as u64,
            ..abi::NvifHeader::default()
        };
        let mut new = abi::NvifNew {
            header,
            route: nvif::ROUTE_CHANNEL,
            token: channel.id as u64,
            object: 0xc0b1_0000 + channel.id as u64,
            handle: (0xbeef + channel.id as u32) << 16,
            oclass: class,
            ..abi::NvifNew::default()
        };
        // SAFETY: the kernel takes `object` as a cookie and never follows it.
        unsafe { self.drm(nr::NVIF, &mut new) }
            .with_context(|| format!("NVIF NEW of class {class:#x}"))?;
        Ok(channel)
    }

    /// The newest copy class of a channel.
    pub fn copy_class(&self, channel: &Channel) -> anyhow::Result<i32> {
        let mut data = abi::NvifClasses {
            header: abi::NvifHeader {
                kind: nvif::SCLASS,
                owner: nvif::OWNER_ANY,
                route: nvif::ROUTE_CHANNEL,
                token: channel.id as u64,
                ..abi::NvifHeader::default()
            },
            count: 16,
            ..abi::NvifClasses::default()
        };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::NVIF, &mut data) }.context("NVIF SCLASS")?;
        let listed = data.list.iter().take(data.count.into()).map(|c| c.oclass);
        listed.filter(|c| c & 0xff == 0xb5).max().context("the channel lists no copy class")
    }

    /// CHANNEL_FREE.
    pub fn free(&self, channel: &Channel) -> io::Result<()> {
        let mut data = abi::ChannelFree { channel: channel.id };
        // SAFETY: the structures name no memory.
        unsafe { self.drm(nr::CHANNEL_FREE, &mut data) }?;
        let mut close = abi::Handle { handle: channel.notifier, flags: 0 };
        // SAFETY: as above.
        unsafe { self.drm(nr::GEM_CLOSE, &mut close) }
    }

    /// GEM_NEW of mapped memory in a domain, and VM_BIND of it at `va`. Nobody else may get it.
    pub fn bo(&self, domain: u32, size: u64, va: u64) -> anyhow::Result<Bo> {
        self.shareable_bo(domain | abi::DOMAIN_NO_SHARE, size, va)
    }

    /// As [`bo`](Self::bo), of memory that others may get.
    pub fn shareable_bo(&self, domain: u32, size: u64, va: u64) -> anyhow::Result<Bo> {
        let data = self.new_object(domain, size).context("GEM_NEW")?;
        let bo = Bo::map(self.file.as_fd(), data.handle, data.map_handle, size, va)?;
        self.bind(&bo, abi::BIND_MAP).context("VM_BIND MAP")?;
        Ok(bo)
    }

    /// GEM_NEW of mappable memory in a domain.
    pub fn new_object(&self, domain: u32, size: u64) -> io::Result<abi::GemNew> {
        let mut data = abi::GemNew {
            domain: domain | abi::DOMAIN_MAPPABLE,
            size,
            align: 0x1000,
            ..abi::GemNew::default()
        };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::GEM_NEW, &mut data) }?;
        Ok(data)
    }

    /// VM_BIND: takes a buffer object out of the address space.
    pub fn unmap(&self, bo: &Bo) -> io::Result<()> {
        self.bind(bo, abi::BIND_UNMAP)
    }

    fn bind(&self, bo: &Bo, op: u32) -> io::Result<()> {
        let handle = if op == abi::BIND_MAP { bo.handle } else { 0 };
        self.bind_handle(handle, bo.size, bo.va, op)
    }

    /// VM_BIND of a whole object.
    pub(super) fn bind_handle(
        &self,
        handle: u32,
        range: u64,
        addr: u64,
        op: u32,
    ) -> io::Result<()> {
        let op = abi::BindOp { op, handle, addr, range, ..Default::default() };
        let op_ptr = ptr::from_ref(&op) as u64;
        let mut data = abi::VmBind { op_count: 1, op_ptr, ..Default::default() };
        // SAFETY: `op` outlives the call, and the kernel only reads it.
        unsafe { self.drm(nr::VM_BIND, &mut data) }
    }

    /// GEM_CLOSE.
    pub fn close(&self, bo: &Bo) -> io::Result<()> {
        let mut data = abi::Handle { handle: bo.handle, flags: 0 };
        // SAFETY: the structure names no memory. The CPU's mapping holds the object by itself.
        unsafe { self.drm(nr::GEM_CLOSE, &mut data) }
    }

    /// SYNCOBJ_CREATE.
    pub fn syncobj(&self) -> io::Result<Syncobj> {
        let mut data = abi::Handle::default();
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::SYNCOBJ_CREATE, &mut data) }?;
        Ok(Syncobj(data.handle))
    }

    /// SYNCOBJ_DESTROY.
    pub fn destroy(&self, syncobj: &Syncobj) -> io::Result<()> {
        let mut data = abi::Handle { handle: syncobj.0, flags: 0 };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::SYNCOBJ_DESTROY, &mut data) }
    }

    /// EXEC of (address, length) pushes, which signals a syncobj.
    pub fn exec(
        &self,
        channel: &Channel,
        pushes: &[(u64, u32)],
        signal: &Syncobj,
    ) -> io::Result<()> {
        let push = |&(va, va_len): &(u64, u32)| abi::Push { va, va_len, flags: 0 };
        let pushes: Vec<abi::Push> = pushes.iter().map(push).collect();
        let sync = abi::Sync { handle: signal.0, ..abi::Sync::default() };
        let mut data = abi::Exec {
            channel: channel.id as u32,
            push_count: pushes.len() as u32,
            sig_count: 1,
            sig_ptr: ptr::from_ref(&sync) as u64,
            push_ptr: pushes.as_ptr() as u64,
            ..abi::Exec::default()
        };
        // SAFETY: `pushes` and `sync` outlive the call, and the kernel only reads them.
        unsafe { self.drm(nr::EXEC, &mut data) }
    }

    /// SYNCOBJ_WAIT: whether the fence signalled in time.
    pub fn wait(&self, syncobj: &Syncobj, limit: Duration) -> io::Result<bool> {
        let mut data = abi::SyncobjWait {
            handles: ptr::from_ref(&syncobj.0) as u64,
            timeout_nsec: until(limit),
            count_handles: 1,
            flags: abi::WAIT_FOR_SUBMIT,
            ..abi::SyncobjWait::default()
        };
        // SAFETY: the one handle outlives the call, and the kernel only reads it.
        in_time(unsafe { self.drm(nr::SYNCOBJ_WAIT, &mut data) })
    }

    /// The state of the fence in a syncobj.
    pub fn status(&self, syncobj: &Syncobj) -> io::Result<FenceStatus> {
        let flags = abi::EXPORT_SYNC_FILE;
        let mut data =
            abi::SyncobjHandle { handle: syncobj.0, flags, fd: -1, ..Default::default() };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::SYNCOBJ_HANDLE_TO_FD, &mut data) }?;
        // SAFETY: the kernel has just made this descriptor for us.
        let file = unsafe { OwnedFd::from_raw_fd(data.fd) };
        let mut info = abi::SyncFileInfo::default();
        // SAFETY: without room for fences the structure names no memory.
        unsafe { call(file.as_fd(), abi::TYPE_SYNC, abi::SYNC_FILE_INFO, &mut info) }?;
        Ok(match info.status {
            0 => FenceStatus::Active,
            1.. => FenceStatus::Signalled,
            error => FenceStatus::Failed(io::Error::from_raw_os_error(-error)),
        })
    }
}

/// A channel.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// The kernel's name for it.
    pub id: i32,
    notifier: u32,
}

/// A syncobj.
#[derive(Debug)]
pub struct Syncobj(pub(super) u32);

impl Syncobj {
    /// The kernel's name for it.
    pub fn handle(&self) -> u32 {
        self.0
    }
}

/// The state of a fence.
#[derive(Debug)]
pub enum FenceStatus {
    /// Not signalled yet.
    Active,
    /// Signalled without an error.
    Signalled,
    /// Signalled with an error.
    Failed(io::Error),
}

/// A buffer object, mapped by the CPU and at one GPU address.
pub struct Bo {
    /// The client's name for it.
    pub handle: u32,
    /// Bytes.
    pub size: u64,
    /// Its GPU address.
    pub va: u64,
    map: *mut u8,
}

impl Bo {
    /// Maps an object of an open device for the CPU.
    pub(super) fn map(
        device: BorrowedFd<'_>,
        handle: u32,
        offset: u64,
        size: u64,
        va: u64,
    ) -> anyhow::Result<Self> {
        let (len, prot) = (usize::try_from(size)?, ProtFlags::READ | ProtFlags::WRITE);
        let flags = MapFlags::SHARED;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let map = unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, flags, device, offset) }
            .context("mmap of a buffer object")?;
        Ok(Self { handle, size, va, map: map.cast() })
    }

    /// Writes bytes.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let at = self.window(offset, bytes.len())?;
        // SAFETY: the window lies inside the mapping, which no reference points into.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        Ok(())
    }

    /// Reads bytes.
    pub fn read(&self, offset: u64, len: usize) -> anyhow::Result<Vec<u8>> {
        let at = self.window(offset, len)?;
        let mut bytes = vec![0; len];
        // SAFETY: the window lies inside the mapping, which no reference points into.
        unsafe { ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), len) };
        Ok(bytes)
    }

    fn window(&self, offset: u64, len: usize) -> anyhow::Result<*mut u8> {
        let end = offset.checked_add(len as u64).context("range overflows")?;
        ensure!(end <= self.size, "range {offset}+{len} leaves the object of {}", self.size);
        // SAFETY: `offset` is inside the mapping of `size` bytes.
        Ok(unsafe { self.map.add(usize::try_from(offset)?) })
    }
}

impl Drop for Bo {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference points into it.
        let _ = unsafe { rustix::mm::munmap(self.map.cast(), self.size as usize) };
    }
}
