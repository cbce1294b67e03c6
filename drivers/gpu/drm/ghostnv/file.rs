// SPDX-License-Identifier: GPL-2.0

//! One open file of the DRM device: a client of the GPU.
//!
//! What the DRM core keeps for a file outlives the binding of the device, and everything a client
//! has of the hardware must not. So [`File`] is empty, and [`Client`] lives in the registration
//! data, from the first ioctl that needs one until the file is closed or the device goes away.
//! Every ioctl finds it without a lock.

use core::ops::Range;

use kernel::{
    drm,
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use crate::{
    gpu::Core,
    rm,
    uapi::{
        self,
        nvif, //
    }, //
};

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
        _shared: &uapi::Shared<'_>,
        file: &drm::File<Self>,
        m: &SeqFile,
    ) {
        uapi::fdinfo::show(file, m);
    }
}

/// Which of nouveau's two interfaces a client has chosen.
///
/// They do not mix: the first ioctl that belongs to one of them decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Interface {
    #[default]
    Undecided,
    /// The client manages its address space itself (`VM_INIT`, `VM_BIND`, `EXEC`).
    VmBind,
    /// The one before that, of which this driver has only what needs no address space.
    Old,
}

/// What belongs to a client and is changed by its ioctls.
struct State<'a> {
    interface: Interface,
    objects: nvif::Objects<rm::Object<'a>>,
}

/// What a client has of the GPU. Dropping it gives everything back.
#[pin_data]
pub(crate) struct Client<'a> {
    core: Arc<Core<'a>>,
    #[pin]
    state: Mutex<State<'a>>,
}

impl<'a> Client<'a> {
    /// A client that has nothing yet.
    pub(crate) fn new(core: Arc<Core<'a>>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            core,
            state <- new_mutex!(
                State {
                    interface: Interface::Undecided,
                    objects: nvif::Objects::new(),
                },
                "Client::state"
            ),
        })
    }

    /// The GPU.
    pub(crate) fn core(&self) -> &Arc<Core<'a>> {
        &self.core
    }

    /// The client uses something of the old interface, after which `VM_INIT` comes too late.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();

        if state.interface == Interface::Undecided {
            state.interface = Interface::Old;
        }
    }

    /// `VM_INIT`: the client manages its address space, apart from a range that the kernel keeps.
    pub(crate) fn vm_init(&self, _kernel: Range<u64>) -> Result {
        let state = self.state.lock();

        match state.interface {
            Interface::Undecided => Err(ENOSYS),
            Interface::VmBind => Err(EBUSY),
            Interface::Old => Err(ENOSYS),
        }
    }

    /// Calls `f` with the objects that the client has made by NVIF.
    pub(crate) fn with_objects<R>(
        &self,
        f: impl FnOnce(&mut nvif::Objects<rm::Object<'a>>) -> R,
    ) -> R {
        f(&mut self.state.lock().objects)
    }

    /// The classes of the objects that a channel can have.
    pub(crate) fn channel_classes(&self, _channel: i32) -> Result<KVec<u32>> {
        Err(EINVAL)
    }

    /// Makes an object of an engine on a channel.
    pub(crate) fn new_engine_object(&self, _channel: i32, _object: u64, _class: u32) -> Result {
        Err(EINVAL)
    }
}
