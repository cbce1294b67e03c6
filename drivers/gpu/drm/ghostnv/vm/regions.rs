// SPDX-License-Identifier: GPL-2.0

//! Sparse regions: addresses where the GPU reads zero and writes nothing, unless memory is bound.
//!
//! A mapping lies in one region or in none. What is unbound in a region is sparse again.

use core::ops::{
    Deref,
    DerefMut,
    Range, //
};

use kernel::prelude::*;

/// Most regions of an address space. Making one moves those behind it.
const REGIONS_MAX: usize = 1 << 16;

/// The regions of an address space: sorted, and none overlaps another.
pub(super) struct Regions(KVVec<Range<u64>>);

/// How to take a change back. The regions have room for that.
enum Undo {
    /// Take this region away.
    Remove(Range<u64>),
    /// Put this region back.
    Insert(Range<u64>),
}

impl Regions {
    pub(super) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// The regions in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// The regions that overlap a range.
    fn overlapping(&self, range: &Range<u64>) -> &[Range<u64>] {
        let first = self.0.partition_point(|r| r.end <= range.start);
        let last = self.0.partition_point(|r| r.start < range.end);

        self.0.get(first..last).unwrap_or_default()
    }

    /// Whether memory may be bound in a range: `ENOSPC` if it crosses a region's border.
    pub(super) fn check_map(&self, range: &Range<u64>) -> Result {
        match self.overlapping(range) {
            [] => Ok(()),
            [r] if r.start <= range.start && range.end <= r.end => Ok(()),
            _ => Err(ENOSPC),
        }
    }

    /// Makes a region; `ENOSPC` if there is one already, `ENOMEM` if there are too many.
    fn insert(&mut self, range: Range<u64>) -> Result<Undo> {
        if !self.overlapping(&range).is_empty() {
            return Err(ENOSPC);
        }
        if self.0.len() >= REGIONS_MAX {
            return Err(ENOMEM);
        }
        let at = self.0.partition_point(|r| r.end <= range.start);

        self.0.reserve(1, GFP_KERNEL)?;
        self.0
            .insert_within_capacity(at, range.clone())
            .map_err(|_| ENOMEM)?;
        Ok(Undo::Remove(range))
    }

    /// Takes away a region, which must be exactly this one; `ENOENT` if there is none.
    fn remove(&mut self, range: Range<u64>) -> Result<Undo> {
        let at = self.0.partition_point(|r| r.end <= range.start);

        if self.0.get(at) != Some(&range) {
            return Err(ENOENT);
        }
        self.0.remove(at).map_err(|_| ENOENT)?;
        Ok(Undo::Insert(range))
    }

    /// Takes a change back. Changes are taken back last one first.
    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Remove(range) => {
                let _ = self.remove(range);
            }
            Undo::Insert(range) => {
                let at = self.0.partition_point(|r| r.end <= range.start);
                let _ = self.0.insert_within_capacity(at, range);
            }
        }
    }

    /// Whether a range overlaps no region.
    pub(super) fn is_apart(&self, range: &Range<u64>) -> bool {
        self.overlapping(range).is_empty()
    }

    /// Splits a range at the borders of regions; says of each part whether it is in one.
    pub(super) fn split(&self, range: &Range<u64>) -> Result<KVVec<(Range<u64>, bool)>> {
        let mut parts = KVVec::new();
        let mut at = range.start;

        for region in self.overlapping(range) {
            let start = region.start.max(range.start);
            let end = region.end.min(range.end);
            if at < start {
                parts.push((at..start, false), GFP_KERNEL)?;
            }
            parts.push((start..end, true), GFP_KERNEL)?;
            at = end;
        }
        if at < range.end {
            parts.push((at..range.end, false), GFP_KERNEL)?;
        }
        Ok(parts)
    }
}

/// Changes to regions that are taken back when they are dropped, unless they were kept before.
///
/// `R` borrows the regions; nobody else sees them meanwhile.
pub(super) struct Edit<R: DerefMut<Target = Regions>> {
    regions: R,
    undo: KVVec<Undo>,
}

impl<R: DerefMut<Target = Regions>> Edit<R> {
    pub(super) fn new(regions: R) -> Self {
        Self {
            regions,
            undo: KVVec::new(),
        }
    }

    /// See [`Regions::insert`].
    pub(super) fn insert(&mut self, range: Range<u64>) -> Result {
        self.undo.reserve(1, GFP_KERNEL)?;
        let undo = self.regions.insert(range)?;
        self.undo.push(undo, GFP_KERNEL)?;
        Ok(())
    }

    /// See [`Regions::remove`].
    pub(super) fn remove(&mut self, range: Range<u64>) -> Result {
        self.undo.reserve(1, GFP_KERNEL)?;
        let undo = self.regions.remove(range)?;
        self.undo.push(undo, GFP_KERNEL)?;
        Ok(())
    }

    /// Keeps the changes.
    pub(super) fn keep(mut self) {
        self.undo.clear();
    }
}

impl<R: DerefMut<Target = Regions>> Deref for Edit<R> {
    type Target = Regions;

    fn deref(&self) -> &Regions {
        &self.regions
    }
}

impl<R: DerefMut<Target = Regions>> Drop for Edit<R> {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            self.regions.undo(undo);
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_regions)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap() -> Result {
        let mut regions = Regions::new();

        regions.insert(10..20)?;
        regions.insert(30..40)?;
        regions.insert(20..30)?;
        for range in [10..11, 5..11, 39..50, 0..100] {
            assert_eq!(regions.insert(range).err(), Some(ENOSPC));
        }
        for (range, fits) in [
            (0..10, true),
            (12..18, true),
            (10..20, true),
            (18..22, false),
            (38..45, false),
            (40..45, true),
        ] {
            assert_eq!(regions.check_map(&range).is_ok(), fits);
        }
        assert_eq!(regions.remove(10..19).err(), Some(ENOENT));
        regions.remove(10..20)?;
        assert!(regions.check_map(&(0..20)).is_ok());
        Ok(())
    }

    #[test]
    fn changes_can_be_taken_back() -> Result {
        let mut regions = Regions::new();
        regions.insert(10..20)?;
        for keep in [false, true] {
            let mut edit = Edit::new(&mut regions);
            edit.remove(10..20)?;
            edit.insert(5..15)?;
            edit.insert(30..40)?;
            // What is refused is nothing to take back.
            assert_eq!(edit.insert(0..6).err(), Some(ENOSPC));
            assert_eq!(edit.remove(5..14).err(), Some(ENOENT));
            assert!(!edit.is_apart(&(5..6)));
            if keep {
                edit.keep();
                assert_eq!(&*regions.0, &[5..15, 30..40][..]);
            } else {
                drop(edit);
                assert_eq!(regions.0.len(), 1);
                assert_eq!(regions.0.first(), Some(&(10..20)));
            }
        }
        Ok(())
    }

    #[test]
    fn ranges_are_split_at_borders() -> Result {
        let mut regions = Regions::new();
        regions.insert(10..20)?;
        regions.insert(20..30)?;

        let parts = regions.split(&(5..35))?;
        let expected = [
            (5..10, false),
            (10..20, true),
            (20..30, true),
            (30..35, false),
        ];
        assert_eq!(&*parts, &expected[..]);
        assert_eq!(&*regions.split(&(12..14))?, &[(12..14, true)][..]);
        assert_eq!(&*regions.split(&(40..41))?, &[(40..41, false)][..]);
        Ok(())
    }
}
