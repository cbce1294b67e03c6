// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RPC frames to a GSP that a small driver booted.
//!
//! Input: records. A tag below 192 is a request whose frame is right: one that RM serves, from RM's
//! own tables, of the right size, about objects that there are, with parameters of the input's; bits
//! of the input spoil each of that. Other tags store bytes anywhere in the queues, frames and
//! pointers included, and ring.
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
use driver::channel::CHANNEL;
use driver::rm::{CLIENT, DEVICE, SUBDEVICE, VASPACE};
use driver::{Driver, RAM_BASE, RAM_SIZE, Sabotage};
use ghostnv_gpu::chip::Chip;
use ghostnv_gpu::env::Env;
use ghostnv_gpu::gpu::Gpu;
use ghostnv_gpu::gsp::{ObjectKind, Shape, shapes};
use ghostnv_gpu::machine::Machine;
use input::Input;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

const VRAM: u64 = 512 << 20;
const MOST_RECORDS: u32 = 24;
/// Inputs that one GSP sees.
const MOST_INPUTS: u32 = 32;
/// Function numbers in the place of the right one.
const FUNCTIONS: [u32; 6] = [0, 71, 72, 73, 0x1001, 0x1003];
/// Handles that requests give to what they make: few, so that others find them.
const HANDLES: u32 = 0x1000;
/// RM's own client, device and subdevice.
const INTERNAL: (u32, u32, u32) = (0xc200_0005, 0xabcd_0080, 0xabcd_2080);
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
    driver.static_info().ok()?;
    driver.objects().ok()?;
    driver.open_channel().ok()?;
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

/// An object of this kind: one that the driver made, or of those that requests make.
fn object(kind: Option<&ObjectKind>, input: &mut Input<'_>) -> u32 {
    let made = HANDLES + input.number(1) as u32 % 16;
    match kind {
        Some(ObjectKind::Client) => CLIENT,
        Some(ObjectKind::Device) => DEVICE,
        Some(ObjectKind::Subdevice) => SUBDEVICE,
        Some(ObjectKind::Channel) if made % 4 != 0 => CHANNEL,
        Some(ObjectKind::VaSpace) if made % 4 != 0 => VASPACE,
        _ => made,
    }
}

fn words(payload: &mut [u8], words: &[u32]) {
    for (field, word) in payload.chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
}

fn request(driver: &mut Driver, shapes: &[Shape], input: &mut Input<'_>) {
    let shape = shapes[input.number(1) as usize % shapes.len()];
    let spoil = input.number(1);
    let kind = shape.on.get(spoil as usize >> 6).or(shape.on.first());
    let mut target = (CLIENT, object(kind, input));
    if spoil & 7 == 1 {
        let own = if kind == Some(&ObjectKind::Device) { INTERNAL.1 } else { INTERNAL.2 };
        target = (INTERNAL.0, own);
    }
    let mut params = shape.params;
    if spoil & 7 == 2 {
        params = input.number(2) as usize;
    }
    let mut payload = vec![0; shape.head + params];
    // The head is the input's where nothing below fills it in.
    let bytes = input.bytes(payload.len().min(512));
    let at = if shape.params > 0 { shape.head } else { 0 };
    let room = bytes.len().min(payload.len() - at);
    payload[at..at + room].copy_from_slice(&bytes[..room]);
    let size = if spoil & 7 == 3 { input.number(4) as u32 } else { params as u32 };
    match shape.function {
        76 => words(&mut payload, &[target.0, target.1, shape.selector, 0, size, 0]),
        103 => {
            let new = HANDLES + input.number(1) as u32 % 16;
            words(&mut payload, &[target.0, target.1, new, shape.selector, 0, size, 0, 0]);
        }
        10 if spoil & 7 != 4 => words(&mut payload, &[target.0, 0, target.1, 0]),
        _ => {}
    }
    let wrong = FUNCTIONS[(spoil >> 3) as usize % FUNCTIONS.len()];
    let _ = driver.call(if spoil & 7 == 5 { wrong } else { shape.function }, &payload);
}

/// A driver, its memory, and how many inputs it has seen.
struct Seat {
    driver: Driver,
    ram: File,
    queues: u64,
    shapes: Vec<Shape>,
    inputs: u32,
}

impl Seat {
    fn new() -> Self {
        let (driver, ram) = booted().expect("a GSP");
        let queues = queues(&ram);
        let shapes = shapes(driver.card.gpu.hw.chip);
        Self { driver, ram, queues, shapes, inputs: 0 }
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
                request(&mut self.driver, &self.shapes, &mut input);
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
