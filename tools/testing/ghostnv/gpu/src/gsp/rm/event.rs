// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Events: a client asks to be told when something happens on its subdevice.
//!
//! An event object names a notify index; EVENT_SET_NOTIFICATION on the subdevice switches the index
//! on, once or until further notice.

use super::root::Subdevice;
use super::{Allocation, Body, Control, Key, Kind, Rm, bad_params};
use crate::gsp::bytes::u32_at;
use crate::gsp::function::{Outcome, Status};
use crate::machine::Machine;

/// NV01_EVENT_KERNEL_CALLBACK_EX.
pub const CLASS: u32 = 0x7e;
/// Size of NV0005_ALLOC_PARAMETERS.
pub const PARAMS: usize = 24;
/// The notify index without its flags.
const INDEX: u32 = 0xffff;
/// More indices than any release knows.
const MAX_INDEX: u32 = 0x400;
/// `NV2080_CTRL_EVENT_SET_NOTIFICATION_ACTION`.
const DISABLE: u32 = 0;
const SINGLE: u32 = 1;
const REPEAT: u32 = 2;

/// Controls of events.
pub const CONTROLS: &[Control] =
    &[Control { cmd: 0x2080_0301, on: Kind::Subdevice, size: 20, run: set_notification }];

/// An event.
pub struct Event {
    index: u32,
}

/// Makes an event.
pub fn make(rm: &mut Rm, hw: &mut Machine, ask: &Allocation, params: &mut [u8]) -> Outcome<Body> {
    let (client, source, class) = (u32_at(params, 0), u32_at(params, 4), u32_at(params, 8));
    if class != CLASS {
        return bad_params(hw, format!("event of class {class:#x}"));
    }
    if client != ask.client || (source != 0 && !rm.objects.contains_key(&(client, source))) {
        return bad_params(hw, format!("event of {source:#x} in client {client:#x}"));
    }
    let index = u32_at(params, 12) & INDEX;
    if index >= MAX_INDEX {
        return bad_params(hw, format!("event index {index:#x}"));
    }
    Ok(Body::Event(Event { index }))
}

fn set_notification(rm: &mut Rm, hw: &mut Machine, key: Key, params: &mut [u8]) -> Outcome {
    let (index, action) = (u32_at(params, 0), u32_at(params, 4));
    if index >= MAX_INDEX || action > REPEAT {
        return bad_params(hw, format!("notification {index:#x}, action {action}"));
    }
    let subdevice = rm.subdevice(key)?;
    if action == DISABLE {
        subdevice.notify.remove(&index);
    } else {
        subdevice.notify.insert(index, action);
    }
    Ok(())
}

impl Rm {
    fn subdevice(&mut self, key: Key) -> Outcome<&mut Subdevice> {
        match self.objects.get_mut(&key).map(|object| &mut object.body) {
            Some(Body::Subdevice(subdevice)) => Ok(subdevice),
            _ => Err(Status::OBJECT_NOT_FOUND),
        }
    }

    /// Events that fire now, as (client, event); those asked for once are switched off.
    pub fn take_listeners(&mut self, index: u32) -> Vec<Key> {
        let listeners: Vec<(Key, Key)> = self
            .objects
            .iter()
            .filter(|(_, object)| matches!(&object.body, Body::Event(e) if e.index == index))
            .map(|(key, object)| (*key, (key.0, object.parent)))
            .collect();
        let mut once = Vec::new();
        let mut fired = Vec::new();
        for (event, parent) in listeners {
            let Ok(subdevice) = self.subdevice(parent) else { continue };
            match subdevice.notify.get(&index) {
                Some(&SINGLE) => once.push(parent),
                Some(_) => {}
                None => continue,
            }
            fired.push(event);
        }
        for parent in once {
            if let Ok(subdevice) = self.subdevice(parent) {
                subdevice.notify.remove(&index);
            }
        }
        fired
    }
}
