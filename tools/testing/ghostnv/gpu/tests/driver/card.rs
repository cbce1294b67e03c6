// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card as a driver sees it: BARs, configuration space, messages, and memory that it can reach.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ghostnv_gpu::bar::Window;
use ghostnv_gpu::gpu::Gpu;

use super::{RAM_BASE, RAM_SIZE, Result};

/// How often a wait looks before it gives up; the engines get a slice of work each time.
const LOOKS: u32 = 100;
const SLICE: u64 = 1_000_000;

/// The device.
pub struct Card {
    pub gpu: Gpu,
    ram: File,
    next_ram: u64,
    next_vram: u64,
}

impl Card {
    pub fn new(gpu: Gpu, ram: File) -> Self {
        Self { gpu, ram, next_ram: RAM_BASE, next_vram: 16 << 20 }
    }

    pub fn rd(&mut self, off: u32) -> u32 {
        let mut b = [0; 4];
        self.gpu.bar0_read(off.into(), &mut b);
        u32::from_le_bytes(b)
    }

    pub fn wr(&mut self, off: u32, value: u32) {
        self.gpu.bar0_write(off.into(), &value.to_le_bytes());
    }

    pub fn config_write(&mut self, off: u64, value: u16) {
        self.gpu.config_write(off, &value.to_le_bytes());
    }

    pub fn bar1_rd(&mut self, off: u64) -> u32 {
        let mut b = [0; 4];
        self.gpu.window_read(Window::Bar1, off, &mut b);
        u32::from_le_bytes(b)
    }

    pub fn bar1_wr(&mut self, off: u64, value: u32) {
        self.gpu.window_write(Window::Bar1, off, &value.to_le_bytes());
    }

    /// Waits for a condition while the card works.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result {
        for _ in 0..LOOKS {
            if done(self) {
                return Ok(());
            }
            self.gpu.step(SLICE);
        }
        Err(format!("timeout: {what}"))
    }

    /// Waits for a message-signalled interrupt.
    pub fn wait_msi(&mut self, what: &str) -> Result {
        self.wait(what, |c| c.gpu.take_msi())
    }

    /// Pages of guest memory, contiguous on the bus, zeroed.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        let at = self.next_ram;
        self.next_ram += (bytes as u64).next_multiple_of(0x1000);
        assert!(self.next_ram <= RAM_BASE + RAM_SIZE, "guest memory is too small for this test");
        at
    }

    /// Pages of guest memory with content.
    pub fn alloc_with(&mut self, bytes: &[u8]) -> u64 {
        let at = self.alloc(bytes.len());
        self.store(at, bytes);
        at
    }

    pub fn store(&mut self, at: u64, bytes: &[u8]) {
        self.ram.write_all_at(bytes, at - RAM_BASE).unwrap();
    }

    pub fn load(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_exact_at(&mut bytes, at - RAM_BASE).unwrap();
        bytes
    }

    pub fn load32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.load(at, 4).try_into().unwrap())
    }

    /// Pages of VRAM, zeroed.
    pub fn alloc_vram(&mut self, bytes: u64) -> u64 {
        let at = self.next_vram;
        self.next_vram += bytes.next_multiple_of(0x1000);
        self.vram_store(at, &vec![0; bytes as usize]);
        at
    }

    /// Writes VRAM through PRAMIN, within one 64 KiB unit at a time.
    pub fn vram_store(&mut self, at: u64, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(4).enumerate() {
            let at = at + i as u64 * 4;
            self.wr(0x1700, (at >> 16) as u32);
            self.gpu.bar0_write(0x70_0000 + (at & 0xffff), chunk);
        }
    }

    /// Reads VRAM through PRAMIN.
    pub fn vram_load(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (i, chunk) in bytes.chunks_mut(4).enumerate() {
            let at = at + i as u64 * 4;
            self.wr(0x1700, (at >> 16) as u32);
            self.gpu.bar0_read(0x70_0000 + (at & 0xffff), chunk);
        }
        bytes
    }
}
