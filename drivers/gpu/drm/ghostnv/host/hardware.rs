// SPDX-License-Identifier: GPL-2.0

//! A channel as the GPU has it.
//!
//! [`Hardware`] puts together what a channel needs: memory from the pool, the channel's object in
//! the firmware, and for the graphics engine a context that is mapped into the address space. What
//! goes through the ring is its owner's business; it says how far the ring is filled and is told by
//! [`Watched`](crate::irq::watch::Watched) when something has come out.

use kernel::{
    io::Io,
    prelude::*,
    sync::{
        barrier::{
            mb,
            Write, //
        },
        Arc, //
    },
};

use crate::{
    channel::memory::Doorbell,
    gpu::Core,
    regs::host::DOORBELL,
    rm::{
        self,
        channel::{
            Channel,
            Spec, //
        },
        context::Region,
        engines::{
            Engine,
            EngineKind, //
        },
    },
    vm::{
        KernelMapping,
        Space, //
    },
};

use super::memory::ChannelMemory;

/// Where a channel's ring is.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    /// Its address, a multiple of 8.
    pub(crate) address: u64,
    /// Entries; a power of two.
    pub(crate) entries: u32,
}

/// A channel of the GPU. Dropping it stops the channel; nothing of it is used by the GPU then, or
/// the GPU is lost.
pub(crate) struct Hardware<'bound> {
    channel: Channel<'bound>,
    engine: Engine,
    token: u32,
    /// `None` once it was given back.
    memory: Option<ChannelMemory>,
    /// The graphics context, until the channel has been freed.
    context: Option<[KernelMapping<'bound>; 3]>,
    space: Arc<Space<'bound>>,
    core: Arc<Core<'bound>>,
}

impl<'bound> Hardware<'bound> {
    /// Makes a channel for the engines of `engine`'s runlist. It does not run yet.
    ///
    /// The ring stays mapped until the channel has been dropped. May sleep; makes several calls to
    /// the firmware.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are no channels left, or no video memory; others as the firmware says.
    #[inline(never)]
    pub(crate) fn new(
        core: Arc<Core<'bound>>,
        space: Arc<Space<'bound>>,
        engine: &Engine,
        ring: Ring,
    ) -> Result<Self> {
        let graphics = engine.kind == EngineKind::Graphics;
        let memory = match core.pool.take(graphics) {
            Some(memory) => memory,
            None => new_memory(&core, graphics)?,
        };
        let mut on_runlist = core.engines.on_runlist(engine.runlist);
        let spec = Spec {
            class: core.hw().chip.classes.channel,
            // A runlist's channels are named by its first engine.
            engine: *on_runlist.next().ok_or(ENODEV)?,
            gpfifo: ring.address,
            entries: ring.entries,
            instance: memory.instance()?,
            userd: memory.userd(),
            method_buffer: memory.method_buffer()?,
            privileged: false,
            handle: None,
        };
        drop(on_runlist);
        let channel = Channel::new(space.vaspace(), &spec)?;
        // From here on dropping stops the channel before anything it uses goes away.
        let mut hardware = Self {
            token: channel.token(),
            channel,
            engine: *engine,
            memory: Some(memory),
            context: None,
            space,
            core,
        };
        if graphics {
            hardware.give_context()?;
        }
        Ok(hardware)
    }

    /// Maps a graphics context and hands it to the channel.
    fn give_context(&mut self) -> Result {
        let contexts = self.core.contexts.as_ref().ok_or(ENODEV)?;
        let own = self.memory.as_ref().and_then(ChannelMemory::context);
        let own = own.ok_or(EINVAL)?;
        self.context = Some(contexts.give(&self.space, &self.channel, own, false)?);
        Ok(())
    }

    /// Lets Host run the channel.
    pub(crate) fn start(&self) -> Result {
        self.channel.start()
    }

    /// Has the GPU stop working on the channel. Makes a call to the firmware.
    pub(crate) fn stop(&self) -> Result {
        self.channel.stop()
    }

    /// The channel's number.
    pub(crate) fn id(&self) -> u32 {
        self.channel.id()
    }

    /// The engine it was made for.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Makes an object of a class on the channel, which is to be dropped before the channel.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a class that the channel's engines do not have.
    pub(crate) fn object(&self, class: u32) -> Result<rm::Object<'bound>> {
        let classes = self.core.hw().chip.classes;
        let graphics = [
            classes.three_d,
            classes.compute,
            classes.two_d,
            classes.inline_to_memory,
        ];
        if class == classes.copy {
            let mut engines = self.core.engines.on_runlist(self.engine.runlist);
            let copies = |e: &&Engine| matches!(e.kind, EngineKind::Copy(_));
            let engine = Some(&self.engine)
                .filter(copies)
                .or_else(|| engines.find(copies))
                .ok_or(EINVAL)?;
            self.channel.copy_object(class, engine)
        } else if graphics.contains(&class) && self.engine.kind == EngineKind::Graphics {
            self.channel.graphics_object(class, None)
        } else {
            Err(EINVAL)
        }
    }
}

impl Doorbell for Hardware<'_> {
    /// One write to system memory and one over the bus. May be called in any context.
    fn submit(&self, put: u32) {
        if let Some(memory) = &self.memory {
            memory.set_gp_put(put);
            // Host reads it as soon as the bell rings.
            mb(Write);
            self.core
                .hw()
                .bar
                .write_reg(DOORBELL::zeroed().with_token(self.token));
        }
    }
}

fn new_memory(core: &Core<'_>, graphics: bool) -> Result<ChannelMemory> {
    let context = match &core.contexts {
        Some(contexts) if graphics => Some(contexts.layout.extent(Region::Own)),
        None if graphics => return Err(ENODEV),
        _ => None,
    };
    ChannelMemory::new(
        core.hw().dev,
        &core.mem,
        core.engines.method_buffer_size,
        context,
    )
}

impl Drop for Hardware<'_> {
    fn drop(&mut self) {
        let freed = self.channel.free();
        if let Some(memory) = self.memory.take().filter(|_| freed.is_ok()) {
            self.core.pool.give_back(memory);
        }
    }
}
