// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Test clients for the guest: what an application asks of the GPU, checked byte by byte.
//!
//! `vk-transfer` and `vk-cycle` are ordinary Vulkan applications, so they judge the whole stack:
//! Mesa's NVK, the kernel driver and the (emulated) GPU. `gpu-hostile` and `gpu-uapi` speak the
//! nouveau uAPI themselves, because no Vulkan implementation submits what they have to submit.
//! `gpu-soak` breaks the GPU and takes it away under such clients.
//!
//! `gpu-bench` measures, on any driver of that uAPI.
//!
//! `unsafe` stays in [`vk`] and [`uapi`], the two modules that talk to foreign code, in [`random`]
//! and [`starve`], which call with arguments of their own, and in the one instruction of [`meter`];
//! what is built on them is safe Rust.

pub mod bench;
pub mod hostile;
pub mod meter;
pub mod prng;
pub mod process;
pub mod random;
pub mod semantics;
pub mod soak;
pub mod starve;
pub mod transfer;
pub mod uapi;
pub mod vk;
