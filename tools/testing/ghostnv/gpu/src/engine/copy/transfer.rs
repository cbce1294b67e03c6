// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Moving the bytes of a launch, a bounded piece at a time.

use crate::engine::blocklinear::{GOB_HEIGHT, GOB_WIDTH};
use crate::engine::client::Client;
use crate::engine::remap::Remap;
use crate::engine::surface::{Layout, Part, Surface};
use crate::mmu::MmuFault;

/// Most bytes of either side in a piece.
const PIECE: usize = 64 << 10;

/// Most rows in a piece: each is an access of its own to either side, however short it is.
const MOST_ROWS: u32 = 1024;

/// Most bytes of a row when a side is block-linear: eight rows make a piece.
const BAND: usize = PIECE / GOB_HEIGHT as usize;

/// What a launch still has to move.
pub struct Transfer {
    /// None for a fill.
    src: Option<Surface>,
    dst: Surface,
    remap: Option<Remap>,
    /// Elements in a line, and lines.
    length: u32,
    lines: u32,
    /// First element that is not done, and its line.
    x: u32,
    y: u32,
    in_buf: Vec<u8>,
    out_buf: Vec<u8>,
    /// Bytes read so far.
    pub read: u64,
    /// Bytes written so far.
    pub written: u64,
}

impl Transfer {
    /// A transfer of `lines` lines of `length` elements (bytes without remap).
    pub fn new(
        src: Option<Surface>,
        dst: Surface,
        remap: Option<Remap>,
        length: u32,
        lines: u32,
    ) -> Self {
        let (in_buf, out_buf) = (Vec::new(), Vec::new());
        Self { src, dst, remap, length, lines, x: 0, y: 0, in_buf, out_buf, read: 0, written: 0 }
    }

    /// Whether everything is moved.
    pub fn done(&self) -> bool {
        self.y >= self.lines
    }

    /// Moves one piece; returns how many bytes that were.
    pub fn run(&mut self, c: &mut Client<'_, '_>) -> Result<u64, MmuFault> {
        let (src_el, dst_el) = self.element();
        let (columns, rows) = self.piece();
        let part = |element: usize| Part {
            x: u64::from(self.x) * element as u64,
            y: u64::from(self.y),
            width: columns as usize * element,
        };
        let (from, to) = (part(src_el), part(dst_el));
        let (in_len, out_len) = (from.width * rows as usize, to.width * rows as usize);
        let in_len = if self.src.is_some() { in_len } else { 0 };

        self.in_buf.resize(in_len, 0);
        if let Some(src) = &self.src {
            src.read(c, from, &mut self.in_buf)?;
        }
        match &self.remap {
            None => self.dst.write(c, to, &self.in_buf)?,
            Some(remap) => {
                // A fill's pattern is the same for every piece of one size.
                let keep = self.src.is_none() && remap.writes_all();
                if !keep || self.out_buf.len() != out_len {
                    self.out_buf.resize(out_len, 0);
                    if !remap.writes_all() {
                        // What a mask leaves out keeps its value, as in the hardware's
                        // read-modify-write.
                        self.dst.read(c, to, &mut self.out_buf)?;
                    }
                    remap.convert(&self.in_buf, &mut self.out_buf);
                }
                self.dst.write(c, to, &self.out_buf)?;
            }
        }
        self.advance(columns, rows);
        self.read += in_len as u64;
        self.written += out_len as u64;
        Ok((in_len + out_len) as u64)
    }

    fn element(&self) -> (usize, usize) {
        self.remap.map_or((1, 1), |r| (r.source_bytes(), r.dest_bytes()))
    }

    /// Columns (elements) and rows of the next piece.
    fn piece(&self) -> (u32, u32) {
        let (src_el, dst_el) = self.element();
        let widest = src_el.max(dst_el);
        let left = self.lines - self.y;
        let is_block = |s: &Surface| matches!(s.layout, Layout::Block(..));
        if !is_block(&self.dst) && !self.src.as_ref().is_some_and(is_block) {
            let most = (PIECE / widest) as u32;
            let columns = most.min(self.length - self.x);
            let rows = if self.length <= most { most / self.length } else { 1 };
            return (columns, rows.clamp(1, left.min(MOST_ROWS)));
        }
        let rows = GOB_HEIGHT - self.tiled_origin().1 % GOB_HEIGHT;
        let mut columns = ((BAND / widest) as u32).min(self.length - self.x);
        if self.x + columns < self.length {
            columns -= self.tail(columns, dst_el);
        }
        (columns, left.min(rows as u32))
    }

    /// Where the next piece starts on the destination, in bytes and rows of its tiling.
    fn tiled_origin(&self) -> (u64, u64) {
        let (x0, y0) = match self.dst.layout {
            Layout::Block(_, x, y) => (x, y),
            Layout::Pitch(_) => (0, 0),
        };
        (x0.wrapping_add(u64::from(self.x) * self.element().1 as u64), y0 + u64::from(self.y))
    }

    /// How many elements to leave for the next piece so that this one ends with a GOB.
    fn tail(&self, columns: u32, element: usize) -> u32 {
        let end = self.tiled_origin().0.wrapping_add(u64::from(columns) * element as u64);
        let over = end % GOB_WIDTH;
        let elements = (over / element as u64) as u32;
        if over % element as u64 == 0 && elements < columns { elements } else { 0 }
    }

    fn advance(&mut self, columns: u32, rows: u32) {
        self.x += columns;
        if self.x >= self.length {
            self.x = 0;
            self.y += rows;
        }
    }
}
