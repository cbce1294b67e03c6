// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctl")]

//! Sharing memory between devices as dma-bufs (PRIME).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::Context;

use super::abi::{self, nr};
use super::client::{Bo, Client, call};

/// PRIME_HANDLE_TO_FD.
fn export(device: BorrowedFd<'_>, bo: &Bo) -> io::Result<OwnedFd> {
    let mut data = abi::Prime { handle: bo.handle, flags: abi::PRIME_RDWR, fd: -1 };
    // SAFETY: the structure names no memory.
    unsafe { call(device, abi::TYPE_DRM, nr::PRIME_HANDLE_TO_FD, &mut data) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fd) })
}

/// PRIME_FD_TO_HANDLE.
fn import(device: BorrowedFd<'_>, buffer: &OwnedFd) -> io::Result<u32> {
    let mut data = abi::Prime { fd: buffer.as_raw_fd(), ..abi::Prime::default() };
    // SAFETY: the structure names no memory.
    unsafe { call(device, abi::TYPE_DRM, nr::PRIME_FD_TO_HANDLE, &mut data) }?;
    Ok(data.handle)
}

/// GEM_CLOSE.
fn close(device: BorrowedFd<'_>, handle: u32) -> io::Result<()> {
    let mut data = abi::Handle { handle, flags: 0 };
    // SAFETY: the structure names no memory.
    unsafe { call(device, abi::TYPE_DRM, nr::GEM_CLOSE, &mut data) }
}

impl Client {
    /// Exports an object.
    pub fn export(&self, bo: &Bo) -> io::Result<OwnedFd> {
        export(self.fd(), bo)
    }

    /// Imports an object of `size` bytes, and maps it for the GPU at `va`.
    pub fn import(&self, buffer: &OwnedFd, size: u64, va: u64) -> io::Result<Imported> {
        let handle = import(self.fd(), buffer)?;
        self.bind_handle(handle, size, va, abi::BIND_MAP)?;
        Ok(Imported { handle, size, va })
    }

    /// Unmaps what was imported, and closes it.
    pub fn drop_import(&self, imported: &Imported) -> io::Result<()> {
        self.bind_handle(0, imported.size, imported.va, abi::BIND_UNMAP)?;
        close(self.fd(), imported.handle)
    }
}

/// An object of another device, at one GPU address.
pub struct Imported {
    handle: u32,
    size: u64,
    /// Its GPU address.
    pub va: u64,
}

/// A device that only has memory, such as vgem's.
pub struct Other(File);

impl Other {
    /// Opens it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.with_context(|| format!("cannot open {}", path.display()))?))
    }

    /// Memory of whole pages, mapped by the CPU.
    pub fn bo(&self, size: u64) -> anyhow::Result<Bo> {
        let width = u32::try_from(size / 4)?;
        let mut new = abi::CreateDumb { height: 1, width, bpp: 32, ..Default::default() };
        // SAFETY: the structure names no memory.
        unsafe { call(self.0.as_fd(), abi::TYPE_DRM, nr::MODE_CREATE_DUMB, &mut new) }
            .context("MODE_CREATE_DUMB")?;
        let mut map = abi::MapDumb { handle: new.handle, ..Default::default() };
        // SAFETY: as above.
        unsafe { call(self.0.as_fd(), abi::TYPE_DRM, nr::MODE_MAP_DUMB, &mut map) }
            .context("MODE_MAP_DUMB")?;
        Bo::map(self.0.as_fd(), new.handle, map.offset, size, 0)
    }

    /// Exports its memory.
    pub fn export(&self, bo: &Bo) -> io::Result<OwnedFd> {
        export(self.0.as_fd(), bo)
    }

    /// Imports an object, and lets go of it.
    pub fn try_import(&self, buffer: &OwnedFd) -> io::Result<()> {
        let handle = import(self.0.as_fd(), buffer)?;
        close(self.0.as_fd(), handle)
    }
}
