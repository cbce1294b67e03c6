// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The buffer half: fills, updates and copies between buffers in VRAM and system memory.
//!
//! Work goes in rounds. A round submits batches of operations down the chain, then copies every
//! buffer to a host-visible one down the same chain, and compares all bytes with the shadow.

use std::rc::Rc;

use super::chain::Chain;
use super::diff::Diff;
use super::plan::{EDGES, Op};
use super::{Options, Totals};
use crate::prng::Prng;
use crate::vk::{Buffer, Commands, Device, Place};

/// Sizes and places of the buffers: above and below every page size, none a multiple of 16.
const POOL: &[(u64, Place)] = &[
    (17 * 1024 * 1024 + 12, Place::Device),
    (6 * 1024 * 1024 + 4, Place::Device),
    (1024 * 1024 + 60, Place::Device),
    (700_004, Place::Host),
    (70_003, Place::DeviceMapped),
    (4100, Place::Device),
];

/// Largest upload through the BAR, where each access of the CPU may cost microseconds.
const MOST_THROUGH_BAR: u64 = 128 * 1024;
/// Operations of one submission.
const BATCH: usize = 24;
/// Random operations at least.
const RANDOM: usize = 600;
/// Bytes moved between two comparisons.
const ROUND: u64 = 24 * 1024 * 1024;

/// Runs the buffer half.
pub fn run(
    device: &Rc<Device>,
    chain: &mut Chain,
    options: &Options,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let mut work = Work::new(device, options.seed)?;
    work.upload(chain, totals)?;
    work.verify(chain, options, totals)?;
    let mut table = EDGES.iter();
    let goal = options.mib.saturating_mul(1024 * 1024);
    let mut moved = 0;
    let mut since = 0;
    let mut random = 0;
    while random < RANDOM || moved < goal {
        let mut ops = Vec::new();
        while ops.len() < BATCH {
            if let Some(&size) = table.next() {
                ops.extend(Op::table(&mut work.prng, &work.sizes, size));
            } else {
                ops.push(Op::random(&mut work.prng, &work.sizes));
                random += 1;
            }
        }
        let bytes = work.batch(chain, ops, totals)?;
        (moved, since) = (moved + bytes, since + bytes);
        if since >= ROUND {
            work.verify(chain, options, totals)?;
            since = 0;
        }
    }
    work.verify(chain, options, totals)
}

struct Work {
    prng: Prng,
    sizes: Vec<u64>,
    buffers: Vec<Buffer>,
    shadow: Vec<Vec<u8>>,
    /// Operations since the last comparison, with the queue each ran on.
    log: Vec<(&'static str, Op)>,
    readback: Buffer,
    device: Rc<Device>,
}

impl Work {
    fn new(device: &Rc<Device>, seed: u64) -> anyhow::Result<Self> {
        let mut prng = Prng::new(seed);
        let buffers = POOL.iter().map(|&(size, place)| Buffer::new(device, size, place));
        let largest = POOL.iter().map(|p| p.0).max().unwrap_or(0);
        Ok(Self {
            sizes: POOL.iter().map(|p| p.0).collect(),
            buffers: buffers.collect::<anyhow::Result<_>>()?,
            shadow: POOL.iter().map(|p| prng.bytes(p.0 as usize)).collect(),
            log: Vec::new(),
            readback: Buffer::new(device, largest, Place::Host)?,
            device: Rc::clone(device),
            prng,
        })
    }

    /// Gives all buffers their first bytes, through memory mapped on either side of the bus.
    fn upload(&mut self, chain: &mut Chain, totals: &mut Totals) -> anyhow::Result<()> {
        for (buffer, bytes) in self.buffers.iter().zip(&self.shadow) {
            let small = buffer.size() <= MOST_THROUGH_BAR;
            let place = if small { Place::DeviceMapped } else { Place::Host };
            let staging = Buffer::new(&self.device, buffer.size(), place)?;
            staging.write(0, bytes)?;
            chain.submit(|commands| {
                commands.copy(&staging, buffer, &[(0, 0, buffer.size())]);
                commands.barrier();
            })?;
            totals.upload += buffer.size();
            chain.finish()?;
        }
        Ok(())
    }

    /// Submits operations, each after the one before; returns the bytes they write.
    fn batch(&mut self, chain: &mut Chain, ops: Vec<Op>, t: &mut Totals) -> anyhow::Result<u64> {
        let buffers = &self.buffers;
        let queue = chain.submit(|commands| {
            for op in &ops {
                record(op, buffers, commands);
                commands.barrier();
            }
        })?;
        let mut bytes = 0;
        for op in ops {
            op.apply(&mut self.shadow);
            let size = op.bytes(&self.sizes);
            match op {
                Op::Fill { .. } => t.fill.add(size),
                Op::Update { .. } => t.update.add(size),
                Op::Copy { .. } => t.copy.add(size),
            }
            bytes += size;
            self.log.push((queue, op));
        }
        Ok(bytes)
    }

    /// Compares all bytes of all buffers with the shadow.
    fn verify(&mut self, chain: &mut Chain, o: &Options, t: &mut Totals) -> anyhow::Result<()> {
        for (i, (_, place)) in POOL.iter().enumerate() {
            let (buffer, readback) = (&self.buffers[i], &self.readback);
            let size = self.sizes[i];
            chain.submit(|commands| {
                commands.copy(buffer, readback, &[(0, 0, size)]);
                commands.barrier();
            })?;
            chain.finish()?;
            let mut found = vec![0; size as usize];
            readback.read(0, &mut found)?;
            o.sabotage(&mut found, t);
            let same = self.compare(i, "by readback", &found, t);
            if *place != Place::Device {
                self.compare(i, "by its mapping", &buffer.read_all()?, t);
            }
            o.check(t)?;
            if !same && !o.self_test {
                // What follows is judged by itself.
                self.shadow[i] = found;
            }
        }
        self.log.clear();
        Ok(())
    }

    fn compare(&self, buffer: usize, how: &str, found: &[u8], totals: &mut Totals) -> bool {
        totals.verified += found.len() as u64;
        let Some(diff) = Diff::of(&self.shadow[buffer], found) else { return true };
        let at = diff.first as u64;
        let covers = |(_, op): &&(_, Op)| op.covers(&self.sizes, buffer, at);
        let last = match self.log.iter().rev().find(covers) {
            Some((queue, op)) => format!("the first was last written on the {queue} queue: {op}"),
            None => "the first was not written since the last comparison".into(),
        };
        totals.differs(format!("buffer {buffer} ({:?}) {how}: {diff}; {last}", POOL[buffer].1));
        false
    }
}

fn record(op: &Op, buffers: &[Buffer], commands: &Commands) {
    match op {
        Op::Fill { dst, offset, size, word } => {
            commands.fill(&buffers[*dst], *offset, *size, *word);
        }
        Op::Update { dst, offset, data } => commands.update(&buffers[*dst], *offset, data),
        Op::Copy { src, dst, regions } => commands.copy(&buffers[*src], &buffers[*dst], regions),
    }
}
