// SPDX-License-Identifier: GPL-2.0

//! Memory layouts that GSP-RM and the driver share, one file a firmware release.
//!
//! NVIDIA changes these layouts from release to release, so a release is named once, here: the
//! rest of the driver says `abi::Something` and never learns which firmware it talks to.

mod r570_144;

pub(crate) use r570_144::*;
