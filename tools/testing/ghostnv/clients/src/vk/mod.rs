// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "Vulkan is a foreign interface")]

//! The few Vulkan objects that the clients need, with owners that free them in order.
//!
//! Only this module calls Vulkan. It checks the ranges that a caller could get wrong (copies to
//! and from mapped memory); the rest of Vulkan's valid usage is up to the workload, whose plans
//! are checked by their own tests.

mod cmd;
mod device;
mod memory;

use std::ffi::CStr;
use std::rc::Rc;

use anyhow::Context;
use ash::vk;

pub use cmd::{Commands, Region};
pub use device::{Device, Timeline};
pub use memory::{Buffer, Image, ImageShape, Place};

/// PCI vendor id of NVIDIA.
pub const VENDOR_NVIDIA: u32 = 0x10de;

/// First NVK release that fills and copies with compute shaders on the graphics queue.
const NVK_COMPUTE_COPIES: u32 = vk::make_api_version(0, 26, 2, 0);

/// A Vulkan instance.
pub struct Instance {
    raw: ash::Instance,
    // The loader's library must outlive the functions that came from it.
    _entry: ash::Entry,
}

impl Instance {
    /// Loads Vulkan and creates an instance.
    pub fn new() -> anyhow::Result<Rc<Self>> {
        // SAFETY: the system's Vulkan loader is a library meant to be loaded.
        let entry = unsafe { ash::Entry::load() }.context("cannot load libvulkan.so.1")?;
        let application = vk::ApplicationInfo::default()
            .application_name(c"ghostnv-clients")
            .api_version(vk::API_VERSION_1_2);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `info` is complete and names no extension or layer.
        let raw = unsafe { entry.create_instance(&info, None) }.context("vkCreateInstance")?;
        Ok(Rc::new(Self { raw, _entry: entry }))
    }

    /// All physical devices.
    pub fn adapters(&self) -> anyhow::Result<Vec<Adapter>> {
        // SAFETY: the instance is alive.
        let list = unsafe { self.raw.enumerate_physical_devices() }
            .context("vkEnumeratePhysicalDevices")?;
        Ok(list.into_iter().map(|physical| Adapter::read(&self.raw, physical)).collect())
    }

    /// The first NVIDIA GPU, or with `any` the first device of whatever kind.
    pub fn pick(&self, any: bool) -> anyhow::Result<Adapter> {
        let adapters = self.adapters()?;
        let names: Vec<&str> = adapters.iter().map(|a| a.name.as_str()).collect();
        let missing = format!("no NVIDIA GPU among the Vulkan devices {names:?}");
        adapters.into_iter().find(|a| any || a.vendor == VENDOR_NVIDIA).context(missing)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: every object made from the instance holds an `Rc` of it, so none is left.
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// A queue family.
#[derive(Debug, Clone)]
pub struct Family {
    /// What its queues can do.
    pub flags: vk::QueueFlags,
    /// How many queues it has.
    pub count: u32,
    /// Granularity of partial image copies.
    pub granularity: [u32; 3],
}

impl Family {
    /// Whether partial image copies may start and end at any texel.
    pub fn any_texel(&self) -> bool {
        self.granularity == [1, 1, 1]
    }
}

/// A physical device and what it says of itself.
#[derive(Debug, Clone)]
pub struct Adapter {
    physical: vk::PhysicalDevice,
    /// PCI vendor.
    pub vendor: u32,
    /// Marketing name.
    pub name: String,
    /// The driver's name and version as text.
    pub driver: String,
    driver_id: vk::DriverId,
    driver_version: u32,
    /// Queue families.
    pub families: Vec<Family>,
    memory: vk::PhysicalDeviceMemoryProperties,
}

impl Adapter {
    fn read(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Self {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: the physical device came from this instance; the chain is well-formed.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let base = properties.properties;
        // SAFETY: as above.
        let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
        // SAFETY: as above.
        let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
        Self {
            physical,
            vendor: base.vendor_id,
            name: text(base.device_name_as_c_str()),
            driver: format!(
                "{} {}",
                text(driver.driver_name_as_c_str()),
                text(driver.driver_info_as_c_str())
            ),
            driver_id: driver.driver_id,
            driver_version: base.driver_version,
            families: families.iter().map(family).collect(),
            memory,
        }
    }

    /// Takes the driver for this release of itself.
    pub fn assume_release(&mut self, (major, minor): (u32, u32)) {
        self.driver_version = vk::make_api_version(0, major, minor, 0);
    }

    /// Whether copies on the graphics queue run as compute shaders, which an emulated GPU
    /// without a shader interpreter cannot execute.
    pub fn copies_with_shaders(&self) -> bool {
        self.driver_id == vk::DriverId::MESA_NVK && self.driver_version >= NVK_COMPUTE_COPIES
    }

    /// The family for copies alone: on NVIDIA hardware it is served by the copy engines.
    pub fn transfer_family(&self) -> Option<u32> {
        let others = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE;
        self.family(|f| f.contains(vk::QueueFlags::TRANSFER) && !f.intersects(others))
    }

    /// The graphics family.
    pub fn graphics_family(&self) -> Option<u32> {
        self.family(|f| f.contains(vk::QueueFlags::GRAPHICS))
    }

    fn family(&self, want: impl Fn(vk::QueueFlags) -> bool) -> Option<u32> {
        self.families.iter().position(|f| want(f.flags)).map(|i| i as u32)
    }

    /// Size in bytes of the largest device-local heap.
    pub fn vram(&self) -> u64 {
        let heaps = self.memory.memory_heaps_as_slice();
        let local = heaps.iter().filter(|h| h.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
        local.map(|h| h.size).max().unwrap_or(0)
    }
}

fn family(raw: &vk::QueueFamilyProperties) -> Family {
    let g = raw.min_image_transfer_granularity;
    Family {
        flags: raw.queue_flags,
        count: raw.queue_count,
        granularity: [g.width, g.height, g.depth],
    }
}

fn text(raw: Result<&CStr, core::ffi::FromBytesUntilNulError>) -> String {
    raw.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}
