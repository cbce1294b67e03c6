// SPDX-License-Identifier: GPL-2.0

//! Which engines the GPU has, on which runlists, and which interrupt vectors are theirs.
//!
//! Host (the unit that fetches and schedules channels) has runlists; each feeds one engine, but the
//! graphics engine shares its runlist with copy engines ("GRCE"). Two tables of the firmware say
//! what there is. Engines that this driver does not use are left out.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_fifo.c` (`kfifoConstructEngineList`),
//! `intr.c` (`intrInitInterruptTable`).

use kernel::prelude::*;

use crate::gsp::abi::{
    command,
    device_info,
    engine_type,
    interrupt_unit,
    rm_engine_type,
    DeviceInfo,
    DeviceInfoTable,
    FaultMethodBufferSize,
    InterruptEntry,
    InterruptTable,
    DEVICE_INFO_MAX,
    NO_VECTOR, //
};
use crate::gsp::object::Control;

use super::Root;

/// What an engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    /// Graphics and compute.
    Graphics,
    /// Copies; with the engine's instance.
    Copy(u32),
}

impl EngineKind {
    /// Reads the number that the table of devices has for it; `None` for one not used here.
    fn from_rm_type(number: u32) -> Option<Self> {
        if number == rm_engine_type::GR0 {
            return Some(Self::Graphics);
        }
        let copy = number.checked_sub(rm_engine_type::COPY0)?;
        (copy < rm_engine_type::COPIES).then_some(Self::Copy(copy))
    }

    /// The number by which channels and objects name it.
    pub(crate) fn engine_type(self) -> u32 {
        match self {
            Self::Graphics => engine_type::GR0,
            Self::Copy(n @ 0..10) => engine_type::COPY0 + n,
            Self::Copy(n) => engine_type::COPY10 + (n - 10),
        }
    }

    /// The unit of the interrupt table.
    fn interrupt_unit(self) -> Option<u16> {
        match self {
            Self::Graphics => Some(interrupt_unit::GR0),
            Self::Copy(n) => u16::try_from(n)
                .ok()?
                .checked_add(interrupt_unit::COPY0)
                .filter(|unit| (interrupt_unit::COPY0..=interrupt_unit::COPY19).contains(unit)),
        }
    }
}

impl kernel::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        match self {
            Self::Graphics => f.write_str("GR0"),
            Self::Copy(n) => write!(f, "CE{n}"),
        }
    }
}

/// One engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// What it is.
    pub(crate) kind: EngineKind,
    /// The runlist that feeds it.
    pub(crate) runlist: u32,
    /// The vector that a channel raises by the method `NON_STALL_INTERRUPT`, if there is one.
    pub(crate) nonstall: Option<u32>,
}

/// Asks for the table of devices, from line `base` on.
struct GetDeviceInfo {
    base: u32,
}

/// Lines of the table that are of use, and how many there were with the others.
struct DeviceInfoPage {
    engines: KVec<(EngineKind, u32)>,
    lines: u32,
    more: bool,
}

fn read_device(info: &DeviceInfo) -> Option<(EngineKind, u32)> {
    let kind = EngineKind::from_rm_type(info.data[device_info::RM_ENGINE_TYPE])?;
    Some((kind, info.data[device_info::RUNLIST]))
}

impl Control for GetDeviceInfo {
    const COMMAND: u32 = command::GET_DEVICE_INFO_TABLE;
    const NAME: &'static str = "FIFO_GET_DEVICE_INFO_TABLE";
    type Params = DeviceInfoTable;
    type Reply = DeviceInfoPage;

    fn fill(&self, params: &mut DeviceInfoTable) {
        params.base = self.base;
    }

    fn read(params: &DeviceInfoTable) -> Result<DeviceInfoPage> {
        let count = usize::try_from(params.count)?;
        let mut engines = KVec::with_capacity(DEVICE_INFO_MAX, GFP_KERNEL)?;
        for info in params.entries.get(..count).ok_or(EIO)? {
            if let Some(engine) = read_device(info) {
                engines.push(engine, GFP_KERNEL)?;
            }
        }
        Ok(DeviceInfoPage {
            engines,
            lines: params.count,
            more: params.more != 0,
        })
    }
}

/// Asks which interrupt vector is whose.
struct GetInterruptTable;

impl Control for GetInterruptTable {
    const COMMAND: u32 = command::GET_KERNEL_TABLE;
    const NAME: &'static str = "INTERNAL_INTR_GET_KERNEL_TABLE";
    type Params = InterruptTable;
    type Reply = KVec<InterruptEntry>;

    fn fill(&self, _: &mut InterruptTable) {}

    fn read(params: &InterruptTable) -> Result<KVec<InterruptEntry>> {
        let entries = params.entries.get(..usize::try_from(params.count)?);
        let mut table = KVec::new();
        table.extend_from_slice(entries.ok_or(EIO)?, GFP_KERNEL)?;
        Ok(table)
    }
}

struct GetFaultMethodBufferSize;

impl Control for GetFaultMethodBufferSize {
    const COMMAND: u32 = command::GET_FAULT_METHOD_BUFFER_SIZE;
    const NAME: &'static str = "CE_GET_FAULT_METHOD_BUFFER_SIZE";
    type Params = FaultMethodBufferSize;
    type Reply = u32;

    fn fill(&self, _: &mut FaultMethodBufferSize) {}

    fn read(params: &FaultMethodBufferSize) -> Result<u32> {
        /// More than any copy engine could save.
        const LIMIT: u32 = 1 << 20;
        match params.size {
            1..=LIMIT => Ok(params.size),
            _ => Err(EIO),
        }
    }
}

/// The non-stalling vector of an engine.
fn nonstall(kind: EngineKind, table: &[InterruptEntry]) -> Option<u32> {
    let unit = kind.interrupt_unit()?;
    let entry = table.iter().find(|entry| entry.unit == unit)?;
    (entry.nonstall != NO_VECTOR).then_some(entry.nonstall)
}

/// The GPU's engines.
pub(crate) struct Engines {
    list: KVec<Engine>,
    /// The vector of the GSP.
    pub(crate) gsp_vector: u32,
    /// Bytes of the buffer into which a copy engine saves methods when a fault stops a channel.
    pub(crate) method_buffer_size: usize,
}

impl Engines {
    /// Most lines that the table of devices can have, so that reading it ends.
    const MAX: u32 = 256;

    /// Asks the firmware.
    pub(crate) fn query(root: &Root<'_>) -> Result<Self> {
        let table = root.control_internal(&GetInterruptTable)?;
        let gsp_vector = table
            .iter()
            .find(|entry| entry.unit == interrupt_unit::GSP && entry.stall != NO_VECTOR)
            .ok_or(EIO)
            .inspect_err(|_| {
                dev_err!(
                    root.link.hw().dev,
                    "GSP: none of {} interrupt vectors is its own\n",
                    table.len()
                );
            })?
            .stall;
        let mut list = KVec::new();
        let mut base = 0;
        while base < Self::MAX {
            let page = root.control_internal(&GetDeviceInfo { base })?;
            for (kind, runlist) in page.engines {
                let nonstall = nonstall(kind, &table);
                list.push(
                    Engine {
                        kind,
                        runlist,
                        nonstall,
                    },
                    GFP_KERNEL,
                )?;
            }
            if !page.more || page.lines == 0 {
                break;
            }
            base += page.lines;
        }
        Ok(Self {
            list,
            gsp_vector,
            method_buffer_size: usize::try_from(root.control_internal(&GetFaultMethodBufferSize)?)?,
        })
    }

    /// All engines.
    pub(crate) fn all(&self) -> &[Engine] {
        &self.list
    }

    /// The graphics engine.
    pub(crate) fn graphics(&self) -> Option<&Engine> {
        self.list.iter().find(|e| e.kind == EngineKind::Graphics)
    }

    /// Engines that share a runlist, in the order in which the firmware lists them. A channel is
    /// for a runlist and named by the first of them.
    pub(crate) fn on_runlist(&self, runlist: u32) -> impl Iterator<Item = &Engine> + '_ {
        self.list.iter().filter(move |e| e.runlist == runlist)
    }

    /// Copy engines, also those that share the graphics engine's runlist.
    pub(crate) fn copies(&self) -> impl Iterator<Item = &Engine> + '_ {
        self.list
            .iter()
            .filter(|e| matches!(e.kind, EngineKind::Copy(_)))
    }

    /// Copy engines that do not share the graphics engine's runlist, and so run beside it.
    pub(crate) fn async_copies(&self) -> impl Iterator<Item = &Engine> + '_ {
        let graphics = self.graphics().map(|e| e.runlist);
        self.list
            .iter()
            .filter(move |e| e.kind != EngineKind::Graphics && Some(e.runlist) != graphics)
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_rm_engines)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn numbers_of_engines() {
        for (rm_type, kind, engine_type, unit) in [
            (0x01, EngineKind::Graphics, 0x01, 84),
            (0x09, EngineKind::Copy(0), 0x09, 15),
            (0x12, EngineKind::Copy(9), 0x12, 24),
            (0x13, EngineKind::Copy(10), 0x34, 25),
            (0x1c, EngineKind::Copy(19), 0x3d, 34),
        ] {
            assert_eq!(EngineKind::from_rm_type(rm_type), Some(kind));
            assert_eq!(kind.engine_type(), engine_type);
            assert_eq!(kind.interrupt_unit(), Some(unit));
        }
        for other in [0x00, 0x02, 0x08, 0x1d, 0x31, u32::MAX] {
            assert_eq!(EngineKind::from_rm_type(other), None);
        }
    }

    #[test]
    fn vectors_that_do_not_exist() {
        let entry = |unit, nonstall| InterruptEntry {
            unit,
            nonstall,
            ..Default::default()
        };
        let table = [entry(84, 0), entry(15, NO_VECTOR), entry(16, 7)];
        assert_eq!(nonstall(EngineKind::Graphics, &table), Some(0));
        assert_eq!(nonstall(EngineKind::Copy(0), &table), None);
        assert_eq!(nonstall(EngineKind::Copy(1), &table), Some(7));
        assert_eq!(nonstall(EngineKind::Copy(2), &table), None);
    }

    #[test]
    fn absurd_counts_are_refused() -> Result {
        let mut devices = KBox::new(DeviceInfoTable::new_zeroed(), GFP_KERNEL)?;
        devices.count = 33;
        assert!(GetDeviceInfo::read(&devices).is_err());
        devices.count = 32;
        assert_eq!(GetDeviceInfo::read(&devices)?.engines.len(), 0);
        let mut vectors = KBox::new(InterruptTable::new_zeroed(), GFP_KERNEL)?;
        vectors.count = u32::MAX;
        assert!(GetInterruptTable::read(&vectors).is_err());
        assert!(GetFaultMethodBufferSize::read(&FaultMethodBufferSize { size: 0 }).is_err());
        Ok(())
    }
}
