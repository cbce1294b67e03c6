// SPDX-License-Identifier: GPL-2.0

//! Memory of graphics contexts that all channels share, the golden context, and the one that the
//! firmware scrubs with.
//!
//! The firmware makes the golden context, from which it takes the first contents of every other,
//! when a channel gets a 3D object for the first time. That happens here, once, on a channel and in
//! an address space that nobody else uses and that are gone afterwards; the firmware keeps what it
//! needs. The buffers that the channel had in common with all later ones stay.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_graphics.c`
//! (`kgraphicsCreateGoldenImageChannel_IMPL`).

use core::ops::Range;

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    gpu::{
        chip::Classes,
        Hw, //
    },
    gsp::abi::{
        scrubber,
        ScrubberChannel, //
    },
    mem::{
        vram::{
            Piece,
            Shape, //
        },
        Memory, //
    },
    mmu::{
        Aperture,
        Attr,
        Run, //
    },
    rm::{
        self,
        channel::{
            Channel,
            Spec, //
        },
        context::{
            promote,
            Layout,
            Region,
            Regions, //
        },
        engines::Engine,
    },
    vm::{
        KernelMapping,
        Space, //
    },
};

use super::{
    memory::ChannelMemory,
    Pool, //
};

/// What all graphics contexts share.
pub(crate) struct Contexts {
    /// How contexts are laid out.
    pub(crate) layout: Layout,
    /// [`Region::Shared`].
    shared: Piece,
    /// [`Region::Maps`].
    maps: Piece,
}

/// Maps a region of a context: for the engine's front end only, and maps only to read.
fn map<'a>(space: &Arc<Space<'a>>, piece: &Piece, region: Region) -> Result<KernelMapping<'a>> {
    let extent = piece.contiguous().ok_or(EINVAL)?;
    let run = Run {
        offset: 0,
        address: extent.address,
        len: extent.len,
    };
    let attr = Attr {
        read_only: region == Region::Maps,
        ..Attr::linear(Aperture::Vram).privileged()
    };
    space.map_kernel(&[run], attr)
}

/// Addresses of contexts of the kernel's own; above those that the firmware has for itself.
const GOLDEN: Range<u64> = 8 << 30..16 << 30;

/// Makes a channel that never runs, so that it needs no ring.
fn idle_channel<'a>(
    space: &Space<'a>,
    classes: &Classes,
    engine: &Engine,
    memory: &ChannelMemory,
    privileged: bool,
    handle: Option<u32>,
) -> Result<Channel<'a>> {
    Channel::new(
        space.vaspace(),
        &Spec {
            class: classes.channel,
            engine: *engine,
            gpfifo: 0,
            entries: 512,
            instance: memory.instance()?,
            userd: memory.userd(),
            method_buffer: memory.method_buffer()?,
            privileged,
            handle,
        },
    )
}

/// The channel that GSP-RM scrubs with on TU10x, to work around NVIDIA's bug 4208224. The driver
/// only lends it: it never runs by the driver's doing. GSP-RM looks for it by its handles.
///
/// Facts: open-gpu-kernel-modules 570.144, `kgraphics_tu102.c`
/// (`kgraphicsCreateBug4208224Channel_TU102`).
pub(crate) struct Scrubber<'bound> {
    /// Dropped from here on in this order, after the firmware has given it up.
    _three_d: rm::Object<'bound>,
    _channel: Channel<'bound>,
    _context: [KernelMapping<'bound>; 3],
    _memory: ChannelMemory,
    space: Arc<Space<'bound>>,
}

impl<'bound> Scrubber<'bound> {
    /// Makes it for the graphics engine, and has the firmware use it.
    #[inline(never)]
    pub(crate) fn new(
        hw: Hw<'_>,
        rm: &Arc<rm::Root<'bound>>,
        mem: &Arc<Memory<'bound>>,
        engine: &Engine,
        method_buffer_size: usize,
        contexts: &Contexts,
    ) -> Result<Self> {
        let classes = hw.chip.classes;
        let own = Some(contexts.layout.extent(Region::Own));
        let memory = ChannelMemory::new(hw.dev, mem, method_buffer_size, own)?;
        let space = Space::shared(mem, rm, GOLDEN, Some(scrubber::VASPACE))?;
        // It outlives the channel, also when something fails.
        let context;
        let channel = idle_channel(
            &space,
            classes,
            engine,
            &memory,
            false,
            Some(scrubber::CHANNEL),
        )?;
        let own = memory.context().ok_or(EINVAL)?;
        context = contexts.give(&space, &channel, own, false)?;
        let three_d = channel.graphics_object(classes.three_d, Some(scrubber::THREE_D))?;

        rm.control_subdevice(&ScrubberChannel { teardown: 0 })?;
        Ok(Self {
            _three_d: three_d,
            _channel: channel,
            _context: context,
            _memory: memory,
            space,
        })
    }
}

impl Drop for Scrubber<'_> {
    fn drop(&mut self) {
        let rm = self.space.vaspace().root();
        // What failed has been said.
        let _ = rm.control_subdevice(&ScrubberChannel { teardown: 1 });
    }
}

impl Contexts {
    /// Allocates what is shared, and has the firmware make the golden context.
    #[inline(never)]
    pub(crate) fn new<'a>(
        hw: Hw<'_>,
        rm: &Arc<rm::Root<'a>>,
        mem: &Arc<Memory<'a>>,
        engine: &Engine,
        method_buffer_size: usize,
        pool: &Pool,
    ) -> Result<Self> {
        let layout = Layout::query(rm)?;
        let alloc = |region| {
            let extent = layout.extent(region);
            mem.vram.alloc(extent.size, extent.align, Shape::Contiguous)
        };
        let (shared, maps) = (alloc(Region::Shared)?, alloc(Region::Maps)?);
        let contexts = Self {
            layout,
            shared,
            maps,
        };
        let own = Some(contexts.layout.extent(Region::Own));
        let memory = ChannelMemory::new(hw.dev, mem, method_buffer_size, own)?;
        contexts
            .make_golden(hw, rm, mem, engine, &memory)
            .inspect_err(|_| dev_err!(hw.dev, "no golden context\n"))?;
        // The first client's channel can have it.
        pool.give_back(memory);
        Ok(contexts)
    }

    /// Maps a context whose own part is `own`, and promotes it to a channel in `space`.
    ///
    /// The mappings stay until the channel has been freed.
    pub(crate) fn give<'a>(
        &self,
        space: &Arc<Space<'a>>,
        channel: &Channel<'a>,
        own: &Piece,
        golden: bool,
    ) -> Result<[KernelMapping<'a>; 3]> {
        let mappings = [
            map(space, own, Region::Own)?,
            map(space, &self.shared, Region::Shared)?,
            map(space, &self.maps, Region::Maps)?,
        ];
        let place = |piece: &Piece, mapping: &KernelMapping<'_>| {
            let extent = piece.contiguous().ok_or(EINVAL)?;
            Ok::<_, Error>((extent.address, mapping.address()))
        };
        let regions = Regions {
            own: place(own, &mappings[0])?,
            shared: place(&self.shared, &mappings[1])?,
            maps: place(&self.maps, &mappings[2])?,
        };
        let rm = space.vaspace().root();
        promote(rm, channel, &self.layout, &regions, golden)?;
        Ok(mappings)
    }

    #[inline(never)]
    fn make_golden<'a>(
        &self,
        hw: Hw<'_>,
        rm: &Arc<rm::Root<'a>>,
        mem: &Arc<Memory<'a>>,
        engine: &Engine,
        memory: &ChannelMemory,
    ) -> Result {
        let classes = hw.chip.classes;
        let space = Space::shared(mem, rm, GOLDEN, None)?;
        let mut channel = idle_channel(&space, classes, engine, memory, true, None)?;
        let own = memory.context().ok_or(EINVAL)?;
        let mappings = self.give(&space, &channel, own, true)?;
        let made = channel.graphics_object(classes.three_d, None).map(drop);
        // The context stays mapped until then.
        channel.free()?;
        drop(mappings);
        made
    }
}
