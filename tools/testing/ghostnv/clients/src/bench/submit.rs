// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Submission, and the way from the interrupt to who waits.

use std::io;
use std::time::Duration;

use anyhow::ensure;

use super::{Bench, Sampler, VA};
use crate::meter::Probe;
use crate::uapi::calls::push;
use crate::uapi::push::Pushbuf;
use crate::uapi::{Bo, Channel, Client, Engine, Syncobj, abi};

const EXEC: Probe = Probe::new::<1>();
const COMPLETION: Probe = Probe::new::<2>();

const LIMIT: Duration = Duration::from_secs(20);
/// Samples that fill caches, and are thrown away.
const WARM_UP: usize = 8;

/// A client with a channel and a pushbuffer of `copies` copies of `len` bytes.
struct Rig {
    client: Client,
    channel: Channel,
    _memory: [Bo; 3],
    pushes: [abi::Push; 1],
    done: Syncobj,
}

impl Rig {
    fn new(bench: &Bench<'_>, copies: usize, len: u32) -> anyhow::Result<Self> {
        let client = bench.open()?;
        let channel = client.channel(Engine::Copy)?;
        let size = u64::from(len).next_multiple_of(0x1000);
        let commands = client.bo(abi::DOMAIN_GART, 0x1000, VA)?;
        let source = client.bo(abi::DOMAIN_GART, size, VA + (1 << 30))?;
        let target = client.bo(abi::DOMAIN_GART, size, VA + (2 << 30))?;
        let copy = |p: Pushbuf, _| p.copy(source.va, target.va, len);
        let bytes = (0..copies).fold(Pushbuf::new(), copy).bytes();
        commands.write(0, &bytes)?;
        let pushes = [push(commands.va, bytes.len())];
        let done = client.syncobj()?;
        Ok(Self { client, channel, _memory: [commands, source, target], pushes, done })
    }

    fn wait(&self) -> io::Result<()> {
        match self.client.wait(&self.done, LIMIT)? {
            true => Ok(()),
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// EXEC of one push while nothing is pending, then the wait for it.
pub fn exec(bench: &Bench<'_>) -> anyhow::Result<()> {
    let rig = Rig::new(bench, 1, 16)?;
    let mut exec = rig.client.prepare_exec(&rig.channel, &rig.pushes, &rig.done);
    for _ in 0..WARM_UP {
        exec()?;
        rig.wait()?;
    }
    let mut sampler = Sampler::new(&EXEC, "exec", 1);
    for _ in 0..bench.samples {
        sampler.sample(&mut exec, || rig.wait())?;
    }
    Ok(())
}

/// The wait for a job that takes long enough for the waiter to sleep.
pub fn completion(bench: &Bench<'_>) -> anyhow::Result<()> {
    let rig = Rig::new(bench, 4, 4 << 20)?;
    let mut exec = rig.client.prepare_exec(&rig.channel, &rig.pushes, &rig.done);
    let mut sampler = Sampler::new(&COMPLETION, "completion", 1);
    for _ in 0..bench.samples.min(40) {
        exec()?;
        sampler.sample(|| rig.wait(), || Ok(()))?;
    }
    drop(sampler);
    ensure!(rig.client.wait(&rig.done, LIMIT)?, "the last job is not done");
    Ok(())
}
