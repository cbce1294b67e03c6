// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A runlist: whose turn it is.
//!
//! Channels take turns in the order in which they became runnable. One that waits for a semaphore
//! gives its turn away and is asked again in the next round. A fault may have one keep the engine
//! instead.

use std::collections::VecDeque;

/// A channel that keeps its engine.
#[derive(Debug)]
struct Hog {
    chid: u32,
    /// How many nanoseconds it takes to get the engine back once the channel is stopped.
    recovery: u64,
    /// When that is done.
    until: Option<u64>,
}

/// Channels with something to do.
#[derive(Debug, Default)]
pub struct Runlist {
    turns: VecDeque<u32>,
    hog: Option<Hog>,
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

    /// From now on nobody has a turn until channel `chid` is stopped, and for `ms` after that.
    pub fn keep(&mut self, chid: u32, ms: u64) {
        self.hog = Some(Hog { chid, recovery: ms.saturating_mul(1_000_000), until: None });
    }

    /// Whether a channel keeps the engine at `now`; `runs` says whether one has not been stopped.
    pub fn is_kept(&mut self, now: u64, runs: impl Fn(u32) -> bool) -> bool {
        let Some(hog) = &mut self.hog else { return false };
        let kept = if runs(hog.chid) {
            true
        } else {
            now < *hog.until.get_or_insert(now.saturating_add(hog.recovery))
        };
        if !kept {
            self.hog = None;
        }
        kept
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_kept_until_some_time_after_its_channel_was_stopped() {
        let mut runlist = Runlist::default();
        assert!(!runlist.is_kept(0, |_| true));
        runlist.keep(7, 2);
        for (now, runs, kept) in [
            (0, true, true),
            (9_000_000, true, true),
            (10_000_000, false, true),
            (11_999_999, false, true),
            (12_000_000, false, false),
            (12_000_000, true, false),
        ] {
            assert_eq!(runlist.is_kept(now, |chid| chid == 7 && runs), kept, "{now}");
        }
    }
}
