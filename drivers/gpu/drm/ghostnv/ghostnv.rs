// SPDX-License-Identifier: GPL-2.0

//! GhostNV: a DRM driver for NVIDIA GPUs from Turing on.
//!
//! It binds to no device yet. The module exists so that the graft onto a kernel tree, the build,
//! the lints and the test bench are in place before the driver is.

use kernel::prelude::*;

module! {
    type: GhostNv,
    name: "ghostnv",
    authors: ["GhostNV contributors"],
    description: "GhostNV",
    license: "GPL",
}

struct GhostNv;

impl kernel::Module for GhostNv {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("loaded; binds to no device yet\n");
        Ok(Self)
    }
}
