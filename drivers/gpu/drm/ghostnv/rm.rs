// SPDX-License-Identifier: GPL-2.0

//! GSP-RM's objects as values that own them.
//!
//! GSP-RM keeps a tree: a client, its device (the GPU), the device's subdevice, and below these
//! address spaces, channels, and the objects of engines on channels. Here a value stands for each
//! of them, and dropping the value frees the object. A value keeps those alive that its object
//! needs, so nothing is freed in the wrong order.
//!
//! The driver is one client, whatever number of files is open: a process gets an address space,
//! which is what separates it from others, and so costs one object instead of four.
//!
//! Facts: open-gpu-kernel-modules 570.144, `rs_server.c`, `rmapi.h`.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

use crate::gsp::{
    abi::{
        class,
        ClientParams,
        DeviceParams,
        SubdeviceParams, //
    },
    object::{
        Alloc,
        Class,
        Control,
        ControlCall,
        Free, //
    },
    rpc::Link,
    GpuInfo, //
};

pub(crate) mod channel;
pub(crate) mod context;
pub(crate) mod engines;
pub(crate) mod graphics;
pub(crate) mod ids;
pub(crate) mod vaspace;

use ids::Ids;

/// The driver's client. GSP-RM takes client handles of this form only.
const CLIENT: u32 = 0xc1d0_0001;
/// Its device.
const DEVICE: u32 = 0x5d00_0000;
/// Its subdevice.
const SUBDEVICE: u32 = 0x5d00_0001;
/// Handles of all else.
const FIRST_HANDLE: u32 = 0x6000_0000;
const LAST_HANDLE: u32 = 0x6fff_ffff;
/// Numbers of channels; the firmware keeps channel 0 for itself.
const FIRST_CHANNEL: u32 = 1;
const LAST_CHANNEL: u32 = 2047;

struct NewClient;

impl Class for NewClient {
    const NAME: &'static str = "NV01_ROOT";
    type Params = ClientParams;

    fn class(&self) -> u32 {
        class::CLIENT
    }

    fn fill(&self, params: &mut ClientParams) {
        params.client = CLIENT;
        // The kernel, and no process.
        params.process_id = u32::MAX;
    }
}

struct NewDevice;

impl Class for NewDevice {
    const NAME: &'static str = "NV01_DEVICE_0";
    type Params = DeviceParams;

    fn class(&self) -> u32 {
        class::DEVICE
    }

    fn fill(&self, params: &mut DeviceParams) {
        params.client_share = CLIENT;
    }
}

struct NewSubdevice;

impl Class for NewSubdevice {
    const NAME: &'static str = "NV20_SUBDEVICE_0";
    type Params = SubdeviceParams;

    fn class(&self) -> u32 {
        class::SUBDEVICE
    }

    fn fill(&self, _: &mut SubdeviceParams) {}
}

/// The driver's client with its device and subdevice.
///
/// Shared by all that have objects below it. Calls may be made from any process context.
#[pin_data(PinnedDrop)]
pub(crate) struct Root<'bound> {
    link: Arc<Link<'bound>>,
    /// Client and subdevice that the firmware's internal controls go to.
    internal: (u32, u32),
    #[pin]
    handles: Mutex<Ids>,
    #[pin]
    channel_ids: Mutex<Ids>,
}

impl<'bound> Root<'bound> {
    /// Makes the client.
    pub(crate) fn new(link: Arc<Link<'bound>>, info: &GpuInfo) -> Result<Arc<Self>> {
        let [client, _, subdevice] = info.internal;
        let handles = Ids::new(FIRST_HANDLE..=LAST_HANDLE);
        let channel_ids = Ids::new(FIRST_CHANNEL..=LAST_CHANNEL);

        link.call(&Alloc {
            client: CLIENT,
            parent: CLIENT,
            object: CLIENT,
            class: &NewClient,
        })?;
        // From here on dropping frees the client and all below it.
        let root = Arc::pin_init(
            pin_init!(Self {
                link,
                internal: (client, subdevice),
                handles <- new_mutex!(handles),
                channel_ids <- new_mutex!(channel_ids),
            }),
            GFP_KERNEL,
        )?;
        root.link.call(&Alloc {
            client: CLIENT,
            parent: CLIENT,
            object: DEVICE,
            class: &NewDevice,
        })?;
        root.link.call(&Alloc {
            client: CLIENT,
            parent: DEVICE,
            object: SUBDEVICE,
            class: &NewSubdevice,
        })?;
        Ok(root)
    }

    /// Handle of the client.
    pub(crate) const fn client(&self) -> u32 {
        CLIENT
    }

    /// Makes an object below the device.
    pub(crate) fn alloc<C: Class>(root: &Arc<Self>, class: &C) -> Result<Object<'bound>> {
        Object::new(root.clone(), DEVICE, class)
    }

    /// Gives a handle back, if it was the driver's choice.
    fn give_back(&self, handle: u32) {
        if (FIRST_HANDLE..=LAST_HANDLE).contains(&handle) {
            self.handles.lock().give_back(handle);
        }
    }

    fn call<C: Control>(&self, client: u32, object: u32, control: &C) -> Result<C::Reply> {
        self.link.call(&ControlCall {
            client,
            object,
            control,
        })
    }

    /// Controls the device.
    pub(crate) fn control_device<C: Control>(&self, control: &C) -> Result<C::Reply> {
        self.call(CLIENT, DEVICE, control)
    }

    /// Controls the subdevice.
    pub(crate) fn control_subdevice<C: Control>(&self, control: &C) -> Result<C::Reply> {
        self.call(CLIENT, SUBDEVICE, control)
    }

    /// Controls the firmware's own subdevice, which has what no client may ask.
    pub(crate) fn control_internal<C: Control>(&self, control: &C) -> Result<C::Reply> {
        let (client, subdevice) = self.internal;
        self.call(client, subdevice, control)
    }
}

#[pinned_drop]
impl PinnedDrop for Root<'_> {
    fn drop(self: Pin<&mut Self>) {
        // What failed has been said; a firmware that is dead has no objects.
        let _ = self.link.call(&Free {
            client: CLIENT,
            object: CLIENT,
        });
    }
}

/// An object, freed when it is dropped.
pub(crate) struct Object<'bound> {
    root: Arc<Root<'bound>>,
    /// 0 once it has been freed.
    handle: u32,
}

impl<'bound> Object<'bound> {
    /// Makes an object below the object that has the handle `parent`.
    fn new<C: Class>(root: Arc<Root<'bound>>, parent: u32, class: &C) -> Result<Self> {
        let handle = match class.handle() {
            Some(handle) => handle,
            None => root.handles.lock().take()?,
        };
        let alloc = Alloc {
            client: CLIENT,
            parent,
            object: handle,
            class,
        };
        match root.link.call(&alloc) {
            Ok(()) => Ok(Self { root, handle }),
            Err(e) => {
                // A call without an answer may have made the object nonetheless.
                if !root.link.lost().is_set() {
                    root.give_back(handle);
                }
                Err(e)
            }
        }
    }

    /// Makes an object below this one. The caller sees to it that this one lives longer.
    pub(crate) fn alloc_below<C: Class>(&self, class: &C) -> Result<Object<'bound>> {
        Object::new(self.root.clone(), self.handle, class)
    }

    /// Its handle.
    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// The client it belongs to.
    pub(crate) fn root(&self) -> &Arc<Root<'bound>> {
        &self.root
    }

    /// Controls it.
    pub(crate) fn control<C: Control>(&self, control: &C) -> Result<C::Reply> {
        self.root.call(CLIENT, self.handle, control)
    }

    /// Frees it, as dropping does, and says whether the firmware agreed.
    pub(crate) fn free(mut self) -> Result {
        self.free_once()
    }

    fn free_once(&mut self) -> Result {
        let handle = core::mem::take(&mut self.handle);
        if handle == 0 {
            return Ok(());
        }
        // The handle of an object that may still be there must not be used again.
        self.root.link.call(&Free {
            client: CLIENT,
            object: handle,
        })?;
        self.root.give_back(handle);
        Ok(())
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // What failed has been said.
        let _ = self.free_once();
    }
}
