// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Falcon microcontrollers: registers, code and data memory, DMA, and the RISC-V core beside them.
//!
//! The model executes no falcon code. It keeps every byte that the driver loads and what the boot
//! ROM was told, and [`crate::boot`] decides from those what a started falcon does. From GA102 on
//! an engine has a falcon and a RISC-V core of which BCR_CTRL selects one, memory is loaded by DMA,
//! and the boot ROM takes its parameters from registers; Turing loads by PIO and has none of that.

mod dma;
mod memory;

#[cfg(test)]
mod tests;

pub use memory::{BLOCK, Memory, Tag};

use crate::chip::{Arch, Chip};
use crate::env::Env;
use dma::Dma;

/// What a register write asks of the units around the falcon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// CPUCTL.STARTCPU: [`crate::boot::run`] decides what runs.
    Start,
    /// The RISC-V core's CPUCTL start bit.
    RiscvStart,
    /// GSP queue doorbell (QUEUE_HEAD 0).
    QueueHead,
    /// The engine was reset: [`crate::boot::reset`].
    Reset,
    /// INTR_RETRIGGER: raise the vector again if an enabled cause is still pending.
    RetriggerIntr,
}

/// IRQSTAT bit of SWGEN0, the firmware's signal to the CPU.
const SWGEN0: u32 = 1 << 6;
/// IRQSTAT bit that a halt sets.
const IRQ_HALT: u32 = 1 << 4;
/// BCR_CTRL: valid, RISC-V selected.
const BCR_VALID: u32 = 1 << 0;
const BCR_RISCV: u32 = 1 << 4;

/// What the boot ROM is told about the signed code that it verifies (GA102 on).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Brom {
    /// MOD_SEL: the algorithm, 1 for RSA-3072.
    pub mod_sel: u32,
    /// Fuse counter of the code's version.
    pub ucode_id: u32,
    /// Engines that the code may run on.
    pub engine_id_mask: u32,
    /// Address of the signature in DMEM.
    pub paraaddr: u32,
}

/// Interrupt registers.
#[derive(Debug, Default)]
struct Irq {
    stat: u32,
    mask: u32,
    dest: u32,
    /// The RISC-V core's own mask, which its firmware sets.
    riscv_mask: u32,
}

/// One falcon.
pub struct Falcon {
    turing: bool,
    has_riscv: bool,
    has_queue: bool,
    /// Mailboxes 0 and 1.
    pub mailbox: [u32; 2],
    /// OS register: the driver leaves the boot loader's application version here.
    pub os: u32,
    /// BOOTVEC.
    pub bootvec: u32,
    /// Boot ROM parameters.
    pub brom: Brom,
    /// Code and data memory.
    pub memory: Memory,
    /// The RISC-V core runs.
    pub riscv_active: bool,
    /// The falcon's processor is halted.
    halted: bool,
    in_reset: bool,
    itfen: u32,
    rm: u32,
    bcr: u32,
    queue_head: u32,
    irq: Irq,
    dma: Dma,
}

impl Falcon {
    /// The GSP's.
    pub fn gsp(chip: &Chip) -> Self {
        Self::new(chip, true, true)
    }

    /// SEC2's, which on Turing has no RISC-V core.
    pub fn sec2(chip: &Chip) -> Self {
        Self::new(chip, chip.arch != Arch::Turing, false)
    }

    fn new(chip: &Chip, has_riscv: bool, has_queue: bool) -> Self {
        Self {
            turing: chip.arch == Arch::Turing,
            has_riscv,
            has_queue,
            mailbox: [0; 2],
            os: 0,
            bootvec: 0,
            brom: Brom::default(),
            memory: Memory::default(),
            riscv_active: false,
            halted: true,
            in_reset: false,
            itfen: 0,
            rm: 0,
            bcr: 0,
            queue_head: 0,
            irq: Irq::default(),
            dma: Dma::default(),
        }
    }

    /// Reads the register at `off` from the falcon's base (0..0x2000); None if unknown.
    pub fn read(&mut self, off: u32) -> Option<u32> {
        Some(match off {
            0x004 | 0x010 | 0x014 => 0, // IRQSCLR, IRQMSET and IRQMCLR are write-only
            0x008 => self.irq.stat,
            0x018 => self.irq.mask,
            0x01c => self.irq.dest,
            0x040 => self.mailbox[0],
            0x044 => self.mailbox[1],
            0x048 => self.itfen,
            0x080 => self.os,
            0x084 => self.rm,
            0x0f4 => self.hwcfg2(),
            0x100 => u32::from(self.halted) << 4, // CPUCTL: HALTED
            0x104 => self.bootvec,
            0x108 => (memory::BLOCKS | memory::BLOCKS << 9) as u32, // HWCFG
            // HWCFG1: core revision 6.1, heavy-secure, one IMEM port and four DMEM ports.
            0x12c => 0x4176,
            // SCTL (not in a secure mode once halted) and the debug fuse (a production board).
            0x130 | 0x240 | 0x408 => 0,
            0x3c0 => u32::from(self.in_reset),
            0xc00 if self.has_queue => self.queue_head,
            0x1000.. => return self.read_falcon2(off - 0x1000),
            0x180..0x200 if self.turing => return self.memory.pio_read(off),
            _ => return self.dma.read(off),
        })
    }

    /// Reads a register of the boot ROM and RISC-V block.
    fn read_falcon2(&self, off: u32) -> Option<u32> {
        let riscv = self.has_riscv;
        Some(match off {
            0x240 if self.turing && riscv => u32::from(self.riscv_active),
            0x2b4 if self.turing && riscv => self.irq.riscv_mask,
            _ if self.turing => return None,
            0x180 => self.brom.mod_sel,
            0x198 => self.brom.ucode_id,
            0x19c => self.brom.engine_id_mask,
            0x210 => self.brom.paraaddr,
            0x388 if self.riscv_active => 1 << 7,
            0x388 => 1 << 4,
            0x528 => self.irq.riscv_mask,
            0x668 => self.bcr,
            _ => return None,
        })
    }

    /// HWCFG2: reset ready, RISC-V present; scrubbing and lockdown are over at once.
    fn hwcfg2(&self) -> u32 {
        let ready = if self.turing { 0 } else { 1 << 31 };
        ready | u32::from(self.has_riscv) << 10
    }

    /// Writes a register.
    pub fn write(&mut self, env: &mut Env, off: u32, value: u32) -> Option<Event> {
        match off {
            0x000 => self.irq.stat |= value,
            0x004 => self.irq.stat &= !value,
            0x010 => self.irq.mask |= value,
            0x014 => self.irq.mask &= !value,
            0x01c => self.irq.dest = value,
            0x040 => self.mailbox[0] = value,
            0x044 => self.mailbox[1] = value,
            0x048 => self.itfen = value,
            0x080 => self.os = value,
            0x084 => self.rm = value,
            0x100 => return self.start(env, value),
            0x104 => self.bootvec = value,
            0x118 => self.dma.transfer(env, &mut self.memory, value),
            0x180..0x200 if self.turing => self.memory.pio_write(env, off, value),
            0x180..0x200 => {
                env.violation("falcon-pio", format!("PIO register {off:#x} is closed to the CPU"));
            }
            0x3c0 => return self.engine(value),
            0x3e8 if !self.turing && value & 1 != 0 => return Some(Event::RetriggerIntr),
            0x3e8 if !self.turing => {}
            0xc00 if self.has_queue => {
                self.queue_head = value;
                return Some(Event::QueueHead);
            }
            0x1000.. => return self.write_falcon2(env, off - 0x1000, value),
            _ => {
                if !self.dma.write(off, value) {
                    env.judge.note(format!("write of unknown falcon register {off:#x}"));
                }
            }
        }
        None
    }

    /// Writes a register of the boot ROM and RISC-V block.
    fn write_falcon2(&mut self, env: &mut Env, off: u32, value: u32) -> Option<Event> {
        match off {
            0x180 if !self.turing => self.brom.mod_sel = value & 0xff,
            0x198 if !self.turing => self.brom.ucode_id = value & 0xff,
            0x19c if !self.turing => self.brom.engine_id_mask = value,
            0x210 if !self.turing => self.brom.paraaddr = value,
            0x388 if !self.turing && value & 1 != 0 => return Some(Event::RiscvStart),
            0x388 if !self.turing => {}
            // Selecting a core completes at once.
            0x668 if !self.turing => self.bcr = value & 0x110 | BCR_VALID,
            _ => env.judge.note(format!("write of unknown falcon register {:#x}", off + 0x1000)),
        }
        None
    }

    /// CPUCTL: starts the processor, if it is the core that is selected and out of reset.
    fn start(&mut self, env: &mut Env, value: u32) -> Option<Event> {
        if value & 2 == 0 {
            return None;
        }
        if self.in_reset {
            env.violation("falcon-start", "started while held in reset");
            return None;
        }
        if self.bcr & BCR_RISCV != 0 {
            env.violation("falcon-start", "started while BCR_CTRL selects the RISC-V core");
            return None;
        }
        self.halted = false;
        Some(Event::Start)
    }

    /// ENGINE: bit 0 holds the engine in reset, which loses all but the mailboxes and the core
    /// selection.
    fn engine(&mut self, value: u32) -> Option<Event> {
        let asserted = value & 1 != 0 && !self.in_reset;
        self.in_reset = value & 1 != 0;
        if !asserted {
            return None;
        }
        self.os = 0;
        self.bootvec = 0;
        self.brom = Brom::default();
        self.memory = Memory::default();
        self.riscv_active = false;
        self.halted = true;
        self.irq = Irq::default();
        self.dma = Dma::default();
        Some(Event::Reset)
    }

    /// Runs the boot loader's DMA: copies `len` bytes at `from`, as transfer context `index` sees
    /// it; None if that context cannot reach it.
    pub fn fetch(&self, env: &mut Env, index: u32, from: u64, len: usize) -> Option<Vec<u8>> {
        self.dma.fetch(env, index, from, len)
    }

    /// The processor halts.
    pub fn halt(&mut self) {
        self.halted = true;
        self.irq.stat |= IRQ_HALT;
    }

    /// Whether the processor is halted.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Booter starts the RISC-V core: it is selected, and its firmware enables SWGEN0.
    pub fn start_riscv(&mut self) {
        if !self.turing {
            self.bcr = 0x100 | BCR_RISCV | BCR_VALID;
        }
        self.riscv_active = true;
        self.irq.riscv_mask = SWGEN0;
    }

    /// Whether an enabled cause is pending towards the CPU.
    pub fn intr_pending(&self) -> bool {
        self.irq.stat & self.irq.riscv_mask != 0
    }

    /// Sets IRQSTAT.SWGEN0 and says whether it is enabled towards the CPU.
    pub fn post_swgen0(&mut self) -> bool {
        self.irq.stat |= SWGEN0;
        self.intr_pending()
    }
}
