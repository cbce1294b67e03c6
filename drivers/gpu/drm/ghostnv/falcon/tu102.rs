// SPDX-License-Identifier: GPL-2.0

//! Falcons of Turing.
//!
//! The host writes their memories through a data port. FWSEC is the exception: it is fetched by a
//! small loader, which finds a descriptor of 84 bytes at the start of data memory and is itself
//! placed at the end of instruction memory.

use kernel::{
    dma::{
        Coherent,
        DmaAddress, //
    },
    io::{
        register::WithBase,
        Io, //
    },
    prelude::*, //
};

use super::{
    Brom,
    Core,
    Engine,
    Hal,
    Loader,
    Staging,
    Ucode,
    BLOCK, //
};

use crate::{
    gpu::Hw,
    regs, //
};

/// Turing.
pub(crate) struct Tu102;

impl<E: Engine> Hal<E> for Tu102 {
    fn prepare_reset(&self, _hw: Hw<'_>) {}

    fn scrubbed(&self, hw: Hw<'_>) -> bool {
        let dma = hw.bar.read(regs::falcon::DMACTL::of::<E>());

        !dma.imem_scrubbing() && !dma.dmem_scrubbing()
    }

    // The RISC-V core of Turing's GSP has memories of its own and needs no selection.
    fn select(&self, _hw: Hw<'_>, _core: Core) -> Result {
        Ok(())
    }

    fn load(&self, hw: Hw<'_>, ucode: &Ucode) -> Result<Staging> {
        if let Some(loader) = &ucode.loader {
            return load_loader::<E>(hw, ucode, loader).map(Some);
        }

        let parts = &ucode.parts;
        if let Some(plain) = &parts.plain {
            write_code::<E>(
                hw,
                plain.target,
                plain.target / BLOCK,
                ucode.bytes(plain)?,
                false,
            )?;
        }

        let secure = &parts.secure;
        write_code::<E>(
            hw,
            secure.target,
            secure.target / BLOCK,
            ucode.bytes(secure)?,
            true,
        )?;
        write_data::<E>(hw, parts.data.target, ucode.bytes(&parts.data)?)?;
        Ok(None)
    }

    // The signature files hold is the only one there is.
    fn fuse_version(&self, _hw: Hw<'_>, _brom: &Brom) -> Result<u32> {
        Ok(0)
    }

    fn riscv_active(&self, hw: Hw<'_>) -> bool {
        hw.bar
            .read(regs::falcon::tu102::RISCV_STATUS::of::<E>())
            .active()
    }

    fn riscv_irq_mask(&self, hw: Hw<'_>) -> u32 {
        hw.bar
            .read(regs::falcon::tu102::RISCV_IRQMASK::of::<E>())
            .bits()
    }

    // Pending interrupts are not lost on Turing.
    fn retrigger_irq(&self, _hw: Hw<'_>) {}
}

/// Writes code through port 0; `tag` is the virtual number of the first block.
fn write_code<E: Engine>(hw: Hw<'_>, at: u32, tag: u32, code: &[u8], secure: bool) -> Result {
    hw.bar.write(
        WithBase::of::<E>().at(0),
        regs::falcon::IMEMC::zeroed()
            .with_secure(secure)
            .with_aincw(true)
            .with_offset(u16::try_from(at)?),
    );

    for (tag, block) in (tag..).zip(code.chunks(BLOCK as usize)) {
        hw.bar.write(
            WithBase::of::<E>().at(0),
            regs::falcon::IMEMT::zeroed().with_tag(u16::try_from(tag)?),
        );
        for word in words(block) {
            hw.bar.write(
                WithBase::of::<E>().at(0),
                regs::falcon::IMEMD::zeroed().with_data(word),
            );
        }
    }
    Ok(())
}

/// Writes data through port 0.
fn write_data<E: Engine>(hw: Hw<'_>, at: u32, data: &[u8]) -> Result {
    hw.bar.write(
        WithBase::of::<E>().at(0),
        regs::falcon::DMEMC::zeroed()
            .with_aincw(true)
            .with_offset(u16::try_from(at)?),
    );
    for word in words(data) {
        hw.bar.write(
            WithBase::of::<E>().at(0),
            regs::falcon::DMEMD::zeroed().with_data(word),
        );
    }
    Ok(())
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes
        .chunks(4)
        .filter_map(|word| word.first_chunk::<4>().copied())
        .map(u32::from_le_bytes)
}

/// Loads the loader, and tells it where to fetch the image from.
fn load_loader<E: Engine>(hw: Hw<'_>, ucode: &Ucode, loader: &Loader) -> Result<Coherent<[u8]>> {
    /// System memory that is kept coherent with the CPU's caches.
    const COHERENT_SYSMEM: u32 = 1;

    let staging = Coherent::from_slice(hw.dev, &ucode.image, GFP_KERNEL)?;
    let end = u32::from(hw.bar.read(regs::falcon::HWCFG::of::<E>()).imem_blocks()) * BLOCK;
    let at = u32::try_from(loader.code.len())
        .ok()
        .and_then(|len| end.checked_sub(len))
        .ok_or(ENOSPC)?;

    hw.bar.update(
        regs::falcon::FBIF_TRANSCFG::of::<E>().at(LOADER_CTXDMA),
        |r| r.with_physical(true).with_const_target::<COHERENT_SYSMEM>(),
    );
    write_code::<E>(hw, at, loader.tag.into(), &loader.code, false)?;
    write_data::<E>(hw, 0, &descriptor(ucode, staging.dma_address())?)?;
    Ok(staging)
}

/// The DMA context that the loader is told to use.
const LOADER_CTXDMA: usize = 4;

/// What the loader reads (`RM_FLCN_BL_DMEM_DESC`, as in nouveau's `flcn_bl_dmem_desc_v2`).
fn descriptor(ucode: &Ucode, base: DmaAddress) -> Result<[u8; 84]> {
    let parts = &ucode.parts;
    let plain = parts.plain.as_ref().ok_or(EINVAL)?;
    let data = base
        .checked_add(parts.data.source.into())
        .ok_or(EOVERFLOW)?;

    // The loader puts code where it found it, and data at the start of the memory.
    if plain.source != plain.target
        || parts.secure.source != parts.secure.target
        || parts.data.target != 0
        || data % DmaAddress::from(BLOCK) != 0
    {
        return Err(EINVAL);
    }

    // CAST: halves of an address by intent; the constant fits.
    let words = [
        [0; 8].as_slice(), // Reserved, and a signature that this image does not use.
        &[LOADER_CTXDMA as u32, base as u32, (base >> 32) as u32],
        &[
            plain.target,
            plain.len,
            parts.secure.target,
            parts.secure.len,
        ],
        &[0, data as u32, (data >> 32) as u32, parts.data.len], // Entry point 0.
        &[0, 0],                                                // No arguments.
    ];
    let mut bytes = [0; 84];

    for (to, from) in bytes.chunks_mut(4).zip(words.iter().copied().flatten()) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_falcon_tu102)]
mod tests {
    use super::*;
    use crate::falcon::{
        Parts,
        Section, //
    };

    fn image(data: u32) -> Result<Ucode> {
        let section = |source, target, len| Section {
            source,
            target,
            len,
        };
        let parts = Parts {
            plain: Some(section(0, 0, 0x100)),
            secure: section(0x100, 0x100, 0x300),
            data: section(data, 0, 0x200),
        };
        let bytes = KVVec::from_elem(0, 0x800, GFP_KERNEL)?;

        Ucode::new("test", bytes, parts, 0, None, None)
    }

    #[test]
    fn descriptor_fields() -> Result {
        let bytes = descriptor(&image(0x400)?, 0x1_2345_6700)?;
        let word = |at: usize| words(&bytes).nth(at / 4);

        assert_eq!(word(32), Some(4));
        assert_eq!(word(36), Some(0x2345_6700));
        assert_eq!(word(40), Some(1));
        assert_eq!(word(48), Some(0x100));
        assert_eq!(word(52), Some(0x100));
        assert_eq!(word(56), Some(0x300));
        assert_eq!(word(64), Some(0x2345_6b00));
        assert_eq!(word(72), Some(0x200));
        assert_eq!(word(80), Some(0));
        Ok(())
    }

    #[test]
    fn descriptor_wants_aligned_data() -> Result {
        assert!(descriptor(&image(0x480)?, 0x1000).is_err());
        Ok(())
    }
}
