// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fetching: GP_PUT from USERD, entries from the ring, words from their segments.
//!
//! A PBDMA reads ahead. Unless SYNC holds it, the start of the next segment is fetched while the
//! one before it is still being processed, and what was fetched is what is executed. A driver that
//! lets the GPU write a pushbuffer must say SYNC; without it, the old words are used here too, and
//! the difference is the violation `pushbuffer-prefetched`.

use super::ChannelSpec;
use super::error::Stop;
use super::gpfifo::{self, Entry};
use super::push::Decoder;
use super::userd::{self, Progress};
use crate::engine::client::{Client, Space};
use crate::env::trace::Kind;
use crate::mmu::MmuFault;

/// Words fetched at a time.
const FETCH_WORDS: u32 = 1024;

/// The ring and all segments lie in 40 bits.
const RING_LIMIT: u64 = 1 << 40;

/// The segment being processed.
#[derive(Debug, Default)]
struct Segment {
    /// Words that were fetched; those before `next` are done.
    words: Vec<u32>,
    next: usize,
    /// What is not fetched yet.
    va: u64,
    left: u32,
    subroutine: bool,
}

/// The start of a segment that was fetched ahead.
#[derive(Debug)]
struct Ahead {
    /// Its entry, by place in the ring and by value.
    index: u32,
    raw: u64,
    words: Result<Vec<u32>, MmuFault>,
}

/// What came of looking for more words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// There may be words now.
    Fetched,
    /// The ring is empty.
    Empty,
}

/// Fetch state of one channel.
#[derive(Debug, Default)]
pub struct Fetch {
    /// A doorbell was rung since GP_PUT was last read.
    pub pending: bool,
    /// How far the channel is.
    pub progress: Progress,
    gp_put: u32,
    segment: Segment,
    /// An entry is being processed; GP_GET moves on once it is done.
    in_entry: bool,
    ahead: Option<Ahead>,
}

impl Fetch {
    /// Takes the next word, if it was fetched.
    pub fn word(&mut self) -> Option<u32> {
        let s = &mut self.segment;
        let word = s.words.get(s.next).copied()?;
        s.next += 1;
        self.progress.get = self.progress.get.wrapping_add(4);
        if !s.subroutine {
            self.progress.top_level_get = self.progress.get;
        }
        Some(word)
    }

    /// END_PB_SEGMENT: the rest of the segment is dropped.
    pub fn end_segment(&mut self) {
        self.segment = Segment::default();
    }

    /// Fetches more words or the next entry.
    pub fn refill(
        &mut self,
        c: &mut Client<'_, '_>,
        spec: &ChannelSpec,
        decoder: &Decoder,
    ) -> Result<Refill, Stop> {
        if self.segment.left > 0 {
            self.fetch_words(c)?;
            return Ok(Refill::Fetched);
        }
        if std::mem::take(&mut self.in_entry) {
            self.progress.gp_get = (self.progress.gp_get + 1) % spec.entries;
        }
        if self.progress.gp_get == self.gp_put && !self.read_gp_put(c, spec)? {
            return Ok(Refill::Empty);
        }
        self.start_entry(c, spec, decoder)?;
        Ok(Refill::Fetched)
    }

    fn fetch_words(&mut self, c: &mut Client<'_, '_>) -> Result<(), Stop> {
        let s = &mut self.segment;
        let n = s.left.min(FETCH_WORDS);
        s.words = read_words(c, s.va, n).map_err(|f| Stop::fault("pushbuffer-fault", f))?;
        s.next = 0;
        s.va += u64::from(n) * 4;
        s.left -= n;
        Ok(())
    }

    /// Reads GP_PUT after a doorbell; false if there is nothing new.
    fn read_gp_put(&mut self, c: &mut Client<'_, '_>, spec: &ChannelSpec) -> Result<bool, Stop> {
        if !std::mem::take(&mut self.pending) {
            return Ok(false);
        }
        let put = userd::gp_put(&mut c.cx.env.mem, spec.userd).map_err(|e| {
            c.cx.env.unreached("userd-range", format_args!("channel {}", spec.chid), e);
            Stop::pbdma("PRI", format!("USERD: {e}"))
        })?;
        if put >= spec.entries {
            let text = format!("GP_PUT {put} in a ring of {}", spec.entries);
            c.cx.env.violation("gp-put-range", format!("channel {}: {text}", spec.chid));
            return Err(Stop::pbdma("GPPTR", text));
        }
        self.gp_put = put;
        Ok(put != self.progress.gp_get)
    }

    fn start_entry(
        &mut self,
        c: &mut Client<'_, '_>,
        spec: &ChannelSpec,
        decoder: &Decoder,
    ) -> Result<(), Stop> {
        let index = self.progress.gp_get;
        let ahead = self.ahead.take().filter(|a| a.index == index);
        let raw = match &ahead {
            Some(ahead) => ahead.raw,
            None => read_entry(c, spec, index)?,
        };
        self.in_entry = true;
        match gpfifo::decode(raw)
            .map_err(|bad| Stop::pbdma("GPENTRY", format!("entry {:#x}", bad.0)))?
        {
            Entry::Control => {}
            Entry::Segment { conditional: true, .. } if decoder.wants_data() => {
                let text = "a header's data in a conditional segment";
                return Err(Stop::pbdma("PBSEG", text));
            }
            Entry::Segment { conditional: true, .. } if !decoder.active() => {}
            Entry::Segment { va, words, subroutine, .. } => {
                self.start_segment(c, va, words, subroutine, ahead)?;
            }
        }
        self.fetch_ahead(c, spec)
    }

    fn start_segment(
        &mut self,
        c: &mut Client<'_, '_>,
        va: u64,
        words: u32,
        subroutine: bool,
        ahead: Option<Ahead>,
    ) -> Result<(), Stop> {
        let now = if c.cx.env.trace.is_on() { c.cx.env.clock.ns() } else { 0 };
        c.cx.env.trace.record(now, Kind::GpEntry, 0, c.chid, va, u64::from(words));
        self.segment = Segment { va, left: words, subroutine, ..Segment::default() };
        self.progress.get = va;
        self.progress.put = va + u64::from(words) * 4;
        let Some(ahead) = ahead else { return Ok(()) };
        let old = ahead.words.map_err(|f| Stop::fault("pushbuffer-fault", f))?;
        self.fetch_words(c)?;
        let changed = old.iter().zip(&self.segment.words).position(|(old, new)| old != new);
        if let Some(at) = changed {
            let va = va + 4 * at as u64;
            let text = format!("channel {}: {va:#x} changed after it was fetched", c.chid);
            c.cx.env.violation("pushbuffer-prefetched", text);
            self.segment.words = old;
        }
        Ok(())
    }

    /// Fetches the start of the segment after this one, unless SYNC holds it.
    fn fetch_ahead(&mut self, c: &mut Client<'_, '_>, spec: &ChannelSpec) -> Result<(), Stop> {
        let index = (self.progress.gp_get + 1) % spec.entries;
        if index == self.gp_put {
            return Ok(());
        }
        let raw = read_entry(c, spec, index)?;
        let Ok(Entry::Segment { va, words, conditional: false, sync: false, .. }) =
            gpfifo::decode(raw)
        else {
            // It will be looked at, and refused if it must be, when its turn comes.
            return Ok(());
        };
        let words = read_words(c, va, words.min(FETCH_WORDS));
        self.ahead = Some(Ahead { index, raw, words });
        Ok(())
    }
}

fn read_entry(c: &mut Client<'_, '_>, spec: &ChannelSpec, index: u32) -> Result<u64, Stop> {
    let size = u64::from(spec.entries) * gpfifo::ENTRY_BYTES;
    if spec.gpfifo.checked_add(size).is_none_or(|end| end > RING_LIMIT) {
        let text = format!("ring at {:#x} passes 40 bits", spec.gpfifo);
        return Err(Stop::pbdma("GPFIFO", text));
    }
    let mut raw = [0; 8];
    c.read(Space::Virtual, spec.gpfifo + u64::from(index) * gpfifo::ENTRY_BYTES, &mut raw)
        .map_err(|f| Stop::fault("gpfifo-fault", f))?;
    Ok(u64::from_le_bytes(raw))
}

fn read_words(c: &mut Client<'_, '_>, va: u64, n: u32) -> Result<Vec<u32>, MmuFault> {
    let mut bytes = vec![0; n as usize * 4];
    c.read(Space::Virtual, va, &mut bytes)?;
    let word = |b: &[u8]| u32::from_le_bytes(b.try_into().unwrap_or_default());
    Ok(bytes.chunks_exact(4).map(word).collect())
}
