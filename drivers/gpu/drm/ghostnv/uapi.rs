// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: the registration of the DRM device.

//! What user space sees: a DRM device that takes nouveau's ioctls.
//!
//! Mesa's Vulkan driver (NVK) knows one kernel interface for NVIDIA GPUs, that of nouveau, and
//! looks for it by the name that the device reports. So this driver speaks it, under that name
//! unless it is configured otherwise, and lives without what NVK and the other users of today have
//! no use for. The device's parent is the PCI function, which is where libdrm looks.
//!
//! [`nouveau`] has the ioctls, [`gem`] those about buffer objects, [`nvif`] the messages that
//! travel inside one of them, [`fdinfo`] what `/proc` tells about a client.

use kernel::{
    device,
    drm::{
        self,
        ioctl::RENDER_ALLOW,
        FileTable, //
    },
    pci,
    prelude::*,
    sync::Arc, //
};

use crate::{
    file::{
        Client,
        File, //
    },
    gem::{
        clear::Cleaner,
        Object, //
    },
    gpu::Core,
    gsp::GpuInfo, //
};

use facts::Facts;

mod bind;
mod debugfs;
mod exec;
pub(crate) mod facts;
pub(crate) mod fdinfo;
mod gem;
mod nouveau;
pub(crate) mod nvif;
pub(crate) mod sync;

/// The DRM device as ioctls see it: registered, and its parent bound.
pub(crate) type Device = drm::Device<Driver, drm::Registered>;

/// The DRM driver.
pub(crate) struct Driver;

const INFO: drm::DriverInfo = drm::DriverInfo {
    // To Mesa 1.4.1 says that there are channels of copy engines; 1.4.2 would add compressed
    // kinds, 1.4.3 channels of video engines.
    major: 1,
    minor: 4,
    patchlevel: 1,
    name: if cfg!(CONFIG_DRM_GHOSTNV_OWN_NAME) {
        c"ghostnv"
    } else {
        c"nouveau"
    },
    desc: c"GhostNV",
};

#[vtable]
impl drm::Driver for Driver {
    type Data = ();
    type RegistrationData<'a> = Shared<'a>;
    type Object = Object;
    type File = File;
    type ParentDevice<Ctx: device::DeviceContext> = pci::Device<Ctx>;

    const INFO: drm::DriverInfo = INFO;
    const FDINFO_NAME: &'static CStr = c"ghostnv";
    const FEAT_RENDER: bool = true;
    const FEAT_SYNCOBJ: bool = true;
    const FEAT_SYNCOBJ_TIMELINE: bool = true;

    // All of them without authentication: a client reaches nothing that is not its own.
    kernel::declare_drm_ioctls! {
        (DRM_NOUVEAU_GETPARAM: IOWR, drm_nouveau_getparam, RENDER_ALLOW, nouveau::getparam),
        (DRM_NOUVEAU_CHANNEL_ALLOC: IOWR, drm_nouveau_channel_alloc, RENDER_ALLOW,
            nouveau::channel_alloc),
        (DRM_NOUVEAU_CHANNEL_FREE: IOW, drm_nouveau_channel_free, RENDER_ALLOW,
            nouveau::channel_free),
        (DRM_NOUVEAU_VM_INIT: IOWR, drm_nouveau_vm_init, RENDER_ALLOW, nouveau::vm_init),
        (DRM_NOUVEAU_VM_BIND: IOWR, drm_nouveau_vm_bind, RENDER_ALLOW, bind::vm_bind),
        (DRM_NOUVEAU_EXEC: IOWR, drm_nouveau_exec, RENDER_ALLOW, exec::exec),
        (DRM_NOUVEAU_GET_ZCULL_INFO: IOR, drm_nouveau_get_zcull_info, RENDER_ALLOW,
            nouveau::get_zcull_info),
        (DRM_NOUVEAU_GEM_NEW: IOWR, drm_nouveau_gem_new, RENDER_ALLOW, gem::new),
        (DRM_NOUVEAU_GEM_PUSHBUF: IOWR, drm_nouveau_gem_pushbuf, RENDER_ALLOW,
            nouveau::gem_pushbuf),
        (DRM_NOUVEAU_GEM_CPU_PREP: IOW, drm_nouveau_gem_cpu_prep, RENDER_ALLOW, gem::cpu_prep),
        (DRM_NOUVEAU_GEM_CPU_FINI: IOW, drm_nouveau_gem_cpu_fini, RENDER_ALLOW, gem::cpu_fini),
        (DRM_NOUVEAU_GEM_INFO: IOWR, drm_nouveau_gem_info, RENDER_ALLOW, gem::info),
    }

    kernel::declare_drm_user_ioctls! {
        (DRM_NOUVEAU_NVIF, RENDER_ALLOW, nvif::message),
    }
}

/// What all files of the device share for as long as it is registered.
#[pin_data]
pub(crate) struct Shared<'a> {
    /// What zeroes video memory.
    pub(crate) cleaner: Pin<KBox<Cleaner<'a>>>,
    /// The GPU.
    pub(crate) core: Arc<Core<'a>>,
    /// What never changes about it.
    pub(crate) facts: Facts,
    /// The clients, found by their file.
    #[pin]
    pub(crate) clients: FileTable<Client<'a>>,
}

impl<'a> Shared<'a> {
    fn new(core: Arc<Core<'a>>, facts: Facts) -> impl PinInit<Self, Error> + use<'a> {
        try_pin_init!(Self {
            // Without it there would be no channels for clients either.
            cleaner: Cleaner::new(&core).inspect_err(|e| {
                dev_err!(core.hw().dev, "no copy engine to zero memory: {e:?}\n");
            })?,
            core,
            facts,
            clients <- FileTable::new(),
        })
    }

    /// Bytes of VRAM in use by anyone, which includes the firmware.
    pub(crate) fn vram_used(&self) -> u64 {
        self.facts
            .vram_size
            .saturating_sub(self.core.mem.vram.free())
    }

    /// The client behind a file.
    pub(crate) fn client<'s>(&'s self, file: &'s drm::File<File>) -> Result<&'s Client<'a>> {
        self.clients
            .get_or_insert(file, Client::new(self.core.clone()))
    }
}

/// Makes the DRM device. Dropping what this returns takes it away from user space.
pub(crate) fn register<'bound>(
    pdev: &'bound pci::Device<device::Bound>,
    core: Arc<Core<'bound>>,
    info: &GpuInfo,
) -> Result<drm::Registration<'bound, Driver>> {
    let facts = Facts::gather(pdev, &core, info)?;
    let device = drm::UnregisteredDevice::<Driver>::new(pdev, Ok(()))?;

    debugfs::add(&device);

    // SAFETY: The caller stores it in what is dropped when the driver is unbound.
    unsafe { drm::Registration::new(pdev.as_ref(), device, Shared::new(core, facts), 0) }
}
