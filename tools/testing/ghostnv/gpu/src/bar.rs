// SPDX-License-Identifier: GPL-2.0 OR MIT

//! BAR1, BAR2 and PRAMIN: the CPU's windows.

use crate::env::Env;
use crate::env::mem::Phys;
use crate::mmu::Mmu;

/// Which translated window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// BAR1: the frame buffer aperture.
    Bar1,
    /// BAR2: the instance aperture (PCI BAR3).
    Bar2,
}

/// The windows' registers and page directories.
#[derive(Default)]
pub struct Bars {
    /// Page directory that BAR1 goes through; RM allocates it (static info `bar1PdeBase`).
    pub bar1: Option<Phys>,
    /// Page directory that BAR2 goes through; RM allocates it (static info `bar2PdeBase`).
    pub bar2: Option<Phys>,
    /// PRAMIN base register 0x001700.
    pub pramin: u32,
}

impl Bars {
    /// CPU read through a window. A fault reads as all ones and is a violation.
    pub fn read(&mut self, _env: &mut Env, _mmu: &mut Mmu, _w: Window, _off: u64, buf: &mut [u8]) {
        buf.fill(0xff);
    }

    /// CPU write through a window. A fault drops it and is a violation.
    pub fn write(&mut self, _env: &mut Env, _mmu: &mut Mmu, _w: Window, _off: u64, _buf: &[u8]) {}

    /// CPU read of PRAMIN (BAR0 0x700000..0x800000).
    pub fn pramin_read(&mut self, _env: &mut Env, _off: u64, buf: &mut [u8]) {
        buf.fill(0);
    }

    /// CPU write to PRAMIN.
    pub fn pramin_write(&mut self, _env: &mut Env, _off: u64, _buf: &[u8]) {}
}
