// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Suspend and resume.
//!
//! Real RM saves its part of VRAM to system memory that the driver lends it (FBSR), and booter
//! restores it. Here VRAM and RM's objects simply stay, and what the chip would lose, channels and
//! the roots of address spaces, is kept beside them. The calls are checked all the same.

use super::vaspace::VaSpace;
use super::{Body, Control, Key, Kind, Rm, bad_params};
use crate::gsp::bytes::{put_u8, u8_at, u32_at, u64_at};
use crate::gsp::function::Outcome;
use crate::host::Host;
use crate::machine::Machine;

/// NV2080_CTRL_GPU_SET_POWER_STATE_GPU_LEVEL_3: suspend.
pub const LEVEL_SUSPEND: u32 = 3;

/// Controls of power management.
pub const CONTROLS: &[Control] = &[
    Control { cmd: 0x0080_1306, on: Kind::Device, size: 80, run: compbit_store_info },
    Control { cmd: 0x2080_0a6f, on: Kind::Subdevice, size: 1, run: accept },
    Control { cmd: 0x2080_0ac2, on: Kind::Subdevice, size: 24, run: fbsr_init },
    Control { cmd: 0x2080_0ac3, on: Kind::Subdevice, size: 1, run: toggle_scheduling },
    Control { cmd: 0x2080_a7d7, on: Kind::Subdevice, size: 2, run: gcx_prerequisite },
];

impl Rm {
    /// The GPU is going to lose its power.
    pub fn suspend(&mut self, hw: &mut Machine) {
        for space in self.spaces() {
            space.root = hw.mmu.vas_root(space.id);
        }
        self.host = Some(std::mem::replace(&mut hw.host, Host::new(hw.chip)));
    }

    /// Power is back, memory as it was.
    pub fn resume(&mut self, hw: &mut Machine) {
        self.vram.attach_bars(hw);
        for space in self.spaces() {
            hw.mmu.vas_restore(space.id, space.root.take());
        }
        if let Some(host) = self.host.take() {
            hw.host = host;
        }
    }

    fn spaces(&mut self) -> impl Iterator<Item = &mut VaSpace> {
        self.objects.values_mut().filter_map(|object| match &mut object.body {
            Body::VaSpace(space) => Some(space),
            _ => None,
        })
    }

    fn run_channels(&mut self, hw: &mut Machine, enable: bool) {
        for channel in self.channels() {
            channel.run(hw, enable);
        }
    }
}

/// There is no compression, so there is no store of compression bits to save.
fn compbit_store_info(_: &mut Rm, _: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    params.fill(0);
    Ok(())
}

fn accept(_: &mut Rm, _: &mut Machine, _: Key, _: &mut [u8]) -> Outcome {
    Ok(())
}

fn fbsr_init(rm: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    let key = (u32_at(params, 0), u32_at(params, 4));
    let kind = rm.kind(hw, key)?;
    if kind != Kind::Memory || u64_at(params, 16) == 0 {
        return bad_params(hw, format!("FBSR into a {kind:?}"));
    }
    Ok(())
}

fn toggle_scheduling(rm: &mut Rm, hw: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    rm.run_channels(hw, u8_at(params, 0) == 0);
    Ok(())
}

/// GCOFF, which keeps nothing but what was saved, is always possible. GC6 would keep VRAM alive from
/// another rail, which a desktop card does not have.
fn gcx_prerequisite(_: &mut Rm, _: &mut Machine, _: Key, params: &mut [u8]) -> Outcome {
    put_u8(params, 0, 0);
    put_u8(params, 1, 1);
    Ok(())
}
