// SPDX-License-Identifier: GPL-2.0

//! Memory that a channel needs besides its ring.
//!
//! The instance block is in video memory, where Host reads and writes it at every switch between
//! channels. USERD is in system memory, whose accesses by the GPU snoop the CPU's caches: the
//! driver writes to it for each submission and Host reads it once, after the doorbell, so that the
//! doorbell is the only write over the bus.
//!
//! Facts: open-gpu-kernel-modules 570.144, `uvm_channel.c` (`channel_pool_type`, locations of
//! GPFIFO and GPPUT), `dev_ram.ref.txt` in open-gpu-doc.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    io::io_write,
    new_mutex,
    prelude::*,
    sync::Mutex,
};

use crate::{
    mem::{
        vram::{
            Piece,
            Shape, //
        },
        Memory, //
    },
    rm::{
        channel::{
            Place,
            INSTANCE_SIZE,
            USERD_SIZE, //
        },
        context::Extent,
    },
};

/// What Host and driver tell each other of a channel's progress, in words.
///
/// Facts: open-gpu-doc `dev_ram.ref.txt` "USERD", `clc56f.h` (`Nvc56fControl`).
type Userd = [u32; USERD_WORDS];
const USERD_WORDS: usize = USERD_SIZE as usize / size_of::<u32>();
/// Index of the ring's entry after the last one that is valid.
const GP_PUT: usize = 0x8c / size_of::<u32>();

/// Memory of one channel.
pub(crate) struct ChannelMemory {
    instance: Piece,
    userd: Coherent<Userd>,
    method_buffer: Coherent<[u8]>,
    /// For the graphics engine: the channel's own part of its context.
    context: Option<Piece>,
}

impl ChannelMemory {
    /// Allocates memory. `context` says how much the channel's part of a graphics context takes.
    #[inline(never)]
    pub(crate) fn new(
        dev: &Device<Bound>,
        mem: &Memory<'_>,
        method_buffer_size: usize,
        context: Option<Extent>,
    ) -> Result<Self> {
        Ok(Self {
            instance: mem.zeroed(INSTANCE_SIZE, INSTANCE_SIZE, Shape::Contiguous)?,
            userd: Coherent::zeroed(dev, GFP_KERNEL)?,
            method_buffer: Coherent::zeroed_slice(dev, method_buffer_size, GFP_KERNEL)?,
            // The firmware writes its first contents.
            context: context
                .map(|extent| mem.vram.alloc(extent.size, extent.align, Shape::Contiguous))
                .transpose()?,
        })
    }

    /// Where the instance block is.
    pub(crate) fn instance(&self) -> Result<Place> {
        Ok(Place::Vram(
            self.instance.contiguous().ok_or(EINVAL)?.address,
        ))
    }

    /// Where USERD is.
    pub(crate) fn userd(&self) -> Place {
        Place::Sysmem(self.userd.dma_address())
    }

    /// Where the buffer for saved methods is, and its bytes.
    pub(crate) fn method_buffer(&self) -> Result<(Place, u64)> {
        Ok((
            Place::Sysmem(self.method_buffer.dma_address()),
            u64::try_from(self.method_buffer.len())?,
        ))
    }

    /// The channel's own part of a graphics context.
    pub(crate) fn context(&self) -> Option<&Piece> {
        self.context.as_ref()
    }

    /// Says that the ring's entries up to `put` are valid. Does not ring the doorbell.
    pub(crate) fn set_gp_put(&self, put: u32) {
        io_write!(self.userd, [build: GP_PUT], put.to_le());
    }

    /// Makes USERD as new.
    fn reset(&self) -> Result {
        for word in 0..USERD_WORDS {
            io_write!(self.userd, [try: word], 0);
        }
        Ok(())
    }
}

/// Most memories of a kind that wait for their next channel.
const SPARES: usize = 16;

/// Some of what was given back, by kind.
struct Spares<T>([KVec<T>; 2]);

impl<T> Spares<T> {
    const fn new() -> Self {
        Self([KVec::new(), KVec::new()])
    }

    /// Takes the one out that was given last.
    fn take(&mut self, kind: bool) -> Option<T> {
        self.0[usize::from(kind)].pop()
    }

    /// Keeps one, or gives it back if there are enough already, or no memory to note it.
    fn give(&mut self, kind: bool, one: T) -> Option<T> {
        let spares = &mut self.0[usize::from(kind)];
        if spares.len() >= SPARES || spares.reserve(1, GFP_KERNEL).is_err() {
            return Some(one);
        }
        spares.push_within_capacity(one).err().map(|e| e.0)
    }
}

/// Memory of channels that were freed.
#[pin_data]
pub(crate) struct Pool {
    /// Without and with a graphics context.
    #[pin]
    spares: Mutex<Spares<ChannelMemory>>,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            spares <- new_mutex!(Spares::new()),
        })
    }

    /// Takes memory out, if there is any of the kind.
    pub(crate) fn take(&self, graphics: bool) -> Option<ChannelMemory> {
        let memory = self.spares.lock().take(graphics)?;
        memory.reset().ok()?;
        Some(memory)
    }

    /// Puts memory back that the GPU uses no longer. Frees it if there is enough already.
    pub(crate) fn give_back(&self, memory: ChannelMemory) {
        let graphics = memory.context.is_some();
        let rest = self.spares.lock().give(graphics, memory);
        // With no lock held.
        drop(rest);
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_host_pool)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_kind_are_kept() {
        let mut spares = Spares::new();

        for number in 0..SPARES {
            assert_eq!(spares.give(true, number), None);
        }
        assert_eq!(spares.give(true, 99), Some(99));
        // The other kind is apart.
        assert_eq!(spares.take(false), None);
        assert_eq!(spares.give(false, 50), None);
        for number in (0..SPARES).rev() {
            assert_eq!(spares.take(true), Some(number));
        }
        assert_eq!(spares.take(true), None);
        assert_eq!(spares.take(false), Some(50));
    }
}
