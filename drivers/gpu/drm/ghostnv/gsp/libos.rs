// SPDX-License-Identifier: GPL-2.0

//! What LibOS, the kernel below GSP-RM, finds in its mailboxes: memory regions by name.
//!
//! `LOGINIT`, `LOGINTR` and `LOGRM` are rings into which the firmware's tasks log; they begin with
//! a put pointer, followed by the bus addresses of their own pages. `RMARGS` says where the queues
//! are. LibOS looks regions up by name, so their order means nothing.
//!
//! Facts: open-gpu-kernel-modules 570.144, `libos_init_args.h` and `kernel_gsp.c`
//! (`kgspSetupLibosInitArgs_IMPL`, `_kgspInitLibosLoggingStructures`).

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        CoherentBox,
        DmaAddress, //
    },
    prelude::*,
};

use super::{
    abi::{
        queue,
        LibosRegion,
        RmArguments,
        GSP_PAGE_SIZE,
        LIBOS_KIND_CONTIGUOUS,
        LIBOS_LOCATION_SYSMEM, //
    },
    history::History,
    logs::{
        Logs,
        LOG_SIZE, //
    },
    queue::SharedMemory,
};

/// A region's name as a number: its first character is the most significant used byte.
const fn id(name: &[u8]) -> u64 {
    let mut id = 0;
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        id = id << 8 | *first as u64;
        rest = tail;
    }
    id
}

fn region(name: &[u8], address: DmaAddress, size: usize) -> Result<LibosRegion> {
    Ok(LibosRegion {
        id: id(name),
        address,
        size: u64::try_from(size)?,
        kind: LIBOS_KIND_CONTIGUOUS,
        location: LIBOS_LOCATION_SYSMEM,
        ..Default::default()
    })
}

/// Allocates memory of whole pages that starts with `bytes`.
pub(super) fn share(dev: &Device<Bound>, bytes: &[u8]) -> Result<Coherent<[u8]>> {
    let size = bytes.len().max(1).next_multiple_of(GSP_PAGE_SIZE);
    let mut memory = CoherentBox::<[u8]>::zeroed_slice(dev, size, GFP_KERNEL)?;
    memory
        .get_mut(..bytes.len())
        .ok_or(EINVAL)?
        .copy_from_slice(bytes);
    Ok(memory.into())
}

/// The regions, and the memory they name.
pub(crate) struct Arguments {
    regions: Coherent<[u8]>,
    _rm_arguments: Coherent<[u8]>,
    /// `None` once they have ended.
    logs: Option<Logs>,
}

impl Arguments {
    /// Arguments for a first boot, with queues at bus address `queues`.
    ///
    /// The logs of this boot and `calls` show in debugfs.
    pub(super) fn new(dev: &Device<Bound>, queues: DmaAddress, calls: &History) -> Result<Self> {
        let rm = RmArguments {
            queue_memory: queues,
            queue_page_count: u32::try_from(SharedMemory::PAGES)?,
            command_queue_offset: u64::try_from(queue::COMMAND)?,
            message_queue_offset: u64::try_from(queue::MESSAGE)?,
            stack_in_dmem: 1,
            ..Default::default()
        };
        let rm_arguments = share(dev, rm.as_bytes())?;
        let logs = Logs::new(dev, calls)?;
        let [init, intr, log_rm] = logs.addresses();
        let regions = [
            region(b"LOGINIT", init, LOG_SIZE)?,
            region(b"LOGINTR", intr, LOG_SIZE)?,
            region(b"LOGRM", log_rm, LOG_SIZE)?,
            region(b"RMARGS", rm_arguments.dma_address(), GSP_PAGE_SIZE)?,
        ];
        Ok(Self {
            regions: share(dev, regions.as_bytes())?,
            _rm_arguments: rm_arguments,
            logs: Some(logs),
        })
    }

    /// Says that the boot did not fail.
    pub(crate) fn booted(&mut self) {
        if let Some(logs) = &mut self.logs {
            logs.booted();
        }
    }

    /// The two mailboxes that LibOS looks into.
    pub(crate) fn mailboxes(&self) -> (u32, u32) {
        super::boot::halves(self.regions.dma_address())
    }
}

impl Drop for Arguments {
    fn drop(&mut self) {
        if let Some(logs) = self.logs.take() {
            logs.end();
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_libos)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers() {
        assert_eq!(id(b"RMARGS"), 0x524d_4152_4753);
        assert_eq!(id(b"LOGINIT"), 0x004c_4f47_494e_4954);
        assert_eq!(id(b""), 0);
    }
}
