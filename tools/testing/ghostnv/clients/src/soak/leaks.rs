// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What may grow when something is not given back: the kernel's memory, video memory, objects in
//! the firmware.
//!
//! What the GPU holds is exact, and must be as before. The kernel's figures move by themselves, so
//! the rounds are halved: what leaks grows in both halves, what moves once does not.

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
const FIGURES: [&str; 4] = ["SUnreclaim", "VmallocUsed", "Percpu", "KernelStack"];
/// Growth of a figure in each half that is noise, in KiB.
pub const NOISE_KIB: i64 = 64;
/// How long to leave the kernel alone, which frees much of what it frees a while later.
const WHILE: Duration = Duration::from_millis(500);

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
        tidy();
        let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        Ok(Self { kernel: figures(&text), vram, objects })
    }

    fn growth(&self, before: &Self) -> BTreeMap<&'static str, i64> {
        let before = |name| before.kernel.get(name).copied().unwrap_or(0);
        self.kernel.iter().map(|(name, kib)| (*name, kib - before(name))).collect()
    }
}

/// Compares what was before, in the middle of, and after all rounds; says how each figure has moved.
/// `noise` is [`NOISE_KIB`], or more.
pub fn check(readings: [&Figures; 3], noise: i64) -> anyhow::Result<String> {
    let [first, middle, last] = readings;
    let all = || format!("\n{first}\n{middle}\n{last}");
    let mut moved = Vec::new();
    let (one, two) = (middle.growth(first), last.growth(middle));
    for ((name, one), two) in one.iter().zip(two.values()) {
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

/// Has the kernel give back what it only keeps in case somebody asks again. What cannot be is no
/// harm: figures are less exact then.
fn tidy() {
    for _ in 0..2 {
        thread::sleep(WHILE);
        let _ = fs::write("/proc/sys/vm/drop_caches", "3");
        // Empty slabs of each cache.
        for cache in fs::read_dir("/sys/kernel/slab").into_iter().flatten().flatten() {
            let _ = fs::write(cache.path().join("shrink"), "1");
        }
    }
    // Mappings of kernel memory stay until there are very many, or some module's code goes.
    let _ = Command::new("modprobe").arg("vgem").status();
    let _ = Command::new("rmmod").arg("vgem").status();
    let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
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
    fn what_the_gpu_holds_is_exact() {
        let (less, more) = (at(10_000, 4096), at(10_000, 8192));
        assert!(check([&less, &less, &less], 0).is_ok());
        assert!(check([&less, &more, &less], 0).is_err());
        assert!(check([&less, &less, &more], 0).is_err());
        let fewer = Figures { objects: Some(2), ..less.clone() };
        assert!(check([&less, &less, &fewer], 0).is_err());
    }

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let found = figures("SUnreclaim: 7 kB\nPercpuX: 1 kB\n");
        assert_eq!(found, BTreeMap::from([("SUnreclaim", 7)]));
    }
}
