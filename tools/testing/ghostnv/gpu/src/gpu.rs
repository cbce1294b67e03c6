// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The whole card: BAR0 decode and the order in which units run.

use crate::gsp::Gsp;
use crate::machine::Machine;

/// The card.
pub struct Gpu {
    /// Silicon.
    pub hw: Machine,
    /// Firmware.
    pub gsp: Gsp,
}
