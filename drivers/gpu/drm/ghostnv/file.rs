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
        Mutex,
        SetOnce, //
    }, //
};

use crate::{
    gem::Object,
    gpu::Core,
    rm,
    uapi::{
        self,
        nvif, //
    },
    vm::Vm, //
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
        shared: &uapi::Shared<'_>,
        file: &drm::File<Self>,
        m: &SeqFile,
    ) {
        uapi::fdinfo::show(shared, file, m);
    }
}

/// What belongs to a client and is changed by its ioctls.
struct State<'a> {
    objects: nvif::Objects<rm::Object<'a>>,
    /// The client uses what is from before `VM_INIT`, which comes too late now.
    settled: bool,
}

/// What a client has of the GPU. Dropping it gives everything back.
#[pin_data]
pub(crate) struct Client<'a> {
    #[pin]
    state: Mutex<State<'a>>,
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
                    settled: false,
                },
                "Client::state"
            ),
            vm: SetOnce::new(),
            core,
        })
    }

    /// The GPU.
    pub(crate) fn core(&self) -> &Arc<Core<'a>> {
        &self.core
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

    /// Calls `f` with the objects that the client has made by NVIF.
    pub(crate) fn with_objects<R>(
        &self,
        f: impl FnOnce(&mut nvif::Objects<rm::Object<'a>>) -> R,
    ) -> R {
        f(&mut self.state.lock().objects)
    }
}
