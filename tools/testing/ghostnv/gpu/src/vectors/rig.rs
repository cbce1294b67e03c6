// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A chip with one channel, set up by hand as a driver would, to run one vector.

use std::fs::File;

use anyhow::Context;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::case::{self, Arg, Case, Push};
use crate::chip::{Chip, EngineKind};
use crate::env::Env;
use crate::env::mem::Phys;
use crate::host::{ChannelSpec, Ctx, Host, Step};
use crate::intr::Intr;
use crate::mmu::Mmu;
use crate::timer::Timer;

const PAGE: u64 = 4096;
const VRAM: u64 = 4 << 20;
const HOST_RAM: u64 = 1 << 20;

// VRAM by address: one table a level, USERD, instance block, then data.
const PD3: u64 = 0x1000;
const PD2: u64 = 0x2000;
const PD1: u64 = 0x3000;
const PD0: u64 = 0x4000;
const PT: u64 = 0x5000;
const USERD: u64 = 0x6000;
const INST: u64 = 0x7000;
const VRAM_DATA: u64 = 0x10_0000;
/// Where the guest memory that holds host buffers is mapped for DMA.
const HOST_DATA: u64 = 0x1_2340_0000;

// The window of virtual addresses, 2 MiB: every half of an address is telling.
const WINDOW: u64 = 0x12_3460_0000;
const RING: u64 = WINDOW;
const FENCE: u64 = WINDOW + PAGE;
const PUSH: u64 = WINDOW + 0x1_0000;
const PUSH_BYTES: u64 = 0x4_0000;
const SRC: u64 = WINDOW + 0x8_0000;
const DST: u64 = WINDOW + 0xa_0000;
const AUX: u64 = WINDOW + 0xc_0000;
const DATA_BYTES: u64 = 0xd_0000;

const RING_ENTRIES: u32 = 8;
const CHID: u32 = 5;
const FENCE_VALUE: u64 = 0x1122_3344_5566_7788;
/// SEM_EXECUTE: release, wait for idle, 64-bit payload.
const FENCE_EXECUTE: u32 = 1 | 1 << 20 | 1 << 24;

/// Nanoseconds of work at a time, and how often: far more than any vector takes.
const SLICE_NS: u64 = 10_000_000;
const MOST_SLICES: u32 = 1000;

struct Rig {
    env: Env,
    mmu: Mmu,
    host: Host,
    root: Phys,
    token: u32,
}

/// Runs a vector; the answer says what went wrong, if anything.
pub fn replay(case: &Case, chip: &'static Chip) -> anyhow::Result<Option<String>> {
    let mut rig = Rig::new(case, chip)?;
    rig.fill(SRC, &case::src())?;
    rig.fill(DST, &case::dst())?;
    rig.fill(AUX, &case.aux()?)?;
    rig.submit(&words(case, chip)?)?;
    if let Some(why) = rig.finish() {
        return Ok(Some(why));
    }
    let fence = rig.dump(FENCE, 8)?;
    if fence != FENCE_VALUE.to_le_bytes() {
        return Ok(Some("the final semaphore was not released".into()));
    }
    let (src, dst) = (rig.dump(SRC, case::BUFFER)?, rig.dump(DST, case::BUFFER)?);
    case.compare(&src, &dst, &rig.dump(AUX, case::AUX)?)
}

/// Pushbuffer words of a vector.
fn words(case: &Case, chip: &Chip) -> anyhow::Result<Vec<u32>> {
    let mut out = Vec::new();
    for Push(form, subch, method, args) in &case.push {
        let op = match form.as_str() {
            "inc" => 1,
            "ninc" => 3,
            "1inc" => 5,
            _ => anyhow::bail!("unknown form {form}"),
        };
        anyhow::ensure!(args.len() < 0x2000 && *subch < 8 && *method < 0x4000, "bad method");
        out.push(op << 29 | (args.len() as u32) << 16 | subch << 13 | method >> 2);
        for arg in args {
            out.push(word(arg, chip)?);
        }
    }
    anyhow::ensure!(out.len() as u64 * 4 <= PUSH_BYTES - PAGE, "the vector is too long");
    Ok(out)
}

fn word(arg: &Arg, chip: &Chip) -> anyhow::Result<u32> {
    match arg {
        Arg::Word(w) => Ok(*w),
        Arg::Class(name) => match name.as_str() {
            "CE" => Ok(chip.classes.copy),
            "COMPUTE" => Ok(chip.classes.compute),
            _ => anyhow::bail!("unknown class {name}"),
        },
        Arg::Address(buffer, offset, half) => {
            let base = match buffer.as_str() {
                "src" => SRC,
                "dst" => DST,
                "aux" => AUX,
                _ => anyhow::bail!("unknown buffer {buffer}"),
            };
            let va = base.wrapping_add(*offset);
            match half.as_str() {
                "hi" => Ok((va >> 32) as u32),
                "lo" => Ok(va as u32),
                _ => anyhow::bail!("unknown half {half}"),
            }
        }
    }
}

impl Rig {
    fn new(case: &Case, chip: &'static Chip) -> anyhow::Result<Self> {
        let mut env = Env::new(VRAM)?;
        let ram = memfd_create("ghostnv-vectors", MemfdFlags::CLOEXEC).context("guest memory")?;
        ftruncate(&ram, HOST_RAM).context("guest memory")?;
        env.mem.dma_map(HOST_DATA, HOST_RAM, Some((File::from(ram), 0)), true)?;
        let host_buffers = match case.placement.as_str() {
            "vram" => false,
            "host" => true,
            other => anyhow::bail!("unknown placement {other}"),
        };
        let root = Phys::vram(PD3);
        write_tables(&mut env, host_buffers)?;

        let mut mmu = Mmu::default();
        let vas = mmu.vas_create();
        mmu.vas_set_root(vas, Some(root));
        let (engine, object) = match case.channel.as_str() {
            "copy" => (EngineKind::Copy(2), chip.classes.copy),
            "compute" => (EngineKind::Graphics, chip.classes.compute),
            other => anyhow::bail!("unknown channel {other}"),
        };
        let engine = chip.engines.iter().find(|e| e.kind == engine).context("engine")?;
        let mut host = Host::new(chip);
        let spec = ChannelSpec {
            chid: CHID,
            rm_type: engine.rm_type,
            runlist: engine.runlist,
            inst: Phys::vram(INST),
            userd: Phys::vram(USERD),
            gpfifo: RING,
            entries: RING_ENTRIES,
            vas,
            privileged: false,
        };
        host.create(&mut env, spec)?;
        host.attach(CHID, object)?;
        host.schedule(CHID, true)?;
        let token = host.token(engine.runlist, CHID);
        Ok(Self { env, mmu, host, root, token })
    }

    /// Writes the vector, the fence and the ring, then rings the doorbell.
    fn submit(&mut self, push: &[u32]) -> anyhow::Result<()> {
        let fence = [
            1 << 29 | 5 << 16 | 0x5c >> 2,
            FENCE as u32,
            (FENCE >> 32) as u32,
            FENCE_VALUE as u32,
            (FENCE_VALUE >> 32) as u32,
            FENCE_EXECUTE,
        ];
        let mut at = PUSH;
        let mut ring = Vec::new();
        for words in [push, &fence] {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            self.fill(at, &bytes)?;
            let entry = at | (words.len() as u64) << 42 | 1 << 63;
            ring.extend(entry.to_le_bytes());
            at += bytes.len() as u64;
        }
        self.fill(RING, &ring)?;
        self.env.mem.write_u32(Phys::vram(USERD + 0x8c), 2)?;
        self.host.doorbell(&mut self.env, self.token);
        Ok(())
    }

    /// Lets Host run until nothing is left to do.
    fn finish(&mut self) -> Option<String> {
        let (mut intr, timer) = (Intr::default(), Timer::default());
        let mut last = Step::Busy;
        for _ in 0..MOST_SLICES {
            let mut ctx =
                Ctx { env: &mut self.env, mmu: &mut self.mmu, intr: &mut intr, timer: &timer };
            last = self.host.step(&mut ctx, SLICE_NS);
            if last != Step::Busy {
                break;
            }
        }
        if let Some(error) = self.host.take_errors().into_iter().next() {
            return Some(error.text);
        }
        if let Some((rule, tally)) = self.env.judge.violations.iter().next() {
            let text = tally.texts.first().map_or("", |(_, text)| text.as_str());
            return Some(format!("violation {rule}: {text}"));
        }
        (last != Step::Idle).then(|| format!("the channel did not finish: {last:?}"))
    }

    fn fill(&mut self, va: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let done = self.mmu.write(&mut self.env, Some(self.root), va, bytes);
        done.map_err(|f| anyhow::anyhow!("set-up faulted: {f:?}"))
    }

    fn dump(&mut self, va: u64, len: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let done = self.mmu.read(&mut self.env, Some(self.root), va, &mut bytes);
        done.map_err(|f| anyhow::anyhow!("read-back faulted: {f:?}"))?;
        Ok(bytes)
    }
}

/// Maps the window in GP100 format: 4 KiB pages in falling order, so that none merge.
fn write_tables(env: &mut Env, host_buffers: bool) -> anyhow::Result<()> {
    let mut put = |table: u64, index: u64, entry: u64, word: u64| {
        env.mem.write_u64(Phys::vram(table + index * entry), word)
    };
    // Directory entries: aperture 1 (VRAM) in bits 2:1, address >> 12 from bit 8.
    let directory = |table: u64| table >> 4 | 1 << 1;
    put(PD3, WINDOW >> 47 & 3, 8, directory(PD2))?;
    put(PD2, WINDOW >> 38 & 0x1ff, 8, directory(PD1))?;
    put(PD1, WINDOW >> 29 & 0x1ff, 8, directory(PD0))?;
    // The dual entry's high half is for the table of 4 KiB pages.
    put(PD0 + 8, WINDOW >> 21 & 0xff, 16, directory(PT))?;
    let pages = DATA_BYTES / PAGE;
    for page in 0..pages {
        let down = (pages - 1 - page) * PAGE;
        let host = host_buffers && page * PAGE >= SRC - WINDOW;
        let (at, aperture) = if host { (HOST_DATA + down, 2) } else { (VRAM_DATA + down, 0) };
        put(PT, page, 8, at >> 4 | aperture << 1 | 1)?;
    }
    Ok(())
}
