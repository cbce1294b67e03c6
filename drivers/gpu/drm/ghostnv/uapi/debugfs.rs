// SPDX-License-Identifier: GPL-2.0

//! What the DRM device shows in debugfs: `gpuvas`, what each client has mapped where.

use kernel::{
    drm::{
        self,
        debugfs::DebugfsFile, //
    },
    prelude::*,
    seq_file::SeqFile, //
};

use super::{
    Device,
    Driver,
    Shared, //
};

/// The file that lists the address spaces of all clients, in the form of GPUVM drivers.
struct AddressSpaces;

impl DebugfsFile for AddressSpaces {
    type Driver = Driver;
    const NAME: &'static CStr = c"gpuvas";

    fn show(_: &Device, shared: &Shared<'_>, m: &SeqFile) -> Result {
        let mut result = Ok(());

        shared.clients.for_each(|client| {
            // A client without one shows nothing.
            if let Ok(vm) = client.vm() {
                result = result.and(vm.show(m));
            }
        });
        result
    }
}

/// Adds the files.
pub(super) fn add(device: &drm::UnregisteredDevice<Driver>) {
    drm::debugfs::add_file::<AddressSpaces>(device);
}
