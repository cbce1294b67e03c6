// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A runlist: whose turn it is.
//!
//! Channels take turns in the order in which they became runnable. One that waits for a semaphore
//! gives its turn away and is asked again in the next round.

use std::collections::VecDeque;

/// Channels with something to do.
#[derive(Debug, Default)]
pub struct Runlist {
    turns: VecDeque<u32>,
}

impl Runlist {
    /// Adds a channel at the end unless it is there.
    pub fn add(&mut self, chid: u32) {
        if !self.turns.contains(&chid) {
            self.turns.push_back(chid);
        }
    }

    /// Removes a channel.
    pub fn remove(&mut self, chid: u32) {
        self.turns.retain(|c| *c != chid);
    }

    /// Takes the next channel off the list.
    pub fn take(&mut self) -> Option<u32> {
        self.turns.pop_front()
    }

    /// How many channels wait for a turn.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether no channel has anything to do.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}
