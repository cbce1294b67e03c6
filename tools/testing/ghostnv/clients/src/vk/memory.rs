// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "Vulkan is a foreign interface")]

//! Buffers and images, each in an allocation of its own.

use std::rc::Rc;

use anyhow::{Context, ensure};
use ash::vk;

use super::Device;

/// Where memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// VRAM that the CPU does not map.
    Device,
    /// VRAM that the CPU maps through the BAR; system memory where the device has none such.
    DeviceMapped,
    /// Cached system memory.
    Host,
}

impl Place {
    /// Property sets to look for, best first.
    fn wishes(self) -> [vk::MemoryPropertyFlags; 2] {
        use vk::MemoryPropertyFlags as F;
        const MAPPED: F = F::from_raw(F::HOST_VISIBLE.as_raw() | F::HOST_COHERENT.as_raw());
        const DEVICE_MAPPED: F = F::from_raw(MAPPED.as_raw() | F::DEVICE_LOCAL.as_raw());
        const CACHED: F = F::from_raw(MAPPED.as_raw() | F::HOST_CACHED.as_raw());
        match self {
            Place::Device => [F::DEVICE_LOCAL, F::empty()],
            Place::DeviceMapped => [DEVICE_MAPPED, MAPPED],
            Place::Host => [CACHED, MAPPED],
        }
    }
}

/// One allocation, mapped where its place is.
struct Memory {
    raw: vk::DeviceMemory,
    mapped: Option<*mut u8>,
    device: Rc<Device>,
}

impl Memory {
    fn new(
        device: &Rc<Device>,
        need: &vk::MemoryRequirements,
        place: Place,
        dedicated: Option<&mut vk::MemoryDedicatedAllocateInfo<'_>>,
    ) -> anyhow::Result<Self> {
        let types = device.adapter.memory.memory_types_as_slice();
        let fits = |i: usize, wish| {
            need.memory_type_bits & (1 << i) != 0 && types[i].property_flags.contains(wish)
        };
        let wishes = place.wishes().into_iter();
        let found = wishes.flat_map(|wish| (0..types.len()).find(|&i| fits(i, wish))).next();
        let index = found.with_context(|| format!("no memory type for {place:?}"))?;
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(need.size)
            .memory_type_index(index as u32);
        if let Some(dedicated) = dedicated {
            info = info.push_next(dedicated);
        }
        // SAFETY: `info` is complete, and the type index is one of the adapter's.
        let raw = unsafe { device.raw.allocate_memory(&info, None) }.context("vkAllocateMemory")?;
        let mut memory = Self { raw, mapped: None, device: Rc::clone(device) };
        if place != Place::Device {
            let flags = vk::MemoryMapFlags::empty();
            // SAFETY: the type is host-visible, and the memory is not mapped yet.
            let pointer = unsafe { device.raw.map_memory(raw, 0, vk::WHOLE_SIZE, flags) };
            memory.mapped = Some(pointer.context("vkMapMemory")?.cast());
        }
        Ok(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the owner has destroyed the buffer or image and waited for its last use.
        // Freeing unmaps.
        unsafe { self.device.raw.free_memory(self.raw, None) };
    }
}

/// A buffer.
pub struct Buffer {
    pub(super) raw: vk::Buffer,
    size: u64,
    // Dropped after the handle that uses it is destroyed.
    memory: Memory,
}

impl Buffer {
    /// A transfer buffer that all queues of the device may use.
    pub fn new(device: &Rc<Device>, size: u64, place: Place) -> anyhow::Result<Self> {
        let families = device.families();
        let info = vk::BufferCreateInfo::default()
            .size(size)
            .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST)
            .sharing_mode(sharing(&families))
            .queue_family_indices(&families);
        // SAFETY: `info` is complete.
        let raw = unsafe { device.raw.create_buffer(&info, None) }.context("vkCreateBuffer")?;
        // SAFETY: the buffer is of this device.
        let need = unsafe { device.raw.get_buffer_memory_requirements(raw) };
        let memory = Memory::new(device, &need, place, None).inspect_err(|_| {
            // SAFETY: the buffer was never used.
            unsafe { device.raw.destroy_buffer(raw, None) }
        })?;
        let buffer = Self { raw, size, memory };
        // SAFETY: the memory is fresh, and as large and of a type as the buffer needs.
        unsafe { device.raw.bind_buffer_memory(raw, buffer.memory.raw, 0) }
            .context("vkBindBufferMemory")?;
        Ok(buffer)
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Copies bytes into mapped memory.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let at = self.window(offset, bytes.len())?;
        // SAFETY: the window lies inside the mapping, which no reference points into.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        Ok(())
    }

    /// Copies bytes out of mapped memory.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> anyhow::Result<()> {
        let at = self.window(offset, bytes.len())?;
        // SAFETY: the window lies inside the mapping, which no reference points into.
        unsafe { std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// All bytes of a mapped buffer.
    pub fn read_all(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size)?];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    fn window(&self, offset: u64, len: usize) -> anyhow::Result<*mut u8> {
        let base = self.memory.mapped.context("the buffer is not mapped")?;
        let end = offset.checked_add(len as u64).context("range overflows")?;
        ensure!(end <= self.size, "range {offset}+{len} leaves the buffer of {}", self.size);
        // SAFETY: `offset` is inside the mapping of at least `size` bytes.
        Ok(unsafe { base.add(usize::try_from(offset)?) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.device.settle();
        // SAFETY: no submission is under way.
        unsafe { self.memory.device.raw.destroy_buffer(self.raw, None) };
    }
}

/// What an image looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Dimensions.
    pub kind: vk::ImageType,
    /// Texel format.
    pub format: vk::Format,
    /// Layout in memory.
    pub tiling: vk::ImageTiling,
    /// Width, height, depth of level 0.
    pub extent: [u32; 3],
    /// Mip levels.
    pub levels: u32,
    /// Array layers.
    pub layers: u32,
}

impl ImageShape {
    const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
        vk::ImageUsageFlags::TRANSFER_SRC.as_raw() | vk::ImageUsageFlags::TRANSFER_DST.as_raw(),
    );

    /// Whether the device can make such an image.
    pub fn supported(&self, device: &Device) -> bool {
        // SAFETY: the adapter is of this instance.
        let limits = unsafe {
            device.instance.raw.get_physical_device_image_format_properties(
                device.adapter.physical,
                self.format,
                self.kind,
                self.tiling,
                Self::USAGE,
                vk::ImageCreateFlags::empty(),
            )
        };
        limits.is_ok_and(|l| {
            let most = [l.max_extent.width, l.max_extent.height, l.max_extent.depth];
            self.extent.iter().zip(most).all(|(&is, most)| is <= most)
                && self.levels <= l.max_mip_levels
                && self.layers <= l.max_array_layers
        })
    }

    pub(super) fn everything(&self) -> vk::ImageSubresourceRange {
        vk::ImageSubresourceRange::default()
            .aspect_mask(vk::ImageAspectFlags::COLOR)
            .level_count(self.levels)
            .layer_count(self.layers)
    }
}

/// An image.
pub struct Image {
    pub(super) raw: vk::Image,
    /// What it looks like.
    pub shape: ImageShape,
    memory: Memory,
}

impl Image {
    /// A transfer image in VRAM that all queues of the device may use.
    pub fn new(device: &Rc<Device>, shape: ImageShape, dedicated: bool) -> anyhow::Result<Self> {
        let families = device.families();
        let [width, height, depth] = shape.extent;
        let info = vk::ImageCreateInfo::default()
            .image_type(shape.kind)
            .format(shape.format)
            .extent(vk::Extent3D { width, height, depth })
            .mip_levels(shape.levels)
            .array_layers(shape.layers)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(shape.tiling)
            .usage(ImageShape::USAGE)
            .sharing_mode(sharing(&families))
            .queue_family_indices(&families)
            .initial_layout(vk::ImageLayout::UNDEFINED);
        // SAFETY: `info` is complete, and the caller asked whether the shape is supported.
        let raw = unsafe { device.raw.create_image(&info, None) }.context("vkCreateImage")?;
        // SAFETY: the image is of this device.
        let need = unsafe { device.raw.get_image_memory_requirements(raw) };
        let mut alone = vk::MemoryDedicatedAllocateInfo::default().image(raw);
        let alone = dedicated.then_some(&mut alone);
        let memory = Memory::new(device, &need, Place::Device, alone).inspect_err(|_| {
            // SAFETY: the image was never used.
            unsafe { device.raw.destroy_image(raw, None) }
        })?;
        let image = Self { raw, shape, memory };
        // SAFETY: the memory is fresh, and as large and of a type as the image needs.
        unsafe { device.raw.bind_image_memory(raw, image.memory.raw, 0) }
            .context("vkBindImageMemory")?;
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.memory.device.settle();
        // SAFETY: no submission is under way.
        unsafe { self.memory.device.raw.destroy_image(self.raw, None) };
    }
}

fn sharing(families: &[u32]) -> vk::SharingMode {
    if families.len() > 1 { vk::SharingMode::CONCURRENT } else { vk::SharingMode::EXCLUSIVE }
}
