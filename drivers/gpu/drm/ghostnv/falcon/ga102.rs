// SPDX-License-Identifier: GPL-2.0

//! Falcons of GA102 and later.
//!
//! Their memories are closed to the host: an image gets in by the falcon's own DMA from system
//! memory, and the boot ROM verifies it, guided by four registers. GSP and SEC2 have a RISC-V core
//! beside the falcon, which shares the memories and must be deselected first.

use kernel::{
    dma::{
        Coherent,
        DmaAddress, //
    },
    io::{
        poll::read_poll_timeout,
        register::{
            Array,
            WithBase, //
        },
        Io, //
    },
    prelude::*,
    time::Delta, //
};

use super::{
    Brom,
    Core,
    Engine,
    Hal,
    Section,
    Staging,
    Ucode,
    BLOCK, //
};

use crate::{
    gpu::Hw,
    regs, //
};

/// GA102 and later.
pub(crate) struct Ga102;

impl<E: Engine> Hal<E> for Ga102 {
    fn prepare_reset(&self, hw: Hw<'_>) {
        /// Some engines never report that they are ready, and may be reset regardless after this
        /// time (`kflcnPreResetWait_GA102` in open-gpu-kernel-modules).
        const LIMIT: Delta = Delta::from_micros(150);

        let _ = read_poll_timeout(
            || Ok(hw.bar.read(regs::falcon::HWCFG2::of::<E>())),
            |r| r.reset_ready(),
            Delta::ZERO,
            LIMIT,
        );
    }

    fn scrubbed(&self, hw: Hw<'_>) -> bool {
        !hw.bar.read(regs::falcon::HWCFG2::of::<E>()).scrubbing()
    }

    fn select(&self, hw: Hw<'_>, core: Core) -> Result {
        const LIMIT: Delta = Delta::from_millis(10);

        type BcrCtrl = regs::falcon::ga102::BCR_CTRL;

        if !hw.bar.read(regs::falcon::HWCFG2::of::<E>()).riscv() {
            return match core {
                Core::Falcon => Ok(()),
                Core::RiscV => Err(ENODEV),
            };
        }

        let riscv = core == Core::RiscV;
        if hw.bar.read(BcrCtrl::of::<E>()).riscv() == riscv && !riscv {
            return Ok(());
        }

        hw.bar.write(
            WithBase::of::<E>(),
            // The RISC-V core's boot ROM is to fetch the image; the falcon's is not.
            BcrCtrl::zeroed()
                .with_riscv(riscv)
                .with_br_fetch(riscv)
                .with_valid(riscv),
        );
        hw.poll(Delta::from_micros(2), LIMIT, || {
            hw.bar.read(BcrCtrl::of::<E>()).valid()
        })
    }

    fn load(&self, hw: Hw<'_>, ucode: &Ucode) -> Result<Staging> {
        /// System memory that is kept coherent with the CPU's caches.
        const COHERENT_SYSMEM: u32 = 1;

        let brom = ucode.brom.as_ref().ok_or(EINVAL)?;
        let parts = &ucode.parts;
        let staging = Coherent::from_slice(hw.dev, &ucode.image, GFP_KERNEL)?;
        let base = staging.dma_address();

        hw.bar
            .update(regs::falcon::FBIF_TRANSCFG::of::<E>().at(0), |r| {
                r.with_physical(true).with_const_target::<COHERENT_SYSMEM>()
            });

        // Code keeps its offset in the image as its virtual address, so the transfer starts from
        // the image; data has no such address and starts from itself.
        let data = base
            .checked_add(parts.data.source.into())
            .ok_or(EOVERFLOW)?;
        let fetched = fetch::<E>(hw, base, &parts.secure, parts.secure.source, true)
            .and_then(|()| fetch::<E>(hw, data, &parts.data, 0, false));
        if let Err(e) = fetched {
            // A block that has not come may come yet.
            core::mem::forget(staging);
            return Err(e);
        }

        program_brom::<E>(hw, brom);
        Ok(Some(staging))
    }

    fn fuse_version(&self, hw: Hw<'_>, brom: &Brom) -> Result<u32> {
        const SEC2: u32 = 0x1;
        const NVDEC: u32 = 0x4;
        const GSP: u32 = 0x400;

        let index = usize::from(brom.ucode_id).checked_sub(1).ok_or(EINVAL)?;
        let bits: u16 = if brom.engines & SEC2 != 0 {
            let at = regs::chip::FPF_SEC2_UCODE_VERSION::try_at(index).ok_or(EINVAL)?;
            hw.bar.read(at).bits()
        } else if brom.engines & NVDEC != 0 {
            let at = regs::chip::FPF_NVDEC_UCODE_VERSION::try_at(index).ok_or(EINVAL)?;
            hw.bar.read(at).bits()
        } else if brom.engines & GSP != 0 {
            let at = regs::chip::FPF_GSP_UCODE_VERSION::try_at(index).ok_or(EINVAL)?;
            hw.bar.read(at).bits()
        } else {
            return Err(EINVAL);
        };

        // The highest fuse that is burnt counts.
        Ok(u16::BITS - bits.leading_zeros())
    }

    fn riscv_active(&self, hw: Hw<'_>) -> bool {
        hw.bar
            .read(regs::falcon::ga102::RISCV_CPUCTL::of::<E>())
            .active()
    }

    fn riscv_irq_mask(&self, hw: Hw<'_>) -> u32 {
        hw.bar
            .read(regs::falcon::ga102::RISCV_IRQMASK::of::<E>())
            .bits()
    }

    fn retrigger_irq(&self, hw: Hw<'_>) {
        hw.bar.write(
            WithBase::of::<E>(),
            regs::falcon::INTR_RETRIGGER::zeroed().with_trigger(true),
        );
    }
}

/// Fetches a section, block by block, from `base` and its `offset`.
fn fetch<E: Engine>(
    hw: Hw<'_>,
    base: DmaAddress,
    section: &Section,
    offset: u32,
    code: bool,
) -> Result {
    /// Log2 of a block, less 2.
    const BLOCK_SIZE: u32 = 6;
    /// A block takes well under a microsecond.
    const LIMIT: Delta = Delta::from_millis(100);

    let bar = hw.bar;

    if base % DmaAddress::from(BLOCK) != 0 || offset % BLOCK != 0 {
        return Err(EINVAL);
    }

    bar.write(
        WithBase::of::<E>(),
        // CAST: bits 39:8 by intent.
        regs::falcon::DMATRFBASE::zeroed().with_base((base >> 8) as u32),
    );
    bar.write(
        WithBase::of::<E>(),
        regs::falcon::DMATRFBASE1::zeroed().try_with_base(base >> 40)?,
    );

    // All ones say that there is room and that nothing is under way; what becomes of the image on a
    // GPU that is gone, whoever starts it finds.
    let wait = |idle: bool| {
        read_poll_timeout(
            || Ok(bar.read(regs::falcon::DMATRFCMD::of::<E>())),
            |r| if idle { r.idle() } else { !r.full() },
            Delta::ZERO,
            LIMIT,
        )
    };

    for position in (0..section.len).step_by(BLOCK as usize) {
        wait(false)?;
        bar.write(
            WithBase::of::<E>(),
            regs::falcon::DMATRFMOFFS::zeroed().try_with_offset(section.target + position)?,
        );
        bar.write(
            WithBase::of::<E>(),
            regs::falcon::DMATRFFBOFFS::zeroed().with_offset(offset + position),
        );
        bar.write(
            WithBase::of::<E>(),
            regs::falcon::DMATRFCMD::zeroed()
                .with_const_size::<BLOCK_SIZE>()
                .with_imem(code)
                .with_secure(code),
        );
    }

    wait(true).map(|_| ())
}

/// Tells the boot ROM what it is to verify, and how.
fn program_brom<E: Engine>(hw: Hw<'_>, brom: &Brom) {
    const RSA3K: u8 = 1;

    hw.bar.write(
        WithBase::of::<E>().at(0),
        regs::falcon::BROM_PARAADDR::zeroed().with_address(brom.signature),
    );
    hw.bar.write(
        WithBase::of::<E>(),
        regs::falcon::BROM_ENGIDMASK::zeroed().with_mask(brom.engines),
    );
    hw.bar.write(
        WithBase::of::<E>(),
        regs::falcon::BROM_CURR_UCODE_ID::zeroed().with_ucode_id(brom.ucode_id),
    );
    hw.bar.write(
        WithBase::of::<E>(),
        regs::falcon::BROM_MOD_SEL::zeroed().with_algorithm(RSA3K),
    );
}
