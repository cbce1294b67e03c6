// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The CPU interrupt tree.

use crate::env::Env;

/// Leaf, top and enable registers.
#[derive(Default)]
pub struct Intr {}

impl Intr {
    /// Latches a vector.
    pub fn raise(&mut self, _env: &mut Env, _vector: u32) {}
}
