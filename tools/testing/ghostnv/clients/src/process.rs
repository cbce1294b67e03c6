// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What this process holds: open files and resident memory, from `/proc/self`.

use anyhow::Context;

/// Open files and resident memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Number of open file descriptors.
    pub fds: usize,
    /// Resident memory in KiB.
    pub rss_kib: u64,
}

impl Usage {
    /// Takes the reading.
    pub fn now() -> anyhow::Result<Self> {
        // The directory being read is itself one descriptor.
        let fds = std::fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let pages: u64 =
            statm.split(' ').nth(1).context("/proc/self/statm has no second field")?.parse()?;
        Ok(Self { fds, rss_kib: pages * (rustix::param::page_size() as u64 / 1024) })
    }
}
