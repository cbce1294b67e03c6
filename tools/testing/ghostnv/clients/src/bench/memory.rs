// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What things take of the machine's memory: how much less is free when there are many of them.

use std::time::Duration;

use anyhow::Context;

use super::{Bench, VA};
use crate::uapi::abi::{DOMAIN_VRAM, PARAM_VRAM_USED};
use crate::uapi::calls::ops;
use crate::uapi::{Client, Engine};

const FILES: usize = 64;
const CHANNELS: usize = 16;
/// Calls that map, and mappings of each.
const CALLS: usize = 128;
const MAPPINGS: usize = 64;

/// Free memory in bytes.
fn free() -> anyhow::Result<i64> {
    // Memory that is freed after a grace period is freed then.
    std::thread::sleep(Duration::from_millis(500));
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemFree:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")).context("/proc/meminfo")?;
    Ok(kib.trim().parse::<i64>()? * 1024)
}

/// Has the kernel give back what it keeps only because it may.
fn drop_caches() -> anyhow::Result<()> {
    for _ in 0..3 {
        std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
        free()?;
    }
    Ok(())
}

/// Prints what each thing takes of which `make` makes `per`, `count` times.
fn each<T>(
    name: &str,
    (count, per): (usize, usize),
    vram: impl Fn() -> i64,
    mut make: impl FnMut(usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let mut things = Vec::with_capacity(count);
    let before = (free()?, vram());
    for index in 0..count {
        things.push(make(index).with_context(|| format!("{name} {index}"))?);
    }
    let after = (free()?, vram());
    let all = (count * per) as i64;
    println!("value bytes-per-{name} {}", (before.0 - after.0) / all);
    println!("value vram-per-{name} {}", (after.1 - before.1) / all);
    Ok(things)
}

/// An open file with its address space, a channel, a mapping.
pub fn memory(bench: &Bench<'_>) -> anyhow::Result<()> {
    let client = bench.open()?;
    let vram = || client.param(PARAM_VRAM_USED).map_or(0, |v| v as i64);
    // What is made once and kept.
    drop(each_quietly(bench)?);
    drop_caches()?;

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
