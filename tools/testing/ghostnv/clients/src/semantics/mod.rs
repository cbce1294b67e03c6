// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What EXEC and VM_BIND promise, each promise by itself: order, fences, errors, ranges.
//!
//! nouveau's uAPI is the contract, so most cases hold for nouveau too and are run on it; a case
//! that asks for more than nouveau does says so.

mod bind;
mod memory;
mod rig;
mod slow;
mod submit;

use std::path::Path;
use std::time::Duration;

pub use rig::Rig;

/// Enough for anything that is to happen at all, also on a debug kernel.
pub const SOON: Duration = Duration::from_secs(60);
/// How long something is watched that must not happen.
pub const WHILE: Duration = Duration::from_millis(100);

/// One promise.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// nouveau does not keep it.
    pub ghostnv_only: bool,
    /// Checks it.
    pub run: fn(&mut Rig) -> anyhow::Result<()>,
}

/// All cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    submit::CASES.iter().chain(bind::CASES)
}

/// Cases that take all video memory there is, for a card that has little.
pub fn greedy() -> impl Iterator<Item = &'static Case> {
    memory::CASES.iter()
}

/// Cases that have the emulated GPU be slow.
pub fn slow() -> impl Iterator<Item = &'static Case> {
    slow::CASES.iter()
}

/// Runs a case with a client of its own.
pub fn run(case: &Case, device: &Path) -> anyhow::Result<()> {
    (case.run)(&mut Rig::new(device)?)
}

/// Checks that a call fails with an error number.
pub fn fails<T>(
    what: &str,
    result: std::io::Result<T>,
    error: rustix::io::Errno,
) -> anyhow::Result<()> {
    let found = match result {
        Ok(_) => anyhow::bail!("{what}: did not fail"),
        Err(found) => found,
    };
    anyhow::ensure!(
        found.raw_os_error() == Some(error.raw_os_error()),
        "{what}: {found}, not {error}"
    );
    Ok(())
}
