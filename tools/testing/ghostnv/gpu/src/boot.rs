// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the high-secure microcode does: FWSEC, booter_load, booter_unload.

use crate::gpu::Gpu;
use crate::machine::Machine;

/// Which falcon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FalconId {
    /// 0x110000.
    Gsp,
    /// 0x840000.
    Sec2,
}

/// A falcon's CPU was started ([`crate::falcon::Event::Start`]): runs it to its halt.
pub fn run(_gpu: &mut Gpu, _id: FalconId) {}

/// A falcon was reset ([`crate::falcon::Event::Reset`]); a GSP reset stops GSP-RM.
pub fn reset(_gpu: &mut Gpu, _id: FalconId) {}

/// Reads the registers that firmware before and below the driver leaves its results in:
/// 0x001438, 0x001454, 0x118128, 0x118234, 0x1fa824, 0x1fa828. None for any other.
pub fn read(_hw: &mut Machine, _off: u32) -> Option<u32> {
    None
}
