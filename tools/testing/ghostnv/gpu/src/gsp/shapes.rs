// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What requests look like that RM serves, from the tables that it serves them by: for fuzzing,
//! which otherwise would have to guess numbers of four bytes and sizes that fit.

use super::function;
use super::rm::{self, Kind};
use super::rpc::{ALLOC, BAR_PDE, CONTROL, FREE, MEMORY, UNLOADING};
use super::static_info;
use crate::chip::Chip;

/// A request that RM serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// RPC function.
    pub function: u32,
    /// The control, or the class to allocate; else 0.
    pub selector: u32,
    /// Kinds of objects that the control is for, or below which the class may be.
    pub on: &'static [Kind],
    /// Bytes before the parameters.
    pub head: usize,
    /// Bytes of parameters.
    pub params: usize,
}

/// Requests of all functions, controls and classes that a chip's RM serves.
pub fn shapes(chip: &Chip) -> Vec<Shape> {
    let plain = [
        (function::GET_GSP_STATIC_INFO, static_info::SIZE),
        (function::UPDATE_BAR_PDE, BAR_PDE),
        (function::FREE, FREE),
        (function::ALLOC_MEMORY, MEMORY + 8),
        (function::UNLOADING_GUEST_DRIVER, UNLOADING),
    ];
    let plain =
        plain.map(|(function, head)| Shape { function, selector: 0, on: &[], head, params: 0 });
    let of = |function, head| {
        move |(on, selector, params)| Shape { function, selector, on, head, params }
    };
    let controls = rm::controls().map(of(function::GSP_RM_CONTROL, CONTROL));
    let classes = rm::classes(chip).map(of(function::GSP_RM_ALLOC, ALLOC));
    plain.into_iter().chain(controls).chain(classes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::CHIPS;

    #[test]
    fn tables_are_found_whole() {
        for chip in CHIPS {
            let all = shapes(chip);
            let has = |function, selector| {
                all.iter().any(|s| (s.function, s.selector) == (function, selector))
            };
            for selector in [chip.classes.channel, chip.classes.copy, chip.classes.usermode, 0x7e] {
                assert!(has(function::GSP_RM_ALLOC, selector), "{}: {selector:#x}", chip.name);
            }
            for selector in [0x80_1813, 0xa06f_0104, 0x2080_0301, 0x2080_0a5c] {
                assert!(has(function::GSP_RM_CONTROL, selector), "{}: {selector:#x}", chip.name);
            }
            assert!(all.len() > 40, "{}: {}", chip.name, all.len());
        }
    }
}
