// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Clients, devices and subdevices. There is one GPU, so device and subdevice instance are 0.

use std::collections::BTreeMap;

use super::{Allocation, Body, Rm, bad_params};
use crate::gsp::bytes::{put_u32, u32_at};
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;

/// NV01_ROOT.
pub const CLIENT: u32 = 0;
/// NV01_DEVICE_0.
pub const DEVICE: u32 = 0x80;
/// NV20_SUBDEVICE_0.
pub const SUBDEVICE: u32 = 0x2080;
/// Size of NV0000_ALLOC_PARAMETERS.
const CLIENT_PARAMS: usize = 120;

/// A subdevice: which events are switched on (`NV2080_CTRL_EVENT_SET_NOTIFICATION_ACTION`).
#[derive(Default)]
pub struct Subdevice {
    /// Action by notify index.
    pub notify: BTreeMap<u32, u32>,
}

impl Rm {
    /// Allocates a client, which is its own parent.
    pub(super) fn alloc_client(
        &mut self,
        hw: &mut Machine,
        ask: &Allocation,
        params: &mut [u8],
    ) -> Outcome<u32> {
        if !params.is_empty() && params.len() != CLIENT_PARAMS {
            let text = format!("client with {} bytes", params.len());
            hw.env.violation("rm-params", text);
            return Err(Status::INVALID_PARAM_STRUCT);
        }
        let named = u32_at(params, 0);
        let handle = match [ask.handle, ask.client, named].into_iter().find(|&h| h != 0) {
            Some(handle) => handle,
            None => self.generate(0),
        };
        if [ask.client, ask.parent, named].into_iter().any(|h| h != 0 && h != handle) {
            return bad_params(hw, format!("client {handle:#x} under other names"));
        }
        self.check_new(hw, (handle, handle))?;
        put_u32(params, 0, handle);
        self.insert((handle, handle), CLIENT, handle, Body::Client);
        Ok(handle)
    }
}

/// Makes a device.
pub fn device(_: &mut Rm, hw: &mut Machine, ask: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    let (id, share) = (u32_at(params, 0), u32_at(params, 4));
    if id != 0 {
        return bad_params(hw, format!("device {id}"));
    }
    if share != 0 && share != ask.client {
        return bad_params(hw, format!("device shared with client {share:#x}"));
    }
    Ok(Body::Device)
}

/// Makes a subdevice.
pub fn subdevice(_: &mut Rm, hw: &mut Machine, _: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    match u32_at(params, 0) {
        0 => Ok(Body::Subdevice(Subdevice::default())),
        id => bad_params(hw, format!("subdevice {id}")),
    }
}

/// Makes an object without behaviour.
pub fn plain(_: &mut Rm, _: &mut Machine, _: &Allocation, _: &mut [u8]) -> Outcome<Body> {
    Ok(Body::Plain)
}
