// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The classes that clients may allocate on a chip, and below what.

use super::{Allocation, Body, Kind, Rm, ce, channel, event, gr, group, root, vaspace};
use crate::chip::Chip;
use crate::gsp::function::Outcome;
use crate::machine::Machine;

/// Checks parameters, fills in what RM returns, and makes the object.
pub type Make = fn(&mut Rm, &mut Machine, &Allocation, &mut [u8]) -> Outcome<Body>;

/// A class.
pub struct Class {
    /// Kinds of parents.
    pub parents: &'static [Kind],
    /// Sizes of its parameters; 0 means that they may be left out.
    pub sizes: &'static [usize],
    /// Constructor.
    pub make: Make,
}

/// Finds a class.
pub fn find(chip: &Chip, class: u32) -> Option<Class> {
    let c = &chip.classes;
    let (parents, sizes, make): (&[Kind], &[usize], Make) = match class {
        root::DEVICE => (&[Kind::Client], &[56], root::device),
        root::SUBDEVICE => (&[Kind::Device], &[0, 4], root::subdevice),
        vaspace::CLASS => (&[Kind::Device], &[vaspace::PARAMS], vaspace::make),
        group::CLASS => (&[Kind::Device], &[group::PARAMS], group::make),
        event::CLASS => {
            (&[Kind::Device, Kind::Subdevice, Kind::Channel], &[event::PARAMS], event::make)
        }
        _ if class == c.channel => {
            (&[Kind::Device, Kind::Group], &[channel::PARAMS], channel::make)
        }
        _ if class == c.copy => (&[Kind::Channel], &[ce::PARAMS], ce::make),
        _ if [c.three_d, c.compute, c.two_d, c.i2m].contains(&class) => {
            (&[Kind::Channel], &[0], gr::make)
        }
        _ if class == c.usermode => (&[Kind::Subdevice], &[0], root::plain),
        _ => return None,
    };
    Some(Class { parents, sizes, make })
}
