// SPDX-License-Identifier: GPL-2.0

//! Channels: how work gets to an engine of the GPU, and how its completion gets back.

pub(crate) mod fence;
pub(crate) mod job;
pub(crate) mod memory;
pub(crate) mod queue;
pub(crate) mod ring;
pub(crate) mod waits;
