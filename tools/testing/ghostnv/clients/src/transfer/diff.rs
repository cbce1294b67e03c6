// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Byte-exact comparison, and a short account of what differs.

use std::fmt;

/// Bytes shown from the first difference on.
const SHOWN: usize = 16;

/// How two equally long byte strings differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// First byte that differs.
    pub first: usize,
    /// Last byte that differs.
    pub last: usize,
    /// How many bytes differ.
    pub count: usize,
    /// What should be there, from the first difference on.
    pub expected: Vec<u8>,
    /// What is there.
    pub found: Vec<u8>,
}

impl Diff {
    /// Compares; `None` when equal.
    pub fn of(expected: &[u8], found: &[u8]) -> Option<Diff> {
        if expected == found {
            return None;
        }
        let differs = |&i: &usize| expected.get(i) != found.get(i);
        let all = 0..expected.len().max(found.len());
        let first = all.clone().find(differs)?;
        let last = all.clone().rev().find(differs)?;
        let shown = |bytes: &[u8]| bytes.iter().skip(first).take(SHOWN).copied().collect();
        Some(Diff {
            first,
            last,
            count: all.filter(differs).count(),
            expected: shown(expected),
            found: shown(found),
        })
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes differ, first at {:#x}, last at {:#x}; from the first on expected {:02x?}, found {:02x?}",
            self.count, self.first, self.last, self.expected, self.found
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_is_found_and_shown() {
        let expected = vec![7u8; 100];
        let mut found = expected.clone();
        assert_eq!(Diff::of(&expected, &found), None);
        found[60] = 8;
        found[99] = 9;
        let diff = Diff::of(&expected, &found).unwrap();
        assert_eq!((diff.first, diff.last, diff.count), (60, 99, 2));
        assert_eq!(diff.found[..2], [8, 7]);
        // A length that differs is a difference too.
        assert_eq!(Diff::of(&[1], &[1, 2]).unwrap().first, 1);
    }
}
