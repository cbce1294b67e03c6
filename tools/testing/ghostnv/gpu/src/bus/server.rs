// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What each request does to the card.

use std::fs::File;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::conn::{Conn, Message};
use super::doorbell::{PAGE, PAGE_SIZE, SharedPage};
use super::irq::{INDEXES, Irqs};
use super::pci;
use super::wire::{MAX_FDS, MAX_XFER, Request, Write, parse};
use crate::bar::Window;
use crate::gpu::Gpu;
use crate::host::Step;

const BAR0: u32 = 0;
const BAR1: u32 = 1;
const BAR3: u32 = 3;
const CONFIG: u32 = 7;
/// Six BARs, ROM, configuration space, VGA.
const REGIONS: u32 = 9;

/// `VFIO_DEVICE_FLAGS_*`: can be reset, is a PCI device.
const DEVICE_FLAGS: u32 = 1 | 2;
const REGION_READ_WRITE: u32 = 1 | 2;
const REGION_MMAP: u32 = 4;
const REGION_CAPS: u32 = 8;
const DMA_WRITABLE: u32 = 2;
const DMA_FLAGS: u32 = 1 | DMA_WRITABLE;
const UNMAP_ALL: u32 = 2;

/// The card behind a connection.
pub struct Server {
    /// The card.
    pub gpu: Gpu,
    irqs: Irqs,
    page: Option<SharedPage>,
    /// The version was agreed on.
    greeted: bool,
    /// Body of the reply under construction; kept to save allocations.
    out: Vec<u8>,
}

impl Server {
    /// Serves this card; with a page, doorbells are shared memory.
    pub fn new(mut gpu: Gpu, page: Option<SharedPage>) -> Self {
        // Configuration space says that bus mastering is off.
        gpu.hw.env.mem.bus_master = false;
        Self { gpu, irqs: Irqs::default(), page, greeted: false, out: Vec::new() }
    }

    /// Serves one message and answers it.
    pub fn serve(&mut self, conn: &Conn, message: Message) -> Result<(), Errno> {
        let Message { header, body, mut fds } = message;
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let done = match body {
            None => Err(Errno::TOOBIG),
            Some(range) => parse(header.command, conn.body(range))
                .and_then(|request| self.request(request, &mut fds, &mut out)),
        };
        let sent = match done {
            _ if !header.wants_reply() => Ok(()),
            Ok(with_page) => conn.reply(&header, &out, self.page_fd(with_page)),
            Err(e) => conn.reply_error(&header, e),
        };
        self.out = out;
        self.deliver();
        sent
    }

    fn page_fd(&self, wanted: bool) -> Option<BorrowedFd<'_>> {
        self.page.as_ref().filter(|_| wanted).map(SharedPage::fd)
    }

    /// Does what is asked and leaves the reply's body in `out`; true if the shared page's
    /// descriptor goes with it.
    fn request(
        &mut self,
        request: Request<'_>,
        fds: &mut Vec<OwnedFd>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Errno> {
        if !self.greeted && !matches!(request, Request::Version { .. }) {
            return Err(Errno::INVAL);
        }
        match request {
            Request::Version { major, minor: _, caps } => self.version(major, caps, out)?,
            Request::DeviceInfo => put(out, &[16, DEVICE_FLAGS, REGIONS, INDEXES]),
            Request::RegionInfo { argsz, index } => return self.region_info(argsz, index, out),
            Request::IrqInfo { index } => {
                let (flags, count) = Irqs::info(index)?;
                put(out, &[16, flags, index, count]);
            }
            Request::SetIrqs { flags, index, start, count, data } => {
                self.irqs.set(flags, index, (start, count), data, fds)?;
            }
            Request::Read { region, offset, count } => self.read(region, offset, count, out)?,
            Request::Write(write) => {
                self.write(write)?;
                put64(out, write.offset);
                put(out, &[write.region, write.data.len() as u32]);
            }
            Request::WriteMulti(writes) => {
                // All of them are tried, as if each had come alone; the first error is the answer.
                let mut first = Ok(());
                for write in writes {
                    first = first.and(self.write(write));
                }
                first?;
                put64(out, 0);
            }
            Request::DmaMap { flags, offset, iova, size } => {
                self.dma_map(flags, offset, iova, size, fds)?;
            }
            Request::DmaUnmap { flags, iova, size } => {
                self.dma_unmap(flags, iova, size)?;
                put(out, &[24, flags]);
                put64(out, iova);
                put64(out, size);
            }
            Request::Reset => self.gpu.reset(),
        }
        Ok(false)
    }

    fn version(&mut self, major: u16, caps: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        let valid = caps.is_empty() || serde_json::from_slice::<serde_json::Value>(caps).is_ok();
        if major != 0 || !valid {
            return Err(Errno::INVAL);
        }
        self.greeted = true;
        let ours = serde_json::json!({"capabilities": {
            "max_msg_fds": MAX_FDS,
            "max_data_xfer_size": MAX_XFER,
            "write_multiple": true,
        }});
        put(out, &[0]);
        out.extend(ours.to_string().bytes());
        out.push(0);
        Ok(())
    }

    fn region_size(&self, index: u32) -> Result<u64, Errno> {
        match index {
            BAR0 => Ok(pci::BAR0_SIZE),
            BAR1 => Ok(self.gpu.options.bar1),
            BAR3 => Ok(pci::BAR3_SIZE),
            CONFIG => Ok(pci::SIZE as u64),
            _ if index < REGIONS => Ok(0),
            _ => Err(Errno::INVAL),
        }
    }

    fn region_info(&self, argsz: u32, index: u32, out: &mut Vec<u8>) -> Result<bool, Errno> {
        const BASE: u32 = 32;
        const SPARSE: u32 = 32;
        let size = self.region_size(index)?;
        let shared = index == BAR0 && self.page.is_some();
        let (mut needs, mut flags) = (BASE, if size > 0 { REGION_READ_WRITE } else { 0 });
        if shared {
            needs += SPARSE;
            flags |= REGION_MMAP | REGION_CAPS;
        }
        // A client without room for the capability asks again with `needs`. It is told where the
        // capability would be all the same: QEMU rejects an offset of zero with the flag set.
        let whole = shared && argsz >= needs;
        put(out, &[needs, flags, index, if shared { BASE } else { 0 }]);
        put64(out, size);
        put64(out, 0);
        if whole {
            // Sparse-mmap capability (id 1, version 1) with one area.
            put(out, &[1 | 1 << 16, 0, 1, 0]);
            put64(out, PAGE);
            put64(out, PAGE_SIZE);
        }
        Ok(whole)
    }

    fn check(&self, region: u32, offset: u64, len: usize) -> Result<(), Errno> {
        let size = self.region_size(region)?;
        let end = offset.checked_add(len as u64).ok_or(Errno::INVAL)?;
        if len > MAX_XFER || end > size { Err(Errno::INVAL) } else { Ok(()) }
    }

    fn read(
        &mut self,
        region: u32,
        offset: u64,
        count: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        const HEAD: usize = 16;
        let len = count as usize;
        self.check(region, offset, len)?;
        put64(out, offset);
        put(out, &[region, count]);
        out.resize(HEAD + len, 0);
        let buf = &mut out[HEAD..];
        match region {
            BAR0 => self.gpu.bar0_read(offset, buf),
            BAR1 => self.gpu.window_read(Window::Bar1, offset, buf),
            BAR3 => self.gpu.window_read(Window::Bar2, offset, buf),
            _ => self.gpu.config_read(offset, buf),
        }
        Ok(())
    }

    fn write(&mut self, write: Write<'_>) -> Result<(), Errno> {
        let Write { region, offset, data } = write;
        self.check(region, offset, data.len())?;
        match region {
            BAR0 => self.gpu.bar0_write(offset, data),
            BAR1 => self.gpu.window_write(Window::Bar1, offset, data),
            BAR3 => self.gpu.window_write(Window::Bar2, offset, data),
            _ => self.gpu.config_write(offset, data),
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: u32,
        offset: u64,
        iova: u64,
        size: u64,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(), Errno> {
        if flags & !DMA_FLAGS != 0 || flags & DMA_FLAGS == 0 || fds.len() > 1 {
            return Err(Errno::INVAL);
        }
        let file = fds.pop().map(|fd| (File::from(fd), offset));
        let writable = flags & DMA_WRITABLE != 0;
        self.gpu.hw.env.mem.dma_map(iova, size, file, writable).map_err(|_| Errno::INVAL)
    }

    fn dma_unmap(&mut self, flags: u32, iova: u64, size: u64) -> Result<(), Errno> {
        let mem = &mut self.gpu.hw.env.mem;
        match flags {
            0 => mem.dma_unmap(iova, size),
            UNMAP_ALL if iova == 0 && size == 0 => mem.dma_unmap_all(),
            UNMAP_ALL => return Err(Errno::INVAL),
            _ => return Err(Errno::OPNOTSUPP),
        }
        Ok(())
    }

    /// Gives the card a slice of work, of about `budget` nanoseconds.
    pub fn work(&mut self, budget: u64) -> Step {
        if let Some(page) = &self.page {
            let (timer, clock) = (&self.gpu.hw.timer, &self.gpu.hw.env.clock);
            page.tick(timer.low(clock), timer.high(clock));
            if let Some(token) = page.take() {
                self.gpu.doorbell(token);
            }
        }
        let step = self.gpu.step(budget);
        self.deliver();
        step
    }

    /// Whether the loop has to look at a shared doorbell.
    pub fn shares_doorbell(&self) -> bool {
        self.page.is_some()
    }

    fn deliver(&mut self) {
        if self.gpu.take_msi() {
            self.irqs.message();
        }
        self.irqs.level(self.gpu.intx());
    }

    /// The client is gone: its memory and event descriptors with it.
    pub fn disconnect(&mut self) {
        self.gpu.hw.env.mem.dma_unmap_all();
        self.irqs.clear();
        self.greeted = false;
    }
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|w| out.extend(w.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, word: u64) {
    out.extend(word.to_le_bytes());
}
