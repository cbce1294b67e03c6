// SPDX-License-Identifier: GPL-2.0

//! Binding memory to addresses.
//!
//! A bind is prepared, which may fail and then changes nothing, and run, which allocates nothing
//! and so can be done where others wait for its fence. What a client asks for wrongly is found
//! while preparing. Whatever the number of its operations, a bind ends with one read over the bus,
//! and one invalidate if it took something away; the memory that it took away is let go after that.

use kernel::{
    drm::gpuvm::{
        GpuVaAlloc,
        GpuVmBo,
        OpMapRequest, //
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
        Stock,
        Tally,
        Tree,
        What, //
    }, //
};

use super::{
    regions::Undo,
    Mapper,
    Maps,
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
        /// Parts of the range: address, bytes, and whether it becomes sparse.
        parts: KVec<(u64, u64, bool)>,
    },
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
            for &(va, len, sparse) in parts.iter() {
                f(va, len, if sparse { What::Sparse } else { What::Invalid })?;
            }
            Ok(())
        }
    }
}

/// Whether a range covers one of the spans that a single table entry can be for.
fn holds_span(va: u64, len: u64) -> bool {
    const SPAN: u64 = kernel::sizes::SZ_2M as u64;

    va.checked_next_multiple_of(SPAN)
        .and_then(|start| start.checked_add(SPAN))
        .is_some_and(|end| end - va <= len)
}

/// A bind that is prepared, with all that it needs.
pub(crate) struct Bind {
    steps: KVVec<Step>,
    spare: KVVec<GpuVaAlloc<Mapper>>,
    stock: Stock<Table>,
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
    /// Prepares a bind. `later` says that it is not run at once.
    ///
    /// # Errors
    ///
    /// `EINVAL` for ranges or kinds that make no sense, `ENOSPC` if a mapping crosses the border of
    /// a sparse region or two regions overlap, `ENOENT` for a region that is not there, or no
    /// memory.
    pub(crate) fn prepare(&self, requests: &[Request], later: bool) -> Result<Bind> {
        let mut undo = KVVec::with_capacity(requests.len(), GFP_KERNEL)?;
        let mut regions = self.regions.lock();
        let bind = self.prepare_all(requests, later, &mut regions, &mut undo);

        if bind.is_err() {
            while let Some(undo) = undo.pop() {
                regions.undo(undo);
            }
        }
        bind
    }

    fn prepare_all(
        &self,
        requests: &[Request],
        later: bool,
        regions: &mut super::Regions,
        undo: &mut KVVec<Undo>,
    ) -> Result<Bind> {
        let mut bind = Bind {
            steps: KVVec::with_capacity(requests.len(), GFP_KERNEL)?,
            spare: KVVec::new(),
            stock: Stock::empty(),
        };
        let mut need = Need::default();
        let mut tally = Tally::new();

        for request in requests {
            let (va, len) = (request.va, request.len);
            self.check_range(va, len)?;
            let range = va..va + len;
            let clear = |parts| Step::Clear { va, len, parts };
            let step = match &request.op {
                Op::Map {
                    object,
                    offset,
                    kind,
                } => {
                    regions.check_map(&range)?;
                    self.map_step(va, len, object, *offset, *kind)?
                }
                Op::Unmap => {
                    let mut parts = KVec::new();
                    for (part, sparse) in regions.split(&range)? {
                        parts.push((part.start, part.end - part.start, sparse), GFP_KERNEL)?;
                    }
                    clear(parts)
                }
                Op::MapSparse => {
                    undo.push(regions.insert(range)?, GFP_KERNEL)?;
                    clear(kernel::kvec![(va, len, true)]?)
                }
                Op::UnmapSparse => {
                    undo.push(regions.remove(range)?, GFP_KERNEL)?;
                    clear(kernel::kvec![(va, len, false)]?)
                }
            };
            // One for what is mapped, and three for splitting what is there at both ends.
            for _ in 0..4 {
                bind.spare.push(GpuVaAlloc::new(GFP_KERNEL)?, GFP_KERNEL)?;
            }
            // What is there when it is run is known only of a single one that is run at once.
            if later || requests.len() > 1 {
                let format = self.space.memory().format;
                each_change(&step, |va, len, what| {
                    Tree::<Tables<'_>>::tally(format, va, len, what, &mut tally)
                })?;
                if holds_span(va, len) {
                    // It may take tables out that the next one needs.
                    need = need.and(core::mem::replace(&mut tally, Tally::new()).need());
                }
            }
            bind.steps.push(step, GFP_KERNEL)?;
        }
        need = need.and(tally.need());
        if !later && requests.len() == 1 {
            need = self.space.with_tree(|tree, _| bind.exact_need(tree))?;
        }
        let memory = self.space.memory();
        if let Err(e) = bind.stock.fill(memory.format, &*memory.tables, need) {
            bind.stock.release(&*memory.tables);
            return Err(e);
        }
        Ok(bind)
    }

    fn map_step(&self, va: u64, len: u64, object: &Object, offset: u64, kind: u8) -> Result<Step> {
        gem::check_range(object, offset, len)?;
        Ok(Step::Map {
            va,
            len,
            attr: object.attr(plain_kind(kind)?),
            bo: self.gpuvm.obtain(object, ())?,
            offset,
        })
    }

    /// Gives up a bind that is not run. What it did to sparse regions stays: it is for a client
    /// that goes away.
    pub(crate) fn abandon(&self, bind: Bind) {
        bind.stock.release(&*self.space.memory().tables);
        drop(bind.steps);
        self.gpuvm.deferred_cleanup();
    }

    /// Runs a bind at once. Allocates and sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM` or `ENOSPC` if there is no memory for page tables, and nothing has changed but
    /// sparse regions; as of [`super::Space::set`] else.
    pub(crate) fn run_now(&self, mut bind: Bind) -> Result {
        let memory = self.space.memory().clone();
        let tables = &*memory.tables;
        let mut changes = Changes::new();

        let done = loop {
            let mut maps = self.maps.lock();
            let need = self.space.with_tree(|tree, _| bind.exact_need(tree));
            match need {
                Ok(need) if need.at_most(bind.stock.have()) => {
                    break bind.apply(&mut maps, self, &mut changes);
                }
                Ok(need) => {
                    drop(maps);
                    if let Err(e) = bind.stock.fill(memory.format, tables, need) {
                        break Err(e);
                    }
                }
                Err(e) => break Err(e),
            }
        };
        let forgotten = self.space.commit(changes);
        self.abandon(bind);
        done.and(forgotten)
    }

    /// Runs a bind that was prepared to be run later: the part that somebody may wait for. Sleeps,
    /// and allocates nothing. [`Self::abandon`] has to follow, when nobody waits any more.
    ///
    /// Returns the changes, for [`Self::release`].
    pub(crate) fn run_later(&self, bind: &mut Bind) -> (Changes<Table>, Result) {
        let mut changes = Changes::new();
        let done = {
            let mut maps = self.maps.lock();
            bind.apply(&mut maps, self, &mut changes)
        };
        let forgotten = self.space.arrive(&changes);

        (changes, done.and(forgotten))
    }
}

impl Maps<'_> {
    /// Frees the tables that [`Self::run_later`] took out, unless the hardware may still walk them.
    pub(super) fn release(&self, changes: Changes<Table>, arrived: Result) {
        if arrived.is_ok() {
            changes.release(&*self.space.memory().tables);
        } else {
            core::mem::forget(changes);
        }
    }
}

impl Bind {
    /// What a bind of one operation needs now; others have it already.
    fn exact_need<M>(&self, tree: &Tree<M>) -> Result<Need>
    where
        M: crate::mmu::TableMemory<Table = Table>,
    {
        let mut need = Need::default();

        if let [step] = &*self.steps {
            each_change(step, |va, len, what| {
                need = need.and(tree.need(va, len, what)?);
                Ok(())
            })?;
        }
        Ok(need)
    }

    fn apply(
        &mut self,
        maps: &mut kernel::drm::gpuvm::UniqueRefGpuVm<Mapper>,
        vm: &Maps<'_>,
        changes: &mut Changes<Table>,
    ) -> Result {
        let Self {
            steps,
            spare,
            stock,
        } = self;

        for step in steps.iter() {
            let context = &mut Spare(&mut *spare);
            match step {
                Step::Map {
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
                    context,
                })?,
                Step::Clear { va, len, .. } => maps.sm_unmap(*va, *len, context)?,
            }
            vm.space.with_tree(|tree, tables| {
                each_change(step, |va, len, what| {
                    tree.set(tables, va, len, what, stock, changes)
                })
            })?;
        }
        vm.space.with_tree(|tree, tables| {
            for step in steps.iter() {
                if let Step::Clear { va, len, .. } = step {
                    tree.sweep(tables, *va, *len, changes);
                }
            }
        });
        Ok(())
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
