// SPDX-License-Identifier: GPL-2.0

//! What GSP-RM says when it refuses: its statuses, their names, and what they are to the kernel.
//!
//! The name goes into the log, since it tells more than an error number; callers get the number.
//!
//! Facts: open-gpu-kernel-modules 570.144, `nvstatuscodes.h`.

use kernel::{
    fmt,
    prelude::*, //
};

/// A status of GSP-RM (`NV_STATUS`) other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    /// The result that a status word stands for.
    pub(crate) fn check(word: u32) -> Result<(), Status> {
        match word {
            0 => Ok(()),
            word => Err(Status(word)),
        }
    }

    /// Whether nothing was done, and the same may succeed in a moment.
    pub(crate) fn is_busy(self) -> bool {
        const BUSY_RETRY: u32 = 0x03;
        self.0 == BUSY_RETRY
    }

    /// Name and error number of the statuses that a driver meets.
    fn known(self) -> Option<(&'static str, Error)> {
        Some(match self.0 {
            0x03 => ("BUSY_RETRY", EBUSY),
            0x04 => ("CALLBACK_NOT_SCHEDULED", EIO),
            0x05 => ("CARD_NOT_PRESENT", ENODEV),
            0x0f => ("GPU_IS_LOST", ENODEV),
            0x10 => ("GPU_IN_FULLCHIP_RESET", EBUSY),
            0x11 => ("GPU_NOT_FULL_POWER", EBUSY),
            0x16 => ("ILLEGAL_ACTION", EINVAL),
            0x17 => ("IN_USE", EBUSY),
            0x19 => ("INSERT_DUPLICATE_NAME", EEXIST),
            0x1a => ("INSUFFICIENT_RESOURCES", ENOSPC),
            0x1b => ("INSUFFICIENT_PERMISSIONS", EPERM),
            0x1e => ("INVALID_ADDRESS", EINVAL),
            0x1f => ("INVALID_ARGUMENT", EINVAL),
            0x21 => ("INVALID_CHANNEL", EINVAL),
            0x22 => ("INVALID_CLASS", EINVAL),
            0x23 => ("INVALID_CLIENT", EINVAL),
            0x24 => ("INVALID_COMMAND", EINVAL),
            0x26 => ("INVALID_DEVICE", EINVAL),
            0x29 => ("INVALID_FLAGS", EINVAL),
            0x2e => ("INVALID_LIMIT", EINVAL),
            0x31 => ("INVALID_OBJECT", EINVAL),
            0x33 => ("INVALID_OBJECT_HANDLE", EINVAL),
            0x36 => ("INVALID_OBJECT_PARENT", EINVAL),
            0x37 => ("INVALID_OFFSET", EINVAL),
            0x3a => ("INVALID_PARAM_STRUCT", EINVAL),
            0x3b => ("INVALID_PARAMETER", EINVAL),
            0x3f => ("INVALID_REQUEST", EINVAL),
            0x40 => ("INVALID_STATE", EIO),
            0x4f => ("NO_FREE_FIFOS", ENOSPC),
            0x51 => ("NO_MEMORY", ENOMEM),
            0x55 => ("NOT_READY", EBUSY),
            0x56 => ("NOT_SUPPORTED", EOPNOTSUPP),
            0x57 => ("OBJECT_NOT_FOUND", ENOENT),
            0x5b => ("OUT_OF_RANGE", ERANGE),
            0x62 => ("RESET_REQUIRED", EIO),
            0x63 => ("STATE_IN_USE", EBUSY),
            0x65 => ("TIMEOUT", ETIMEDOUT),
            0x66 => ("TIMEOUT_RETRY", EBUSY),
            0xffff => ("GENERIC", EIO),
            _ => return None,
        })
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        status.known().map_or(EIO, |(_, error)| error)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((name, _)) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "status {:#x}", self.0),
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_status)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_error_numbers() {
        assert_eq!(Status::check(0), Ok(()));
        for (word, error) in [
            (0x51, ENOMEM),
            (0x1f, EINVAL),
            (0x56, EOPNOTSUPP),
            (0xffff, EIO),
            (0xdead_beef, EIO),
        ] {
            assert_eq!(Status::check(word).map_err(Error::from), Err(error));
        }
    }
}
