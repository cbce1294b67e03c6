// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctl")]

//! EXEC and VM_BIND with all they take, and what tells how far their fences are.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use super::abi::{self, BindOp, nr};
use super::client::{Client, Syncobj, in_time, until};
use super::{Bo, Channel};

/// A fence to wait for, or to signal.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// That of a syncobj.
    Binary(&'a Syncobj),
    /// A point of a timeline.
    Point(&'a Syncobj, u64),
    /// Whatever the numbers say: flags, handle, point.
    Raw(u32, u32, u64),
}

impl Wait<'_> {
    fn sync(&self) -> abi::Sync {
        let (flags, handle, timeline_value) = match *self {
            Self::Binary(syncobj) => (0, syncobj.0, 0),
            Self::Point(syncobj, point) => (abi::SYNC_TIMELINE, syncobj.0, point),
            Self::Raw(flags, handle, point) => (flags, handle, point),
        };
        abi::Sync { flags, handle, timeline_value }
    }
}

impl Client {
    /// EXEC of (address, length, flags) pushes on the channel of a number.
    pub fn submit(
        &self,
        channel: i32,
        pushes: &[(u64, u32, u32)],
        waits: &[Wait<'_>],
        signals: &[Wait<'_>],
    ) -> io::Result<()> {
        let push = |&(va, va_len, flags): &(u64, u32, u32)| abi::Push { va, va_len, flags };
        let pushes: Vec<abi::Push> = pushes.iter().map(push).collect();
        let waits: Vec<abi::Sync> = waits.iter().map(Wait::sync).collect();
        let signals: Vec<abi::Sync> = signals.iter().map(Wait::sync).collect();
        let mut data = abi::Exec {
            channel: channel as u32,
            push_count: pushes.len() as u32,
            wait_count: waits.len() as u32,
            sig_count: signals.len() as u32,
            wait_ptr: waits.as_ptr() as u64,
            sig_ptr: signals.as_ptr() as u64,
            push_ptr: pushes.as_ptr() as u64,
        };
        // SAFETY: the arrays outlive the call, and the kernel only reads them.
        unsafe { self.drm(nr::EXEC, &mut data) }
    }

    /// VM_BIND of operations, run by the ioctl.
    pub fn bind_now(&self, ops: &[BindOp]) -> io::Result<()> {
        self.bind_ops(ops, 0, &[], &[])
    }

    /// VM_BIND of operations, run once `waits` have signalled.
    pub fn bind_async(
        &self,
        ops: &[BindOp],
        waits: &[Wait<'_>],
        signals: &[Wait<'_>],
    ) -> io::Result<()> {
        self.bind_ops(ops, abi::BIND_RUN_ASYNC, waits, signals)
    }

    /// VM_BIND.
    pub fn bind_ops(
        &self,
        ops: &[BindOp],
        flags: u32,
        waits: &[Wait<'_>],
        signals: &[Wait<'_>],
    ) -> io::Result<()> {
        let waits: Vec<abi::Sync> = waits.iter().map(Wait::sync).collect();
        let signals: Vec<abi::Sync> = signals.iter().map(Wait::sync).collect();
        let mut data = abi::VmBind {
            op_count: ops.len() as u32,
            flags,
            wait_count: waits.len() as u32,
            sig_count: signals.len() as u32,
            wait_ptr: waits.as_ptr() as u64,
            sig_ptr: signals.as_ptr() as u64,
            op_ptr: ops.as_ptr() as u64,
        };
        // SAFETY: the arrays outlive the call, and the kernel only reads them.
        unsafe { self.drm(nr::VM_BIND, &mut data) }
    }

    /// SYNCOBJ_SIGNAL.
    pub fn signal(&self, syncobj: &Syncobj) -> io::Result<()> {
        let handles = ptr::from_ref(&syncobj.0) as u64;
        let mut data = abi::SyncobjArray { handles, count_handles: 1, flags: 0 };
        // SAFETY: the one handle outlives the call, and the kernel only reads it.
        unsafe { self.drm(nr::SYNCOBJ_SIGNAL, &mut data) }
    }

    /// SYNCOBJ_TIMELINE_WAIT: whether the point signalled in time.
    pub fn wait_point(&self, syncobj: &Syncobj, point: u64, limit: Duration) -> io::Result<bool> {
        let mut data = abi::SyncobjTimelineWait {
            handles: ptr::from_ref(&syncobj.0) as u64,
            points: ptr::from_ref(&point) as u64,
            timeout_nsec: until(limit),
            count_handles: 1,
            flags: abi::WAIT_FOR_SUBMIT,
            ..Default::default()
        };
        // SAFETY: handle and point outlive the call, and the kernel only reads them.
        in_time(unsafe { self.drm(nr::SYNCOBJ_TIMELINE_WAIT, &mut data) })
    }

    /// GEM_CPU_PREP without waiting: whether the GPU may still be using an object.
    pub fn is_busy(&self, bo: &Bo) -> io::Result<bool> {
        let flags = abi::CPU_PREP_NOWAIT | abi::CPU_PREP_WRITE;
        let mut data = abi::CpuPrep { handle: bo.handle, flags };
        // SAFETY: the structure names no memory.
        match unsafe { self.drm(nr::GEM_CPU_PREP, &mut data) } {
            Ok(()) => Ok(false),
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// GEM_CPU_PREP: waits until the GPU does not use an object.
    pub fn wait_for(&self, bo: &Bo) -> io::Result<()> {
        let mut data = abi::CpuPrep { handle: bo.handle, flags: abi::CPU_PREP_WRITE };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::GEM_CPU_PREP, &mut data) }
    }

    /// GEM_INFO: in which memory an object is.
    pub fn domain(&self, handle: u32) -> io::Result<u32> {
        let mut data = abi::GemInfo { handle, ..abi::GemInfo::default() };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::GEM_INFO, &mut data) }?;
        Ok(data.domain)
    }

    /// CHANNEL_FREE by number; the channel's other objects stay.
    pub fn free_number(&self, channel: &Channel) -> io::Result<()> {
        let mut data = abi::ChannelFree { channel: channel.id };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::CHANNEL_FREE, &mut data) }
    }

    /// What the kernel tells about the open file by a key of its fdinfo; a number with a unit.
    pub fn told(&self, key: &str) -> io::Result<Option<u64>> {
        let path = format!("/proc/self/fdinfo/{}", self.fd().as_raw_fd());
        let text = std::fs::read_to_string(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(value.and_then(|v| v.split_whitespace().next()?.parse().ok()))
    }
}
