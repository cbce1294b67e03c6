// SPDX-License-Identifier: GPL-2.0

//! The GSP, the GPU's own processor, and the resource manager that runs on it.
//!
//! [`boot`] starts the firmware and stops it. Between the two, [`rpc`] is how the driver talks to
//! it: messages ([`wire`]) in two rings ([`queue`]), with interrupts ([`signal`]) instead of
//! polling, typed calls ([`commands`]) one way and [`events`] the other. Only [`abi`] knows the
//! layouts of a firmware release.

use kernel::{
    io::{
        register::WithBase,
        Io, //
    },
    prelude::*, //
};

use crate::{
    gpu::Hw,
    regs::falcon::{
        Gsp as Engine,
        QUEUE_HEAD, //
    },
};

pub(crate) mod abi;
mod boot;
mod buffer;
pub(crate) mod commands;
mod events;
mod history;
mod libos;
pub(crate) mod logs;
pub(crate) mod object;
mod pump;
mod queue;
mod radix3;
pub(crate) mod rpc;
mod sequencer;
mod signal;
mod status;
mod wire;
mod wpr;

pub(crate) use boot::Gsp;
pub(crate) use commands::GpuInfo;

/// Tells the firmware that there is something in the command ring.
fn doorbell(hw: Hw<'_>) {
    hw.bar.write(
        QUEUE_HEAD::of::<Engine>().at(0),
        QUEUE_HEAD::zeroed().with_value(0),
    );
}
