// SPDX-License-Identifier: GPL-2.0

//! Stopping the firmware, and making the GPU as it was before.
//!
//! The firmware answers `UNLOADING_GUEST_DRIVER` like any call, and then stops; NVIDIA's driver
//! waits for that whatever the answer says, and so does this one, unless there was none.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_gsp_tu102.c` (`kgspTeardown_TU102`),
//! `kernel_gsp.c` (`kgspUnloadRm_IMPL`), `rpc.c` (`rpcUnloadingGuestDriver_v1F_07`).

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

use super::POLL_PERIOD;

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
        let answer = self.link.call(&UnloadingGuestDriver);
        if self.link.lost().is_set() {
            return answer;
        }
        hw.poll(POLL_PERIOD, STOP_DEADLINE, || {
            Falcon::<GspEngine>::new(hw).mailboxes().0 & abi::MAILBOX_SUSPENDED != 0
        })
        .inspect_err(|e| dev_err!(hw.dev, "GSP: did not stop within 5 s: {e:?}\n"))?;
        answer
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
        let hw = self.link.hw();

        if hw.gone() {
            // It has lost all state with its power, or its registers alone do not answer.
            self.link.isolate();
            dev_err!(hw.dev, "the GPU has left the bus: nothing to unload\n");
            return;
        }
        // All that follows needs the GPU to read system memory.
        let isolated = self.link.retire();
        if !isolated && self.talks && !self.link.lost().is_set() {
            // What failed has been said; the rest does not depend on it.
            let _ = self.stop();
        }
        if isolated || self.unprotect().is_err() {
            // What may still run uses memory that is about to be freed.
            self.link.isolate();
            dev_err!(
                hw.dev,
                "GSP: not unloaded; the GPU needs a reset before a driver can use it again\n"
            );
        }
    }
}
