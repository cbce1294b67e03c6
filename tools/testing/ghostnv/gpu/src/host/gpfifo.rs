// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GPFIFO entries: where a pushbuffer segment lies, or a control operation.

/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 8;

/// Segment addresses have 40 bits; the last word of the space is unusable.
const SEGMENT_LIMIT: u64 = (1 << 40) - 4;

/// A decoded entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Fetch a segment.
    Segment {
        /// Virtual address.
        va: u64,
        /// Words.
        words: u32,
        /// Only while the channel's subdevice status is active.
        conditional: bool,
        /// Called from the main pushbuffer: TOP_LEVEL_GET stays.
        subroutine: bool,
        /// Not to be fetched before Host is done with the segment before.
        sync: bool,
    },
    /// Does nothing (control operations that only checks use).
    Control,
}

/// The entry is what the GPENTRY interrupt reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEntry(pub u64);

/// Decodes an entry.
pub fn decode(raw: u64) -> Result<Entry, BadEntry> {
    let (lo, hi) = (raw as u32, (raw >> 32) as u32);
    let words = hi >> 10 & 0x1f_ffff;
    if words == 0 {
        // NOP, GP_CRC and PB_CRC; ILLEGAL is 1.
        return match hi & 0xff {
            0 | 2 | 3 => Ok(Entry::Control),
            _ => Err(BadEntry(raw)),
        };
    }
    let va = u64::from(hi & 0xff) << 32 | u64::from(lo & !3);
    if va + u64::from(words) * 4 > SEGMENT_LIMIT {
        return Err(BadEntry(raw));
    }
    Ok(Entry::Segment {
        va,
        words,
        conditional: lo & 1 != 0,
        subroutine: hi >> 9 & 1 != 0,
        sync: hi >> 31 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let plain = |va, words| Entry::Segment {
            va,
            words,
            conditional: false,
            subroutine: false,
            sync: false,
        };
        let cases = [
            (0x0000_0400_0000_1000, Ok(plain(0x1000, 1))),
            (0x0000_0812_3456_7890, Ok(plain(0x12_3456_7890, 2))),
            (
                0x8000_0600_0000_1001,
                Ok(Entry::Segment {
                    va: 0x1000,
                    words: 1,
                    conditional: true,
                    subroutine: true,
                    sync: true,
                }),
            ),
            (0, Ok(Entry::Control)),
            (1 << 32, Err(BadEntry(1 << 32))),
            (4 << 32, Err(BadEntry(4 << 32))),
            (0x0000_04ff_ffff_fff8, Ok(plain(0xff_ffff_fff8, 1))),
            (0x0000_08ff_ffff_fff8, Err(BadEntry(0x0000_08ff_ffff_fff8))),
        ];
        for (raw, want) in cases {
            assert_eq!(decode(raw), want, "{raw:#x}");
        }
    }
}
