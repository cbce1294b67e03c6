// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inline-to-memory: class a140, and the same methods inside the 3D and compute classes.
//!
//! LAUNCH_DMA opens a transfer that LOAD_INLINE_DATA feeds; every row takes whole words. Anything
//! else sent to the class before the last word is what silicon reports as missing inline data.

use super::EngineError;
use super::blocklinear::{BlockLinear, GOB};
use super::client::{Client, Space};
use super::semaphore::{Reduction, Semaphore};
use super::surface::{Layout, Part, Surface};

/// OFFSET_OUT_UPPER's bits in a140.
pub const UPPER_A140: u32 = 0x01ff_ffff;
/// OFFSET_OUT_UPPER's bits in the 3D classes before Hopper.
pub const UPPER_3D: u32 = 0xff;
/// OFFSET_OUT_UPPER's bits in the compute classes before Hopper.
pub const UPPER_COMPUTE: u32 = 0x1_ffff;

const FIRST: u32 = 0x180;
const LAUNCH_DMA: u32 = 0x1b0;
const LOAD_INLINE_DATA: u32 = 0x1b4;
const LAST_STATE: u32 = 0x1ac;
const SET_SEMAPHORE_A: u32 = 0x1dc;
const SET_SEMAPHORE_C: u32 = 0x1e4;

/// Most bytes gathered before they are written.
const BATCH: usize = 4096;

/// An open transfer.
struct Open {
    surface: Surface,
    length: u32,
    lines: u32,
    /// Next byte of the row, and the row.
    x: u32,
    y: u32,
    /// Bytes of this row that are not written yet; they end at `x`.
    batch: Vec<u8>,
    word: u32,
}

/// The class's state of one channel.
pub struct I2m {
    words: [u32; 26],
    upper: u32,
    open: Option<Open>,
}

impl I2m {
    /// Zeroed state of a class whose OFFSET_OUT_UPPER has these bits.
    pub fn new(upper: u32) -> Self {
        Self { words: [0; 26], upper, open: None }
    }

    fn get(&self, method: u32) -> u32 {
        let index = (method.wrapping_sub(FIRST) / 4) as usize;
        self.words.get(index).copied().unwrap_or(0)
    }

    /// Takes a method; false if it is none of the class's.
    pub fn method(
        &mut self,
        c: &mut Client<'_, '_>,
        method: u32,
        data: u32,
    ) -> Result<bool, EngineError> {
        if method == LOAD_INLINE_DATA {
            self.load(c, data)?;
            return Ok(true);
        }
        if self.open.take().is_some() {
            let text = format!("method {method:#x} while inline data is missing");
            return Err(EngineError::Class(text));
        }
        match method {
            LAUNCH_DMA => self.launch(c, data)?,
            FIRST..=LAST_STATE | SET_SEMAPHORE_A..=SET_SEMAPHORE_C => {
                if let Some(word) = self.words.get_mut(((method - FIRST) / 4) as usize) {
                    *word = data;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn launch(&mut self, c: &mut Client<'_, '_>, word: u32) -> Result<(), EngineError> {
        let (length, lines) = (self.get(0x180), self.get(0x184));
        let base = u64::from(self.get(0x188) & self.upper) << 32 | u64::from(self.get(0x18c));
        if self.get(0x188) & !self.upper != 0 {
            let text = format!("OFFSET_OUT_UPPER {:#x}", self.get(0x188));
            return Err(EngineError::Class(text));
        }
        let layout = if word & 1 != 0 {
            Layout::Pitch(i64::from(self.get(0x190) as i32))
        } else {
            self.block(base, length, lines)?
        };
        if word & 2 != 0 && length % 4 != 0 {
            return Err(EngineError::Class("inline reduction of part of a word".into()));
        }
        let surface = Surface { space: Space::Virtual, base, layout };
        if length == 0 || lines == 0 {
            return self.finish(c, word);
        }
        let batch = Vec::new();
        self.open = Some(Open { surface, length, lines, x: 0, y: 0, batch, word });
        Ok(())
    }

    fn block(&self, base: u64, length: u32, lines: u32) -> Result<Layout, EngineError> {
        let size = self.get(0x194);
        let (bh, bd) = (size >> 4 & 0xf, size >> 8 & 0xf);
        let [width, height, depth, layer] = [0x198, 0x19c, 0x1a0, 0x1a4].map(|m| self.get(m));
        let (x, y) = (self.get(0x1a8) & 0x1f_ffff, self.get(0x1ac) & 0x1_ffff);
        let over = |origin: u32, n: u32, limit| origin.checked_add(n).is_none_or(|end| end > limit);
        let bad = if size & 0xf != 0 || bh > 5 || bd > 5 {
            "block size"
        } else if base % GOB as u64 != 0 {
            "alignment of a block-linear surface"
        } else if layer >= depth || over(x, length, width) || over(y, lines, height) {
            "rectangle leaves the surface"
        } else {
            let shape = BlockLinear {
                width: u64::from(width),
                height,
                block_height: bh,
                block_depth: bd,
                layer,
            };
            return Ok(Layout::Block(shape, u64::from(x), u64::from(y)));
        };
        Err(EngineError::Class(format!("inline transfer: {bad}")))
    }

    fn load(&mut self, c: &mut Client<'_, '_>, data: u32) -> Result<(), EngineError> {
        let Some(open) = &mut self.open else {
            c.cx.env.violation(
                "i2m-excess-data",
                format!("channel {}: inline data without a launch", c.chid),
            );
            return Ok(());
        };
        let n = (open.length - open.x).min(4);
        open.batch.extend(data.to_le_bytes().into_iter().take(n as usize));
        open.x += n;
        let row_done = open.x == open.length;
        if row_done || open.batch.len() >= BATCH {
            open.flush(c)?;
        }
        if row_done {
            open.x = 0;
            open.y += 1;
        }
        if open.y < open.lines {
            return Ok(());
        }
        let word = open.word;
        self.open = None;
        self.finish(c, word)
    }

    /// What LAUNCH_DMA asked for after the last word.
    fn finish(&self, c: &mut Client<'_, '_>, word: u32) -> Result<(), EngineError> {
        match word >> 4 & 3 {
            0 => {}
            1 => c.membar(),
            2 => {
                let va = u64::from(self.get(0x1dc) & 0x1ff_ffff) << 32 | u64::from(self.get(0x1e0));
                let payload = u64::from(self.get(0x1e4));
                let four_words = word >> 12 & 1 == 0;
                if va % [4, 16][usize::from(four_words)] != 0 {
                    return Err(EngineError::Class(format!("semaphore at {va:#x}")));
                }
                Semaphore { va, payload, wide: false }.release(c, four_words)?;
            }
            _ => return Err(EngineError::Class("COMPLETION_TYPE".into())),
        }
        if word >> 8 & 3 != 0 {
            c.interrupt(c.nonstall_vector);
        }
        Ok(())
    }
}

impl Open {
    /// Writes what was gathered.
    fn flush(&mut self, c: &mut Client<'_, '_>) -> Result<(), EngineError> {
        let width = self.batch.len();
        let x = u64::from(self.x).saturating_sub(width as u64);
        let part = Part { x, y: u64::from(self.y), width };
        if self.word & 2 != 0 {
            self.reduce(c, part)?;
        }
        self.surface.write(c, part, &self.batch)?;
        self.batch.clear();
        Ok(())
    }

    /// Replaces gathered words by their reduction with memory.
    fn reduce(&mut self, c: &mut Client<'_, '_>, part: Part) -> Result<(), EngineError> {
        let op = Reduction::from_graphics(self.word >> 13);
        let signed = self.word >> 2 & 3 == 1;
        let mut old = vec![0; part.width];
        self.surface.read(c, part, &mut old)?;
        for (new, old) in self.batch.chunks_exact_mut(4).zip(old.chunks_exact(4)) {
            let word = |b: &[u8]| b.try_into().map_or(0, |b| u64::from(u32::from_le_bytes(b)));
            let value = op.apply(signed, false, word(old), word(new)) as u32;
            new.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }
}
