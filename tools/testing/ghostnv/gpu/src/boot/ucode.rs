// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The boot ROM's part: is what lies in IMEM and DMEM signed code?
//!
//! Hardware verifies a signature over the secure blocks and some of the data. Here the content is
//! compared with the only images that could pass.

use crate::chip::Arch;
use crate::falcon::{Brom, Falcon};

use super::{Checked, Reject, ensure};

/// Refuses unless the bytes are equal, and says where they first differ.
pub(super) fn same(rule: &'static str, what: &str, got: &[u8], expected: &[u8]) -> Checked {
    if got.len() != expected.len() {
        let text = format!("{what}: {:#x} bytes for {:#x}", got.len(), expected.len());
        return Err(Reject::new(rule, text));
    }
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(Reject::new(rule, format!("{what} differs from the file at {at:#x}"))),
    }
}

/// Refuses unless IMEM holds this code at this virtual address.
pub(super) fn code(
    falcon: &Falcon,
    rule: &'static str,
    addr: u32,
    secure: bool,
    expected: &[u8],
) -> Checked {
    let kind = if secure { "secure" } else { "non-secure" };
    let got = falcon.memory.code(addr, expected.len(), secure).ok_or_else(|| {
        let text =
            format!("{:#x} bytes of {kind} code at {addr:#x} are not all there", expected.len());
        Reject::new(rule, text)
    })?;
    same(rule, &format!("{kind} code at {addr:#x}"), &got, expected)
}

/// Refuses unless DMEM starts with this data, apart from `holes` (start and length).
pub(super) fn data(
    falcon: &Falcon,
    rule: &'static str,
    expected: &[u8],
    holes: &[(u32, usize)],
) -> Checked {
    let got = falcon.memory.data(0, expected.len());
    let mut got = got.ok_or_else(|| Reject::new(rule, "more data than DMEM"))?.to_vec();
    for (at, len) in holes {
        let at = *at as usize;
        if let (Some(to), Some(from)) = (got.get_mut(at..at + len), expected.get(at..at + len)) {
            to.copy_from_slice(from);
        }
    }
    same(rule, "data", &got, expected)
}

/// Refuses unless the signature slot holds the signature for this card's fuses, which are unblown.
pub(super) fn signature(
    falcon: &Falcon,
    rule: &'static str,
    at: u32,
    right: &[u8],
    all: &[Vec<u8>],
) -> Checked {
    let got = falcon.memory.data(at, right.len()).unwrap_or_default();
    if got == right {
        return Ok(());
    }
    let text = match all.iter().position(|s| s == got) {
        Some(n) => format!("signature {n} is for another fuse version"),
        None => format!("DMEM {at:#x} holds none of the signatures"),
    };
    Err(Reject::new(rule, text))
}

/// Refuses unless the boot ROM was told the right parameters; Turing's has none.
pub(super) fn brom(arch: Arch, falcon: &Falcon, expected: Brom) -> Checked {
    ensure(arch == Arch::Turing || falcon.brom == expected, "brom", || {
        format!("{:x?} for {expected:x?}", falcon.brom)
    })
}

/// Refuses unless the processor starts at `addr`.
pub(super) fn entry(falcon: &Falcon, addr: u32) -> Checked {
    ensure(falcon.bootvec == addr, "bootvec", || {
        format!("BOOTVEC {:#x} for {addr:#x}", falcon.bootvec)
    })
}
