// SPDX-License-Identifier: GPL-2.0

//! Stopping the firmware, and making the GPU as it was before.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_gsp_tu102.c` (`kgspTeardown_TU102`).

use kernel::{
    io::Io,
    prelude::*,
    sync::Arc,
    time::Delta, //
};

use crate::{
    falcon::{
        Falcon,
        Ucode, //
    },
    gsp::{
        abi,
        commands::UnloadingGuestDriver,
        rpc::Link, //
    },
    mem,
    regs::{
        self,
        falcon::{
            Gsp as GspEngine,
            Sec2, //
        }, //
    }, //
};

use super::poll;

/// How long the firmware may take to stop after it agreed to.
const STOP_DEADLINE: Delta = Delta::from_secs(5);
/// What `booter_unload` gets for an address where there is no state to save.
const UNLOAD_ARGUMENT: (u32, u32) = (0xff, 0xff);

/// Undoes a boot, from whichever stage.
pub(super) struct Teardown<'bound> {
    pub(super) link: Arc<Link<'bound>>,
    pub(super) fwsec_sb: Ucode,
    pub(super) booter_unload: Ucode,
    /// The firmware runs and has said so.
    pub(super) talks: bool,
}

impl Teardown<'_> {
    /// Asks the firmware to stop, and waits until it has.
    fn stop(&self) -> Result {
        let hw = self.link.hw();
        self.link.call(&UnloadingGuestDriver)?;
        poll(STOP_DEADLINE, || {
            Falcon::<GspEngine>::new(hw).mailboxes().0 & abi::MAILBOX_SUSPENDED != 0
        })
        .inspect_err(|_| dev_err!(hw.dev, "GSP: did not stop within 5 s\n"))
    }

    /// Puts the falcon back and removes the protected region.
    fn unprotect(&self) -> Result {
        let hw = self.link.hw();
        if mem::wpr2(hw).is_none() {
            return Ok(());
        }
        // Even if FWSEC fails, the region should not stay.
        let restored = self.restore();
        let (status, _) = Falcon::<Sec2>::new(hw).run(&self.booter_unload, UNLOAD_ARGUMENT)?;
        if status != 0 {
            dev_err!(hw.dev, "SEC2: booter_unload failed: {status:#x}\n");
            return Err(EIO);
        }
        if let Some(left) = mem::wpr2(hw) {
            dev_err!(hw.dev, "SEC2: booter_unload left WPR2 at {left:#x?}\n");
            return Err(EIO);
        }
        restored
    }

    fn restore(&self) -> Result {
        let hw = self.link.hw();
        Falcon::<GspEngine>::new(hw).run(&self.fwsec_sb, (0, 0))?;
        match hw.bar.read(regs::chip::SW_SCRATCH_SB).error() {
            0 => Ok(()),
            error => {
                dev_err!(hw.dev, "GSP: FWSEC-SB failed: {error:#x}\n");
                Err(EIO)
            }
        }
    }
}

impl Drop for Teardown<'_> {
    fn drop(&mut self) {
        if self.talks && !self.link.is_dead() {
            // What failed has been said; the rest does not depend on it.
            let _ = self.stop();
        }
        if self.unprotect().is_err() {
            dev_err!(
                self.link.hw().dev,
                "GSP: not unloaded; the GPU needs a reset before a driver can use it again\n"
            );
        }
    }
}
