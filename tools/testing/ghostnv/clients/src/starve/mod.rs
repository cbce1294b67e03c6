// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "ioctls")]

//! Calls during which the kernel runs out of memory.
//!
//! The kernel's fault injection fails the n-th allocation that a task makes (`fail-nth`). Each call
//! is made with n = 1, 2, … until it needs no n-th one. It may fail then, and has to have changed
//! nothing: in the end it works, and all memory is back. See
//! Documentation/fault-injection/fault-injection.rst of the kernel.
//!
//! Objects and pages are failed apart. Of objects a call needs the same number each time, so each
//! allocation has its turn; but when a cache needs a page for more of them is chance, as is when the
//! kernel's debugging needs memory for its own lists, which is left out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::uapi::Client;
use crate::uapi::abi::{self, nr};
use crate::uapi::push::Pushbuf;
use crate::uapi::raw::{self, Arena, Argument, Mapping};

/// Bytes of objects.
const SIZE: u64 = 1 << 16;
/// Where an object with commands is.
const PUSH: u64 = 0x1_0000_0000;
/// Where others are.
const DATA: u64 = 0x1_1000_0000;
/// Byte of [`PUSH`] that a semaphore is at.
const SEMAPHORE: u64 = 0x8000;
/// Bytes of page tables that the driver may keep: a block of each kind.
const LEFT: u64 = 2 << 16;
/// More allocations than a call has.
const ENOUGH: u32 = 20_000;

/// What is not given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Objects of the slab allocator, `kmalloc`'s among them.
    Objects,
    /// Pages of the page allocator.
    Pages,
}

/// Caches of the kernel's debugging.
const NOT_FAILED: [&str; 3] = ["kmemleak_object", "kmemleak_scan_area", "debug_objects_cache"];

/// Fails allocations of this thread.
struct Injector(File);

impl Injector {
    /// `verbose` has the kernel log where.
    fn new(kind: Kind, verbose: bool) -> anyhow::Result<Self> {
        let debug = Path::new("/sys/kernel/debug");
        let detail = if verbose { "2" } else { "0" };
        let order = if kind == Kind::Pages { "0" } else { "99" };
        for (file, value) in [
            ("failslab/ignore-gfp-wait", "N"),
            ("failslab/cache-filter", "Y"),
            ("failslab/verbose", detail),
            ("fail_page_alloc/ignore-gfp-wait", "N"),
            ("fail_page_alloc/ignore-gfp-highmem", "N"),
            ("fail_page_alloc/min-order", order),
            ("fail_page_alloc/verbose", detail),
        ] {
            fs::write(debug.join(file), value).with_context(|| {
                format!("{file} in debugfs: does the kernel have fault injection?")
            })?;
        }
        for cache in fs::read_dir("/sys/kernel/slab").context("the kernel's slab caches")? {
            let cache = cache?;
            let failed = kind == Kind::Objects
                && !NOT_FAILED.iter().any(|name| cache.file_name().as_bytes() == name.as_bytes());
            fs::write(cache.path().join("failslab"), if failed { "1" } else { "0" }).with_context(
                || format!("cache {:?}: boot with slab_nomerge", cache.file_name()),
            )?;
        }
        let file = OpenOptions::new().read(true).write(true).open("/proc/thread-self/fail-nth")?;
        Ok(Self(file))
    }

    /// Calls `f`, whose `nth` allocation fails. Says how many more it would have needed.
    fn during<R>(&self, nth: u32, f: impl FnOnce() -> R) -> anyhow::Result<(R, u32)> {
        let mut text = [0; 16];
        self.0.write_all_at(format!("{nth}").as_bytes(), 0)?;
        let result = f();
        let len = self.0.read_at(&mut text, 0)?;
        self.0.write_all_at(b"0", 0)?;
        let left = std::str::from_utf8(&text[..len])?.trim().parse()?;
        Ok((result, left))
    }
}

/// How the calls of one kind ended: by the number of the error, zero is success.
type Ends = BTreeMap<i32, u64>;

/// The numbers below `all`, in an order of which each beginning is spread evenly.
fn spread(all: u32) -> impl Iterator<Item = u32> {
    let bits = u32::BITS - all.saturating_sub(1).leading_zeros();
    let reversed = move |n: u32| n.reverse_bits().checked_shr(u32::BITS - bits).unwrap_or(0);
    (0..1 << bits).map(reversed).filter(move |&n| n < all)
}

/// What the calls are made from.
pub struct Starver {
    device: PathBuf,
    injector: Injector,
    kind: Kind,
    arena: Arena,
    zero: File,
    only: String,
    verbose: bool,
}

fn open(device: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(device)
}

/// One ioctl.
fn call(file: &File, number: u8, argument: &mut Argument) -> io::Result<()> {
    let size = argument.bytes().len();
    // SAFETY: all pointers in arguments below are those of the arena.
    unsafe { raw::ioctl(file.as_fd(), 3, size, number, argument) }
}

fn gem_new(domain: u32) -> Argument {
    Argument::new().u32(0).u32(domain).u64(SIZE).u64(0).u64(0).u64(0).u32(0).u32(0x1000)
}

fn channel_alloc(engine: u32) -> Argument {
    Argument::new().u32(u32::MAX).u32(engine).raw(&[0; 80])
}

/// A client that can work: its file and the mapping of its commands.
struct Ready {
    file: File,
    push: Mapping,
}

impl Starver {
    /// `only` is a part of the name of the calls that are wanted.
    pub fn new(kind: Kind, device: &Path, only: &str, verbose: bool) -> anyhow::Result<Self> {
        Ok(Self {
            device: device.to_owned(),
            injector: Injector::new(kind, verbose)?,
            kind,
            arena: Arena::new()?,
            zero: File::open("/dev/zero")?,
            only: only.to_owned(),
            verbose,
        })
    }

    /// Makes one call with each of its allocations failing once, and at last with none.
    fn sweep<P>(
        &self,
        name: &str,
        mut prepare: impl FnMut() -> anyhow::Result<P>,
        mut call: impl FnMut(&mut P) -> io::Result<()>,
        mut after: impl FnMut(P) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !name.contains(&self.only) {
            return Ok(());
        }
        let mut ends = Ends::new();
        let start = Instant::now();
        for nth in 1..ENOUGH {
            let mut prepared = prepare().with_context(|| format!("{name}: before {nth}"))?;
            let (result, left) = self.injector.during(nth, || call(&mut prepared))?;
            let errno = result.as_ref().err().map_or(0, |e| e.raw_os_error().unwrap_or(-1));
            if self.verbose {
                println!("gpu-starve: {name}: {nth}: {errno}, {left} left");
            }
            after(prepared).with_context(|| format!("{name}: after {nth}, which ended {errno}"))?;
            if left != 0 {
                result.with_context(|| format!("{name}: with all memory it needs"))?;
                let list: Vec<String> =
                    ends.iter().map(|(errno, count)| format!("{count} x {errno}")).collect();
                println!(
                    "gpu-starve: {name}: {} {:?} ({}), {:.1} s",
                    nth - 1,
                    self.kind,
                    list.join(", "),
                    start.elapsed().as_secs_f64()
                );
                return Ok(());
            }
            *ends.entry(errno).or_default() += 1;
        }
        anyhow::bail!("{name}: no end of allocations")
    }

    fn client(&self) -> anyhow::Result<File> {
        let file = open(&self.device)?;
        call(&file, nr::VM_INIT, &mut Argument::new().u64(1 << 39).u64(1 << 39))?;
        Ok(file)
    }

    /// `VM_BIND`: operation, flags, handle, address, bytes; signals synchronization object 1.
    fn bind(&self, ops: &[(u32, u32, u32, u64, u64)], later: bool) -> io::Result<Argument> {
        let mut bytes = Vec::new();
        for &(op, flags, handle, va, len) in ops {
            for word in [op, flags, handle, 0] {
                bytes.extend(word.to_le_bytes());
            }
            for word in [va, 0, len] {
                bytes.extend(word.to_le_bytes());
            }
        }
        self.arena.write(0, &bytes)?;
        self.arena.write(0x8000, &[0, 0, 0, 0, 1, 0, 0, 0])?;
        let bind = Argument::new().u32(ops.len() as u32).u32(later.into()).u32(0);
        let bind = bind.u32(later.into()).u64(0).u64(self.arena.address(0x8000));
        Ok(bind.u64(self.arena.address(0)))
    }

    /// A client with synchronization objects 1 to 3, commands, and memory to copy to.
    fn ready(&self) -> anyhow::Result<Ready> {
        let file = self.client()?;
        for _ in 0..3 {
            call(&file, nr::SYNCOBJ_CREATE, &mut Argument::new().u64(0))?;
        }
        let mut new = gem_new(abi::DOMAIN_GART | abi::DOMAIN_MAPPABLE);
        call(&file, nr::GEM_NEW, &mut new)?;
        let offset = u64::from(new.word(24)) | u64::from(new.word(28)) << 32;
        let push = Mapping::new(file.as_fd(), offset, SIZE as usize)?;
        let mut page = Pushbuf::new().copy(PUSH, PUSH + 0x9000, 0x1000).bytes();
        page.resize(0x1000, 0);
        page.extend(Pushbuf::new().acquire(PUSH + SEMAPHORE, 1).bytes());
        push.write(&page)?;
        let mut bind = self.bind(&[(0, 0, new.word(0), PUSH, SIZE)], false)?;
        call(&file, nr::VM_BIND, &mut bind)?;
        Ok(Ready { file, push })
    }

    /// `EXEC` on a channel: where the commands are, what to wait for, what to signal.
    fn exec(
        &self,
        channel: u32,
        push: u64,
        wait: Option<u32>,
        signals: &[(u32, u32, u64)],
    ) -> Argument {
        let sync = |&(flags, handle, point): &(u32, u32, u64)| {
            let mut bytes = flags.to_le_bytes().to_vec();
            bytes.extend(handle.to_le_bytes());
            bytes.extend(point.to_le_bytes());
            bytes
        };
        let bytes: Vec<u8> = signals.iter().flat_map(sync).collect();
        let waits: Vec<u8> = wait.iter().flat_map(|handle| sync(&(0, *handle, 0))).collect();
        let mut list = push.to_le_bytes().to_vec();
        list.extend(64u64.to_le_bytes());
        for (at, bytes) in [(0, list), (0x1000, waits), (0x2000, bytes)] {
            // The arena has room.
            let _ = self.arena.write(at, &bytes);
        }
        let at = |offset| self.arena.address(offset);
        let counts = (u32::from(wait.is_some()), signals.len() as u32);
        let exec = Argument::new().u32(channel).u32(1).u32(counts.0).u32(counts.1);
        exec.u64(at(0x1000)).u64(at(0x2000)).u64(at(0))
    }

    /// Waits for a synchronization object.
    fn wait(&self, file: &File, handle: u32) -> io::Result<()> {
        self.arena.write(0x3000, &handle.to_le_bytes())?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let until = (now.tv_sec as u64 + 60) * 1_000_000_000;
        let wait = Argument::new().u64(self.arena.address(0x3000)).u64(until).u32(1).u32(2);
        call(file, 0xc3, &mut wait.u64(0).u64(0))
    }

    /// All calls.
    pub fn run(&self) -> anyhow::Result<()> {
        let witness = Client::open(&self.device)?;
        let used = || witness.param(abi::PARAM_VRAM_USED);
        witness.warm_up(4)?;
        drop(self.ready()?);
        let before = used()?;
        self.files()?;
        self.objects()?;
        self.binds()?;
        self.channels()?;
        self.jobs()?;
        let start = Instant::now();
        while used()? > before + LEFT {
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "video memory is not given back: {} bytes in use, {before} before",
                used()?
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn files(&self) -> anyhow::Result<()> {
        let device = &self.device;
        self.sweep("open", || Ok(()), |_| open(device).map(drop), |_| Ok(()))?;
        self.sweep(
            "VM_INIT",
            || Ok(open(device)?),
            |file| call(file, nr::VM_INIT, &mut Argument::new().u64(1 << 39).u64(1 << 39)),
            |_| Ok(()),
        )?;
        let close = |file: &mut Option<Ready>| {
            drop(file.take());
            Ok(())
        };
        let busy = || {
            let ready = self.ready()?;
            call(&ready.file, nr::CHANNEL_ALLOC, &mut channel_alloc(0x30))?;
            Ok(Some(ready))
        };
        self.sweep("close", busy, close, |_| Ok(()))
    }

    fn objects(&self) -> anyhow::Result<()> {
        let file = self.client()?;
        let close = |handle: u32| -> anyhow::Result<()> {
            if handle != 0 {
                call(&file, nr::GEM_CLOSE, &mut Argument::new().u32(handle).u32(0))?;
            }
            Ok(())
        };
        for (name, domain) in [
            ("GEM_NEW in video memory", abi::DOMAIN_VRAM),
            ("GEM_NEW in system memory", abi::DOMAIN_GART),
        ] {
            let new = || Ok(gem_new(domain | abi::DOMAIN_MAPPABLE));
            let make = |new: &mut Argument| call(&file, nr::GEM_NEW, new);
            self.sweep(name, new, make, |new| close(new.word(0)))?;
            let object = || {
                let mut new = new()?;
                make(&mut new)?;
                let offset = u64::from(new.word(24)) | u64::from(new.word(28)) << 32;
                Ok((new.word(0), Mapping::new(file.as_fd(), offset, 0x2000)?))
            };
            let touch = |(_, map): &mut (u32, Mapping)| map.fill(&self.zero);
            self.sweep(&format!("page fault, after {name}"), object, touch, |(handle, map)| {
                drop(map);
                close(handle)
            })?;
            let export = |handle: u32| Argument::new().u32(handle).u32(0x8_0002).u32(u32::MAX);
            let object = || {
                let mut new = new()?;
                make(&mut new)?;
                Ok((new.word(0), export(new.word(0))))
            };
            let after = |(handle, export): (u32, Argument)| {
                if export.word(8) != u32::MAX {
                    // SAFETY: the kernel has just made it.
                    drop(unsafe { raw::take_fd(export.word(8)) });
                }
                close(handle)
            };
            let prime = |(_, export): &mut (u32, Argument)| call(&file, 0x2d, export);
            self.sweep(&format!("export, after {name}"), object, prime, after)?;
        }
        self.import(&file)
    }

    /// Other clients import what one exports.
    fn import(&self, file: &File) -> anyhow::Result<()> {
        let mut new = gem_new(abi::DOMAIN_GART);
        call(file, nr::GEM_NEW, &mut new)?;
        let mut export = Argument::new().u32(new.word(0)).u32(0x8_0002).u32(u32::MAX);
        call(file, 0x2d, &mut export)?;
        // SAFETY: the kernel has just made it.
        let dmabuf: OwnedFd = unsafe { raw::take_fd(export.word(8)) };
        let fd = dmabuf.as_raw_fd() as u32;
        self.sweep(
            "import",
            || Ok(open(&self.device)?),
            |other| call(other, 0x2e, &mut Argument::new().u32(0).u32(0).u32(fd)),
            |_| Ok(()),
        )
    }

    fn binds(&self) -> anyhow::Result<()> {
        let ready = self.ready()?;
        let mut new = gem_new(abi::DOMAIN_VRAM);
        call(&ready.file, nr::GEM_NEW, &mut new)?;
        let handle = new.word(0);
        let (map, part) = ((0, 0, handle, DATA, SIZE), (1, 0, 0, DATA + 0x4000, 0x4000));
        let far = (0, 0, handle, DATA + (1 << 35), SIZE);
        let region = (0, 0x100, 0, DATA + (1 << 30), 1 << 22);
        let unmap = [(1, 0, 0, DATA, 1 << 26), (1, 0, 0, far.3, SIZE)];
        // Binds one thing, now.
        let one = |op| call(&ready.file, nr::VM_BIND, &mut self.bind(&[op], false)?);
        let clean = |made: bool| {
            call(&ready.file, nr::VM_BIND, &mut self.bind(&unmap, false)?)?;
            if !made {
                one(region).context("the region of a call that failed")?;
            }
            Ok(one((1, 0x100, 0, region.3, region.4))?)
        };
        for later in [false, true] {
            for (name, first, ops) in [
                ("map", &[][..], &[map][..]),
                ("unmap a part", &[map], &[part]),
                ("map over", &[map], &[map]),
                ("map far away", &[], &[far]),
                ("sparse region", &[], &[region]),
                ("three at once", &[], &[map, part, region]),
            ] {
                let name = format!("VM_BIND{}: {name}", if later { ", later" } else { "" });
                let prepare = || {
                    if !first.is_empty() {
                        call(&ready.file, nr::VM_BIND, &mut self.bind(first, false)?)?;
                    }
                    Ok((self.bind(ops, later)?, false))
                };
                let run = |(bind, made): &mut (Argument, bool)| {
                    call(&ready.file, nr::VM_BIND, bind)?;
                    *made = ops.contains(&region);
                    Ok(())
                };
                self.sweep(&name, prepare, run, |(_, made)| clean(made))?;
            }
        }
        Ok(())
    }

    fn channels(&self) -> anyhow::Result<()> {
        let file = self.client()?;
        let free = |channel| call(&file, nr::CHANNEL_FREE, &mut Argument::new().u32(channel));
        for (name, engine) in [("copy engine", 0x30), ("graphics engine", 0x01)] {
            self.sweep(
                &format!("CHANNEL_ALLOC, {name}"),
                || Ok(channel_alloc(engine)),
                |new| call(&file, nr::CHANNEL_ALLOC, new),
                |_| {
                    // There is none if it failed.
                    let _ = free(0);
                    Ok(())
                },
            )?;
        }
        let channel = || Ok(call(&file, nr::CHANNEL_ALLOC, &mut channel_alloc(0x30))?);
        self.sweep(
            "CHANNEL_FREE",
            channel,
            |()| free(0),
            |()| {
                let _ = free(0);
                Ok(())
            },
        )?;
        channel()?;
        let head =
            |kind: u8, route: u8| Argument::new().raw(&[0, kind, 0, 0, 0, 0, 0xff, route]).u64(0);
        let list = head(1, 0xff).u64(0).raw(&[0, 16, 0, 0, 0, 0, 0, 0]).raw(&[0; 128]);
        let mut list = list;
        call(&file, nr::NVIF, &mut list)?;
        let class = list.word(32);
        self.sweep(
            "NVIF, new object",
            || {
                let new = head(2, 0xff).u64(0).raw(&[0, 0, 0, 0, 0, 0, 0, 0xff]).u64(0);
                Ok(new.u64(7).u32(0xbeef).u32(class))
            },
            |new| call(&file, nr::NVIF, new),
            |_| Ok(call(&file, nr::NVIF, &mut head(3, 0).u64(7))?),
        )
    }

    fn jobs(&self) -> anyhow::Result<()> {
        let ready = self.ready()?;
        for _ in 0..2 {
            call(&ready.file, nr::CHANNEL_ALLOC, &mut channel_alloc(0x30))?;
        }
        let run = |exec: &mut Argument| call(&ready.file, nr::EXEC, exec);
        let mut point = 0;
        self.sweep(
            "EXEC",
            || {
                point += 1;
                Ok(self.exec(0, PUSH, None, &[(0, 1, 0), (1, 2, point), (0, 3, 0)]))
            },
            run,
            |_| Ok(()),
        )?;
        // The first channel waits for the CPU, the second one for the first.
        let release = |value: u32| -> io::Result<()> {
            let mut page = vec![0; SEMAPHORE as usize];
            page.extend(value.to_le_bytes());
            let mut commands = Pushbuf::new().copy(PUSH, PUSH + 0x9000, 0x1000).bytes();
            commands.resize(0x1000, 0);
            commands.extend(Pushbuf::new().acquire(PUSH + SEMAPHORE, 1).bytes());
            page[..commands.len()].copy_from_slice(&commands);
            ready.push.write(&page)
        };
        self.sweep(
            "EXEC that waits",
            || {
                release(0)?;
                run(&mut self.exec(0, PUSH + 0x1000, None, &[(0, 1, 0)]))?;
                Ok(self.exec(1, PUSH, Some(1), &[(0, 2, 0)]))
            },
            run,
            |_| {
                release(1)?;
                self.wait(&ready.file, 1).context("the job that is waited for")
            },
        )?;
        self.wait(&ready.file, 2).context("the job that waits")
    }

    /// Binds the driver with each of its allocations failing once; leaves it bound.
    ///
    /// Each bind boots the firmware, so there may be no time for all: no further one begins after
    /// `limit`. They are taken in an order in which any number from the first on is spread over all
    /// of probe.
    pub fn probe(&self, samples: u32, limit: Duration) -> anyhow::Result<()> {
        /// So many there must be time for.
        const LEAST: u32 = 3;

        let card = std::env::var("GHOSTNV_GPU").context("GHOSTNV_GPU names the card")?;
        let driver = fs::canonicalize(format!("/sys/bus/pci/devices/{card}/driver"))
            .context("no driver is bound")?;
        let write = |file: &str| fs::write(driver.join(file), &card);
        let bind = OpenOptions::new().write(true).open(driver.join("bind"))?;
        let bind_without = |nth| {
            if driver.join(&card).exists() {
                write("unbind").context("unbind")?;
            }
            self.injector.during(nth, || bind.write_all_at(card.as_bytes(), 0))
        };
        let count = || -> anyhow::Result<u32> {
            let (result, left) = bind_without(u32::MAX)?;
            result.context("bind with all memory it needs")?;
            Ok(u32::MAX - left)
        };
        let all = count()?;
        let (mut failed, mut bound) = (0, 0);
        let start = Instant::now();
        for nth in spread(all).take(samples as usize) {
            if start.elapsed() >= limit && failed + bound >= LEAST {
                break;
            }
            let (result, _) = bind_without(nth + 1)?;
            if self.verbose {
                println!("gpu-starve: probe: {nth}: {result:?}");
            }
            match result {
                Ok(()) => bound += 1,
                Err(_) => failed += 1,
            }
        }
        println!(
            "gpu-starve: probe: {all} {:?}, afterwards {}; each of {} failed: {failed} probes failed, {bound} worked, {} s",
            self.kind,
            count()?,
            failed + bound,
            start.elapsed().as_secs()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn beginnings_are_spread() {
        assert!(spread(0).next().is_none() && spread(1).eq([0]) && spread(2).eq([0, 1]));
        assert!(spread(1000).take(5).eq([0, 512, 256, 768, 128]));
        let mut seen: Vec<u32> = spread(1583).take(64).collect();
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| (16..64).contains(&(pair[1] - pair[0]))));
        let mut all: Vec<u32> = spread(1583).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1583));
    }
}
