// SPDX-License-Identifier: GPL-2.0

//! What `/proc/<pid>/fdinfo/<fd>` tells about a client.
//!
//! The keys are those of Documentation/gpu/drm-usage-stats.rst, with two regions of memory: `vram0`
//! is video memory and `system` the host's, which objects of other drivers count as too.

use kernel::{
    drm::{
        self,
        gem::BaseObject, //
    },
    fmt,
    seq_file::SeqFile,
    seq_print, //
};

use crate::{
    file::File,
    gem::Object, //
};

use super::Shared;

/// A number of bytes with a unit that loses nothing, as the DRM core prints it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;

        match self.0 {
            0 => write!(f, "0"),
            size if size % MIB == 0 => write!(f, "{} MiB", size / MIB),
            size if size % KIB == 0 => write!(f, "{} KiB", size / KIB),
            size => write!(f, "{size}"),
        }
    }
}

/// Bytes of a client's objects in one region.
#[derive(Default)]
struct Usage {
    total: u64,
    shared: u64,
    active: u64,
}

impl Usage {
    /// `working` says that jobs of the client are not done.
    fn add(&mut self, object: &Object, working: bool) {
        // CAST: from usize, which is never wider.
        let size = object.size() as u64;

        // Saturating: a client may have any number of handles of the same object.
        self.total = self.total.saturating_add(size);
        if object.is_shared() {
            self.shared = self.shared.saturating_add(size);
        }
        if object.is_active() || (working && object.is_private()) {
            self.active = self.active.saturating_add(size);
        }
    }

    fn print(&self, region: &str, m: &SeqFile) {
        seq_print!(m, "drm-total-{}:\t{}\n", region, Size(self.total));
        seq_print!(m, "drm-shared-{}:\t{}\n", region, Size(self.shared));
        seq_print!(m, "drm-active-{}:\t{}\n", region, Size(self.active));
        // Objects stay where they are.
        seq_print!(m, "drm-resident-{}:\t{}\n", region, Size(self.total));
    }
}

/// Prints the keys that are the driver's.
pub(crate) fn show(shared: &Shared<'_>, file: &drm::File<File>, m: &SeqFile) {
    let mut vram = Usage::default();
    let mut system = Usage::default();
    let client = shared.clients.get(file);
    // Without memory to tell, it is.
    let working = client.is_some_and(|c| c.unfinished().map_or(true, |fences| !fences.is_empty()));

    file.for_each_object(|object: &Object| {
        if object.is_vram() {
            vram.add(object, working)
        } else {
            system.add(object, working)
        }
    });
    vram.print("vram0", m);
    system.print("system", m);

    if let Some(client) = client {
        let busy = client.busy();

        seq_print!(m, "drm-engine-render:\t{} ns\n", busy.render.as_nanos());
        seq_print!(m, "drm-engine-copy:\t{} ns\n", busy.copy.as_nanos());
    }
}
