// SPDX-License-Identifier: GPL-2.0

//! Reading little-endian fields out of bytes that nobody has vouched for.
//!
//! Firmware files and the VBIOS say themselves where their parts are. Each access therefore names
//! what it was looking for; when that lies outside the bytes the name travels up with the error and
//! ends in the one line the user sees.

use kernel::prelude::*;

/// Something about the bytes is wrong; says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        EINVAL
    }
}

/// Bytes that are read by offset.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    /// `len` bytes at `offset`.
    pub(crate) fn slice(
        self,
        offset: u32,
        len: u32,
        what: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let start = offset as usize;
        let end = start.checked_add(len as usize).ok_or(Malformed(what))?;

        self.0.get(start..end).ok_or(Malformed(what))
    }

    /// Everything from `offset` on.
    pub(crate) fn tail(self, offset: u32, what: &'static str) -> Result<Bytes<'a>, Malformed> {
        self.0
            .get(offset as usize..)
            .map(Bytes)
            .ok_or(Malformed(what))
    }

    fn array<const N: usize>(self, offset: u32, what: &'static str) -> Result<[u8; N], Malformed> {
        self.tail(offset, what)?
            .0
            .first_chunk::<N>()
            .copied()
            .ok_or(Malformed(what))
    }

    /// The byte at `offset`.
    pub(crate) fn u8(self, offset: u32, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(offset, what).map(u8::from_le_bytes)
    }

    /// The 16-bit word at `offset`.
    pub(crate) fn u16(self, offset: u32, what: &'static str) -> Result<u16, Malformed> {
        self.array(offset, what).map(u16::from_le_bytes)
    }

    /// The 32-bit word at `offset`.
    pub(crate) fn u32(self, offset: u32, what: &'static str) -> Result<u32, Malformed> {
        self.array(offset, what).map(u32::from_le_bytes)
    }
}

/// Copies `from` into `bytes` at `offset`.
pub(crate) fn put(
    bytes: &mut [u8],
    offset: u32,
    from: &[u8],
    what: &'static str,
) -> Result<(), Malformed> {
    let start = offset as usize;
    let end = start.checked_add(from.len()).ok_or(Malformed(what))?;

    bytes
        .get_mut(start..end)
        .ok_or(Malformed(what))?
        .copy_from_slice(from);
    Ok(())
}

/// `a + b`, or an error that names the sum.
pub(crate) fn add(a: u32, b: u32, what: &'static str) -> Result<u32, Malformed> {
    a.checked_add(b).ok_or(Malformed(what))
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_bytes)]
mod tests {
    use super::*;

    #[test]
    fn reads_inside_only() {
        let b = Bytes(&[1, 2, 3, 4, 5]);

        assert_eq!(b.u32(1, "x"), Ok(0x05040302));
        assert_eq!(b.u32(2, "x"), Err(Malformed("x")));
        assert_eq!(b.u8(5, "x"), Err(Malformed("x")));
        assert_eq!(b.u8(u32::MAX, "x"), Err(Malformed("x")));
        assert_eq!(b.slice(5, 0, "x"), Ok(&[][..]));
        assert_eq!(b.slice(1, u32::MAX, "x"), Err(Malformed("x")));
    }

    #[test]
    fn writes_inside_only() {
        let mut b = [0u8; 4];

        assert_eq!(put(&mut b, 2, &[7, 8], "x"), Ok(()));
        assert_eq!(put(&mut b, 3, &[7, 8], "x"), Err(Malformed("x")));
        assert_eq!(b, [0, 0, 7, 8]);
    }
}
