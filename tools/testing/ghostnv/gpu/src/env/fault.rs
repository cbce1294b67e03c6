// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The fault plan: breaks on demand, from a script.
//!
//! A script is TOML with one `[[fault]]` table a fault; see [`Fault`] for the kinds. Each fault
//! fires on its `nth` match (1 by default) and then `count` times (1 by default).

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

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
        /// RPC function number.
        function: u32,
        /// For GSP_RM_CONTROL the control, for GSP_RM_ALLOC the class.
        selector: Option<u32>,
        /// What to do.
        action: RpcAction,
        /// Delay in milliseconds.
        #[serde(default)]
        ms: u64,
        /// RM status.
        #[serde(default)]
        status: u32,
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
    /// BAR0 reads all ones from the `nth` read on, `count` times.
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
    /// The card is pulled out `ms` after power-on, or at marker `marker`.
    Unplug {
        /// Milliseconds after power-on.
        ms: Option<u64>,
        /// Guest marker.
        marker: Option<u32>,
    },
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
    fault: Vec<Fault>,
}

/// What an RPC's reply should suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcFault {
    /// What to do.
    pub action: RpcAction,
    /// Delay in milliseconds.
    pub ms: u64,
    /// RM status.
    pub status: u32,
}

/// The faults still to come.
#[derive(Debug, Default)]
pub struct FaultPlan {
    faults: Vec<(Fault, u64)>,
    /// How many faults fired.
    pub fired: u64,
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
        Ok(Self { faults: script.fault.into_iter().map(|f| (f, 0)).collect(), fired: 0 })
    }

    /// Whether the script is empty.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Counts a match of the first fault that `pick` accepts and says whether it fires.
    fn hit<T>(&mut self, pick: impl Fn(&Fault) -> Option<(T, u64, u64)>) -> Option<T> {
        for (fault, seen) in &mut self.faults {
            let Some((value, nth, count)) = pick(fault) else { continue };
            *seen += 1;
            if *seen >= nth && *seen - nth < count {
                self.fired += 1;
                return Some(value);
            }
        }
        None
    }

    /// Fault for the reply to this RPC.
    pub fn rpc(&mut self, function: u32, selector: u32) -> Option<RpcFault> {
        self.hit(|f| match *f {
            Fault::Rpc { function: fun, selector: sel, action, ms, status, nth, count }
                if fun == function && sel.is_none_or(|s| s == selector) =>
            {
                Some((RpcFault { action, ms, status }, nth, count))
            }
            _ => None,
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

    /// Whether the card is pulled out now.
    pub fn unplug(&mut self, now_ns: u64, written: Option<u32>) -> bool {
        let due = |f: &Fault| match *f {
            Fault::Unplug { ms, marker } => {
                ms.is_some_and(|ms| now_ns / 1_000_000 >= ms)
                    || (marker.is_some() && marker == written)
            }
            _ => false,
        };
        let before = self.faults.len();
        self.faults.retain(|(f, _)| !due(f));
        let fired = self.faults.len() < before;
        self.fired += u64::from(fired);
        fired
    }
}
