// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What may grow when something is not given back: the kernel's memory, video memory, objects in
//! the firmware.
//!
//! The kernel's figures move by themselves, so they are compared after a warm-up and divided by the
//! rounds between: a leak of one object a round shows as bytes a round, and noise does not.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, ensure};

use super::card::{Ask, Card};
use crate::uapi::{Client, abi};

/// Lines of `/proc/meminfo` that count memory which only the kernel itself gives back.
const FIGURES: [&str; 5] = ["SUnreclaim", "VmallocUsed", "Percpu", "KernelStack", "PageTables"];
/// Growth of each that is noise, in KiB, whatever the number of rounds.
const NOISE_KIB: i64 = 512;
/// Growth that is noise, in bytes a round.
const NOISE: i64 = 64;

/// Figures at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    kernel: BTreeMap<&'static str, i64>,
    /// Bytes of video memory in use, without a client.
    vram: Option<u64>,
    /// Objects in the firmware.
    objects: Option<u32>,
}

impl Figures {
    /// Takes them. What the GPU holds is only known while a driver is bound.
    pub fn take(card: &Card) -> anyhow::Result<Self> {
        // What is free in caches of the kernel is not in use.
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "2");
        let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let (mut vram, mut objects) = (None, None);
        if card.bound() {
            objects = Some(card.ask(Ask::Objects)?);
            vram = Some(Client::open(&card.node()?)?.param(abi::PARAM_VRAM_USED)?);
        }
        Ok(Self { kernel: figures(&text), vram, objects })
    }

    /// Compares with what was before `rounds` rounds; says how each figure has moved.
    pub fn since(&self, before: &Self, rounds: u64) -> anyhow::Result<String> {
        let rounds = i64::try_from(rounds.max(1))?;
        let mut moved = Vec::new();
        for (name, kib) in &self.kernel {
            let grown = kib - before.kernel.get(name).copied().unwrap_or(0);
            moved.push(format!("{name} {grown:+} KiB"));
            let limit = NOISE_KIB.max(rounds * NOISE / 1024);
            ensure!(
                grown <= limit,
                "{name} grew by {grown} KiB in {rounds} rounds\n{before}\n{self}"
            );
        }
        ensure!(self.vram == before.vram, "video memory in use:\n{before}\n{self}");
        ensure!(self.objects == before.objects, "objects in the firmware:\n{before}\n{self}");
        if let (Some(vram), Some(objects)) = (self.vram, self.objects) {
            moved.push(format!("VRAM in use {} KiB, {objects} objects as before", vram >> 10));
        }
        Ok(moved.join(", "))
    }
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
    fn growth_a_round_is_a_leak_and_noise_is_not() {
        let before = at(10_000, 4096);
        assert!(at(10_500, 4096).since(&before, 10).is_ok());
        assert!(at(10_600, 4096).since(&before, 10).is_err());
        assert!(at(9_000, 4096).since(&before, 10).is_ok());
        assert!(at(10_600, 4096).since(&before, 100_000).is_ok());
        assert!(at(10_000, 8192).since(&before, 10).is_err());
        assert_eq!(figures("SUnreclaim: 7 kB\n"), BTreeMap::from([("SUnreclaim", 7)]));
    }
}
