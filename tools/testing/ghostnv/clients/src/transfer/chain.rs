// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A chain of submissions over several queues, ordered by one timeline semaphore.
//!
//! Submission n waits for point n-1 and reaches point n, whichever queue either runs on, so
//! neighbours in the chain that sit on different queues are ordered by the semaphore alone.
//! Several are under way at once: the CPU waits only when it needs a command buffer back.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;

use crate::prng::Prng;
use crate::vk::{Commands, Device, Timeline};

/// Command buffers each queue has in turn.
const DEPTH: usize = 4;

/// One queue: its name, its command buffers, and the point at which each is free again.
struct Lane {
    name: &'static str,
    slots: Vec<(Commands, u64)>,
    submissions: u64,
}

/// The chain.
pub struct Chain {
    lanes: Vec<Lane>,
    timeline: Timeline,
    point: u64,
    limit: Duration,
}

impl Chain {
    /// A chain over one queue of each of the named families, taken in random order so
    /// that no phase of the workload sticks to one queue.
    pub fn new(
        device: &Rc<Device>,
        families: &[(&'static str, u32)],
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let lane = |&(name, family): &(&'static str, u32)| {
            let slots = (0..DEPTH).map(|_| Ok((Commands::new(device, family)?, 0)));
            let slots = slots.collect::<anyhow::Result<_>>()?;
            anyhow::Ok(Lane { name, slots, submissions: 0 })
        };
        Ok(Self {
            lanes: families.iter().map(lane).collect::<anyhow::Result<_>>()?,
            timeline: Timeline::new(device)?,
            point: 0,
            limit,
        })
    }

    /// Records the next submission with `record` and submits it. Returns its queue's name.
    pub fn submit(&mut self, record: impl FnOnce(&Commands)) -> anyhow::Result<&'static str> {
        let turn = Prng::new(self.point).index(self.lanes.len());
        let lane = self.lanes.get_mut(turn).context("no queue to submit to")?;
        let slot = lane.submissions as usize % DEPTH;
        let (commands, free_at) = lane.slots.get_mut(slot).context("no such slot")?;
        self.timeline.wait(*free_at, self.limit).with_context(|| format!("{} queue", lane.name))?;
        commands.begin()?;
        record(commands);
        commands.end()?;
        self.timeline.submit(commands, self.point, self.point + 1)?;
        self.point += 1;
        *free_at = self.point;
        lane.submissions += 1;
        Ok(lane.name)
    }

    /// Waits for everything submitted.
    pub fn finish(&self) -> anyhow::Result<()> {
        self.timeline.wait(self.point, self.limit).context("end of the chain")
    }

    /// Submissions so far by queue.
    pub fn submissions(&self) -> Vec<(&'static str, u64)> {
        self.lanes.iter().map(|lane| (lane.name, lane.submissions)).collect()
    }
}
