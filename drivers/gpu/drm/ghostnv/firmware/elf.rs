// SPDX-License-Identifier: GPL-2.0

//! Sections of a 64-bit little-endian ELF file, found by name.
//!
//! GSP-RM comes as ELF only to carry its image and one signature a chip family in one file; there
//! is nothing to relocate. The layout is that of the System V ABI, "Object Files".

use core::ops::Range;

use kernel::prelude::*;

use crate::bytes::Malformed;

/// The part of the file that section `name` takes.
pub(super) fn section(file: &[u8], name: &str) -> Result<Range<usize>, Malformed> {
    const HEADERS: &str = "section headers outside the file";

    if !file.starts_with(b"\x7fELF\x02\x01") {
        return Err(Malformed("not a 64-bit little-endian ELF file"));
    }

    let table = offset(file, 0x28, HEADERS)?;
    let size = usize::from(half(file, 0x3a, HEADERS)?);
    let count = usize::from(half(file, 0x3c, HEADERS)?);
    let names = usize::from(half(file, 0x3e, HEADERS)?);

    let header = |n: usize| {
        n.checked_mul(size)
            .and_then(|at| at.checked_add(table))
            .and_then(|at| file.get(at..))
            .and_then(|rest| rest.get(..size))
            .ok_or(Malformed(HEADERS))
    };
    let names = bytes_of(header(names)?)?;
    let names = file
        .get(names)
        .ok_or(Malformed("section names outside the file"))?;

    for n in 0..count {
        let header = header(n)?;
        // CAST: u32 to usize on 64 bits.
        let at = word(header, 0, HEADERS)? as usize;
        let found = names
            .get(at..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0));

        if found {
            let range = bytes_of(header)?;

            return match file.get(range.clone()) {
                Some(bytes) if !bytes.is_empty() => Ok(range),
                _ => Err(Malformed("section outside the file")),
            };
        }
    }

    Err(Malformed("no image or signature for this chip"))
}

/// The range of the file that a section header names.
fn bytes_of(header: &[u8]) -> Result<Range<usize>, Malformed> {
    const RANGE: &str = "section header too short";

    let start = offset(header, 0x18, RANGE)?;
    let end = start
        .checked_add(offset(header, 0x20, RANGE)?)
        .ok_or(Malformed("section outside the file"))?;

    Ok(start..end)
}

fn field<const N: usize>(
    bytes: &[u8],
    at: usize,
    what: &'static str,
) -> Result<[u8; N], Malformed> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Malformed(what))
}

fn half(bytes: &[u8], at: usize, what: &'static str) -> Result<u16, Malformed> {
    field(bytes, at, what).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, Malformed> {
    field(bytes, at, what).map(u32::from_le_bytes)
}

fn offset(bytes: &[u8], at: usize, what: &'static str) -> Result<usize, Malformed> {
    usize::try_from(u64::from_le_bytes(field(bytes, at, what)?)).map_err(|_| Malformed(what))
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_elf)]
mod tests {
    use super::*;

    const SHOFF: usize = 0x60;

    /// A file with sections "", ".a" (bytes 0x40..0x50) and the names (0x50..0x60).
    fn file() -> Result<KVec<u8>> {
        let mut f = KVec::from_elem(0u8, SHOFF + 3 * 64, GFP_KERNEL)?;
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in f.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };

        put(0, b"\x7fELF\x02\x01");
        put(0x28, &(SHOFF as u64).to_le_bytes());
        put(0x3a, &[64, 0, 3, 0, 2, 0]);
        put(0x51, b".a\0.names\0");
        put(SHOFF + 64, &[1]);
        put(SHOFF + 64 + 0x18, &[0x40]);
        put(SHOFF + 64 + 0x20, &[0x10]);
        put(SHOFF + 128, &[4]);
        put(SHOFF + 128 + 0x18, &[0x50]);
        put(SHOFF + 128 + 0x20, &[0x10]);
        Ok(f)
    }

    #[test]
    fn finds_by_whole_name() -> Result {
        let f = file()?;

        assert_eq!(section(&f, ".a"), Ok(0x40..0x50));
        assert_eq!(section(&f, ".names"), Ok(0x50..0x60));
        assert!(section(&f, ".").is_err());
        assert!(section(&f, ".name").is_err());
        Ok(())
    }

    #[test]
    fn every_truncation_is_an_error() -> Result {
        let f = file()?;

        for len in 0..f.len() {
            assert!(section(&f[..len], ".names").is_err());
        }
        Ok(())
    }

    #[test]
    fn absurd_offsets() -> Result {
        for at in [0x28, 0x2f, SHOFF + 64 + 0x1f, SHOFF + 64 + 0x27] {
            let mut f = file()?;

            f[at] = 0xff;
            assert!(section(&f, ".a").is_err());
        }
        Ok(())
    }
}
