// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Replays recorded silicon vectors on the emulated engines.
