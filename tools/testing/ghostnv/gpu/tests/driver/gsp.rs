// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Boots GSP-RM and shuts it down.

use super::falcon::GSP;
use super::{Driver, Result, Sabotage, put, put32, put64};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;

/// Where everything that the firmware needs goes, from the end of VRAM down.
struct Layout {
    size: u64,
    vga: u64,
    frts: u64,
    boot: u64,
    gsp: u64,
    heap: u64,
    wpr: u64,
    non_wpr: u64,
}

fn down(at: u64, align: u64) -> u64 {
    at / align * align
}

impl Driver {
    fn layout(&mut self) -> Layout {
        let size = u64::from(self.card.rd(0x11_83a4)) << 20;
        let vga = size - MIB;
        let frts = down(vga, 0x2_0000) - MIB;
        let boot = down(frts - self.blobs.bootloader.len() as u64, PAGE);
        let gsp = down(boot - self.blobs.gsp.len() as u64, 0x1_0000);
        let heap_size = self.pick(Sabotage::MetaHeap, 16, 96) * MIB;
        let heap = down(gsp - heap_size, MIB);
        let wpr = down(heap - 256, MIB);
        Layout { size, vga, frts, boot, gsp, heap, wpr, non_wpr: wpr - MIB }
    }

    /// From a card that has just been powered on to GSP_INIT_DONE.
    pub fn boot(&mut self) -> Result {
        let layout = self.layout();
        self.fwsec(0x15, (layout.frts, MIB))?;
        if u64::from(self.card.rd(0x1f_a824) >> 4) << 12 != layout.frts {
            return Err("WPR2 is not where FRTS was put".into());
        }
        let libos = self.libos_arguments();
        self.boot_messages();
        self.reset_falcon(GSP)?;
        self.card.wr(GSP + 0x40, libos as u32);
        self.card.wr(GSP + 0x44, (libos >> 32) as u32);
        let meta = self.meta(&layout);
        self.booter(true, meta)?;
        self.card.wr(GSP + 0x80, self.blobs.app_version);
        self.card.wait("RISC-V core", |c| c.rd(GSP + 0x1388) & 0x80 != 0)?;
        self.expect_event(0x1001)
    }

    /// The WPR meta: what booter loads, from where, to where.
    fn meta(&mut self, l: &Layout) -> u64 {
        let mut m = vec![0; 256];
        let radix3 = self.radix3();
        let bootloader = self.blobs.bootloader.clone();
        let mut signature = self.blobs.gsp_signature.clone();
        signature[77] ^= self.pick(Sabotage::GspSignature, 1, 0);
        let fields = [
            (0, self.pick(Sabotage::MetaMagic, 1, 0) ^ 0xdc3a_ae21_371a_60b3),
            (8, 1),
            (16, radix3),
            (24, self.blobs.gsp.len() as u64),
            (32, self.card.alloc_with(&bootloader)),
            (40, bootloader.len() as u64),
            (48, u64::from(self.blobs.code_offset)),
            (56, u64::from(self.blobs.data_offset) + self.pick(Sabotage::BootloaderOffset, 4, 0)),
            (64, u64::from(self.blobs.manifest_offset)),
            (72, self.card.alloc_with(&signature)),
            (80, signature.len() as u64),
            (88, l.non_wpr),
            (96, l.non_wpr),
            (104, MIB),
            (112, l.wpr),
            (120, l.heap),
            (128, l.gsp - l.heap),
            (136, l.gsp),
            (144, l.boot),
            (152, l.frts + self.pick(Sabotage::MetaFrts, 0x2_0000, 0)),
            (160, MIB - self.pick(Sabotage::MetaFrts, 0x2_0000, 0)),
            (168, l.frts + MIB),
            (176, l.size),
            (184, l.vga),
            (192, l.size - l.vga),
        ];
        for (at, value) in fields {
            put64(&mut m, at, value);
        }
        self.card.alloc_with(&m)
    }

    /// The image of GSP-RM as a three-level table of pages.
    fn radix3(&mut self) -> u64 {
        let mut image = self.blobs.gsp.clone();
        image[300 * PAGE as usize + 5] ^= self.pick(Sabotage::GspByte, 1, 0);
        let first = self.card.alloc_with(&image);
        let mut pages: Vec<u64> =
            (0..image.len().div_ceil(PAGE as usize) as u64).map(|i| first + i * PAGE).collect();
        if self.does(Sabotage::Radix3Entry) {
            pages[17] = 0x7000_0000_0000;
        }
        if self.does(Sabotage::Radix3Order) {
            pages.swap(520, 521);
        }
        let table = |pages: &[u64]| pages.iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<_>>();
        let level2 = self.card.alloc_with(&table(&pages));
        let count = (pages.len() as u64).div_ceil(512);
        let level1: Vec<u64> = (0..count).map(|i| level2 + i * PAGE).collect();
        let level1 = self.card.alloc_with(&table(&level1));
        self.card.alloc_with(&table(&[level1]))
    }

    /// LibOS's list of regions, RMARGS, and the shared memory of the queues.
    fn libos_arguments(&mut self) -> u64 {
        let shared = self.make_queues();
        let mut args = vec![0; 72];
        put64(&mut args, 0, shared);
        put32(&mut args, 8, 129);
        put64(&mut args, 16, 0x1000);
        put64(&mut args, 24, 0x4_1000);
        args[48] = 1;
        let args = self.card.alloc_with(&args);
        let mut list = vec![0; 0x1000];
        let last = self.pick(Sabotage::RmArgsName, "RMARGX", "RMARGS");
        for (i, name) in ["LOGINIT", "LOGINTR", "LOGRM", last].into_iter().enumerate() {
            let (at, size) =
                if i < 3 { (self.card.alloc(0x1_0000), 0x1_0000) } else { (args, 0x1000) };
            let id = name.bytes().fold(0, |id, b| id << 8 | u64::from(b));
            put64(&mut list, i * 32, id);
            put64(&mut list, i * 32 + 8, at);
            put64(&mut list, i * 32 + 16, size);
            put(&mut list, i * 32 + 24, &[1, 1]);
        }
        self.card.alloc_with(&list)
    }

    /// SET_SYSTEM_INFO and SET_REGISTRY, which are in the queue before the GSP runs.
    fn boot_messages(&mut self) {
        let mut info = vec![0; 928];
        for (at, value) in [(0, 0xf000_0000), (8, 0x80_0000_0000), (16, 0x81_0000_0000)] {
            put64(&mut info, at, value);
        }
        put64(&mut info, 72, 0x7fff_ffff_f000);
        put32(&mut info, 80, 0x08_8000);
        put32(&mut info, 84, 0x1000);
        put32(&mut info, 88, self.pick(Sabotage::SystemInfoDevice, 0x2205_10de, 0x2204_10de));
        let mut registry = vec![0; 32];
        put32(&mut registry, 0, self.pick(Sabotage::RegistrySize, 48, 32));
        for (at, value) in [(4, 1), (8, 24), (12, 1), (16, 1)] {
            put32(&mut registry, at, value);
        }
        put(&mut registry, 24, b"RMTest\0");
        let mut messages = [(72, info), (73, registry)];
        if self.does(Sabotage::BootOrder) {
            messages.reverse();
        }
        for (function, payload) in messages {
            self.send(function, &payload);
        }
    }

    /// Stops GSP-RM and takes WPR2 down.
    pub fn shutdown(&mut self) -> Result {
        self.call(47, &vec![0; self.pick(Sabotage::UnloadLength, 12, 8)])?;
        self.card.wait("GSP halt", |c| c.rd(GSP + 0x40) == 0x8000_0000)?;
        self.fwsec(0x19, (0, 0))?;
        self.booter(false, 0xff_0000_00ff)?;
        match self.card.rd(0x1f_a828) {
            0 => Ok(()),
            hi => Err(format!("WPR2 is still up: {hi:#x}")),
        }
    }
}
