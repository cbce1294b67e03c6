// SPDX-License-Identifier: GPL-2.0 OR MIT
#![expect(unsafe_code, reason = "Vulkan is a foreign interface")]

//! A logical device, its queues, and the timeline that orders work between them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use ash::vk;

use super::{Adapter, Commands, Instance};

/// A logical device with one queue of each family it was made for.
pub struct Device {
    pub(super) raw: ash::Device,
    pub(super) adapter: Adapter,
    queues: Vec<(u32, vk::Queue)>,
    pub(super) instance: Rc<Instance>,
    /// Last point submitted, and last point known to be reached.
    points: Cell<(u64, u64)>,
}

impl Device {
    /// Creates a device with one queue from each of `families`.
    pub fn new(
        instance: &Rc<Instance>,
        adapter: &Adapter,
        families: &[u32],
    ) -> anyhow::Result<Rc<Self>> {
        let queues: Vec<_> = families
            .iter()
            .map(|&family| {
                vk::DeviceQueueCreateInfo::default()
                    .queue_family_index(family)
                    .queue_priorities(&[1.0])
            })
            .collect();
        let mut timeline =
            vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
        let info =
            vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut timeline);
        // SAFETY: the adapter is of this instance; the structures outlive the call.
        let raw = unsafe { instance.raw.create_device(adapter.physical, &info, None) }
            .context("vkCreateDevice")?;
        // SAFETY: each family was asked for one queue above.
        let queue = |&family: &u32| (family, unsafe { raw.get_device_queue(family, 0) });
        let queues = families.iter().map(queue).collect();
        Ok(Rc::new(Self {
            raw,
            adapter: adapter.clone(),
            queues,
            instance: Rc::clone(instance),
            points: Cell::new((0, 0)),
        }))
    }

    /// The families the device has queues of.
    pub fn families(&self) -> Vec<u32> {
        self.queues.iter().map(|(family, _)| *family).collect()
    }

    /// What a queue family of the device can do.
    pub fn family(&self, family: u32) -> anyhow::Result<&super::Family> {
        self.adapter.families.get(family as usize).context("no such queue family")
    }

    fn queue(&self, family: u32) -> anyhow::Result<vk::Queue> {
        let found = self.queues.iter().find(|(f, _)| *f == family);
        found.map(|(_, queue)| *queue).context("the device has no queue of this family")
    }

    /// Submits nothing with a fence, and waits for the fence.
    pub fn submit_empty(&self, family: u32, limit: Duration) -> anyhow::Result<()> {
        let queue = self.queue(family)?;
        // SAFETY: the fence and queue are of this device; the fence is destroyed after its wait,
        // or after the queue is idle.
        unsafe {
            let fence = self.raw.create_fence(&vk::FenceCreateInfo::default(), None)?;
            let result = self
                .raw
                .queue_submit(queue, &[], fence)
                .and_then(|()| self.raw.wait_for_fences(&[fence], true, nanoseconds(limit)));
            if result.is_err() {
                let _ = self.raw.queue_wait_idle(queue);
            }
            self.raw.destroy_fence(fence, None);
            result.context("empty submit")
        }
    }

    /// Waits until every queue is idle.
    pub fn wait_idle(&self) {
        // SAFETY: one thread uses the device. An error means that the device is lost, hence idle.
        let _ = unsafe { self.raw.device_wait_idle() };
        let (submitted, _) = self.points.get();
        self.points.set((submitted, submitted));
    }

    /// Makes sure that no submission is under way, so that its objects may go: free of charge
    /// unless an error cut a workload short.
    pub(super) fn settle(&self) {
        let (submitted, reached) = self.points.get();
        if reached < submitted {
            self.wait_idle();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: every object of the device holds an `Rc` of it, so none is left.
        unsafe {
            let _ = self.raw.device_wait_idle();
            self.raw.destroy_device(None);
        }
    }
}

/// A timeline semaphore. A device has at most one at a time.
pub struct Timeline {
    raw: vk::Semaphore,
    device: Rc<Device>,
}

impl Timeline {
    /// A timeline at 0.
    pub fn new(device: &Rc<Device>) -> anyhow::Result<Self> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the device has the timeline feature on.
        let raw = unsafe { device.raw.create_semaphore(&info, None) }
            .context("vkCreateSemaphore (timeline)")?;
        device.settle();
        device.points.set((0, 0));
        Ok(Self { raw, device: Rc::clone(device) })
    }

    /// Submits recorded commands: they start at point `wait` and reach point `signal`.
    pub fn submit(&self, commands: &Commands, wait: u64, signal: u64) -> anyhow::Result<()> {
        let (waits, signals) = ([wait], [signal]);
        let mut points = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&waits)
            .signal_semaphore_values(&signals);
        let (buffers, semaphores) = ([commands.raw()], [self.raw]);
        let info = vk::SubmitInfo::default()
            .command_buffers(&buffers)
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .signal_semaphores(&semaphores)
            .push_next(&mut points);
        let queue = self.device.queue(commands.family())?;
        // SAFETY: everything named is of this device; the command buffer is recorded, and its
        // owner waits for `signal` before it records or frees it.
        unsafe { self.device.raw.queue_submit(queue, &[info], vk::Fence::null()) }
            .context("vkQueueSubmit")?;
        self.device.points.set((signal, self.device.points.get().1));
        Ok(())
    }

    /// Waits for a point.
    pub fn wait(&self, point: u64, limit: Duration) -> anyhow::Result<()> {
        let (semaphores, values) = ([self.raw], [point]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: the semaphore is of this device.
        unsafe { self.device.raw.wait_semaphores(&info, nanoseconds(limit)) }
            .with_context(|| format!("waiting up to {limit:?} for timeline point {point}"))?;
        let (submitted, reached) = self.device.points.get();
        self.device.points.set((submitted, reached.max(point)));
        Ok(())
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.device.settle();
        // SAFETY: no submission is under way, so no submission uses the semaphore.
        unsafe { self.device.raw.destroy_semaphore(self.raw, None) };
    }
}

fn nanoseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
}
