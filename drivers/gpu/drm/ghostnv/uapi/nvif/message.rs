// SPDX-License-Identifier: GPL-2.0

//! NVIF's messages as bytes: what they mean, and what replies look like.
//!
//! Facts: the kernel's `include/nvif/ioctl.h` and `cl0080.h` of nouveau.

use kernel::prelude::*;
use zerocopy::Immutable;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// Message types.
mod kind {
    pub(super) const SCLASS: u8 = 1;
    pub(super) const NEW: u8 = 2;
    pub(super) const DEL: u8 = 3;
    pub(super) const MTHD: u8 = 4;
}

/// [`Header::route`]: to the client's own objects.
const ROUTE_CLIENT: u8 = 0;
/// [`Header::route`]: to a channel.
const ROUTE_CHANNEL: u8 = 0xff;
/// The class of the device.
const CLASS_DEVICE: u32 = 0x80;
/// The method of the device that there is.
const METHOD_INFO: u8 = 0;
/// The start of a message.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
struct Header {
    version: u8,
    kind: u8,
    pad: [u8; 4],
    owner: u8,
    route: u8,
    /// With [`ROUTE_CHANNEL`] the channel.
    token: u64,
    object: u64,
}

/// What follows in a message that lists classes, before the list.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
struct SclassBody {
    version: u8,
    /// Entries that the client has room for, and in the reply the number of classes.
    count: u8,
    pad: [u8; 6],
}

/// One class.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
struct SclassEntry {
    class: u32,
    min_version: u16,
    max_version: u16,
}

/// What follows in a message that makes an object, before what depends on the class.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
struct NewBody {
    version: u8,
    pad: [u8; 6],
    route: u8,
    token: u64,
    object: u64,
    handle: u32,
    class: u32,
}

/// What follows in a message that calls a method, before what depends on the method.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
struct MthdBody {
    version: u8,
    method: u8,
    pad: [u8; 6],
}

/// What the device tells about itself.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub(super) struct DeviceInfo {
    pub(super) version: u8,
    pub(super) platform: u8,
    pub(super) chipset: u16,
    pub(super) revision: u8,
    pub(super) family: u8,
    pub(super) pad: [u8; 2],
    pub(super) ram_size: u64,
    pub(super) ram_user: u64,
    pub(super) chip: [u8; 16],
    pub(super) name: [u8; 64],
}

const _: () = {
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<SclassBody>() == 8 && size_of::<SclassEntry>() == 8);
    assert!(size_of::<NewBody>() == 32);
    assert!(size_of::<MthdBody>() == 8);
    assert!(size_of::<DeviceInfo>() == 104);
};

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// List the classes that objects on a channel can have, at most `room` of them.
    Classes { channel: u32, room: usize },
    /// Make the device.
    NewDevice { object: u64 },
    /// Make an object of an engine.
    NewEngine {
        channel: u32,
        object: u64,
        class: u32,
    },
    /// Delete an object.
    Delete { object: u64 },
    /// Tell about the device.
    Info { object: u64 },
}

/// Where what depends on the type of a message starts, and in it what depends on class or method.
const BODY: usize = size_of::<Header>();
const ENTRIES: usize = BODY + size_of::<SclassBody>();
pub(super) const INFO: usize = BODY + size_of::<MthdBody>();

/// Reads a message. Whatever is not understood entirely is `EINVAL`.
pub(super) fn parse(bytes: &[u8]) -> Result<Message> {
    let (header, body) = Header::read_from_prefix(bytes).map_err(|_| EINVAL)?;

    if header.version != 0 || !matches!(header.route, ROUTE_CLIENT | ROUTE_CHANNEL) {
        return Err(EINVAL);
    }
    let to_channel = header.route == ROUTE_CHANNEL;
    let channel = u32::try_from(header.token).map_err(|_| EINVAL);

    match (header.kind, to_channel) {
        (kind::SCLASS, true) => {
            let (body, entries) = SclassBody::read_from_prefix(body).map_err(|_| EINVAL)?;
            let room = usize::from(body.count);

            if body.version != 0 || entries.len() != room * size_of::<SclassEntry>() {
                return Err(EINVAL);
            }
            Ok(Message::Classes {
                channel: channel?,
                room,
            })
        }
        (kind::NEW, _) => {
            let (body, _) = NewBody::read_from_prefix(body).map_err(|_| EINVAL)?;

            if body.version != 0 {
                return Err(EINVAL);
            }
            if to_channel {
                return Ok(Message::NewEngine {
                    channel: channel?,
                    object: body.object,
                    class: body.class,
                });
            }
            if header.object != 0 || body.class != CLASS_DEVICE {
                return Err(EINVAL);
            }
            Ok(Message::NewDevice {
                object: body.object,
            })
        }
        (kind::DEL, false) if body.is_empty() => Ok(Message::Delete {
            object: header.object,
        }),
        (kind::MTHD, false) => {
            let (body, info) = MthdBody::read_from_prefix(body).map_err(|_| EINVAL)?;

            // The first byte of the information is its version.
            if body.version != 0
                || body.method != METHOD_INFO
                || info.len() != size_of::<DeviceInfo>()
                || info.first() != Some(&0)
            {
                return Err(EINVAL);
            }
            Ok(Message::Info {
                object: header.object,
            })
        }
        _ => Err(EINVAL),
    }
}

/// Writes a value into the reply.
pub(super) fn put<T: IntoBytes + Immutable>(bytes: &mut [u8], offset: usize, value: &T) -> Result {
    let value = value.as_bytes();
    let end = offset.checked_add(value.len()).ok_or(EINVAL)?;

    bytes
        .get_mut(offset..end)
        .ok_or(EINVAL)?
        .copy_from_slice(value);
    Ok(())
}

/// Lists classes, and says how many there are.
pub(super) fn put_classes(bytes: &mut [u8], room: usize, classes: &[u32]) -> Result {
    let body = SclassBody {
        version: 0,
        count: u8::try_from(classes.len())?,
        pad: [0; 6],
    };

    put(bytes, BODY, &body)?;
    for (i, &class) in classes.iter().take(room).enumerate() {
        let entry = SclassEntry {
            class,
            min_version: 0,
            max_version: 0,
        };

        put(bytes, ENTRIES + i * size_of::<SclassEntry>(), &entry)?;
    }
    Ok(())
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_nvif_message)]
mod tests {
    use super::*;

    fn header(kind: u8, route: u8, token: u64, object: u64) -> Header {
        Header {
            version: 0,
            kind,
            pad: [0; 4],
            owner: 0xff,
            route,
            token,
            object,
        }
    }

    /// A header, a body, and `extra` more bytes of zero.
    fn message<T: IntoBytes + Immutable>(
        header: Header,
        body: &T,
        extra: usize,
    ) -> Result<KVec<u8>> {
        let mut bytes = KVec::new();

        bytes.extend_from_slice(header.as_bytes(), GFP_KERNEL)?;
        bytes.extend_from_slice(body.as_bytes(), GFP_KERNEL)?;
        let len = bytes.len() + extra;
        bytes.resize(len, 0, GFP_KERNEL)?;
        Ok(bytes)
    }

    fn sclass(version: u8, count: u8) -> SclassBody {
        SclassBody {
            version,
            count,
            pad: [0; 6],
        }
    }

    fn new(version: u8, object: u64, class: u32) -> NewBody {
        NewBody {
            version,
            pad: [0; 6],
            route: 0,
            token: object,
            object,
            handle: 0xbeef_0000,
            class,
        }
    }

    fn mthd(version: u8, method: u8) -> MthdBody {
        MthdBody {
            version,
            method,
            pad: [0; 6],
        }
    }

    /// The messages that NVK sends, with the sizes that it sends.
    #[test]
    fn what_nvk_sends() -> Result {
        let device = message(header(kind::NEW, 0, 0, 0), &new(0, 0x1234, 0x80), 16)?;
        assert_eq!(device.len(), 72);
        assert!(parse(&device)? == Message::NewDevice { object: 0x1234 });

        let info = message(header(kind::MTHD, 0, 0, 0x1234), &mthd(0, 0), 104)?;
        assert_eq!(info.len(), 136);
        assert!(parse(&info)? == Message::Info { object: 0x1234 });

        let classes = message(header(kind::SCLASS, 0xff, 3, 0), &sclass(0, 16), 128)?;
        assert_eq!(classes.len(), 160);
        let expected = Message::Classes {
            channel: 3,
            room: 16,
        };
        assert!(parse(&classes)? == expected);

        let engine = message(header(kind::NEW, 0xff, 3, 0), &new(0, 7, 0xc7b5), 0)?;
        assert_eq!(engine.len(), 56);
        let expected = Message::NewEngine {
            channel: 3,
            object: 7,
            class: 0xc7b5,
        };
        assert!(parse(&engine)? == expected);

        let delete = message(header(kind::DEL, 0, 0, 7), &(), 0)?;
        assert_eq!(delete.len(), 24);
        assert!(parse(&delete)? == Message::Delete { object: 7 });
        Ok(())
    }

    #[test]
    fn anything_else_is_refused() -> Result {
        let big = 1 << 32;
        let wrong = [
            // Types that there are not, and routes.
            message(header(0, 0, 0, 0), &(), 0)?,
            message(header(5, 0, 0, 0), &(), 0)?,
            message(header(0xff, 0xff, 0, 0), &(), 0)?,
            message(header(kind::DEL, 1, 0, 7), &(), 0)?,
            message(header(kind::DEL, 0xff, 0, 7), &(), 0)?,
            message(header(kind::MTHD, 0xff, 0, 7), &mthd(0, 0), 104)?,
            message(header(kind::SCLASS, 0, 0, 0), &sclass(0, 16), 128)?,
            // Lengths.
            message(header(kind::DEL, 0, 0, 7), &(), 1)?,
            message(header(kind::SCLASS, 0xff, 3, 0), &(), 7)?,
            message(header(kind::SCLASS, 0xff, 3, 0), &sclass(0, 16), 127)?,
            message(header(kind::SCLASS, 0xff, 3, 0), &sclass(0, 16), 129)?,
            message(header(kind::NEW, 0, 0, 0), &(), 31)?,
            message(header(kind::MTHD, 0, 0, 7), &mthd(0, 0), 103)?,
            message(header(kind::MTHD, 0, 0, 7), &mthd(0, 0), 105)?,
            // Versions, methods, classes, parents, channels.
            message(header(kind::SCLASS, 0xff, 3, 0), &sclass(1, 16), 128)?,
            message(header(kind::NEW, 0, 0, 0), &new(1, 7, 0x80), 16)?,
            message(header(kind::MTHD, 0, 0, 7), &mthd(1, 0), 104)?,
            message(header(kind::MTHD, 0, 0, 7), &mthd(0, 1), 104)?,
            message(header(kind::NEW, 0, 0, 0), &new(0, 7, 0x2080), 16)?,
            message(header(kind::NEW, 0, 0, 1), &new(0, 7, 0x80), 16)?,
            message(header(kind::NEW, 0xff, big, 0), &new(0, 7, 0xc7b5), 0)?,
        ];

        for bytes in &wrong {
            assert!(parse(bytes) == Err(EINVAL));
        }
        // Short headers, and a header's version.
        let bytes = message(header(kind::DEL, 0, 0, 7), &(), 0)?;
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]) == Err(EINVAL));
        }
        let mut bytes = bytes;
        bytes[0] = 1;
        assert!(parse(&bytes) == Err(EINVAL));
        Ok(())
    }

    #[test]
    fn classes_fill_the_room_there_is() -> Result {
        let mut bytes = message(header(kind::SCLASS, 0xff, 3, 0), &sclass(0, 2), 16)?;

        put_classes(&mut bytes, 2, &[0xc797, 0xc7c0, 0xc7b5])?;
        // The count is that of all classes.
        assert_eq!(bytes[25], 3);
        assert_eq!(bytes[32..34], [0x97, 0xc7]);
        assert_eq!(bytes[40..42], [0xc0, 0xc7]);
        assert_eq!(bytes.len(), 48);
        Ok(())
    }
}
