// SPDX-License-Identifier: GPL-2.0 OR MIT

//! FWSEC on the GSP's falcon, and on Turing the generic boot loader that brings it there.

use crate::chip::Arch;
use crate::env::fault::Stage;
use crate::falcon::{Brom, Falcon};
use crate::machine::{Machine, Wpr2};
use crate::vbios::Fwsec;

use super::{Checked, Reject, ensure, ucode};

/// Length of the boot loader's descriptor at DMEM 0.
const LOADER_DESC: usize = 84;
/// `init_cmd`: set WPR2 up around the FRTS region.
const CMD_FRTS: u32 = 0x15;
/// `init_cmd`: prepare for an unload ("SB").
const CMD_SB: u32 = 0x19;
/// Bytes of the command buffer that the two commands use.
const COMMAND_LEN: usize = 44;
/// WPR bounds are multiples of this.
pub(super) const WPR_ALIGN: u64 = 0x2_0000;
/// Error codes are the model's own; drivers only tell zero from others.
const FRTS_ERROR: u32 = 0x0001;

/// Runs what is in the GSP's falcon.
pub(super) fn run(hw: &mut Machine) {
    if let Err(why) = load(hw) {
        // The boot ROM refused: no code ran, and all registers stay as they are.
        return why.report(&mut hw.env);
    }
    match hw.gsp_falcon.memory.data_u32(Fwsec::INIT_CMD) {
        Some(CMD_FRTS) => {
            let status = if hw.env.faults.boot(Stage::Fwsec) {
                FRTS_ERROR
            } else if let Err(why) = frts(hw) {
                why.report(&mut hw.env);
                FRTS_ERROR
            } else {
                0
            };
            hw.boot.frts_status = status << 16;
        }
        Some(CMD_SB) => {
            let checked = read_vbios(&hw.gsp_falcon);
            hw.boot.sb_status = u32::from(checked.is_err());
            if let Err(why) = checked {
                why.report(&mut hw.env);
            }
        }
        other => {
            hw.env.violation("fwsec-command", format!("init_cmd {other:x?}"));
            hw.boot.frts_status = FRTS_ERROR << 16;
            hw.boot.sb_status = FRTS_ERROR;
        }
    }
    hw.gsp_falcon.mailbox[0] = 0;
}

/// Brings FWSEC into the falcon and verifies it.
fn load(hw: &mut Machine) -> Checked {
    let arch = hw.chip.arch;
    if arch == Arch::Turing {
        generic_loader(hw)?;
    } else {
        ucode::entry(&hw.gsp_falcon, 0)?;
    }
    let fwsec = Fwsec::new(hw.chip);
    let falcon = &hw.gsp_falcon;
    let (open, secure) = fwsec.imem.split_at(fwsec.secure_base as usize);
    ucode::code(falcon, "fwsec-image", 0, false, open)?;
    ucode::code(falcon, "fwsec-image", fwsec.secure_base, true, secure)?;

    let mut holes = vec![(Fwsec::INIT_CMD, 4), (Fwsec::COMMAND, COMMAND_LEN)];
    if let Some(right) = fwsec.signatures.first() {
        let at = fwsec.pkc_data_offset;
        holes.push((at, right.len()));
        ucode::signature(falcon, "fwsec-signature", at, right, &fwsec.signatures)?;
    }
    ucode::data(falcon, "fwsec-image", &fwsec.dmem, &holes)?;
    let brom = Brom {
        mod_sel: 1,
        ucode_id: fwsec.ucode_id.into(),
        engine_id_mask: fwsec.engine_id_mask.into(),
        paraaddr: fwsec.pkc_data_offset,
    };
    ucode::brom(arch, falcon, brom)
}

/// The generic boot loader: copies non-secure code, secure code and data from memory.
fn generic_loader(hw: &mut Machine) -> Checked {
    let falcon = &mut hw.gsp_falcon;
    known_loader(falcon, hw.firmware.as_ref().map(|f| f.loaders.as_slice()).unwrap_or_default())?;
    let desc = falcon.memory.data(0, LOADER_DESC).unwrap_or_default();
    let word = |at: usize| {
        let bytes = desc.get(at..at + 4).unwrap_or(&[0; 4]);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    let long = |at: usize| u64::from(word(at + 4)) << 32 | u64::from(word(at));
    let (index, code_base, entry) = (word(32), long(36), word(60));
    let (data_base, data_len) = (long(64), word(72));
    let segments = [(word(44), word(48), false), (word(52), word(56), true)];

    let odd = |addr: u64| addr & 0xff != 0;
    let bad = index > 7 || odd(code_base) || odd(data_base) || entry != 0 || odd(data_len.into());
    ensure(!bad, "fwsec-loader", || {
        format!(
            "boot loader descriptor: context {index}, entry {entry:#x}, code at {code_base:#x}, {data_len:#x} bytes of data at {data_base:#x}"
        )
    })?;
    for (offset, len, secure) in segments {
        let fits = u64::from(offset) + u64::from(len) <= 0x1_0000;
        ensure(fits && (offset | len) & 0xff == 0, "fwsec-loader", || {
            format!("code of {len:#x} bytes at {offset:#x}")
        })?;
        let from = code_base.wrapping_add(offset.into());
        let bytes = fetch(falcon, &mut hw.env, index, from, len)?;
        // Checked above: it fits.
        let _ = falcon.memory.load_code(offset, offset, secure, &bytes);
    }
    ensure(data_len <= 0x1_0000, "fwsec-loader", || format!("{data_len:#x} bytes of data"))?;
    let bytes = fetch(falcon, &mut hw.env, index, data_base, data_len)?;
    let _ = falcon.memory.load_data(0, &bytes);
    Ok(())
}

/// Refuses unless BOOTVEC leads to a boot loader whose effect the model knows.
fn known_loader(falcon: &Falcon, loaders: &[crate::firmware::Loader]) -> Checked {
    let mut why = None;
    for loader in loaders {
        let start = loader.start_tag << 8;
        let checked = ucode::entry(falcon, start)
            .and_then(|()| ucode::code(falcon, "fwsec-loader", start, false, &loader.code));
        match checked {
            Ok(()) => return Ok(()),
            Err(e) => why = why.or(Some(e)),
        }
    }
    match why {
        Some(why) => Err(why),
        // No files to compare with; something must at least be there to run.
        None => ensure(falcon.memory.lookup(falcon.bootvec).is_some(), "bootvec", || {
            format!("no code at BOOTVEC {:#x}", falcon.bootvec)
        }),
    }
}

/// The boot loader's DMA.
fn fetch(
    falcon: &Falcon,
    env: &mut crate::env::Env,
    index: u32,
    from: u64,
    len: u32,
) -> Checked<Vec<u8>> {
    // The DMA has reported why it failed; this says what for.
    falcon
        .fetch(env, index, from, len as usize)
        .ok_or_else(|| Reject::new("fwsec-loader", format!("{len:#x} bytes at {from:#x}")))
}

/// A word of the command buffer.
fn command(falcon: &Falcon, at: u32) -> u32 {
    falcon.memory.data_u32(Fwsec::COMMAND + at).unwrap_or(0)
}

/// Checks the part of the command that says where FWSEC finds the ROM.
fn read_vbios(falcon: &Falcon) -> Checked {
    // Version 1, 24 bytes, no address and size: flags 2 let it read the ROM by itself.
    let words: Vec<u32> = (0..6).map(|n| command(falcon, n * 4)).collect();
    ensure(words == [1, 24, 0, 0, 0, 2], "fwsec-command", || format!("read_vbios {words:x?}"))
}

/// FRTS: makes WPR2 of the region that the driver names.
fn frts(hw: &mut Machine) -> Checked {
    let falcon = &hw.gsp_falcon;
    read_vbios(falcon)?;
    let words: Vec<u32> = (6..11).map(|n| command(falcon, n * 4)).collect();
    let (lo, size) = (u64::from(words[2]) << 12, u64::from(words[3]) << 12);
    let hi = lo + size;
    // Version 1, 20 bytes, in VRAM.
    ensure(words[..2] == [1, 20] && words[4] == 2, "fwsec-command", || {
        format!("frts_region {words:x?}")
    })?;
    let aligned = lo % WPR_ALIGN == 0 && hi % WPR_ALIGN == 0;
    ensure(aligned && size > 0 && hi <= hw.env.mem.vram_size(), "fwsec-command", || {
        format!("FRTS region {lo:#x}..{hi:#x}")
    })?;
    ensure(hw.wpr2.hi == 0, "wpr2", || format!("WPR2 is already up at {:#x}", hw.wpr2.lo))?;
    hw.wpr2 = Wpr2 { lo, hi };
    Ok(())
}
