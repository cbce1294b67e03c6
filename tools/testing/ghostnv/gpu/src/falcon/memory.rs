// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A falcon's code memory (IMEM), data memory (DMEM) and the PIO ports into them.
//!
//! IMEM is a tagged memory: each 256-byte block carries the virtual block number that code fetches
//! find it by, and whether it is secure. Where a block lies physically does not matter to the code.

use crate::env::Env;

/// Bytes of a block, the unit of tags and of DMA.
pub const BLOCK: usize = 256;
/// Blocks of either memory.
pub(super) const BLOCKS: usize = 256;
/// Bytes of either memory.
const SIZE: usize = BLOCK * BLOCKS;

/// What IMEM knows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Virtual block number.
    pub tag: u16,
    /// Loaded as secure code.
    pub secure: bool,
}

/// One PIO port: IMEMC or DMEMC, and IMEMT.
#[derive(Debug, Default, Clone, Copy)]
struct Port {
    control: u32,
    tag: u16,
}

impl Port {
    const INC_WRITE: u32 = 1 << 24;
    const INC_READ: u32 = 1 << 25;
    const SECURE: u32 = 1 << 28;

    /// Byte offset of the next access; advances if the flag says so.
    fn next(&mut self, increment: u32) -> usize {
        let at = self.control & 0xfffc;
        if self.control & increment != 0 {
            self.control = self.control & !0xffff | (at + 4) & 0xffff;
        }
        at as usize
    }
}

/// IMEM, DMEM and their ports.
pub struct Memory {
    imem: Vec<u8>,
    dmem: Vec<u8>,
    tags: Vec<Option<Tag>>,
    imem_ports: [Port; 4],
    dmem_ports: [Port; 8],
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            imem: vec![0; SIZE],
            dmem: vec![0; SIZE],
            tags: vec![None; BLOCKS],
            imem_ports: [Port::default(); 4],
            dmem_ports: [Port::default(); 8],
        }
    }
}

impl Memory {
    /// Whether any code was loaded.
    pub fn has_code(&self) -> bool {
        self.tags.iter().any(Option::is_some)
    }

    /// The physical block that a code fetch from a virtual address finds.
    pub fn lookup(&self, addr: u32) -> Option<(usize, Tag)> {
        let find = |tag: &Option<Tag>| tag.is_some_and(|t| u32::from(t.tag) == addr >> 8);
        let block = self.tags.iter().position(find)?;
        self.tags[block].map(|tag| (block, tag))
    }

    /// `len` bytes of code from a virtual address on; None if any block is not loaded, or not
    /// secure when it must be.
    pub fn code(&self, addr: u32, len: usize, secure: bool) -> Option<Vec<u8>> {
        let mut code = Vec::with_capacity(len.min(SIZE));
        while code.len() < len {
            let at = addr.checked_add(u32::try_from(code.len()).ok()?)?;
            let (block, tag) = self.lookup(at)?;
            if tag.secure != secure {
                return None;
            }
            let bytes = self.imem.get(block * BLOCK..(block + 1) * BLOCK)?;
            let bytes = &bytes[at as usize % BLOCK..];
            code.extend_from_slice(&bytes[..bytes.len().min(len - code.len())]);
        }
        Some(code)
    }

    /// Data memory.
    pub fn data(&self, at: u32, len: usize) -> Option<&[u8]> {
        let at = at as usize;
        self.dmem.get(at..at.checked_add(len)?)
    }

    /// A 32-bit word of data memory.
    pub fn data_u32(&self, at: u32) -> Option<u32> {
        let bytes = self.data(at, 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Stores data; false if it does not fit.
    #[must_use]
    pub fn load_data(&mut self, at: u32, bytes: &[u8]) -> bool {
        let at = at as usize;
        let Some(to) = at.checked_add(bytes.len()).and_then(|end| self.dmem.get_mut(at..end))
        else {
            return false;
        };
        to.copy_from_slice(bytes);
        true
    }

    /// Stores code at a physical offset and tags its blocks from virtual address `addr` on; false
    /// if it does not fit.
    #[must_use]
    pub fn load_code(&mut self, at: u32, addr: u32, secure: bool, bytes: &[u8]) -> bool {
        let at = at as usize;
        let Some(to) = at.checked_add(bytes.len()).and_then(|end| self.imem.get_mut(at..end))
        else {
            return false;
        };
        to.copy_from_slice(bytes);
        let first = at / BLOCK;
        for (n, block) in (first..(at + bytes.len()).div_ceil(BLOCK)).enumerate() {
            let tag = ((addr >> 8) as usize + n) as u16;
            self.tags[block] = Some(Tag { tag, secure });
        }
        true
    }

    /// Reads IMEMC/IMEMD/IMEMT (0x180 + 16 n) or DMEMC/DMEMD (0x1c0 + 8 n).
    pub(super) fn pio_read(&mut self, off: u32) -> Option<u32> {
        let (port, reg) = port(off)?;
        if off < 0x1c0 {
            let p = &mut self.imem_ports[port];
            return Some(match reg {
                0 => p.control,
                4 => {
                    let at = p.next(Port::INC_READ);
                    // Secure code cannot be read back.
                    match self.tags[at / BLOCK] {
                        Some(Tag { secure: true, .. }) => 0xdead_5ec1,
                        _ => word(&self.imem, at),
                    }
                }
                _ => p.tag.into(),
            });
        }
        let p = &mut self.dmem_ports[port];
        Some(if reg == 0 { p.control } else { word(&self.dmem, p.next(Port::INC_READ)) })
    }

    /// Writes a port register.
    pub(super) fn pio_write(&mut self, env: &mut Env, off: u32, value: u32) {
        let Some((port, reg)) = port(off) else {
            env.judge.note(format!("write of unknown falcon register {off:#x}"));
            return;
        };
        if off < 0x1c0 {
            let p = &mut self.imem_ports[port];
            match reg {
                0 => p.control = value,
                4 => {
                    let at = p.next(Port::INC_WRITE);
                    let tag = Tag { tag: p.tag, secure: p.control & Port::SECURE != 0 };
                    self.imem[at..at + 4].copy_from_slice(&value.to_le_bytes());
                    self.tags[at / BLOCK] = Some(tag);
                }
                _ => p.tag = value as u16,
            }
            return;
        }
        let p = &mut self.dmem_ports[port];
        if reg == 0 {
            p.control = value;
        } else {
            let at = p.next(Port::INC_WRITE);
            self.dmem[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// The port and the register within it that an offset names.
fn port(off: u32) -> Option<(usize, u32)> {
    match off {
        0x180..0x1c0 => Some(((off - 0x180) / 16, off % 16)).filter(|(_, reg)| *reg <= 8),
        0x1c0..0x200 => Some(((off - 0x1c0) / 8, off % 8)),
        _ => None,
    }
    .filter(|(_, reg)| reg % 4 == 0)
    .map(|(port, reg)| (port as usize, reg))
}

/// A word of a memory; `at` is aligned and 16 bits wide, as ports produce it.
fn word(memory: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&memory[at..at + 4]);
    u32::from_le_bytes(bytes)
}
