// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The silicon below the firmware, as one value that units can be handed.
//!
//! [`crate::gpu::Gpu`] is this plus the GSP's software. The GSP gets `&mut Machine`: firmware may
//! touch all of the chip. Units below get only what they need.

use crate::bar::Bars;
use crate::boot;
use crate::chip::Chip;
use crate::env::Env;
use crate::falcon::Falcon;
use crate::firmware::FirmwareSet;
use crate::host::Host;
use crate::intr::Intr;
use crate::mmu::Mmu;
use crate::timer::Timer;

/// The write-protected region at the top of VRAM, as the high-secure microcode left it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wpr2 {
    /// First byte, or 0 when there is none.
    pub lo: u64,
    /// First byte past it, or 0 when there is none.
    pub hi: u64,
}

/// The chip.
pub struct Machine {
    /// Its table.
    pub chip: &'static Chip,
    /// Memory, judge, trace, faults, clock.
    pub env: Env,
    /// Firmware files that what the driver loads is compared with; none skips the comparison.
    pub firmware: Option<FirmwareSet>,
    /// ROM image behind the PROM window.
    pub vbios: Vec<u8>,
    /// PTIMER.
    pub timer: Timer,
    /// CPU interrupt tree.
    pub intr: Intr,
    /// GSP falcon and RISC-V core.
    pub gsp_falcon: Falcon,
    /// SEC2 falcon.
    pub sec2: Falcon,
    /// Write-protected region 2.
    pub wpr2: Wpr2,
    /// What firmware below the driver left in scratch registers.
    pub boot: boot::State,
    /// Page tables and TLB.
    pub mmu: Mmu,
    /// BAR1, BAR2 and PRAMIN windows.
    pub bars: Bars,
    /// Channels and runlists.
    pub host: Host,
}

impl Machine {
    /// A chip just after power-on.
    pub fn new(chip: &'static Chip, env: Env, firmware: Option<FirmwareSet>) -> Self {
        Self {
            chip,
            env,
            firmware,
            vbios: crate::vbios::build(chip),
            timer: Timer::default(),
            intr: Intr::default(),
            gsp_falcon: Falcon::gsp(chip),
            sec2: Falcon::sec2(chip),
            wpr2: Wpr2::default(),
            boot: boot::State::default(),
            mmu: Mmu::default(),
            bars: Bars::default(),
            host: Host::new(chip),
        }
    }

    /// Function-level reset: units forget, memory and the record of the run stay.
    pub fn reset(&mut self) {
        self.timer = Timer::default();
        self.intr = Intr::default();
        self.gsp_falcon = Falcon::gsp(self.chip);
        self.sec2 = Falcon::sec2(self.chip);
        self.wpr2 = Wpr2::default();
        self.env.mem.protected = 0..0;
        self.boot = boot::State::default();
        self.mmu = Mmu::default();
        self.bars = Bars::default();
        self.host = Host::new(self.chip);
    }

    /// The GSP tells the CPU that its message queue has something (SWGEN0).
    pub fn gsp_interrupt(&mut self) {
        if self.gsp_falcon.post_swgen0() {
            self.intr.raise(&mut self.env, self.chip.gsp_vector);
        }
    }
}
