// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PCI configuration space: a type 0 header and its capabilities.
//!
//! The capabilities stand where GeForce boards have them: power management at 0x60, MSI at 0x68,
//! PCI Express at 0x78, a vendor-specific one at 0xb4. The class is "3D controller", because the
//! display fuse says that there are no heads. Boards of this kind have no MSI-X; it is offered at
//! 0xc8 all the same, with its table where the data-centre parts of the family have it, unless the
//! card is asked to do without.
//!
//! The first dword of the vendor-specific capability's payload is a *trace marker*: the number that
//! a guest writes there ends up in the trace, so that a test can say "from here". The three dwords
//! after it are the test port, see [`crate::gpu::port`].
//!
//! QEMU keeps BARs, MSI and MSI-X for the guest itself and passes on every write, so what is stored
//! here follows what the guest believes.

use crate::chip::{Arch, Chip};

/// Bytes of configuration space.
pub const SIZE: usize = 4096;
/// Bytes of BAR0.
pub const BAR0_SIZE: u64 = 16 << 20;
/// Bytes of BAR3.
pub const BAR3_SIZE: u64 = 32 << 20;
/// Where the MSI-X table is in BAR0 (`NV_VIRTUAL_FUNCTION_MSIX_TABLE`).
pub const MSIX_TABLE: u32 = 0xb9_0000;
/// Where the MSI-X pending bits are in BAR0.
pub const MSIX_PBA: u32 = 0xba_0000;
/// The trace marker.
pub const MARKER: usize = VENDOR + 4;

/// Test port: text for the next command.
pub const PORT_TEXT: usize = VENDOR + 8;
/// Test port: the command.
pub const PORT_COMMAND: usize = VENDOR + 12;
/// Test port: what the last command came to.
pub const PORT_ANSWER: usize = VENDOR + 16;

const COMMAND: usize = 0x04;
const PM: usize = 0x60;
const MSI: usize = 0x68;
const EXPRESS: usize = 0x78;
const VENDOR: usize = 0xb4;
const MSIX: usize = 0xc8;

const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
const STATUS_INTX: u8 = 1 << 3;
const DEVCTL_FLR: u8 = 1 << 7;

/// What a configuration write asks of the rest of the card.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    /// A trace marker was written.
    pub marker: Option<u32>,
    /// A function-level reset was asked for.
    pub flr: bool,
    /// Text for the test port was written.
    pub text: Option<u32>,
    /// A command of the test port was written.
    pub command: Option<u32>,
}

/// What boards of one chip differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of BAR1, a power of two.
    pub bar1: u64,
    /// Whether MSI-X is offered.
    pub msix: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { bar1: 256 << 20, msix: true }
    }
}

/// Configuration space.
pub struct Config {
    regs: Box<[u8; SIZE]>,
    /// Bits that a write changes.
    mask: Box<[u8; SIZE]>,
}

impl Config {
    /// As it is after reset.
    pub fn new(chip: &Chip, options: Options) -> Self {
        let mut c = Self { regs: Box::new([0; SIZE]), mask: Box::new([0; SIZE]) };
        c.header(chip, options.bar1);
        c.capabilities(chip);
        if options.msix {
            c.msix();
        }
        c
    }

    fn header(&mut self, chip: &Chip, bar1: u64) {
        self.set(0x00, 0x10de | u32::from(chip.device_id) << 16, 0);
        // Status: capabilities list. Command: memory, bus master, parity, SERR, INTx disable.
        self.set(COMMAND, 0x0010_0000, 0x0000_0546);
        self.set(0x08, 0x0302_0000 | chip.boot0 & 0xff, 0);
        self.set(0x0c, 0, 0xff);
        self.set(0x10, 0, !(BAR0_SIZE as u32 - 1));
        for (at, size) in [(0x14, bar1), (0x1c, BAR3_SIZE)] {
            // 64-bit, prefetchable.
            let mask = !(size - 1);
            self.set(at, 0xc, mask as u32);
            self.set(at + 4, 0, (mask >> 32) as u32);
        }
        self.set(0x2c, 0x1454_10de, 0);
        self.set(0x34, PM as u32, 0);
        // Interrupt pin A; the line register is scratch.
        self.set(0x3c, 0x0000_0100, 0xff);
    }

    fn capabilities(&mut self, chip: &Chip) {
        // Outside any capability: ROM shadow enable, and the MSI re-arm of older chips.
        self.set(0x50, 1, 1);
        self.set(0x704, 0, 0xffff_ffff);

        self.set(PM, 0x0003_0001 | (MSI as u32) << 8, 0);
        // PMCSR: no soft reset on the way out of D3hot.
        self.set(PM + 4, 0x0000_0008, 0x0000_0103);

        // One vector, 64-bit address, no masking.
        self.set(MSI, 0x0080_0005 | (EXPRESS as u32) << 8, 0x0001_0000);
        self.set(MSI + 4, 0, 0xffff_fffc);
        self.set(MSI + 8, 0, 0xffff_ffff);
        self.set(MSI + 12, 0, 0x0000_ffff);

        // Version 2, legacy endpoint.
        let speed = if chip.arch == Arch::Turing { 3 } else { 4 };
        self.set(EXPRESS, 0x0012_0010 | (VENDOR as u32) << 8, 0);
        // Function-level reset, role-based error reporting, extended tags, 256-byte payload.
        self.set(EXPRESS + 0x04, 0x1000_8021, 0);
        self.set(EXPRESS + 0x08, 0x0000_2810, 0x0000_7fff);
        self.set(EXPRESS + 0x0c, 0x0040_0100 | speed, 0);
        self.set(EXPRESS + 0x10, 0x1100_0000 | speed << 16, 0x0000_03fb);
        self.set(EXPRESS + 0x24, 0x0000_0012, 0);
        self.set(EXPRESS + 0x28, 0, 0x0000_041f);
        self.set(EXPRESS + 0x2c, (1 << (speed + 1)) - 2, 0);
        self.set(EXPRESS + 0x30, speed, 0x0000_001f);

        self.set(VENDOR, 0x0014_0009, 0);
        self.set(MARKER, 0, 0xffff_ffff);
        self.set(PORT_TEXT, 0, 0xffff_ffff);
        self.set(PORT_COMMAND, 0, 0xffff_ffff);
        self.set(PORT_ANSWER, 0, 0);
    }

    /// One vector; table and pending bits in BAR0.
    fn msix(&mut self) {
        self.set(VENDOR, 0x0014_0009 | (MSIX as u32) << 8, 0);
        self.set(MSIX, 0x0000_0011, 0xc000_0000);
        self.set(MSIX + 4, MSIX_TABLE, 0);
        self.set(MSIX + 8, MSIX_PBA, 0);
    }

    fn set(&mut self, at: usize, value: u32, mask: u32) {
        self.regs[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.mask[at..at + 4].copy_from_slice(&mask.to_le_bytes());
    }

    /// Reads; bytes past the end are zero.
    pub fn read(&self, offset: u64, buf: &mut [u8], intx: bool) {
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = usize::try_from(offset).unwrap_or(SIZE).saturating_add(i);
            *byte = self.regs.get(at).copied().unwrap_or(0);
            if at == COMMAND + 2 && intx {
                *byte |= STATUS_INTX;
            }
        }
    }

    /// Writes; read-only bits keep their value.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Effects {
        let mut effects = Effects::default();
        for (i, &byte) in data.iter().enumerate() {
            let at = usize::try_from(offset).unwrap_or(SIZE).saturating_add(i);
            let (Some(reg), Some(&mask)) = (self.regs.get_mut(at), self.mask.get(at)) else {
                break;
            };
            *reg = *reg & !mask | byte & mask;
            // The bit is not in the mask: it reads zero.
            effects.flr |= at == EXPRESS + 9 && byte & DEVCTL_FLR != 0;
            // The marker counts as written when its last byte is.
            if at == MARKER + 3 {
                effects.marker = Some(self.dword(MARKER));
            } else if at == PORT_TEXT + 3 {
                effects.text = Some(self.dword(PORT_TEXT));
            } else if at == PORT_COMMAND + 3 {
                effects.command = Some(self.dword(PORT_COMMAND));
            }
        }
        effects
    }

    /// Sets what the last command of the test port came to.
    pub fn answer(&mut self, value: u32) {
        self.set(PORT_ANSWER, value, 0);
    }

    fn dword(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(at as u64, &mut bytes, false);
        u32::from_le_bytes(bytes)
    }

    fn command(&self) -> u16 {
        self.dword(COMMAND) as u16
    }

    /// Whether the card may access guest memory.
    pub fn bus_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// Whether BARs answer: memory decoding is on and the card is in D0.
    pub fn decodes(&self) -> bool {
        self.command() & COMMAND_MEMORY != 0 && self.dword(PM + 4) & 3 == 0
    }

    /// Whether INTx may be asserted.
    pub fn intx_enabled(&self) -> bool {
        self.command() & COMMAND_INTX_DISABLE == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(msix: bool) -> Config {
        Config::new(Chip::find("ga102").unwrap(), Options { msix, ..Options::default() })
    }

    fn capabilities(c: &Config) -> Vec<(usize, u32)> {
        let mut at = c.dword(0x34) as usize & 0xff;
        let mut ids = Vec::new();
        while at != 0 {
            let head = c.dword(at);
            ids.push((at, head & 0xff));
            at = (head >> 8) as usize & 0xff;
        }
        ids
    }

    #[test]
    fn capability_chain_holds_what_the_drivers_look_for() {
        let chain = [(0x60, 1), (0x68, 5), (0x78, 0x10), (0xb4, 9), (0xc8, 0x11)];
        assert_eq!(capabilities(&config(true)), chain);
        assert_eq!(capabilities(&config(false)), chain[..4]);
        assert_eq!(config(false).dword(MSIX), 0);
    }

    #[test]
    fn bars_size_and_markers_mark() {
        let mut c = config(true);
        for (at, size) in [(0x10, 16 << 20), (0x14, 256 << 20), (0x1c, 32 << 20)] {
            c.write(at, &[0xff; 4]);
            let low = c.dword(at as usize);
            assert_eq!(!(low & !0xf) + 1, size);
        }
        assert_eq!(c.dword(0) as u16, 0x10de);
        c.write(0, &[0; 4]);
        assert_eq!(c.dword(0), 0x2204_10de);
        assert_eq!(c.write(MARKER as u64, &7u32.to_le_bytes()).marker, Some(7));
        assert_eq!(c.write(0x81, &[0xa8]), Effects { flr: true, ..Effects::default() });
        assert_eq!(c.dword(0x80) & 0xff00, 0x2800);
    }
}
