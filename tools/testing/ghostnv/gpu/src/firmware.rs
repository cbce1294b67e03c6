// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Firmware files as linux-firmware ships them, for comparison and conversion.

/// The parsed files of one chip.
pub struct FirmwareSet {}
