// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The GPU MMU.

use std::collections::BTreeMap;

use crate::env::Env;
use crate::env::mem::Phys;

/// A GPU address space as RM hands them out; its page directory can change or be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VasId(pub u32);

/// Kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Atomic.
    Atomic,
}

/// MMU fault types (NVIDIA/open-gpu-doc `dev_mmu_fault.ref.txt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FaultType {
    /// Invalid page directory entry.
    Pde = 0,
    /// Bad page directory size.
    PdeSize = 1,
    /// Invalid page table entry.
    Pte = 2,
    /// Address beyond the space.
    VaLimit = 3,
    /// No page directory.
    UnboundInstBlock = 4,
    /// Privilege violation.
    Priv = 5,
    /// Write to a read-only page.
    Ro = 6,
    /// Page tables or page in memory that cannot be reached.
    UnsupportedAperture = 0xa,
    /// Kind not supported.
    UnsupportedKind = 0xc,
    /// Outside the memory that may be accessed.
    Region = 0xd,
    /// Atomics disabled on the page.
    Atomic = 0xf,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmuFault {
    /// Faulting virtual address.
    pub va: u64,
    /// Why.
    pub kind: FaultType,
    /// What was tried.
    pub access: Access,
}

/// Address spaces and the TLB.
#[derive(Default)]
pub struct Mmu {
    spaces: BTreeMap<VasId, Option<Phys>>,
    next: u32,
}

impl Mmu {
    /// Creates an address space without a page directory.
    pub fn vas_create(&mut self) -> VasId {
        self.next += 1;
        let id = VasId(self.next);
        self.spaces.insert(id, None);
        id
    }

    /// Sets or removes the page directory of a space.
    pub fn vas_set_root(&mut self, id: VasId, root: Option<Phys>) {
        if let Some(r) = self.spaces.get_mut(&id) {
            *r = root;
        }
    }

    /// Forgets a space.
    pub fn vas_destroy(&mut self, id: VasId) {
        self.spaces.remove(&id);
    }

    /// The page directory of a space.
    pub fn vas_root(&self, id: VasId) -> Option<Phys> {
        self.spaces.get(&id).copied().flatten()
    }

    /// Reads through a page directory; `root` None faults with `UnboundInstBlock`.
    pub fn read(
        &mut self,
        _env: &mut Env,
        _root: Option<Phys>,
        va: u64,
        _buf: &mut [u8],
    ) -> Result<(), MmuFault> {
        Err(MmuFault { va, kind: FaultType::Pde, access: Access::Read })
    }

    /// Writes through a page directory.
    pub fn write(
        &mut self,
        _env: &mut Env,
        _root: Option<Phys>,
        va: u64,
        _buf: &[u8],
    ) -> Result<(), MmuFault> {
        Err(MmuFault { va, kind: FaultType::Pde, access: Access::Write })
    }

    /// Drops cached translations: of one page directory, or all.
    pub fn invalidate(&mut self, _env: &mut Env, _root: Option<Phys>) {}
}
