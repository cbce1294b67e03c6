// SPDX-License-Identifier: GPL-2.0

//! The GPFIFO: the ring of entries through which a channel is given its work.
//!
//! An entry names a segment of commands in the channel's address space. The driver writes entries
//! and then tells Host, by the index GP_PUT, how far they go. How far Host has come is never asked
//! for: reading its GP_GET would be a read over the bus, and is not kept up by newer chips. A job's
//! entries are free again when the job's fence says that it is done.
//!
//! Facts: open-gpu-doc `dev_pbdma.ref.txt` "GP-Entry Memory Format", `clc56f.h`.

use kernel::prelude::*;

/// Entries of a ring; a power of two.
pub(crate) const ENTRIES: usize = 1024;

/// Most segments that one submission of a client may have (`NOUVEAU_GETPARAM_EXEC_PUSH_MAX`).
///
/// Less than half of the ring, so that one can be prepared while another runs.
pub(crate) const PUSH_MAX: u32 = 510;

/// Bits of an address that an entry has.
const ADDRESS_BITS: u32 = 40;
/// Most 32-bit words in a segment.
const WORDS_MAX: u32 = (1 << 21) - 1;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    const LENGTH_SHIFT: u32 = 42;
    const SYNC: u64 = 1 << 63;

    /// A segment of `bytes` bytes of commands at `va`.
    ///
    /// With `sync` Host does not fetch the segment before it has processed the one before, which
    /// may be writing this one.
    ///
    /// # Errors
    ///
    /// `EINVAL` for what the format has no room for: addresses beyond 40 bits, the last word below
    /// that, fractions of words, and nothing at all, which would be an entry of another meaning.
    pub(crate) fn segment(va: u64, bytes: u32, sync: bool) -> Result<Self> {
        let words = bytes / 4;
        let end = va.checked_add(u64::from(bytes)).ok_or(EINVAL)?;
        if va % 4 != 0 || bytes % 4 != 0 || !(1..=WORDS_MAX).contains(&words) {
            return Err(EINVAL);
        }
        if end > (1 << ADDRESS_BITS) - 4 {
            return Err(EINVAL);
        }
        let sync = if sync { Self::SYNC } else { 0 };
        Ok(Self(va | u64::from(words) << Self::LENGTH_SHIFT | sync))
    }

    /// The same `bytes` further on, which the caller knows to be within the limits.
    pub(crate) fn moved(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(bytes)))
    }

    /// As it is in memory.
    pub(crate) fn into_raw(self) -> u64 {
        self.0.to_le()
    }
}

/// A place in the ring, counted from the first entry ever written.
///
/// Counts wrap around, which is harmless as the ring's size divides the number of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position(u32);

impl Position {
    /// The place after `count` more entries.
    pub(crate) fn after(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// Entries from `earlier` to here.
    pub(crate) fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Index in the ring.
    pub(crate) fn index(self) -> u32 {
        // CAST: the size of the ring is far below 2^32.
        self.0 % ENTRIES as u32
    }

    /// Entries that can be written from here, if all before `done` are done.
    ///
    /// One stays free, since equal indices mean an empty ring.
    pub(crate) fn room(self, done: Self) -> u32 {
        // CAST: see above.
        (ENTRIES as u32 - 1).saturating_sub(self.since(done))
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_channel_ring)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_their_fields() -> Result {
        for (va, bytes, sync, raw) in [
            (0x1000, 4, false, 0x0000_0400_0000_1000),
            (0x12_3456_7890, 0x40, false, 0x0000_4012_3456_7890),
            (0x3f_ffff_f000, 0x1000, true, 0x8010_003f_ffff_f000),
            (0, 0x7f_fffc, false, 0x7fff_fc00_0000_0000),
            (0xff_ffff_fff0, 0xc, false, 0x0000_0cff_ffff_fff0),
        ] {
            assert_eq!(Entry::segment(va, bytes, sync)?.into_raw(), raw);
            assert_eq!(
                Entry::segment(va, 4, sync)?.moved(4),
                Entry::segment(va + 4, 4, sync)?
            );
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (va, bytes) in [
            (0x1000, 0),
            (0x1000, 2),
            (0x1002, 4),
            (0x1000, 0x80_0000),
            (0x1000, u32::MAX),
            (0x100_0000_0000, 4),
            (0xff_ffff_fff0, 0x10),
            (u64::MAX - 3, 4),
            (u64::MAX, 4),
        ] {
            assert!(Entry::segment(va, bytes, false).is_err());
        }
    }

    #[test]
    fn room_is_what_is_not_in_use() {
        let start = Position(u32::MAX - 5);
        let full = ENTRIES as u32 - 1;
        assert_eq!(start.room(start), full);
        for used in [1, 5, 6, 7, full - 1, full] {
            let here = start.after(used);
            assert_eq!(here.since(start), used);
            assert_eq!(here.room(start), full - used);
            assert_eq!(here.room(here), full);
            assert_eq!(here.index(), (start.index() + used) % ENTRIES as u32);
        }
        assert!(PUSH_MAX < full / 2);
    }
}
