// SPDX-License-Identifier: GPL-2.0

//! Binding memory to addresses.
//!
//! A bind is prepared, which may fail and then changes nothing, and run, which allocates nothing
//! and so can be done where others wait for its fence. What a client asks for wrongly is found
//! while preparing. Sparse regions change as soon as nothing can fail any more, and in the order of
//! the ioctls. Whatever the number of its operations, a bind changes page tables with one read over
//! the bus and one invalidate. GPUVM hears of it after that: what it does not know of any more may
//! be freed by whoever binds next, and the GPU must not reach that.

use kernel::{
    drm::gpuvm::{
        GpuVaAlloc,
        GpuVmBo,
        OpMapRequest,
        UniqueRefGpuVm, //
    },
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    gem::{
        self,
        Object, //
    },
    mem::tables::{
        Table,
        Tables, //
    },
    mmu::{
        Attr,
        Changes,
        Need,
        Removal,
        Running,
        Stock,
        Tally,
        Tree,
        What, //
    }, //
};

use super::{
    Mapper,
    Maps,
    RegionsEdit,
    Spare, //
};

/// What a client wants.
pub(crate) enum Op {
    /// Memory at a range of addresses, instead of whatever was there.
    Map {
        /// Whose memory.
        object: ARef<Object>,
        /// Where in the object the range starts.
        offset: u64,
        /// How the memory is laid out.
        kind: u8,
    },
    /// No memory at a range, whether there was some or not.
    Unmap,
    /// A sparse region.
    MapSparse,
    /// A sparse region no more.
    UnmapSparse,
}

/// An operation, and where.
pub(crate) struct Request {
    /// What.
    pub(crate) op: Op,
    /// First address.
    pub(crate) va: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// An operation that cannot fail any more.
enum Step {
    Map {
        va: u64,
        len: u64,
        bo: ARef<GpuVmBo<Mapper>>,
        offset: u64,
        attr: Attr,
    },
    Clear {
        va: u64,
        len: u64,
        parts: Parts,
    },
}

/// A part of a range: address, bytes, and whether it becomes sparse.
type Part = (u64, u64, bool);

/// Parts of a range; of most there is one.
enum Parts {
    One(Part),
    More(KVVec<Part>),
}

impl Parts {
    fn as_slice(&self) -> &[Part] {
        match self {
            Self::One(part) => core::slice::from_ref(part),
            Self::More(parts) => parts,
        }
    }
}

impl Step {
    /// Makes what clears a range, not for a sparse region, clear the next one as well.
    fn extend(&mut self, next: u64, bytes: u64) -> bool {
        match self {
            Self::Clear {
                va,
                len,
                parts: Parts::One((_, part, false)),
            } if va.wrapping_add(*len) == next => {
                *len = len.wrapping_add(bytes);
                *part = *len;
                true
            }
            _ => false,
        }
    }

    /// Tells GPUVM, which takes a reference to what is mapped, and drops those to what was.
    fn tell(&self, maps: &mut UniqueRefGpuVm<Mapper>, spare: &mut Spare<'_>) -> Result {
        match self {
            Self::Map {
                va,
                len,
                bo,
                offset,
                ..
            } => maps.sm_map(OpMapRequest {
                addr: *va,
                range: *len,
                gem_offset: *offset,
                vm_bo: bo,
                context: spare,
            }),
            Self::Clear { va, len, .. } => maps.sm_unmap(*va, *len, spare),
        }
    }

    /// Keeps the memory that it maps for ever, as page tables may show it and GPUVM does not.
    fn leak(&self) {
        if let Self::Map { bo, .. } = self {
            core::mem::forget(bo.clone());
        }
    }
}

/// Calls `f` with each change that a step makes to page tables.
fn each_change(step: &Step, mut f: impl FnMut(u64, u64, What<'_>) -> Result) -> Result {
    match step {
        Step::Map {
            va,
            len,
            bo,
            offset,
            attr,
        } => f(
            *va,
            *len,
            What::Pages {
                runs: bo.obj().runs(),
                offset: *offset,
                attr: *attr,
            },
        ),
        Step::Clear { parts, .. } => {
            for &(va, len, sparse) in parts.as_slice() {
                f(va, len, if sparse { What::Sparse } else { What::Invalid })?;
            }
            Ok(())
        }
    }
}

/// Most parts that a call may split ranges into.
const PARTS_MAX: usize = 1 << 18;
/// Most bytes of tables that a call may ask for in advance. With as many operations as it may have
/// it could else ask for as much memory as there is.
const TABLES_MAX: usize = 256 << 20;

/// Whether a range covers one of the spans that are as long, and aligned.
fn holds(va: u64, len: u64, span: u64) -> bool {
    va.checked_next_multiple_of(span)
        .and_then(|start| start.checked_add(span))
        .is_some_and(|end| end - va <= len)
}

/// The tables that a step may take out, and a later one needs once more.
fn removal(step: &Step, va: u64, len: u64) -> Option<Removal> {
    /// What a table is for, and the last directory.
    const TABLE: u64 = 2 << 20;
    const DIRECTORY: u64 = 512 << 20;

    match step {
        Step::Clear { .. } if holds(va, len, DIRECTORY) => Some(Removal::Directories),
        _ if holds(va, len, TABLE) => Some(Removal::Tables),
        _ => None,
    }
}

/// A bind that is prepared, with all that it needs.
pub(crate) struct Bind {
    steps: KVVec<Step>,
    spare: KVVec<GpuVaAlloc<Mapper>>,
    stock: Stock<Table>,
    /// It is run at once, and its steps follow each other in the order of addresses: the tables
    /// that it needs can be told from those that are there.
    in_order: bool,
    /// Steps that the page tables show.
    shown: usize,
}

/// What came of running a bind.
pub(super) struct Ran {
    /// Whether it was done.
    pub(super) done: Result,
    /// Whether the hardware knows of all changes; if not, it is lost.
    pub(super) arrived: Result,
}

impl Ran {
    /// What whoever asked for it is told.
    pub(super) fn result(self) -> Result {
        self.done.and(self.arrived)
    }
}

/// Whether ranges follow each other in the order of addresses, and none overlaps another.
fn are_in_order(requests: &[Request]) -> bool {
    let pairs = requests.iter().zip(requests.iter().skip(1));

    pairs.into_iter().all(|(a, b)| {
        let end = a.va.checked_add(a.len);
        end.is_some_and(|end| end <= b.va)
    })
}

/// The kind of pages that a client may ask for, without compression.
///
/// Kinds from 8 to 14 are the compressible forms of others; without compression they are those.
/// Facts: `NV_MMU_PTE_KIND_*` of `dev_mmu.h` (TU102).
pub(crate) fn plain_kind(kind: u8) -> Result<u8> {
    match kind {
        0..=6 => Ok(kind),
        8 | 9 => Ok(6),
        10 => Ok(2),
        11 => Ok(1),
        12..=14 => Ok(kind - 9),
        _ => Err(EINVAL),
    }
}

impl Maps<'_> {
    /// Prepares a bind. `later` says that it is not run at once. What it does to sparse regions is
    /// to be kept once nothing can fail any more.
    ///
    /// # Errors
    ///
    /// `EINVAL` for ranges or kinds that make no sense, `ENOSPC` if a mapping crosses the border of
    /// a sparse region or two regions overlap, `ENOENT` for a region that is not there, or no
    /// memory.
    pub(super) fn prepare(
        &self,
        requests: &[Request],
        later: bool,
        regions: &mut RegionsEdit<'_>,
    ) -> Result<Bind> {
        // Splitting takes two at a time and may give one back.
        let spare = 3 * requests.len() + 1;
        let mut bind = Bind {
            steps: KVVec::with_capacity(requests.len(), GFP_KERNEL)?,
            spare: KVVec::with_capacity(spare, GFP_KERNEL)?,
            stock: Stock::empty(),
            in_order: !later && are_in_order(requests),
            shown: 0,
        };

        match self.prepare_all(requests, regions, &mut bind) {
            Ok(()) => Ok(bind),
            Err(e) => {
                self.abandon(bind);
                Err(e)
            }
        }
    }

    fn prepare_all(
        &self,
        requests: &[Request],
        regions: &mut RegionsEdit<'_>,
        bind: &mut Bind,
    ) -> Result {
        bind.spare.push(GpuVaAlloc::new(GFP_KERNEL)?, GFP_KERNEL)?;
        let mut tally = Tally::new();
        let mut split = 0;

        for request in requests {
            let (va, len) = (request.va, request.len);
            self.check_range(va, len)?;
            let range = va..va + len;
            let clear = |parts| Step::Clear { va, len, parts };
            let apart = matches!(request.op, Op::Unmap) && regions.is_apart(&range);
            if apart && bind.in_order && bind.steps.last_mut().is_some_and(|s| s.extend(va, len)) {
                continue;
            }
            let step = match &request.op {
                Op::Map {
                    object,
                    offset,
                    kind,
                } => {
                    regions.check_map(&range)?;
                    let before = bind.steps.last();
                    self.map_step(va, len, object, *offset, *kind, before)?
                }
                Op::Unmap if apart => clear(Parts::One((va, len, false))),
                Op::Unmap => {
                    let mut parts = KVVec::new();
                    for (part, sparse) in regions.split(&range)? {
                        parts.push((part.start, part.end - part.start, sparse), GFP_KERNEL)?;
                    }
                    split += parts.len();
                    if split > PARTS_MAX {
                        return Err(ENOMEM);
                    }
                    clear(Parts::More(parts))
                }
                Op::MapSparse => {
                    regions.insert(range)?;
                    clear(Parts::One((va, len, true)))
                }
                Op::UnmapSparse => {
                    regions.remove(range)?;
                    clear(Parts::One((va, len, false)))
                }
            };
            // One for what is mapped, and one for the rest of what is split at either end. Whether
            // something is there is seen later if the steps are in order.
            let spare = match step {
                Step::Map { .. } if bind.in_order => 1,
                Step::Map { .. } => 3,
                Step::Clear { .. } => 2,
            };
            for _ in 0..spare {
                bind.spare.push(GpuVaAlloc::new(GFP_KERNEL)?, GFP_KERNEL)?;
            }
            if !bind.in_order {
                let format = self.space.memory().format;
                each_change(&step, |va, len, what| {
                    Tree::<Tables<'_>>::tally(format, va, len, what, &mut tally)
                })?;
                if let Some(removal) = removal(&step, va, len) {
                    tally.take_out(removal);
                }
                if tally.bytes() > TABLES_MAX {
                    return Err(ENOMEM);
                }
            }
            bind.steps.push(step, GFP_KERNEL)?;
        }
        let need = tally.need();
        if need.bytes() > TABLES_MAX {
            return Err(ENOMEM);
        }
        self.space.fill(&mut bind.stock, need)
    }

    fn map_step(
        &self,
        va: u64,
        len: u64,
        object: &Object,
        offset: u64,
        kind: u8,
        before: Option<&Step>,
    ) -> Result<Step> {
        gem::check_range(object, offset, len)?;
        // Many steps in a row are often about the same object.
        let bo = match before {
            Some(Step::Map { bo, .. }) if core::ptr::eq(bo.obj(), object) => bo.clone(),
            _ => self.gpuvm.obtain(object, ())?,
        };
        Ok(Step::Map {
            va,
            len,
            attr: object.attr(plain_kind(kind)?),
            bo,
            offset,
        })
    }

    /// Frees what a bind has left, or all of one that is not run.
    pub(super) fn abandon(&self, bind: Bind) {
        self.space.give_back(bind.stock);
        drop(bind.steps);
        self.gpuvm.deferred_cleanup();
    }

    /// Binds at once. Allocates and sleeps.
    ///
    /// # Errors
    ///
    /// As of [`Self::prepare`], and `ENOMEM` or `ENOSPC` if there is no memory for page tables;
    /// nothing has changed then. As of [`super::Space::set`] else.
    pub(crate) fn bind_now(&self, requests: &[Request]) -> Result {
        let mut regions = self.edit_regions();
        let mut bind = self.prepare(requests, false, &mut regions)?;
        let mut changes = Changes::new();

        let ran = self.run_now(&mut bind, &mut changes);
        if ran.done.is_ok() {
            regions.keep();
        } else {
            drop(regions);
        }
        self.release(changes, ran.arrived);
        self.abandon(bind);
        ran.result()
    }

    /// Takes what a bind needs as things are now, and runs it.
    fn run_now(&self, bind: &mut Bind, changes: &mut Changes<Table>) -> Ran {
        loop {
            let mut maps = self.maps.lock();
            // Nobody else changes the tables between looking at them and changing them.
            let shown = self.space.with_tree(|tree, tables| {
                let (need, spare) = bind.exact_need(tree)?;
                if need.at_most(bind.stock.have()) && spare <= bind.spare.len() {
                    bind.show(tree, tables, changes).map(|()| None)
                } else {
                    Ok(Some((need, spare)))
                }
            });
            let done = match shown {
                Ok(None) => Ok(()),
                Ok(Some((need, spare))) => {
                    drop(maps);
                    let filled = self
                        .space
                        .fill(&mut bind.stock, need)
                        .and_then(|()| bind.fill_spare(spare));
                    match filled {
                        Ok(()) => continue,
                        Err(e) => {
                            return Ran {
                                done: Err(e),
                                arrived: Ok(()),
                            }
                        }
                    }
                }
                Err(e) => Err(e),
            };
            return self.settle(bind, &mut maps, changes, done);
        }
    }

    /// Runs a bind that was prepared to be run later: the part that somebody may wait for. Sleeps,
    /// and allocates nothing. [`Self::abandon`] has to follow, when nobody waits any more.
    ///
    /// Returns the changes, for [`Self::release`].
    pub(super) fn run_later(&self, bind: &mut Bind) -> (Changes<Table>, Ran) {
        let mut changes = Changes::new();
        let mut maps = self.maps.lock();
        let done = self
            .space
            .with_tree(|tree, tables| bind.show(tree, tables, &mut changes));
        let ran = self.settle(bind, &mut maps, &changes, done);

        (changes, ran)
    }

    /// Has the hardware see what page tables show, and GPUVM then, which lets go of memory.
    fn settle(
        &self,
        bind: &mut Bind,
        maps: &mut UniqueRefGpuVm<Mapper>,
        changes: &Changes<Table>,
        done: Result,
    ) -> Ran {
        let arrived = self.space.arrive(changes);
        let told = bind.tell(maps);

        Ran {
            done: done.and(told),
            arrived,
        }
    }
}

impl Maps<'_> {
    /// Frees the tables that [`Self::run_later`] took out, unless the hardware may still walk them.
    pub(super) fn release(&self, changes: Changes<Table>, arrived: Result) {
        self.space.take_out(changes, arrived);
    }
}

impl Bind {
    /// Allocates mappings until there are so many. Sleeps.
    fn fill_spare(&mut self, count: usize) -> Result {
        while self.spare.len() < count {
            self.spare.push(GpuVaAlloc::new(GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The tables and mappings that a bind whose steps are in order needs now; others have them
    /// already.
    fn exact_need<M>(&self, tree: &Tree<M>) -> Result<(Need, usize)>
    where
        M: crate::mmu::TableMemory<Table = Table>,
    {
        let mut running = Running::default();
        let mut spare = 0;

        if self.in_order {
            // Splitting takes two at a time and may give one back.
            spare = 1;
            for step in self.steps.iter() {
                let mut occupied = false;
                each_change(step, |va, len, what| {
                    occupied |= tree.need_in_order(va, len, what, &mut running)?;
                    Ok(())
                })?;
                let map = matches!(step, Step::Map { .. });
                spare += usize::from(map) + if occupied { 2 } else { 0 };
            }
        }
        Ok((running.need(), spare))
    }

    /// Has page tables show all steps. With what was prepared, or [needed](Self::exact_need), this
    /// cannot fail; if it does, some steps are shown, and nothing is that may be freed.
    fn show<'t>(
        &mut self,
        tree: &mut Tree<Tables<'t>>,
        tables: &Tables<'t>,
        changes: &mut Changes<Table>,
    ) -> Result {
        let Self {
            steps,
            stock,
            shown,
            ..
        } = self;

        for step in steps.iter() {
            each_change(step, |va, len, what| {
                tree.set(tables, va, len, what, stock, changes)
            })
            .inspect_err(|_| step.leak())?;
            *shown += 1;
        }
        for step in steps.iter() {
            if let Step::Clear { va, len, .. } = step {
                tree.sweep(tables, *va, *len, changes);
            }
        }
        Ok(())
    }

    /// Tells GPUVM of the steps that page tables show.
    fn tell(&mut self, maps: &mut UniqueRefGpuVm<Mapper>) -> Result {
        let mut result = Ok(());

        for step in self.steps.iter().take(self.shown) {
            if result.is_ok() {
                result = step.tell(maps, &mut Spare(&mut self.spare));
            }
            if result.is_err() {
                step.leak();
            }
        }
        result
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
impl Bind {
    /// A bind of nothing.
    pub(super) fn empty() -> Self {
        Self {
            steps: KVVec::new(),
            spare: KVVec::new(),
            stock: Stock::empty(),
            in_order: false,
            shown: 0,
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_bind)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let plain = [0, 1, 2, 3, 4, 5, 6, 255, 6, 6, 2, 1, 3, 4, 5, 255, 255];

        for (kind, expected) in plain.into_iter().enumerate() {
            assert_eq!(plain_kind(kind as u8).unwrap_or(255), expected);
        }
        assert!(plain_kind(255).is_err());
    }
}
