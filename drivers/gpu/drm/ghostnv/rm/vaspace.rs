// SPDX-License-Identifier: GPL-2.0

//! Address spaces, as GSP-RM knows them.
//!
//! The driver writes the page tables. GSP-RM must know the top directory, to put it into the
//! instance blocks of channels. There are two ways to tell it: an *externally owned* space has
//! nothing but what the driver maps; in a space that GSP-RM shares, 512 MiB from 4 GiB on are its
//! own, and the driver lends it the directories above them. Graphics contexts are made in the
//! second kind, everything else uses the first.
//!
//! Facts: open-gpu-kernel-modules 570.144, `gpu_vaspace.c` (`gvaspaceExternalRootDirCommit_IMPL`,
//! `gvaspaceCopyServerReservedPdes_IMPL`).

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::gsp::{
    abi::{
        class,
        command,
        CopyReservedPdes,
        ReservedLevel,
        SetPageDirectory,
        UnsetPageDirectory,
        VaSpaceParams,
        PAGE_DIRECTORY_VRAM,
        RESERVED_LEVEL_VRAM,
        SERVER_RESERVED_SIZE,
        SERVER_RESERVED_START,
        VASPACE_EXTERNALLY_OWNED, //
    },
    object::{
        Class,
        Control, //
    },
};

use super::{
    Object,
    Root, //
};

struct NewVaSpace {
    external: bool,
    handle: Option<u32>,
}

impl Class for NewVaSpace {
    const NAME: &'static str = "FERMI_VASPACE_A";
    type Params = VaSpaceParams;

    fn class(&self) -> u32 {
        class::VASPACE
    }

    fn handle(&self) -> Option<u32> {
        self.handle
    }

    fn fill(&self, params: &mut VaSpaceParams) {
        if self.external {
            params.flags = VASPACE_EXTERNALLY_OWNED;
        }
    }
}

impl Control for SetPageDirectory {
    const COMMAND: u32 = command::SET_PAGE_DIRECTORY;
    const NAME: &'static str = "SET_PAGE_DIRECTORY";
    type Params = Self;
    type Reply = ();

    fn fill(&self, params: &mut Self) {
        *params = *self;
    }

    fn read(_: &Self) -> Result {
        Ok(())
    }
}

impl Control for UnsetPageDirectory {
    const COMMAND: u32 = command::UNSET_PAGE_DIRECTORY;
    const NAME: &'static str = "UNSET_PAGE_DIRECTORY";
    type Params = Self;
    type Reply = ();

    fn fill(&self, params: &mut Self) {
        *params = *self;
    }

    fn read(_: &Self) -> Result {
        Ok(())
    }
}

impl Control for CopyReservedPdes {
    const COMMAND: u32 = command::COPY_SERVER_RESERVED_PDES;
    const NAME: &'static str = "COPY_SERVER_RESERVED_PDES";
    type Params = Self;
    type Reply = ();

    fn fill(&self, params: &mut Self) {
        *params = *self;
    }

    fn read(_: &Self) -> Result {
        Ok(())
    }
}

/// A page directory in video memory.
#[derive(Clone, Copy)]
pub(crate) struct DirectoryLevel {
    /// Where it is.
    pub(crate) address: u64,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The address bit at which its index starts.
    pub(crate) shift: u8,
}

/// An address space.
///
/// It must be dropped before the page directories that it was made with, and after all channels
/// that use it.
pub(crate) struct VaSpace<'bound> {
    object: Object<'bound>,
    external: bool,
}

impl<'bound> VaSpace<'bound> {
    /// Part of an address space made by [`Self::shared`] that is the firmware's.
    pub(crate) const SERVER_RESERVED: core::ops::Range<u64> =
        SERVER_RESERVED_START..SERVER_RESERVED_START + SERVER_RESERVED_SIZE;

    /// An address space whose top page directory, with `entries` entries, is at `directory` in
    /// video memory.
    pub(crate) fn external(root: &Arc<Root<'bound>>, directory: u64, entries: u32) -> Result<Self> {
        let object = Root::alloc(
            root,
            &NewVaSpace {
                external: true,
                handle: None,
            },
        )?;
        root.control_device(&SetPageDirectory {
            address: directory,
            entries,
            flags: PAGE_DIRECTORY_VRAM,
            vaspace: object.handle(),
            ..Default::default()
        })?;
        Ok(Self {
            object,
            external: true,
        })
    }

    /// An address space in which [`Self::SERVER_RESERVED`] is the firmware's.
    ///
    /// `levels` are the directories above it, from the top one to the one whose entries cover 512
    /// MiB each. `handle` is for the one that GSP-RM looks for by it.
    pub(crate) fn shared(
        root: &Arc<Root<'bound>>,
        levels: &[DirectoryLevel],
        handle: Option<u32>,
    ) -> Result<Self> {
        let object = Root::alloc(
            root,
            &NewVaSpace {
                external: false,
                handle,
            },
        )?;
        let mut copy = CopyReservedPdes {
            page_size: SERVER_RESERVED_SIZE,
            first: SERVER_RESERVED_START,
            last: SERVER_RESERVED_START + SERVER_RESERVED_SIZE - 1,
            level_count: u32::try_from(levels.len())?,
            ..Default::default()
        };
        for (i, level) in levels.iter().enumerate() {
            *copy.levels.get_mut(i).ok_or(EINVAL)? = ReservedLevel {
                address: level.address,
                size: level.size,
                aperture: RESERVED_LEVEL_VRAM,
                page_shift: level.shift,
                ..Default::default()
            };
        }
        object.control(&copy)?;
        Ok(Self {
            object,
            external: false,
        })
    }

    /// Its handle, for objects that use it.
    pub(crate) fn handle(&self) -> u32 {
        self.object.handle()
    }

    /// The client it belongs to.
    pub(crate) fn root(&self) -> &Arc<Root<'bound>> {
        self.object.root()
    }
}

impl Drop for VaSpace<'_> {
    fn drop(&mut self) {
        if self.external {
            // What failed has been said.
            let _ = self.object.root().control_device(&UnsetPageDirectory {
                vaspace: self.object.handle(),
                ..Default::default()
            });
        }
    }
}
