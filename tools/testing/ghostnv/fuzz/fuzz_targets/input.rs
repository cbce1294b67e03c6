// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Takes values off the front of a fuzzer's bytes; past their end everything is zero.

/// What is left of the bytes.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether there is nothing left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// A little-endian number of `len` bytes.
    pub fn number(&mut self, len: usize) -> u64 {
        let mut all = [0; 8];
        let got = self.bytes(len.min(8));
        all[..got.len()].copy_from_slice(got);
        u64::from_le_bytes(all)
    }
}
