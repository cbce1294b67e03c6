// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Decoding LAUNCH_DMA: everything a launch needs, checked before the first byte moves.

use super::transfer::Transfer;
use super::{State, refuse, reg};
use crate::engine::blocklinear::{BlockLinear, GOB};
use crate::engine::client::Space;
use crate::engine::remap::Remap;
use crate::engine::semaphore::{Reduction, Semaphore};
use crate::engine::surface::{Layout, Surface};
use crate::engine::{EngineError, LaunchError};
use crate::env::mem::Aperture;

/// A launch in progress.
pub struct Launch {
    /// What is left to move; none for a semaphore or a barrier.
    pub transfer: Option<Transfer>,
    /// What follows.
    pub finish: Finish,
}

/// What a launch does once its bytes are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish {
    /// Memory barrier first.
    pub flush: bool,
    /// Semaphore to release or reduce.
    pub semaphore: Option<Semaphore>,
    /// 16-byte form.
    pub timestamp: bool,
    /// Reduction and whether it is signed.
    pub reduction: Option<(Reduction, bool)>,
    /// Non-stall interrupt.
    pub interrupt: bool,
}

/// Fields of LAUNCH_DMA.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }

    fn field(self, high: u32, low: u32) -> u32 {
        self.0 >> low & ((1 << (high - low + 1)) - 1)
    }
}

/// The registers of one side.
struct Side {
    offset: u32,
    pitch: u32,
    phys_mode: u32,
    block: u32,
    origin: u32,
    pitch_layout: bool,
    physical: bool,
}

impl Launch {
    /// Decodes a launch.
    pub fn decode(
        state: &State,
        ampere: bool,
        privileged: bool,
        word: u32,
    ) -> Result<Self, EngineError> {
        let w = Word(word);
        // 20 and 21 are BYPASS_L2 on c5b5 and gone after; 27 is PAYLOAD_SIZE from c7b5 on.
        let reserved = 0xf100_0000 | if ampere { 0x30_0000 } else { 1 << 27 };
        if word & reserved != 0 {
            return refuse(LaunchError::UnusedField, "reserved bits of LAUNCH_DMA");
        }
        let finish = Finish::decode(state, ampere, w)?;
        let transfer = match w.field(1, 0) {
            0 => None,
            1 | 2 => transfer(state, privileged, w)?,
            _ => return refuse(LaunchError::InvalidValue, "DATA_TRANSFER_TYPE"),
        };
        Ok(Self { transfer, finish })
    }
}

impl Finish {
    fn decode(state: &State, ampere: bool, w: Word) -> Result<Self, EngineError> {
        let mut finish = Self { flush: w.bit(2), ..Self::default() };
        finish.interrupt = match w.field(6, 5) {
            0 => false,
            // A blocking interrupt also holds the engine until it is serviced; RM does so at once.
            1 | 2 => true,
            _ => return refuse(LaunchError::InvalidValue, "INTERRUPT_TYPE"),
        };
        match w.field(4, 3) {
            0 => return Ok(finish),
            1 => {}
            2 => finish.timestamp = true,
            _ if ampere => {
                // Conditional interrupt: the monitored fence decides; none is modelled.
                finish.interrupt = true;
                return Ok(finish);
            }
            _ => return refuse(LaunchError::InvalidValue, "SEMAPHORE_TYPE"),
        }
        let wide = w.bit(27);
        let upper = if wide { state.get(reg::SET_SEMAPHORE_PAYLOAD_UPPER) } else { 0 };
        let sem = Semaphore {
            va: state.address(reg::SET_SEMAPHORE_A),
            payload: u64::from(upper) << 32 | u64::from(state.get(reg::SET_SEMAPHORE_PAYLOAD)),
            wide,
        };
        let align = if finish.timestamp { 16 } else { [4, 8][usize::from(wide)] };
        if sem.va % align != 0 {
            return refuse(LaunchError::Alignment, "semaphore address");
        }
        finish.semaphore = Some(sem);
        if w.bit(19) {
            let op = Reduction::from_host(w.field(17, 14));
            let new = matches!(op, Some(Reduction::FMin | Reduction::FMax));
            let Some(op) = op.filter(|_| ampere || !new) else {
                return refuse(LaunchError::InvalidOperation, "SEMAPHORE_REDUCTION");
            };
            finish.reduction = Some((op, !w.bit(18)));
        }
        Ok(finish)
    }
}

fn transfer(state: &State, privileged: bool, w: Word) -> Result<Option<Transfer>, EngineError> {
    let remap = if w.bit(10) {
        let consts = [state.get(reg::SET_REMAP_CONST_A), state.get(reg::SET_REMAP_CONST_B)];
        let remap = Remap::decode(state.get(reg::SET_REMAP_COMPONENTS), consts);
        Some(remap.map_err(|code| EngineError::Launch(code, "SET_REMAP_COMPONENTS"))?)
    } else {
        None
    };
    let length = state.get(reg::LINE_LENGTH_IN);
    let lines = if w.bit(9) { state.get(reg::LINE_COUNT) } else { 1 };
    if length == 0 || lines == 0 {
        return Ok(None);
    }
    let src = Side {
        offset: reg::OFFSET_IN_UPPER,
        pitch: reg::PITCH_IN,
        phys_mode: reg::SET_SRC_PHYS_MODE,
        block: reg::SET_SRC_BLOCK_SIZE,
        origin: reg::SRC_ORIGIN_X,
        pitch_layout: w.bit(7),
        physical: w.bit(12),
    };
    let dst = Side {
        offset: reg::OFFSET_OUT_UPPER,
        pitch: reg::PITCH_OUT,
        phys_mode: reg::SET_DST_PHYS_MODE,
        block: reg::SET_DST_BLOCK_SIZE,
        origin: reg::DST_ORIGIN_X,
        pitch_layout: w.bit(8),
        physical: w.bit(13),
    };
    if (src.physical || dst.physical) && !privileged {
        let text = "physical addresses on an unprivileged channel".to_string();
        return Err(EngineError::FrontEnd(text));
    }
    let (src_bytes, dst_bytes) = remap.map_or((1, 1), |r| (r.source_bytes(), r.dest_bytes()));
    let source = if remap.is_none_or(|r| r.reads_source()) {
        use LaunchError::*;
        let exceeds = (SrcLineExceedsPitch, SrcLineExceedsNegPitch);
        Some(src.surface(state, length, lines, src_bytes, exceeds)?)
    } else {
        None
    };
    let exceeds = (LaunchError::DstLineExceedsPitch, LaunchError::DstLineExceedsNegPitch);
    let dest = dst.surface(state, length, lines, dst_bytes, exceeds)?;
    Ok(Some(Transfer::new(source, dest, remap, length, lines)))
}

impl Side {
    fn surface(
        &self,
        state: &State,
        length: u32,
        lines: u32,
        element: usize,
        exceeds: (LaunchError, LaunchError),
    ) -> Result<Surface, EngineError> {
        let base = state.address(self.offset);
        let layout = if self.pitch_layout {
            // Names of launch errors say that pitch can be negative.
            let pitch = i64::from(state.get(self.pitch) as i32);
            if lines > 1 && u64::from(length) * element as u64 > pitch.unsigned_abs() {
                let code = if pitch < 0 { exceeds.1 } else { exceeds.0 };
                return refuse(code, "line length and pitch");
            }
            Layout::Pitch(pitch)
        } else {
            self.block(state, base, length, lines, element)?
        };
        let space = if self.physical { self.aperture(state)? } else { Space::Virtual };
        Ok(Surface { space, base, layout })
    }

    fn block(
        &self,
        state: &State,
        base: u64,
        length: u32,
        lines: u32,
        element: usize,
    ) -> Result<Layout, EngineError> {
        let size = Word(state.get(self.block));
        let [width, height, depth, layer] =
            [4, 8, 12, 16].map(|offset| state.get(self.block + offset));
        let (x, y) = (state.get(self.origin), state.get(self.origin + 4));
        if size.field(3, 0) != 0
            || size.field(7, 4) > 5
            || size.field(11, 8) > 5
            || size.field(15, 12) != 1
        {
            return refuse(LaunchError::InvalidValue, "SET_BLOCK_SIZE");
        }
        if base % GOB as u64 != 0 {
            return refuse(LaunchError::Alignment, "block-linear surface");
        }
        if layer >= depth {
            return refuse(LaunchError::LayerExceedsDepth, "LAYER and DEPTH");
        }
        let over = |origin: u32, n: u32, limit| origin.checked_add(n).is_none_or(|end| end > limit);
        if over(x, length, width) || over(y, lines, height) {
            return refuse(LaunchError::OutOfBounds, "rectangle leaves the surface");
        }
        let shape = BlockLinear {
            width: u64::from(width) * element as u64,
            height,
            block_height: size.field(7, 4),
            block_depth: size.field(11, 8),
            layer,
        };
        Ok(Layout::Block(shape, u64::from(x) * element as u64, u64::from(y)))
    }

    fn aperture(&self, state: &State) -> Result<Space, EngineError> {
        let aperture = match state.get(self.phys_mode) & 3 {
            0 => Aperture::Vram,
            1 => Aperture::SysCoherent,
            2 => Aperture::SysNonCoherent,
            _ => return refuse(LaunchError::InvalidValue, "PHYS_MODE names a peer"),
        };
        Ok(Space::Physical(aperture))
    }
}
