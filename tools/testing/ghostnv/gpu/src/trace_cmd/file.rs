// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reads a trace file record by record.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, ensure};

use super::Part;
use crate::env::trace::{Kind, MAGIC};

/// Longest text that is believed.
const MOST_TEXT: u64 = 1 << 20;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since power-on.
    pub time: u64,
    /// What it is about; None for a kind this program does not know.
    pub kind: Option<Kind>,
    /// Access size.
    pub size: u8,
    /// First operand.
    pub a: u32,
    /// Second operand.
    pub b: u64,
    /// Third operand.
    pub c: u64,
    /// Text that followed.
    pub text: String,
}

/// The records of a file, in order.
pub struct Records<R> {
    input: R,
}

/// Opens a trace.
pub fn open(path: &Path) -> anyhow::Result<Records<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("open trace {}", path.display()))?;
    Records::new(BufReader::with_capacity(1 << 20, file))
        .with_context(|| format!("trace {}", path.display()))
}

impl<R: Read> Records<R> {
    /// Checks the magic.
    pub fn new(mut input: R) -> anyhow::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).context("read the magic")?;
        ensure!(magic == MAGIC, "not a trace, or of another version");
        Ok(Self { input })
    }

    /// Reads the next record; None at the end, even if it is in the middle of a record.
    pub fn read_next(&mut self) -> anyhow::Result<Option<Record>> {
        let mut bytes = [0; 32];
        if !self.fill(&mut bytes)? {
            return Ok(None);
        }
        let word = |at: usize| {
            let mut w = [0; 8];
            for (to, from) in w.iter_mut().zip(bytes.iter().skip(at)) {
                *to = *from;
            }
            u64::from_le_bytes(w)
        };
        let mut record = Record {
            time: word(0),
            kind: Kind::from_u8(word(8) as u8),
            size: (word(8) >> 8) as u8,
            a: (word(8) >> 32) as u32,
            b: word(16),
            c: word(24),
            text: String::new(),
        };
        if record.kind == Some(Kind::Text) {
            ensure!(record.b <= MOST_TEXT, "a text of {} bytes: the trace is damaged", record.b);
            let mut text = vec![0; (record.b as usize).next_multiple_of(32)];
            if !self.fill(&mut text)? {
                return Ok(None);
            }
            text.truncate(record.b as usize);
            record.text = String::from_utf8_lossy(&text).escape_debug().to_string();
        }
        Ok(Some(record))
    }

    /// Fills a buffer; false at the end of the file.
    fn fill(&mut self, buf: &mut [u8]) -> anyhow::Result<bool> {
        match self.input.read_exact(buf) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e).context("read the trace"),
        }
    }
}

/// Follows the markers of one part of a trace.
pub struct Cursor {
    part: Part,
    inside: bool,
    over: bool,
}

impl Cursor {
    /// Before the first record.
    pub fn new(part: &Part) -> Self {
        Self { part: part.clone(), inside: part.from.is_none(), over: false }
    }

    /// Whether the record belongs to the part; both markers do.
    pub fn covers(&mut self, record: &Record) -> bool {
        let marker = (record.kind == Some(Kind::Marker)).then_some(record.a);
        if !self.inside {
            self.inside = !self.over && marker.is_some() && marker == self.part.from;
            return self.inside;
        }
        if marker.is_some() && marker == self.part.to {
            self.inside = false;
            self.over = true;
            return true;
        }
        true
    }

    /// Whether no later record belongs to the part.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the part began.
    pub fn began(&self) -> bool {
        self.inside || self.over
    }

    /// Fails if a marker that was asked for never came.
    pub fn finish(&self) -> anyhow::Result<()> {
        if let Some(from) = self.part.from.filter(|_| !self.began()) {
            anyhow::bail!("the trace has no marker {from}");
        }
        if let Some(to) = self.part.to.filter(|_| !self.over) {
            anyhow::bail!("the trace has no marker {to} after the start");
        }
        Ok(())
    }
}
