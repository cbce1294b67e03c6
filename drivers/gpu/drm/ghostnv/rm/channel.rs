// SPDX-License-Identifier: GPL-2.0

//! Channels, and the objects of engines on them.
//!
//! A channel is a ring of commands that Host fetches for the engines of one runlist. All memory it
//! needs is the driver's, named by where it is: the instance block, in which Host keeps its state
//! (RAMFC) while the channel is not running and finds the page directory, USERD, through which the
//! driver says how far the ring is filled, the ring itself, and a buffer into which a copy engine
//! saves methods when a fault stops it. A channel is allocated, then bound to an engine type and
//! put on its runlist; then a write of its token to the doorbell has Host look at it.
//!
//! The number of a channel is the driver's choice. Hardware has as many on each runlist, but one
//! number for one channel of the GPU is what makes errors easy to attribute. The group that a
//! channel needs to be scheduled is left to GSP-RM, which makes one for each channel by itself.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_channel.c`, `kernel_fifo_ga100.c`
//! (`kfifoGenerateWorkSubmitTokenHal_GA100`).

use kernel::prelude::*;

use crate::gsp::{
    abi::{
        channel_flags,
        channel_internal_flags,
        command,
        BindChannel,
        ChannelParams,
        CopyParams,
        MemoryDescriptor,
        ScheduleChannel,
        ADDRESS_SPACE_SYSMEM,
        ADDRESS_SPACE_VRAM,
        CACHE_SNOOPED,
        CACHE_UNCACHED, //
    },
    object::{
        Class,
        Control, //
    },
};

use super::{
    engines::Engine,
    vaspace::VaSpace,
    Object,
    Root, //
};

/// Bytes of an instance block. It is aligned to its size.
pub(crate) const INSTANCE_SIZE: u64 = 0x1000;
/// Bytes of the part of it in which Host keeps its state.
const RAMFC_SIZE: u64 = 0x200;
/// Bytes of USERD. It is aligned to its size.
pub(crate) const USERD_SIZE: u64 = 0x200;

/// Where a piece of memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this address of video memory.
    Vram(u64),
    /// At this bus address, coherent with the CPU's caches.
    Sysmem(u64),
}

impl Place {
    /// Describes `size` bytes there to the firmware.
    fn describe(self, size: u64) -> MemoryDescriptor {
        let (base, address_space, cache) = match self {
            Self::Vram(base) => (base, ADDRESS_SPACE_VRAM, CACHE_UNCACHED),
            Self::Sysmem(base) => (base, ADDRESS_SPACE_SYSMEM, CACHE_SNOOPED),
        };
        MemoryDescriptor {
            base,
            size,
            address_space,
            cache,
        }
    }
}

/// What a channel shall be.
pub(crate) struct Spec {
    /// Its class, from the chip's table.
    pub(crate) class: u32,
    /// The first engine of its runlist.
    pub(crate) engine: Engine,
    /// Address of the ring in the channel's address space, a multiple of 8.
    pub(crate) gpfifo: u64,
    /// Entries of the ring, a power of two.
    pub(crate) entries: u32,
    /// [`INSTANCE_SIZE`] bytes, zeroed before the first use.
    pub(crate) instance: Place,
    /// [`USERD_SIZE`] bytes.
    pub(crate) userd: Place,
    /// As many bytes as [`super::engines::Engines::method_buffer_size`] says, and how many.
    pub(crate) method_buffer: (Place, u64),
    /// The channel is the kernel's own and may use what is mapped for it alone.
    pub(crate) privileged: bool,
    /// The handle by which GSP-RM looks for it, if it does.
    pub(crate) handle: Option<u32>,
}

struct NewChannel<'a> {
    spec: &'a Spec,
    id: u32,
    vaspace: u32,
}

impl Class for NewChannel<'_> {
    const NAME: &'static str = "CHANNEL_GPFIFO";
    type Params = ChannelParams;

    fn class(&self) -> u32 {
        self.spec.class
    }

    fn handle(&self) -> Option<u32> {
        self.spec.handle
    }

    fn fill(&self, params: &mut ChannelParams) {
        let spec = self.spec;
        let (method_buffer, method_buffer_size) = spec.method_buffer;

        params.gpfifo = spec.gpfifo;
        params.gpfifo_entries = spec.entries;
        params.flags = channel_flags::index(self.id);
        params.internal_flags = channel_internal_flags::NO_ERROR_NOTIFIER
            | channel_internal_flags::NO_ECC_ERROR_NOTIFIER;
        if spec.privileged {
            params.flags |= channel_flags::PRIVILEGED;
            params.internal_flags |= channel_internal_flags::PRIVILEGE_ADMIN;
        }
        params.vaspace = self.vaspace;
        params.engine = spec.engine.kind.engine_type();
        params.instance = spec.instance.describe(INSTANCE_SIZE);
        params.ramfc = spec.instance.describe(RAMFC_SIZE);
        params.userd = spec.userd.describe(USERD_SIZE);
        params.method_buffer = method_buffer.describe(method_buffer_size);
    }
}

impl Control for BindChannel {
    const COMMAND: u32 = command::BIND;
    const NAME: &'static str = "BIND";
    type Params = Self;
    type Reply = ();

    fn fill(&self, params: &mut Self) {
        *params = *self;
    }

    fn read(_: &Self) -> Result {
        Ok(())
    }
}

impl Control for ScheduleChannel {
    const COMMAND: u32 = command::GPFIFO_SCHEDULE;
    const NAME: &'static str = "GPFIFO_SCHEDULE";
    type Params = Self;
    type Reply = ();

    fn fill(&self, params: &mut Self) {
        *params = *self;
    }

    fn read(_: &Self) -> Result {
        Ok(())
    }
}

/// A channel that is not running yet.
///
/// Whoever has one keeps the address space, and the memory the channel was made with, for longer.
pub(crate) struct Channel<'bound> {
    /// `None` once it has been freed.
    object: Option<Object<'bound>>,
    id: u32,
    engine: Engine,
}

impl<'bound> Channel<'bound> {
    /// Makes a channel in an address space.
    pub(crate) fn new(space: &VaSpace<'bound>, spec: &Spec) -> Result<Self> {
        let root = space.root();
        let id = root.channel_ids.lock().take()?;
        let class = NewChannel {
            spec,
            id,
            vaspace: space.handle(),
        };
        match Root::alloc(root, &class) {
            Ok(object) => Ok(Self {
                object: Some(object),
                id,
                engine: spec.engine,
            }),
            Err(e) => {
                // As with handles: it may have been made nonetheless.
                if !root.link.lost().is_set() {
                    root.channel_ids.lock().give_back(id);
                }
                Err(e)
            }
        }
    }

    fn object(&self) -> Result<&Object<'bound>> {
        self.object.as_ref().ok_or(ENODEV)
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// What to write to the doorbell to have Host look at the channel.
    pub(crate) fn token(&self) -> u32 {
        self.engine.runlist << 16 | self.id
    }

    /// Its handle, for the promotion of its context.
    pub(crate) fn handle(&self) -> Result<u32> {
        Ok(self.object()?.handle())
    }

    /// Lets Host run it.
    pub(crate) fn start(&self) -> Result {
        let object = self.object()?;
        object.control(&BindChannel {
            engine: self.engine.kind.engine_type(),
        })?;
        object.control(&ScheduleChannel {
            enable: 1,
            ..Default::default()
        })
    }

    /// Takes it off its runlist. It and all objects on it stay, but nothing of it runs any more.
    pub(crate) fn stop(&self) -> Result {
        self.object()?.control(&ScheduleChannel::default())
    }

    /// Makes an object of a class without parameters on the channel: all of the graphics engine's.
    ///
    /// The object is to be dropped before the channel. `handle` is for the one that GSP-RM looks
    /// for by it.
    pub(crate) fn graphics_object(
        &self,
        class: u32,
        handle: Option<u32>,
    ) -> Result<Object<'bound>> {
        self.object()?
            .alloc_below(&GraphicsObject { class, handle })
    }

    /// Makes an object of a copy engine on the channel, which is to be dropped before the channel.
    ///
    /// `engine` is on the channel's runlist.
    pub(crate) fn copy_object(&self, class: u32, engine: &Engine) -> Result<Object<'bound>> {
        self.object()?.alloc_below(&CopyObject {
            class,
            engine: engine.kind.engine_type(),
        })
    }

    /// Takes it off its runlist and frees it.
    ///
    /// # Errors
    ///
    /// If the firmware did not say that it has, the GPU may still use the channel's memory. It is
    /// lost then, so that nobody else gets that.
    pub(crate) fn free(&mut self) -> Result {
        let Some(object) = self.object.take() else {
            return Ok(());
        };
        let root = object.root().clone();
        object
            .free()
            .inspect_err(|_| root.link.lose(fmt!("channel {}: not freed", self.id)))?;
        root.channel_ids.lock().give_back(self.id);
        Ok(())
    }
}

impl Drop for Channel<'_> {
    fn drop(&mut self) {
        // What failed has been said.
        let _ = self.free();
    }
}

struct GraphicsObject {
    class: u32,
    handle: Option<u32>,
}

impl Class for GraphicsObject {
    const NAME: &'static str = "an object of the graphics engine";
    type Params = [u8; 0];

    fn class(&self) -> u32 {
        self.class
    }

    fn handle(&self) -> Option<u32> {
        self.handle
    }

    fn fill(&self, _: &mut [u8; 0]) {}
}

struct CopyObject {
    class: u32,
    engine: u32,
}

impl Class for CopyObject {
    const NAME: &'static str = "an object of a copy engine";
    type Params = CopyParams;

    fn class(&self) -> u32 {
        self.class
    }

    fn fill(&self, params: &mut CopyParams) {
        params.version = CopyParams::NAMES_ENGINE;
        params.engine = self.engine;
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_rm_channel)]
mod tests {
    use super::*;
    use crate::rm::engines::EngineKind;
    use zerocopy::FromZeros;

    #[test]
    fn parameters_of_channels() {
        let spec = Spec {
            class: 0xc56f,
            engine: Engine {
                kind: EngineKind::Copy(2),
                runlist: 1,
                nonstall: None,
            },
            gpfifo: 0x80_0000_1000,
            entries: 512,
            instance: Place::Vram(0x1000),
            userd: Place::Sysmem(0x2000_0200),
            method_buffer: (Place::Sysmem(0x3000), 0x2000),
            privileged: false,
            handle: None,
        };
        let new = NewChannel {
            spec: &spec,
            id: 2047,
            vaspace: 5,
        };
        let mut params = ChannelParams::new_zeroed();
        new.fill(&mut params);
        assert_eq!(params.engine, 0x0b);
        // Number 2047: place 7 on page 255, and the page is fixed.
        assert_eq!(params.flags, 7 << 8 | 255 << 12 | 1 << 21);
        assert_eq!(params.internal_flags, 1 << 2 | 1 << 4);
        assert_eq!(params.instance.address_space, 2);
        assert_eq!(params.userd.base, 0x2000_0200);
        assert_eq!((params.userd.address_space, params.userd.cache), (1, 0));
        assert_eq!((params.ramfc.base, params.ramfc.size), (0x1000, 0x200));
        assert_eq!(params.method_buffer.size, 0x2000);
    }
}
