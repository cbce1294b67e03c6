// SPDX-License-Identifier: GPL-2.0

//! One open file of the DRM device: a client of the GPU.
//!
//! What the DRM core keeps for a file outlives the binding of the device, and everything a client
//! has of the hardware must not. So [`File`] is empty, and [`Client`] lives in the registration
//! data, from the first ioctl that needs one until the file is closed or the device goes away.
//! Every ioctl finds it without a lock.

use core::ops::Range;

use kernel::{
    dma_fence::Fence,
    drm::{
        self,
        gem::BaseObject, //
    },
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    seq_file::SeqFile,
    str::CString,
    sync::{
        aref::ARef,
        Arc,
        Mutex,
        SetOnce, //
    },
    time::Delta, //
};

use crate::{
    channel::Channel,
    gem::{
        Bo,
        Object,
        Request, //
    },
    gpu::Core,
    rm::{
        self,
        engines::{
            Engine,
            EngineKind, //
        }, //
    },
    uapi::{
        self,
        nvif, //
    },
    vm::Vm, //
};

/// Channels that one client may have; NVK has one more than queues.
const CHANNELS_MAX: u32 = 256;

/// What the DRM core keeps for an open file.
pub(crate) struct File;

impl drm::file::DriverFile for File {
    type Driver = uapi::Driver;

    fn open(_: &drm::Device<uapi::Driver>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self, GFP_KERNEL)?.into())
    }

    fn close(closing: drm::ClosingFile<'_, Self>, device: &drm::Device<uapi::Driver, drm::Ioctl>) {
        if let Some(guard) = device.registration_guard() {
            guard.registration_data_with(|shared| drop(shared.clients.remove(closing)));
        }
    }

    const SHOW_FDINFO: bool = true;

    fn show_fdinfo(
        _device: &uapi::Device,
        shared: &uapi::Shared<'_>,
        file: &drm::File<Self>,
        m: &SeqFile,
    ) {
        uapi::fdinfo::show(shared, file, m);
    }
}

/// For how long engines have been at work for a client.
#[derive(Clone, Copy)]
pub(crate) struct Busy {
    pub(crate) render: Delta,
    pub(crate) copy: Delta,
}

impl Busy {
    fn add(&mut self, engine: &Engine, time: Delta) {
        match engine.kind {
            EngineKind::Graphics => self.render += time,
            EngineKind::Copy(_) => self.copy += time,
        }
    }
}

/// What belongs to a client and is changed by its ioctls.
///
/// Dropped in this order: objects, and then the channels they are on.
struct State<'a> {
    objects: nvif::Objects<rm::Object<'a>>,
    channels: RBTree<u32, Arc<Channel<'a>>>,
    /// By channels that were closed.
    past: Busy,
    /// The client uses what is from before `VM_INIT`, which comes too late now.
    settled: bool,
}

/// What a client has of the GPU. Dropping it gives everything back.
#[pin_data]
pub(crate) struct Client<'a> {
    #[pin]
    state: Mutex<State<'a>>,
    notifier: SetOnce<ARef<Object>>,
    /// The client's address space, once it has one. Dropped after the channels in it.
    vm: SetOnce<Arc<Vm<'a>>>,
    core: Arc<Core<'a>>,
}

impl<'a> Client<'a> {
    /// A client that has nothing yet.
    pub(crate) fn new(core: Arc<Core<'a>>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state <- new_mutex!(
                State {
                    objects: nvif::Objects::new(),
                    channels: RBTree::new(),
                    past: Busy {
                        render: Delta::ZERO,
                        copy: Delta::ZERO,
                    },
                    settled: false,
                },
                "Client::state"
            ),
            notifier: SetOnce::new(),
            vm: SetOnce::new(),
            core,
        })
    }

    /// The client does without an address space of its own, or has one: `VM_INIT` is over.
    pub(crate) fn settle(&self) {
        self.state.lock().settled = true;
    }

    /// `VM_INIT`: the client manages its address space, apart from a range that is the kernel's.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it does already, `ENOSYS` if it comes too late; as of [`Vm::new`].
    pub(crate) fn vm_init(&self, device: &drm::Device<uapi::Driver>, kernel: Range<u64>) -> Result {
        let mut state = self.state.lock();

        if self.vm.as_ref().is_some() {
            return Err(EBUSY);
        }
        if state.settled {
            return Err(ENOSYS);
        }
        self.vm.populate(Vm::new(&self.core, device, kernel)?);
        state.settled = true;
        Ok(())
    }

    /// The client's address space; `ENOSYS` if it has none.
    pub(crate) fn vm(&self) -> Result<&Arc<Vm<'a>>> {
        self.vm.as_ref().ok_or(ENOSYS)
    }

    /// The object whose reservation those share that no one else may get.
    pub(crate) fn reservation(&self) -> Option<&Object> {
        self.vm.as_ref().map(|vm| vm.reservation())
    }

    /// Makes a channel for an engine, and returns its number.
    ///
    /// # Errors
    ///
    /// `ENOSYS` without an address space, `ENOSPC` if the client has too many; as of
    /// [`Channel::new`].
    pub(crate) fn open_channel(&self, engine: &Engine, owner: CString) -> Result<u32> {
        let vm = self.vm()?;
        let channel = Channel::new(self.core.clone(), vm.space().clone(), engine, owner)?;
        let channel = Arc::new(channel, GFP_KERNEL)?;
        let mut state = self.state.lock();
        // The least number that is free; there are few.
        let mut number = 0;

        for taken in state.channels.keys() {
            if *taken != number {
                break;
            }
            number += 1;
        }
        if number >= CHANNELS_MAX {
            return Err(ENOSPC);
        }
        state
            .channels
            .try_create_and_insert(number, channel, GFP_KERNEL)?;
        Ok(number)
    }

    /// Ends a channel; `ENOENT` if there is no such.
    pub(crate) fn close_channel(&self, number: u32) -> Result {
        // As long as it is at work it is among those whose jobs are waited for.
        self.channel(number)?.wait_idle();
        let (channel, so_far) = {
            let mut state = self.state.lock();
            let channel = state.channels.remove(&number).ok_or(ENOENT)?;
            let so_far = channel.busy();

            state.objects.delete_channel(number);
            // At once, since what clients are told must not fall.
            state.past.add(channel.engine(), so_far);
            (channel, so_far)
        };
        // Ending it sleeps, and nobody finds it any more.
        channel.wait_idle();
        let rest = channel.busy() - so_far;
        self.state.lock().past.add(channel.engine(), rest);
        drop(channel);
        Ok(())
    }

    /// A channel of the client; `ENOENT` if there is no such.
    pub(crate) fn channel(&self, number: u32) -> Result<Arc<Channel<'a>>> {
        let state = self.state.lock();

        state.channels.get(&number).cloned().ok_or(ENOENT)
    }

    /// The classes of objects that a channel can have; `ENOENT` if there is no such.
    pub(crate) fn channel_classes(&self, number: u32) -> Result<KVec<u32>> {
        let graphics = self.channel(number)?.engine().kind == EngineKind::Graphics;
        let classes = self.core.hw().chip.classes;
        let mut list = KVec::new();

        if graphics {
            let graphics = [
                classes.three_d,
                classes.compute,
                classes.two_d,
                classes.inline_to_memory,
            ];
            list.extend_from_slice(&graphics, GFP_KERNEL)?;
        }
        list.push(classes.copy, GFP_KERNEL)?;
        Ok(list)
    }

    /// For how long engines have been at work for the client. Never falls.
    pub(crate) fn busy(&self) -> Busy {
        let state = self.state.lock();
        let mut busy = state.past;

        for channel in state.channels.values() {
            busy.add(channel.engine(), channel.busy());
        }
        busy
    }

    /// Fences that signal when all jobs of the client so far are done; none if they are.
    pub(crate) fn unfinished(&self) -> Result<KVec<ARef<Fence>>> {
        let mut fences = KVec::new();

        for channel in self.state.lock().channels.values() {
            // The GPU may still be at work on the jobs of one that is being stopped.
            let fence = channel.last_fence();
            if !fence.is_signaled() {
                fences.push(fence, GFP_KERNEL)?;
            }
        }
        Ok(fences)
    }

    /// Calls `f` with the objects that the client has made by NVIF.
    pub(crate) fn with_objects<R>(
        &self,
        f: impl FnOnce(&mut nvif::Objects<rm::Object<'a>>) -> R,
    ) -> R {
        f(&mut self.state.lock().objects)
    }

    /// Makes an object of an engine on a channel, which the client calls `object`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such channel, or its engines do not have the class; as of
    /// [`nvif::Objects::check_free`].
    pub(crate) fn new_engine_object(&self, channel: u32, object: u64, class: u32) -> Result {
        let mut state = self.state.lock();

        state.objects.check_free(object)?;
        let made = state.channels.get(&channel).ok_or(EINVAL)?.object(class)?;
        state.objects.insert_engine(object, channel, made)
    }

    /// A handle to a page of system memory, which `CHANNEL_ALLOC` gives its callers, of whom
    /// nobody has a use for it. There is one page for all channels.
    pub(crate) fn notifier(
        &self,
        device: &drm::Device<uapi::Driver>,
        file: &drm::File<File>,
    ) -> Result<u32> {
        if self.notifier.as_ref().is_none() {
            let request = Request {
                size: 1,
                align: 0,
                vram: false,
                system: true,
                shareable: false,
                tile_mode: 0,
                kind: 0,
            };
            let object = Bo::create(&self.core, None, device, &request, self.reservation())?;
            // Another thread may have been faster.
            self.notifier.populate(object);
        }
        self.notifier.as_ref().ok_or(EAGAIN)?.create_handle(file)
    }
}
