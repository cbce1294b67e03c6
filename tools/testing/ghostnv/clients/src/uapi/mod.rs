// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The nouveau uAPI, spoken directly: for submissions that no Vulkan implementation makes.
//!
//! It is also the uAPI of GhostNV, so what is built on it runs on both.

pub mod abi;
pub mod calls;
mod client;
pub mod prime;
pub mod push;
pub mod raw;
mod submit;

pub use client::{Bo, Channel, Client, Engine, FenceStatus, Syncobj, is_dead};
pub use submit::Wait;
