// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Address spaces, buffer objects, and objects of the firmware.

use std::io;

use anyhow::{Context, ensure};

use super::{Bench, Sampler, VA};
use crate::meter::Probe;
use crate::uapi::abi::DOMAIN_VRAM;
use crate::uapi::calls::ops;
use crate::uapi::{Client, Engine};

const BINDS: [(&str, u64, [Probe; 3]); 3] = [
    ("4K", 4 << 10, [Probe::new::<16>(), Probe::new::<17>(), Probe::new::<18>()]),
    ("64K", 64 << 10, [Probe::new::<19>(), Probe::new::<20>(), Probe::new::<21>()]),
    ("2M", 2 << 20, [Probe::new::<22>(), Probe::new::<23>(), Probe::new::<24>()]),
];
/// Operations of a call.
const COUNTS: [usize; 3] = [1, 64, 1024];

const GEM: [Probe; 4] =
    [Probe::new::<32>(), Probe::new::<33>(), Probe::new::<34>(), Probe::new::<35>()];
const RPC: Probe = Probe::new::<48>();

/// VM_BIND that maps, and VM_BIND that unmaps, with each size of pages and several numbers of
/// operations: each operation maps the same memory at another address.
pub fn binds(bench: &Bench<'_>) -> anyhow::Result<()> {
    let client = bench.open()?;
    let object = client.gem_new(DOMAIN_VRAM, 2 << 20)?;
    for (name, size, probes) in &BINDS {
        for (count, probe) in COUNTS.iter().zip(probes) {
            let name = format!("bind-{name}-{count}");
            if !bench.wants(&name) {
                continue;
            }
            let at = || (0..*count as u64).map(|i| VA + i * size);
            let (map, unmap) = (ops(Some(object), *size, at()), ops(None, *size, at()));
            let mut map = client.prepare_binds(&map);
            let mut unmap = client.prepare_binds(&unmap);
            // The first time makes page tables.
            map()?;
            unmap()?;
            let mut sampler = Sampler::new(probe, name, *count);
            for _ in 0..bench.samples.min(4096 / count).max(4) {
                sampler.sample(&mut map, &mut unmap)?;
            }
        }
    }
    Ok(client.gem_close(object)?)
}

/// Makes an object of `size` bytes of video memory, maps it for the GPU, and frees both.
fn cycle(client: &Client, size: u64) -> io::Result<()> {
    let object = client.gem_new(DOMAIN_VRAM, size)?;
    client.prepare_binds(&ops(Some(object), size, [VA].into_iter()))()?;
    client.prepare_binds(&ops(None, size, [VA].into_iter()))()?;
    client.gem_close(object)
}

/// A cycle of an object's life, with more and more other objects alive.
pub fn gem(bench: &Bench<'_>) -> anyhow::Result<()> {
    const SIZE: u64 = 4096;
    let client = bench.open()?;
    let mut alive = 0;
    for (&count, probe) in bench.live.iter().zip(&GEM) {
        for _ in alive..count {
            client.gem_new(DOMAIN_VRAM, SIZE).with_context(|| format!("{count} objects"))?;
        }
        alive = count;
        for _ in 0..4 {
            cycle(&client, SIZE)?;
        }
        let mut sampler = Sampler::new(probe, format!("gem-{count}"), 1);
        for _ in 0..bench.samples {
            sampler.sample(|| cycle(&client, SIZE), || Ok(()))?;
        }
    }
    Ok(())
}

/// An object of an engine is made and deleted: two calls to the firmware.
pub fn rpc(bench: &Bench<'_>) -> anyhow::Result<()> {
    let client = bench.open()?;
    let channel = client.channel(Engine::Graphics)?;
    let class = client.copy_class(&channel)?;
    let mut make = client.prepare_object(&channel, class);
    make()?;
    client.delete_object()?;
    let mut sampler = Sampler::new(&RPC, "rpc", 2);
    for _ in 0..bench.samples {
        sampler.sample(&mut make, || client.delete_object())?;
    }
    drop(sampler);
    ensure!(client.free(&channel).is_ok(), "the channel cannot be freed");
    Ok(())
}
