// SPDX-License-Identifier: GPL-2.0

//! Lists in user space: of synchronization objects, and how any such list is read.
//!
//! `EXEC` and `VM_BIND` wait for fences and have synchronization objects signaled. Looking those up
//! can fail, so it comes before anything else is done; what remains cannot.

use kernel::{
    dma_fence::Fence,
    drm::{
        self,
        syncobj::{
            find_fence,
            Signal, //
        },
    },
    prelude::*,
    sync::aref::ARef,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi::{
        drm_nouveau_sync,
        DRM_NOUVEAU_SYNC_SYNCOBJ,
        DRM_NOUVEAU_SYNC_TIMELINE_SYNCOBJ,
        DRM_NOUVEAU_SYNC_TYPE_MASK, //
    }, //
};

use crate::file::File;

/// Most synchronization objects of a kind in one call. Nobody needs as many; it bounds what one
/// call can make the kernel do, a part of it in interrupts.
const SYNCS_MAX: u32 = 1 << 10;

/// A structure of two words, as they are in memory.
pub(super) type Pair = [u64; 2];
const _: () = assert!(size_of::<drm_nouveau_sync>() == size_of::<Pair>());

/// Low and high half of a word, which are two fields of a structure (all supported machines are
/// little endian).
pub(super) fn fields(word: u64) -> (u32, u32) {
    // CAST: halves by intent.
    (word as u32, (word >> 32) as u32)
}

/// Calls `each` for the elements of a list in user space, each of which is read once.
pub(super) fn for_each(address: u64, count: u32, mut each: impl FnMut(Pair) -> Result) -> Result {
    /// Elements that are copied at once, onto the stack.
    const BATCH: usize = 16;

    let mut left = usize::try_from(count)?;
    if left == 0 {
        return Ok(());
    }
    let bytes = left.checked_mul(size_of::<Pair>()).ok_or(EINVAL)?;
    let address = UserPtr::from_addr(usize::try_from(address)?);
    let mut reader = UserSlice::new(address, bytes).reader();
    let mut buffer = [[0; 2]; BATCH];

    while left > 0 {
        let batch = buffer.get_mut(..left.min(BATCH)).ok_or(EINVAL)?;
        reader.read_slice(batch.as_mut_bytes())?;
        left -= batch.len();
        for pair in batch {
            each(*pair)?;
        }
    }
    Ok(())
}

/// A synchronization object, as user space names it: its handle, and for a timeline a point.
fn sync([head, point]: Pair) -> Result<(u32, Option<u64>)> {
    let (flags, handle) = fields(head);
    match flags & DRM_NOUVEAU_SYNC_TYPE_MASK {
        DRM_NOUVEAU_SYNC_SYNCOBJ => Ok((handle, None)),
        DRM_NOUVEAU_SYNC_TIMELINE_SYNCOBJ => Ok((handle, Some(point))),
        _ => Err(EOPNOTSUPP),
    }
}

/// Adds a fence to wait for. Of those of one timeline the last is enough.
fn add(fences: &mut KVec<ARef<Fence>>, fence: ARef<Fence>) -> Result {
    let known = fences.iter_mut().find(|f| f.context() == fence.context());
    match known {
        Some(known) if fence.is_later(known) => *known = fence,
        Some(_) => (),
        None => fences.push(fence, GFP_KERNEL)?,
    }
    Ok(())
}

/// Fences that user space wants waited for.
///
/// Also for `VM_BIND`. Those that have signaled are left out, so that a list of them costs no
/// memory, and those that others imply.
///
/// # Errors
///
/// `EOPNOTSUPP` for a kind of object that there is not, `ENOENT` for an object that there is not,
/// `EINVAL` for a point that nothing has been submitted for, or too many of them.
pub(crate) fn read_waits(
    file: &drm::File<File>,
    address: u64,
    count: u32,
) -> Result<KVec<ARef<Fence>>> {
    if count > SYNCS_MAX {
        return Err(EINVAL);
    }
    let mut fences = KVec::new();
    for_each(address, count, |pair| {
        let (handle, point) = sync(pair)?;
        let fence = find_fence(file, handle, point.unwrap_or(0))?;
        if !fence.is_signaled() {
            add(&mut fences, fence)?;
        }
        Ok(())
    })?;
    Ok(fences)
}

/// What user space wants to be signaled.
///
/// The first few take no memory of their own.
pub(crate) struct Signals {
    few: [Option<Signal>; Self::FEW],
    more: KVec<Signal>,
}

impl Signals {
    const FEW: usize = 3;

    /// Looks up and prepares all of a list. Also for `VM_BIND`.
    ///
    /// # Errors
    ///
    /// As of [`read_waits`].
    pub(crate) fn read(file: &drm::File<File>, address: u64, count: u32) -> Result<Self> {
        if count > SYNCS_MAX {
            return Err(EINVAL);
        }
        let mut signals = Self {
            few: [const { None }; Self::FEW],
            more: KVec::new(),
        };
        let mut index = 0;
        for_each(address, count, |pair| {
            let (handle, point) = sync(pair)?;
            let signal = Signal::prepare(file, handle, point)?;
            match signals.few.get_mut(index) {
                Some(place) => *place = Some(signal),
                None => signals.more.push(signal, GFP_KERNEL)?,
            }
            index += 1;
            Ok(())
        })?;
        Ok(signals)
    }

    /// `fence` is what will signal all of them. It must be none that is a chain itself.
    pub(crate) fn set(self, fence: &Fence) {
        for signal in self.few.into_iter().flatten() {
            signal.set(fence);
        }
        for signal in self.more {
            signal.set(fence);
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_uapi_sync)]
mod tests {
    use super::*;
    use crate::channel::fence::Timeline;
    use kernel::dma_fence::{
        FenceContext,
        NewFence, //
    };

    #[test]
    fn the_last_of_a_timeline_is_waited_for() -> Result {
        let (mut one, mut other) = (FenceContext::new(), FenceContext::new());
        let mut work = KVec::new();
        for number in 1..=4 {
            let timeline = if number < 4 { &mut one } else { &mut other };
            let new = NewFence::new(Timeline::Copy, GFP_KERNEL)?;
            work.push(timeline.emit(new), GFP_KERNEL)?;
        }
        let mut fences = KVec::new();
        for index in [1, 3, 0, 1, 2, 3, 2, 0] {
            add(&mut fences, work[index].fence().clone())?;
        }
        let numbers = |f: &ARef<Fence>| (f.context(), f.seqno());
        assert!(fences
            .iter()
            .map(numbers)
            .eq([(one.id(), 3), (other.id(), 1)]));
        Ok(())
    }

    #[test]
    fn synchronization_objects() -> Result {
        assert_eq!(sync([7 << 32, 9])?, (7, None));
        assert_eq!(sync([7 << 32 | 1, 9])?, (7, Some(9)));
        assert_eq!(sync([2, 0]).err(), Some(EOPNOTSUPP));
        assert_eq!(sync([0xf, 0]).err(), Some(EOPNOTSUPP));
        Ok(())
    }
}
