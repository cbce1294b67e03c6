// SPDX-License-Identifier: GPL-2.0

//! GhostNV: a DRM driver for NVIDIA GPUs from Turing on.
//!
//! The driver is a client of the firmware that runs on the GPU's own system processor (GSP-RM). The
//! modules are the rooms of one house and data enters at the top: [`driver`] binds to the PCI
//! function, [`uapi`] takes the ioctls of its DRM device, and a [`file`](mod@file) is a client.
//! [`gpu`] names the chip, [`firmware`] and [`vbios`] deliver the images, [`falcon`] runs them on
//! the microcontrollers, [`mem`] divides video memory between them, [`gsp`] boots GSP-RM and talks
//! to it, woken by [`irq`], and [`rm`] has its objects. Calls go down, up go the types that DRM
//! asks for, and register offsets stay in [`regs`].

mod bytes;
mod channel;
mod driver;
mod falcon;
mod file;
mod firmware;
mod gem;
mod gpu;
mod gsp;
mod host;
mod irq;
mod mem;
mod mmu;
mod regs;
mod rm;
mod uapi;
mod vbios;
mod vm;

kernel::prelude::module! {
    type: driver::Module,
    name: "ghostnv",
    authors: ["GhostNV contributors"],
    description: "DRM driver for NVIDIA GPUs that run the GSP-RM firmware",
    license: "GPL",
    params: {
        job_timeout_ms: u32 {
            default: 2000,
            description: "How long a job may run before its channel is stopped, in ms (1 to 30000)",
        },
        rpc_timeout_ms: u32 {
            default: 5000,
            description: "How long the firmware may take to answer a call, in milliseconds",
        },
    },
}

kernel::module_firmware!(firmware::ModInfo);
