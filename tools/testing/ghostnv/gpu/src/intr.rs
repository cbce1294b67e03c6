// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The CPU interrupt tree (`NV_VIRTUAL_FUNCTION_PRIV_CPU_INTR`).
//!
//! A vector is a bit of one of eight leaves; two leaves make a subtree, which is a bit of TOP. A
//! leaf bit latches when its source pulses and is cleared by writing one. An MSI is an edge: it is
//! sent when (TOP & TOP_EN) goes from zero to non-zero and never again until it was zero, so a
//! handler that does not disarm and re-arm misses what comes while it runs.

use crate::env::Env;
use crate::env::trace::Kind;

const LEAVES: usize = 8;

/// Offsets from 0xb80000.
const LEAF: u32 = 0x1000;
const LEAF_EN_SET: u32 = 0x1200;
const LEAF_EN_CLEAR: u32 = 0x1400;
const TOP: u32 = 0x1600;
const TOP_EN_SET: u32 = 0x1608;
const TOP_EN_CLEAR: u32 = 0x1610;
const LEAF_BYTES: u32 = 4 * LEAVES as u32;

/// Leaf, top and enable registers.
#[derive(Default)]
pub struct Intr {
    leaf: [u32; LEAVES],
    leaf_en: [u32; LEAVES],
    top_en: u32,
    /// (TOP & TOP_EN) was non-zero when last looked at.
    asserted: bool,
    /// An edge happened whose MSI was not sent yet.
    message: bool,
}

impl Intr {
    /// Latches a vector.
    pub fn raise(&mut self, env: &mut Env, vector: u32) {
        let Some(leaf) = self.leaf.get_mut(vector as usize / 32) else { return };
        *leaf |= 1 << (vector % 32);
        env.trace.record(env.clock.ns(), Kind::Interrupt, 0, vector, 0, 0);
        self.update();
    }

    /// Whether an MSI is to be sent; asking clears it.
    pub fn take_msi(&mut self) -> bool {
        std::mem::take(&mut self.message)
    }

    /// The level that INTx follows.
    pub fn asserted(&self) -> bool {
        self.asserted
    }

    /// Reads a register by its offset from 0xb80000; None if it is not the tree's.
    pub fn read(&self, off: u32) -> Option<u32> {
        match off {
            TOP => Some(self.top()),
            TOP_EN_SET | TOP_EN_CLEAR => Some(self.top_en),
            _ => match leaf_register(off)? {
                (LEAF, n) => Some(self.leaf[n]),
                (_, n) => Some(self.leaf_en[n]),
            },
        }
    }

    /// Writes a register; false if it is not the tree's.
    pub fn write(&mut self, off: u32, value: u32) -> bool {
        match off {
            TOP_EN_SET => self.top_en |= value,
            TOP_EN_CLEAR => self.top_en &= !value,
            _ => match leaf_register(off) {
                Some((LEAF, n)) => self.leaf[n] &= !value,
                Some((LEAF_EN_SET, n)) => self.leaf_en[n] |= value,
                Some((_, n)) => self.leaf_en[n] &= !value,
                None => return false,
            },
        }
        self.update();
        true
    }

    fn top(&self) -> u32 {
        (0..LEAVES)
            .filter(|&n| self.leaf[n] & self.leaf_en[n] != 0)
            .fold(0, |top, n| top | 1 << (n / 2))
    }

    fn update(&mut self) {
        let now = self.top() & self.top_en != 0;
        self.message |= now && !self.asserted;
        self.asserted = now;
    }
}

/// Which family of leaf registers, and which leaf.
fn leaf_register(off: u32) -> Option<(u32, usize)> {
    [LEAF, LEAF_EN_SET, LEAF_EN_CLEAR]
        .into_iter()
        .find(|&base| (base..base + LEAF_BYTES).contains(&off) && off % 4 == 0)
        .map(|base| (base, (off - base) as usize / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_edges_of_enabled_pending_vectors() {
        let mut env = Env::new(1 << 20).unwrap();
        let mut i = Intr::default();
        i.raise(&mut env, 131);
        assert_eq!((i.read(TOP), i.take_msi()), (Some(0), false));
        i.write(LEAF_EN_SET + 16, 1 << 3);
        assert_eq!((i.read(TOP), i.take_msi()), (Some(1 << 2), false));
        // Arming sends what is pending; a second vector while asserted sends nothing.
        i.write(TOP_EN_SET, 0xf);
        assert!(i.take_msi());
        i.raise(&mut env, 131);
        i.write(TOP_EN_SET, 0xf);
        assert!(!i.take_msi());
        // Disarm and re-arm while pending: one more.
        i.write(TOP_EN_CLEAR, 0xf);
        assert!(!i.asserted());
        i.write(TOP_EN_SET, 0xf);
        assert!(i.take_msi());
        // Acknowledge, then a fresh edge.
        i.write(LEAF + 16, 1 << 3);
        assert_eq!((i.read(LEAF + 16), i.asserted()), (Some(0), false));
        i.raise(&mut env, 131);
        assert!(i.take_msi());
        i.raise(&mut env, u32::MAX);
        assert_eq!(i.read(LEAF + LEAF_BYTES), None);
    }
}
