// SPDX-License-Identifier: GPL-2.0

//! The messages inside nouveau's `NVIF` ioctl, as far as its users need them.
//!
//! NVIF is how nouveau's parts address each other's objects, and user space makes the objects of
//! engines with it. Four messages are left: list the classes of a channel, make an object, delete
//! it, and call a method of it, of which there is one: tell about the device. A message is a header
//! and what belongs to its type; the ioctl's number holds the length of both. The reply is written
//! over the message.
//!
//! A client names an object by a number of its own choice. Objects are of two sorts: the device,
//! which is no more than such a number, and objects of engines on a channel. Deleting the channel
//! deletes the latter.
//!
//! Facts: the kernel's `include/nvif/ioctl.h`, `cl0080.h` and `nouveau_abi16.c` of nouveau.

use kernel::{
    drm,
    prelude::*,
    uaccess::UserSlice, //
};

use crate::file::{
    Client,
    File, //
};

use super::{
    facts::Facts,
    Device,
    Shared, //
};

mod message;
mod objects;

pub(crate) use objects::Objects;

use message::{
    parse,
    put,
    put_classes,
    DeviceInfo,
    Message,
    INFO, //
};
use objects::Object;

/// Text in an array of bytes that ends with at least one zero.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];

    for (to, from) in bytes.iter_mut().take(N - 1).zip(text.bytes()) {
        *to = from;
    }
    bytes
}

/// The device's information.
fn device_info(shared: &Shared<'_>, facts: &Facts) -> DeviceInfo {
    /// `NV_DEVICE_INFO_V0_PCIE`.
    const PCIE: u8 = 3;

    let chip = shared.core.hw().chip;

    DeviceInfo {
        version: 0,
        platform: PCIE,
        chipset: chip.id,
        revision: facts.revision,
        // NV_DEVICE_INFO_V0_TURING, _AMPERE, _ADA, by the upper part of the chip's number.
        family: match chip.id >> 4 {
            0x16 => 0x0c,
            0x17 => 0x0d,
            0x19 => 0x0e,
            _ => 0,
        },
        pad: [0; 2],
        ram_size: facts.vram_size,
        ram_user: facts.vram_usable,
        chip: text(chip.label),
        name: facts.name,
    }
}

/// Does what a message asks for, and makes it the reply.
fn serve(shared: &Shared<'_>, client: &Client<'_>, bytes: &mut [u8]) -> Result {
    match parse(bytes)? {
        Message::Classes { channel, room } => {
            let classes = client.channel_classes(channel).map_err(|_| EINVAL)?;

            put_classes(bytes, room, &classes)
        }
        Message::NewDevice { object } => {
            client.with_objects(|objects| objects.insert(object, Object::Device))
        }
        Message::NewEngine {
            channel,
            object,
            class,
        } => client.new_engine_object(channel, object, class),
        Message::Delete { object } => {
            client.with_objects(|objects| objects.delete(object));
            Ok(())
        }
        Message::Info { object } => {
            if !client.with_objects(|objects| objects.is_device(object)) {
                return Err(EINVAL);
            }
            put(bytes, INFO, &device_info(shared, &shared.facts))
        }
    }
}

/// `NVIF`.
pub(super) fn message(
    _device: &Device,
    shared: &Shared<'_>,
    data: UserSlice,
    file: &drm::File<File>,
) -> Result<u32> {
    let (reader, mut writer) = data.reader_writer();
    let mut bytes = KVec::new();

    // The length is at most what 14 bits of an ioctl's number can say.
    reader.read_all(&mut bytes, GFP_KERNEL)?;
    serve(shared, shared.client(file)?, &mut bytes)?;
    writer.write_slice(&bytes)?;
    Ok(0)
}
