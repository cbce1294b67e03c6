// SPDX-License-Identifier: GPL-2.0

//! Numbers that are taken and given back: handles of objects, numbers of channels.

use core::ops::RangeInclusive;

use kernel::prelude::*;

/// Numbers of a range. Taking and giving back take constant time.
///
/// Giving back cannot fail, as room for it is made when a number is taken for the first time.
pub(crate) struct Ids {
    /// Never taken so far.
    fresh: RangeInclusive<u32>,
    /// Given back. Has room for all that were ever taken.
    free: KVVec<u32>,
    /// How many are taken.
    taken: usize,
}

impl Ids {
    /// All of `range`.
    pub(crate) const fn new(range: RangeInclusive<u32>) -> Self {
        Self {
            fresh: range,
            free: KVVec::new(),
            taken: 0,
        }
    }

    /// Takes a number; `ENOSPC` when all are taken, `ENOMEM` when there is no memory to note it.
    pub(crate) fn take(&mut self) -> Result<u32> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                if self.fresh.is_empty() {
                    return Err(ENOSPC);
                }
                self.free.reserve(self.taken + 1, GFP_KERNEL)?;
                self.fresh.next().ok_or(ENOSPC)?
            }
        };
        self.taken += 1;
        Ok(id)
    }

    /// Gives a number back that was taken.
    pub(crate) fn give_back(&mut self, id: u32) {
        self.taken = self.taken.saturating_sub(1);
        // There is room; were there none, the number would be lost and nothing else.
        let _ = self.free.push_within_capacity(id);
    }

    /// How many numbers are taken.
    #[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_rm_ids)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_once() -> Result {
        let mut ids = Ids::new(5..=7);
        let seen = [ids.take()?, ids.take()?, ids.take()?];
        assert!((5..=7).all(|id| seen.contains(&id)));
        assert_eq!(ids.take(), Err(ENOSPC));
        ids.give_back(6);
        assert_eq!(ids.taken(), 2);
        assert_eq!(ids.take(), Ok(6));
        assert_eq!(ids.take(), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn all_can_be_given_back_in_any_order() -> Result {
        let mut ids = Ids::new(0..=999);
        for _ in 0..1000 {
            ids.take()?;
        }
        for first in [0, 1] {
            for id in (first..1000).step_by(2) {
                ids.give_back(id);
            }
        }
        assert_eq!(ids.taken(), 0);
        let mut seen = KVec::from_elem(false, 1000, GFP_KERNEL)?;
        for _ in 0..1000 {
            let id = ids.take()? as usize;
            assert!(!seen[id]);
            seen[id] = true;
        }
        Ok(())
    }

    #[test]
    fn a_range_may_end_at_the_last_number() {
        let mut ids = Ids::new(u32::MAX..=u32::MAX);
        assert_eq!(ids.take(), Ok(u32::MAX));
        assert_eq!(ids.take(), Err(ENOSPC));
    }
}
