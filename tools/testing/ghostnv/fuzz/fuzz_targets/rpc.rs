// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RPC frames to a GSP that a small driver booted.
//!
//! Input: records. A tag below 192 is a request whose frame is right and whose payload is the
//! input's; others store bytes anywhere in the queues, frames and pointers included, and ring.
//!
//! Booting takes longer than most inputs, so a GSP that still runs serves the next few, too. What
//! fails only after them is found again by giving the corpus and the failing input together.

#![no_main]

#[allow(dead_code)]
#[path = "../../gpu/tests/driver/mod.rs"]
mod driver;
mod input;

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use driver::blobs::Blobs;
use driver::{Driver, RAM_BASE, RAM_SIZE, Sabotage};
use ghostnv_gpu::chip::Chip;
use ghostnv_gpu::env::Env;
use ghostnv_gpu::gpu::Gpu;
use ghostnv_gpu::machine::Machine;
use input::Input;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

const VRAM: u64 = 512 << 20;
const MOST_RECORDS: u32 = 24;
/// Inputs that one GSP sees.
const MOST_INPUTS: u32 = 32;
/// Functions that the GSP serves, and some that it does not.
const FUNCTIONS: [u32; 12] = [4, 10, 47, 65, 70, 71, 72, 73, 76, 103, 0, 0x1001];
/// Controls and classes that are worth a try.
const SELECTORS: [u32; 24] = [
    0x2080_0122,
    0x2080_0301,
    0x2080_0a1c,
    0x2080_2a0b,
    0x0080_1813,
    0x0080_1814,
    0xa06f_0103,
    0xa06f_0104,
    0x9096_0101,
    0x90f1_0106,
    0x2080_012b,
    0x2080_0a32,
    0x0,
    0x41,
    0x80,
    0x2080,
    0x90f1,
    0xa06c,
    0xc56f,
    0xc7b5,
    0xc797,
    0xc7c0,
    0x5,
    0x7e,
];
/// Pages from the command queue's header to the end of the message queue.
const QUEUES: u64 = 129 * 0x1000;

/// A driver that has booted the GSP, and its memory.
fn booted() -> Option<(Driver, File)> {
    let fd = memfd_create("ram", MemfdFlags::CLOEXEC).ok()?;
    ftruncate(&fd, RAM_SIZE).ok()?;
    let ram = File::from(fd);
    let mut env = Env::new(VRAM).ok()?;
    env.mem.dma_map(RAM_BASE, RAM_SIZE, Some((ram.try_clone().ok()?, 0)), true).ok()?;
    let gpu = Gpu::new(Machine::new(Chip::find("ga102")?, env, None));
    let mut driver = Driver::new(gpu, ram.try_clone().ok()?, Blobs::new(), Sabotage::Nothing);
    driver.card.config_write(4, 6);
    driver.boot().ok()?;
    driver.objects().ok()?;
    Some((driver, ram))
}

/// Where the queues are in guest memory: the table of their pages names itself first.
fn queues(ram: &File) -> u64 {
    let mut word = [0; 8];
    let page = |at: &u64| {
        ram.read_exact_at(&mut word, *at).is_ok() && u64::from_le_bytes(word) == RAM_BASE + at
    };
    (0..RAM_SIZE).step_by(0x1000).find(page).expect("the queues")
}

fn request(driver: &mut Driver, input: &mut Input<'_>) {
    let kind = input.number(1) as usize;
    let function = FUNCTIONS[kind % FUNCTIONS.len()];
    let mut payload = input.bytes(kind & 0xf0).to_vec();
    if kind & 1 != 0 {
        let selector = SELECTORS[input.number(1) as usize % SELECTORS.len()].to_le_bytes();
        let at = if function == 76 { 8 } else { 12 };
        if let Some(field) = payload.get_mut(at..at + 4) {
            field.copy_from_slice(&selector);
        }
    }
    let _ = driver.call(function, &payload);
}

/// A driver, its memory, and how many inputs it has seen.
struct Seat {
    driver: Driver,
    ram: File,
    queues: u64,
    inputs: u32,
}

impl Seat {
    fn new() -> Self {
        let (driver, ram) = booted().expect("a GSP");
        let queues = queues(&ram);
        Self { driver, ram, queues, inputs: 0 }
    }

    /// Whether this GSP is done with.
    fn used(&self) -> bool {
        self.inputs >= MOST_INPUTS || !self.driver.card.gpu.gsp.running
    }

    fn run(&mut self, data: &[u8]) {
        self.inputs += 1;
        let mut input = Input(data);
        for _ in 0..MOST_RECORDS {
            if input.is_empty() {
                break;
            }
            if input.number(1) < 192 {
                request(&mut self.driver, &mut input);
                continue;
            }
            let offset = input.number(3) % QUEUES;
            let len = input.number(1) as usize;
            let bytes = input.bytes(len.min((QUEUES - offset) as usize));
            self.ram.write_all_at(bytes, self.queues + offset).expect("in memory");
            self.driver.card.wr(0x11_0c00, 0);
            self.driver.card.gpu.step(0);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    thread_local!(static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) });
    SEAT.with_borrow_mut(|seat| {
        seat.get_or_insert_with(Seat::new).run(data);
        // Whatever it was told, it still can be stopped.
        if let Some(mut used) = seat.take_if(|seat| seat.used()) {
            used.driver.card.gpu.reset();
        }
    });
});
