// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Falcon microcontrollers.

use crate::chip::Chip;

/// One falcon.
pub struct Falcon {
    /// Mailboxes 0 and 1.
    pub mailbox: [u32; 2],
}

impl Falcon {
    /// The GSP's.
    pub fn gsp(_chip: &Chip) -> Self {
        Self { mailbox: [0; 2] }
    }

    /// SEC2's.
    pub fn sec2(_chip: &Chip) -> Self {
        Self { mailbox: [0; 2] }
    }

    /// Sets IRQSTAT.SWGEN0 and says whether it is enabled towards the CPU.
    pub fn post_swgen0(&mut self) -> bool {
        true
    }
}
