// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The fault plan: breaks on demand, from a script.
//!
//! A script is TOML with one `[[fault]]` table a fault; see [`Fault`] for the kinds. Each fault
//! counts what it matches, and fires from its `nth` match (1 by default) on, `count` times (1 by
//! default). Any fault may name a `marker`: it then counts nothing until the guest has written that
//! marker. Where two fire at once, the first in the script wins.
//!
//! The guest may load a script of its own while it runs, which replaces the one it loaded before
//! (see [`crate::gpu::port`]); so one machine can go through thousands of faults.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// The event that tells a client what it asked to be told.
pub const POST_EVENT: u32 = 0x1003;

/// What to do to an RPC's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RpcAction {
    /// Never answer.
    Swallow,
    /// Answer after `ms`.
    Delay,
    /// Flip a bit of the checksum.
    Checksum,
    /// Wrong RPC length.
    Length,
    /// Wrong RPC signature.
    Signature,
    /// Answer with RM status `status`.
    Status,
    /// Overwrite the reply's payload with all ones.
    Garbage,
    /// Change the field of `width` bytes at `at` in the payload to `value`.
    Field,
    /// The same in the element's and the RPC's header, with a checksum that fits.
    Header,
    /// Make the payload as long as `value` says, in bytes.
    Resize,
    /// Publish `value` as the write pointer of the message ring.
    Pointer,
    /// For an event: hold it back until the next reply, to `selector` if there is one, and send it
    /// right behind that. One interrupt tells of both.
    Behind,
}

/// What becomes of a number that a driver reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absurd {
    /// Nothing, which most counts and lengths must not be.
    #[default]
    Zero,
    /// All ones.
    Max,
    /// The sign bit alone.
    Huge,
    /// One more than it is.
    PlusOne,
    /// One less than it is.
    MinusOne,
    /// As many as fit, twice over.
    Double,
}

impl Absurd {
    /// What becomes of `value`, a number of `width` bytes.
    pub fn of(self, value: u64, width: u8) -> u64 {
        let bits = u32::from(width.clamp(1, 8)) * 8;
        let max = u64::MAX >> (64 - bits);
        let new = match self {
            Self::Zero => 0,
            Self::Max => max,
            Self::Huge => 1 << (bits - 1),
            Self::PlusOne => value.wrapping_add(1),
            Self::MinusOne => value.wrapping_sub(1),
            Self::Double => value.wrapping_mul(2),
        };
        new & max
    }
}

/// Boot stages at which the firmware can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// GFW boot never completes.
    Gfw,
    /// FWSEC-FRTS reports an error.
    Fwsec,
    /// booter_load fails.
    Booter,
    /// The GSP's RISC-V core never becomes active.
    Riscv,
    /// GSP_INIT_DONE never comes.
    InitDone,
    /// The GSP never reads its command queue.
    Queue,
    /// booter_unload fails.
    BooterUnload,
}

/// One fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Spoils the reply to an RPC.
    Rpc {
        /// RPC function number; without one, any RPC. Swallowing all from the `nth` on is what a dead
        /// firmware looks like.
        function: Option<u32>,
        /// For GSP_RM_CONTROL the control, for GSP_RM_ALLOC the class. For an event what it is held
        /// back for.
        selector: Option<u32>,
        /// What to do.
        action: RpcAction,
        /// Delay in milliseconds.
        #[serde(default)]
        ms: u64,
        /// RM status.
        #[serde(default)]
        status: u32,
        /// Where a field is.
        #[serde(default)]
        at: usize,
        /// Its size in bytes: 1, 2, 4 or 8.
        #[serde(default = "word")]
        width: u8,
        /// What becomes of it.
        #[serde(default)]
        value: Absurd,
        /// Fires on this match.
        #[serde(default = "one")]
        nth: u64,
        /// Fires this often.
        #[serde(default = "one")]
        count: u64,
    },
    /// Boot stops at a stage.
    Boot {
        /// The stage.
        stage: Stage,
        /// Fires on this boot.
        #[serde(default = "one")]
        nth: u64,
        /// Fires this often.
        #[serde(default = "one")]
        count: u64,
    },
    /// BAR0 reads all ones from the `nth` read on, forever unless `count` says otherwise.
    AllOnes {
        /// First read.
        #[serde(default = "one")]
        nth: u64,
        /// Number of reads.
        #[serde(default = "forever")]
        count: u64,
    },
    /// MSIs are lost.
    DropMsi {
        /// First lost MSI.
        #[serde(default = "one")]
        nth: u64,
        /// How many.
        #[serde(default = "one")]
        count: u64,
    },
    /// Any engine access to this virtual page faults.
    MmuFault {
        /// Virtual address (a 4 KiB page).
        va: u64,
        /// Fires on this access.
        #[serde(default = "one")]
        nth: u64,
        /// Fires this often.
        #[serde(default = "one")]
        count: u64,
    },
    /// A channel whose job waits for a semaphore keeps its engine, as a shader without end does: no
    /// channel of its runlist has a turn until it is stopped, and for `ms` after that.
    Hog {
        /// Milliseconds that it takes to get the engine back.
        #[serde(default)]
        ms: u64,
        /// Fires on this turn of a channel that waits.
        #[serde(default = "one")]
        nth: u64,
        /// Fires this often.
        #[serde(default = "one")]
        count: u64,
    },
    /// A register of BAR0 reads as a value of the script's.
    Register {
        /// Its offset, a multiple of four.
        offset: u64,
        /// What a read of its four bytes gives.
        value: u32,
        /// Fires on this read.
        #[serde(default = "one")]
        nth: u64,
        /// Fires this often.
        #[serde(default = "forever")]
        count: u64,
    },
    /// The firmware sends an event that nothing called for.
    Event {
        /// The event's number.
        #[serde(default = "post_event")]
        event: u32,
        /// For POST_EVENT, the notify index: whoever asked for it gets it. Nobody did? Then it comes
        /// for a client and an event that do not exist.
        #[serde(default)]
        index: u32,
        /// For others, how the payload begins.
        #[serde(default)]
        words: Vec<u32>,
        /// Bytes of the payload at least.
        #[serde(default)]
        size: u16,
        /// Not before the firmware has had this many requests.
        #[serde(default)]
        after: u64,
        /// Sent this often.
        #[serde(default = "one")]
        count: u64,
    },
    /// The card is pulled out.
    Unplug {
        /// Not before this many milliseconds after power-on.
        #[serde(default)]
        ms: u64,
        /// It is back, without power in between, after this many milliseconds; 0: never.
        #[serde(default)]
        back: u64,
    },
}

fn post_event() -> u32 {
    POST_EVENT
}

fn word() -> u8 {
    4
}

fn one() -> u64 {
    1
}

fn forever() -> u64 {
    u64::MAX
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    #[serde(default)]
    fault: Vec<toml::Table>,
}

/// A fault and how far it has come.
#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// Counts nothing until this marker is written.
    marker: Option<u32>,
    /// Matches so far.
    seen: u64,
    /// How often it fired.
    fired: u64,
}

impl Planned {
    fn new(mut table: toml::Table) -> anyhow::Result<Self> {
        let marker = table.remove("marker").map(toml::Value::try_into).transpose()?;
        let fault = toml::Value::Table(table).try_into()?;
        Ok(Self { fault, marker, seen: 0, fired: 0 })
    }
}

/// What an RPC's reply should suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcFault {
    /// What to do.
    pub action: RpcAction,
    /// The control or class.
    pub selector: Option<u32>,
    /// Delay in milliseconds.
    pub ms: u64,
    /// RM status.
    pub status: u32,
    /// Where the field is.
    pub at: usize,
    /// Its size in bytes.
    pub width: u8,
    /// What becomes of it.
    pub value: Absurd,
}

/// An event that nothing called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// Its number.
    pub event: u32,
    /// Notify index of a POST_EVENT.
    pub index: u32,
    /// Payload of another.
    pub payload: Vec<u8>,
}

/// The faults of a run.
#[derive(Debug, Default)]
pub struct FaultPlan {
    /// First those of the script, then those that the guest has loaded.
    faults: Vec<Planned>,
    /// How many are the script's.
    scripted: usize,
}

impl FaultPlan {
    /// Reads a script.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read fault script {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("fault script {}", path.display()))
    }

    /// Parses a script.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let script: Script = toml::from_str(text)?;
        let faults: Vec<Planned> =
            script.fault.into_iter().map(Planned::new).collect::<anyhow::Result<_>>()?;
        Ok(Self { scripted: faults.len(), faults })
    }

    /// Replaces what the guest has loaded before by this script; returns its number of faults.
    pub fn replace(&mut self, text: &str) -> anyhow::Result<usize> {
        self.faults.truncate(self.scripted);
        let mut loaded = Self::parse(text)?.faults;
        let count = loaded.len();
        self.faults.append(&mut loaded);
        Ok(count)
    }

    /// How often the faults fired that the guest has loaded last.
    pub fn loaded_fired(&self) -> u64 {
        self.faults.iter().skip(self.scripted).map(|f| f.fired).sum()
    }

    /// Whether the script is empty.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// How often each fault of the script fired.
    pub fn fired(&self) -> Vec<u64> {
        self.faults.iter().take(self.scripted).map(|f| f.fired).collect()
    }

    /// How many faults fired.
    pub fn total_fired(&self) -> u64 {
        self.faults.iter().map(|f| f.fired).sum()
    }

    /// The guest wrote a marker: faults that waited for it count from here on.
    pub fn marker(&mut self, written: u32) {
        for planned in self.faults.iter_mut().filter(|f| f.marker == Some(written)) {
            planned.marker = None;
        }
    }

    /// Counts a match of every fault that `pick` accepts; the first whose turn it is fires.
    fn hit<T>(&mut self, pick: impl Fn(&Fault) -> Option<(T, u64, u64)>) -> Option<T> {
        let mut fires = None;
        for planned in self.faults.iter_mut().filter(|f| f.marker.is_none()) {
            let Some((value, nth, count)) = pick(&planned.fault) else { continue };
            planned.seen += 1;
            let turn = planned.seen.checked_sub(nth.max(1)).is_some_and(|past| past < count);
            if turn && fires.is_none() {
                planned.fired += 1;
                fires = Some(value);
            }
        }
        fires
    }

    /// Fault for the reply to this RPC.
    pub fn rpc(&mut self, function: u32, selector: u32) -> Option<RpcFault> {
        self.message(|fun, sel| {
            fun.is_none_or(|f| f == function) && sel.is_none_or(|s| s == selector)
        })
    }

    /// Fault for an event, which only faults that name it are for: others are for replies.
    pub fn event(&mut self, event: u32) -> Option<RpcFault> {
        self.message(|fun, _| fun == Some(event))
    }

    /// Counts a message for the faults whose function and selector are such.
    fn message(&mut self, is: impl Fn(Option<u32>, Option<u32>) -> bool) -> Option<RpcFault> {
        self.hit(|f| match *f {
            Fault::Rpc { function, selector, action, ms, status, at, width, value, nth, count }
                if is(function, selector) =>
            {
                Some((RpcFault { action, selector, ms, status, at, width, value }, nth, count))
            }
            _ => None,
        })
    }

    /// The firmware has had a request: events wait for a number of them.
    pub fn requested(&mut self) {
        for planned in self.faults.iter_mut().filter(|f| f.marker.is_none()) {
            planned.seen += u64::from(matches!(planned.fault, Fault::Event { .. }));
        }
    }

    /// An event that is to be sent now.
    pub fn unasked(&mut self) -> Option<Unasked> {
        self.faults.iter_mut().filter(|f| f.marker.is_none()).find_map(|planned| {
            let Fault::Event { event, index, words, size, after, count } = &planned.fault else {
                return None;
            };
            if planned.seen < *after || planned.fired >= *count {
                return None;
            }
            planned.fired += 1;
            let mut payload: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            payload.resize(payload.len().max(usize::from(*size)), 0);
            Some(Unasked { event: *event, index: *index, payload })
        })
    }

    /// Whether boot stops at this stage.
    pub fn boot(&mut self, at: Stage) -> bool {
        self.hit(|f| match *f {
            Fault::Boot { stage, nth, count } if stage == at => Some(((), nth, count)),
            _ => None,
        })
        .is_some()
    }

    /// Whether this BAR0 read returns all ones.
    pub fn all_ones(&mut self) -> bool {
        self.hit(|f| match *f {
            Fault::AllOnes { nth, count } => Some(((), nth, count)),
            _ => None,
        })
        .is_some()
    }

    /// Whether this MSI is lost.
    pub fn drop_msi(&mut self) -> bool {
        self.hit(|f| match *f {
            Fault::DropMsi { nth, count } => Some(((), nth, count)),
            _ => None,
        })
        .is_some()
    }

    /// Whether an engine access to this virtual address faults.
    pub fn mmu(&mut self, at: u64) -> bool {
        self.hit(|f| match *f {
            Fault::MmuFault { va, nth, count } if va >> 12 == at >> 12 => Some(((), nth, count)),
            _ => None,
        })
        .is_some()
    }

    /// Whether a channel that waits for a semaphore keeps its engine from now on, and for how many
    /// milliseconds after it was stopped.
    pub fn hog(&mut self) -> Option<u64> {
        self.hit(|f| match *f {
            Fault::Hog { ms, nth, count } => Some((ms, nth, count)),
            _ => None,
        })
    }

    /// What a read of this register gives instead of what is in it.
    pub fn register(&mut self, at: u64) -> Option<u32> {
        self.hit(|f| match *f {
            Fault::Register { offset, value, nth, count } if offset == at => {
                Some((value, nth, count))
            }
            _ => None,
        })
    }

    /// Whether the card is pulled out now, and for how many milliseconds; 0: for good.
    pub fn unplug(&mut self, now_ns: u64) -> Option<u64> {
        self.hit(|f| match *f {
            Fault::Unplug { ms, back } if now_ns / 1_000_000 >= ms => Some((back, 1, 1)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of six tries fire.
    fn fires(script: &str, mut ask: impl FnMut(&mut FaultPlan) -> bool) -> [u8; 6] {
        let mut plan = FaultPlan::parse(script).unwrap();
        let got = [(); 6].map(|()| u8::from(ask(&mut plan)));
        assert_eq!(plan.total_fired(), got.iter().map(|n| u64::from(*n)).sum::<u64>());
        got
    }

    #[test]
    fn each_kind_fires_when_it_should() {
        type Ask = fn(&mut FaultPlan) -> bool;
        let cases: [(&str, Ask, [u8; 6]); 14] = [
            ("kind='drop-msi'", |p| p.drop_msi(), [1, 0, 0, 0, 0, 0]),
            ("kind='drop-msi'\nnth=2\ncount=3", |p| p.drop_msi(), [0, 1, 1, 1, 0, 0]),
            ("kind='drop-msi'\nnth=0", |p| p.drop_msi(), [1, 0, 0, 0, 0, 0]),
            ("kind='all-ones'\nnth=3", |p| p.all_ones(), [0, 0, 1, 1, 1, 1]),
            ("kind='boot'\nstage='fwsec'", |p| p.boot(Stage::Fwsec), [1, 0, 0, 0, 0, 0]),
            ("kind='boot'\nstage='fwsec'", |p| p.boot(Stage::Gfw), [0; 6]),
            ("kind='mmu-fault'\nva=0x1000\nnth=2", |p| p.mmu(0x1fff), [0, 1, 0, 0, 0, 0]),
            ("kind='mmu-fault'\nva=0x1000", |p| p.mmu(0x2000), [0; 6]),
            ("kind='hog'\nms=5\nnth=2", |p| p.hog() == Some(5), [0, 1, 0, 0, 0, 0]),
            (
                "kind='register'\noffset=4\nvalue=7\nnth=2\ncount=3",
                |p| p.register(4) == Some(7),
                [0, 1, 1, 1, 0, 0],
            ),
            ("kind='register'\noffset=4\nvalue=7", |p| p.register(8).is_some(), [0; 6]),
            (
                "kind='rpc'\nfunction=76\nselector=5\naction='swallow'",
                |p| p.rpc(76, 6).is_some() || p.rpc(76, 5).is_some(),
                [1, 0, 0, 0, 0, 0],
            ),
            (
                "kind='rpc'\naction='swallow'\nnth=3\ncount=100",
                |p| p.rpc(10, 0).is_some(),
                [0, 0, 1, 1, 1, 1],
            ),
            (
                "kind='drop-msi'\n[[fault]]\nkind='drop-msi'\nnth=3",
                |p| p.drop_msi(),
                [1, 0, 1, 0, 0, 0],
            ),
        ];
        for (script, ask, want) in cases {
            let script = format!("[[fault]]\n{script}");
            assert_eq!(fires(&script, ask), want, "{script}");
        }
    }

    #[test]
    fn an_rpc_fault_carries_its_parameters() {
        let mut plan = FaultPlan::parse(
            "[[fault]]\nkind='rpc'\nfunction=103\naction='status'\nstatus=0x51\nms=7",
        )
        .unwrap();
        let got = plan.rpc(103, 0).unwrap();
        assert_eq!((got.action, got.ms, got.status), (RpcAction::Status, 7, 0x51));
    }

    #[test]
    fn an_event_waits_for_its_requests_and_marker() {
        let mut plan = FaultPlan::parse(
            "[[fault]]\nkind='event'\nafter=2\ncount=2\nindex=7\n[[fault]]\nkind='event'\n\
             event=0x1006\nwords=[31]\nsize=8\nmarker=3",
        )
        .unwrap();
        let mut got = Vec::new();
        for step in 0..5 {
            if step == 4 {
                plan.marker(3);
            }
            got.push(std::iter::from_fn(|| plan.unasked()).map(|e| e.event).collect::<Vec<_>>());
            plan.requested();
        }
        assert_eq!(got, [vec![], vec![], vec![0x1003, 0x1003], vec![], vec![0x1006]]);
        assert_eq!(plan.fired(), [2, 1]);
        let mut plan = FaultPlan::parse("[[fault]]\nkind='event'\nwords=[1]\nsize=6").unwrap();
        assert_eq!(plan.unasked().map(|e| e.payload), Some(vec![1, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn absurd_numbers_stay_in_their_width() {
        for (absurd, width, value, want) in [
            (Absurd::Zero, 4, 7, 0),
            (Absurd::Max, 1, 7, 0xff),
            (Absurd::Max, 8, 7, u64::MAX),
            (Absurd::Huge, 4, 7, 0x8000_0000),
            (Absurd::PlusOne, 2, 0xffff, 0),
            (Absurd::MinusOne, 4, 0, 0xffff_ffff),
            (Absurd::Double, 4, 0xc000_0000, 0x8000_0000),
        ] {
            assert_eq!(absurd.of(value, width), want, "{absurd:?} of {value:#x}");
        }
    }

    #[test]
    fn events_are_for_faults_that_name_them() {
        let mut plan = FaultPlan::parse(
            "[[fault]]\nkind='rpc'\naction='swallow'\n[[fault]]\nkind='rpc'\nfunction=0x1004\n\
             action='field'\nat=4\nvalue='max'",
        )
        .unwrap();
        assert!(plan.event(0x1001).is_none());
        let got = plan.event(0x1004).unwrap();
        assert_eq!((got.at, got.width, got.value), (4, 4, Absurd::Max));
        assert_eq!(plan.fired(), [0, 1]);
    }

    #[test]
    fn the_guest_replaces_its_own_script_alone() {
        let mut plan = FaultPlan::parse("[[fault]]\nkind='drop-msi'\nnth=9").unwrap();
        assert_eq!(plan.replace("[[fault]]\nkind='drop-msi'\ncount=2").unwrap(), 1);
        assert!(plan.drop_msi() && plan.drop_msi() && !plan.drop_msi());
        assert_eq!((plan.loaded_fired(), plan.fired()), (2, vec![0]));
        assert_eq!(plan.replace("").unwrap(), 0);
        assert!(plan.replace("nonsense").is_err());
        assert!(!plan.drop_msi());
    }

    #[test]
    fn the_card_is_pulled_once() {
        let script = "[[fault]]\nkind='unplug'\nms=5\n[[fault]]\nkind='unplug'\nmarker=7\nback=30";
        let mut plan = FaultPlan::parse(script).unwrap();
        assert_eq!(plan.unplug(4_999_999), None);
        plan.marker(6);
        assert_eq!(plan.unplug(0), None);
        plan.marker(7);
        let got = [0, 5_000_000, 9_000_000].map(|now| plan.unplug(now));
        assert_eq!(got, [Some(30), Some(0), None]);
        assert_eq!(plan.fired(), [1, 1]);
    }

    #[test]
    fn a_marker_arms() {
        let script = "[[fault]]\nkind='drop-msi'\nmarker=3\nnth=2\n[[fault]]\nkind='all-ones'";
        let mut plan = FaultPlan::parse(script).unwrap();
        let before = [plan.drop_msi(), plan.drop_msi()];
        plan.marker(3);
        let after = [plan.drop_msi(), plan.drop_msi(), plan.drop_msi()];
        assert_eq!((before, after), ([false; 2], [false, true, false]));
        assert_eq!(plan.fired(), [1, 0]);
    }

    #[test]
    fn misspelt_scripts_are_refused() {
        for script in [
            "kind='drop-msi'\nnht=2",
            "kind='drop-msi'\nmarker='x'",
            "kind='boot'\nstage='bios'",
            "kind='rpc'",
            "ms=1",
        ] {
            assert!(FaultPlan::parse(&format!("[[fault]]\n{script}")).is_err(), "{script}");
        }
    }
}
