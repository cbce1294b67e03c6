// SPDX-License-Identifier: GPL-2.0

//! What the GSP-RM 570.144 firmware and the driver put into shared memory.
//!
//! Every structure is little-endian, has no implicit padding (`IntoBytes` refuses it) and is held
//! to its size and to the offsets of its fields at compile time. Values read from the firmware
//! are plain integers: whoever reads them decides what is acceptable, since a layout cannot.
//!
//! Facts: NVIDIA's open-gpu-kernel-modules of the same release; each file names the headers, most
//! of which the kernel carries in `drivers/gpu/drm/nouveau/nvkm/subdev/gsp/rm/r570/nvrm/`.

/// The release, as firmware file names spell it.
pub(crate) const VERSION: &str = "570.144";

/// Unit of everything the firmware maps: its MMU's pages, not the CPU's.
pub(crate) const GSP_PAGE_SIZE: usize = 4096;

/// Asserts a structure's size and the offsets of some of its fields.
///
/// The literals say which header and type of NVIDIA's describe the same, and its names of the
/// fields. The compiler does not look at them; `scripts/abi` holds those headers to the same sizes
/// and offsets.
macro_rules! assert_layout {
    (
        $type:ident $($theirs:literal)?, $size:expr
        $(, $($field:ident).+ $($their:literal)? @ $offset:expr)* $(,)?
    ) => {
        static_assert!(size_of::<$type>() == $size);
        $(static_assert!(offset_of!($type, $($field).+) == $offset);)*
    };
}

mod boot;
mod channel;
mod control;
mod events;
mod message;
mod object;
mod system;

pub(crate) use boot::*;
pub(crate) use channel::*;
pub(crate) use control::*;
pub(crate) use events::*;
pub(crate) use message::*;
pub(crate) use object::*;
pub(crate) use system::*;
