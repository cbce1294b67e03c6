// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The copy engine's component remap: swizzles, constants and masks.

use super::LaunchError;

/// Where a destination component comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Select {
    /// Source component.
    Source(usize),
    /// A constant.
    Const(u32),
    /// It keeps its value.
    NoWrite,
}

/// A decoded SET_REMAP_COMPONENTS.
#[derive(Debug, Clone, Copy)]
pub struct Remap {
    /// Bytes of a component: 1, 2 or 4.
    size: usize,
    /// Components of a source element.
    sources: usize,
    /// Components of a destination element.
    dests: usize,
    select: [Select; 4],
}

impl Remap {
    /// Decodes SET_REMAP_COMPONENTS with constants A and B.
    ///
    /// Three-byte components have an encoding, but silicon refuses them.
    pub fn decode(word: u32, consts: [u32; 2]) -> Result<Self, LaunchError> {
        let size = (word >> 16 & 3) as usize + 1;
        let sources = (word >> 20 & 3) as usize + 1;
        let dests = (word >> 24 & 3) as usize + 1;
        if size == 3 {
            return Err(LaunchError::InvalidValue);
        }
        let mut select = [Select::NoWrite; 4];
        for (i, slot) in select.iter_mut().enumerate().take(dests) {
            *slot = match word >> (4 * i) & 7 {
                n @ 0..=3 if (n as usize) < sources => Select::Source(n as usize),
                0..=3 => return Err(LaunchError::BadSourceComponent),
                4 => Select::Const(consts[0]),
                5 => Select::Const(consts[1]),
                6 => Select::NoWrite,
                _ => return Err(LaunchError::InvalidValue),
            };
        }
        Ok(Self { size, sources, dests, select })
    }

    /// Bytes of a source element.
    pub fn source_bytes(&self) -> usize {
        self.size * self.sources
    }

    /// Bytes of a destination element.
    pub fn dest_bytes(&self) -> usize {
        self.size * self.dests
    }

    /// Whether any component comes from the source; a fill reads none.
    pub fn reads_source(&self) -> bool {
        self.used().any(|s| matches!(s, Select::Source(_)))
    }

    /// Whether every byte of a destination element is written.
    pub fn writes_all(&self) -> bool {
        self.used().all(|s| *s != Select::NoWrite)
    }

    fn used(&self) -> impl Iterator<Item = &Select> {
        self.select.iter().take(self.dests)
    }

    /// Converts elements; for a fill `src` is empty.
    pub fn convert(&self, src: &[u8], dst: &mut [u8]) {
        if self.is_word_fill() {
            return self.fill_words(dst);
        }
        let mut elements = src.chunks_exact(self.source_bytes());
        for out in dst.chunks_exact_mut(self.dest_bytes()) {
            let element = elements.next().unwrap_or_default();
            for (slot, select) in out.chunks_exact_mut(self.size).zip(&self.select) {
                match *select {
                    Select::Source(n) => {
                        let at = n * self.size;
                        if let Some(bytes) = element.get(at..at + self.size) {
                            slot.copy_from_slice(bytes);
                        }
                    }
                    Select::Const(v) => {
                        slot.iter_mut().zip(v.to_le_bytes()).for_each(|(to, b)| *to = b);
                    }
                    Select::NoWrite => {}
                }
            }
        }
    }

    fn is_word_fill(&self) -> bool {
        self.size == 4 && self.used().all(|s| matches!(s, Select::Const(_)))
    }

    /// The common fill, by doubling.
    fn fill_words(&self, dst: &mut [u8]) {
        let mut filled = 0;
        for (select, to) in self.used().zip(dst.chunks_exact_mut(4)) {
            if let Select::Const(v) = select {
                to.copy_from_slice(&v.to_le_bytes());
                filled += 4;
            }
        }
        while filled > 0 && filled < dst.len() {
            let n = filled.min(dst.len() - filled);
            dst.copy_within(..n, filled);
            filled += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_refuses_what_silicon_refuses() {
        let consts = [0; 2];
        assert_eq!(Remap::decode(2 << 16, consts).err(), Some(LaunchError::InvalidValue));
        assert_eq!(Remap::decode(1, consts).err(), Some(LaunchError::BadSourceComponent));
        assert_eq!(Remap::decode(7, consts).err(), Some(LaunchError::InvalidValue));
        // A bad selector of a component that the destination does not have is not looked at.
        assert!(Remap::decode(0x70, consts).is_ok());
    }

    #[test]
    fn swizzle_and_mask() {
        // Two 1-byte sources to four: Y, X, constant A, untouched.
        let word = 0x1 | 0x4 << 8 | 0x6 << 12 | 1 << 20 | 3 << 24;
        let remap = Remap::decode(word, [0xaabb_ccdd, 0]).unwrap();
        let mut out = [9; 8];
        remap.convert(&[1, 2, 3, 4], &mut out);
        assert_eq!(out, [2, 1, 0xdd, 9, 4, 3, 0xdd, 9]);
        assert!(remap.reads_source() && !remap.writes_all());
    }

    #[test]
    fn word_fill() {
        let remap = Remap::decode(4 | 5 << 4 | 3 << 16 | 1 << 24, [1, 2]).unwrap();
        let mut out = [0; 24];
        remap.convert(&[], &mut out);
        for pair in out.chunks(8) {
            assert_eq!(pair, [1, 0, 0, 0, 2, 0, 0, 0]);
        }
    }
}
