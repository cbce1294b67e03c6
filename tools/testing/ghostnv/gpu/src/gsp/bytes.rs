// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Little-endian fields of structures that the driver wrote.
//!
//! Every structure that RM and a driver exchange is a byte string whose length the driver chose. A
//! field past its end reads as 0 and swallows writes: lengths are checked where it matters, once,
//! and nothing here can panic.

/// A byte.
pub fn u8_at(b: &[u8], off: usize) -> u8 {
    b.get(off).copied().unwrap_or(0)
}

/// A 16-bit field.
pub fn u16_at(b: &[u8], off: usize) -> u16 {
    array(b, off).map_or(0, u16::from_le_bytes)
}

/// A 32-bit field.
pub fn u32_at(b: &[u8], off: usize) -> u32 {
    array(b, off).map_or(0, u32::from_le_bytes)
}

/// A 64-bit field.
pub fn u64_at(b: &[u8], off: usize) -> u64 {
    array(b, off).map_or(0, u64::from_le_bytes)
}

/// Stores bytes.
pub fn put(b: &mut [u8], off: usize, bytes: &[u8]) {
    let end = off.saturating_add(bytes.len());
    if let Some(field) = b.get_mut(off..end) {
        field.copy_from_slice(bytes);
    }
}

/// Stores a byte.
pub fn put_u8(b: &mut [u8], off: usize, value: u8) {
    put(b, off, &[value]);
}

/// Stores a 16-bit field.
pub fn put_u16(b: &mut [u8], off: usize, value: u16) {
    put(b, off, &value.to_le_bytes());
}

/// Stores a 32-bit field.
pub fn put_u32(b: &mut [u8], off: usize, value: u32) {
    put(b, off, &value.to_le_bytes());
}

/// Stores a 64-bit field.
pub fn put_u64(b: &mut [u8], off: usize, value: u64) {
    put(b, off, &value.to_le_bytes());
}

/// Stores a NUL-terminated string into a field of `len` bytes, cut to fit.
pub fn put_str(b: &mut [u8], off: usize, len: usize, text: &str) {
    let mut n = text.len().min(len.saturating_sub(1));
    while !text.is_char_boundary(n) {
        n -= 1;
    }
    put(b, off, text.get(..n).unwrap_or("").as_bytes());
}

fn array<const N: usize>(b: &[u8], off: usize) -> Option<[u8; N]> {
    b.get(off..off.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_past_the_end_are_zero() {
        let mut b = [1, 2, 3, 4, 5];
        assert_eq!(u32_at(&b, 1), 0x0504_0302);
        assert_eq!(u32_at(&b, 2), 0);
        assert_eq!(u64_at(&b, usize::MAX), 0);
        put_u32(&mut b, 3, u32::MAX);
        assert_eq!(b, [1, 2, 3, 4, 5]);
        put_u16(&mut b, 3, 0x0908);
        assert_eq!(b, [1, 2, 3, 8, 9]);
    }

    #[test]
    fn strings_are_cut_at_a_character() {
        let mut b = [0; 4];
        put_str(&mut b, 0, 4, "aé\u{e9}");
        assert_eq!(&b, "aé\0".as_bytes());
    }
}
