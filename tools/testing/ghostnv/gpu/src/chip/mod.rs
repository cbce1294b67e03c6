// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One table a chip: everything that differs between chips is a field here.

mod ad102;
mod ga102;
mod tu102;

/// A GPU generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// TU10x.
    Turing,
    /// GA10x.
    Ampere,
    /// AD10x.
    Ada,
}

/// Class numbers (NVIDIA/open-gpu-doc `classes/`).
#[derive(Debug, Clone, Copy)]
pub struct Classes {
    /// GPFIFO channel.
    pub channel: u32,
    /// Usermode (doorbell) page.
    pub usermode: u32,
    /// Copy engine.
    pub copy: u32,
    /// 3D.
    pub three_d: u32,
    /// Compute.
    pub compute: u32,
    /// 2D.
    pub two_d: u32,
    /// Inline to memory.
    pub i2m: u32,
}

/// What a host-driven engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Graphics and compute.
    Graphics,
    /// A copy engine with its instance number.
    Copy(u8),
}

/// One host-driven engine.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// What it is.
    pub kind: EngineKind,
    /// `RM_ENGINE_TYPE` of the device info table (GR0 1, COPY0 9…); equals the NV2080 type here.
    pub rm_type: u32,
    /// Runlist; engines may share one (GR0 and its GRCEs).
    pub runlist: u32,
    /// MMU fault id.
    pub fault_id: u32,
    /// `MC_ENGINE_IDX` in the kernel interrupt table (CE0 15…, GR0 84).
    pub mc_idx: u16,
    /// Non-stall vector.
    pub nonstall: u32,
    /// Stall vector, or `u32::MAX` for none.
    pub stall: u32,
    /// Name in the device info table.
    pub name: &'static str,
}

/// One chip.
#[derive(Debug)]
pub struct Chip {
    /// Name on the command line (`ga102`) and of its firmware directory.
    pub name: &'static str,
    /// What RM calls it.
    pub marketing: &'static str,
    /// Generation.
    pub arch: Arch,
    /// BOOT_0.
    pub boot0: u32,
    /// BOOT_42.
    pub boot42: u32,
    /// PCI device id.
    pub device_id: u16,
    /// Class numbers.
    pub classes: Classes,
    /// Engines, in device-info order.
    pub engines: &'static [Engine],
    /// GPCs, each with its TPC mask.
    pub gpcs: &'static [u32],
    /// Interrupt vector of the GSP (stall).
    pub gsp_vector: u32,
    /// VRAM by default, MiB.
    pub vram_mib: u64,
}

/// All chips.
pub const CHIPS: &[&Chip] = &[&ga102::GA102, &tu102::TU102, &ad102::AD102];

impl Chip {
    /// Finds a chip by name.
    pub fn find(name: &str) -> Option<&'static Chip> {
        CHIPS.iter().copied().find(|c| c.name == name)
    }

    /// The engine with this RM engine type.
    pub fn engine(&self, rm_type: u32) -> Option<&'static Engine> {
        self.engines.iter().find(|e| e.rm_type == rm_type)
    }
}
