// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctls with any argument")]

//! A client that calls at random.
//!
//! Several threads share a few open files. Each call is one that could be right, and then mostly
//! has something wrong with it: numbers at borders, lists where no memory is, handles of others,
//! files that are closed meanwhile. What comes back does not matter, apart from when: no call may
//! take longer than a job. What matters is that the kernel has nothing to say about it, that others
//! work on, and that all memory is back in the end.

mod calls;
mod values;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::hostile::bystander::Bystander;
use crate::prng::Prng;
use crate::uapi::Client;
use crate::uapi::abi::{DOMAIN_GART, DOMAIN_MAPPABLE, PARAM_VRAM_USED, nr};
use crate::uapi::raw::{self, Arena, Argument, Mapping, Slots};
use calls::{KINDS, Kind};

/// Read and write, as the direction of an ioctl.
const RW: u32 = 3;
/// Open files.
const SLOTS: usize = 5;
/// Bytes of page tables that it may keep for the next address space: a block of each kind.
const LEFT: u64 = 2 << 16;
/// Channels whose memory the driver may keep.
const KEPT: usize = 16;
/// Names of what is done beside ioctls.
const OTHERS: [&str; 3] = ["open", "mmap", "fdinfo"];

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device file.
    pub device: PathBuf,
    /// Start of the random sequences.
    pub seed: u64,
    /// For how long.
    pub time: Duration,
    /// By how many threads.
    pub threads: u64,
    /// No call may take longer.
    pub limit: Duration,
}

/// How often which call ended how, by the number of the error; zero is success.
type Counts = BTreeMap<&'static str, BTreeMap<i32, u64>>;

/// What the threads share.
struct World {
    device: PathBuf,
    slots: Slots,
    arena: Arena,
    null: File,
    /// By slot: the last address for mmap that the kernel gave.
    offsets: [AtomicU64; SLOTS],
    stop: AtomicBool,
    counts: Mutex<Counts>,
    /// By thread: what it is doing, as an index into [`KINDS`].
    doing: Vec<AtomicUsize>,
}

/// Calls at random beside a bystander; returns what there is to tell.
pub fn run(options: &Options, bystander: &mut Bystander) -> anyhow::Result<Vec<String>> {
    let client = Client::open(&options.device)?;
    client.warm_up(KEPT)?;
    let before = client.param(PARAM_VRAM_USED)?;
    let world = Arc::new(World::new(options)?);
    let (done, ended) = mpsc::channel();
    for number in 0..options.threads {
        let (world, done) = (Arc::clone(&world), done.clone());
        let prng = Prng::new(options.seed.wrapping_mul(1_000_003).wrapping_add(number));
        thread::spawn(move || {
            let result = world.live(number as usize, prng);
            let _ = done.send(result);
        });
    }
    let copies = bystander.copies();
    thread::sleep(options.time);
    world.stop.store(true, Ordering::Relaxed);
    for _ in 0..options.threads {
        let Ok(result) = ended.recv_timeout(options.limit) else {
            bail!("a call does not end: {}", world.doing().join(", "));
        };
        result?;
    }
    let meanwhile = bystander.copies() - copies;
    ensure!(meanwhile > 0, "the bystander stood still");
    bystander.advance(3, options.limit).context("the bystander, afterwards")?;
    world.close()?;
    settles(options.limit, || Ok(client.param(PARAM_VRAM_USED)? <= before + LEFT))
        .context("video memory is not given back")?;
    let mut lines = world.report()?;
    lines.push(format!("the bystander made {meanwhile} copies meanwhile"));
    Ok(lines)
}

/// Waits until something is true.
fn settles(limit: Duration, check: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !check()? {
        ensure!(start.elapsed() < limit, "not within {limit:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn open(device: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(device)
}

impl World {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let null = File::open("/dev/null")?;
        Ok(Self {
            device: options.device.clone(),
            slots: Slots::new(SLOTS, &null)?,
            arena: Arena::new()?,
            null,
            offsets: [const { AtomicU64::new(0) }; SLOTS],
            stop: AtomicBool::new(false),
            counts: Mutex::default(),
            doing: (0..options.threads).map(|_| AtomicUsize::new(0)).collect(),
        })
    }

    /// Closes all files.
    fn close(&self) -> io::Result<()> {
        (0..SLOTS).try_for_each(|i| self.slots.replace(i, self.null.as_fd()))
    }

    fn name(index: usize) -> &'static str {
        KINDS.get(index).map_or_else(|| OTHERS[index - KINDS.len()], |kind| kind.name)
    }

    fn doing(&self) -> Vec<&'static str> {
        self.doing.iter().map(|index| Self::name(index.load(Ordering::Relaxed))).collect()
    }

    /// A thread's life.
    fn live(&self, thread: usize, mut prng: Prng) -> anyhow::Result<()> {
        let mut counts: BTreeMap<(usize, i32), u64> = BTreeMap::new();
        let total: u64 = KINDS.iter().map(|kind| kind.weight).sum();
        while !self.stop.load(Ordering::Relaxed) {
            let slot = prng.index(SLOTS);
            let index = match prng.below(100) {
                0 => KINDS.len(),
                1..4 => KINDS.len() + 1,
                4 => KINDS.len() + 2,
                _ => pick(prng.below(total)),
            };
            self.doing[thread].store(index, Ordering::Relaxed);
            let result = match KINDS.get(index) {
                Some(kind) => self.call(kind, slot, &mut prng),
                None => match OTHERS[index - KINDS.len()] {
                    "open" => self.open(slot, &mut prng),
                    "mmap" => self.map(slot, &mut prng),
                    _ => self.fdinfo(slot),
                },
            };
            let errno = result.err().map_or(0, |e| e.raw_os_error().unwrap_or(-1));
            *counts.entry((index, errno)).or_default() += 1;
        }
        let mut all = self.counts.lock().ok().context("another thread failed")?;
        for ((index, errno), count) in counts {
            *all.entry(Self::name(index)).or_default().entry(errno).or_default() += count;
        }
        Ok(())
    }

    /// One ioctl.
    fn call(&self, kind: &Kind, slot: usize, prng: &mut Prng) -> io::Result<()> {
        let mut argument = (kind.make)(prng, &self.arena);
        let mut size = argument.bytes().len();
        let (mut direction, mut number) = (RW, kind.number);
        if kind.mutable {
            if prng.below(6) == 0 {
                values::mutate(prng, &mut argument);
            }
            if prng.below(50) == 0 {
                (size, direction) = (prng.index(300), prng.below(4) as u32);
            }
        }
        if number == 0 {
            // None of those that make descriptors.
            number = 0x40 + prng.below(0x60) as u8;
            direction = prng.below(4) as u32;
        }
        let fd = self.slots.get(slot);
        // SAFETY: pointers lead into the arena or to addresses where nothing is mapped, except for
        // random words, of which one in 2^30 may be the address of something; the kernel only
        // reads there.
        unsafe { raw::ioctl(fd, direction, size, number, &mut argument) }?;
        match kind.number {
            nr::GEM_NEW => self.offsets[slot].store(word64(&argument, 24), Ordering::Relaxed),
            0x84 => self.offsets[slot].store(word64(&argument, 24), Ordering::Relaxed),
            0x2d | 0xc1 if direction == RW && size >= 12 => {
                // SAFETY: the kernel has just made it.
                let made = unsafe { raw::take_fd(argument.word(8)) };
                if kind.number == 0x2d {
                    self.import(made.as_fd(), prng);
                }
            }
            _ => (),
        }
        Ok(())
    }

    /// Gives a dma-buf to another client, or maps it.
    fn import(&self, dmabuf: BorrowedFd<'_>, prng: &mut Prng) {
        let mut argument = Argument::new().u32(0).u32(0).u32(dmabuf.as_raw_fd() as u32);
        let fd = self.slots.get(prng.index(SLOTS));
        // SAFETY: the argument names no memory.
        let _ = unsafe { raw::ioctl(fd, RW, 12, 0x2e, &mut argument) };
        if let Ok(map) = Mapping::new(dmabuf, 0, 0x1000) {
            let _ = map.write(&[0x5a; 64]);
        }
    }

    /// Closes a file under the others' feet, and opens one in its place: mostly a client that could
    /// work, with memory, a channel and synchronization objects.
    fn open(&self, slot: usize, prng: &mut Prng) -> io::Result<()> {
        if prng.below(8) == 0 {
            return self.slots.replace(slot, self.null.as_fd());
        }
        let file = open(&self.device)?;
        // Now and then the others get it before it is ready.
        let early = prng.below(4) == 0;
        if early {
            self.slots.replace(slot, file.as_fd())?;
        }
        let call = |number, mut argument: Argument| {
            let size = argument.bytes().len();
            // SAFETY: none of the arguments below names memory but the arena.
            unsafe { raw::ioctl(file.as_fd(), RW, size, number, &mut argument) }?;
            Ok::<_, io::Error>(argument)
        };
        call(nr::VM_INIT, Argument::new().u64(1 << 39).u64(1 << 39))?;
        for _ in 0..4 {
            call(nr::SYNCOBJ_CREATE, Argument::new().u64(0))?;
        }
        let domain = DOMAIN_GART | DOMAIN_MAPPABLE;
        let new = Argument::new().u32(0).u32(domain).u64(values::PAGE).u64(0).u64(0);
        let new = call(nr::GEM_NEW, new.u64(0).u32(0).u32(0x1000))?;
        let map = Mapping::new(file.as_fd(), word64(&new, 24), values::PAGE as usize)?;
        map.write(&calls::pushbuffers(prng))?;
        let op = [new.word(0).into(), values::BASE, 0, values::PAGE];
        let at = Arena::SIZE - 0x1000;
        let op: Vec<u8> = [0].iter().chain(&op).flat_map(|w: &u64| w.to_le_bytes()).collect();
        self.arena.write(at, &op)?;
        let bind = Argument::new().u32(1).u32(0).u64(0).u64(0).u64(0);
        call(nr::VM_BIND, bind.u64(self.arena.address(at)))?;
        let engine = if prng.below(4) == 0 { 0x01 } else { 0x30 };
        call(nr::CHANNEL_ALLOC, Argument::new().u32(u32::MAX).u32(engine).raw(&[0; 80]))?;
        if early { Ok(()) } else { self.slots.replace(slot, file.as_fd()) }
    }

    /// Maps an object, or something else, and has it read and written.
    fn map(&self, slot: usize, prng: &mut Prng) -> io::Result<()> {
        let fd = self.slots.get(slot);
        let offset = match prng.below(4) {
            0 => values::any(prng),
            _ => self.offsets[slot].load(Ordering::Relaxed),
        };
        let map = Mapping::new(fd, offset & !0xfff, 0x1000 << prng.below(5))?;
        map.write(&prng.bytes(256))?;
        if prng.below(4) == 0 { map.read() } else { Ok(()) }
    }

    fn fdinfo(&self, slot: usize) -> io::Result<()> {
        let fd = self.slots.get(slot).as_raw_fd();
        std::fs::read(format!("/proc/self/fdinfo/{fd}")).map(|_| ())
    }

    /// A line for each call, and one for all.
    fn report(&self) -> anyhow::Result<Vec<String>> {
        let counts = self.counts.lock().ok().context("a thread failed")?;
        let (mut lines, mut all, mut good) = (Vec::new(), 0, 0);
        for (name, by_errno) in counts.iter() {
            let list: Vec<String> = by_errno
                .iter()
                .map(|(errno, count)| match errno {
                    0 => format!("{count} ok"),
                    _ => format!("{count} {}", errno_name(*errno)),
                })
                .collect();
            lines.push(format!("{name}: {}", list.join(", ")));
            all += by_errno.values().sum::<u64>();
            good += by_errno.get(&0).copied().unwrap_or(0);
        }
        // Calls that all fail test the first line of each only.
        for name in ["VM_BIND", "EXEC", "GEM_NEW", "CHANNEL_ALLOC", "open", "mmap"] {
            let good = counts.get(name).and_then(|c| c.get(&0)).copied();
            ensure!(good.is_some(), "no {name} succeeded; {}", lines.join("; "));
        }
        lines.push(format!("{all} calls, {good} of them good"));
        Ok(lines)
    }
}

/// The call whose share of all weights holds this one.
fn pick(mut at: u64) -> usize {
    for (index, kind) in KINDS.iter().enumerate() {
        if at < kind.weight {
            return index;
        }
        at -= kind.weight;
    }
    0
}

fn word64(argument: &Argument, offset: usize) -> u64 {
    u64::from(argument.word(offset)) | u64::from(argument.word(offset + 4)) << 32
}

/// The number as the error's text, which starts with what it is.
fn errno_name(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_picked() {
        let total: u64 = KINDS.iter().map(|kind| kind.weight).sum();
        let picked: std::collections::BTreeSet<usize> = (0..total).map(pick).collect();
        assert_eq!(picked.len(), KINDS.len());
    }

    #[test]
    fn errors_have_names() {
        assert_eq!(errno_name(22), "Invalid argument");
    }
}
