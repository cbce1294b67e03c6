// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory that the card can reach: its VRAM, and guest memory mapped for DMA.
//!
//! Both are shared with the guest, so every access copies bytes through volatile slices and nothing
//! ever borrows them. Guest memory is known only as the maps that QEMU announced; an address
//! outside them is what an IOMMU would fault on, and is an error here.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::Ordering;

use anyhow::Context;
use thiserror::Error;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// Which memory an address belongs to, as page tables and descriptors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aperture {
    /// Video memory.
    Vram,
    /// System memory, snooped.
    SysCoherent,
    /// System memory, not snooped.
    SysNonCoherent,
}

/// An address and the memory that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Phys {
    /// Which memory.
    pub aperture: Aperture,
    /// Byte address.
    pub addr: u64,
}

impl Phys {
    /// An address in VRAM.
    pub const fn vram(addr: u64) -> Self {
        Self { aperture: Aperture::Vram, addr }
    }

    /// An address in snooped system memory.
    pub const fn sys(addr: u64) -> Self {
        Self { aperture: Aperture::SysCoherent, addr }
    }

    /// The address `bytes` further on.
    pub const fn offset(self, bytes: u64) -> Self {
        Self { aperture: self.aperture, addr: self.addr.wrapping_add(bytes) }
    }
}

impl std::fmt::Display for Phys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.aperture {
            Aperture::Vram => "vram",
            Aperture::SysCoherent => "sys",
            Aperture::SysNonCoherent => "sys-nc",
        };
        write!(f, "{name}:{:#x}", self.addr)
    }
}

/// Why an access failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MemError {
    /// Past the end of VRAM.
    #[error("{at}+{len:#x} is past the end of VRAM")]
    PastVram {
        /// Start of the access.
        at: Phys,
        /// Its length.
        len: usize,
    },
    /// In the write-protected region, which only the firmware reaches.
    #[error("{at}+{len:#x} is in the write-protected region")]
    Protected {
        /// Start of the access.
        at: Phys,
        /// Its length.
        len: usize,
    },
    /// The card may not master the bus.
    #[error("{at}+{len:#x} needs the bus, which the card may not master")]
    NoMaster {
        /// Start of the access.
        at: Phys,
        /// Its length.
        len: usize,
    },
    /// Not mapped for DMA, or not for this direction.
    #[error("{at}+{len:#x} is not mapped for this DMA")]
    NotMapped {
        /// Start of the access.
        at: Phys,
        /// Its length.
        len: usize,
    },
}

struct DmaMap {
    size: u64,
    region: Option<MmapRegion>,
    writable: bool,
}

/// VRAM and the guest's DMA maps.
pub struct Memory {
    vram: MmapRegion,
    vram_size: u64,
    maps: BTreeMap<u64, DmaMap>,
    /// VRAM that CPU and engines cannot reach: WPR2, while it is up.
    pub protected: std::ops::Range<u64>,
    /// Whether the card may master the bus (PCI command register); without it all DMA fails.
    pub bus_master: bool,
    /// Bytes read and written by DMA so far.
    pub dma_read: u64,
    /// See `dma_read`.
    pub dma_written: u64,
}

impl Memory {
    /// Creates `vram` bytes of zeroed VRAM (lazily backed) and no DMA maps.
    pub fn new(vram: u64) -> anyhow::Result<Self> {
        let fd = rustix::fs::memfd_create("ghostnv-vram", rustix::fs::MemfdFlags::CLOEXEC)
            .context("create the VRAM memfd")?;
        rustix::fs::ftruncate(&fd, vram).context("size the VRAM memfd")?;
        let region = MmapRegion::from_file(FileOffset::new(File::from(fd), 0), vram as usize)
            .context("map the VRAM memfd")?;
        Ok(Self {
            vram: region,
            vram_size: vram,
            maps: BTreeMap::new(),
            protected: 0..0,
            bus_master: true,
            dma_read: 0,
            dma_written: 0,
        })
    }

    /// Size of VRAM in bytes.
    pub fn vram_size(&self) -> u64 {
        self.vram_size
    }

    /// Adds a guest memory map; without a file the range is known but cannot be accessed.
    ///
    /// Overlap with an existing map is an error, as the protocol says.
    pub fn dma_map(
        &mut self,
        iova: u64,
        size: u64,
        file: Option<(File, u64)>,
        writable: bool,
    ) -> anyhow::Result<()> {
        let end = iova.checked_add(size).filter(|_| size > 0).context("DMA map wraps")?;
        if let Some((&start, map)) = self.maps.range(..end).next_back() {
            anyhow::ensure!(start + map.size <= iova, "DMA map {iova:#x}+{size:#x} overlaps");
        }
        let region = file
            .map(|(f, off)| MmapRegion::from_file(FileOffset::new(f, off), size as usize))
            .transpose()
            .with_context(|| format!("map guest memory {iova:#x}+{size:#x}"))?;
        self.maps.insert(iova, DmaMap { size, region, writable });
        Ok(())
    }

    /// Removes all maps that lie within the range.
    pub fn dma_unmap(&mut self, iova: u64, size: u64) {
        let end = iova.saturating_add(size);
        let gone: Vec<u64> = self
            .maps
            .range(iova..end)
            .filter(|(start, map)| *start + map.size <= end)
            .map(|(start, _)| *start)
            .collect();
        for start in gone {
            self.maps.remove(&start);
        }
    }

    /// Removes every DMA map.
    pub fn dma_unmap_all(&mut self) {
        self.maps.clear();
    }

    /// Runs `f` over the pieces of an access; guest ranges may span several maps.
    fn pieces(
        &self,
        at: Phys,
        len: usize,
        write: bool,
        mut f: impl FnMut(&MmapRegion, usize, std::ops::Range<usize>),
    ) -> Result<(), MemError> {
        if at.aperture == Aperture::Vram {
            let end = at.addr.checked_add(len as u64);
            if end.is_none_or(|end| end > self.vram_size) {
                return Err(MemError::PastVram { at, len });
            }
            f(&self.vram, at.addr as usize, 0..len);
            return Ok(());
        }
        let missing = MemError::NotMapped { at, len };
        if !self.bus_master {
            return Err(MemError::NoMaster { at, len });
        }
        let mut done = 0;
        while done < len {
            let addr = at.addr.checked_add(done as u64).ok_or(missing)?;
            let (start, map) = self.maps.range(..=addr).next_back().ok_or(missing)?;
            let within = addr - start;
            if within >= map.size || (write && !map.writable) {
                return Err(missing);
            }
            let region = map.region.as_ref().ok_or(missing)?;
            let n = (len - done).min((map.size - within) as usize);
            f(region, within as usize, done..done + n);
            done += n;
        }
        Ok(())
    }

    /// Whether the range can be read (or written) at all.
    pub fn check(&self, at: Phys, len: usize, write: bool) -> Result<(), MemError> {
        self.pieces(at, len, write, |_, _, _| {})
    }

    /// The same for the CPU and engines, which [`Memory::protected`] keeps out.
    pub fn check_client(&self, at: Phys, len: usize, write: bool) -> Result<(), MemError> {
        self.check(at, len, write)?;
        let end = at.addr.saturating_add(len as u64);
        let inside = at.addr < self.protected.end && end > self.protected.start;
        if at.aperture == Aperture::Vram && inside {
            return Err(MemError::Protected { at, len });
        }
        Ok(())
    }

    /// Reads bytes.
    pub fn read(&mut self, at: Phys, buf: &mut [u8]) -> Result<(), MemError> {
        self.check(at, buf.len(), false)?;
        if at.aperture != Aperture::Vram {
            self.dma_read += buf.len() as u64;
        }
        self.pieces(at, buf.len(), false, |region, off, range| {
            // The range was checked above; a volatile read of a mapped range cannot fail.
            let _ = region.as_volatile_slice().read_slice(&mut buf[range], off);
        })
    }

    /// Writes bytes; nothing is written if any part cannot be.
    pub fn write(&mut self, at: Phys, buf: &[u8]) -> Result<(), MemError> {
        self.check(at, buf.len(), true)?;
        if at.aperture != Aperture::Vram {
            self.dma_written += buf.len() as u64;
        }
        self.pieces(at, buf.len(), true, |region, off, range| {
            let _ = region.as_volatile_slice().write_slice(&buf[range], off);
        })
    }

    /// Reads one naturally aligned 32-bit word in a single access.
    pub fn read_u32(&mut self, at: Phys) -> Result<u32, MemError> {
        let mut word = 0;
        if at.addr % 4 != 0 {
            let mut bytes = [0; 4];
            self.read(at, &mut bytes)?;
            return Ok(u32::from_le_bytes(bytes));
        }
        self.pieces(at, 4, false, |region, off, _| {
            word = region.as_volatile_slice().load(off, Ordering::Acquire).unwrap_or(0);
        })?;
        Ok(u32::from_le(word))
    }

    /// Reads one naturally aligned 64-bit word in a single access.
    pub fn read_u64(&mut self, at: Phys) -> Result<u64, MemError> {
        let mut word = 0;
        if at.addr % 8 != 0 {
            let mut bytes = [0; 8];
            self.read(at, &mut bytes)?;
            return Ok(u64::from_le_bytes(bytes));
        }
        self.pieces(at, 8, false, |region, off, _| {
            word = region.as_volatile_slice().load(off, Ordering::Acquire).unwrap_or(0);
        })?;
        Ok(u64::from_le(word))
    }

    /// Writes one naturally aligned 32-bit word in a single access, after all earlier writes.
    pub fn write_u32(&mut self, at: Phys, value: u32) -> Result<(), MemError> {
        if at.addr % 4 != 0 {
            return self.write(at, &value.to_le_bytes());
        }
        self.pieces(at, 4, true, |region, off, _| {
            let _ = region.as_volatile_slice().store(value.to_le(), off, Ordering::Release);
        })
    }

    /// Writes one naturally aligned 64-bit word in a single access, after all earlier writes.
    pub fn write_u64(&mut self, at: Phys, value: u64) -> Result<(), MemError> {
        if at.addr % 8 != 0 {
            return self.write(at, &value.to_le_bytes());
        }
        self.pieces(at, 8, true, |region, off, _| {
            let _ = region.as_volatile_slice().store(value.to_le(), off, Ordering::Release);
        })
    }
}
