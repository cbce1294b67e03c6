// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One side of a transfer: a rectangle in pitch or block-linear memory.

use super::blocklinear::{BlockLinear, GOB, GOB_HEIGHT, GOB_WIDTH, in_gob};
use super::client::{Client, Space};
use crate::mmu::MmuFault;

/// How rows lie in memory.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// This many bytes from row to row.
    Pitch(i64),
    /// Block-linear, and where in the surface the rectangle starts (bytes, rows).
    Block(BlockLinear, u64, u64),
}

/// A rectangle.
#[derive(Debug, Clone, Copy)]
pub struct Surface {
    /// What addresses mean.
    pub space: Space,
    /// First byte of the rectangle (pitch), or of the surface (block-linear).
    pub base: u64,
    /// How rows lie.
    pub layout: Layout,
}

/// A part of a rectangle.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// First byte of each row.
    pub x: u64,
    /// First row.
    pub y: u64,
    /// Bytes in a row.
    pub width: usize,
}

/// A GOB's overlap with a part: where it starts in the part and in the GOB, and its size.
struct Tile {
    at: u64,
    part: (usize, usize),
    gob: (u64, u64),
    size: (usize, usize),
}

impl Surface {
    /// Reads a part, row after row, into `buf`.
    pub fn read(&self, c: &mut Client<'_, '_>, part: Part, buf: &mut [u8]) -> Result<(), MmuFault> {
        if part.width == 0 {
            return Ok(());
        }
        match self.layout {
            Layout::Pitch(pitch) => {
                for (at, row) in self.rows(pitch, part).zip(buf.chunks_mut(part.width)) {
                    c.read(self.space, at, row)?;
                }
            }
            Layout::Block(shape, x0, y0) => {
                let mut gob = [0; GOB];
                for t in self.tiles(shape, (x0, y0), part, buf.len() / part.width) {
                    c.read(self.space, t.at, &mut gob)?;
                    t.each_run(part.width, |bytes, from| {
                        if let (Some(to), Some(from)) = (buf.get_mut(bytes), gob.get(from)) {
                            to.copy_from_slice(from);
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes a part from `buf`.
    pub fn write(&self, c: &mut Client<'_, '_>, part: Part, buf: &[u8]) -> Result<(), MmuFault> {
        if part.width == 0 {
            return Ok(());
        }
        match self.layout {
            Layout::Pitch(pitch) => {
                for (at, row) in self.rows(pitch, part).zip(buf.chunks(part.width)) {
                    c.write(self.space, at, row)?;
                }
            }
            Layout::Block(shape, x0, y0) => {
                for t in self.tiles(shape, (x0, y0), part, buf.len() / part.width) {
                    self.write_tile(c, &t, part.width, buf)?;
                }
            }
        }
        Ok(())
    }

    fn write_tile(
        &self,
        c: &mut Client<'_, '_>,
        t: &Tile,
        width: usize,
        buf: &[u8],
    ) -> Result<(), MmuFault> {
        let mut gob = [0; GOB];
        let mut runs = Vec::new();
        t.each_run(width, |bytes, to| {
            if let (Some(out), Some(from)) = (gob.get_mut(to.clone()), buf.get(bytes)) {
                out.copy_from_slice(from);
                runs.push(to);
            }
        });
        if t.size == (GOB_WIDTH as usize, GOB_HEIGHT as usize) {
            return c.write(self.space, t.at, &gob);
        }
        for run in runs {
            let at = t.at.wrapping_add(run.start as u64);
            c.write(self.space, at, gob.get(run).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Addresses of a pitch part's rows.
    fn rows(&self, pitch: i64, part: Part) -> impl Iterator<Item = u64> + use<> {
        let base = self.base.wrapping_add(part.x);
        (0u64..).map(move |row| {
            base.wrapping_add((part.y.wrapping_add(row) as i64).wrapping_mul(pitch) as u64)
        })
    }

    /// The GOBs that a part of `rows` rows touches.
    fn tiles(
        &self,
        shape: BlockLinear,
        origin: (u64, u64),
        part: Part,
        rows: usize,
    ) -> impl Iterator<Item = Tile> + use<> {
        let base = self.base;
        let (x0, y0) = (origin.0.wrapping_add(part.x), origin.1.wrapping_add(part.y));
        spans(y0, rows, GOB_HEIGHT).flat_map(move |(py, gy, h)| {
            spans(x0, part.width, GOB_WIDTH).map(move |(px, gx, w)| Tile {
                at: base.wrapping_add(
                    shape.gob(x0.wrapping_add(px as u64), y0.wrapping_add(py as u64)),
                ),
                part: (px, py),
                gob: (gx, gy),
                size: (w, h),
            })
        })
    }
}

impl Tile {
    /// Calls `f` with (range in the part's buffer, range in the GOB) for runs of up to 16 bytes.
    fn each_run(
        &self,
        stride: usize,
        mut f: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>),
    ) {
        for row in 0..self.size.1 {
            for (px, _, len) in spans(self.gob.0, self.size.0, 16) {
                let at = (self.part.1 + row) * stride + self.part.0 + px;
                let to = in_gob(self.gob.0 + px as u64, self.gob.1 + row as u64);
                f(at..at + len, to..to + len);
            }
        }
    }
}

/// Cuts `len` from `start` at multiples of `unit`: (offset from start, offset in unit, length).
fn spans(start: u64, len: usize, unit: u64) -> impl Iterator<Item = (usize, u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = len.checked_sub(done).filter(|n| *n > 0)?;
        let within = start.wrapping_add(done as u64) % unit;
        let n = left.min((unit - within) as usize);
        let span = (done, within, n);
        done += n;
        Some(span)
    })
}
