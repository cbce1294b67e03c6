// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Why a channel stops: PBDMA interrupts, MMU faults and engine errors.

use crate::chip::EngineKind;
use crate::engine::EngineError;
use crate::mmu::MmuFault;

/// ROBUST_CHANNEL numbers (`nverror.h`).
mod rc {
    pub const MMU_FAULT: u32 = 31;
    pub const PBDMA: u32 = 32;
    pub const CE0: u32 = 39;
    pub const GR_CLASS: u32 = 69;
    pub const CE3: u32 = 70;
}

/// A channel's end.
#[derive(Debug, Clone)]
pub struct Stop {
    /// ROBUST_CHANNEL error number.
    pub except: u32,
    /// Rule for the judge.
    pub rule: &'static str,
    /// The fault, if it was one.
    pub fault: Option<MmuFault>,
    /// What happened.
    pub text: String,
}

impl Stop {
    /// A PBDMA interrupt, by its name in the manual.
    pub fn pbdma(interrupt: &str, text: impl std::fmt::Display) -> Self {
        Self {
            except: rc::PBDMA,
            rule: "pbdma-error",
            fault: None,
            text: format!("PBDMA {interrupt}: {text}"),
        }
    }

    /// A fault of Host's own accesses: `rule` says to what.
    pub fn fault(rule: &'static str, fault: MmuFault) -> Self {
        let text = format!("{rule}: {:?} at {:#x} ({:?})", fault.kind, fault.va, fault.access);
        Self { except: rc::MMU_FAULT, rule, fault: Some(fault), text }
    }

    /// An engine's error; `copy` is the copy engine that the channel reaches.
    pub fn engine(error: EngineError, copy: Option<EngineKind>) -> Self {
        let text = error.to_string();
        let stop = |except, rule| Self { except, rule, fault: None, text };
        match error {
            EngineError::Mmu(fault) => Self::fault("engine-fault", fault),
            EngineError::Launch(..) => stop(copy_error(copy), "copy-launch"),
            EngineError::FrontEnd(_) => stop(rc::PBDMA, "copy-method"),
            EngineError::Class(_) => stop(rc::GR_CLASS, "class-error"),
        }
    }
}

/// Copy engines 0 to 2 have error numbers apart from those of 3 and later.
fn copy_error(engine: Option<EngineKind>) -> u32 {
    match engine {
        Some(EngineKind::Copy(n @ 0..=2)) => rc::CE0 + u32::from(n),
        Some(EngineKind::Copy(n)) => rc::CE3 + u32::from(n - 3),
        _ => rc::CE0,
    }
}
