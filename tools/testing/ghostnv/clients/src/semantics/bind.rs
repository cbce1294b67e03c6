// SPDX-License-Identifier: GPL-2.0 OR MIT

//! VM_BIND: what is where, and when.

use anyhow::{Context, ensure};
use rustix::io::Errno;

use super::rig::{PLACE, map, unmap};
use super::{Case, Rig, WHILE, fails};
use crate::prng::Prng;
use crate::uapi::abi::{BIND_MAP, BIND_SPARSE, BIND_UNMAP, BindOp};
use crate::uapi::{Bo, Wait};

const PAGE: u64 = 0x1000;
const KIB64: u64 = 0x1_0000;
const MIB2: u64 = 0x20_0000;
const GIB: u64 = 1 << 30;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "bind-waits", ghostnv_only: false, run: waits },
    Case { name: "bind-order", ghostnv_only: false, run: order },
    Case { name: "bind-freed-while-waiting", ghostnv_only: false, run: freed_while_waiting },
    Case { name: "bind-many", ghostnv_only: false, run: many },
    Case { name: "bind-splits", ghostnv_only: false, run: splits },
    Case { name: "bind-sparse", ghostnv_only: false, run: sparse },
    Case { name: "bind-refused", ghostnv_only: true, run: refused },
    Case { name: "bind-asks-for-too-much", ghostnv_only: true, run: too_much },
    Case { name: "bind-all-or-nothing", ghostnv_only: false, run: all_or_nothing },
    Case { name: "bind-is-in-debugfs", ghostnv_only: false, run: in_debugfs },
    Case { name: "bind-random", ghostnv_only: false, run: random },
];

fn sparse_op(op: u32, addr: u64, range: u64) -> BindOp {
    BindOp { op, flags: BIND_SPARSE, addr, range, ..BindOp::default() }
}

/// An object whose every page begins with a word of its own: the seed and the page's number.
fn numbered(rig: &mut Rig, size: u64, seed: u32) -> anyhow::Result<Bo> {
    let bo = rig.object(size)?;
    for page in 0..size / PAGE {
        bo.write(page * PAGE, &number(seed, page * PAGE).to_le_bytes())?;
    }
    Ok(bo)
}

fn number(seed: u32, offset: u64) -> u32 {
    seed << 16 | (offset / PAGE) as u32
}

/// A bind runs when the fence has signalled that it waits for, and not before.
fn waits(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, MIB2, 1)?;
    let (before, bound) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, open) = rig.gate()?;
    rig.client.submit(rig.two.id, &[shut], &[], &[Wait::Binary(&before)])?;
    let op = map(&bo, PLACE, 0, MIB2);
    rig.client.bind_async(&[op], &[Wait::Binary(&before)], &[Wait::Binary(&bound)])?;
    ensure!(!rig.client.wait(&bound, WHILE)?, "the bind did not wait");
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    let words = rig.peek(&[PLACE, PLACE + MIB2 - PAGE], &[Wait::Binary(&bound)])?;
    ensure!(words == [number(1, 0), number(1, MIB2 - PAGE)], "{words:x?}");
    Ok(())
}

/// Binds that wait for each other, and jobs between them, come one after the other.
fn order(rig: &mut Rig) -> anyhow::Result<()> {
    let objects = [numbered(rig, KIB64, 1)?, numbered(rig, KIB64, 2)?, numbered(rig, KIB64, 3)?];
    let (start, line) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, open) = rig.gate()?;
    rig.client.submit(rig.two.id, &[shut], &[], &[Wait::Binary(&start)])?;
    let mut point = 0;
    for (i, bo) in objects.iter().enumerate() {
        let push = crate::uapi::push::Pushbuf::new().copy(PLACE, rig.data.va + 4 * i as u64, 4);
        let push = rig.stage(&push)?;
        let first = [Wait::Binary(&start)];
        let before = [Wait::Point(&line, point)];
        let wait = if point == 0 { &first } else { &before };
        let ops = [unmap(PLACE, KIB64), map(bo, PLACE, 0, KIB64)];
        rig.client.bind_async(&ops, wait, &[Wait::Point(&line, point + 1)])?;
        let signal = [Wait::Point(&line, point + 2)];
        rig.client.submit(rig.one.id, &[push], &[Wait::Point(&line, point + 1)], &signal)?;
        point += 2;
    }
    ensure!(!rig.client.wait_point(&line, 1, WHILE)?, "the first one did not wait");
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    ensure!(rig.client.wait_point(&line, point, super::SOON)?, "no end");
    for (i, seed) in [(0, 1), (1, 2), (2, 3)] {
        let word = rig.word(4 * i)?;
        ensure!(word == number(seed, 0), "after bind {i}: {word:#x}");
    }
    Ok(())
}

/// The handle may be closed while the bind of the object waits.
fn freed_while_waiting(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, KIB64, 7)?;
    let (before, bound) = (rig.client.syncobj()?, rig.client.syncobj()?);
    let (shut, open) = rig.gate()?;
    rig.client.submit(rig.two.id, &[shut], &[], &[Wait::Binary(&before)])?;
    let op = map(&bo, PLACE, PAGE, PAGE);
    rig.client.bind_async(&[op], &[Wait::Binary(&before)], &[Wait::Binary(&bound)])?;
    rig.client.close(&bo)?;
    rig.client.submit(rig.graphics.id, &[open], &[], &[])?;
    let words = rig.peek(&[PLACE], &[Wait::Binary(&bound)])?;
    ensure!(words == [number(7, PAGE)], "{words:x?}");
    Ok(())
}

/// Hundreds of operations in a call; unmapping over holes, and what is not there.
fn many(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, MIB2, 4)?;
    let pieces = MIB2 / KIB64;
    let at = |i: u64| PLACE + 2 * i * KIB64;
    let ops: Vec<BindOp> = (0..500).map(|i| map(&bo, at(i), i % pieces * KIB64, KIB64)).collect();
    rig.client.bind_now(&ops)?;
    let some: Vec<u64> = (0..500).step_by(37).collect();
    let addresses: Vec<u64> = some.iter().map(|&i| at(i)).collect();
    let expected: Vec<u32> = some.iter().map(|i| number(4, i % pieces * KIB64)).collect();
    ensure!(rig.peek(&addresses, &[])? == expected, "not what was bound");
    // All of it, with the holes between and around; then nothing at all.
    rig.client.bind_now(&[unmap(PLACE - GIB, 3 * GIB)])?;
    rig.client.bind_now(&[unmap(PLACE - GIB, 3 * GIB)])?;
    let done = rig.client.syncobj()?;
    rig.client.bind_async(&ops, &[], &[Wait::Binary(&done)])?;
    ensure!(rig.peek(&addresses, &[Wait::Binary(&done)])? == expected, "the second time");
    let ops: Vec<BindOp> = (0..500).map(|i| unmap(at(i), KIB64)).collect();
    rig.client.bind_now(&ops)?;
    Ok(())
}

/// What is bound over, or cut out of, something larger leaves both ends.
fn splits(rig: &mut Rig) -> anyhow::Result<()> {
    let (below, above) = (numbered(rig, 2 * MIB2, 5)?, numbered(rig, MIB2, 6)?);
    rig.client.bind_now(&[map(&below, PLACE, 0, 2 * MIB2)])?;
    rig.client.bind_now(&[map(&above, PLACE + MIB2 - KIB64, PAGE, 2 * KIB64)])?;
    rig.client.bind_now(&[unmap(PLACE + 0x5000, PAGE), map(&above, PLACE + 0x5000, 0, PAGE)])?;
    let expected = [
        (0x4000, number(5, 0x4000)),
        (0x5000, number(6, 0)),
        (0x6000, number(5, 0x6000)),
        (MIB2 - KIB64 - PAGE, number(5, MIB2 - KIB64 - PAGE)),
        (MIB2 - KIB64, number(6, PAGE)),
        (MIB2 + KIB64 - PAGE, number(6, 2 * KIB64)),
        (MIB2 + KIB64, number(5, MIB2 + KIB64)),
        (2 * MIB2 - PAGE, number(5, 2 * MIB2 - PAGE)),
    ];
    let addresses = expected.map(|(offset, _)| PLACE + offset);
    let words = rig.peek(&addresses, &[])?;
    ensure!(words == expected.map(|(_, word)| word), "{words:x?}");
    Ok(())
}

/// A sparse region reads zero where nothing is bound, before and after something was.
fn sparse(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, KIB64, 9)?;
    let inside = PLACE + GIB / 2;
    rig.client.bind_now(&[sparse_op(BIND_MAP, PLACE, GIB)])?;
    let words = rig.peek(&[PLACE, inside, PLACE + GIB - PAGE], &[])?;
    ensure!(words == [0; 3], "empty: {words:x?}");
    rig.client.bind_now(&[map(&bo, inside, PAGE, PAGE)])?;
    let addresses = [inside - PAGE, inside, inside + PAGE];
    let words = rig.peek(&addresses, &[])?;
    ensure!(words == [0, number(9, PAGE), 0], "bound: {words:x?}");
    rig.client.bind_now(&[unmap(inside, PAGE)])?;
    let words = rig.peek(&addresses, &[])?;
    ensure!(words == [0; 3], "unbound: {words:x?}");
    rig.client.bind_now(&[sparse_op(BIND_UNMAP, PLACE, GIB)])?;
    Ok(())
}

/// What cannot be is refused, and says why.
fn refused(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, MIB2, 1)?;
    let syncobj = rig.client.syncobj()?;
    let with = |op: u32, handle: u32| BindOp { op, handle, ..map(&bo, PLACE, 0, PAGE) };
    let table = [
        ("an odd address", map(&bo, PLACE + 1, 0, PAGE), Errno::INVAL),
        ("no length", map(&bo, PLACE, 0, 0), Errno::INVAL),
        ("an odd length", map(&bo, PLACE, 0, 1), Errno::INVAL),
        ("beyond the object", map(&bo, PLACE, MIB2, PAGE), Errno::INVAL),
        ("over its end", map(&bo, PLACE, PAGE, MIB2), Errno::INVAL),
        ("the kernel's part", map(&bo, 1 << 39, 0, PAGE), Errno::INVAL),
        ("over the end of it all", map(&bo, (1 << 47) - PAGE, 0, 2 * PAGE), Errno::INVAL),
        ("over the end of numbers", map(&bo, PAGE.wrapping_neg(), 0, PAGE), Errno::INVAL),
        ("no object", with(BIND_MAP, 999), Errno::NOENT),
        ("no operation", with(5, bo.handle), Errno::INVAL),
        ("no region", sparse_op(BIND_UNMAP, PLACE, PAGE), Errno::NOENT),
    ];
    for (what, op, error) in table {
        fails(what, rig.client.bind_now(&[op]), error)?;
        fails(what, rig.client.bind_async(&[op], &[], &[]), error)?;
    }
    let sig = [Wait::Binary(&syncobj)];
    fails("a signal at once", rig.client.bind_ops(&[], 0, &[], &sig), Errno::INVAL)?;
    let none = [Wait::Raw(0, 999, 0)];
    fails("no syncobj", rig.client.bind_async(&[], &none, &[]), Errno::NOENT)?;
    fails("no fence", rig.client.bind_async(&[], &sig, &[]), Errno::INVAL)?;
    rig.client.bind_now(&[sparse_op(BIND_MAP, PLACE, GIB)])?;
    for (what, op) in [
        ("a region in a region", sparse_op(BIND_MAP, PLACE + KIB64, KIB64)),
        ("over a region's border", map(&bo, PLACE - PAGE, 0, 2 * PAGE)),
    ] {
        fails(what, rig.client.bind_now(&[op]), Errno::NOSPC)?;
    }
    Ok(())
}

/// As many operations as a call may have, each of which could need tables of its own, do not get
/// hold of all memory, and neither do sparse regions without end.
fn too_much(rig: &mut Rig) -> anyhow::Result<()> {
    const MOST: u64 = 1 << 14;
    const REGIONS: u64 = 1 << 16;
    let bo = numbered(rig, KIB64, 5)?;
    let ops = vec![unmap(PAGE, (1 << 39) - 2 * PAGE); MOST as usize];
    fails("unmapping all, often", rig.client.bind_now(&ops), Errno::NOMEM)?;
    fails("the same later", rig.client.bind_async(&ops, &[], &[]), Errno::NOMEM)?;
    for first in (0..REGIONS).step_by(MOST as usize) {
        let region = |i| sparse_op(BIND_MAP, PLACE + i * KIB64, KIB64);
        rig.client.bind_now(&(first..first + MOST).map(region).collect::<Vec<_>>())?;
    }
    let one_more = sparse_op(BIND_MAP, PLACE - KIB64, KIB64);
    fails("one region more", rig.client.bind_now(&[one_more]), Errno::NOMEM)?;
    let across = unmap(PLACE - PAGE, REGIONS * KIB64 + 2 * PAGE);
    fails("across all, often", rig.client.bind_now(&vec![across; MOST as usize]), Errno::NOMEM)?;
    rig.client.bind_now(&[across, map(&bo, PLACE + KIB64, 0, KIB64)])?;
    let words = rig.peek(&[PLACE, PLACE + KIB64], &[])?;
    ensure!(words == [0, number(5, 0)], "{words:x?}");
    Ok(())
}

/// A call of which one operation cannot be has done nothing.
fn all_or_nothing(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, KIB64, 3)?;
    rig.client.bind_now(&[map(&bo, PLACE, 0, PAGE)])?;
    let bad = map(&bo, PLACE + 1, 0, PAGE);
    let ops = [map(&bo, PLACE, PAGE, PAGE), sparse_op(BIND_MAP, PLACE + GIB, GIB), bad];
    fails("the third", rig.client.bind_now(&ops), Errno::INVAL)?;
    let words = rig.peek(&[PLACE], &[])?;
    ensure!(words == [number(3, 0)], "{words:x?}");
    // The region is not there either.
    rig.client.bind_now(&[sparse_op(BIND_MAP, PLACE + GIB, GIB)])?;
    Ok(())
}

/// What is bound where can be read in debugfs.
fn in_debugfs(rig: &mut Rig) -> anyhow::Result<()> {
    let bo = numbered(rig, KIB64, 2)?;
    let line = format!("| {:#018x} | {:#018x} |", PLACE + PAGE, 2 * PAGE);
    ensure!(!gpuvas()?.contains(&line), "there before it was bound");
    rig.client.bind_now(&[map(&bo, PLACE + PAGE, 0, 2 * PAGE)])?;
    ensure!(gpuvas()?.contains(&line), "no {line:?} in {}", gpuvas()?);
    rig.client.bind_now(&[unmap(PLACE, KIB64)])?;
    ensure!(!gpuvas()?.contains(&line), "there after it was unbound");
    Ok(())
}

/// The files of all devices.
fn gpuvas() -> anyhow::Result<String> {
    let directories = std::fs::read_dir("/sys/kernel/debug/dri").context("debugfs")?;
    let mut all = String::new();
    for directory in directories {
        let path = directory?.path().join("gpuvas");
        if path.exists() {
            all += &std::fs::read_to_string(path)?;
        }
    }
    Ok(all)
}

/// Random maps and unmaps, now and later, come to what a list of pages comes to.
fn random(rig: &mut Rig) -> anyhow::Result<()> {
    const PAGES: u64 = 0x800;
    let mut prng = Prng::new(0x6269_6e64);
    let mut objects = Vec::new();
    for seed in 1..6 {
        let pages = [1, 16, 512, 0x345, 40].get(seed - 1).context("size")?;
        objects.push((seed as u32, numbered(rig, pages * PAGE, seed as u32)?));
    }
    let line = rig.client.syncobj()?;
    let mut point = 0;
    let mut pages = vec![None; PAGES as usize];
    for round in 0..120 {
        let mut ops = Vec::new();
        for _ in 0..1 + prng.below(20) {
            let first = prng.below(PAGES);
            let most = PAGES - first;
            if prng.below(5) < 3 {
                let (seed, bo) = &objects[prng.index(objects.len())];
                let offset = prng.below(bo.size / PAGE);
                let count = (1 + prng.below(bo.size / PAGE - offset)).min(most);
                ops.push(map(bo, PLACE + first * PAGE, offset * PAGE, count * PAGE));
                for i in 0..count {
                    pages[(first + i) as usize] = Some(number(*seed, (offset + i) * PAGE));
                }
            } else {
                let count = (1 + prng.below(0x300)).min(most);
                ops.push(unmap(PLACE + first * PAGE, count * PAGE));
                pages[first as usize..(first + count) as usize].fill(None);
            }
        }
        // Later ones wait for the one before, and so does whoever looks.
        let before = [Wait::Point(&line, point)];
        let wait: &[Wait<'_>] = if point == 0 { &[] } else { &before };
        if prng.below(2) == 0 {
            if point != 0 {
                ensure!(rig.client.wait_point(&line, point, super::SOON)?, "no end");
            }
            rig.client.bind_now(&ops)?;
        } else {
            rig.client.bind_async(&ops, wait, &[Wait::Point(&line, point + 1)])?;
            point += 1;
        }
        let picks: Vec<u64> = (0..12).map(|_| prng.below(PAGES)).collect();
        let picks = picks.into_iter().filter_map(|i| Some((i, pages[i as usize]?)));
        let (addresses, expected): (Vec<u64>, Vec<u32>) =
            picks.map(|(i, word)| (PLACE + i * PAGE, word)).unzip();
        let before = [Wait::Point(&line, point)];
        let wait: &[Wait<'_>] = if point == 0 { &[] } else { &before };
        let words = rig.peek(&addresses, wait)?;
        ensure!(words == expected, "round {round}: {words:x?}, not {expected:x?}");
    }
    Ok(())
}
