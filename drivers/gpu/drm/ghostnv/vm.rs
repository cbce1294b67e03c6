// SPDX-License-Identifier: GPL-2.0

//! Address spaces of the GPU.
//!
//! A [`Space`] is page tables and what the firmware needs to know of them; the kernel maps what
//! channels need into a part of it that is the kernel's. That is all for an address space of the
//! kernel's own.

mod space;

// For channels, which are not in yet.
#[allow(unused_imports)]
pub(crate) use space::{
    KernelMapping,
    Space, //
};
