// SPDX-License-Identifier: GPL-2.0 OR MIT

//! booter_load and booter_unload on SEC2.

use crate::chip::Arch;
use crate::env::fault::Stage;
use crate::env::mem::Phys;
use crate::falcon::Brom;
use crate::firmware::Booter;
use crate::gpu::Gpu;
use crate::gsp::BootInfo;
use crate::machine::{Machine, Wpr2};

use super::meta::{self, Meta};
use super::{Checked, Reject, ensure, suspend, ucode};

/// Mailboxes of a booter_unload that saves nothing.
const NO_SUSPEND: [u32; 2] = [0xff, 0xff];
/// Error codes in mailbox 0 are the model's own; drivers only tell zero from others.
const ERROR: u32 = 0x1;
const ERROR_INJECTED: u32 = 0x2;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Load,
    Unload,
}

/// Runs what is in SEC2.
pub(super) fn run(gpu: &mut Gpu) {
    let kind = match identify(&mut gpu.hw) {
        Ok(kind) => kind,
        // The boot ROM refused: no code ran, and the mailboxes keep what the driver wrote.
        Err(why) => return why.report(&mut gpu.hw.env),
    };
    let [lo, hi] = gpu.hw.sec2.mailbox;
    let addr = u64::from(hi) << 32 | u64::from(lo);
    let (stage, done) = match kind {
        Kind::Load => (Stage::Booter, load as fn(&mut Gpu, u64) -> Checked),
        Kind::Unload => (Stage::BooterUnload, unload as fn(&mut Gpu, u64) -> Checked),
    };
    gpu.hw.sec2.mailbox[0] = if gpu.hw.env.faults.boot(stage) {
        ERROR_INJECTED
    } else if let Err(why) = done(gpu, addr) {
        why.report(&mut gpu.hw.env);
        ERROR
    } else {
        0
    };
}

/// Which booter was started: by its bytes, or without files by what its mailboxes point to.
fn identify(hw: &mut Machine) -> Checked<Kind> {
    let arch = hw.chip.arch;
    let Some(files) = &hw.firmware else {
        let [lo, hi] = hw.sec2.mailbox;
        let addr = u64::from(hi) << 32 | u64::from(lo);
        let is_load = hw.sec2.mailbox != NO_SUSPEND
            && match Meta::read(&mut hw.env, addr, "wpr-meta")?.long(0) {
                suspend::MAGIC => hw.wpr2.hi == 0,
                _ => true,
            };
        return Ok(if is_load { Kind::Load } else { Kind::Unload });
    };
    let app = files.booter_unload.bytes(files.booter_unload.app);
    let got = hw.sec2.memory.code(files.booter_unload.app.offset, app.len(), true);
    let (kind, booter) = if got.as_deref() == Some(app) {
        (Kind::Unload, &files.booter_unload)
    } else {
        (Kind::Load, &files.booter_load)
    };
    verify(hw, arch, booter)?;
    Ok(kind)
}

/// The boot ROM verifies a booter.
fn verify(hw: &Machine, arch: Arch, booter: &Booter) -> Checked {
    let falcon = &hw.sec2;
    let slot = booter.patch_loc.saturating_sub(booter.data.offset);
    if arch == Arch::Turing {
        ucode::entry(falcon, booter.code.offset)?;
        let code = booter.bytes(booter.code);
        ucode::code(falcon, "booter-image", booter.code.offset, false, code)?;
    } else {
        ucode::entry(falcon, booter.app.offset)?;
    }
    ucode::code(falcon, "booter-image", booter.app.offset, true, booter.bytes(booter.app))?;
    let right = booter.signature();
    ucode::signature(falcon, "booter-signature", slot, right, &booter.signatures)?;
    ucode::data(falcon, "booter-image", booter.bytes(booter.data), &[(slot, right.len())])?;
    let brom = Brom {
        mod_sel: 1,
        ucode_id: booter.ucode_id,
        engine_id_mask: booter.engine_id_mask,
        paraaddr: slot,
    };
    ucode::brom(arch, falcon, brom)
}

/// booter_load: boots what the WPR meta describes, or resumes what a suspend-resume meta holds.
fn load(gpu: &mut Gpu, addr: u64) -> Checked {
    let hw = &mut gpu.hw;
    ensure(!hw.gsp_falcon.riscv_active, "wpr2", || "the GSP is already running".into())?;
    let mut meta = Meta::read(&mut hw.env, addr, "wpr-meta")?;
    let info = if meta.long(0) == suspend::MAGIC {
        ensure(hw.wpr2.hi == 0, "wpr2", || "WPR2 is up, nothing can be resumed".into())?;
        let (wpr2, info) = suspend::restore(&mut hw.env, &meta)?;
        hw.wpr2 = wpr2;
        info
    } else {
        meta.check(hw.chip, hw.env.mem.vram_size(), hw.wpr2)?;
        meta.check_images(&mut hw.env, hw.firmware.as_ref())?;
        hw.wpr2 = meta.wpr();
        let [lo, hi] = hw.gsp_falcon.mailbox;
        let libos_args = u64::from(hi) << 32 | u64::from(lo);
        store(hw, &mut meta, libos_args)?;
        BootInfo {
            libos_args,
            reserved_start: meta.non_wpr_heap(),
            frts: meta.frts(),
            fb_size: meta.fb_size(),
            resume: false,
        }
    };
    if !hw.env.faults.boot(Stage::Riscv) {
        hw.gsp_falcon.start_riscv();
        gpu.gsp.start(&mut gpu.hw, info);
    }
    Ok(())
}

/// Stores the verified meta where WPR2 starts, with the LibOS arguments in its union; a suspend
/// finds both there.
fn store(hw: &mut Machine, meta: &mut Meta, libos_args: u64) -> Checked {
    meta.0[meta::VERIFIED_AT..].copy_from_slice(&meta::VERIFIED.to_le_bytes());
    meta.0[meta::UNION_AT..meta::UNION_AT + 8].copy_from_slice(&libos_args.to_le_bytes());
    hw.env
        .mem
        .write(Phys::vram(hw.wpr2.lo), &meta.0)
        .map_err(|e| Reject::new("wpr-meta", e.to_string()))
}

/// booter_unload: takes WPR2 down, after saving it if there is a suspend-resume meta.
fn unload(gpu: &mut Gpu, addr: u64) -> Checked {
    let hw = &mut gpu.hw;
    if hw.sec2.mailbox != NO_SUSPEND {
        suspend::save(hw, addr)?;
    }
    gpu.gsp.stop(&mut gpu.hw);
    gpu.hw.gsp_falcon.riscv_active = false;
    gpu.hw.wpr2 = Wpr2::default();
    Ok(())
}
