// SPDX-License-Identifier: GPL-2.0

//! The two queues, the messages in them, and the numbers of what messages are about.
//!
//! Facts: open-gpu-kernel-modules 570.144, `msgq_priv.h`, `message_queue_priv.h`
//! and `rpc_global_enums.h`.

use core::mem::offset_of;

use kernel::prelude::*;
use zerocopy_derive::Immutable;

use super::GSP_PAGE_SIZE;

/// Layout of the memory both queues live in: a page of page addresses, then queue after queue.
pub(crate) mod queue {
    use super::GSP_PAGE_SIZE;

    /// Bytes of one queue with its header page.
    pub(crate) const SIZE: usize = 0x4_0000;
    /// Elements of one queue: its header takes the first page.
    pub(crate) const ELEMENTS: u32 = 63;
    /// Start of the queue that the driver writes.
    pub(crate) const COMMAND: usize = GSP_PAGE_SIZE;
    /// Start of the queue that the firmware writes.
    pub(crate) const MESSAGE: usize = COMMAND + SIZE;
    /// Bytes of the whole.
    pub(crate) const MEMORY: usize = MESSAGE + SIZE;
    /// Where a queue's elements start.
    pub(crate) const ENTRIES: usize = GSP_PAGE_SIZE;
    /// Where a queue's header holds its own write pointer.
    pub(crate) const WRITE_POINTER: usize = 16;
    /// Where a queue's header holds the read pointer *of the other queue*.
    pub(crate) const READ_POINTER: usize = 32;
}
static_assert!(queue::ENTRIES + queue::ELEMENTS as usize * GSP_PAGE_SIZE == queue::SIZE);
static_assert!(queue::MEMORY == 129 * GSP_PAGE_SIZE);

/// Header of a queue, written by the side that writes the queue.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct QueueHeader {
    pub(crate) version: u32,
    pub(crate) size: u32,
    pub(crate) element_size: u32,
    pub(crate) element_count: u32,
    pub(crate) write_pointer: u32,
    /// Bit 0: a queue's read pointer is in the other queue's memory.
    pub(crate) flags: u32,
    pub(crate) read_pointer_offset: u32,
    pub(crate) entries_offset: u32,
}
assert_layout!(
    QueueHeader "r535/gsp.h:msgqTxHeader", 32,
    write_pointer "writePtr" @ queue::WRITE_POINTER,
    read_pointer_offset "rxHdrOff" @ 24,
);

/// First bytes of every queue element run (one message is 1 to 16 elements).
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct ElementHeader {
    /// Used with confidential computing only.
    pub(crate) auth_tag: [u8; 16],
    pub(crate) aad: [u8; 16],
    pub(crate) checksum: u32,
    pub(crate) sequence: u32,
    pub(crate) element_count: u32,
    pub(crate) padding: u32,
}
assert_layout!(ElementHeader, 48, checksum @ 32, sequence @ 36, element_count @ 40);

/// [`RpcHeader::version`]: 3.0.
pub(crate) const RPC_VERSION: u32 = 0x0300_0000;
/// [`RpcHeader::signature`]: "VRPC" in memory.
pub(crate) const RPC_SIGNATURE: u32 = u32::from_le_bytes(*b"VRPC");
/// What [`RpcHeader::result`] holds in a request.
pub(crate) const RPC_RESULT_PENDING: u32 = 0xffff_ffff;

/// Follows [`ElementHeader`]: what is called or told.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
pub(crate) struct RpcHeader {
    pub(crate) version: u32,
    pub(crate) signature: u32,
    /// Bytes of this header and of the payload in this message.
    pub(crate) length: u32,
    pub(crate) function: u32,
    pub(crate) result: u32,
    pub(crate) result_private: u32,
    pub(crate) sequence: u32,
    pub(crate) spare: u32,
}
assert_layout!(
    RpcHeader "r535/gsp.h:rpc_message_header_v03_00", 32,
    length "length" @ 8,
    function "function" @ 12,
    result "rpc_result" @ 16,
    sequence "sequence" @ 24,
);

/// Largest message: 16 elements.
pub(crate) const MESSAGE_SIZE_MAX: usize = 16 * GSP_PAGE_SIZE;
/// Bytes before a message's payload.
pub(crate) const MESSAGE_HEADERS: usize = size_of::<ElementHeader>() + size_of::<RpcHeader>();

/// Numbers of the functions that the driver calls.
pub(crate) mod function {
    pub(crate) const FREE: u32 = 10;
    pub(crate) const UNLOADING_GUEST_DRIVER: u32 = 47;
    pub(crate) const GET_GSP_STATIC_INFO: u32 = 65;
    pub(crate) const UPDATE_BAR_PDE: u32 = 70;
    pub(crate) const CONTINUATION_RECORD: u32 = 71;
    pub(crate) const GSP_SET_SYSTEM_INFO: u32 = 72;
    pub(crate) const SET_REGISTRY: u32 = 73;
    pub(crate) const GSP_RM_CONTROL: u32 = 76;
    pub(crate) const GSP_RM_ALLOC: u32 = 103;
}

/// Numbers of what the firmware tells without having been asked.
pub(crate) mod event {
    /// Numbers from here on are events.
    pub(crate) const FIRST: u32 = 0x1000;
    pub(crate) const GSP_INIT_DONE: u32 = 0x1001;
    pub(crate) const GSP_RUN_CPU_SEQUENCER: u32 = 0x1002;
    pub(crate) const POST_EVENT: u32 = 0x1003;
    pub(crate) const RC_TRIGGERED: u32 = 0x1004;
    pub(crate) const MMU_FAULT_QUEUED: u32 = 0x1005;
    pub(crate) const OS_ERROR_LOG: u32 = 0x1006;
    pub(crate) const UCODE_LIBOS_PRINT: u32 = 0x100c;
    pub(crate) const LOCKDOWN_NOTICE: u32 = 0x101c;
    pub(crate) const POST_NOCAT_RECORD: u32 = 0x1020;
}
