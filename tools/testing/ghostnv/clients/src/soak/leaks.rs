// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What may grow when something is not given back: the kernel's memory, video memory, objects in
//! the firmware.
//!
//! What the GPU holds is exact, and must be as before. The kernel's figures move by themselves, so
//! the rounds are halved: what leaks grows in both halves, what moves once does not. Where the kernel
//! tells (`CONFIG_SLUB_DEBUG`), objects are counted and not the pages they are in, of which a cache
//! keeps more or fewer by chance.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::card::{Ask, Card};
use crate::uapi::{Client, abi};

/// Lines of `/proc/meminfo` that count memory which only the kernel itself gives back.
const FIGURES: [&str; 4] = [SLAB, "VmallocUsed", "Percpu", "KernelStack"];
/// All of kmalloc() and of caches that do not shrink when asked to.
const SLAB: &str = "SUnreclaim";
/// Of this, the objects in use that are in slabs.
const OBJECTS: &str = "objects";
/// Of this, what is not in slabs, as it is too large.
const LARGE: &str = "large objects";
/// Growth of a figure in each half that is noise, in KiB.
pub const NOISE_KIB: i64 = 64;
/// How long to leave the kernel alone, which frees much of what it frees a while later.
const WHILE: Duration = Duration::from_millis(500);
/// How often to ask it at most, and how often after it has given back nothing more.
const ASKED: (u32, u32) = (20, 2);

/// Figures at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// In KiB.
    kernel: BTreeMap<&'static str, i64>,
    /// Bytes of video memory in use, without a client.
    vram: Option<u64>,
    /// Objects in the firmware.
    objects: Option<u32>,
}

impl Figures {
    /// Takes them. What the GPU holds is only known while a driver is bound.
    pub fn take(card: &Card) -> anyhow::Result<Self> {
        let (mut vram, mut objects) = (None, None);
        if card.bound() {
            objects = Some(card.ask(Ask::Objects)?);
            vram = Some(Client::open(&card.node()?)?.param(abi::PARAM_VRAM_USED)?);
        }
        purge();
        Ok(Self { kernel: least(kernel)?, vram, objects })
    }

    fn growth(&self, before: &Self) -> BTreeMap<&'static str, i64> {
        let before = |name| before.kernel.get(name).copied().unwrap_or(0);
        self.kernel.iter().map(|(name, kib)| (*name, kib - before(name))).collect()
    }
}

/// Compares what was before, in the middle of, and after all rounds; says how each figure has moved.
/// `pages` is the noise where only the pages of objects can be counted: [`NOISE_KIB`], or more.
pub fn check(readings: [&Figures; 3], pages: i64) -> anyhow::Result<String> {
    let [first, middle, last] = readings;
    let all = || format!("\n{first}\n{middle}\n{last}");
    let mut moved = Vec::new();
    let (one, two) = (middle.growth(first), last.growth(middle));
    for ((name, one), two) in one.iter().zip(two.values()) {
        let noise = if *name == SLAB { pages } else { NOISE_KIB };
        ensure!(*one.min(two) <= noise, "{name} grew by {one} KiB, then by {two} KiB{}", all());
        moved.push(format!("{name} {one:+} {two:+} KiB"));
    }
    for now in [middle, last] {
        ensure!(now.vram == first.vram, "video memory in use:{}", all());
        ensure!(now.objects == first.objects, "objects in the firmware:{}", all());
    }
    if let (Some(vram), Some(objects)) = (last.vram, last.objects) {
        moved.push(format!("VRAM in use {} KiB, {objects} objects as before", vram >> 10));
    }
    Ok(moved.join(", "))
}

/// The least of each figure that `take` sees: what is given back late does not leak.
fn least(
    mut take: impl FnMut() -> anyhow::Result<BTreeMap<&'static str, i64>>,
) -> anyhow::Result<BTreeMap<&'static str, i64>> {
    let (most, enough) = ASKED;
    let mut least = take()?;
    let mut same = 0;
    for _ in 1..most {
        same += 1;
        for (name, now) in take()? {
            let before = least.entry(name).or_insert(now);
            if now < *before {
                (*before, same) = (now, 0);
            }
        }
        if same == enough {
            break;
        }
    }
    Ok(least)
}

/// The kernel's figures, after it has given back what it can.
fn kernel() -> anyhow::Result<BTreeMap<&'static str, i64>> {
    tidy();
    let read = |path| fs::read_to_string(path).context(path);
    let mut kernel = figures(&read("/proc/meminfo")?);
    if let (Ok(text), Some(slab)) = (read("/proc/slabinfo"), kernel.get(SLAB).copied()) {
        let (objects, slabs) = slabs(&text, shrinks)?;
        kernel.remove(SLAB);
        kernel.extend([(OBJECTS, objects >> 10), (LARGE, slab - (slabs >> 10))]);
    }
    Ok(kernel)
}

/// Whether a cache shrinks when the kernel is asked to give back memory.
fn shrinks(cache: &str) -> bool {
    fs::read_to_string(format!("/sys/kernel/slab/{cache}/reclaim_account"))
        .is_ok_and(|text| text.trim() == "1")
}

/// Bytes of objects in use, and of the slabs they are in, of caches that do not shrink, from the text
/// of `/proc/slabinfo`.
fn slabs(text: &str, shrinks: impl Fn(&str) -> bool) -> anyhow::Result<(i64, i64)> {
    let page = i64::try_from(rustix::param::page_size())?;
    let mut sum = (0, 0);
    // One line is the version, one the names of the columns.
    for line in text.lines().skip(2) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let at = |n: usize| -> anyhow::Result<i64> {
            fields.get(n).and_then(|f| f.parse().ok()).with_context(|| format!("slabinfo: {line}"))
        };
        if fields.first().is_some_and(|name| !shrinks(name)) {
            let (active, size, pages, slabs) = (at(1)?, at(3)?, at(5)?, at(14)?);
            sum = (sum.0 + active * size, sum.1 + slabs * pages * page);
        }
    }
    Ok(sum)
}

/// Has the kernel give back what it only keeps in case somebody asks again. What cannot be is no
/// harm: figures are less exact then.
fn tidy() {
    thread::sleep(WHILE);
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    // Empty slabs of each cache.
    for cache in fs::read_dir("/sys/kernel/slab").into_iter().flatten().flatten() {
        let _ = fs::write(cache.path().join("shrink"), "1");
    }
    let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
}

/// Has the kernel forget mappings of its memory, which stay until there are very many, or some
/// module's code goes.
fn purge() {
    thread::sleep(WHILE);
    let _ = Command::new("modprobe").arg("vgem").status();
    let _ = Command::new("rmmod").arg("vgem").status();
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:?}, VRAM {:?}, objects {:?}", self.kernel, self.vram, self.objects)
    }
}

fn figures(text: &str) -> BTreeMap<&'static str, i64> {
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    FIGURES.iter().filter_map(|name| Some((*name, value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slab: i64, vram: u64) -> Figures {
        let text = format!("MemTotal: 9 kB\nSUnreclaim:   {slab} kB\nSUnreclaimable: 1 kB\n");
        Figures { kernel: figures(&text), vram: Some(vram), objects: Some(3) }
    }

    #[test]
    fn what_grows_in_both_halves_leaks() {
        for (slab, good) in [
            ([10_000, 10_500, 10_500], true),
            ([10_000, 10_000, 10_500], true),
            ([10_000, 9_000, 10_000], true),
            ([10_000, 10_000 + NOISE_KIB, 10_500], true),
            ([10_000, 10_001 + NOISE_KIB, 10_500], false),
            ([10_000, 10_200, 10_400], false),
        ] {
            let [a, b, c] = slab.map(|slab| at(slab, 4096));
            assert_eq!(check([&a, &b, &c], NOISE_KIB).is_ok(), good, "{slab:?}");
        }
    }

    #[test]
    fn only_pages_may_have_more_noise() {
        for (name, good) in [(SLAB, true), (OBJECTS, false), (LARGE, false), (FIGURES[1], false)] {
            let at = |kib| Figures { kernel: BTreeMap::from([(name, kib)]), ..at(0, 0) };
            let [a, b, c] = [0, 2 * NOISE_KIB, 4 * NOISE_KIB].map(at);
            assert_eq!(check([&a, &b, &c], 2 * NOISE_KIB).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn what_the_gpu_holds_is_exact() {
        let (less, more) = (at(10_000, 4096), at(10_000, 8192));
        assert!(check([&less, &less, &less], 0).is_ok());
        assert!(check([&less, &more, &less], 0).is_err());
        assert!(check([&less, &less, &more], 0).is_err());
        let fewer = Figures { objects: Some(2), ..less.clone() };
        assert!(check([&less, &less, &fewer], 0).is_err());
    }

    #[test]
    fn what_is_given_back_late_does_not_count() {
        for (seen, counts) in
            [(&[9, 9, 9, 5][..], 9), (&[9, 8, 8, 7, 9, 9, 5], 7), (&[9, 9, 8, 9, 7, 7, 7], 7)]
        {
            let mut seen = seen.iter();
            let least = least(|| Ok(BTreeMap::from([(SLAB, *seen.next().unwrap())]))).unwrap();
            assert_eq!(least[SLAB], counts);
        }
        let mut falling = 100;
        let found = least(|| {
            falling -= 1;
            Ok(BTreeMap::from([(SLAB, falling)]))
        });
        assert_eq!(found.unwrap()[SLAB], 100 - i64::from(ASKED.0));
    }

    #[test]
    fn objects_are_counted_and_their_slabs() {
        let line = |name: &str, active: u32| {
            format!("{name} {active} 90 200 20 2 : tunables 0 0 0 : slabdata 5 5 0\n")
        };
        let text = format!("slabinfo\n# name\n{}{}", line("some", 80), line("inodes", 70));
        let page = i64::try_from(rustix::param::page_size()).unwrap();
        assert_eq!(slabs(&text, |name| name == "inodes").unwrap(), (80 * 200, 5 * 2 * page));
        assert!(slabs("slabinfo\n# name\nsome 1 2\n", |_| false).is_err());
    }

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let found = figures("SUnreclaim: 7 kB\nPercpuX: 1 kB\n");
        assert_eq!(found, BTreeMap::from([("SUnreclaim", 7)]));
    }
}
