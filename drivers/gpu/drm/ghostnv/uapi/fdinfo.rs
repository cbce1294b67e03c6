// SPDX-License-Identifier: GPL-2.0

//! What `/proc/<pid>/fdinfo/<fd>` tells about a client (Documentation/gpu/drm-usage-stats.rst).

use kernel::{
    drm,
    seq_file::SeqFile, //
};

use crate::file::File;

/// Prints the keys that are the driver's.
pub(crate) fn show(_file: &drm::File<File>, _m: &SeqFile) {}
