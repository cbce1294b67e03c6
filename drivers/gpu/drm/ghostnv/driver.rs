// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: the DMA mask, and what the module sets up.

//! Binding to the PCI function.
//!
//! Every NVIDIA display function is matched by class, because what tells whether a chip is
//! supported is in its registers, not in the 16-bit device ID of each board. A chip that is not for
//! this driver costs one line in the log and -ENODEV, which leaves the function to others.

use kernel::{
    device::Core,
    dma::{
        Device as _,
        DmaMask, //
    },
    driver::Registration,
    pci,
    pci::{
        Class,
        ClassMask,
        Vendor, //
    },
    prelude::*,
    InPlaceModule,
    ModuleMetadata, //
};

use crate::{
    gpu::Gpu,
    gsp::logs, //
};

/// Bus addresses that the GPUs from Turing to Ada can emit.
const DMA_MASK: DmaMask = DmaMask::new::<47>();

/// The module: the driver, and what outlives any GPU.
#[pin_data]
pub(crate) struct Module {
    #[pin]
    _driver: Registration<pci::Adapter<Driver>>,
    /// Dropped after the driver, as fields are in the order of their declaration.
    _logs: logs::Guard,
}

impl InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: A module is initialized once, and the driver is registered below.
        let logs = unsafe { logs::Guard::new() };

        try_pin_init!(Self {
            _driver <- Registration::new(<Self as ModuleMetadata>::NAME, module),
            _logs: logs,
        })
    }
}

/// The PCI driver.
pub(crate) struct Driver;

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [
        (
            pci::DeviceId::from_class_and_vendor(
                Class::DISPLAY_VGA,
                ClassMask::ClassSubclass,
                Vendor::NVIDIA
            ),
            ()
        ),
        (
            pci::DeviceId::from_class_and_vendor(
                Class::DISPLAY_3D,
                ClassMask::ClassSubclass,
                Vendor::NVIDIA
            ),
            ()
        ),
    ]
);

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Gpu<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            pdev.enable_device_mem()?;
            // SAFETY: Nothing has allocated DMA memory for this device yet; all that will do so
            // is created below.
            unsafe { pdev.dma_set_mask_and_coherent(DMA_MASK)? };
            Gpu::new(pdev)
        })
    }
}
