// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whether the model notices: a driver that does one thing wrong must be caught, each time.
//!
//! A small driver that shares no code with the model boots it, copies memory and shuts it down. The
//! clean run has no violation. Then each run changes one fact of what the driver does; either the
//! judge names the rule that was broken, or the driver itself must be left without its result,
//! where that is what hardware does (nobody sees a doorbell that was not rung). The test prints
//! what caught what; see it with `cargo test --test sabotage -- --nocapture`.

mod driver;

use std::fmt::Write;
use std::fs::File;

use driver::blobs::{Blobs, Microcode};
use driver::{Driver, RAM_BASE, RAM_SIZE, Result, Sabotage};
use ghostnv_gpu::chip::Chip;
use ghostnv_gpu::env::Env;
use ghostnv_gpu::firmware::{Booter, Bootloader, FirmwareSet, GspImage, Segment};
use ghostnv_gpu::gpu::Gpu;
use ghostnv_gpu::machine::Machine;

const VRAM: u64 = 512 << 20;

/// What must notice.
enum By {
    /// The judge, under this rule.
    Rule(&'static str),
    /// The driver, with this error; hardware has no way to know.
    Driver(&'static str),
}

use By::{Driver as Noticed, Rule};

/// Every sabotage and what must notice it.
const CASES: &[(Sabotage, By)] = &[
    (Sabotage::BusMasterOff, Rule("falcon-dma")),
    (Sabotage::FwsecSignature, Rule("fwsec-signature")),
    (Sabotage::FwsecByte, Rule("fwsec-image")),
    (Sabotage::FwsecBrom, Rule("brom")),
    (Sabotage::FwsecRegion, Rule("fwsec-command")),
    (Sabotage::CoreSelect, Rule("falcon-start")),
    (Sabotage::FalconDmaAddress, Rule("falcon-dma")),
    (Sabotage::BooterSignature, Rule("booter-signature")),
    (Sabotage::BooterEntry, Rule("bootvec")),
    (Sabotage::MetaMagic, Rule("wpr-meta")),
    (Sabotage::MetaFrts, Rule("wpr-meta")),
    (Sabotage::MetaHeap, Rule("wpr-meta")),
    (Sabotage::Radix3Entry, Rule("radix3")),
    (Sabotage::Radix3Order, Rule("gsp-image")),
    (Sabotage::GspByte, Rule("gsp-image")),
    (Sabotage::GspSignature, Rule("gsp-signature")),
    (Sabotage::BootloaderOffset, Rule("bootloader-image")),
    (Sabotage::RmArgsName, Rule("gsp-boot-args")),
    (Sabotage::SharedPages, Rule("gsp-boot-args")),
    (Sabotage::QueueGeometry, Rule("queue-header")),
    (Sabotage::SystemInfoDevice, Rule("system-info")),
    (Sabotage::RegistrySize, Rule("registry")),
    (Sabotage::BootOrder, Rule("rpc-order")),
    (Sabotage::NoQueueDoorbell, Noticed("timeout: message")),
    (Sabotage::RpcChecksum, Rule("rpc-checksum")),
    (Sabotage::RpcSequence, Rule("rpc-sequence")),
    (Sabotage::RpcSignature, Rule("rpc-signature")),
    (Sabotage::RpcLength, Rule("rpc-length")),
    (Sabotage::RpcElements, Rule("rpc-elem-count")),
    (Sabotage::WritePointer, Rule("queue-pointer")),
    (Sabotage::UnknownHandle, Rule("rm-handle")),
    (Sabotage::DuplicateHandle, Rule("rm-handle")),
    (Sabotage::WrongClass, Rule("rm-class")),
    (Sabotage::WrongParent, Rule("rm-class")),
    (Sabotage::WrongSize, Rule("rm-params")),
    (Sabotage::PageDirectorySize, Rule("rm-params")),
    (Sabotage::RingSize, Rule("rm-params")),
    (Sabotage::UserdAddress, Rule("channel-memory")),
    (Sabotage::EngineRunlist, Rule("rm-params")),
    (Sabotage::ScheduleUnbound, Rule("channel-schedule")),
    (Sabotage::DoubleFree, Rule("rm-handle")),
    (Sabotage::FreeSpaceFirst, Rule("rm-handle")),
    (Sabotage::PteInvalid, Rule("engine-fault")),
    (Sabotage::PtePastVram, Rule("pte-target")),
    (Sabotage::PteUnmapped, Rule("pte-target")),
    (Sabotage::PteReadOnly, Rule("engine-fault")),
    (Sabotage::PteKind, Rule("engine-fault")),
    (Sabotage::PdeInvalid, Rule("gpfifo-fault")),
    (Sabotage::NoInvalidate, Rule("tlb-stale")),
    (Sabotage::InvalidateOther, Rule("tlb-stale")),
    (Sabotage::BarUnmapped, Rule("bar-fault")),
    (Sabotage::PteIntoWpr2, Rule("pte-target")),
    (Sabotage::PraminIntoWpr2, Rule("pramin-range")),
    (Sabotage::PraminPastEnd, Rule("pramin-range")),
    (Sabotage::NoDoorbell, Noticed("timeout: interrupt")),
    (Sabotage::WrongToken, Noticed("timeout: interrupt")),
    (Sabotage::NoPut, Noticed("timeout: interrupt")),
    (Sabotage::PutRange, Rule("gp-put-range")),
    (Sabotage::EntryOpcode, Rule("pbdma-error")),
    (Sabotage::SegmentUnmapped, Rule("pushbuffer-fault")),
    (Sabotage::BadHeader, Rule("pbdma-error")),
    (Sabotage::SoftwareMethod, Rule("pbdma-error")),
    (Sabotage::HostMethod, Rule("pbdma-error")),
    (Sabotage::SemaphoreAlignment, Rule("pbdma-error")),
    (Sabotage::CopyPitch, Rule("copy-launch")),
    (Sabotage::CopyField, Rule("copy-launch")),
    (Sabotage::PhysicalCopy, Rule("copy-method")),
    (Sabotage::LeafDisabled, Noticed("timeout: interrupt")),
    (Sabotage::NotRearmed, Noticed("timeout: interrupt")),
    (Sabotage::UnloadLength, Rule("rpc-length")),
    (Sabotage::LoadInsteadOfUnload, Rule("wpr-meta")),
];

/// The files that the model compares with.
fn files(blobs: &Blobs) -> FirmwareSet {
    let booter = |m: &Microcode| Booter {
        image: m.image.clone(),
        code: Segment { offset: 0, len: m.app.0 },
        app: Segment { offset: m.app.0, len: m.app.1 },
        data: Segment { offset: m.data.0, len: m.data.1 },
        patch_loc: m.patch_loc,
        signatures: m.signatures.clone(),
        fuse_version: m.fuse_version,
        engine_id_mask: m.engine_id_mask,
        ucode_id: m.ucode_id,
    };
    FirmwareSet {
        booter_load: booter(&blobs.load),
        booter_unload: booter(&blobs.unload),
        bootloader: Bootloader {
            image: blobs.bootloader.clone(),
            code_offset: blobs.code_offset,
            data_offset: blobs.data_offset,
            manifest_offset: blobs.manifest_offset,
            app_version: blobs.app_version,
        },
        loaders: Vec::new(),
        gsp: GspImage { image: blobs.gsp.clone(), signature: blobs.gsp_signature.clone() },
    }
}

/// A new card in a new machine, and the driver's run on it.
fn run(blobs: &Blobs, sabotage: Sabotage) -> (Driver, Result) {
    let fd = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, RAM_SIZE).unwrap();
    let ram = File::from(fd);
    let mut env = Env::new(VRAM).unwrap();
    env.mem.dma_map(RAM_BASE, RAM_SIZE, Some((ram.try_clone().unwrap(), 0)), true).unwrap();
    let chip = Chip::find("ga102").unwrap();
    let gpu = Gpu::new(Machine::new(chip, env, Some(files(blobs))));
    let mut driver = Driver::new(gpu, ram, blobs.clone(), sabotage);
    let result = driver.run();
    (driver, result)
}

/// The rules that a run broke, each with its first text.
fn violations(driver: &Driver) -> Vec<(&'static str, String)> {
    let judge = &driver.card.gpu.hw.env.judge;
    let first = |(rule, tally): (&&'static str, &ghostnv_gpu::env::judge::Tally)| {
        (*rule, tally.texts.first().map(|(_, text)| text.clone()).unwrap_or_default())
    };
    judge.violations.iter().map(first).collect()
}

#[test]
fn a_correct_driver_is_clean() {
    let (driver, result) = run(&Blobs::new(), Sabotage::Nothing);
    assert_eq!(violations(&driver), []);
    assert_eq!(result, Ok(()));
    let notes = &driver.card.gpu.hw.env.judge.notes;
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn every_sabotage_is_caught() {
    let blobs = Blobs::new();
    let mut table = String::new();
    let mut missed = Vec::new();
    for (sabotage, by) in CASES {
        let (driver, result) = run(&blobs, *sabotage);
        let found = violations(&driver);
        let (caught, what) = match by {
            Rule(rule) => match found.iter().find(|(r, _)| r == rule) {
                Some((_, text)) => (true, format!("{rule}: {text}")),
                None => (false, format!("NOT {rule}, but {found:?}; driver: {result:?}")),
            },
            Noticed(text) => match &result {
                Err(e) if e.starts_with(text) && found.is_empty() => (true, format!("driver: {e}")),
                _ => (false, format!("NOT {text:?}, but {found:?}; driver: {result:?}")),
            },
        };
        let name = format!("{sabotage:?}");
        let _ = writeln!(table, "{name:<20} -> {what}");
        if !caught {
            missed.push(name);
        }
    }
    let _ = writeln!(table, "{} sabotages, {} caught", CASES.len(), CASES.len() - missed.len());
    // Where scripts/test finds it: what a test that passes prints is not shown.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/sabotage.txt"), &table).unwrap();
    assert!(missed.is_empty(), "not caught: {missed:?}\n{table}");
}
