// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the high-secure microcode does: FWSEC, booter_load, booter_unload.
