// SPDX-License-Identifier: GPL-2.0

//! Making the hardware forget translations.
//!
//! An invalidate names a page directory. It is done when every client of the GPU has let go of what
//! it knew and writes that were under way by it have arrived, so that memory may be reused then.

use kernel::{
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::Delta, //
};

use crate::{
    gsp::rpc::Link,
    regs::mmu::{
        MMU_INVALIDATE,
        MMU_INVALIDATE_PDB,
        MMU_INVALIDATE_UPPER_PDB, //
    }, //
};

/// Who uses a page directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// Channels, so any client.
    All,
    /// The windows through which the CPU sees memory.
    Windows,
}

/// The TLBs of one GPU. The three registers are one resource: an invalidate is done under a mutex.
#[pin_data]
pub(crate) struct Tlb<'bound> {
    link: Arc<Link<'bound>>,
    #[pin]
    lock: Mutex<()>,
}

/// All ones are of a GPU that is gone: the upper bits are none of the register's.
fn is_of_none(register: &MMU_INVALIDATE) -> bool {
    register.into_raw() == u32::MAX
}

/// All clients have let go.
const ACK_GLOBALLY: u32 = 1;

impl<'bound> Tlb<'bound> {
    /// For the GPU that the link is to.
    pub(crate) fn new(link: Arc<Link<'bound>>) -> impl PinInit<Self> + use<'bound> {
        pin_init!(Self {
            link,
            lock <- new_mutex!(()),
        })
    }

    /// Drops what is cached of the page directory at `root` in video memory, and waits until that
    /// is done. The writes that changed the tables must have arrived. May sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the hardware does not get done within 2 s. What was mapped may still be in
    /// use then, so the GPU is lost. `ENODEV` if it was lost before. None for a GPU that has left
    /// the bus, which is lost, too, and uses nothing any more.
    pub(crate) fn invalidate(&self, root: u64, users: Users) -> Result {
        const LIMIT: Delta = Delta::from_secs(2);
        let bar = self.link.hw().bar;
        let all = MMU_INVALIDATE::zeroed()
            .with_all_va(true)
            .with_trigger(true);
        let command = match users {
            Users::All => all.with_sys_membar(true).try_with_ack(ACK_GLOBALLY)?,
            // The firmware has bound the windows; all directories, as it may know theirs by
            // another name.
            Users::Windows => all.with_hubtlb_only(true).with_all_pdb(true),
        };

        self.link.lost().check()?;
        let _guard = self.lock.lock();
        bar.write_reg(
            MMU_INVALIDATE_PDB::zeroed()
                // CAST: Bits 39:12 by intent.
                .try_with_addr((root >> 12) as u32 & 0x0fff_ffff)?,
        );
        bar.write_reg(
            MMU_INVALIDATE_UPPER_PDB::zeroed().try_with_addr(u32::try_from(root >> 40)?)?,
        );
        bar.write_reg(command);
        read_poll_timeout(
            || Ok(bar.read(MMU_INVALIDATE)),
            |now| !now.trigger() || is_of_none(now),
            Delta::ZERO,
            LIMIT,
        )
        .inspect(|now| {
            if is_of_none(now) {
                self.link.lose(fmt!("MMU: no answer"));
            }
        })
        .map(|_| ())
        .inspect_err(|_| {
            self.link
                .lose(fmt!("MMU: no invalidate of {root:#x} within 2 s"))
        })
    }
}
