// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A driver's boot, step by step, with fabricated firmware; and every step done wrong.

use std::fs::File;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;
use crate::chip::{Arch, Chip};
use crate::env::fault::FaultPlan;
use crate::env::mem::Phys;
use crate::falcon::{Event, Falcon};
use crate::firmware::{Booter, tests::fabricate};
use crate::vbios::Fwsec;

const VRAM: u64 = 256 << 20;
const RAM: u64 = 0x1_0000_0000;
const META: u64 = RAM + 0xa000;
const ROOT: u64 = RAM + 0x1000;
const LEVEL1: u64 = RAM + 0x2000;
const LEVEL2: u64 = RAM + 0x3000;
const BOOTLOADER: u64 = RAM + 0x5000;
const SIGNATURE: u64 = RAM + 0x6000;
const FWSEC: u64 = RAM + 0x8000;
const IMAGE: u64 = RAM + 0x10_0000;
const SR_META: u64 = RAM + 0x40_0000;
const SR_ROOT: u64 = RAM + 0x40_1000;
const SR_DATA: u64 = RAM + 0x80_0000;
const RAM_SIZE: u64 = 256 << 20;

const FRTS: u64 = VRAM - (2 << 20);
const WPR: u64 = 0x200_0000;
const HEAP: u64 = WPR + (1 << 20);
const GSP_FW: u64 = FRTS - (8 << 20);

/// A card and the driver's side of it.
struct Board {
    gpu: Gpu,
}

impl Board {
    fn new(name: &str) -> Self {
        let chip = Chip::find(name).expect("a chip");
        let mut env = Env::new(VRAM).expect("an environment");
        let ram = memfd_create("ghostnv-test", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&ram, RAM_SIZE).expect("memory");
        env.mem.dma_map(RAM, RAM_SIZE, Some((File::from(ram), 0)), true).expect("a map");
        let firmware = fabricate(chip);
        let mut board = Self { gpu: Gpu::new(Machine::new(chip, env, Some(firmware.clone()))) };
        let tables: Vec<u64> = (0..(firmware.gsp.image.len() as u64).div_ceil(4096))
            .map(|n| IMAGE + n * 4096)
            .collect();
        board.longs(ROOT, &[LEVEL1]);
        board.longs(LEVEL1, &[LEVEL2, LEVEL2 + 4096]);
        board.longs(LEVEL2, &tables);
        board.ram(IMAGE, &firmware.gsp.image);
        board.ram(BOOTLOADER, &firmware.bootloader.image);
        board.ram(SIGNATURE, &firmware.gsp.signature);
        board.meta(firmware.gsp.image.len() as u64);
        board
    }

    fn ram(&mut self, at: u64, bytes: &[u8]) {
        self.gpu.hw.env.mem.write(Phys::sys(at), bytes).expect("in memory");
    }

    fn longs(&mut self, at: u64, words: &[u64]) {
        for (n, word) in words.iter().enumerate() {
            self.ram(at + n as u64 * 8, &word.to_le_bytes());
        }
    }

    /// Flips a bit of memory.
    fn flip(&mut self, at: u64) {
        let mut byte = [0];
        self.gpu.hw.env.mem.read(Phys::sys(at), &mut byte).expect("in memory");
        self.ram(at, &[byte[0] ^ 1]);
    }

    fn meta(&mut self, image: u64) {
        self.longs(META, &[meta::MAGIC, 1, ROOT, image, BOOTLOADER, 0x1000, 0x800, 0x400, 0]);
        self.longs(META + 72, &[SIGNATURE, 0x1000, WPR - (1 << 20), WPR - (1 << 20), 1 << 20]);
        self.longs(META + 112, &[WPR, HEAP, 100 << 20, GSP_FW, FRTS - 0x1000]);
        self.longs(META + 152, &[FRTS, 1 << 20, FRTS + (1 << 20), VRAM]);
        self.longs(META + 184, &[VRAM - (1 << 20), 1 << 20]);
    }

    fn falcon(&mut self, id: FalconId) -> &mut Falcon {
        match id {
            FalconId::Gsp => &mut self.gpu.hw.gsp_falcon,
            FalconId::Sec2 => &mut self.gpu.hw.sec2,
        }
    }

    /// Writes a falcon register, and lets happen what it causes.
    fn write(&mut self, id: FalconId, off: u32, value: u32) {
        let hw = &mut self.gpu.hw;
        let falcon = match id {
            FalconId::Gsp => &mut hw.gsp_falcon,
            FalconId::Sec2 => &mut hw.sec2,
        };
        match falcon.write(&mut hw.env, off, value) {
            Some(Event::Start) => run(&mut self.gpu, id),
            Some(Event::Reset) => reset(&mut self.gpu, id),
            _ => (),
        }
    }

    fn brom(&mut self, id: FalconId, slot: u32, engines: u32, ucode: u32) {
        if self.gpu.hw.chip.arch != Arch::Turing {
            for (off, value) in
                [(0x1210, slot), (0x119c, engines), (0x1198, ucode), (0x1180, 1), (0x1668, 0)]
            {
                self.write(id, off, value);
            }
        }
    }

    /// Resets the GSP and loads FWSEC with a command for `at`.
    fn load_fwsec(&mut self, command: u32, at: u64) {
        self.write(FalconId::Gsp, 0x3c0, 1);
        self.write(FalconId::Gsp, 0x3c0, 0);
        let fwsec = Fwsec::new(self.gpu.hw.chip);
        let mut dmem = fwsec.dmem.clone();
        let mut put = |at: u32, words: &[u32]| {
            for (n, word) in words.iter().enumerate() {
                let at = at as usize + n * 4;
                dmem[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        };
        put(Fwsec::INIT_CMD, &[command]);
        put(Fwsec::COMMAND, &[1, 24, 0, 0, 0, 2, 1, 20, (at >> 12) as u32, 0x100, 2]);
        if let Some(signature) = fwsec.signatures.first() {
            let slot = fwsec.pkc_data_offset as usize;
            dmem[slot..slot + signature.len()].copy_from_slice(signature);
            assert!(self.falcon(FalconId::Gsp).memory.load_code(0, 0, true, &fwsec.imem));
            assert!(self.falcon(FalconId::Gsp).memory.load_data(0, &dmem));
            self.brom(FalconId::Gsp, fwsec.pkc_data_offset, 0x400, 9);
            self.write(FalconId::Gsp, 0x104, 0);
        } else {
            self.load_through_loader(&fwsec, &dmem);
        }
        self.write(FalconId::Gsp, 0x040, 0);
    }

    fn load_through_loader(&mut self, fwsec: &Fwsec, dmem: &[u8]) {
        self.ram(FWSEC, &fwsec.imem);
        let data = FWSEC + fwsec.imem.len() as u64;
        self.ram(data, dmem);
        let code = self.gpu.hw.firmware.as_ref().expect("firmware").loaders[0].code.clone();
        let (lo, hi) = (FWSEC as u32, (FWSEC >> 32) as u32);
        let secure = fwsec.imem.len() as u32 - fwsec.secure_base;
        let mut desc = vec![0; 8];
        desc.extend([4, lo, hi, 0, fwsec.secure_base, fwsec.secure_base, secure, 0]);
        desc.extend([data as u32, (data >> 32) as u32, dmem.len() as u32, 0, 0]);
        let desc: Vec<u8> = desc.iter().flat_map(|w| u32::to_le_bytes(*w)).collect();
        let memory = &mut self.falcon(FalconId::Gsp).memory;
        assert!(memory.load_code(0x1_0000 - code.len() as u32, 0xfd00, false, &code));
        assert!(memory.load_data(0, &desc));
        for (off, value) in [(0x624, 0x80), (0x610, 5), (0x104, 0xfd00)] {
            self.write(FalconId::Gsp, off, value);
        }
    }

    fn start(&mut self, id: FalconId) -> u32 {
        self.write(id, 0x100, 2);
        assert_eq!(self.falcon(id).read(0x100), Some(0x10));
        self.falcon(id).mailbox[0]
    }

    /// Resets SEC2 and loads a booter. There are no LibOS arguments, only memory.
    fn load_booter(&mut self, pick: impl Fn(&crate::firmware::FirmwareSet) -> &Booter, addr: u64) {
        self.write(FalconId::Sec2, 0x3c0, 1);
        self.write(FalconId::Sec2, 0x3c0, 0);
        self.gpu.hw.gsp_falcon.mailbox = [(RAM + 0x9000) as u32, ((RAM + 0x9000) >> 32) as u32];
        let booter = pick(self.gpu.hw.firmware.as_ref().expect("firmware")).clone();
        let slot = booter.patch_loc - booter.data.offset;
        let turing = self.gpu.hw.chip.arch == Arch::Turing;
        let memory = &mut self.falcon(FalconId::Sec2).memory;
        let at = if turing { booter.app.offset } else { 0 };
        assert!(memory.load_code(at, booter.app.offset, true, booter.bytes(booter.app)));
        assert!(memory.load_data(0, booter.bytes(booter.data)));
        assert!(memory.load_data(slot, booter.signature()));
        if turing {
            assert!(memory.load_code(0, 0, false, booter.bytes(booter.code)));
        }
        self.brom(FalconId::Sec2, slot, 1, 3);
        self.write(FalconId::Sec2, 0x104, if turing { 0 } else { booter.app.offset });
        self.write(FalconId::Sec2, 0x040, addr as u32);
        self.write(FalconId::Sec2, 0x044, (addr >> 32) as u32);
    }

    fn boot(&mut self) -> u32 {
        self.load_fwsec(0x15, FRTS);
        assert_eq!(self.start(FalconId::Gsp), 0);
        self.load_booter(|f| &f.booter_load, META);
        self.start(FalconId::Sec2)
    }

    fn unload(&mut self, addr: u64) -> u32 {
        self.load_fwsec(0x19, 0);
        assert_eq!(self.start(FalconId::Gsp), 0);
        assert_eq!(read(&mut self.gpu.hw, 0x1454), Some(0));
        self.load_booter(|f| &f.booter_unload, addr);
        self.start(FalconId::Sec2)
    }

    /// Rules violated, apart from the GSP's own.
    fn rules(&self) -> Vec<&'static str> {
        let all = self.gpu.hw.env.judge.violations.keys().copied();
        all.filter(|rule| !rule.starts_with("gsp-boot") && !rule.starts_with("gsp-resume"))
            .collect()
    }

    fn active(&self) -> bool {
        self.gpu.hw.gsp_falcon.riscv_active
    }

    fn wpr2(&mut self) -> (u32, u32) {
        let mut get = |off| read(&mut self.gpu.hw, off).expect("known");
        (get(0x1f_a824), get(0x1f_a828))
    }
}

#[test]
fn boots_and_unloads() {
    for name in ["ga102", "tu102", "ad102"] {
        let mut b = Board::new(name);
        assert_eq!(b.wpr2(), (0, 0));
        b.load_fwsec(0x15, FRTS);
        assert_eq!(b.start(FalconId::Gsp), 0, "{name}: {:?}", b.rules());
        assert_eq!(b.wpr2(), ((FRTS >> 8) as u32, ((FRTS + (1 << 20)) >> 8) as u32));
        assert_eq!(read(&mut b.gpu.hw, 0x1438), Some(0));
        b.load_booter(|f| &f.booter_load, META);
        assert_eq!(b.start(FalconId::Sec2), 0, "{name}");
        assert!(b.active() && b.rules().is_empty(), "{name}: {:?}", b.rules());
        assert_eq!(b.wpr2(), ((WPR >> 8) as u32, ((FRTS + (1 << 20)) >> 8) as u32));
        assert_eq!(b.unload(0xff_0000_00ff), 0);
        assert_eq!(b.wpr2(), (0, 0));
        assert!(!b.active() && b.rules().is_empty(), "{name}: {:?}", b.rules());
    }
}

#[test]
fn an_empty_falcon_halts_and_keeps_its_mailboxes() {
    let mut b = Board::new("ga102");
    b.write(FalconId::Gsp, 0x040, 0x1234);
    assert_eq!(b.start(FalconId::Gsp), 0x1234);
    assert!(b.rules().is_empty());
}

/// Something done wrong before booter_load starts.
type Spoil = fn(&mut Board);

#[test]
fn booter_refuses_what_is_wrong() {
    let cases: &[(&str, Spoil)] = &[
        ("radix3", |b| b.longs(ROOT, &[0])),
        ("radix3", |b| b.longs(LEVEL1, &[LEVEL2 + 8])),
        ("radix3", |b| b.longs(LEVEL1 + 8, &[RAM + RAM_SIZE])),
        ("radix3", |b| b.longs(LEVEL2 + 4096 + 16, &[0xdead_b000])),
        ("gsp-image", |b| b.longs(LEVEL2 + 8, &[IMAGE])),
        ("gsp-image", |b| b.longs(META + 24, &[4096])),
        ("gsp-image", |b| b.flip(IMAGE + 514 * 4096 + 7)),
        ("gsp-image", |b| b.flip(IMAGE + 515 * 4096 + 0xe9f)),
        ("gsp-signature", |b| b.flip(SIGNATURE)),
        ("gsp-signature", |b| b.longs(META + 80, &[0x800])),
        ("bootloader-image", |b| b.flip(BOOTLOADER + 0xfff)),
        ("bootloader-image", |b| b.longs(META + 48, &[0])),
        ("wpr-meta", |b| b.flip(META)),
        ("wpr-meta", |b| b.longs(META + 8, &[2])),
        ("wpr-meta", |b| b.longs(META + 120, &[WPR])),
        ("wpr-meta", |b| b.longs(META + 128, &[VRAM])),
        ("wpr-meta", |b| b.longs(META + 128, &[u64::MAX])),
        ("wpr-meta", |b| b.longs(META + 152, &[FRTS - 0x2_0000])),
        ("wpr-meta", |b| b.longs(META + 176, &[VRAM * 2])),
        ("wpr-meta", |b| b.write(FalconId::Sec2, 0x044, 0x77)),
        ("brom", |b| b.write(FalconId::Sec2, 0x1210, 0)),
        ("brom", |b| b.write(FalconId::Sec2, 0x1198, 9)),
        ("bootvec", |b| b.write(FalconId::Sec2, 0x104, 0)),
        ("booter-signature", |b| {
            let set = b.gpu.hw.firmware.as_ref().expect("firmware");
            let old = set.booter_load.signatures[0].clone();
            assert!(b.falcon(FalconId::Sec2).memory.load_data(0x10, &old));
        }),
        ("booter-image", |b| {
            assert!(b.falcon(FalconId::Sec2).memory.load_data(0x1f0, &[0; 4]));
        }),
        ("booter-image", |b| {
            assert!(b.falcon(FalconId::Sec2).memory.load_code(0x100, 0x200, true, &[0; 256]));
        }),
        ("booter-image", |b| {
            let code = b.falcon(FalconId::Sec2).memory.code(0x100, 256, true).expect("loaded");
            assert!(b.falcon(FalconId::Sec2).memory.load_code(0, 0x100, false, &code));
        }),
        ("wpr2", |b| b.gpu.hw.gsp_falcon.riscv_active = true),
    ];
    for (n, (rule, spoil)) in cases.iter().enumerate() {
        let mut b = Board::new("ga102");
        b.load_fwsec(0x15, FRTS);
        b.start(FalconId::Gsp);
        b.load_booter(|f| &f.booter_load, META);
        spoil(&mut b);
        assert_ne!(b.start(FalconId::Sec2), 0, "case {n}: {rule}");
        assert_eq!(b.rules(), [*rule], "case {n}");
        assert!(!b.gpu.gsp.running, "case {n}");
        assert_eq!(b.wpr2().0, (FRTS >> 8) as u32, "case {n}");
    }
}

#[test]
fn fwsec_refuses_what_is_wrong() {
    let cases: &[(&str, &str, Spoil)] = &[
        ("ga102", "fwsec-image", |b| {
            assert!(b.falcon(FalconId::Gsp).memory.load_data(0x400, &[0; 8]));
        }),
        ("ga102", "fwsec-image", |b| {
            assert!(b.falcon(FalconId::Gsp).memory.load_code(0x100, 0x100, true, &[0; 256]));
        }),
        ("ga102", "fwsec-signature", |b| {
            let other = Fwsec::new(b.gpu.hw.chip).signatures[1].clone();
            assert!(b.falcon(FalconId::Gsp).memory.load_data(0x100, &other));
        }),
        ("ga102", "brom", |b| b.write(FalconId::Gsp, 0x119c, 1)),
        ("ga102", "fwsec-command", |b| {
            assert!(b.falcon(FalconId::Gsp).memory.load_data(Fwsec::COMMAND + 40, &[1]));
        }),
        ("ga102", "fwsec-command", |b| {
            assert!(b.falcon(FalconId::Gsp).memory.load_data(Fwsec::COMMAND + 32, &[0xff; 8]));
        }),
        ("ga102", "fwsec-command", |b| {
            assert!(b.falcon(FalconId::Gsp).memory.load_data(Fwsec::INIT_CMD, &[0x99]));
        }),
        ("ga102", "wpr2", |b| b.gpu.hw.wpr2 = crate::machine::Wpr2 { lo: 0, hi: 0x2_0000 }),
        ("tu102", "fwsec-image", |b| b.flip(FWSEC)),
        ("tu102", "fwsec-image", |b| b.flip(FWSEC + 0x700)),
        ("tu102", "fwsec-loader", |b| {
            assert!(b.falcon(FalconId::Gsp).memory.load_data(76 - 4, &[0xff; 4]));
        }),
        ("tu102", "bootvec", |b| b.write(FalconId::Gsp, 0x104, 0)),
    ];
    for (n, (name, rule, spoil)) in cases.iter().enumerate() {
        let mut b = Board::new(name);
        b.load_fwsec(0x15, FRTS);
        spoil(&mut b);
        let before = b.gpu.hw.wpr2.hi;
        b.start(FalconId::Gsp);
        assert_eq!(b.rules(), [*rule], "case {n}");
        assert_eq!(b.gpu.hw.wpr2.hi, before, "case {n}");
    }
}

#[test]
fn suspend_keeps_every_page_or_refuses() {
    let size = FRTS + (1 << 20) - WPR;
    let pages: Vec<u64> = (0..size / 4096).map(|n| SR_DATA + n * 4096).collect();
    for spoil in [false, true] {
        let mut b = Board::new("ga102");
        assert_eq!(b.boot(), 0);
        b.longs(SR_META, &[suspend::MAGIC, 2, SR_ROOT, size]);
        b.longs(SR_ROOT, &[SR_ROOT + 0x1000]);
        let level2: Vec<u64> =
            (0..pages.len().div_ceil(512) as u64).map(|n| SR_ROOT + 0x2000 + n * 4096).collect();
        b.longs(SR_ROOT + 0x1000, &level2);
        b.longs(SR_ROOT + 0x2000, &pages);
        assert_eq!(b.unload(SR_META), 0, "{:?}", b.rules());
        assert_eq!(b.wpr2(), (0, 0));
        if spoil {
            b.flip(pages[pages.len() - 1] + 4095);
        }
        b.load_booter(|f| &f.booter_load, SR_META);
        assert_eq!(b.start(FalconId::Sec2) == 0, !spoil);
        assert_eq!(b.active(), !spoil);
        let expected: &[&str] = if spoil { &["sr-data"] } else { &[] };
        assert_eq!(b.rules(), expected);
        let wpr2 = if spoil { 0 } else { (WPR >> 8) as u32 };
        assert_eq!(b.wpr2().0, wpr2);
    }
}

#[test]
fn faults_stop_the_boot_at_their_stage() {
    for stage in ["gfw", "fwsec", "booter", "riscv", "booter-unload"] {
        let mut b = Board::new("ga102");
        let script = format!("[[fault]]\nkind = \"boot\"\nstage = \"{stage}\"\n");
        b.gpu.hw.env.faults = FaultPlan::parse(&script).expect("a script");
        let gfw = read(&mut b.gpu.hw, 0x11_8234);
        assert_eq!(gfw, Some(if stage == "gfw" { 0 } else { 0xff }));
        assert_eq!(read(&mut b.gpu.hw, 0x11_8234), gfw);
        b.load_fwsec(0x15, FRTS);
        b.start(FalconId::Gsp);
        let failed = read(&mut b.gpu.hw, 0x1438) != Some(0);
        assert_eq!((failed, b.wpr2().1 == 0), (stage == "fwsec", stage == "fwsec"));
        b.load_booter(|f| &f.booter_load, META);
        let failed = b.start(FalconId::Sec2) != 0;
        assert_eq!(failed, stage == "booter" || stage == "fwsec");
        assert_eq!(b.active(), !failed && stage != "riscv");
        if stage == "booter-unload" {
            assert_ne!(b.unload(0xff_0000_00ff), 0);
            assert_ne!(b.wpr2().1, 0);
        }
    }
}
