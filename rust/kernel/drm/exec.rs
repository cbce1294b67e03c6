// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Locking the reservations of several GEM objects at once.
//!
//! There is no order in which the reservation locks of buffers could be taken, as user space names
//! the buffers in any order. `drm_exec` takes them all, and if it meets somebody who came earlier
//! and wants one of those it has, it lets go of all and starts again.
//!
//! C header: [`include/drm/drm_exec.h`](srctree/include/drm/drm_exec.h)

use crate::{
    bindings,
    dma_fence::Fence,
    dma_resv::Usage,
    drm::gem::IntoGEMObject,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// Reservations that are all locked, with room for one fence in each.
///
/// # Invariants
///
/// `exec` is an initialized `struct drm_exec`. All its objects are locked, and each but `except`
/// has room for a fence.
pub struct Locked<'a> {
    exec: &'a Opaque<bindings::drm_exec>,
    /// This one is locked, but there is no room in it.
    except: *mut bindings::drm_gem_object,
}

impl Locked<'_> {
    /// Adds one fence to all of them. It must be none that is made of others.
    ///
    /// Allocates nothing.
    pub fn add_fence(self, fence: &Fence, usage: Usage) {
        let exec = self.exec.get();
        // SAFETY: By the type invariant.
        let count = unsafe { (*exec).num_objects } as usize;
        for index in 0..count {
            // SAFETY: By the type invariant there are `count` objects.
            let object = unsafe { *(*exec).objects.add(index) };
            if object == self.except {
                continue;
            }
            // SAFETY: By the type invariant it is locked and has room for one fence; `self` is used
            // up, so that no second one is added.
            unsafe { bindings::dma_resv_add_fence((*object).resv, fence.as_raw(), usage as u32) };
        }
    }
}

/// Locks the reservations of all `objects` and reserves room for a fence in each, then runs `then`.
///
/// Objects may come more than once, and may share a reservation. The locks are released when `then`
/// has returned. [`EINTR`] or [`ERESTARTSYS`] if a signal for the process arrives first.
///
/// # Examples
///
/// ```ignore
/// drm::exec::lock_all(&objects, |locked| {
///     let fence = submit_what_cannot_fail();
///     locked.add_fence(&fence, Usage::Write);
/// })?;
/// ```
pub fn lock_all<O, B, R>(objects: &[B], then: impl FnOnce(Locked<'_>) -> R) -> Result<R>
where
    O: IntoGEMObject,
    B: core::ops::Deref<Target = O>,
{
    run(
        u32::try_from(objects.len())?,
        core::ptr::null_mut(),
        |exec| {
            for object in objects {
                // SAFETY: `exec` is initialized and the object is valid.
                to_result(unsafe { bindings::drm_exec_prepare_obj(exec, object.as_raw(), 1) })?;
            }
            Ok(())
        },
        then,
    )
}

/// Locks the reservations of all objects that a GPU address space shares with others, and reserves
/// room for a fence in each, then runs `then`. If there are none, it runs `then` without locks.
///
/// These are the objects with a reservation of their own that are mapped. The address space's own
/// reservation is locked too, but gets no fence.
#[cfg(CONFIG_RUST_DRM_GPUVM)]
pub fn lock_external<T, R>(
    vm: &crate::drm::gpuvm::GpuVm<T>,
    then: impl FnOnce(Option<Locked<'_>>) -> R,
) -> Result<R>
where
    T: crate::drm::gpuvm::DriverGpuVm,
{
    let raw = vm.as_raw();
    // SAFETY: The address space is valid. A mapping that is made just now may be missed, and comes
    // too late for what the caller is about to submit.
    let none = unsafe {
        let list = &raw mut (*raw).extobj.list;
        core::ptr::read_volatile(&raw const (*list).next) == list
    };
    if none {
        return Ok(then(None));
    }
    // SAFETY: The address space is valid; the field never changes.
    let own = unsafe { (*raw).r_obj };
    run(
        0,
        own,
        |exec| {
            // SAFETY: `exec` is initialized and the object is valid. Its lock protects the list.
            to_result(unsafe { bindings::drm_exec_lock_obj(exec, own) })?;
            // SAFETY: `exec` is initialized, and the lock of the list is held.
            to_result(unsafe { bindings::drm_gpuvm_prepare_objects(raw, exec, 1) })
        },
        |locked| then(Some(locked)),
    )
}

/// Runs `then` with what `acquire` locks, of which `except` gets no fence.
fn run<R>(
    count: u32,
    except: *mut bindings::drm_gem_object,
    acquire: impl FnMut(*mut bindings::drm_exec) -> Result,
    then: impl FnOnce(Locked<'_>) -> R,
) -> Result<R> {
    const FLAGS: u32 = bindings::DRM_EXEC_INTERRUPTIBLE_WAIT | bindings::DRM_EXEC_IGNORE_DUPLICATES;

    let exec = Opaque::<bindings::drm_exec>::uninit();
    // SAFETY: `exec` is memory for it; it does not move before `drm_exec_fini()`.
    unsafe { bindings::drm_exec_init(exec.get(), FLAGS, count) };
    let result = lock(exec.get(), acquire).map(|()| {
        // INVARIANT: `acquire()` has locked all objects, and made room in each but `except`.
        then(Locked {
            exec: &exec,
            except,
        })
    });
    // SAFETY: It was initialized; this releases the locks.
    unsafe { bindings::drm_exec_fini(exec.get()) };
    result
}

/// Repeats `acquire` until it has met nobody who came earlier.
fn lock(
    exec: *mut bindings::drm_exec,
    mut acquire: impl FnMut(*mut bindings::drm_exec) -> Result,
) -> Result {
    // SAFETY: `exec` is initialized. This lets go of everything after contention, and says whether
    // there is (still) something to do.
    while unsafe { bindings::drm_exec_cleanup(exec) } {
        let locked = acquire(exec);
        // SAFETY: `exec` is initialized.
        if unsafe { (*exec).contended }.is_null() {
            locked?;
        }
    }
    Ok(())
}

#[kunit_tests(rust_drm_exec)]
mod tests {
    use super::*;
    use crate::{
        dma_fence::{
            FenceContext,
            FenceOps,
            NewFence, //
        },
        dma_resv::Resv,
        drm::{
            gem,
            kunit::{
                Driver,
                Empty,
                TestDevice, //
            },
        },
        page::PAGE_SIZE,
        sync::aref::ARef, //
    };

    #[cfg(CONFIG_RUST_DRM_GPUVM)]
    use crate::drm::gpuvm;

    struct Ops;

    impl FenceOps for Ops {
        fn driver_name(&self) -> &CStr {
            c"kunit"
        }
        fn timeline_name(&self) -> &CStr {
            c"exec"
        }
    }

    fn resv(object: &gem::Object<Empty>) -> &Resv {
        // SAFETY: The object has an initialized reservation object as long as it lives.
        unsafe { Resv::from_raw((*object.as_raw()).resv) }
    }

    #[test]
    fn one_fence_for_all() -> Result {
        let device: TestDevice<Driver> = TestDevice::new(c"kunit-exec")?;
        let mut objects: KVec<ARef<gem::Object<Empty>>> = KVec::new();
        for _ in 0..3 {
            objects.push(gem::Object::new(&device, PAGE_SIZE, ())?, GFP_KERNEL)?;
        }
        // The same object twice is no deadlock.
        let again = objects.first().ok_or(EINVAL)?.clone();
        objects.push(again, GFP_KERNEL)?;

        let mut timeline = FenceContext::new();
        let new = NewFence::new(Ops, GFP_KERNEL)?;
        let work = lock_all(&objects, |locked| {
            let work = timeline.emit(new);
            locked.add_fence(work.fence(), Usage::Write);
            work
        })?;

        for object in &objects {
            assert_eq!(resv(object).fences(Usage::Write).count(), 1);
        }
        work.signal();
        for object in &objects {
            assert!(resv(object).test_signaled(Usage::Bookkeep));
        }
        Ok(())
    }

    #[test]
    fn nothing_to_lock() -> Result {
        let none: KVec<ARef<gem::Object<Empty>>> = KVec::new();
        lock_all(&none, |_locked| ())
    }

    /// An address space, of which only the list of objects is used.
    #[cfg(CONFIG_RUST_DRM_GPUVM)]
    struct Space;

    #[cfg(CONFIG_RUST_DRM_GPUVM)]
    impl gpuvm::DriverGpuVm for Space {
        type Driver = Driver;
        type Object = gem::Object<Empty>;
        type VaData = ();
        type VmBoData = ();
        type SmContext<'ctx> = ();

        fn sm_step_map<'op, 'ctx>(
            &mut self,
            _op: gpuvm::OpMap<'op, Self>,
            _context: &mut Self::SmContext<'ctx>,
        ) -> Result<gpuvm::OpMapped<'op, Self>> {
            Err(EINVAL)
        }

        fn sm_step_unmap<'op, 'ctx>(
            &mut self,
            _op: gpuvm::OpUnmap<'op, Self>,
            _context: &mut Self::SmContext<'ctx>,
        ) -> Result<gpuvm::OpUnmapped<'op, Self>> {
            Err(EINVAL)
        }

        fn sm_step_remap<'op, 'ctx>(
            &mut self,
            _op: gpuvm::OpRemap<'op, Self>,
            _context: &mut Self::SmContext<'ctx>,
        ) -> Result<gpuvm::OpRemapped<'op, Self>> {
            Err(EINVAL)
        }
    }

    /// Whether somebody holds the lock of an object's reservation.
    #[cfg(CONFIG_RUST_DRM_GPUVM)]
    fn is_locked(object: &gem::Object<Empty>) -> bool {
        let lock = resv(object).as_raw();

        // SAFETY: The lock is valid, and is released again if it was taken.
        unsafe {
            let taken = bindings::ww_mutex_trylock(&raw mut (*lock).lock, core::ptr::null_mut());
            if taken != 0 {
                bindings::ww_mutex_unlock(&raw mut (*lock).lock);
            }
            taken == 0
        }
    }

    #[cfg(CONFIG_RUST_DRM_GPUVM)]
    #[test]
    fn a_fence_for_what_an_address_space_shares() -> Result {
        let device: TestDevice<Driver> = TestDevice::new(c"kunit-exec-vm")?;
        let new = || gem::Object::<Empty>::new(&device, PAGE_SIZE, ());
        let (common, first, second, stranger) = (new()?, new()?, new()?, new()?);
        let config = gem::ObjectConfig {
            private: true,
            parent_resv_obj: Some(&*common),
        };
        let own = gem::Object::<Empty>::with_config(&device, PAGE_SIZE, config, ())?;
        let vm = gpuvm::GpuVm::<Space>::new::<Error, _>(
            c"kunit",
            &device,
            &*common,
            0..4096,
            0..0,
            Space,
        )?;
        let own_mapped = vm.obtain(&own, ())?;

        // What has the address space's reservation is not shared.
        assert!(lock_external(&vm, |locked| locked.is_none())?);

        let mut timeline = FenceContext::new();
        let first_mapped = vm.obtain(&first, ())?;
        let second_mapped = vm.obtain(&second, ())?;
        for expected in [[true, true, false, false, false], [false; 5]] {
            let new = NewFence::new(Ops, GFP_KERNEL)?;
            let objects = [&first, &second, &stranger, &common, &own];
            let (work, locks) = lock_external(&vm, |locked| {
                let work = timeline.emit(new);
                // The second time round somebody only looks.
                if let (Some(locked), true) = (locked, expected[0]) {
                    locked.add_fence(work.fence(), Usage::Write);
                }
                (work, objects.map(|object| is_locked(object)))
            })?;
            assert_eq!(locks, [true, true, false, true, true]);
            assert_eq!(objects.map(|object| is_locked(object)), [false; 5]);
            let fences = objects.map(|object| resv(object).fences(Usage::Bookkeep).count() == 1);
            assert_eq!(fences, expected);
            work.signal();
        }

        // One that is mapped no more gets none, even if nobody has cleaned up yet.
        drop(first_mapped);
        let new = NewFence::new(Ops, GFP_KERNEL)?;
        let work = lock_external(&vm, |locked| {
            let work = timeline.emit(new);
            if let Some(locked) = locked {
                locked.add_fence(work.fence(), Usage::Write);
            }
            work
        })?;
        assert_eq!(resv(&first).fences(Usage::Bookkeep).count(), 0);
        assert_eq!(resv(&second).fences(Usage::Bookkeep).count(), 1);
        work.signal();

        drop((second_mapped, own_mapped));
        vm.deferred_cleanup();
        assert!(lock_external(&vm, |locked| locked.is_none())?);
        Ok(())
    }
}
