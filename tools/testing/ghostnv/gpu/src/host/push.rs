// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pushbuffer words: headers, their data, and the subdevice mask.
//!
//! The decoder takes one word at a time, so a header's data may come from the next segment, and a
//! channel can be left anywhere.

/// A method for Host or an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Subchannel.
    pub subch: u8,
    /// Byte address.
    pub addr: u32,
    /// Data.
    pub data: u32,
}

/// What a word meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A header, a NOP, or a method that the subdevice mask hides.
    Nothing,
    /// A method.
    Method(Method),
    /// The rest of the segment is not executed.
    EndSegment,
}

/// The word is what the PBENTRY interrupt reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHeader(pub u32);

/// How the address changes from one data word to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advance {
    Never,
    Once,
    Always,
}

/// A header whose data is not complete.
#[derive(Debug, Clone, Copy)]
struct Open {
    advance: Advance,
    subch: u8,
    /// In words.
    addr: u32,
    left: u32,
}

/// Decoder state of one channel.
#[derive(Debug)]
pub struct Decoder {
    open: Option<Open>,
    /// Stored subdevice mask.
    stored: u32,
    /// Methods are executed.
    active: bool,
}

/// The channel's subdevice id: RM makes it all ones.
const SUBDEVICE_ID: u32 = 0xfff;

impl Default for Decoder {
    fn default() -> Self {
        Self { open: None, stored: 0, active: true }
    }
}

impl Decoder {
    /// Whether the subdevice status is active.
    pub fn active(&self) -> bool {
        self.active
    }

    /// Whether a header's data is not complete.
    pub fn wants_data(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a word.
    pub fn feed(&mut self, word: u32) -> Result<Item, BadHeader> {
        let Some(open) = &mut self.open else { return self.header(word) };
        let method = Method { subch: open.subch, addr: open.addr << 2, data: word };
        match open.advance {
            Advance::Never => {}
            Advance::Once => {
                open.addr = (open.addr + 1) & 0xfff;
                open.advance = Advance::Never;
            }
            Advance::Always => open.addr = (open.addr + 1) & 0xfff,
        }
        open.left = open.left.saturating_sub(1);
        if open.left == 0 {
            self.open = None;
        }
        Ok(self.visible(method))
    }

    fn visible(&self, method: Method) -> Item {
        if self.active { Item::Method(method) } else { Item::Nothing }
    }

    fn header(&mut self, word: u32) -> Result<Item, BadHeader> {
        let (addr, count) = (word & 0xfff, word >> 16 & 0x1fff);
        let subch = (word >> 13 & 7) as u8;
        let advance = match word >> 29 {
            0 => return self.control(word),
            1 => Advance::Always,
            3 => Advance::Never,
            4 => return Ok(self.visible(Method { subch, addr: addr << 2, data: count })),
            5 => Advance::Once,
            7 => return Ok(Item::EndSegment),
            _ => return Err(BadHeader(word)),
        };
        if count > 0 {
            self.open = Some(Open { advance, subch, addr, left: count });
        }
        Ok(Item::Nothing)
    }

    fn control(&mut self, word: u32) -> Result<Item, BadHeader> {
        let mask = word >> 4 & 0xfff;
        match word >> 16 & 3 {
            0 if word == 0 => {}
            1 => self.active = mask & SUBDEVICE_ID != 0,
            2 => self.stored = mask,
            3 => self.active = self.stored & SUBDEVICE_ID != 0,
            _ => return Err(BadHeader(word)),
        }
        Ok(Item::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Methods of a stream, as (subchannel, address, data).
    fn run(words: &[u32]) -> Result<Vec<(u8, u32, u32)>, BadHeader> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for word in words {
            match decoder.feed(*word)? {
                Item::Nothing => {}
                Item::Method(m) => out.push((m.subch, m.addr, m.data)),
                Item::EndSegment => break,
            }
        }
        Ok(out)
    }

    #[test]
    fn headers() {
        let cases: [(&[u32], Result<Vec<_>, BadHeader>); 11] = [
            (&[0x2002_8100, 7, 8], Ok(vec![(4, 0x400, 7), (4, 0x404, 8)])),
            (&[0x6002_2040, 7, 8], Ok(vec![(1, 0x100, 7), (1, 0x100, 8)])),
            (&[0xa003_2040, 7, 8, 9], Ok(vec![(1, 0x100, 7), (1, 0x104, 8), (1, 0x104, 9)])),
            (&[0x9fff_0040], Ok(vec![(0, 0x100, 0x1fff)])),
            (&[0, 0x2000_0040, 0x8001_0041], Ok(vec![(0, 0x104, 1)])),
            (&[0xe000_0000, 0x8001_0041], Ok(vec![])),
            (&[0x0001_0000, 0x8001_0041, 0x0001_0010, 0x8002_0041], Ok(vec![(0, 0x104, 2)])),
            (&[0x0002_0000, 0x0003_0000, 0x8001_0041], Ok(vec![])),
            (&[0x4000_0000], Err(BadHeader(0x4000_0000))),
            (&[0xc000_0000], Err(BadHeader(0xc000_0000))),
            (&[1], Err(BadHeader(1))),
        ];
        for (words, want) in cases {
            assert_eq!(run(words), want, "{words:x?}");
        }
    }
}
