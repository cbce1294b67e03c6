// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counts what the guest's processor executes, and writes down when certain things happen.
//!
//! QEMU loads it (`scripts/vm --meter FILE`). Each instruction adds one to a counter. A program in
//! the guest sets *marks*, instructions that do nothing for the guest, and between the first and
//! the last mark of a sample the file gets a line for each
//!
//! ```text
//! COUNT NS mark ID STEP          STEP 0 begins a sample, 2 ends it
//! COUNT NS w ADDRESS SIZE        a write to a device by one of the drivers
//! COUNT NS r ADDRESS SIZE        a read
//! COUNT NS call FUNCTION         a function of [`FUNCTIONS`] was entered
//! ```
//!
//! where COUNT is how many instructions came before and NS is the host's time in nanoseconds, of
//! which this plugin itself takes a part. Counts depend on nothing but the guest.
//!
//! With `profile=FILE` the end writes how many instructions were executed in samples by address:
//! `COUNT ADDRESS`, most first. That is slow. With `cover=FILE` it writes the address of each
//! instruction of a module that was executed at all, in samples or not. That costs nothing: QEMU
//! translates code when the guest gets there, in runs without a branch, so what was translated ran.
//!
//! A mark is `nopl ID << 4 | STEP + 0x474e0000(%rax)`, which accesses no memory. What drivers access
//! is seen by looking at the instructions of modules and of the kernel's functions for that.

mod qemu;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{c_uint, c_void};
use std::fmt::{Display, Formatter};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use qemu::{Block, Counter, Info};

/// Functions of the kernel whose calls are written down.
const FUNCTIONS: [&str; 21] = [
    // Memory.
    "__kmalloc_noprof",
    "__kmalloc_cache_noprof",
    "__kmalloc_cache_node_noprof",
    "__kmalloc_node_noprof",
    "__kmalloc_node_track_caller_noprof",
    "__kmalloc_large_noprof",
    "__kmalloc_large_node_noprof",
    "kmem_cache_alloc_noprof",
    "kmem_cache_alloc_lru_noprof",
    "kmem_cache_alloc_node_noprof",
    "kmem_cache_alloc_bulk_noprof",
    "__vmalloc_node_range_noprof",
    "__alloc_frozen_pages_noprof",
    // Work for other threads.
    "__queue_work",
    "kthread_queue_work",
    "wake_up_process",
    // What happens to the processor.
    "asm_common_interrupt",
    "asm_sysvec_apic_timer_interrupt",
    "irqentry_exit",
    "__schedule",
    "default_idle",
];

/// What functions of the kernel itself begin with that access devices for drivers; for those in Rust
/// it is the C helpers.
const ACCESSORS: [&str; 9] = [
    "ioread",
    "iowrite",
    "__ioread",
    "__iowrite",
    "memcpy_toio",
    "memcpy_fromio",
    "memset_io",
    "rust_helper_read",
    "rust_helper_write",
];

/// Where modules are loaded.
const MODULES: Range<u64> = 0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000;

/// A mark without its number: opcode and addressing mode.
const MARK: [u8; 3] = [0x0f, 0x1f, 0x80];
/// The upper half of a mark's displacement.
const MARK_TAG: [u8; 2] = [0x4e, 0x47];

/// The first and the last step of a sample.
const BEGIN: usize = 0;
const END: usize = 2;

struct Meter {
    counter: Counter,
    /// Index in [`FUNCTIONS`] by address.
    functions: HashMap<u64, usize>,
    /// Code that may access devices.
    accessors: Vec<Range<u64>>,
    on: AtomicBool,
    profile: Option<(String, Mutex<HashMap<u64, u64>>)>,
    cover: Option<(String, Mutex<BTreeSet<u64>>)>,
    out: Mutex<BufWriter<File>>,
    start: Instant,
}

static METER: OnceLock<Meter> = OnceLock::new();

impl Meter {
    fn new(
        out: &str,
        symbols: &str,
        profile: Option<&str>,
        cover: Option<&str>,
    ) -> Result<Self, String> {
        let text = std::fs::read_to_string(symbols).map_err(|e| format!("{symbols}: {e}"))?;
        let table = symbol_table(&text);
        let find = |name: &str| table.iter().position(|(_, n)| *n == name);
        let mut functions = HashMap::new();
        for (index, name) in FUNCTIONS.iter().enumerate() {
            // What a kernel does not have is not called.
            functions.extend(find(name).map(|at| (table[at].0, index)));
        }
        let mut accessors: Vec<_> = table
            .windows(2)
            .filter(|pair| ACCESSORS.iter().any(|prefix| pair[0].1.starts_with(prefix)))
            .map(|pair| pair[0].0..pair[1].0)
            .collect();
        accessors.push(MODULES);
        let file = File::create(out).map_err(|e| format!("{out}: {e}"))?;
        Ok(Self {
            counter: Counter::new(),
            functions,
            accessors,
            on: AtomicBool::new(false),
            profile: profile.map(|path| (path.to_owned(), Mutex::default())),
            cover: cover.map(|path| (path.to_owned(), Mutex::default())),
            out: Mutex::new(BufWriter::new(file)),
            start: Instant::now(),
        })
    }

    fn write(&self, what: impl Display) {
        let (count, ns) = (self.counter.get(), self.start.elapsed().as_nanos());
        if let Ok(mut out) = self.out.lock() {
            let _ = writeln!(out, "{count} {ns} {what}");
        }
    }

    fn flush(&self) -> std::io::Result<()> {
        if let Ok(mut out) = self.out.lock() {
            out.flush()?;
        }
        if let Some((path, Ok(ran))) = self.cover.as_ref().map(|(path, ran)| (path, ran.lock())) {
            let mut file = BufWriter::new(File::create(path)?);
            ran.iter().try_for_each(|at| writeln!(file, "{at:#x}"))?;
        }
        let Some((path, blocks)) = &self.profile else { return Ok(()) };
        let Ok(blocks) = blocks.lock() else { return Ok(()) };
        let mut blocks: Vec<_> = blocks.iter().map(|(at, count)| (*count, *at)).collect();
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        let mut file = BufWriter::new(File::create(path)?);
        blocks.iter().try_for_each(|(count, at)| writeln!(file, "{count} {at:#x}"))
    }
}

/// `nm`'s lines as addresses and names, by address.
fn symbol_table(text: &str) -> Vec<(u64, &str)> {
    let mut table: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?))
        })
        .collect();
    table.sort_unstable();
    table
}

/// What a plugin's argument `name=value` says.
fn argument<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='))
}

/// Starts.
fn install(id: u64, info: &Info, arguments: &[String]) -> Result<(), String> {
    if !info.is_single() {
        return Err("works for one processor only (--smp 1)".into());
    }
    let find = |name: &str| argument(arguments, name);
    let out = find("out").ok_or("argument out=… is missing")?;
    let symbols = find("symbols").ok_or("argument symbols=… is missing")?;
    let meter = Meter::new(out, symbols, find("profile"), find("cover"))?;
    METER.set(meter).map_err(|_| "is loaded already")?;
    qemu::start(id);
    Ok(())
}

/// The number of a mark, if these bytes are one.
fn mark((bytes, len): ([u8; 8], usize)) -> Option<usize> {
    let is = len == 7 && bytes.starts_with(&MARK) && bytes[5..7] == MARK_TAG;
    is.then(|| usize::from(u16::from_le_bytes([bytes[3], bytes[4]])))
}

/// Attaches what is to be done to the instructions of a block.
fn translate(block: Block) {
    let Some(meter) = METER.get() else { return };
    for instruction in block.instructions() {
        let address = instruction.address();
        instruction.count(meter.counter);
        if let Some((_, ran)) = meter.cover.as_ref().filter(|_| MODULES.contains(&address)) {
            ran.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
        }
        if meter.profile.is_some() {
            instruction.on_execute(profiled, address as usize);
        }
        if let Some(number) = mark(instruction.bytes()) {
            instruction.on_execute(marked, number);
        }
        if let Some(&index) = meter.functions.get(&address) {
            instruction.on_execute(called, index);
        }
        if meter.accessors.iter().any(|range| range.contains(&address)) {
            instruction.on_access(accessed);
        }
    }
}

struct Mark(usize);

impl Display for Mark {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "mark {} {}", self.0 >> 4, self.0 & 15)
    }
}

extern "C" fn marked(_: c_uint, number: *mut c_void) {
    let Some(meter) = METER.get() else { return };
    let number = number as usize;
    if number & 15 == BEGIN {
        meter.on.store(true, Ordering::Relaxed);
    }
    meter.write(Mark(number));
    if number & 15 == END {
        meter.on.store(false, Ordering::Relaxed);
    }
}

extern "C" fn profiled(_: c_uint, address: *mut c_void) {
    let Some(meter) = METER.get().filter(|m| m.on.load(Ordering::Relaxed)) else { return };
    if let Some(Ok(mut blocks)) = meter.profile.as_ref().map(|(_, blocks)| blocks.lock()) {
        *blocks.entry(address as u64).or_default() += 1;
    }
}

extern "C" fn called(_: c_uint, index: *mut c_void) {
    let Some(meter) = METER.get() else { return };
    if meter.on.load(Ordering::Relaxed) {
        meter.write(format_args!("call {}", FUNCTIONS.get(index as usize).unwrap_or(&"?")));
    }
}

extern "C" fn accessed(_: c_uint, info: u32, va: u64, _: *mut c_void) {
    let Some(meter) = METER.get() else { return };
    if !meter.on.load(Ordering::Relaxed) {
        return;
    }
    if let Some(access) = qemu::device_access(info, va) {
        let way = if access.write { 'w' } else { 'r' };
        meter.write(format_args!("{way} {:#x} {}", access.address, access.size));
    }
}

/// The machine ends.
fn finish() {
    if let Some(Err(error)) = METER.get().map(Meter::flush) {
        eprintln!("ghostnv-meter: {error}");
    }
}
