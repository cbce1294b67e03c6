// SPDX-License-Identifier: GPL-2.0

//! `EXEC`: submission of work.
//!
//! A submission is a list of segments of commands, fences to wait for, and synchronization objects
//! to put the fence of the new job into. All that can fail comes first: arguments are read, objects
//! are looked up, memory is allocated, and the segments are written into the ring beyond what the
//! GPU looks at. What follows cannot fail, so either all of it happens or nothing.
//!
//! If there is nothing to wait for, the GPU knows of the job before the ioctl returns. A submission
//! without segments and without fences to wait for needs no GPU: what it asks to be signaled when
//! everything before it is done gets the fence of the job before it.

use kernel::{
    dma_fence::Signalling,
    dma_resv::Usage,
    drm,
    prelude::*,
    uapi::{
        drm_nouveau_exec,
        drm_nouveau_exec_push,
        DRM_NOUVEAU_EXEC_PUSH_NO_PREFETCH, //
    }, //
};

use crate::{
    channel::ring::{
        Entry,
        PUSH_MAX, //
    },
    file::File,
};

use super::{
    sync::{
        fields,
        for_each,
        read_waits,
        Pair,
        Signals, //
    },
    Device,
    Shared, //
};

const _: () = assert!(size_of::<drm_nouveau_exec_push>() == size_of::<Pair>());

/// A segment of commands, as user space names it. `None` for an empty one.
fn segment([va, rest]: Pair) -> Result<Option<Entry>> {
    let (bytes, flags) = fields(rest);
    if flags & !DRM_NOUVEAU_EXEC_PUSH_NO_PREFETCH != 0 {
        return Err(EINVAL);
    }
    if bytes == 0 {
        return Ok(None);
    }
    let sync = flags & DRM_NOUVEAU_EXEC_PUSH_NO_PREFETCH != 0;
    Entry::segment(va, bytes, sync).map(Some)
}

/// `EXEC`.
pub(super) fn exec(
    _device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_exec,
    file: &drm::File<File>,
) -> Result<u32> {
    let client = shared.client(file)?;
    let vm = client.vm()?;
    let channel = client.channel(args.channel)?;

    if channel.is_dead() {
        return Err(ENODEV);
    }
    if args.push_count > PUSH_MAX {
        return Err(EINVAL);
    }
    let fences = read_waits(file, args.wait_ptr, args.wait_count)?;
    let signals = Signals::read(file, args.sig_ptr, args.sig_count)?;

    if args.push_count == 0 && fences.is_empty() {
        signals.set(&*channel.idle_fence()?);
        return Ok(0);
    }
    let prepared = channel.prepare(fences)?;
    let mut job = channel.begin(args.push_count)?;
    for_each(args.push_ptr, args.push_count, |pair| {
        match segment(pair)? {
            Some(entry) => job.push(entry),
            None => Ok(()),
        }
    })?;

    // Those who share buffers with the client and know nothing of its synchronization objects wait
    // for everything that it does.
    vm.lock_shared(|locked| {
        let _section = Signalling::begin();
        job.submit(prepared, |fence| {
            if let Some(locked) = locked {
                locked.add_fence(fence, Usage::Write);
            }
            signals.set(fence);
        })
    })??;
    Ok(0)
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_uapi_exec)]
mod tests {
    use super::*;

    #[test]
    fn segments() -> Result {
        let pair = |va, bytes: u64, flags: u64| [va, bytes | flags << 32];

        assert_eq!(
            segment(pair(0x1000, 8, 0))?,
            Some(Entry::segment(0x1000, 8, false)?)
        );
        assert_eq!(
            segment(pair(0x1000, 8, 1))?,
            Some(Entry::segment(0x1000, 8, true)?)
        );
        assert_eq!(segment(pair(0x1000, 0, 0))?, None);
        for bad in [
            pair(0x1000, 8, 2),
            pair(0x1000, 8, 0xffff_ffff),
            pair(0x1001, 8, 0),
            pair(0x1000, 0x80_0000, 0),
            pair(1 << 40, 8, 0),
            [u64::MAX, u64::MAX],
        ] {
            assert!(segment(bad).is_err());
        }
        Ok(())
    }
}
