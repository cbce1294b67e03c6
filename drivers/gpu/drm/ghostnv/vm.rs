// SPDX-License-Identifier: GPL-2.0

//! Address spaces of the GPU.
//!
//! A [`Space`] is page tables and what the firmware needs to know of them; the kernel maps what
//! channels need into a part of it that is the kernel's. That is all for an address space of the
//! kernel's own. A [`Vm`] is one that a client manages, by [`bind`]ing buffer objects to addresses
//! and reserving sparse [`regions`].
//!
//! What is bound where is kept by the kernel's GPUVM in its immediate mode: it says at any time
//! what the page tables say. Sparse regions are kept as of the last ioctl, since that is where a
//! client learns of a conflict.

use core::ops::{
    Deref,
    Range, //
};

use kernel::{
    dma_fence::Fence,
    drm::{
        self,
        gpuvm::{
            DriverGpuVm,
            GpuVaAlloc,
            GpuVm,
            OpMap,
            OpMapped,
            OpRemap,
            OpRemapped,
            OpUnmap,
            OpUnmapped,
            UniqueRefGpuVm, //
        },
    },
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        Arc,
        Mutex,
        MutexGuard, //
    }, //
};

use crate::{
    gem::{
        Bo,
        Object, //
    },
    gpu::Core,
    uapi, //
};

pub(crate) mod bind;
mod later;
mod regions;
mod space;

use bind::Request;
use later::Later;
use regions::{
    Edit,
    Regions, //
};

pub(crate) use space::KernelMapping;
pub(crate) use space::Space;

/// End of the addresses that a client may use.
pub(crate) const VA_END: u64 = 1 << 47;

/// GPUVM's side of an address space. It has nothing of its own: the page tables are changed as a
/// whole after GPUVM has split and dropped what was there.
struct Mapper;

/// What GPUVM's steps may use up.
struct Spare<'s>(&'s mut KVVec<GpuVaAlloc<Mapper>>);

impl DriverGpuVm for Mapper {
    type Driver = uapi::Driver;
    type Object = Object;
    type VaData = ();
    type VmBoData = ();
    type SmContext<'ctx> = Spare<'ctx>;

    fn sm_step_map<'op, 'ctx>(
        &mut self,
        op: OpMap<'op, Self>,
        spare: &mut Spare<'ctx>,
    ) -> Result<OpMapped<'op, Self>> {
        Ok(op.insert(spare.0.pop().ok_or(ENOMEM)?, ()))
    }

    fn sm_step_unmap<'op, 'ctx>(
        &mut self,
        op: OpUnmap<'op, Self>,
        _: &mut Spare<'ctx>,
    ) -> Result<OpUnmapped<'op, Self>> {
        Ok(op.remove().0)
    }

    fn sm_step_remap<'op, 'ctx>(
        &mut self,
        op: OpRemap<'op, Self>,
        spare: &mut Spare<'ctx>,
    ) -> Result<OpRemapped<'op, Self>> {
        let first = spare.0.pop().ok_or(ENOMEM)?;
        let second = spare.0.pop().ok_or(ENOMEM)?;
        let (done, rest) = op.remap([first, second], (), ());

        if let Some(unused) = rest.unused_va {
            // There is room, since two were taken.
            let _ = spare.0.push_within_capacity(unused);
        }
        Ok(done)
    }
}

/// The address space of a client.
///
/// Dropping it cancels binds that wait and unmaps everything. No channel may use it any more.
pub(crate) struct Vm<'a> {
    later: Later<'a>,
    maps: Arc<Maps<'a>>,
}

impl<'a> Vm<'a> {
    /// An empty address space of which `kernel` is the kernel's.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `kernel` is no range of pages below [`VA_END`]; as of [`Space::new`].
    pub(crate) fn new(
        core: &Core<'a>,
        dev: &drm::Device<uapi::Driver>,
        kernel: Range<u64>,
    ) -> Result<Arc<Self>> {
        let maps = Maps::new(core, dev, kernel)?;

        Ok(Arc::new(
            Self {
                later: Later::new(&maps, core.workers.clone())?,
                maps,
            },
            GFP_KERNEL,
        )?)
    }

    /// Binds once all of `waits` have signaled. Says which fence says that it is done.
    ///
    /// # Errors
    ///
    /// As of [`Maps::prepare`]; nothing has changed then.
    pub(crate) fn bind_later(
        &self,
        requests: &[Request],
        waits: KVec<ARef<Fence>>,
    ) -> Result<ARef<Fence>> {
        let mut regions = self.edit_regions();
        let bind = self.prepare(requests, true, &mut regions)?;

        self.later.submit(bind, waits, || regions.keep())
    }
}

impl<'a> Deref for Vm<'a> {
    type Target = Maps<'a>;

    fn deref(&self) -> &Maps<'a> {
        &self.maps
    }
}

/// The regions of an address space, being changed by an ioctl.
type RegionsEdit<'m> = Edit<MutexGuard<'m, Regions>>;

/// What is bound in the address space of a client.
#[pin_data(PinnedDrop)]
pub(crate) struct Maps<'a> {
    /// Stands for all objects that no other address space has.
    reservation: ARef<Object>,
    /// What is not the client's.
    kernel: Range<u64>,
    /// As of the last ioctl; also keeps ioctls in order.
    #[pin]
    regions: Mutex<Regions>,
    /// As of now. Nothing is allocated while it is held.
    #[pin]
    maps: Mutex<UniqueRefGpuVm<Mapper>>,
    gpuvm: ARef<GpuVm<Mapper>>,
    space: Arc<Space<'a>>,
}

impl<'a> Maps<'a> {
    fn new(
        core: &Core<'a>,
        dev: &drm::Device<uapi::Driver>,
        kernel: Range<u64>,
    ) -> Result<Arc<Self>> {
        const PAGE: u64 = kernel::page::PAGE_SIZE as u64;

        if kernel.start >= kernel.end
            || kernel.end > VA_END
            || kernel.start % PAGE != 0
            || kernel.end % PAGE != 0
        {
            return Err(EINVAL);
        }
        let space = Space::new(&core.mem, &core.rm, kernel.clone())?;
        let reservation = Bo::reservation(dev)?;
        let maps = GpuVm::new::<Error, _>(
            c"ghostnv",
            dev,
            &*reservation,
            0..VA_END,
            kernel.clone(),
            Mapper,
        )?;
        let gpuvm = ARef::from(&*maps);

        Arc::pin_init(
            pin_init!(Self {
                reservation,
                kernel,
                regions <- new_mutex!(Regions::new(), "Maps::regions"),
                maps <- new_mutex!(maps, "Maps::maps"),
                gpuvm,
                space,
            }),
            GFP_KERNEL,
        )
    }

    /// The object whose reservation those share that no other address space has.
    pub(crate) fn reservation(&self) -> &Object {
        &self.reservation
    }

    /// Calls `then` with the reservations locked of all objects in here that others may have too,
    /// or with nothing if there are none.
    pub(crate) fn lock_shared<R>(
        &self,
        then: impl FnOnce(Option<drm::exec::Locked<'_>>) -> R,
    ) -> Result<R> {
        drm::exec::lock_external(&self.gpuvm, then)
    }

    /// The page tables and the kernel's part.
    pub(crate) fn space(&self) -> &Arc<Space<'a>> {
        &self.space
    }

    /// Begins to change the sparse regions. Other ioctls that bind wait until that is over.
    fn edit_regions(&self) -> RegionsEdit<'_> {
        Edit::new(self.regions.lock())
    }

    /// Prints what is bound where, and the sparse regions, for debugfs.
    pub(crate) fn show(&self, m: &SeqFile) -> Result {
        let regions = self.regions.lock();

        self.maps.lock().show(m)?;
        seq_print!(m, "\n");
        for region in regions.iter() {
            seq_print!(
                m,
                "sparse | {:#018x} | {:#018x}\n",
                region.start,
                region.end
            );
        }
        seq_print!(m, "\n");
        Ok(())
    }

    /// Checks that a range is whole pages, not empty, and the client's.
    fn check_range(&self, va: u64, len: u64) -> Result {
        const PAGE: u64 = kernel::page::PAGE_SIZE as u64;
        let end = va.checked_add(len).ok_or(EINVAL)?;
        let whole = va % PAGE == 0 && len % PAGE == 0 && len != 0;

        if !whole || end > VA_END || (va < self.kernel.end && self.kernel.start < end) {
            return Err(EINVAL);
        }
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Maps<'_> {
    fn drop(self: Pin<&mut Self>) {
        let mut spare = KVVec::new();
        let mut maps = self.maps.lock();

        // Both parts as a whole, so nothing is split. The tables go with the space, as they are.
        for (va, end) in [(0, self.kernel.start), (self.kernel.end, VA_END)] {
            if va < end {
                let _ = maps.sm_unmap(va, end - va, &mut Spare(&mut spare));
            }
        }
        drop(maps);
        // The GPU does not reach the objects any more when they are freed, or is lost.
        let _ = self.space.forget_all();
        self.gpuvm.deferred_cleanup();
    }
}
