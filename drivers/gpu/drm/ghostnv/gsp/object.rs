// SPDX-License-Identifier: GPL-2.0

//! The calls that make GSP-RM's objects, control them and free them.
//!
//! A class, and a control, is a type: its number, its name for messages, its parameters' layout.
//! Parameters start as zeroes, the type fills in what it means, and they come back in the reply,
//! from where the type takes what it wants to know.
//!
//! Facts: open-gpu-kernel-modules 570.144, `rpc.c` (`rpcRmApiAlloc_GSP`, `rpcRmApiControl_GSP`,
//! `rpcFree_v03_00`).

use kernel::prelude::*;
use zerocopy::KnownLayout;
use zerocopy::{
    Immutable, //
};

use super::{
    abi::{
        function,
        RmAlloc,
        RmControl,
        RmFree, //
    },
    buffer::Buffer,
    rpc::Call,
    status::Status, //
};

/// Parameters as they are in messages.
pub(crate) trait Params: FromBytes + IntoBytes + KnownLayout + Immutable {}
impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Params for T {}

/// A class of objects.
pub(crate) trait Class {
    const NAME: &'static str;
    type Params: Params;

    /// The class's number, which may depend on the chip.
    fn class(&self) -> u32;
    /// The handle by which GSP-RM looks for the object, if the driver may not choose.
    fn handle(&self) -> Option<u32> {
        None
    }
    /// Fills in the parameters, which are zeroes.
    fn fill(&self, params: &mut Self::Params);
}

/// A control of an object.
pub(crate) trait Control {
    const COMMAND: u32;
    const NAME: &'static str;
    type Params: Params;
    type Reply;

    /// Fills in the parameters, which are zeroes.
    fn fill(&self, params: &mut Self::Params);
    /// Reads what the firmware returned, which may be anything.
    fn read(params: &Self::Params) -> Result<Self::Reply>;
}

/// Writes a header and zeroed parameters, and has `fill` write the latter.
fn encode<H: IntoBytes + Immutable, P: Params>(
    header: &H,
    out: &mut Buffer,
    fill: impl FnOnce(&mut P),
) -> Result {
    out.append(header.as_bytes())?;
    let start = out.len();
    out.append_zeros(size_of::<P>())?;
    let params = out.get_mut(start..).ok_or(EINVAL)?;
    fill(P::mut_from_bytes(params).map_err(|_| EINVAL)?);
    Ok(())
}

/// Reads the status out of a header.
fn status<H: FromBytes>(payload: &[u8], status: impl FnOnce(&H) -> u32) -> Result<u32> {
    let (header, _) = H::read_from_prefix(payload).map_err(|_| EIO)?;
    Ok(status(&header))
}

/// Makes an object.
pub(crate) struct Alloc<'a, C> {
    pub(crate) client: u32,
    pub(crate) parent: u32,
    pub(crate) object: u32,
    pub(crate) class: &'a C,
}

impl<C: Class> Call for Alloc<'_, C> {
    const FUNCTION: u32 = function::GSP_RM_ALLOC;
    const NAME: &'static str = C::NAME;
    const REPLY_MAX: usize = size_of::<RmAlloc>() + size_of::<C::Params>();
    type Reply = ();

    fn encode(&self, out: &mut Buffer) -> Result {
        let header = RmAlloc {
            client: self.client,
            parent: self.parent,
            object: self.object,
            class: self.class.class(),
            params_size: u32::try_from(size_of::<C::Params>())?,
            ..Default::default()
        };
        encode(&header, out, |params| self.class.fill(params))
    }

    fn status(payload: &[u8]) -> Result<Result<(), Status>> {
        status(payload, |header: &RmAlloc| header.status).map(Status::check)
    }

    fn decode(_: &[u8]) -> Result {
        Ok(())
    }
}

/// Controls an object.
pub(crate) struct ControlCall<'a, C> {
    pub(crate) client: u32,
    pub(crate) object: u32,
    pub(crate) control: &'a C,
}

impl<C: Control> Call for ControlCall<'_, C> {
    const FUNCTION: u32 = function::GSP_RM_CONTROL;
    const NAME: &'static str = C::NAME;
    const REPLY_MAX: usize = size_of::<RmControl>() + size_of::<C::Params>();
    type Reply = C::Reply;

    fn encode(&self, out: &mut Buffer) -> Result {
        let header = RmControl {
            client: self.client,
            object: self.object,
            command: C::COMMAND,
            params_size: u32::try_from(size_of::<C::Params>())?,
            ..Default::default()
        };
        encode(&header, out, |params| self.control.fill(params))
    }

    fn status(payload: &[u8]) -> Result<Result<(), Status>> {
        status(payload, |header: &RmControl| header.status).map(Status::check)
    }

    fn decode(payload: &[u8]) -> Result<C::Reply> {
        let params = payload.get(size_of::<RmControl>()..).ok_or(EIO)?;
        let (params, _) = C::Params::ref_from_prefix(params).map_err(|_| EIO)?;
        C::read(params)
    }
}

/// Frees an object and all below it.
pub(crate) struct Free {
    pub(crate) client: u32,
    pub(crate) object: u32,
}

impl Call for Free {
    const FUNCTION: u32 = function::FREE;
    const NAME: &'static str = "FREE";
    const REPLY_MAX: usize = size_of::<RmFree>();
    type Reply = ();

    fn encode(&self, out: &mut Buffer) -> Result {
        let free = RmFree {
            client: self.client,
            object: self.object,
            ..Default::default()
        };
        out.append(free.as_bytes())
    }

    fn status(payload: &[u8]) -> Result<Result<(), Status>> {
        status(payload, |free: &RmFree| free.status).map(Status::check)
    }

    fn decode(_: &[u8]) -> Result {
        Ok(())
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_object)]
mod tests {
    use super::*;

    struct Example;

    impl Control for Example {
        const COMMAND: u32 = 0x1234;
        const NAME: &'static str = "EXAMPLE";
        type Params = [u8; 4];
        type Reply = u8;

        fn fill(&self, params: &mut [u8; 4]) {
            params[1] = 7;
        }

        fn read(params: &[u8; 4]) -> Result<u8> {
            Ok(params[3])
        }
    }

    #[test]
    fn controls_carry_their_parameters() -> Result {
        let mut out = Buffer::new(4096)?;
        ControlCall {
            client: 1,
            object: 2,
            control: &Example,
        }
        .encode(&mut out)?;
        let words = [1, 2, 0x1234, 0, 4, 0].map(u32::to_le_bytes);
        assert_eq!(&out[..24], words.as_flattened());
        assert_eq!(&out[24..], [0, 7, 0, 0]);

        out[27] = 9;
        assert_eq!(ControlCall::<Example>::decode(&out)?, 9);
        assert_eq!(ControlCall::<Example>::status(&out)?, Ok(()));
        out[12] = 0x51;
        assert!(ControlCall::<Example>::status(&out)?.is_err());
        Ok(())
    }

    #[test]
    fn short_replies_are_errors() {
        for length in 0..28 {
            assert!(ControlCall::<Example>::decode(&[0; 28][..length]).is_err());
        }
        for length in 0..24 {
            assert!(ControlCall::<Example>::status(&[0; 24][..length]).is_err());
        }
    }
}
