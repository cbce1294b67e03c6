// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The instruction counter's file as samples, and what is counted in them.

use std::ops::Range;

/// Functions that allocate memory.
const ALLOCATORS: [&str; 4] = ["__kmalloc", "kmem_cache_alloc", "__vmalloc", "krealloc"];
/// Functions that give work to another thread.
const WORK: [&str; 2] = ["__queue_work", "kthread_queue_work"];
/// The timer's interrupt, which comes when it comes.
const TIMER: &str = "asm_sysvec_apic_timer_interrupt";
/// What interrupts end with.
const EXIT: &str = "irqentry_exit";
/// Interrupts of devices.
const INTERRUPT: &str = "asm_common_interrupt";

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The middle of a sample.
    Middle,
    /// A write to a device.
    Write(u64),
    /// A read.
    Read(u64),
    /// A function was entered.
    Call(String),
}

/// When: instructions executed and nanoseconds passed before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Instructions.
    pub count: u64,
    /// Nanoseconds of the host.
    pub ns: u64,
}

/// One sample.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The probe's number.
    pub id: u32,
    /// When it began.
    pub begin: Time,
    /// When it ended.
    pub end: Time,
    /// What happened in between.
    pub events: Vec<(Time, Event)>,
}

/// Reads a file of the counter.
pub fn parse(text: &str) -> Vec<Sample> {
    let (mut samples, mut open) = (Vec::new(), Sample::default());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [count, ns, kind, rest @ ..] = &words[..] else { continue };
        let time =
            Time { count: count.parse().unwrap_or_default(), ns: ns.parse().unwrap_or_default() };
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16);
        match (*kind, rest) {
            ("mark", [id, "0"]) => {
                let id = id.parse().unwrap_or_default();
                open = Sample { id, begin: time, ..Sample::default() };
            }
            ("mark", [_, "1"]) => open.events.push((time, Event::Middle)),
            ("mark", _) => {
                open.end = time;
                samples.push(std::mem::take(&mut open));
            }
            ("w", [at, ..]) => open.events.extend(hex(at).map(|at| (time, Event::Write(at)))),
            ("r", [at, ..]) => open.events.extend(hex(at).map(|at| (time, Event::Read(at)))),
            ("call", [name, ..]) => open.events.push((time, Event::Call((*name).to_owned()))),
            _ => {}
        }
    }
    samples
}

impl Sample {
    fn find(&self, want: impl Fn(&Event) -> bool) -> Option<Time> {
        self.events.iter().find(|(_, event)| want(event)).map(|(time, _)| *time)
    }

    /// When the address was first written to.
    pub fn written(&self, address: u64) -> Option<Time> {
        self.find(|event| *event == Event::Write(address))
    }

    /// The sample's first or second part.
    pub fn part(&self, second: bool) -> Self {
        let middle = self.find(|event| *event == Event::Middle).unwrap_or(self.end);
        if second { self.cut(middle, self.end) } else { self.cut(self.begin, middle) }
    }

    /// What lies between two times, both included.
    pub fn cut(&self, begin: Time, end: Time) -> Self {
        let within = |time: &Time| (begin.count..=end.count).contains(&time.count);
        let events = self.events.iter().filter(|(time, _)| within(time)).cloned().collect();
        Self { id: self.id, begin, end, events }
    }

    /// From the last interrupt in which the driver touched the registers.
    pub fn since_interrupt(&self, registers: &Range<u64>) -> Option<Self> {
        let touched = |event: &Event| match event {
            Event::Write(at) | Event::Read(at) => registers.contains(at),
            _ => false,
        };
        let last = self.events.iter().rposition(|(_, event)| touched(event))?;
        let call = |(_, event): &&(Time, Event)| *event == Event::Call(INTERRUPT.into());
        let (start, _) = self.events[..last].iter().rev().find(call)?;
        Some(self.cut(*start, self.end))
    }

    /// Instructions, without those of the timer's interrupts.
    pub fn instructions(&self) -> u64 {
        let all = self.end.count.saturating_sub(self.begin.count);
        all.saturating_sub(self.ticks())
    }

    /// Instructions of the timer's interrupts.
    fn ticks(&self) -> u64 {
        let (mut sum, mut entered) = (0, None);
        for (time, event) in &self.events {
            match event {
                Event::Call(name) if name == TIMER => entered = Some(time.count),
                Event::Call(name) if name == EXIT => {
                    sum += entered.take().map_or(0, |at| time.count.saturating_sub(at));
                }
                _ => {}
            }
        }
        sum
    }

    /// Nanoseconds of the host.
    pub fn ns(&self) -> u64 {
        self.end.ns.saturating_sub(self.begin.ns)
    }

    fn count(&self, want: impl Fn(&Event) -> bool) -> u64 {
        self.events.iter().filter(|(_, event)| want(event)).count() as u64
    }

    fn calls(&self, names: &[&str]) -> u64 {
        self.count(|e| matches!(e, Event::Call(c) if names.iter().any(|n| c.starts_with(n))))
    }

    /// Reads from devices.
    pub fn reads(&self) -> u64 {
        self.count(|event| matches!(event, Event::Read(_)))
    }

    /// Writes to devices.
    pub fn writes(&self) -> u64 {
        self.count(|event| matches!(event, Event::Write(_)))
    }

    /// Writes to an address.
    pub fn writes_to(&self, address: u64) -> u64 {
        self.count(|event| *event == Event::Write(address))
    }

    /// Allocations of memory.
    pub fn allocations(&self) -> u64 {
        self.calls(&ALLOCATORS)
    }

    /// Work items queued.
    pub fn work_items(&self) -> u64 {
        self.calls(&WORK)
    }

    /// Whether no interrupt of the timer, or of a device, came in between.
    pub fn is_undisturbed(&self) -> bool {
        self.calls(&[TIMER, INTERRUPT]) == 0
    }

    /// Whether no interrupt of the timer came in between.
    pub fn has_no_tick(&self) -> bool {
        self.calls(&[TIMER]) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "100 5 mark 1 0\n110 6 call __kmalloc_noprof\n120 7 w 0xfdbb0090 4\n\
        125 8 call __queue_work\n130 9 mark 1 1\n140 10 call asm_common_interrupt\n\
        150 11 r 0xfd000010 4\n160 12 mark 1 2\n200 13 mark 2 0\n";

    #[test]
    fn a_sample_is_what_lies_between_its_marks() {
        let samples = parse(TEXT);
        assert_eq!(samples.len(), 1);
        let sample = &samples[0];
        assert_eq!((sample.id, sample.instructions(), sample.ns()), (1, 60, 7));
        let doorbell = sample.written(0xfdbb_0090).unwrap();
        assert_eq!(doorbell.count, 120);
        let exec = sample.cut(sample.begin, doorbell);
        let counts = (exec.reads(), exec.writes(), exec.work_items(), exec.allocations());
        assert_eq!(counts, (0, 1, 0, 1));
        assert!(exec.is_undisturbed() && !sample.is_undisturbed() && sample.has_no_tick());
        assert_eq!(sample.part(false).instructions(), 30);
        assert_eq!((sample.part(true).reads(), sample.part(true).work_items()), (1, 0));
        let registers = 0xfd00_0000..0xfe00_0000;
        assert_eq!(sample.since_interrupt(&registers).unwrap().instructions(), 20);
        assert!(sample.since_interrupt(&(0..1)).is_none());
    }

    #[test]
    fn ticks_do_not_count() {
        let text = "0 0 mark 1 0\n10 0 call asm_sysvec_apic_timer_interrupt\n\
            40 0 call irqentry_exit\n50 0 call irqentry_exit\n60 0 mark 1 2\n";
        assert_eq!(parse(text)[0].instructions(), 30);
    }

    #[test]
    fn nonsense_is_skipped() {
        assert!(parse("x\n1 2\n1 2 w zz\n3 4 mark\n").iter().all(|s| s.events.is_empty()));
    }
}
