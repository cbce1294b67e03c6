// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers of RPC functions, events and RM statuses (`rpc_global_enums.h`, `nvstatuscodes.h`).

/// Allocates memory from a list of pages.
pub const ALLOC_MEMORY: u32 = 4;
/// Frees an object.
pub const FREE: u32 = 10;
/// The driver goes away.
pub const UNLOADING_GUEST_DRIVER: u32 = 47;
/// Asks for the static configuration.
pub const GET_GSP_STATIC_INFO: u32 = 65;
/// Sets the top entry of a BAR's page directory.
pub const UPDATE_BAR_PDE: u32 = 70;
/// More of the message before.
pub const CONTINUATION_RECORD: u32 = 71;
/// Tells RM about the system.
pub const GSP_SET_SYSTEM_INFO: u32 = 72;
/// Registry keys.
pub const SET_REGISTRY: u32 = 73;
/// A control of an RM object.
pub const GSP_RM_CONTROL: u32 = 76;
/// Allocates an RM object.
pub const GSP_RM_ALLOC: u32 = 103;

/// Event: RM is up.
pub const GSP_INIT_DONE: u32 = 0x1001;
/// Event: the driver shall run a register script.
pub const GSP_RUN_CPU_SEQUENCER: u32 = 0x1002;
/// Event: a client's event fired.
pub const POST_EVENT: u32 = crate::env::fault::POST_EVENT;
/// Event: a channel died.
pub const RC_TRIGGERED: u32 = 0x1004;
/// Event: an MMU fault was queued.
pub const MMU_FAULT_QUEUED: u32 = 0x1005;
/// Event: a line for the system log.
pub const OS_ERROR_LOG: u32 = 0x1006;

/// An RM status; 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// NV_OK.
    pub const OK: Self = Self(0);
    /// NV_ERR_IN_USE.
    pub const IN_USE: Self = Self(0x17);
    /// NV_ERR_INSERT_DUPLICATE_NAME: the handle is taken.
    pub const DUPLICATE: Self = Self(0x19);
    /// NV_ERR_INSUFFICIENT_RESOURCES.
    pub const INSUFFICIENT_RESOURCES: Self = Self(0x1a);
    /// NV_ERR_INVALID_ADDRESS.
    pub const INVALID_ADDRESS: Self = Self(0x1e);
    /// NV_ERR_INVALID_ARGUMENT.
    pub const INVALID_ARGUMENT: Self = Self(0x1f);
    /// NV_ERR_INVALID_CHANNEL.
    pub const INVALID_CHANNEL: Self = Self(0x21);
    /// NV_ERR_INVALID_CLASS.
    pub const INVALID_CLASS: Self = Self(0x22);
    /// NV_ERR_INVALID_CLIENT.
    pub const INVALID_CLIENT: Self = Self(0x23);
    /// NV_ERR_INVALID_OBJECT_HANDLE.
    pub const INVALID_OBJECT_HANDLE: Self = Self(0x33);
    /// NV_ERR_INVALID_OBJECT_PARENT.
    pub const INVALID_OBJECT_PARENT: Self = Self(0x36);
    /// NV_ERR_INVALID_PARAM_STRUCT.
    pub const INVALID_PARAM_STRUCT: Self = Self(0x3a);
    /// NV_ERR_INVALID_STATE.
    pub const INVALID_STATE: Self = Self(0x40);
    /// NV_ERR_NOT_SUPPORTED.
    pub const NOT_SUPPORTED: Self = Self(0x56);
    /// NV_ERR_OBJECT_NOT_FOUND.
    pub const OBJECT_NOT_FOUND: Self = Self(0x57);
}

/// What a control or an allocation returns: `?` carries the status of a failure.
pub type Outcome<T = ()> = Result<T, Status>;

/// The status of an outcome.
pub fn status(outcome: Outcome) -> Status {
    outcome.err().unwrap_or(Status::OK)
}
