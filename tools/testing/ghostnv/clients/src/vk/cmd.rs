// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "Vulkan is a foreign interface")]

//! Recording of transfer commands.

use std::rc::Rc;

use anyhow::Context;
use ash::vk;

use super::{Buffer, Device, Image};

/// A part of one image subresource and where it lies in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Byte offset in the buffer.
    pub buffer_offset: u64,
    /// Texels from one row to the next in the buffer; 0 means tightly packed.
    pub row_length: u32,
    /// Rows from one slice to the next in the buffer; 0 means tightly packed.
    pub image_height: u32,
    /// Mip level.
    pub level: u32,
    /// First array layer.
    pub layer: u32,
    /// Number of array layers.
    pub layers: u32,
    /// First texel.
    pub offset: [u32; 3],
    /// Size in texels.
    pub extent: [u32; 3],
}

impl Region {
    fn subresource(&self) -> vk::ImageSubresourceLayers {
        vk::ImageSubresourceLayers::default()
            .aspect_mask(vk::ImageAspectFlags::COLOR)
            .mip_level(self.level)
            .base_array_layer(self.layer)
            .layer_count(self.layers)
    }

    fn raw_offset(&self) -> vk::Offset3D {
        let [x, y, z] = self.offset.map(|v| i32::try_from(v).unwrap_or(i32::MAX));
        vk::Offset3D { x, y, z }
    }

    fn raw_extent(&self) -> vk::Extent3D {
        let [width, height, depth] = self.extent;
        vk::Extent3D { width, height, depth }
    }

    fn raw(&self) -> vk::BufferImageCopy {
        vk::BufferImageCopy::default()
            .buffer_offset(self.buffer_offset)
            .buffer_row_length(self.row_length)
            .buffer_image_height(self.image_height)
            .image_subresource(self.subresource())
            .image_offset(self.raw_offset())
            .image_extent(self.raw_extent())
    }
}

/// A command buffer with a pool of its own. Its owner waits before it records anew.
pub struct Commands {
    pool: vk::CommandPool,
    buffer: vk::CommandBuffer,
    family: u32,
    device: Rc<Device>,
}

impl Commands {
    /// A command buffer for queues of `family`.
    pub fn new(device: &Rc<Device>, family: u32) -> anyhow::Result<Self> {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
        // SAFETY: the device was made with a queue of this family.
        let pool = unsafe { device.raw.create_command_pool(&info, None) }
            .context("vkCreateCommandPool")?;
        let mut commands =
            Self { pool, buffer: vk::CommandBuffer::null(), family, device: Rc::clone(device) };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool is of this device.
        let buffers = unsafe { device.raw.allocate_command_buffers(&info) }
            .context("vkAllocateCommandBuffers")?;
        commands.buffer = *buffers.first().context("no command buffer")?;
        Ok(commands)
    }

    pub(super) fn raw(&self) -> vk::CommandBuffer {
        self.buffer
    }

    /// The family it records for.
    pub fn family(&self) -> u32 {
        self.family
    }

    /// Starts a recording and forgets the last one.
    pub fn begin(&self) -> anyhow::Result<()> {
        let flags = vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT;
        let info = vk::CommandBufferBeginInfo::default().flags(flags);
        // SAFETY: the owner has waited for the last submission of this buffer.
        unsafe {
            let raw = &self.device.raw;
            raw.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty())?;
            raw.begin_command_buffer(self.buffer, &info).context("vkBeginCommandBuffer")
        }
    }

    /// Ends a recording, making its writes visible to the CPU.
    pub fn end(&self) -> anyhow::Result<()> {
        self.memory_barrier(vk::PipelineStageFlags::HOST, vk::AccessFlags::HOST_READ);
        // SAFETY: the buffer is being recorded.
        unsafe { self.device.raw.end_command_buffer(self.buffer) }.context("vkEndCommandBuffer")
    }

    /// Orders all earlier transfers before all later ones.
    pub fn barrier(&self) {
        let access = vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE;
        self.memory_barrier(vk::PipelineStageFlags::TRANSFER, access);
    }

    fn memory_barrier(&self, stage: vk::PipelineStageFlags, access: vk::AccessFlags) {
        let barrier = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(access);
        let (from, none) = (vk::PipelineStageFlags::TRANSFER, vk::DependencyFlags::empty());
        // SAFETY: the buffer is being recorded.
        unsafe {
            let raw = &self.device.raw;
            raw.cmd_pipeline_barrier(self.buffer, from, stage, none, &[barrier], &[], &[]);
        }
    }

    /// vkCmdFillBuffer. Without a size, to the end of the buffer.
    pub fn fill(&self, buffer: &Buffer, offset: u64, size: Option<u64>, word: u32) {
        let size = size.unwrap_or(vk::WHOLE_SIZE);
        // SAFETY: the plan keeps the range inside the buffer.
        unsafe { self.device.raw.cmd_fill_buffer(self.buffer, buffer.raw, offset, size, word) };
    }

    /// vkCmdUpdateBuffer.
    pub fn update(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        // SAFETY: the plan keeps the range inside the buffer.
        unsafe { self.device.raw.cmd_update_buffer(self.buffer, buffer.raw, offset, bytes) };
    }

    /// vkCmdCopyBuffer with (source, destination, size) regions.
    pub fn copy(&self, src: &Buffer, dst: &Buffer, regions: &[(u64, u64, u64)]) {
        let region = |&(src_offset, dst_offset, size): &(u64, u64, u64)| vk::BufferCopy {
            src_offset,
            dst_offset,
            size,
        };
        let regions: Vec<_> = regions.iter().map(region).collect();
        // SAFETY: the plan keeps the ranges inside the buffers and apart from each other.
        unsafe { self.device.raw.cmd_copy_buffer(self.buffer, src.raw, dst.raw, &regions) };
    }

    /// Takes a fresh image into the general layout, in which all its copies happen.
    pub fn adopt(&self, image: &Image) {
        let barrier = vk::ImageMemoryBarrier::default()
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE)
            .old_layout(vk::ImageLayout::UNDEFINED)
            .new_layout(vk::ImageLayout::GENERAL)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image.raw)
            .subresource_range(image.shape.everything());
        let (from, to) = (vk::PipelineStageFlags::TOP_OF_PIPE, vk::PipelineStageFlags::TRANSFER);
        let none = vk::DependencyFlags::empty();
        // SAFETY: the image is of this device and in no use.
        unsafe {
            let raw = &self.device.raw;
            raw.cmd_pipeline_barrier(self.buffer, from, to, none, &[], &[], &[barrier]);
        }
    }

    /// vkCmdCopyBufferToImage.
    pub fn upload(&self, src: &Buffer, dst: &Image, regions: &[Region]) {
        let regions: Vec<_> = regions.iter().map(Region::raw).collect();
        let layout = vk::ImageLayout::GENERAL;
        // SAFETY: the plan keeps the regions inside both, and the image is in that layout.
        unsafe {
            let raw = &self.device.raw;
            raw.cmd_copy_buffer_to_image(self.buffer, src.raw, dst.raw, layout, &regions);
        }
    }

    /// vkCmdCopyImageToBuffer.
    pub fn download(&self, src: &Image, dst: &Buffer, regions: &[Region]) {
        let regions: Vec<_> = regions.iter().map(Region::raw).collect();
        let layout = vk::ImageLayout::GENERAL;
        // SAFETY: the plan keeps the regions inside both, and the image is in that layout.
        unsafe {
            let raw = &self.device.raw;
            raw.cmd_copy_image_to_buffer(self.buffer, src.raw, layout, dst.raw, &regions);
        }
    }

    /// vkCmdCopyImage of one region; the extent is the source's.
    pub fn image_copy(&self, src: (&Image, &Region), dst: (&Image, &Region)) {
        let region = vk::ImageCopy::default()
            .src_subresource(src.1.subresource())
            .src_offset(src.1.raw_offset())
            .dst_subresource(dst.1.subresource())
            .dst_offset(dst.1.raw_offset())
            .extent(src.1.raw_extent());
        let layout = vk::ImageLayout::GENERAL;
        // SAFETY: the plan keeps the regions inside both images, which are in that layout.
        unsafe {
            let raw = &self.device.raw;
            raw.cmd_copy_image(self.buffer, src.0.raw, layout, dst.0.raw, layout, &[region]);
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.device.settle();
        // SAFETY: no submission is under way; the pool frees its buffer.
        unsafe { self.device.raw.destroy_command_pool(self.pool, None) };
    }
}
