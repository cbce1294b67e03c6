// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What methods reach: copy, inline-to-memory, and the classes that are only recorded.
