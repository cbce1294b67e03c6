// SPDX-License-Identifier: GPL-2.0

//! Zeroing video memory before a client sees it.
//!
//! A copy engine does it, on a channel of the kernel's own, in an address space where all of video
//! memory is mapped once and for all: hundreds of gigabytes a second and an interrupt, instead of a
//! write over the bus for every eight bytes. Whoever wants the memory waits meanwhile.
//!
//! The engine is shared with clients, which can keep it busy until a job of the kernel's is late,
//! and then the channel is stopped like any other. So jobs are small, and the next one gets a new
//! channel.
//!
//! Facts: `clc7b5.h` and its predecessors in open-gpu-doc.

use kernel::{
    dma::Coherent,
    dma_fence::Fence,
    io::io_write,
    new_mutex,
    prelude::*,
    sizes::SZ_64M,
    str::CString,
    sync::{
        aref::ARef,
        barrier::{
            dma_mb,
            Write, //
        },
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

use crate::{
    channel::{
        ring::Entry,
        Channel,
        TIME_LIMIT_MAX, //
    },
    gpu::Core,
    mem::vram::{
        Extent,
        Piece, //
    },
    mmu::{
        Aperture,
        Attr,
        Run, //
    },
    rm::engines::Engine,
    vm::{
        KernelMapping,
        Space, //
    }, //
};

/// Addresses of the address space; all of them are the kernel's.
const ADDRESSES: core::ops::Range<u64> = 1 << 38..1 << 39;

/// Methods of a copy engine, by byte address.
mod method {
    pub(super) const SET_OBJECT: u32 = 0x0;
    pub(super) const LAUNCH_DMA: u32 = 0x300;
    /// Followed by OFFSET_OUT_LOWER.
    pub(super) const OFFSET_OUT_UPPER: u32 = 0x408;
    /// Followed by LINE_COUNT.
    pub(super) const LINE_LENGTH_IN: u32 = 0x418;
    /// Followed by SET_REMAP_CONST_B and SET_REMAP_COMPONENTS.
    pub(super) const SET_REMAP_CONST_A: u32 = 0x700;
}

/// One element of four bytes, which is constant A.
const ONE_CONSTANT: u32 = 3 << 16 | 4;

/// A pipelined transfer of remapped elements between pitch-linear layouts, flushed at its end.
const LAUNCH: u32 = 1 | 1 << 2 | 1 << 7 | 1 << 8 | 1 << 10;

/// The subchannel that copy engines have by convention.
const SUBCHANNEL: u32 = 4;

/// Words of the commands that come once, and for each run of memory.
const WORDS_ONCE: usize = 6;
const WORDS_EACH: usize = 8;
/// 64-bit words of a buffer of commands.
const BUFFER: usize = 512;
/// Runs of memory that fit it.
const RUNS: usize = (2 * BUFFER - WORDS_ONCE) / WORDS_EACH;
/// Bytes that one job zeroes at most: a fraction of a millisecond of an engine that runs alone, so
/// that a job's time limit leaves room for clients that share it.
const JOB_MAX: u64 = SZ_64M as u64;

/// Header of `count` data words for consecutive methods from `method` on.
const fn incrementing(method: u32, count: u32) -> u32 {
    1 << 29 | count << 16 | SUBCHANNEL << 13 | method / 4
}

/// Commands that zero runs of memory.
struct Commands {
    words: [u32; 2 * BUFFER],
    len: usize,
}

impl Commands {
    fn new(class: u32) -> Result<KBox<Self>> {
        let mut commands = KBox::new(
            Self {
                words: [0; 2 * BUFFER],
                len: 0,
            },
            GFP_KERNEL,
        )?;
        commands.add(&[
            incrementing(method::SET_OBJECT, 1),
            class,
            incrementing(method::SET_REMAP_CONST_A, 3),
            0,
            0,
            ONE_CONSTANT,
        ])?;
        Ok(commands)
    }

    fn add(&mut self, words: &[u32]) -> Result {
        let end = self.len + words.len();
        let place = self.words.get_mut(self.len..end).ok_or(ENOSPC)?;
        place.copy_from_slice(words);
        self.len = end;
        Ok(())
    }

    /// Zeroes `len` bytes at `va`, a multiple of four and at most 16 GiB.
    fn zero(&mut self, va: u64, len: u64) -> Result {
        self.add(&[
            incrementing(method::OFFSET_OUT_UPPER, 2),
            // CAST: halves by intent.
            (va >> 32) as u32,
            va as u32,
            incrementing(method::LINE_LENGTH_IN, 2),
            u32::try_from(len / 4)?,
            1,
            incrementing(method::LAUNCH_DMA, 1),
            LAUNCH,
        ])
    }
}

/// What a job needs.
struct State<'a> {
    channel: Channel<'a>,
    /// The commands; held until the engine has done them.
    buffer: Coherent<[u64; BUFFER]>,
}

/// A copy engine that zeroes video memory.
#[pin_data]
pub(crate) struct Cleaner<'a> {
    /// Dropped first: it stops.
    #[pin]
    state: Mutex<State<'a>>,
    /// Video memory from address zero on.
    vram: KernelMapping<'a>,
    /// Where the engine finds the commands.
    commands_at: KernelMapping<'a>,
    space: Arc<Space<'a>>,
    class: u32,
    engine: Engine,
    core: Arc<Core<'a>>,
}

fn channel<'a>(
    core: &Arc<Core<'a>>,
    space: &Arc<Space<'a>>,
    engine: &Engine,
) -> Result<Channel<'a>> {
    let owner = CString::try_from_fmt(fmt!("the kernel"))?;
    Channel::new(core.clone(), space.clone(), engine, owner)
}

impl<'a> Cleaner<'a> {
    /// Takes a copy engine, one that runs beside the graphics engine if there is one.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none; as of [`Channel::new`] and [`Space::map_kernel`].
    #[inline(never)]
    pub(crate) fn new(core: &Arc<Core<'a>>) -> Result<Pin<KBox<Self>>> {
        let engines = &core.engines;
        let beside = engines.async_copies().next();
        let engine = *beside.or_else(|| engines.copies().next()).ok_or(ENODEV)?;
        let space = Space::new(&core.mem, &core.rm, ADDRESSES)?;
        let all = Run {
            offset: 0,
            address: 0,
            len: core.mem.vram.end(),
        };
        let vram = space.map_kernel(&[all], Attr::linear(Aperture::Vram))?;
        let buffer: Coherent<[u64; BUFFER]> = Coherent::zeroed(core.hw().dev, GFP_KERNEL)?;
        let commands = Run {
            offset: 0,
            address: buffer.dma_address(),
            len: size_of::<[u64; BUFFER]>() as u64,
        };
        let attr = Attr {
            read_only: true,
            ..Attr::linear(Aperture::Coherent)
        };
        let commands_at = space.map_kernel(&[commands], attr)?;
        let state = State {
            channel: channel(core, &space, &engine)?,
            buffer,
        };

        KBox::try_pin_init(
            try_pin_init!(Self {
                state <- new_mutex!(state, "Cleaner::state"),
                vram,
                commands_at,
                space,
                class: core.hw().chip.classes.copy,
                engine,
                core: core.clone(),
            }),
            GFP_KERNEL,
        )
    }

    /// Zeroes a piece of video memory, and returns when that is done. Sleeps.
    ///
    /// # Errors
    ///
    /// `EIO`, `ETIME` or `ENODEV` if the engine has failed, or what there is against a new channel;
    /// some of the memory is as it was then.
    pub(crate) fn zero(&self, piece: &Piece) -> Result {
        let mut commands = Commands::new(self.class)?;
        let (mut runs, mut bytes) = (0, 0);

        for Extent { address, len } in piece.extents() {
            let mut done = 0;
            while done < len {
                if runs == RUNS || bytes == JOB_MAX {
                    self.run(&commands)?;
                    commands = Commands::new(self.class)?;
                    (runs, bytes) = (0, 0);
                }
                let part = (len - done).min(JOB_MAX - bytes);
                commands.zero(self.vram.address() + address + done, part)?;
                runs += 1;
                bytes += part;
                done += part;
            }
        }
        self.run(&commands)
    }

    /// Runs one job.
    fn run(&self, commands: &Commands) -> Result {
        let mut state = self.state.lock();
        if state.channel.is_dead() {
            state.channel = channel(&self.core, &self.space, &self.engine)?;
        }
        let State { channel, buffer } = &*state;
        let words = commands.words.get(..commands.len).ok_or(EINVAL)?;

        for (i, pair) in words.chunks(2).enumerate() {
            let low = pair.first().copied().unwrap_or(0);
            let high = pair.get(1).copied().unwrap_or(0);
            io_write!(
                buffer,
                [build: i % BUFFER],
                (u64::from(low) | u64::from(high) << 32).to_le()
            );
        }
        // The commands are there before the ring says so.
        dma_mb(Write);
        let bytes = u32::try_from(commands.len * 4)?;
        let entry = Entry::segment(self.commands_at.address(), bytes, false)?;
        let prepared = channel.prepare(KVec::new())?;
        let mut job = channel.begin(1)?;
        let mut fence: Option<ARef<Fence>> = None;

        job.push(entry)?;
        job.submit(prepared, |f| fence = Some(f.into()))?;
        let fence = fence.ok_or(EIO)?;
        let limit = msecs_to_jiffies(2 * TIME_LIMIT_MAX);
        if fence.wait_uninterruptible_timeout(limit).is_err() {
            // Others keep the engine, and are stopped one by one. The memory goes back, and nobody
            // may write to it any more.
            channel.stop();
        }
        fence.status().unwrap_or(Err(EIO))
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gem_clear)]
mod tests {
    use super::*;

    #[test]
    fn commands_fit_their_buffer() -> Result {
        let mut commands = Commands::new(0xc7b5)?;

        assert_eq!(&commands.words[..2], &[0x2001_8000, 0xc7b5]);
        for _ in 0..RUNS {
            commands.zero(0x12_3456_7000, 0x2000)?;
        }
        assert_eq!(
            &commands.words[WORDS_ONCE..WORDS_ONCE + WORDS_EACH],
            &[
                0x2002_8102,
                0x12,
                0x3456_7000,
                0x2002_8106,
                0x800,
                1,
                0x2001_80c0,
                0x585
            ]
        );
        assert_eq!(commands.len, WORDS_ONCE + RUNS * WORDS_EACH);
        assert!(commands.zero(0, 4).is_err());
        assert!(Commands::new(0)?.zero(0, JOB_MAX).is_ok());
        Ok(())
    }
}
