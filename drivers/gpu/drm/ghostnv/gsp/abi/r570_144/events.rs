// SPDX-License-Identifier: GPL-2.0

//! Payloads of what the firmware tells without having been asked.
//!
//! Facts: open-gpu-kernel-modules 570.144, `g_rpc-structures.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::Immutable;

/// Payload of `RC_TRIGGERED`: a channel made an error and was stopped.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RcTriggered {
    pub(crate) engine_type: u32,
    pub(crate) channel: u32,
    pub(crate) gfid: u32,
    pub(crate) level: u32,
    pub(crate) kind: u32,
    pub(crate) scope: u32,
    pub(crate) partition: u16,
    pub(crate) padding0: u16,
    pub(crate) fault_address_lo: u32,
    pub(crate) fault_address_hi: u32,
    pub(crate) fault_type: u32,
    pub(crate) callback_needed: u8,
    pub(crate) padding1: [u8; 3],
    pub(crate) journal_size: u32,
}
assert_layout!(
    RcTriggered "r570/fifo.h:rpc_rc_triggered_v17_02", 48,
    channel "chid" @ 4,
    kind "exceptType" @ 16,
    fault_address_lo "mmuFaultAddrLo" @ 28,
    journal_size "rcJournalBufferSize" @ 44,
);

/// Payload of `OS_ERROR_LOG`: an error report in words, known to users as an Xid.
#[repr(C)]
#[derive(FromBytes, Immutable, IntoBytes)]
pub(crate) struct OsErrorLog {
    pub(crate) kind: u32,
    pub(crate) runlist: u32,
    pub(crate) channel: u32,
    pub(crate) text: [u8; 256],
    pub(crate) previous_xid: u32,
}
assert_layout!(
    OsErrorLog "r570/gsp.h:rpc_os_error_log_v17_00", 272,
    channel "chid" @ 8,
    text "errString" @ 12,
    previous_xid "preemptiveRemovalPreviousXid" @ 268,
);

/// Start of the payload of `POST_EVENT`; `size` bytes of event data begin in its last padding.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct PostEvent {
    pub(crate) client: u32,
    pub(crate) event: u32,
    pub(crate) notify_index: u32,
    pub(crate) data: u32,
    pub(crate) info16: u16,
    pub(crate) padding0: u16,
    pub(crate) status: u32,
    pub(crate) size: u32,
    pub(crate) is_list: u8,
    pub(crate) padding1: [u8; 3],
}
assert_layout!(
    PostEvent "r535/event.h:rpc_post_event_v17_00", 32,
    info16 "info16" @ 16,
    status "status" @ 20,
    size "eventDataSize" @ 24,
    is_list "bNotifyList" @ 28,
);
