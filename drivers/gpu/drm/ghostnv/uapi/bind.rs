// SPDX-License-Identifier: GPL-2.0

//! `VM_BIND`: what is where in a client's address space.

use kernel::{
    drm::{
        self,
        gem::BaseObject, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi::{
        self,
        drm_nouveau_vm_bind,
        drm_nouveau_vm_bind_op, //
    }, //
};

use crate::{
    file::File,
    gem::Object,
    vm::bind::{
        Op,
        Request, //
    }, //
};

use super::{
    Device,
    Shared, //
};

/// Most operations of one call. Nobody needs as many; it bounds what one call can make the kernel
/// do.
const OPS_MAX: u32 = 1 << 14;

/// An operation as it is in memory: two words of two fields each, then three addresses.
type Words = [u64; 5];
const _: () = assert!(size_of::<drm_nouveau_vm_bind_op>() == size_of::<Words>());

/// The flags that are the kind of a mapping's pages.
const KINDS: u32 = 0xff;

/// What an operation asks for, but for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Map { handle: u32, kind: u8, offset: u64 },
    Unmap,
    MapSparse,
    UnmapSparse,
}

/// Reads an operation: what, first address, bytes.
fn parse([head, object, va, offset, len]: Words) -> Result<(Ask, u64, u64)> {
    // CAST: halves by intent; a structure's first field is in the lower one.
    let (op, flags, handle) = (head as u32, (head >> 32) as u32, object as u32);
    let sparse = flags & uapi::DRM_NOUVEAU_VM_BIND_SPARSE != 0;

    if flags & !(uapi::DRM_NOUVEAU_VM_BIND_SPARSE | KINDS) != 0 {
        return Err(EINVAL);
    }

    // CAST: The lowest byte by intent.
    let ask = match (op, sparse) {
        (uapi::DRM_NOUVEAU_VM_BIND_OP_MAP, true) => Ask::MapSparse,
        (uapi::DRM_NOUVEAU_VM_BIND_OP_MAP, false) => Ask::Map {
            handle,
            kind: flags as u8,
            offset,
        },
        (uapi::DRM_NOUVEAU_VM_BIND_OP_UNMAP, true) => Ask::UnmapSparse,
        (uapi::DRM_NOUVEAU_VM_BIND_OP_UNMAP, false) => Ask::Unmap,
        _ => return Err(EINVAL),
    };
    Ok((ask, va, len))
}

/// Reads the operations of a call, and looks their objects up.
fn read(file: &drm::File<File>, address: u64, count: u32) -> Result<KVVec<Request>> {
    if count > OPS_MAX {
        return Err(EINVAL);
    }
    let count = usize::try_from(count)?;
    let address = UserPtr::from_addr(usize::try_from(address)?);
    let mut reader = UserSlice::new(address, count * size_of::<Words>()).reader();
    let mut requests = KVVec::<Request>::with_capacity(count, GFP_KERNEL)?;
    let mut before = 0;

    for _ in 0..count {
        let (ask, va, len) = parse(reader.read::<Words>()?)?;
        let op = match ask {
            Ask::Map {
                handle,
                kind,
                offset,
            } => {
                let object = match requests.last() {
                    // Many in a row are often about the same object.
                    Some(Request {
                        op: Op::Map { object, .. },
                        ..
                    }) if handle == before => object.clone(),
                    _ => Object::lookup_handle(file, handle)?,
                };
                before = handle;
                Op::Map {
                    object,
                    offset,
                    kind,
                }
            }
            Ask::Unmap => Op::Unmap,
            Ask::MapSparse => Op::MapSparse,
            Ask::UnmapSparse => Op::UnmapSparse,
        };
        requests.push(Request { op, va, len }, GFP_KERNEL)?;
    }
    Ok(requests)
}

/// `VM_BIND`: binds memory to addresses and takes it away.
pub(super) fn vm_bind(
    _device: &Device,
    shared: &Shared<'_>,
    args: &mut drm_nouveau_vm_bind,
    file: &drm::File<File>,
) -> Result<u32> {
    shared.core.check()?;
    let vm = shared.client(file)?.vm()?;
    let requests = read(file, args.op_ptr, args.op_count)?;

    match args.flags {
        0 if args.wait_count != 0 || args.sig_count != 0 => Err(EINVAL),
        0 => {
            vm.bind_now(&requests)?;
            Ok(0)
        }
        uapi::DRM_NOUVEAU_VM_BIND_RUN_ASYNC => {
            let waits = super::sync::read_waits(file, args.wait_ptr, args.wait_count)?;
            let signals = super::sync::Signals::read(file, args.sig_ptr, args.sig_count)?;

            signals.set(&*vm.bind_later(&requests, waits)?);
            Ok(0)
        }
        _ => Err(EINVAL),
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_uapi_bind)]
mod tests {
    use super::*;

    #[test]
    fn operations() {
        let kind = Ask::Map {
            handle: 9,
            kind: 6,
            offset: 0x2000,
        };
        let table = [
            (0, 6, kind),
            (0, 0x106, Ask::MapSparse),
            (1, 0, Ask::Unmap),
            (1, 0x100, Ask::UnmapSparse),
        ];

        for (op, flags, ask) in table {
            let words = [flags << 32 | op, 9, 0x1000, 0x2000, 0x3000];
            assert_eq!(parse(words), Ok((ask, 0x1000, 0x3000)));
        }
        assert_eq!(parse([2, 0, 0, 0, 0]), Err(EINVAL));
        for bit in 9..32 {
            assert_eq!(parse([1 << (32 + bit), 9, 0x1000, 0, 0x1000]), Err(EINVAL));
        }
        assert_eq!(parse([u64::MAX; 5]), Err(EINVAL));
    }
}
