// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What methods reach: copy, inline-to-memory, and the classes that are only recorded.
//!
//! Every channel has its own [`Engines`]: hardware keeps one engine and switches contexts, which
//! no channel can tell from having the engine to itself. A launch is state, not a call: Host gives
//! it pieces of work through [`Engines::run`], so no launch, however large, holds up the program.

pub mod blocklinear;
pub mod client;
pub mod copy;
pub mod i2m;
pub mod recorded;
pub mod remap;
pub mod semaphore;
pub mod surface;

use thiserror::Error;

use crate::chip::Chip;
use crate::mmu::MmuFault;
use client::Client;
use copy::Copy;
use i2m::I2m;
use recorded::Recorded;

/// What a subchannel leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 3D class of the graphics engine.
    ThreeD,
    /// Compute class of the graphics engine.
    Compute,
    /// Inline-to-memory class of the graphics engine.
    InlineToMemory,
    /// 2D class of the graphics engine.
    TwoD,
    /// A copy engine.
    Copy,
}

impl Unit {
    /// The class that the unit executes on this chip.
    pub fn class(self, chip: &Chip) -> u32 {
        match self {
            Self::ThreeD => chip.classes.three_d,
            Self::Compute => chip.classes.compute,
            Self::InlineToMemory => chip.classes.i2m,
            Self::TwoD => chip.classes.two_d,
            Self::Copy => chip.classes.copy,
        }
    }
}

/// LAUNCHERR codes of a copy engine (`dev_ce.ref.txt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LaunchError {
    /// LAYER is not below DEPTH.
    LayerExceedsDepth = 1,
    /// A base address is not aligned.
    Alignment = 2,
    /// The rectangle leaves the surface.
    OutOfBounds = 3,
    /// A source line is longer than its pitch.
    SrcLineExceedsPitch = 4,
    /// A source line is longer than its negative pitch.
    SrcLineExceedsNegPitch = 5,
    /// A destination line is longer than its pitch.
    DstLineExceedsPitch = 6,
    /// A destination line is longer than its negative pitch.
    DstLineExceedsNegPitch = 7,
    /// A remap component names a source component that does not exist.
    BadSourceComponent = 8,
    /// A field holds a value that the class does not define.
    InvalidValue = 9,
    /// A reserved field is not zero.
    UnusedField = 0xa,
    /// An operation that the class does not have.
    InvalidOperation = 0xb,
}

/// Why an engine stopped a channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// A memory access failed.
    #[error("MMU fault {0:?}")]
    Mmu(MmuFault),
    /// The copy engine refused a launch.
    #[error("copy launch refused: {0:?} ({1})")]
    Launch(LaunchError, &'static str),
    /// The copy front end in Host refused a method.
    #[error("copy front end: {0}")]
    FrontEnd(String),
    /// The graphics engine refused a method or class.
    #[error("class error: {0}")]
    Class(String),
}

impl From<MmuFault> for EngineError {
    fn from(fault: MmuFault) -> Self {
        Self::Mmu(fault)
    }
}

/// The engines as one channel sees them.
pub struct Engines {
    copy: Copy,
    i2m: I2m,
    three_d: Recorded,
    compute: Recorded,
    two_d: Recorded,
}

impl Engines {
    /// Engines with zeroed state.
    pub fn new(chip: &Chip) -> Self {
        Self {
            copy: Copy::new(chip),
            i2m: I2m::new(i2m::UPPER_A140),
            three_d: Recorded::new(Unit::ThreeD, chip),
            compute: Recorded::new(Unit::Compute, chip),
            two_d: Recorded::new(Unit::TwoD, chip),
        }
    }

    /// Sends a method (byte address) to a unit; must not be called while [`Self::busy`].
    pub fn method(
        &mut self,
        c: &mut Client<'_, '_>,
        unit: Unit,
        method: u32,
        data: u32,
    ) -> Result<(), EngineError> {
        match unit {
            Unit::Copy => self.copy.method(c, method, data),
            Unit::InlineToMemory => {
                if self.i2m.method(c, method, data)? {
                    return Ok(());
                }
                match method {
                    // NO_OPERATION, WAIT_FOR_IDLE, SET_MME_SHADOW_SCRATCH and the PM triggers.
                    0x100 | 0x110 | 0x140 | 0x1114 => Ok(()),
                    _ => Err(EngineError::Class(format!("inline-to-memory method {method:#x}"))),
                }
            }
            Unit::ThreeD => self.three_d.method(c, method, data),
            Unit::Compute => self.compute.method(c, method, data),
            Unit::TwoD => self.two_d.method(c, method, data),
        }
    }

    /// Whether a launch is in progress.
    pub fn busy(&self) -> bool {
        self.copy.busy()
    }

    /// Works on the launch in progress; returns what it cost in bytes moved.
    pub fn run(&mut self, c: &mut Client<'_, '_>) -> Result<u64, EngineError> {
        self.copy.run(c)
    }
}
