// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A seeded generator: the same seed gives the same workload on every machine.
//!
//! SplitMix64 is enough here. Its period and quality do not matter; that a failure can be
//! repeated from the seed it prints does.

/// The generator's state.
#[derive(Debug, Clone)]
pub struct Prng(u64);

impl Prng {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.word() % bound }
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `1..=most` whose *magnitude* is uniform, so that small sizes are as likely as
    /// large ones.
    pub fn size(&mut self, most: u64) -> u64 {
        let bits = 64 - most.max(1).leading_zeros() as u64;
        let top = 1u64 << self.below(bits);
        (top + self.below(top)).min(most.max(1))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_in_range_and_reach_both_ends() {
        let mut prng = Prng::new(1);
        for most in [1u64, 2, 3, 5, 4096, 1_000_003] {
            let sizes: Vec<u64> = (0..4000).map(|_| prng.size(most)).collect();
            assert!(sizes.iter().all(|&s| (1..=most).contains(&s)), "{most}");
            assert!(sizes.contains(&1) && *sizes.iter().max().unwrap() > most / 2, "{most}");
        }
    }

    #[test]
    fn a_seed_repeats() {
        assert_eq!(Prng::new(7).bytes(13), Prng::new(7).bytes(13));
        assert_ne!(Prng::new(7).bytes(13), Prng::new(8).bytes(13));
    }
}
