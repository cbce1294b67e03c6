// SPDX-License-Identifier: GPL-2.0

//! The calls that bring the firmware up and take it down.
//!
//! Facts: open-gpu-kernel-modules 570.144, `rpc.c` (`rpcGspSetSystemInfo_v17_00`,
//! `rpcSetRegistry_v17_00`, `rpcGetGspStaticInfo_v14_00`, `rpcUnloadingGuestDriver_v1F_07`).

use core::ops::Range;

use kernel::{
    device::Bound,
    pci,
    prelude::*, //
};
use zerocopy::FromZeros;

use crate::regs;

use super::{
    abi::{
        function,
        BarPde,
        FbRegion,
        RegistryEntry,
        RegistryHeader,
        StaticInfo,
        SystemInfo,
        Unloading,
        GSP_PAGE_SIZE,
        REGISTRY_DWORD, //
    },
    buffer::Buffer,
    rpc::{
        Call,
        Notice, //
    }, //
};

/// Tells the firmware about the PCI function and the machine.
pub(crate) struct SetSystemInfo<'a>(pub(crate) &'a pci::Device<Bound>);

impl Notice for SetSystemInfo<'_> {
    const FUNCTION: u32 = function::GSP_SET_SYSTEM_INFO;
    const NAME: &'static str = "GSP_SET_SYSTEM_INFO";

    fn encode(&self, out: &mut Buffer) -> Result {
        let pdev = self.0;
        let mirror = regs::intr::CONFIG_MIRROR;
        let mut info = SystemInfo::new_zeroed();
        info.bar0 = pdev.resource_start(0)?;
        info.bar1 = pdev.resource_start(1)?;
        // BAR1 takes two slots, being a 64-bit one.
        info.bar2 = pdev.resource_start(3)?;
        info.bus_device_function = u64::from(pdev.dev_id());
        // The upper bound of user addresses with four-level page tables.
        info.max_user_va = (1 << 47) - 4096;
        info.config_mirror_base = mirror.start;
        info.config_mirror_size = mirror.end - mirror.start;
        info.pci_device_id =
            u32::from(pdev.device_id()) << 16 | u32::from(pdev.vendor_id().as_raw());
        info.pci_subsystem_id =
            u32::from(pdev.subsystem_device_id()) << 16 | u32::from(pdev.subsystem_vendor_id());
        info.pci_revision = u32::from(pdev.revision_id());
        info.host_page_size = u64::try_from(kernel::page::PAGE_SIZE)?;
        out.append(info.as_bytes())
    }
}

/// Settings of the firmware that this driver changes from their defaults.
const REGISTRY: &[(&str, u32)] = &[
    // A reset of the GPU by its bridge is allowed, and configuration space survives it.
    ("RMSecBusResetEnable", 1),
    ("RMForcePcieConfigSave", 1),
    // The chip decides what is supported, not a list of boards.
    ("RMDevidCheckIgnore", 1),
];

/// Hands the firmware its settings.
pub(crate) struct SetRegistry;

/// Writes a registry table: header, entries, names.
fn encode_registry(entries: &[(&str, u32)], out: &mut Buffer) -> Result {
    let names: usize = entries.iter().map(|(name, _)| name.len() + 1).sum();
    let mut name_offset = size_of::<RegistryHeader>() + entries.len() * size_of::<RegistryEntry>();
    let header = RegistryHeader {
        size: u32::try_from(name_offset + names)?,
        entry_count: u32::try_from(entries.len())?,
    };
    out.append(header.as_bytes())?;
    for (name, value) in entries {
        let entry = RegistryEntry {
            name_offset: u32::try_from(name_offset)?,
            kind: REGISTRY_DWORD,
            data: *value,
            length: 4,
            ..Default::default()
        };
        out.append(entry.as_bytes())?;
        name_offset += name.len() + 1;
    }
    for (name, _) in entries {
        out.append(name.as_bytes())?;
        out.append(&[0])?;
    }
    Ok(())
}

impl Notice for SetRegistry {
    const FUNCTION: u32 = function::SET_REGISTRY;
    const NAME: &'static str = "SET_REGISTRY";

    fn encode(&self, out: &mut Buffer) -> Result {
        encode_registry(REGISTRY, out)
    }
}

/// What the firmware found the GPU to be.
pub(crate) struct GpuInfo {
    /// VRAM in all.
    pub(crate) vram: u64,
    /// VRAM that is the driver's to use.
    pub(crate) usable: KVec<Range<u64>>,
    name: [u8; 64],
    /// Page directories that the firmware made for the BAR1 and BAR2 windows.
    pub(crate) bar_page_directories: [u64; 2],
    /// Handles of the client, device and subdevice that internal controls go to.
    pub(crate) internal: [u32; 3],
}

impl GpuInfo {
    /// The GPU's name for people.
    pub(crate) fn name(&self) -> &str {
        let end = self.name.iter().position(|&b| b == 0).unwrap_or(0);
        self.name
            .get(..end)
            .and_then(|name| core::str::from_utf8(name).ok())
            .filter(|name| !name.chars().any(char::is_control))
            .unwrap_or("(unnamed)")
    }

    /// Bytes of VRAM that are the driver's to use.
    pub(crate) fn usable_bytes(&self) -> u64 {
        self.usable
            .iter()
            .fold(0, |sum, r| sum.saturating_add(r.end - r.start))
    }
}

/// The part of VRAM that a region gives the driver, if any; `EIO` if it makes no sense.
fn usable_range(region: &FbRegion, vram: u64) -> Result<Option<Range<u64>>> {
    let end = region.limit.checked_add(1).ok_or(EIO)?;
    if region.base >= end || end > vram || region.base % GSP_PAGE_SIZE as u64 != 0 {
        return Err(EIO);
    }
    let ours = region.reserved == 0
        && region.is_protected == 0
        && region.supports_compression != 0
        && region.supports_iso != 0;
    Ok(ours.then_some(region.base..end))
}

/// `EIO` unless a page directory of the firmware's can be at `address`: on a page of video memory
/// that it has kept for itself.
fn check_directory(address: u64, usable: &[Range<u64>], vram: u64) -> Result {
    let page = address..address.checked_add(GSP_PAGE_SIZE as u64).ok_or(EIO)?;
    let theirs = usable
        .iter()
        .all(|ours| page.end <= ours.start || ours.end <= page.start);

    if address % GSP_PAGE_SIZE as u64 == 0 && page.end <= vram && theirs {
        Ok(())
    } else {
        Err(EIO)
    }
}

/// Asks what the GPU is.
pub(crate) struct GetStaticInfo;

impl Call for GetStaticInfo {
    const FUNCTION: u32 = function::GET_GSP_STATIC_INFO;
    const NAME: &'static str = "GET_GSP_STATIC_INFO";
    const REPLY_MAX: usize = size_of::<StaticInfo>();
    type Reply = GpuInfo;

    fn encode(&self, out: &mut Buffer) -> Result {
        out.append_zeros(size_of::<StaticInfo>())
    }

    fn decode(payload: &[u8]) -> Result<GpuInfo> {
        // By reference: it is too large for the stack.
        let (info, _) = StaticInfo::ref_from_prefix(payload).map_err(|_| EIO)?;
        let regions = info
            .fb_regions
            .get(..usize::try_from(info.fb_region_count)?)
            .ok_or(EIO)?;
        let mut usable = KVec::new();
        for region in regions {
            if let Some(range) = usable_range(region, info.fb_length)? {
                usable.push(range, GFP_KERNEL)?;
            }
        }
        let directories = [info.bar1_page_directory, info.bar2_page_directory];
        for directory in directories {
            check_directory(directory, &usable, info.fb_length)?;
        }
        Ok(GpuInfo {
            vram: info.fb_length,
            usable,
            name: info.name,
            bar_page_directories: directories,
            internal: [
                info.internal_client,
                info.internal_device,
                info.internal_subdevice,
            ],
        })
    }
}

/// Puts an entry into the page directory that the firmware made for a window of the CPU.
pub(crate) struct UpdateBarPde {
    /// Which window.
    pub(crate) bar: u32,
    /// The address bit at which the directory's index starts.
    pub(crate) shift: u32,
    /// The first entry; zero takes it away.
    pub(crate) entry: u64,
}

impl UpdateBarPde {
    /// The second window, PCI's BAR3.
    pub(crate) const BAR2: u32 = 1;
}

impl Call for UpdateBarPde {
    const FUNCTION: u32 = function::UPDATE_BAR_PDE;
    const NAME: &'static str = "UPDATE_BAR_PDE";
    const REPLY_MAX: usize = size_of::<BarPde>();
    type Reply = ();

    fn encode(&self, out: &mut Buffer) -> Result {
        let params = BarPde {
            bar: self.bar,
            entry: self.entry,
            shift: self.shift.into(),
            ..Default::default()
        };
        out.append(params.as_bytes())
    }

    fn decode(_: &[u8]) -> Result {
        Ok(())
    }
}

/// Tells the firmware to stop.
pub(crate) struct UnloadingGuestDriver;

impl Call for UnloadingGuestDriver {
    const FUNCTION: u32 = function::UNLOADING_GUEST_DRIVER;
    const NAME: &'static str = "UNLOADING_GUEST_DRIVER";
    const REPLY_MAX: usize = size_of::<Unloading>();
    type Reply = ();

    fn encode(&self, out: &mut Buffer) -> Result {
        out.append(Unloading::default().as_bytes())
    }

    fn decode(_: &[u8]) -> Result {
        Ok(())
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_commands)]
mod tests {
    use super::*;

    #[test]
    fn registry_names_follow_the_entries() -> Result {
        let mut out = Buffer::new(4096)?;
        encode_registry(&[("ab", 7), ("c", 9)], &mut out)?;
        assert_eq!(out.len(), 8 + 2 * 16 + 3 + 2);
        let word = |at: usize| u32::from_le_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
        assert_eq!((word(0), word(4)), (45, 2));
        assert_eq!((word(8), out[12], word(16)), (40, REGISTRY_DWORD, 7));
        assert_eq!((word(24), word(32)), (43, 9));
        assert_eq!(&out[40..], b"ab\0c\0");
        Ok(())
    }

    #[test]
    fn regions_are_checked() -> Result {
        let good = FbRegion {
            base: 0,
            limit: 0xffff,
            supports_compression: 1,
            supports_iso: 1,
            ..Default::default()
        };
        assert_eq!(usable_range(&good, 0x10000)?, Some(0..0x10000));
        assert!(usable_range(&good, 0xf000).is_err());
        let protected = FbRegion {
            is_protected: 1,
            ..good
        };
        assert_eq!(usable_range(&protected, 0x10000)?, None);
        let empty = FbRegion {
            limit: 0,
            base: 4096,
            ..good
        };
        assert!(usable_range(&empty, 0x10000).is_err());
        let endless = FbRegion {
            limit: u64::MAX,
            ..good
        };
        assert!(usable_range(&endless, u64::MAX).is_err());
        Ok(())
    }

    #[test]
    fn directories_are_the_firmwares() {
        let usable = [0x1000..0x8000, 0xa000..0xb000];
        for (address, good) in [
            (0x8000, true),
            (0x9000, true),
            (0, true),
            (0x9001, false),
            (0x7000, false),
            (0xa000, false),
            (0x1_0000, false),
            (u64::MAX - 4095, false),
        ] {
            assert_eq!(check_directory(address, &usable, 0x1_0000).is_ok(), good);
        }
    }

    #[test]
    fn absurd_static_info_is_refused() {
        let mut payload = KVVec::new();
        assert!(payload
            .resize(size_of::<StaticInfo>(), 0u8, GFP_KERNEL)
            .is_ok());
        assert!(GetStaticInfo::decode(&payload[1..]).is_err());
        payload[344..348].copy_from_slice(&17u32.to_le_bytes());
        assert!(GetStaticInfo::decode(&payload).is_err());
        payload[344..348].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(GetStaticInfo::decode(&payload).is_err());
    }
}
