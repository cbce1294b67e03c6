// SPDX-License-Identifier: GPL-2.0 OR MIT

//! BAR0: which unit answers which register.
//!
//! [`MAP`] is the whole decode. A register that is in no row, or that its unit does not know, reads
//! zero, ignores writes, and is noted by address: a driver that waits for something shows up as a
//! note with a large count.
//!
//! Registers are 32 bits wide. Narrower reads take part of one. The PRI fabric has no byte enables,
//! so narrower writes reach units with the other bytes zero; only storage and memory windows merge.

use std::collections::BTreeMap;

use crate::boot::{self, FalconId};
use crate::chip::Arch;
use crate::falcon::Event;
use crate::gpu::Gpu;
use crate::vbios;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// BOOT_0.
    Boot0,
    /// BOOT_42.
    Boot42,
    /// Reads zero, ignores writes, on purpose.
    Zero,
    /// Reads what was written.
    Storage,
    /// Results of firmware that runs before the driver: scratch, GFW progress, WPR2.
    Boot,
    /// PRAMIN's window base.
    PraminBase,
    /// PTIMER.
    Timer,
    /// Fuse that says there is no display, on these generations.
    DisplayFuse(Arch),
    /// Configuration space.
    Config,
    /// Size of VRAM as Turing encodes it.
    FbSizeTuring,
    /// Size of VRAM in MiB.
    FbSize,
    /// A falcon.
    Falcon(FalconId),
    /// ROM.
    Prom,
    /// Window into VRAM.
    Pramin,
    /// Interrupt tree.
    Intr,
    /// TLB and fault registers.
    Mmu,
    /// Usermode page.
    Usermode,
}

/// First address, first address past the end, unit; in order.
const MAP: &[(u32, u32, Unit)] = &[
    (0x00_0000, 0x00_0004, Unit::Boot0),
    // BOOT_1: little-endian, not a virtual function.
    (0x00_0004, 0x00_0008, Unit::Zero),
    (0x00_0a00, 0x00_0a04, Unit::Boot42),
    (0x00_1438, 0x00_143c, Unit::Boot),
    (0x00_1454, 0x00_1458, Unit::Boot),
    (0x00_1700, 0x00_1704, Unit::PraminBase),
    (0x00_9000, 0x00_a000, Unit::Timer),
    (0x02_1c04, 0x02_1c08, Unit::DisplayFuse(Arch::Turing)),
    // Flush of posted writes: done as soon as asked for.
    (0x07_0000, 0x07_0004, Unit::Zero),
    (0x08_8000, 0x08_9000, Unit::Config),
    // System memory flush page.
    (0x10_0c10, 0x10_0c14, Unit::Storage),
    (0x10_0c40, 0x10_0c44, Unit::Storage),
    (0x10_0ce0, 0x10_0ce4, Unit::FbSizeTuring),
    // Straps: 27 MHz crystal.
    (0x10_1000, 0x10_1004, Unit::Zero),
    (0x11_0000, 0x11_2000, Unit::Falcon(FalconId::Gsp)),
    (0x11_8128, 0x11_812c, Unit::Boot),
    (0x11_8234, 0x11_8238, Unit::Boot),
    (0x11_83a4, 0x11_83a8, Unit::FbSize),
    (0x1f_a824, 0x1f_a82c, Unit::Boot),
    (0x30_0000, 0x40_0000, Unit::Prom),
    // VGA workspace: none.
    (0x62_5f04, 0x62_5f08, Unit::Zero),
    (0x70_0000, 0x80_0000, Unit::Pramin),
    (0x82_0c04, 0x82_0c08, Unit::DisplayFuse(Arch::Ampere)),
    // Fuse version counters of NVDEC, SEC2 and GSP microcode: nothing was revoked.
    (0x82_4100, 0x82_4200, Unit::Zero),
    (0x84_0000, 0x84_2000, Unit::Falcon(FalconId::Sec2)),
    (0xb8_1000, 0xb8_2000, Unit::Intr),
    (0xb8_3000, 0xb8_4000, Unit::Mmu),
    (0xbb_0000, 0xbc_0000, Unit::Usermode),
];

/// Base of PROM.
const PROM: u32 = 0x30_0000;
/// Base of PRAMIN.
const PRAMIN: u32 = 0x70_0000;
/// Base of the virtual function's registers.
const VF: u32 = 0xb8_0000;
/// Base of the usermode page.
pub const USERMODE: u32 = 0xbb_0000;
/// CFG0 of the usermode page: its class.
pub const USERMODE_CFG0: u32 = 0x00;
/// TIME_0 of the usermode page.
pub const USERMODE_TIME_0: u32 = 0x80;
/// TIME_1 of the usermode page.
pub const USERMODE_TIME_1: u32 = 0x84;
/// NOTIFY_CHANNEL_PENDING of the usermode page.
pub const USERMODE_DOORBELL: u32 = 0x90;

/// Registers that only remember; all of them are named in [`MAP`].
pub type Storage = BTreeMap<u32, u32>;

/// The unit of an address, and the row's first address.
fn unit(off: u32) -> Option<Unit> {
    let after = MAP.partition_point(|&(start, _, _)| start <= off);
    let &(_, end, unit) = MAP.get(after.checked_sub(1)?)?;
    (off < end).then_some(unit)
}

impl Gpu {
    /// Reads any number of bytes.
    pub(super) fn read_registers(&mut self, off: u64, buf: &mut [u8]) {
        let mut at = off as u32;
        let mut rest = buf;
        while !rest.is_empty() {
            let skip = (at % 4) as usize;
            let n = rest.len().min(4 - skip);
            let (part, tail) = rest.split_at_mut(n);
            if unit(at) == Some(Unit::Pramin) {
                self.hw.bars.pramin_read(&mut self.hw.env, u64::from(at - PRAMIN), part);
            } else {
                let word = self.read32(at & !3).to_le_bytes();
                part.copy_from_slice(&word[skip..skip + n]);
            }
            at = at.wrapping_add(n as u32);
            rest = tail;
        }
    }

    /// Writes any number of bytes.
    pub(super) fn write_registers(&mut self, off: u64, data: &[u8]) {
        let mut at = off as u32;
        let mut rest = data;
        while !rest.is_empty() {
            let skip = (at % 4) as usize;
            let (part, tail) = rest.split_at(rest.len().min(4 - skip));
            match unit(at) {
                Some(Unit::Pramin) => {
                    self.hw.bars.pramin_write(&mut self.hw.env, u64::from(at - PRAMIN), part);
                }
                Some(Unit::Config) => self.config_write(u64::from(at & 0xfff), part),
                unit => self.write_part(unit, at & !3, skip, part),
            }
            at = at.wrapping_add(part.len() as u32);
            rest = tail;
        }
    }

    fn write_part(&mut self, unit: Option<Unit>, at: u32, skip: usize, part: &[u8]) {
        let old = match unit {
            Some(Unit::Storage) => self.storage.get(&at).copied().unwrap_or(0),
            _ => 0,
        };
        let mut word = old.to_le_bytes();
        word[skip..skip + part.len()].copy_from_slice(part);
        if !self.write32(unit, at, u32::from_le_bytes(word)) {
            self.hw.env.judge.note(format!("bar0-write {at:#08x}"));
        }
    }

    fn read32(&mut self, off: u32) -> u32 {
        if let Some(value) = self.read_unit(off) {
            return value;
        }
        self.hw.env.judge.note(format!("bar0-read {off:#08x}"));
        0
    }

    fn read_unit(&mut self, off: u32) -> Option<u32> {
        let hw = &mut self.hw;
        match unit(off)? {
            Unit::Boot0 => Some(hw.chip.boot0),
            Unit::Boot42 => Some(hw.chip.boot42),
            Unit::Zero => Some(0),
            Unit::Storage => Some(self.storage.get(&off).copied().unwrap_or(0)),
            Unit::Boot => boot::read(hw, off),
            Unit::PraminBase => Some(hw.bars.pramin),
            Unit::Timer => hw.timer.read(&hw.env.clock, off & 0xfff),
            // One: fused off.
            Unit::DisplayFuse(arch) => has_fuse(arch, hw.chip.arch).then_some(1),
            Unit::Config => {
                let mut word = [0; 4];
                self.config.read(u64::from(off & 0xfff), &mut word, hw.intr.asserted());
                Some(u32::from_le_bytes(word))
            }
            Unit::FbSizeTuring => {
                (hw.chip.arch == Arch::Turing).then(|| turing_fb_size(hw.env.mem.vram_size()))
            }
            Unit::FbSize => {
                (hw.chip.arch != Arch::Turing).then_some((hw.env.mem.vram_size() >> 20) as u32)
            }
            Unit::Falcon(FalconId::Gsp) => hw.gsp_falcon.read(off & 0x1fff),
            Unit::Falcon(FalconId::Sec2) => hw.sec2.read(off & 0x1fff),
            Unit::Prom => Some(vbios::read(&hw.vbios, off - PROM)),
            Unit::Pramin => {
                let mut word = [0; 4];
                hw.bars.pramin_read(&mut hw.env, u64::from(off - PRAMIN), &mut word);
                Some(u32::from_le_bytes(word))
            }
            Unit::Intr => hw.intr.read(off - VF),
            Unit::Mmu => hw.mmu.read_reg(off),
            // Undefined offsets of the page read zero.
            Unit::Usermode => Some(match off - USERMODE {
                USERMODE_CFG0 => hw.chip.classes.usermode,
                USERMODE_TIME_0 => hw.timer.low(&hw.env.clock),
                USERMODE_TIME_1 => hw.timer.high(&hw.env.clock),
                _ => 0,
            }),
        }
    }

    /// Writes a register; false if nobody knows it.
    fn write32(&mut self, unit: Option<Unit>, off: u32, value: u32) -> bool {
        let Some(unit) = unit else { return false };
        let hw = &mut self.hw;
        match unit {
            Unit::Zero | Unit::Pramin | Unit::Config => true,
            Unit::Boot0
            | Unit::Boot42
            | Unit::Boot
            | Unit::DisplayFuse(_)
            | Unit::FbSizeTuring
            | Unit::FbSize
            | Unit::Prom => false,
            Unit::Storage => {
                self.storage.insert(off, value);
                true
            }
            Unit::PraminBase => {
                hw.bars.pramin = value;
                true
            }
            Unit::Timer => hw.timer.write(&hw.env.clock, off & 0xfff, value),
            Unit::Falcon(id) => {
                self.falcon_write(id, off & 0x1fff, value);
                true
            }
            Unit::Intr => hw.intr.write(off - VF, value),
            Unit::Mmu => hw.mmu.write_reg(&mut hw.env, off, value),
            Unit::Usermode => {
                if off - USERMODE == USERMODE_DOORBELL {
                    self.doorbell(value);
                }
                true
            }
        }
    }

    /// A work-submit token arrived.
    pub fn doorbell(&mut self, token: u32) {
        self.hw.host.doorbell(&mut self.hw.env, token);
    }

    fn falcon_write(&mut self, id: FalconId, off: u32, value: u32) {
        let hw = &mut self.hw;
        let falcon = match id {
            FalconId::Gsp => &mut hw.gsp_falcon,
            FalconId::Sec2 => &mut hw.sec2,
        };
        match falcon.write(&mut hw.env, off, value) {
            Some(Event::Start | Event::RiscvStart) => boot::run(self, id),
            Some(Event::Reset) => boot::reset(self, id),
            Some(Event::QueueHead) if id == FalconId::Gsp => self.gsp.doorbell(hw),
            Some(Event::RetriggerIntr) if id == FalconId::Gsp && hw.gsp_falcon.intr_pending() => {
                hw.intr.raise(&mut hw.env, hw.chip.gsp_vector);
            }
            _ => {}
        }
    }
}

/// Whether a chip of generation `chip` has the fuse of generation `fuse`; it moved after Turing.
fn has_fuse(fuse: Arch, chip: Arch) -> bool {
    (fuse == Arch::Turing) == (chip == Arch::Turing)
}

/// Mantissa in 9:4, exponent (of MiB) in 3:0.
fn turing_fb_size(bytes: u64) -> u32 {
    let mib = bytes >> 20;
    let exponent = (0..15).find(|e| mib >> e <= 0x3f).unwrap_or(15);
    (mib >> exponent & 0x3f) as u32 * 16 + exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_is_sorted_and_disjoint() {
        for pair in MAP.windows(2) {
            assert!(pair[0].0 < pair[0].1 && pair[0].1 <= pair[1].0, "{pair:x?}");
        }
        assert_eq!(unit(0xbb_0090), Some(Unit::Usermode));
        assert_eq!(unit(0x8), None);
        assert_eq!(unit(0xff_fffc), None);
    }

    #[test]
    fn turing_size_decodes_to_itself() {
        for mib in [1024u64, 4096, 6144, 11264, 24576] {
            let v = turing_fb_size(mib << 20);
            assert_eq!(u64::from(v >> 4 & 0x3f) << (v & 0xf), mib);
        }
    }
}
