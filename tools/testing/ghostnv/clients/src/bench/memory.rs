// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What things take of the machine's memory: how much less is free when there are many more of them.
//!
//! Things are made in batches, and the mean of all of them counts: allocators take pages in lumps and
//! hand them out over several batches, so that what is missing in one batch was counted in another.
//! The batches are printed too, and show when something else of the machine fell into one.

use std::time::Duration;

use anyhow::Context;

use super::{Bench, VA};
use crate::uapi::abi::{DOMAIN_VRAM, PARAM_VRAM_USED};
use crate::uapi::calls::ops;
use crate::uapi::{Client, Engine};

const BATCHES: usize = 7;
/// Of a batch.
const FILES: usize = 96;
const CHANNELS: usize = 6;
/// Calls of a batch that map, and mappings of each.
const CALLS: usize = 64;
const MAPPINGS: usize = 64;

/// Pages that processors keep for themselves do not count as free, and there are tens of MiB of them.
/// A list as short as the kernel allows for has next to none. Dropped, all is as it was.
struct ShortLists;

impl ShortLists {
    const FILE: &str = "/proc/sys/vm/percpu_pagelist_high_fraction";

    fn new() -> anyhow::Result<Self> {
        std::fs::write(Self::FILE, "1000000").context(Self::FILE)?;
        std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
        Ok(Self)
    }
}

impl Drop for ShortLists {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::FILE, "0");
    }
}

/// Free memory in bytes.
fn free() -> anyhow::Result<i64> {
    // Memory that is freed after a grace period is freed then.
    std::thread::sleep(Duration::from_millis(500));
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemFree:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")).context("/proc/meminfo")?;
    Ok(kib.trim().parse::<i64>()? * 1024)
}

/// Prints what each thing takes: batches of `count` calls of `make`, each of which makes `per`.
fn each<T>(
    name: &str,
    (count, per): (usize, usize),
    vram: impl Fn() -> i64,
    mut make: impl FnMut(usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let mut things = Vec::with_capacity(BATCHES * count);
    let mut growth = Vec::with_capacity(BATCHES);
    let (mut before, vram_before) = (free()?, vram());
    for _ in 0..BATCHES {
        for _ in 0..count {
            let index = things.len();
            things.push(make(index).with_context(|| format!("{name} {index}"))?);
        }
        let after = free()?;
        growth.push((before - after) / (count * per) as i64);
        before = after;
    }
    println!("{name}: bytes each in {BATCHES} batches: {growth:?}");
    println!("value bytes-per-{name} {}", growth.iter().sum::<i64>() / BATCHES as i64);
    println!("value vram-per-{name} {}", (vram() - vram_before) / (BATCHES * count * per) as i64);
    Ok(things)
}

/// An open file with its address space, a channel, a mapping.
pub fn memory(bench: &Bench<'_>) -> anyhow::Result<()> {
    let client = bench.open()?;
    let vram = || client.param(PARAM_VRAM_USED).map_or(0, |v| v as i64);
    // What is made once and kept.
    drop(each_quietly(bench)?);
    let _short = ShortLists::new()?;

    drop(each("file", (FILES, 1), vram, |_| bench.open())?);
    let channels = each("channel", (CHANNELS, 1), vram, |_| client.channel(Engine::Copy))?;
    for channel in &channels {
        client.free(channel)?;
    }
    let object = client.gem_new(DOMAIN_VRAM, 2 << 20)?;
    each("mapping", (CALLS, MAPPINGS), vram, |index| {
        let first = (index * MAPPINGS) as u64;
        let at = (first..first + MAPPINGS as u64).map(|i| VA + i * 4096);
        let list = ops(Some(object), 4096, at);
        Ok(client.prepare_binds(&list)()?)
    })?;
    Ok(())
}

/// A file and a channel, so that what the first ones make once is not counted.
fn each_quietly(bench: &Bench<'_>) -> anyhow::Result<Client> {
    let client = bench.open()?;
    client.free(&client.channel(Engine::Copy)?)?;
    Ok(client)
}
