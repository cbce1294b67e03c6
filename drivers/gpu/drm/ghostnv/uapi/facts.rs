// SPDX-License-Identifier: GPL-2.0

//! What user space may ask about the GPU and what never changes, gathered once.

use kernel::{
    device::Bound,
    io::Io,
    pci,
    prelude::*, //
};

use crate::{
    gpu::Core,
    gsp::GpuInfo,
    regs,
    rm::graphics::Graphics, //
};

/// The GPU in numbers.
pub(crate) struct Facts {
    /// PCI vendor ID.
    pub(crate) pci_vendor: u16,
    /// PCI device ID.
    pub(crate) pci_device: u16,
    /// Revision of the chip.
    pub(crate) revision: u8,
    /// Bytes of BAR1.
    pub(crate) bar1_size: u64,
    /// Bytes of VRAM.
    pub(crate) vram_size: u64,
    /// Bytes of VRAM that the firmware leaves to the driver.
    pub(crate) vram_usable: u64,
    /// The graphics engine.
    pub(crate) graphics: Graphics,
    /// The GPU's name for people, in ASCII, the rest zeroes.
    pub(crate) name: [u8; 64],
}

impl Facts {
    /// Asks the firmware for what is not known yet.
    #[inline(never)]
    pub(crate) fn gather(
        pdev: &pci::Device<Bound>,
        core: &Core<'_>,
        info: &GpuInfo,
    ) -> Result<Self> {
        let mut name = [0; 64];

        // One byte stays zero.
        for (to, from) in name.iter_mut().take(63).zip(info.name().bytes()) {
            *to = from;
        }

        Ok(Self {
            pci_vendor: pdev.vendor_id().as_raw(),
            pci_device: pdev.device_id(),
            // CAST: The lowest byte is the revision.
            revision: core.hw().bar.read(regs::chip::BOOT_0).into_raw() as u8,
            bar1_size: pdev.resource_len(1)?,
            vram_size: info.vram,
            vram_usable: info.usable_bytes(),
            graphics: Graphics::query(&core.rm)?,
            name,
        })
    }

    /// Clusters of the graphics engine in the form that nouveau gives them: GPCs in the lowest
    /// byte, all TPCs above it.
    pub(crate) fn graph_units(&self) -> u64 {
        u64::from(self.graphics.tpcs) << 8 | u64::from(self.graphics.gpcs)
    }
}
