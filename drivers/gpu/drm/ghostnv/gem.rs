// SPDX-License-Identifier: GPL-2.0

//! Buffer objects.

use kernel::{
    drm,
    prelude::*, //
};

use crate::uapi;

/// A buffer object.
#[pin_data]
pub(crate) struct Bo {}

impl drm::gem::DriverObject for Bo {
    type Driver = uapi::Driver;
    type Args = ();

    fn new(_: &drm::Device<uapi::Driver>, _: usize, (): ()) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {})
    }
}
