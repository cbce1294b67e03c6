// SPDX-License-Identifier: GPL-2.0

//! Host, the unit that fetches channels' commands, and what a channel needs to run on it.
//!
//! [`hardware`] is a channel with its memory, ready to be given work. The memory comes from a pool:
//! Vulkan makes and frees channels much more often than applications start, and what the GPU needs
//! for one is the same each time. [`context`] has the state of the graphics engine.

pub(crate) mod context;
pub(crate) mod hardware;
mod memory;

pub(crate) use memory::Pool;
