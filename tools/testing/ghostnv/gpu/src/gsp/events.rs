// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What RM tells the driver unasked: a channel died, a client's event fired.
//!
//! A dead channel is announced as RM does it: the fault is queued (MMU faults only), a line goes to
//! the system log, then robust-channel recovery names the channel, which by then is off its runlist.

use super::bytes::{put, put_str, put_u32};
use super::{Core, function};
use crate::env::fault::Unasked;
use crate::host::ChannelError;
use crate::machine::Machine;

/// `sizeof(rpc_os_error_log_v17_00)`.
const ERROR_LOG: usize = 272;
/// Its string.
const ERROR_TEXT: usize = 256;
/// `sizeof(rpc_rc_triggered_v17_02)`.
const RC: usize = 48;
/// `sizeof(rpc_post_event_v17_00)`; the data begins before its end, in the padding.
const EVENT: usize = 32;
/// Where the data begins.
const EVENT_DATA: usize = 29;
/// `RC_NOTIFIER_SCOPE_CHANNEL`.
const SCOPE_CHANNEL: u32 = 0;
/// Handles that no driver makes up.
const NOBODY: (u32, u32) = (0xdead_0000, 0xdead_0001);
/// Events of a fault script that one step sends.
const MOST_UNASKED: usize = 16;
/// Most data in an event.
const MAX_EVENT_DATA: usize = 1024;

impl Core {
    /// Announces the channels that died.
    pub fn report_channel_errors(&mut self, hw: &mut Machine) {
        for error in hw.host.take_errors() {
            self.rm.channel_died(error.chid);
            if error.fault.is_some() {
                self.event(hw, function::MMU_FAULT_QUEUED, Vec::new());
            }
            self.event(hw, function::OS_ERROR_LOG, error_log(&error));
            self.event(hw, function::RC_TRIGGERED, rc_triggered(&error));
        }
    }

    /// Fires an event at every client that asked for it; says whether anybody did.
    pub fn post_event(&mut self, hw: &mut Machine, notify_index: u32, data: &[u8]) -> bool {
        let listeners = self.rm.take_listeners(notify_index);
        for listener in &listeners {
            self.event(hw, function::POST_EVENT, posted(*listener, notify_index, data));
        }
        !listeners.is_empty()
    }

    /// Sends what a fault script wants sent; most of one step.
    pub fn unasked_events(&mut self, hw: &mut Machine) {
        for _ in 0..MOST_UNASKED {
            let Some(Unasked { event, index, payload }) = hw.env.faults.unasked() else { return };
            if event != function::POST_EVENT {
                self.event(hw, event, payload);
            } else if !self.post_event(hw, index, &payload) {
                self.event(hw, event, posted(NOBODY, index, &payload));
            }
        }
    }
}

/// POST_EVENT for (client, event).
fn posted((client, event): (u32, u32), notify_index: u32, data: &[u8]) -> Vec<u8> {
    let data = data.get(..MAX_EVENT_DATA).unwrap_or(data);
    let mut b = vec![0; EVENT + data.len()];
    put_u32(&mut b, 0, client);
    put_u32(&mut b, 4, event);
    put_u32(&mut b, 8, notify_index);
    put_u32(&mut b, 24, data.len() as u32);
    put(&mut b, EVENT_DATA, data);
    b
}

fn error_log(error: &ChannelError) -> Vec<u8> {
    let mut b = vec![0; ERROR_LOG];
    put_u32(&mut b, 0, error.except);
    put_u32(&mut b, 4, error.runlist);
    put_u32(&mut b, 8, error.chid);
    put_str(&mut b, 12, ERROR_TEXT, &error.text);
    b
}

fn rc_triggered(error: &ChannelError) -> Vec<u8> {
    let mut b = vec![0; RC];
    put_u32(&mut b, 0, error.rm_type);
    put_u32(&mut b, 4, error.chid);
    put_u32(&mut b, 16, error.except);
    put_u32(&mut b, 20, SCOPE_CHANNEL);
    if let Some(fault) = &error.fault {
        put_u32(&mut b, 28, fault.va as u32);
        put_u32(&mut b, 32, (fault.va >> 32) as u32);
        put_u32(&mut b, 36, fault.kind as u32);
    }
    b
}
