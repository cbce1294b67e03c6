// SPDX-License-Identifier: GPL-2.0

//! The registers of BAR0, and the only place that knows their offsets.
//!
//! One module a unit. The names are those of NVIDIA's published manuals
//! (`github.com/NVIDIA/open-gpu-doc`, and `src/common/inc/swref/published` in
//! `github.com/NVIDIA/open-gpu-kernel-modules`) without their `NV_` and unit prefix, so that a
//! register found in a trace or in another driver is found here by its name. A register that moved
//! between generations stands in a module named after the first chip that has it there; only HALs
//! name those modules.

use kernel::{
    pci,
    sizes::SZ_16M, //
};

pub(crate) mod chip;
pub(crate) mod falcon;
pub(crate) mod host;
pub(crate) mod intr;
pub(crate) mod memory;
pub(crate) mod mmu;
pub(crate) mod timer;

/// Size of the register aperture of every supported GPU.
pub(crate) const BAR0_SIZE: usize = SZ_16M;

/// The register aperture, borrowed from the device that owns the mapping.
pub(crate) type Bar0<'a> = &'a pci::Bar<'a, BAR0_SIZE>;
