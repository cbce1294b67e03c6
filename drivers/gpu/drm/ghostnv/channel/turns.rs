// SPDX-License-Identifier: GPL-2.0

//! Whose turn it was while jobs were late.
//!
//! A job without end keeps its engine, if that cannot leave it in between. The jobs of all other
//! channels of the runlist wait meanwhile, and their time runs, too: a moment after the first is
//! late they all are. So channels are stopped one by one, the first to be late first. Stopping one
//! takes as long as the firmware needs to get the engine back, and the others' turn comes only
//! then: that is from where their jobs' time counts.

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// A runlist, and when the last channel of it was stopped because of a late job.
type Turn = (u32, Option<Instant<Monotonic>>);

/// The turns of one GPU's runlists.
#[pin_data]
pub(crate) struct Turns {
    #[pin]
    turns: Mutex<KVec<Turn>>,
}

impl Turns {
    /// For runlists by their numbers, which may repeat.
    pub(crate) fn new(runlists: impl Iterator<Item = u32>) -> Result<impl PinInit<Self>> {
        let mut turns = KVec::new();
        for runlist in runlists {
            if !turns.iter().any(|&(known, _)| known == runlist) {
                turns.push((runlist, None), GFP_KERNEL)?;
            }
        }
        Ok(pin_init!(Self {
            turns <- new_mutex!(turns),
        }))
    }

    /// Has a channel of a runlist, a job of which seems late, stopped if it is.
    ///
    /// `stop` gets the moment from which its jobs' time counts, if they had to wait for another
    /// channel to be stopped, and says whether it has stopped its own. One at a time; sleeps, and
    /// allocates nothing.
    pub(crate) fn late(&self, runlist: u32, stop: impl FnOnce(Option<Instant<Monotonic>>) -> bool) {
        let mut turns = self.turns.lock();
        let turn = turns.iter_mut().find(|(known, _)| *known == runlist);
        let mut unknown = None;
        let turn = turn.map_or(&mut unknown, |(_, turn)| turn);

        if stop(*turn) {
            *turn = Some(Instant::now());
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_channel_turns)]
mod tests {
    use super::*;

    #[test]
    fn who_was_stopped_counts_for_its_runlist() -> Result {
        let turns = KBox::pin_init(Turns::new([0, 3, 3, 0].into_iter())?, GFP_KERNEL)?;
        assert_eq!(turns.turns.lock().len(), 2);
        // Runlist, whether its channel is stopped, and whether one was before.
        for (runlist, stopped, before) in [
            (0, false, false),
            (0, true, false),
            (3, false, false),
            (0, false, true),
            (7, true, false),
            (7, false, false),
            (0, true, true),
        ] {
            turns.late(runlist, |turn| {
                assert_eq!(turn.is_some(), before);
                assert!(turn.is_none_or(|turn| !turn.elapsed().is_negative()));
                stopped
            });
        }
        Ok(())
    }
}
