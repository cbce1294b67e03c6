// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Firmware files as linux-firmware ships them, for comparison and conversion.

use std::path::Path;

/// The parsed files of one chip.
pub struct FirmwareSet {}

impl FirmwareSet {
    /// Reads the `*-570.144.bin` files of a chip's `gsp` directory below `nvidia`.
    pub fn load(_nvidia: &Path, _chip: &str) -> anyhow::Result<Self> {
        Ok(Self {})
    }
}

/// Writes nova-core's `.tlv` files and `gsp.bin` below `out/nvidia`, from the files in `nvidia`.
pub fn nova(_nvidia: &Path, _out: &Path) -> anyhow::Result<()> {
    Ok(())
}
