// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of translation, caching and invalidation.

use super::*;

const ROOT: Phys = Phys::vram(0x1000);

/// An environment whose VRAM holds a chain of tables with 4 KiB PTEs at 0x5000 for VA 0 onwards.
fn env(ptes: &[u64]) -> Env {
    let mut env = Env::new(4 << 20).unwrap();
    let mut put = |at: u64, word: u64| env.mem.write_u64(Phys::vram(at), word).unwrap();
    put(0x1000, 0x2000 >> 4 | 2);
    put(0x2000, 0x3000 >> 4 | 2);
    put(0x3000, 0x4000 >> 4 | 2);
    put(0x4008, 0x5000 >> 4 | 2);
    for (i, pte) in ptes.iter().enumerate() {
        put(0x5000 + i as u64 * 8, *pte);
    }
    env
}

fn vram(addr: u64) -> u64 {
    addr >> 4 | 1
}

#[test]
fn neighbours_merge_and_holes_end_a_span() {
    let mut mmu = Mmu::default();
    let mut env = env(&[vram(0x8000), vram(0x9000), vram(0x20000), 0, 8]);
    let span = mmu.span(&mut env, Some(ROOT), 0x800, 1 << 20, Access::Read).unwrap();
    assert_eq!(span, Span { phys: Some(Phys::vram(0x8800)), len: 0x1800, kind: 0 });
    let last = mmu.span(&mut env, Some(ROOT), 0x2000, 1 << 20, Access::Read).unwrap();
    assert_eq!(last.len, 0x1000);
    let hole = mmu.span(&mut env, Some(ROOT), 0x3000, 4, Access::Read).unwrap_err();
    assert_eq!(hole.kind, FaultType::Pte);
    let sparse = mmu.span(&mut env, Some(ROOT), 0x4000, 4, Access::Write).unwrap();
    assert_eq!(sparse.phys, None);
    // Three pages and the hole.
    assert_eq!(mmu.cached(), 4);
    assert_eq!(env.judge.count(), 0);
}

#[test]
fn permissions() {
    let mut mmu = Mmu::default();
    let mut env = env(&[vram(0x8000) | 1 << 5, vram(0x9000) | 1 << 6, vram(0xa000) | 1 << 7]);
    let cases = [
        (0x0000, Access::Read, false, Some(FaultType::Priv)),
        (0x0000, Access::Read, true, None),
        (0x1000, Access::Read, false, None),
        (0x1000, Access::Write, false, Some(FaultType::Ro)),
        (0x2000, Access::Write, false, None),
        (0x2000, Access::Atomic, false, Some(FaultType::Atomic)),
    ];
    for (va, access, privileged, want) in cases {
        mmu.privileged = privileged;
        let got = mmu.span(&mut env, Some(ROOT), va, 4, access).err().map(|f| f.kind);
        assert_eq!(got, want, "{va:#x} {access:?}");
    }
    let none = mmu.read_u32(&mut env, None, 0).unwrap_err();
    assert_eq!(none.kind, FaultType::UnboundInstBlock);
}

#[test]
fn stale_entries_are_used_and_told_once() {
    let mut mmu = Mmu::default();
    let mut env = env(&[vram(0x8000)]);
    mmu.write_u32(&mut env, Some(ROOT), 0, 0x1234).unwrap();
    env.mem.write_u64(Phys::vram(0x5000), vram(0x9000)).unwrap();
    for _ in 0..2 {
        assert_eq!(mmu.read_u32(&mut env, Some(ROOT), 0), Ok(0x1234));
    }
    assert_eq!(env.judge.violations["tlb-stale"].count, 1);
    assert!(mmu.write_reg(&mut env, 0xb8_30a0, 0x1000 >> 8));
    assert!(mmu.write_reg(&mut env, 0xb8_30b0, 1 << 31 | 1));
    assert_eq!(mmu.read_reg(0xb8_30b0), Some(1));
    assert_eq!(mmu.read_u32(&mut env, Some(ROOT), 0), Ok(0));
    assert_eq!(env.judge.count(), 1);
}

/// What a read of a word gets.
fn read(mmu: &mut Mmu, env: &mut Env, va: u64) -> Result<u32, FaultType> {
    mmu.read_u32(env, Some(ROOT), va).map_err(|fault| fault.kind)
}

/// How often a stale entry was told.
fn told(env: &Env) -> u64 {
    env.judge.violations.get("tlb-stale").map_or(0, |tally| tally.count)
}

#[test]
fn invalid_entries_are_used_and_told_once() {
    let mut mmu = Mmu::default();
    let mut env = env(&[]);
    env.mem.write_u32(Phys::vram(0x8000), 0x1234).unwrap();
    for _ in 0..2 {
        assert_eq!(read(&mut mmu, &mut env, 0), Err(FaultType::Pte));
    }
    assert_eq!((mmu.cached(), env.judge.count()), (1, 0));
    for i in 0..2 {
        env.mem.write_u64(Phys::vram(0x5000 + i * 8), vram(0x8000)).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(read(&mut mmu, &mut env, 0), Err(FaultType::Pte));
    }
    assert_eq!(told(&env), 1);
    let (_, text) = env.judge.violations["tlb-stale"].texts.first().unwrap();
    assert!(text.contains("invalid when it was cached"), "{text}");
    // Nobody has tried the next page.
    assert_eq!(read(&mut mmu, &mut env, 0x1000), Ok(0x1234));
    assert_eq!(env.judge.count(), 1);
}

#[test]
fn an_invalidate_of_their_directory_drops_invalid_entries() {
    // Another directory, this one, all.
    let cases = [(Some(0x2000), false), (Some(0x1000), true), (None, true)];
    for (pdb, dropped) in cases {
        let mut mmu = Mmu::default();
        let mut env = env(&[]);
        assert_eq!(read(&mut mmu, &mut env, 0), Err(FaultType::Pte));
        env.mem.write_u64(Phys::vram(0x5000), vram(0x8000)).unwrap();
        mmu.invalidate(&mut env, pdb.map(Phys::vram));
        assert_eq!(mmu.cached(), usize::from(!dropped), "{pdb:?}");
        assert_eq!(read(&mut mmu, &mut env, 0).is_ok(), dropped, "{pdb:?}");
        assert_eq!(told(&env), u64::from(!dropped), "{pdb:?}");
    }
}

#[test]
fn a_missing_table_is_kept_for_the_page_that_was_tried() {
    let mut mmu = Mmu::default();
    let mut env = env(&[]);
    env.mem.write_u32(Phys::vram(0x20_0000), 0x1234).unwrap();
    let va = 0x20_0000;
    assert_eq!(read(&mut mmu, &mut env, va), Err(FaultType::Pde));
    // A table that has no page there changes nothing.
    env.mem.write_u64(Phys::vram(0x4018), 0x6000 >> 4 | 2).unwrap();
    assert_eq!(read(&mut mmu, &mut env, va), Err(FaultType::Pde));
    assert_eq!(env.judge.count(), 0);
    // The page of 2 MiB is cached for the others, and what was kept before still counts.
    env.mem.write_u64(Phys::vram(0x4010), vram(0x20_0000)).unwrap();
    assert!(read(&mut mmu, &mut env, va + 0x1000).is_ok());
    assert_eq!((mmu.cached(), env.judge.count()), (2, 0));
    assert_eq!(read(&mut mmu, &mut env, va), Err(FaultType::Pde));
    assert_eq!(told(&env), 1);
    mmu.invalidate(&mut env, Some(ROOT));
    assert_eq!(mmu.cached(), 0);
    assert_eq!(read(&mut mmu, &mut env, va), Ok(0x1234));
}

#[test]
fn sparse_and_bad_entries_leave_nothing() {
    // Sparse, a kind that does not exist, peer memory.
    for pte in [1 << 3, vram(0x8000) | 7 << 56, 1 << 1 | 1] {
        let mut mmu = Mmu::default();
        let mut env = env(&[pte]);
        env.mem.write_u32(Phys::vram(0x8000), 0x1234).unwrap();
        assert_ne!(read(&mut mmu, &mut env, 0), Ok(0x1234), "{pte:#x}");
        assert_eq!(mmu.cached(), 0, "{pte:#x}");
        env.mem.write_u64(Phys::vram(0x5000), vram(0x8000)).unwrap();
        assert_eq!(read(&mut mmu, &mut env, 0), Ok(0x1234), "{pte:#x}");
        assert_eq!(told(&env), 0, "{pte:#x}");
    }
    // But an invalid entry that became sparse is stale.
    let mut mmu = Mmu::default();
    let mut env = env(&[]);
    assert_eq!(read(&mut mmu, &mut env, 0), Err(FaultType::Pte));
    env.mem.write_u64(Phys::vram(0x5000), 1 << 3).unwrap();
    assert_eq!(read(&mut mmu, &mut env, 0), Err(FaultType::Pte));
    assert_eq!(told(&env), 1);
}

#[test]
fn what_rm_asks_leaves_no_invalid_entry() {
    let mut mmu = Mmu::default();
    let mut env = env(&[]);
    assert!(mmu.probe(&mut env, Some(ROOT), 0).is_err());
    assert_eq!(mmu.cached(), 0);
    env.mem.write_u64(Phys::vram(0x5000), vram(0x8000)).unwrap();
    assert!(mmu.probe(&mut env, Some(ROOT), 0).is_ok());
    // What a client left counts, as the engine that RM asks for would find it.
    assert_eq!(read(&mut mmu, &mut env, 0x1000), Err(FaultType::Pte));
    env.mem.write_u64(Phys::vram(0x5008), vram(0x8000)).unwrap();
    assert!(mmu.probe(&mut env, Some(ROOT), 0x1000).is_err());
    assert_eq!(told(&env), 1);
}

#[test]
fn invalid_entries_are_bounded() {
    let mut mmu = Mmu::default();
    let mut env = env(&[]);
    for page in 0..65536 {
        assert!(read(&mut mmu, &mut env, page << 12).is_err());
    }
    assert_eq!(mmu.cached(), 65536);
    assert!(read(&mut mmu, &mut env, 65536 << 12).is_err());
    assert_eq!(mmu.cached(), 1);
}

#[test]
fn an_invalidate_names_its_directory() {
    let mut mmu = Mmu::default();
    let mut env = env(&[vram(0x8000)]);
    let cases = [(0x2000 >> 8, 1, 1), (0x1000 >> 8 | 2, 1, 1), (0, 3, 0)];
    for (pdb, flags, left) in cases {
        mmu.read_u32(&mut env, Some(ROOT), 0).unwrap();
        mmu.write_reg(&mut env, 0xb8_30a0, pdb);
        mmu.write_reg(&mut env, 0xb8_30b0, 1 << 31 | flags);
        assert_eq!(mmu.cached(), left, "{pdb:#x} {flags}");
    }
    assert!(!mmu.write_reg(&mut env, 0xb8_30c0, 0));
    assert_eq!(mmu.read_reg(0xb8_30a2), None);
}

#[test]
fn targets_outside_memory_are_violations() {
    let mut mmu = Mmu::default();
    let mut env = env(&[vram(4 << 20), vram(0x8000), 0x7000_0000 >> 4 | 2 << 1 | 1]);
    for (va, n) in [(0, 1), (0x2000, 2)] {
        let fault = mmu.read_u32(&mut env, Some(ROOT), va).unwrap_err();
        assert_eq!(fault.kind, FaultType::Region);
        assert_eq!(env.judge.violations["pte-target"].count, n);
    }
}

#[test]
fn an_injected_fault_fires_at_its_page_once() {
    let mut mmu = Mmu::default();
    let mut env = env(&[vram(0x8000), vram(0x9000)]);
    env.faults =
        crate::env::fault::FaultPlan::parse("[[fault]]\nkind = \"mmu-fault\"\nva = 0x1000\n")
            .unwrap();
    let mut buf = [0; 0x1800];
    let fault = mmu.read(&mut env, Some(ROOT), 0x400, &mut buf).unwrap_err();
    assert_eq!(fault.va, 0x1000);
    assert!(mmu.read(&mut env, Some(ROOT), 0x400, &mut buf).is_ok());
}
