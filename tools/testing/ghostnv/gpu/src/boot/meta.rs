// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The WPR meta: 256 bytes with which the driver tells booter what to load and where.

use crate::chip::{Arch, Chip};
use crate::env::Env;
use crate::env::mem::Phys;
use crate::firmware::FirmwareSet;
use crate::machine::Wpr2;

use super::fwsec::WPR_ALIGN;
use super::{Checked, Reject, ensure, radix3, ucode};

/// Bytes of the WPR and suspend-resume metas.
pub(super) const LEN: usize = 256;
/// `GSP_FW_WPR_META_MAGIC`.
pub(super) const MAGIC: u64 = 0xdc3a_ae21_371a_60b3;
/// What booter stores in its own copy's `verified`.
pub(super) const VERIFIED: u64 = 0xa0a0_a0a0_a0a0_a0a0;
/// Offset of `verified`.
pub(super) const VERIFIED_AT: usize = 248;
/// Offset of a union that only firmware uses.
pub(super) const UNION_AT: usize = 208;
/// Bytes of the signature of GSP-RM.
const SIGNATURE_LEN: u64 = 0x1000;

/// A meta as it lies in memory.
pub(super) struct Meta(pub(super) [u8; LEN]);

impl Meta {
    /// Reads the meta at a system memory address.
    pub(super) fn read(env: &mut Env, addr: u64, rule: &'static str) -> Checked<Self> {
        let mut bytes = [0; LEN];
        match env.mem.read(Phys::sys(addr), &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(e) => Err(Reject::new(rule, e.to_string())),
        }
    }

    /// A 64-bit field.
    pub(super) fn long(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.0.get(at..at + 8).unwrap_or(&[0; 8]));
        u64::from_le_bytes(bytes)
    }

    pub(super) fn wpr(&self) -> Wpr2 {
        Wpr2 { lo: self.long(112), hi: self.long(168) }
    }

    pub(super) fn non_wpr_heap(&self) -> u64 {
        self.long(96)
    }

    pub(super) fn frts(&self) -> u64 {
        self.long(152)
    }

    pub(super) fn fb_size(&self) -> u64 {
        self.long(176)
    }

    /// Checks everything that needs no other memory.
    pub(super) fn check(&self, chip: &Chip, vram: u64, frts: Wpr2) -> Checked {
        let word = |at| self.long(at);
        ensure(word(0) == MAGIC && word(8) == 1, "wpr-meta", || {
            format!("magic {:#x}, revision {}", word(0), word(8))
        })?;
        ensure(word(VERIFIED_AT) == 0, "wpr-meta", || "already marked as verified".into())?;
        ensure(self.fb_size() == vram, "wpr-meta", || {
            format!("fbSize {:#x} for {vram:#x}", self.fb_size())
        })?;
        self.check_order()?;
        self.check_alignment()?;
        let heap_min = if chip.arch == Arch::Turing { 64 << 20 } else { 88 << 20 };
        ensure(word(128) >= heap_min, "wpr-meta", || {
            format!("WPR heap of {:#x} bytes for at least {heap_min:#x}", word(128))
        })?;
        let (lo, hi) = (word(152), word(152).saturating_add(word(160)));
        ensure(frts.hi != 0 && (lo, hi) == (frts.lo, frts.hi), "wpr-meta", || {
            format!("FRTS {lo:#x}..{hi:#x}, but FWSEC made {:#x}..{:#x}", frts.lo, frts.hi)
        })
    }

    /// Checks that the regions follow each other without overlap, up to the end of VRAM.
    fn check_order(&self) -> Checked {
        let word = |at| self.long(at);
        // Name, start, length.
        let regions = [
            ("gspFwRsvdStart", word(88), 0),
            ("nonWprHeap", word(96), word(104)),
            ("gspFwWprStart", word(112), LEN as u64),
            ("gspFwHeap", word(120), word(128)),
            ("gspFw", word(136), word(24)),
            ("bootBin", word(144), word(40)),
            ("frts", word(152), word(160)),
            ("gspFwWprEnd", word(168), 0),
            ("vgaWorkspace", word(184), word(192)),
            ("fbSize", word(176), 0),
        ];
        let mut end = 1;
        for (name, start, len) in regions {
            ensure(start >= end, "wpr-meta", || format!("{name} {start:#x} is below {end:#x}"))?;
            end = start.checked_add(len).ok_or_else(|| {
                Reject::new("wpr-meta", format!("{name} of {len:#x} bytes at {start:#x}"))
            })?;
        }
        Ok(())
    }

    /// Checks what must be aligned.
    fn check_alignment(&self) -> Checked {
        let aligned = [
            ("radix3", 16, 0x1000),
            ("bootloader", 32, 0x1000),
            ("signature", 72, 0x100),
            ("gspFwWprStart", 112, WPR_ALIGN),
            ("gspFwHeap", 120, 0x10_0000),
            ("gspFw", 136, 0x1_0000),
            ("bootBin", 144, 0x1000),
            ("frts", 152, WPR_ALIGN),
            ("gspFwWprEnd", 168, WPR_ALIGN),
        ];
        for (name, at, align) in aligned {
            let addr = self.long(at);
            ensure(addr != 0 && addr % align == 0, "wpr-meta", || format!("{name} {addr:#x}"))?;
        }
        Ok(())
    }

    /// Checks what the meta points to: with firmware files byte by byte, without only that it is
    /// there.
    pub(super) fn check_images(&self, env: &mut Env, files: Option<&FirmwareSet>) -> Checked {
        self.check_bootloader(env, files)?;
        let signature = self.fetch(env, "gsp-signature", 72, 80, SIGNATURE_LEN)?;
        if let Some(files) = files {
            ucode::same("gsp-signature", "signature", &signature, &files.gsp.signature)?;
        }
        self.check_gsp(env, files.map(|f| f.gsp.image.as_slice()))
    }

    /// The RISC-V boot loader and its offsets.
    fn check_bootloader(&self, env: &mut Env, files: Option<&FirmwareSet>) -> Checked {
        let image = self.fetch(env, "bootloader-image", 32, 40, 1 << 20)?;
        let Some(file) = files.map(|f| &f.bootloader) else { return Ok(()) };
        ucode::same("bootloader-image", "boot loader", &image, &file.image)?;
        let got = [self.long(48), self.long(56), self.long(64)];
        let expected = [file.code_offset, file.data_offset, file.manifest_offset].map(u64::from);
        ensure(got == expected, "bootloader-image", || {
            format!("code, data, manifest at {got:x?} for {expected:x?}")
        })
    }

    /// GSP-RM's image, page by page.
    fn check_gsp(&self, env: &mut Env, file: Option<&[u8]>) -> Checked {
        let size = self.long(24);
        if let Some(file) = file {
            ensure(size == file.len() as u64, "gsp-image", || {
                format!("{size:#x} bytes for {:#x}", file.len())
            })?;
        }
        let mut page = [0; radix3::PAGE];
        radix3::walk(env, self.long(16), size, |env, n, at| {
            let from = n as usize * radix3::PAGE;
            let len = (size as usize - from).min(radix3::PAGE);
            let got = &mut page[..len];
            env.mem.read(at, got).map_err(|e| Reject::new("radix3", format!("page {n}: {e}")))?;
            match file.and_then(|f| f.get(from..from + len)) {
                Some(expected) => ucode::same("gsp-image", &format!("page {n}"), got, expected),
                None => Ok(()),
            }
        })
    }

    /// Reads what an address and a size field describe, at most `most` bytes.
    fn fetch(
        &self,
        env: &mut Env,
        rule: &'static str,
        addr: usize,
        size: usize,
        most: u64,
    ) -> Checked<Vec<u8>> {
        let (addr, size) = (self.long(addr), self.long(size));
        ensure(size > 0 && size <= most, rule, || format!("{size:#x} bytes"))?;
        let mut bytes = vec![0; size as usize];
        match env.mem.read(Phys::sys(addr), &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(e) => Err(Reject::new(rule, e.to_string())),
        }
    }
}
