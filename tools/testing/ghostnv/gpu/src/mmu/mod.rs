// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The GPU MMU: address spaces, translation, and a TLB that really caches.
//!
//! Every client (host, copy engines, BAR windows) names the page directory it goes through. A
//! translation that was used once is used again until the driver invalidates it, as hardware does,
//! and a page that was not valid once faults again until then, as hardware may. When the tables
//! have changed under an entry that is still used, the entry is what counts, and the use is the
//! violation `tlb-stale`.

mod regs;
mod tlb;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::tlb::Tlb;
use self::walk::{Miss, Page, Target};
use crate::env::Env;
use crate::env::mem::Phys;
use crate::env::trace::Kind;

pub use self::walk::VA_BITS;

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

/// A run of virtual addresses that is one run of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it is; None for sparse pages, which read as 0 and drop writes.
    pub phys: Option<Phys>,
    /// Its bytes; at least 1.
    pub len: u64,
    /// PTE kind; 0 for sparse pages.
    pub kind: u8,
}

/// Pages that one span merges at most, so that a call's work is bounded.
const MOST_MERGED: usize = 1024;

/// Address spaces and the TLB.
#[derive(Default)]
pub struct Mmu {
    spaces: BTreeMap<VasId, Option<Phys>>,
    next: u32,
    tlb: Tlb,
    regs: regs::Regs,
    /// The client of the next accesses may use privileged pages. Whoever sets it clears it.
    pub privileged: bool,
    /// No client accesses, so a page that is not valid leaves no entry.
    probing: bool,
    /// Accesses of engines so far: what their work is charged by.
    pub accesses: u64,
}

impl Mmu {
    /// Creates an address space without a page directory.
    pub fn vas_create(&mut self) -> VasId {
        self.next = self.next.wrapping_add(1);
        let id = VasId(self.next);
        self.spaces.insert(id, None);
        id
    }

    /// Sets or removes the page directory of a space.
    ///
    /// RM invalidates the directory that was there; a new one's translations are the driver's care.
    pub fn vas_set_root(&mut self, id: VasId, root: Option<Phys>) {
        let Some(slot) = self.spaces.get_mut(&id) else { return };
        let old = std::mem::replace(slot, root);
        if let Some(old) = old.filter(|_| old != root) {
            self.tlb.forget(old);
        }
    }

    /// Brings back a space that a reset made the MMU forget (RM resumes from suspend).
    pub fn vas_restore(&mut self, id: VasId, root: Option<Phys>) {
        self.next = self.next.max(id.0);
        self.spaces.insert(id, root);
    }

    /// Forgets a space.
    pub fn vas_destroy(&mut self, id: VasId) {
        self.vas_set_root(id, None);
        self.spaces.remove(&id);
    }

    /// The page directory of a space.
    pub fn vas_root(&self, id: VasId) -> Option<Phys> {
        self.spaces.get(&id).copied().flatten()
    }

    /// Forgets all spaces and translations (reset).
    pub fn reset(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    /// Reads through a page directory; `root` None faults with `UnboundInstBlock`.
    pub fn read(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
        buf: &mut [u8],
    ) -> Result<(), MmuFault> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = va.saturating_add(done as u64);
            let span = self.span(env, root, at, rest.len() as u64, Access::Read)?;
            let part = rest.split_at_mut((span.len as usize).min(rest.len())).0;
            match span.phys {
                Some(phys) => {
                    let fault = MmuFault { va: at, kind: FaultType::Region, access: Access::Read };
                    env.mem.read(phys, part).map_err(|_| fault)?;
                }
                None => part.fill(0),
            }
            done += part.len();
        }
        Ok(())
    }

    /// Writes through a page directory; what lies before a faulting page has been written.
    pub fn write(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
        buf: &[u8],
    ) -> Result<(), MmuFault> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|r| !r.is_empty()) {
            let at = va.saturating_add(done as u64);
            let span = self.span(env, root, at, rest.len() as u64, Access::Write)?;
            let part = rest.split_at((span.len as usize).min(rest.len())).0;
            if let Some(phys) = span.phys {
                let fault = MmuFault { va: at, kind: FaultType::Region, access: Access::Write };
                env.mem.write(phys, part).map_err(|_| fault)?;
            }
            done += part.len();
        }
        Ok(())
    }

    /// Whether a privileged client can read a byte. What is cached counts, as it would for the
    /// client; but only RM asks, so a page that is not valid leaves no entry.
    pub fn probe(&mut self, env: &mut Env, root: Option<Phys>, va: u64) -> Result<(), MmuFault> {
        (self.privileged, self.probing) = (true, true);
        let read = self.read(env, root, va, &mut [0]);
        (self.privileged, self.probing) = (false, false);
        read
    }

    /// Reads an aligned 32-bit word in one access; sparse reads 0.
    pub fn read_u32(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
    ) -> Result<u32, MmuFault> {
        let fault = MmuFault { va, kind: FaultType::Region, access: Access::Read };
        let phys = self.word(env, root, va, 4, Access::Read)?;
        phys.map_or(Ok(0), |at| env.mem.read_u32(at).map_err(|_| fault))
    }

    /// Reads an aligned 64-bit word in one access; sparse reads 0.
    pub fn read_u64(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
    ) -> Result<u64, MmuFault> {
        let fault = MmuFault { va, kind: FaultType::Region, access: Access::Read };
        let phys = self.word(env, root, va, 8, Access::Read)?;
        phys.map_or(Ok(0), |at| env.mem.read_u64(at).map_err(|_| fault))
    }

    /// Writes an aligned 32-bit word in one access, after all earlier writes.
    pub fn write_u32(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
        value: u32,
    ) -> Result<(), MmuFault> {
        let fault = MmuFault { va, kind: FaultType::Region, access: Access::Write };
        let phys = self.word(env, root, va, 4, Access::Write)?;
        phys.map_or(Ok(()), |at| env.mem.write_u32(at, value).map_err(|_| fault))
    }

    /// Writes an aligned 64-bit word in one access, after all earlier writes.
    pub fn write_u64(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
        value: u64,
    ) -> Result<(), MmuFault> {
        let fault = MmuFault { va, kind: FaultType::Region, access: Access::Write };
        let phys = self.word(env, root, va, 8, Access::Write)?;
        phys.map_or(Ok(()), |at| env.mem.write_u64(at, value).map_err(|_| fault))
    }

    /// Where an aligned word of `len` bytes is; None if it is sparse. For atomics too.
    ///
    /// Alignment is the client's to check, because what happens otherwise is the client's; a word
    /// that crosses a page faults with `Region`.
    pub fn word(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
        len: u64,
        access: Access,
    ) -> Result<Option<Phys>, MmuFault> {
        let span = self.span(env, root, va, len, access)?;
        if span.len < len {
            return Err(MmuFault { va, kind: FaultType::Region, access });
        }
        Ok(span.phys)
    }

    /// Translates the start of a range, and as much of what follows as is one run of memory.
    ///
    /// The memory is there: a page that points outside VRAM or guest memory faults here. A fault
    /// further on ends the span before it.
    pub fn span(
        &mut self,
        env: &mut Env,
        root: Option<Phys>,
        va: u64,
        len: u64,
        access: Access,
    ) -> Result<Span, MmuFault> {
        let fault = |kind| MmuFault { va, kind, access };
        let root = root.ok_or(fault(FaultType::UnboundInstBlock))?;
        let inject = !env.faults.is_empty();
        if inject && env.faults.mmu(va) {
            return Err(fault(FaultType::Pte));
        }
        let page = self.translate(env, root, va).map_err(|miss| report(env, root, va, miss));
        let page = page.map_err(fault)?;
        let first = self.permitted(page, va, len, access).map_err(fault)?;
        let whole = if inject { first } else { self.merge(env, root, va, len, access, first) };
        let write = access != Access::Read;
        let Some(phys) = whole.phys else { return Ok(whole) };
        if env.mem.check_client(phys, whole.len as usize, write).is_ok() {
            return Ok(whole);
        }
        // Some page of the run is not there; if it is not the first, that is for the next call.
        env.mem.check_client(phys, first.len as usize, write).map(|()| first).map_err(|e| {
            env.unreached("pte-target", format_args!("{va:#x} below {root}"), e);
            fault(FaultType::Region)
        })
    }

    /// The rest of a page from `va`, if this access may use it.
    fn permitted(&self, page: Page, va: u64, len: u64, access: Access) -> Result<Span, FaultType> {
        let within = va & ((1 << page.shift) - 1);
        let len = len.clamp(1, (1 << page.shift) - within);
        match page.target {
            Target::Sparse => Ok(Span { phys: None, len, kind: 0 }),
            Target::Page(phys, attr) => {
                walk::permit(attr, access, self.privileged)?;
                Ok(Span { phys: Some(phys.offset(within)), len, kind: attr.kind })
            }
        }
    }

    /// Extends a span over the pages that follow it in memory.
    fn merge(
        &mut self,
        env: &mut Env,
        root: Phys,
        va: u64,
        len: u64,
        access: Access,
        mut span: Span,
    ) -> Span {
        for _ in 0..MOST_MERGED {
            let (Some(at), true) = (va.checked_add(span.len), span.len < len) else { break };
            let Ok(page) = self.translate(env, root, at) else { break };
            let Ok(next) = self.permitted(page, at, len - span.len, access) else { break };
            if next.kind != span.kind || next.phys != span.phys.map(|p| p.offset(span.len)) {
                break;
            }
            span.len += next.len;
        }
        span
    }

    /// Translates one page, from the TLB if it is there.
    fn translate(&mut self, env: &mut Env, root: Phys, va: u64) -> Result<Page, Miss> {
        if let Some(entry) = self.tlb.find(root, va) {
            if !entry.reported && !entry.words.unchanged(&mut env.mem) {
                let (fresh, words) = walk::walk(&mut env.mem, root, va);
                if same(entry.found, &fresh) {
                    // Only a part of the tables changed that does not matter here.
                    entry.words = words;
                } else {
                    entry.reported = true;
                    let text = stale(entry.found, fresh);
                    env.violation("tlb-stale", format!("{va:#x} below {root}: {text}"));
                }
            }
            return entry.found.map_err(Miss::plain);
        }
        let (found, words) = walk::walk(&mut env.mem, root, va);
        match &found {
            Ok(page) if page.target != Target::Sparse => {
                self.tlb.insert(root, va, Ok(*page), words);
            }
            Err(miss) if miss.is_invalid() && !self.probing => {
                self.tlb.insert(root, va, Err(miss.fault), words);
            }
            _ => {}
        }
        found
    }

    /// Drops cached translations: of one page directory, or all.
    pub fn invalidate(&mut self, env: &mut Env, root: Option<Phys>) {
        let now = env.clock.ns();
        let addr = root.map_or(0, |r| r.addr);
        env.trace.record(now, Kind::TlbInvalidate, 0, 1, addr, u64::from(root.is_none()) << 1);
        match root {
            Some(root) => self.tlb.forget(root),
            None => self.tlb.clear(),
        }
    }

    /// Cached translations, and pages without one, for tests and statistics.
    pub fn cached(&self) -> usize {
        self.tlb.entries()
    }
}

/// Whether a walk finds what was cached. At what level the tables end does not matter.
fn same(cached: Result<Page, FaultType>, fresh: &Result<Page, Miss>) -> bool {
    match (cached, fresh) {
        (Ok(old), Ok(new)) => old == *new,
        (Err(_), Err(miss)) => miss.is_invalid(),
        _ => false,
    }
}

/// How what was cached differs from what a walk finds.
fn stale(cached: Result<Page, FaultType>, fresh: Result<Page, Miss>) -> String {
    let now =
        fresh.map_or_else(|miss| format!("fault {:?}", miss.fault), |page| page.target.to_string());
    match cached {
        Ok(page) => format!("used {}, tables say {now}", page.target),
        Err(_) => format!(
            "the entry was invalid when it was cached, tables say {now} now, and no invalidate \
             came in between"
        ),
    }
}

/// Reports what a failed walk found, and says what the client gets.
fn report(env: &mut Env, root: Phys, va: u64, miss: Miss) -> FaultType {
    if let Some(text) = miss.bad_target {
        env.violation("pte-target", format!("{va:#x} below {root}: {text}"));
    }
    miss.fault
}
