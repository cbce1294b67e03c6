// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctls")]

//! Ioctls made ready, so that what is measured is the call alone.
//!
//! Each function returns one that may be called any number of times.

use std::io;

use super::abi::{self, nr, nvif};
use super::{Channel, Client, Syncobj};

/// An object of an engine, as a client names it.
const OBJECT: u64 = 0xbe_0000;

impl Client {
    /// EXEC of pushes that signals a syncobj.
    pub fn prepare_exec<'a>(
        &'a self,
        channel: &Channel,
        pushes: &'a [abi::Push],
        signal: &Syncobj,
    ) -> impl FnMut() -> io::Result<()> + use<'a> {
        let sync = [abi::Sync { handle: signal.handle(), ..abi::Sync::default() }];
        let mut data = abi::Exec {
            channel: channel.id as u32,
            push_count: pushes.len() as u32,
            sig_count: 1,
            push_ptr: pushes.as_ptr() as u64,
            ..abi::Exec::default()
        };
        move || {
            data.sig_ptr = sync.as_ptr() as u64;
            // SAFETY: `pushes` and `sync` outlive the call, and the kernel only reads them.
            unsafe { self.drm(nr::EXEC, &mut data) }
        }
    }

    /// VM_BIND of operations, synchronous.
    pub fn prepare_binds<'a>(
        &'a self,
        ops: &'a [abi::BindOp],
    ) -> impl FnMut() -> io::Result<()> + use<'a> {
        let (op_count, op_ptr) = (ops.len() as u32, ops.as_ptr() as u64);
        let mut data = abi::VmBind { op_count, op_ptr, ..abi::VmBind::default() };
        // SAFETY: `ops` outlives the call, and the kernel only reads them.
        move || unsafe { self.drm(nr::VM_BIND, &mut data) }
    }

    /// GEM_NEW of memory that nobody maps or shares; returns its handle.
    pub fn gem_new(&self, domain: u32, size: u64) -> io::Result<u32> {
        let domain = domain | abi::DOMAIN_NO_SHARE;
        let mut data = abi::GemNew { domain, size, align: 0x1000, ..abi::GemNew::default() };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::GEM_NEW, &mut data) }?;
        Ok(data.handle)
    }

    /// GEM_CLOSE.
    pub fn gem_close(&self, handle: u32) -> io::Result<()> {
        let mut data = abi::Handle { handle, flags: 0 };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::GEM_CLOSE, &mut data) }
    }

    /// NVIF NEW of an engine object on a channel: one call to the firmware.
    pub fn prepare_object<'a>(
        &'a self,
        channel: &Channel,
        class: i32,
    ) -> impl FnMut() -> io::Result<()> + use<'a> {
        let header = abi::NvifHeader {
            kind: nvif::NEW,
            owner: nvif::OWNER_ANY,
            route: nvif::ROUTE_CHANNEL,
            token: channel.id as u64,
            ..abi::NvifHeader::default()
        };
        let new = abi::NvifNew {
            header,
            route: nvif::ROUTE_CHANNEL,
            token: channel.id as u64,
            object: OBJECT,
            handle: 0xbe00_0000,
            oclass: class,
            ..abi::NvifNew::default()
        };
        move || {
            let mut data = new;
            // SAFETY: the kernel takes `object` as a cookie and never follows it.
            unsafe { self.drm(nr::NVIF, &mut data) }
        }
    }

    /// NVIF DEL of the object that [`Self::prepare_object`] makes: one call to the firmware.
    pub fn delete_object(&self) -> io::Result<()> {
        let mut data = abi::NvifHeader {
            kind: nvif::DEL,
            owner: nvif::OWNER_ANY,
            object: OBJECT,
            ..abi::NvifHeader::default()
        };
        // SAFETY: the structure names no memory.
        unsafe { self.drm(nr::NVIF, &mut data) }
    }
}

/// A push of a whole number of words at an address.
pub fn push(va: u64, bytes: usize) -> abi::Push {
    abi::Push { va, va_len: bytes as u32, flags: 0 }
}

/// Operations that map `handle`'s first `range` bytes at each of the addresses, or unmap them.
pub fn ops(handle: Option<u32>, range: u64, at: impl Iterator<Item = u64>) -> Vec<abi::BindOp> {
    let op = if handle.is_some() { abi::BIND_MAP } else { abi::BIND_UNMAP };
    let handle = handle.unwrap_or(0);
    at.map(|addr| abi::BindOp { op, handle, addr, range, ..abi::BindOp::default() }).collect()
}
