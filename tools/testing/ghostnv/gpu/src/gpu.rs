// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The whole card: silicon, firmware, and its PCI function.
//!
//! This is what the bus talks to. Accesses arrive as bytes at an offset of a BAR; between messages
//! [`Gpu::step`] gives the engines and the firmware a slice of time. Which register belongs to which
//! unit is one table, in [`bar0`].

pub mod bar0;
pub mod port;

use crate::bar::Window;
use crate::bus::pci::{Config, Effects, Options};
use crate::env::trace::Kind;
use crate::gsp::Gsp;
use crate::host::{Ctx, Step};
use crate::machine::Machine;

/// The card.
pub struct Gpu {
    /// Silicon.
    pub hw: Machine,
    /// Firmware.
    pub gsp: Gsp,
    /// PCI configuration space.
    pub config: Config,
    /// What kind of board it is.
    pub options: Options,
    /// Registers that only remember.
    storage: bar0::Storage,
    /// The card was pulled out.
    unplugged: bool,
    /// When (ns) it is put in again.
    back_at: Option<u64>,
    /// Text that the test port has for its next command.
    text: Vec<u8>,
    /// Scripts that it refused.
    refused: u64,
}

impl Gpu {
    /// A card just after power-on.
    pub fn new(hw: Machine) -> Self {
        Self::with_options(hw, Options::default())
    }

    /// A card on a board of this kind.
    pub fn with_options(hw: Machine, options: Options) -> Self {
        let config = Config::new(hw.chip, options);
        Self {
            hw,
            gsp: Gsp::default(),
            config,
            options,
            storage: bar0::Storage::default(),
            unplugged: false,
            back_at: None,
            text: Vec::new(),
            refused: 0,
        }
    }

    /// Function-level reset: everything but memory contents, DMA maps and the record of the run.
    pub fn reset(&mut self) {
        self.gsp.reset();
        self.hw.reset();
        self.storage = bar0::Storage::default();
        self.config = Config::new(self.hw.chip, self.options);
        self.hw.env.mem.bus_master = false;
    }

    /// Whether the card is in its slot.
    fn present(&mut self) -> bool {
        if self.back_at.is_some_and(|at| at <= self.hw.env.clock.ns()) {
            self.back_at = None;
            self.unplugged = false;
            // It was without power.
            self.reset();
        }
        !self.unplugged
    }

    /// Pulls the card out, if that is what a fault asks for now.
    fn unplug(&mut self) {
        let now = self.hw.env.clock.ns();
        if let Some(back) = self.hw.env.faults.unplug(now) {
            self.unplugged = true;
            self.back_at = (back != 0).then(|| now.saturating_add(back.saturating_mul(1_000_000)));
        }
    }

    /// Whether BARs answer; a card that is gone or asleep reads as all ones.
    fn answers(&mut self) -> bool {
        self.present() && self.config.decodes()
    }

    /// CPU read of BAR0.
    pub fn bar0_read(&mut self, off: u64, buf: &mut [u8]) {
        if !self.answers() || self.hw.env.faults.all_ones() {
            buf.fill(0xff);
        } else {
            self.read_registers(off, buf);
            let word = if buf.len() == 4 { self.hw.env.faults.register(off) } else { None };
            if let Some(word) = word {
                buf.copy_from_slice(&word.to_le_bytes());
            }
        }
        self.trace(Kind::RegRead, off, buf);
    }

    /// CPU write of BAR0.
    pub fn bar0_write(&mut self, off: u64, data: &[u8]) {
        self.trace(Kind::RegWrite, off, data);
        if self.answers() {
            self.write_registers(off, data);
        }
    }

    /// CPU read of BAR1 or BAR2.
    pub fn window_read(&mut self, window: Window, off: u64, buf: &mut [u8]) {
        if self.answers() {
            let hw = &mut self.hw;
            hw.bars.read(&mut hw.env, &mut hw.mmu, window, off, buf);
        } else {
            buf.fill(0xff);
        }
        let kind = if window == Window::Bar1 { Kind::Bar1Read } else { Kind::Bar2Read };
        self.trace(kind, off, buf);
    }

    /// CPU write of BAR1 or BAR2.
    pub fn window_write(&mut self, window: Window, off: u64, data: &[u8]) {
        let kind = if window == Window::Bar1 { Kind::Bar1Write } else { Kind::Bar2Write };
        self.trace(kind, off, data);
        if self.answers() {
            let hw = &mut self.hw;
            hw.bars.write(&mut hw.env, &mut hw.mmu, window, off, data);
        }
    }

    fn trace(&mut self, kind: Kind, off: u64, data: &[u8]) {
        let mut word = [0; 8];
        let n = data.len().min(8);
        word[..n].copy_from_slice(&data[..n]);
        let (size, value) = (data.len().min(255) as u8, u64::from_le_bytes(word));
        let env = &mut self.hw.env;
        let (a, b, c) = match kind {
            Kind::RegRead | Kind::RegWrite | Kind::ConfigWrite => (off as u32, value, 0),
            _ => (0, off, value),
        };
        env.trace.record(env.clock.ns(), kind, size, a, b, c);
    }

    /// Read of configuration space.
    pub fn config_read(&mut self, off: u64, buf: &mut [u8]) {
        if !self.present() {
            buf.fill(0xff);
        } else {
            self.config.read(off, buf, self.hw.intr.asserted());
        }
    }

    /// Write of configuration space.
    pub fn config_write(&mut self, off: u64, data: &[u8]) {
        self.trace(Kind::ConfigWrite, off, data);
        if !self.present() {
            return;
        }
        let Effects { marker, flr, text, command } = self.config.write(off, data);
        self.hw.env.mem.bus_master = self.config.bus_master();
        if let Some(number) = marker {
            self.marker(number);
        }
        if let Some(word) = text {
            self.port_text(word);
        }
        if let Some(command) = command {
            self.port_command(command);
        }
        if flr {
            self.reset();
        }
    }

    /// The guest marks a point in the trace.
    fn marker(&mut self, number: u32) {
        let env = &mut self.hw.env;
        let now = env.clock.ns();
        env.trace.marker(now, number, env.mem.dma_read, env.mem.dma_written);
        env.faults.marker(number);
        self.unplug();
    }

    /// A slice of work for engines and firmware, of about `budget` nanoseconds.
    pub fn step(&mut self, budget: u64) -> Step {
        if !self.hw.env.faults.is_empty() {
            self.unplug();
        }
        if !self.present() {
            return Step::Idle;
        }
        let hw = &mut self.hw;
        let step = hw.host.step(
            &mut Ctx { env: &mut hw.env, mmu: &mut hw.mmu, intr: &mut hw.intr, timer: &hw.timer },
            budget,
        );
        self.gsp.step(hw);
        step
    }

    /// Time at which [`Gpu::step`] has something to do even if nobody asks, in nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        [self.gsp.deadline(), self.back_at].into_iter().flatten().min()
    }

    /// Whether an MSI is to be sent now; asking counts as sending.
    pub fn take_msi(&mut self) -> bool {
        let env = &mut self.hw.env;
        if !self.hw.intr.take_msi() || self.unplugged || env.faults.drop_msi() {
            return false;
        }
        env.trace.record(env.clock.ns(), Kind::Msi, 0, 0, 0, 0);
        true
    }

    /// The level of INTx.
    pub fn intx(&self) -> bool {
        !self.unplugged && self.config.intx_enabled() && self.hw.intr.asserted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::CHIPS;
    use crate::env::Env;
    use crate::env::fault::FaultPlan;

    fn gpu(name: &str, faults: &str) -> Gpu {
        let chip = CHIPS.iter().find(|c| c.name == name).unwrap();
        let mut env = Env::new(1 << 30).unwrap();
        env.faults = FaultPlan::parse(faults).unwrap();
        let mut gpu = Gpu::new(Machine::new(chip, env, None));
        gpu.config_write(4, &[6, 0]);
        gpu
    }

    fn read(gpu: &mut Gpu, off: u64) -> u32 {
        let mut b = [0; 4];
        gpu.bar0_read(off, &mut b);
        u32::from_le_bytes(b)
    }

    #[test]
    fn identity_and_sizes_by_chip() {
        for (chip, boot0, fb, size) in [
            ("ga102", 0x1720_00a1, 0x1183a4, 0x400),
            ("ad102", 0x1920_00a1, 0x1183a4, 0x400),
            ("tu102", 0x1620_00a1, 0x100ce0, 0x205),
        ] {
            let mut g = gpu(chip, "");
            assert_eq!(read(&mut g, 0), boot0);
            assert_eq!(read(&mut g, fb), size, "{chip}");
            assert_eq!(read(&mut g, 0x88000) as u16, 0x10de);
            // Byte and quadword accesses.
            let mut wide = [0; 8];
            g.bar0_read(0, &mut wide);
            assert_eq!(u64::from_le_bytes(wide), u64::from(boot0));
            let mut byte = [0];
            g.bar0_read(3, &mut byte);
            assert_eq!(u32::from(byte[0]), boot0 >> 24);
        }
    }

    #[test]
    fn unknown_registers_are_noted_and_storage_remembers() {
        let mut g = gpu("ga102", "");
        assert_eq!(read(&mut g, 0x6013d4), 0);
        assert_eq!(g.hw.env.judge.notes.get("bar0-read 0x6013d4"), Some(&1));
        g.bar0_write(0x100c10, &0x1234_5678u32.to_le_bytes());
        g.bar0_write(0x100c11, &[0xff]);
        assert_eq!(read(&mut g, 0x100c10), 0x1234_ff78);
        g.reset();
        g.config_write(4, &[6, 0]);
        assert_eq!(read(&mut g, 0x100c10), 0);
    }

    #[test]
    fn a_card_that_does_not_decode_or_is_gone_reads_all_ones() {
        let mut g = gpu("ga102", "[[fault]]\nkind = \"unplug\"\nmarker = 9\n");
        g.config_write(4, &[0, 0]);
        assert_eq!(read(&mut g, 0), !0);
        assert!(!g.hw.env.mem.bus_master);
        g.config_write(4, &[6, 0]);
        assert_eq!(read(&mut g, 0), 0x1720_00a1);
        g.config_write(0xb8, &9u32.to_le_bytes());
        assert_eq!(read(&mut g, 0), !0);
        let mut id = [0; 4];
        g.config_read(0, &mut id);
        assert_eq!(id, [0xff; 4]);
    }

    #[test]
    fn all_ones_and_lost_messages() {
        let mut g = gpu(
            "ga102",
            "[[fault]]\nkind = \"all-ones\"\nnth = 2\ncount = 1\n[[fault]]\nkind = \"drop-msi\"\n",
        );
        let got: Vec<_> = (0..3).map(|_| read(&mut g, 0)).collect();
        assert_eq!(got, [0x1720_00a1, !0, 0x1720_00a1]);
        g.bar0_write(0xb81200, &[2, 0, 0, 0]);
        g.bar0_write(0xb81608, &[1, 0, 0, 0]);
        for sent in [false, true] {
            g.hw.intr.raise(&mut g.hw.env, 1);
            assert_eq!(g.take_msi(), sent);
            g.bar0_write(0xb81000, &[2, 0, 0, 0]);
        }
    }
}
