// SPDX-License-Identifier: GPL-2.0 OR MIT

//! BAR1, BAR2 and PRAMIN: the CPU's windows.
//!
//! BAR1 and BAR2 are virtual once RM has bound them to page directories; before that they are
//! physical, as after reset: offsets are VRAM addresses. PRAMIN is always physical and 1 MiB wide.
//! The windows' accesses are privileged, and are not subject to injected MMU faults.

use crate::env::Env;
use crate::env::mem::{Aperture, Phys};
use crate::mmu::{Access, Mmu, MmuFault};

/// Bytes that PRAMIN shows.
const PRAMIN_SIZE: u64 = 1 << 20;

/// Which translated window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// BAR1: the frame buffer aperture.
    Bar1,
    /// BAR2: the instance aperture (PCI BAR3).
    Bar2,
}

/// The windows' registers and page directories.
#[derive(Default)]
pub struct Bars {
    /// Page directory that BAR1 goes through; RM allocates it (static info `bar1PdeBase`).
    pub bar1: Option<Phys>,
    /// Page directory that BAR2 goes through; RM allocates it (static info `bar2PdeBase`).
    pub bar2: Option<Phys>,
    /// PRAMIN base register 0x001700: 23:0 address >> 16, 25:24 target.
    pub pramin: u32,
}

impl Bars {
    /// CPU read through a window. A fault reads as all ones and is a violation.
    pub fn read(&mut self, env: &mut Env, mmu: &mut Mmu, w: Window, off: u64, buf: &mut [u8]) {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = off.saturating_add(done as u64);
            let piece = self.piece(env, mmu, w, at, rest.len(), Access::Read);
            let part = rest.split_at_mut(piece.len.min(rest.len())).0;
            match piece.at {
                Place::Memory(phys) => fill(env, phys, part),
                Place::Sparse => part.fill(0),
                Place::Nowhere => part.fill(0xff),
            }
            done += part.len();
        }
    }

    /// CPU write through a window. A fault drops it and is a violation.
    pub fn write(&mut self, env: &mut Env, mmu: &mut Mmu, w: Window, off: u64, buf: &[u8]) {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|r| !r.is_empty()) {
            let at = off.saturating_add(done as u64);
            let piece = self.piece(env, mmu, w, at, rest.len(), Access::Write);
            let part = rest.split_at(piece.len.min(rest.len())).0;
            if let Place::Memory(phys) = piece.at {
                store(env, phys, part);
            }
            done += part.len();
        }
    }

    /// Finds the memory behind the start of an access.
    fn piece(
        &self,
        env: &mut Env,
        mmu: &mut Mmu,
        w: Window,
        off: u64,
        len: usize,
        access: Access,
    ) -> Piece {
        let root = match w {
            Window::Bar1 => self.bar1,
            Window::Bar2 => self.bar2,
        };
        if root.is_none() {
            return physical(env, w, Phys::vram(off), len, access);
        }
        let held = std::mem::take(&mut env.faults);
        mmu.privileged = true;
        let span = mmu.span(env, root, off, len as u64, access);
        mmu.privileged = false;
        env.faults = held;
        match span {
            Ok(span) => {
                Piece { at: span.phys.map_or(Place::Sparse, Place::Memory), len: span.len as usize }
            }
            Err(fault) => missing(env, w, fault, len),
        }
    }

    /// CPU read of PRAMIN (BAR0 0x700000..0x800000); `off` counts from 0x700000.
    pub fn pramin_read(&mut self, env: &mut Env, off: u64, buf: &mut [u8]) {
        match self.pramin_at(env, off, buf.len(), false) {
            Some(phys) => fill(env, phys, buf),
            None => buf.fill(0xff),
        }
    }

    /// CPU write to PRAMIN.
    pub fn pramin_write(&mut self, env: &mut Env, off: u64, buf: &[u8]) {
        if let Some(phys) = self.pramin_at(env, off, buf.len(), true) {
            store(env, phys, buf);
        }
    }

    /// The memory that PRAMIN shows at `off`.
    fn pramin_at(&self, env: &mut Env, off: u64, len: usize, write: bool) -> Option<Phys> {
        let aperture = match self.pramin >> 24 & 3 {
            0 => Some(Aperture::Vram),
            2 => Some(Aperture::SysCoherent),
            3 => Some(Aperture::SysNonCoherent),
            _ => None,
        };
        let base = u64::from(self.pramin & 0xff_ffff) << 16;
        let end = off.checked_add(len as u64);
        let phys = aperture
            .filter(|_| end.is_some_and(|end| end <= PRAMIN_SIZE))
            .map(|aperture| Phys { aperture, addr: base + off })
            .filter(|phys| env.mem.check_client(*phys, len, write).is_ok());
        if phys.is_none() {
            let text = format!("base {:#010x}, offset {off:#x}+{len:#x}", self.pramin);
            env.violation("pramin-range", text);
        }
        phys
    }
}

/// What is behind the start of an access.
enum Place {
    Memory(Phys),
    Sparse,
    Nowhere,
}

/// A part of an access that has one answer.
struct Piece {
    at: Place,
    len: usize,
}

/// A window in physical mode.
fn physical(env: &mut Env, w: Window, phys: Phys, len: usize, access: Access) -> Piece {
    if let Err(e) = env.mem.check_client(phys, len, access != Access::Read) {
        env.violation("bar-fault", format!("{w:?} in physical mode: {e}"));
        return Piece { at: Place::Nowhere, len };
    }
    Piece { at: Place::Memory(phys), len }
}

/// A faulting page; the next page gets its own chance.
fn missing(env: &mut Env, w: Window, fault: MmuFault, len: usize) -> Piece {
    let MmuFault { va, kind, access } = fault;
    env.violation("bar-fault", format!("{w:?} {access:?} at {va:#x}: {kind:?}"));
    let page = 0x1000 - (va & 0xfff) as usize;
    Piece { at: Place::Nowhere, len: len.min(page) }
}

/// Reads memory with the access size that the CPU used, where it is a natural one.
fn fill(env: &mut Env, phys: Phys, buf: &mut [u8]) {
    let read = match buf.len() {
        4 => env.mem.read_u32(phys).map(|v| buf.copy_from_slice(&v.to_le_bytes())),
        8 => env.mem.read_u64(phys).map(|v| buf.copy_from_slice(&v.to_le_bytes())),
        _ => env.mem.read(phys, buf),
    };
    if read.is_err() {
        buf.fill(0xff);
    }
}

/// Writes memory with the access size that the CPU used, where it is a natural one.
fn store(env: &mut Env, phys: Phys, buf: &[u8]) {
    let done = if let Ok(word) = <[u8; 4]>::try_from(buf) {
        env.mem.write_u32(phys, u32::from_le_bytes(word))
    } else if let Ok(word) = <[u8; 8]>::try_from(buf) {
        env.mem.write_u64(phys, u64::from_le_bytes(word))
    } else {
        env.mem.write(phys, buf)
    };
    // Checked before, and nothing on this thread can have taken the memory away since.
    let _ = done;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_physical_until_bound_and_then_translate() {
        let mut env = Env::new(4 << 20).unwrap();
        let (mut bars, mut mmu) = (Bars::default(), Mmu::default());
        let chain = [(0x1000, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000), (0x4008, 0x5000)];
        for (at, next) in chain {
            let pde = (next >> 4 | 2u64).to_le_bytes();
            bars.write(&mut env, &mut mmu, Window::Bar1, at, &pde);
        }
        let pte = 0x8000u64 >> 4 | 1 << 5 | 1;
        bars.write(&mut env, &mut mmu, Window::Bar1, 0x5008, &pte.to_le_bytes());
        bars.bar1 = Some(Phys::vram(0x1000));
        bars.write(&mut env, &mut mmu, Window::Bar1, 0x1002, &[0xab]);
        assert_eq!(env.mem.read_u32(Phys::vram(0x8000)), Ok(0xab_0000));
        assert_eq!(env.judge.count(), 0);
        let mut buf = [0; 8];
        bars.read(&mut env, &mut mmu, Window::Bar1, 0xffc, &mut buf);
        assert_eq!(buf, [0xff, 0xff, 0xff, 0xff, 0, 0, 0xab, 0]);
        assert!(env.judge.caught("bar-fault"));
        assert!(!env.judge.caught("tlb-stale"));
        // The page that faulted needs an invalidate once it is there.
        env.mem.write_u64(Phys::vram(0x5000), pte).unwrap();
        bars.read(&mut env, &mut mmu, Window::Bar1, 0, &mut buf);
        assert_eq!(buf, [0xff; 8]);
        assert!(env.judge.caught("tlb-stale"));
        mmu.invalidate(&mut env, bars.bar1);
        bars.read(&mut env, &mut mmu, Window::Bar1, 0, &mut buf);
        assert_eq!(buf, [0, 0, 0xab, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn pramin_shows_a_mebibyte_from_its_base() {
        let mut env = Env::new(4 << 20).unwrap();
        let mut bars = Bars { pramin: 0x12, ..Bars::default() };
        bars.pramin_write(&mut env, 0x34, &7u32.to_le_bytes());
        assert_eq!(env.mem.read_u32(Phys::vram(0x12_0034)), Ok(7));
        assert_eq!(env.judge.count(), 0);
        let mut buf = [0; 4];
        bars.pramin = 0x0200_0000;
        bars.pramin_read(&mut env, 0, &mut buf);
        assert_eq!(buf, [0xff; 4]);
        assert!(env.judge.caught("pramin-range"));
    }
}
