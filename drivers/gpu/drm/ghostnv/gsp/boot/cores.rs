// SPDX-License-Identifier: GPL-2.0

//! What the register programs of a firmware that boots may do to the GSP itself.

use kernel::{
    io::Io,
    prelude::*,
    time::Delta, //
};

use crate::{
    falcon::{
        Core,
        Falcon, //
    },
    gpu::Hw,
    gsp::sequencer,
    regs::{
        self,
        falcon::{
            Gsp as GspEngine,
            Sec2, //
        }, //
    }, //
};

use super::{
    ACTIVE_DEADLINE,
    POLL_PERIOD, //
};

/// How long Booter may take to hand the GSP back.
const HANDOFF_DEADLINE: Delta = Delta::from_secs(5);

/// What the firmware's register programs do to the GSP.
pub(super) struct SequencerCore<'a> {
    pub(super) hw: Hw<'a>,
    pub(super) arguments: (u32, u32),
    pub(super) app_version: u32,
}

impl sequencer::Core for SequencerCore<'_> {
    fn reset(&mut self) -> Result {
        Falcon::<GspEngine>::new(self.hw).reset_into(Core::Falcon)
    }

    fn start(&mut self) -> Result {
        Falcon::<GspEngine>::new(self.hw).start();
        Ok(())
    }

    fn wait_for_halt(&mut self) -> Result {
        Falcon::<GspEngine>::new(self.hw).wait_halted()
    }

    /// Gives the GSP back to its RISC-V core; Booter, waiting on SEC2, starts it.
    fn resume(&mut self) -> Result {
        let gsp = Falcon::<GspEngine>::new(self.hw);
        let sec2 = Falcon::<Sec2>::new(self.hw);
        gsp.reset_into(Core::RiscV)?;
        gsp.set_mailboxes(self.arguments);
        sec2.start();
        self.hw.poll(POLL_PERIOD, HANDOFF_DEADLINE, || {
            self.hw
                .bar
                .read(regs::chip::BSI_SECURE_SCRATCH_14)
                .boot_stage_3_handoff()
        })?;
        match sec2.mailboxes() {
            (0, _) => (),
            (status, _) => {
                dev_err!(self.hw.dev, "SEC2: resume failed: {status:#x}\n");
                return Err(EIO);
            }
        }
        gsp.set_os_version(self.app_version);
        self.hw
            .poll(POLL_PERIOD, ACTIVE_DEADLINE, || gsp.riscv_active())
    }
}
