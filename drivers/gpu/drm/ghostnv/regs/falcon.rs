// SPDX-License-Identifier: GPL-2.0

//! Registers of a falcon, NVIDIA's microcontroller, wherever on the chip it sits.
//!
//! Each engine has two apertures: the falcon itself and, 4 KiB above, the boot ROM and the RISC-V
//! core that newer falcons share their memories with ("PFALCON2" and "PRISCV" in the manuals). The
//! engines are types; [`Base`] and [`Base2`] tell the apertures apart.

use kernel::io::{
    register,
    register::RegisterBase, //
};

/// The falcon's own aperture.
pub(crate) struct Base(());

/// The aperture of the boot ROM and of the RISC-V core.
pub(crate) struct Base2(());

/// The GPU system processor, which runs GSP-RM.
pub(crate) struct Gsp(());

impl RegisterBase<Base> for Gsp {
    const BASE: usize = 0x110000;
}

impl RegisterBase<Base2> for Gsp {
    const BASE: usize = 0x111000;
}

/// The security engine, which runs the booter that verifies GSP-RM.
pub(crate) struct Sec2(());

impl RegisterBase<Base> for Sec2 {
    const BASE: usize = 0x840000;
}

impl RegisterBase<Base2> for Sec2 {
    const BASE: usize = 0x841000;
}

register! {
    /// Clears interrupts, by bit.
    pub(crate) IRQSCLR(u32) @ Base + 0x004 {
        /// Software interrupt 0: GSP-RM has put a message into its queue.
        6:6     swgen0 => bool;
        /// The core halted.
        4:4     halt => bool;
    }

    /// Pending interrupts.
    pub(crate) IRQSTAT(u32) @ Base + 0x008 {
        /// Software interrupt 0.
        6:6     swgen0 => bool;
        /// The core halted.
        4:4     halt => bool;
    }

    /// Enables interrupts, by bit.
    pub(crate) IRQMSET(u32) @ Base + 0x010 {
        31:0    bits => u32;
    }

    /// Disables interrupts, by bit.
    pub(crate) IRQMCLR(u32) @ Base + 0x014 {
        31:0    bits => u32;
    }

    /// Argument and result of whatever runs.
    pub(crate) MAILBOX0(u32) @ Base + 0x040 {
        31:0    value => u32;
    }

    /// Argument and result of whatever runs.
    pub(crate) MAILBOX1(u32) @ Base + 0x044 {
        31:0    value => u32;
    }

    /// Scratch word for the version of the application that runs.
    pub(crate) OS(u32) @ Base + 0x080 {
        31:0    version => u32;
    }

    /// Scratch word that signed images expect to hold the chip's `BOOT_0`.
    pub(crate) RM(u32) @ Base + 0x084 {
        31:0    boot_0 => u32;
    }

    /// What the falcon has, and the state of its reset.
    pub(crate) HWCFG2(u32) @ Base + 0x0f4 {
        /// The engine may be reset (GA102 and later).
        31:31   reset_ready => bool;
        /// The memories are being cleared (GA102 and later).
        12:12   scrubbing => bool;
        /// There is a RISC-V core beside the falcon.
        10:10   riscv => bool;
    }

    /// Controls the core.
    pub(crate) CPUCTL(u32) @ Base + 0x100 {
        /// Only `CPUCTL_ALIAS` starts the core.
        6:6     alias_en => bool;
        /// The core has halted.
        4:4     halted => bool;
        /// Starts the core.
        1:1     startcpu => bool;
    }

    /// Where the core starts.
    pub(crate) BOOTVEC(u32) @ Base + 0x104 {
        31:0    address => u32;
    }

    /// Sizes of the memories.
    pub(crate) HWCFG(u32) @ Base + 0x108 {
        /// Blocks of 256 bytes of data memory.
        17:9    dmem_blocks;
        /// Blocks of 256 bytes of instruction memory.
        8:0     imem_blocks;
    }

    /// Controls DMA, and on Turing tells whether the memories are being cleared.
    pub(crate) DMACTL(u32) @ Base + 0x10c {
        /// Instruction memory is being cleared.
        2:2     imem_scrubbing => bool;
        /// Data memory is being cleared.
        1:1     dmem_scrubbing => bool;
        /// DMA needs an instance block.
        0:0     require_ctx => bool;
    }

    /// Source of DMA, low part.
    pub(crate) DMATRFBASE(u32) @ Base + 0x110 {
        /// Address bits 39:8.
        31:0    base => u32;
    }

    /// Offset in the falcon's memory.
    pub(crate) DMATRFMOFFS(u32) @ Base + 0x114 {
        23:0    offset;
    }

    /// Starts a transfer.
    pub(crate) DMATRFCMD(u32) @ Base + 0x118 {
        /// Which `FBIF_TRANSCFG` says what the address means.
        14:12   ctxdma;
        /// Log2 of the bytes, less 2.
        10:8    size;
        /// Into instruction rather than data memory.
        4:4     imem => bool;
        /// The blocks hold signed code.
        2:2     secure => bool;
        /// No transfer is under way.
        1:1     idle => bool;
        /// No further transfer is accepted.
        0:0     full => bool;
    }

    /// Offset from the source; also the virtual address that instruction blocks get.
    pub(crate) DMATRFFBOFFS(u32) @ Base + 0x11c {
        31:0    offset => u32;
    }

    /// Source of DMA, high part.
    pub(crate) DMATRFBASE1(u32) @ Base + 0x128 {
        /// Address bits 48:40.
        8:0     base;
    }

    /// Starts the core where `CPUCTL` is locked.
    pub(crate) CPUCTL_ALIAS(u32) @ Base + 0x130 {
        1:1     startcpu => bool;
    }

    /// Position of writes through `IMEMD`.
    pub(crate) IMEMC(u32)[4, stride = 16] @ Base + 0x180 {
        /// The blocks hold signed code.
        28:28   secure => bool;
        /// Advance after each write.
        24:24   aincw => bool;
        /// Byte offset.
        15:0    offset => u16;
    }

    /// Data port of instruction memory.
    pub(crate) IMEMD(u32)[4, stride = 16] @ Base + 0x184 {
        31:0    data => u32;
    }

    /// Virtual block number of what is written next.
    pub(crate) IMEMT(u32)[4, stride = 16] @ Base + 0x188 {
        15:0    tag => u16;
    }

    /// Position of writes through `DMEMD`.
    pub(crate) DMEMC(u32)[8, stride = 8] @ Base + 0x1c0 {
        /// Advance after each write.
        24:24   aincw => bool;
        /// Byte offset.
        15:0    offset => u16;
    }

    /// Data port of data memory.
    pub(crate) DMEMD(u32)[8, stride = 8] @ Base + 0x1c4 {
        31:0    data => u32;
    }

    /// Resets the engine.
    pub(crate) ENGINE(u32) @ Base + 0x3c0 {
        0:0     reset => bool;
    }

    /// Evaluates pending interrupts again, so that none is lost (GA100 and later).
    pub(crate) INTR_RETRIGGER(u32) @ Base + 0x3e8 {
        0:0     trigger => bool;
    }

    /// What the addresses of a DMA context mean.
    pub(crate) FBIF_TRANSCFG(u32)[8] @ Base + 0x600 {
        /// Physical rather than translated addresses.
        2:2     physical => bool;
        /// 0 video memory, 1 coherent and 2 non-coherent system memory.
        1:0     target;
    }

    /// Controls the path to memory.
    pub(crate) FBIF_CTL(u32) @ Base + 0x624 {
        /// Physical addresses need no instance block.
        7:7     allow_phys_no_ctx => bool;
    }

    /// GSP only: doorbells of the queues.
    pub(crate) QUEUE_HEAD(u32)[8, stride = 8] @ Base + 0xc00 {
        31:0    value => u32;
    }

    /// Signature algorithm of the image (GA102 and later).
    pub(crate) BROM_MOD_SEL(u32) @ Base2 + 0x180 {
        /// 1 is RSA with 3072 bits.
        7:0     algorithm => u8;
    }

    /// Number of the image (GA102 and later).
    pub(crate) BROM_CURR_UCODE_ID(u32) @ Base2 + 0x198 {
        7:0     ucode_id => u8;
    }

    /// Engines the image is signed for (GA102 and later).
    pub(crate) BROM_ENGIDMASK(u32) @ Base2 + 0x19c {
        31:0    mask => u32;
    }

    /// Where in data memory the signature is (GA102 and later).
    pub(crate) BROM_PARAADDR(u32)[1] @ Base2 + 0x210 {
        31:0    address => u32;
    }
}

/// Registers where Turing has them.
pub(crate) mod tu102 {
    use super::Base2;
    use kernel::io::register;

    register! {
        /// Whether the RISC-V core runs.
        pub(crate) RISCV_STATUS(u32) @ Base2 + 0x240 {
            0:0     active => bool;
        }

        /// Interrupts that the RISC-V core passes to the host.
        pub(crate) RISCV_IRQMASK(u32) @ Base2 + 0x2b4 {
            31:0    bits => u32;
        }
    }
}

/// Registers where GA102 and later have them.
pub(crate) mod ga102 {
    use super::Base2;
    use kernel::io::register;

    register! {
        /// State of the RISC-V core.
        pub(crate) RISCV_CPUCTL(u32) @ Base2 + 0x388 {
            /// It runs.
            7:7     active => bool;
            /// It has halted.
            4:4     halted => bool;
        }

        /// Interrupts that the RISC-V core passes to the host.
        pub(crate) RISCV_IRQMASK(u32) @ Base2 + 0x528 {
            31:0    bits => u32;
        }

        /// Which of the two cores owns the engine.
        pub(crate) BCR_CTRL(u32) @ Base2 + 0x668 {
            /// The boot ROM fetches the image itself.
            8:8     br_fetch => bool;
            /// RISC-V rather than falcon.
            4:4     riscv => bool;
            /// The selection has taken effect.
            0:0     valid => bool;
        }
    }
}
