// SPDX-License-Identifier: GPL-2.0

//! What the firmware tells without having been asked.
//!
//! Each event is checked once, here, and is then a value that cannot be malformed. An event that
//! this driver does not know is not an error: later builds of a release may add some.
//!
//! Facts: open-gpu-kernel-modules 570.144, `rpc_global_enums.h` and `g_rpc-structures.h`.

use kernel::{
    device::Device,
    fmt,
    prelude::*, //
};

use super::{
    abi::{
        engine_type,
        event,
        OsErrorLog,
        PostEvent,
        RcTriggered, //
    },
    sequencer::Program,
    wire::Message, //
};

/// An event with its payload.
pub(crate) enum Event<'a> {
    /// The firmware has initialised the GPU and takes calls.
    InitDone,
    /// The firmware wants the CPU to write registers that it cannot reach itself.
    RunSequencer(Program<'a>),
    /// Something happened that a client had registered for.
    Posted(PostEvent),
    /// A channel made an error and has been stopped.
    RcTriggered(RcTriggered),
    /// An engine's access was refused by the MMU.
    MmuFault,
    /// The firmware reports an error in words.
    OsError {
        /// Number known to users as Xid.
        xid: u32,
        channel: u32,
        text: &'a str,
    },
    /// Output of the firmware's own log, or a record of it, that needs the release's string table
    /// to be read.
    Diagnostic,
    /// One that this driver does not know.
    Unknown(u32),
}

/// An engine type as people know it.
pub(super) struct EngineName(pub(super) u32);

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Copy engines in each of the two ranges of numbers.
        const COPIES: u32 = 10;
        let from = |first: u32| self.0.checked_sub(first).filter(|n| *n < COPIES);

        if self.0 == engine_type::GR0 {
            f.write_str("GR0")
        } else if let Some(n) = from(engine_type::COPY0) {
            write!(f, "CE{n}")
        } else if let Some(n) = from(engine_type::COPY10) {
            write!(f, "CE{}", n + COPIES)
        } else {
            write!(f, "type {:#x}", self.0)
        }
    }
}

/// The text of a field that the firmware may not have terminated; what is no text is dropped.
fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => bytes
            .get(..e.valid_up_to())
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or_default(),
    }
    .trim_end()
}

impl<'a> Event<'a> {
    /// Says what a message tells; `None` when it is a reply, `EIO` when it is too short.
    pub(crate) fn parse(message: &Message<'a>) -> Result<Option<Self>> {
        let payload = message.payload;
        Ok(Some(match message.function {
            function if function < event::FIRST => return Ok(None),
            event::GSP_INIT_DONE => Self::InitDone,
            event::GSP_RUN_CPU_SEQUENCER => Self::RunSequencer(Program::parse(payload)?),
            event::POST_EVENT => {
                Self::Posted(PostEvent::read_from_prefix(payload).map_err(|_| EIO)?.0)
            }
            event::RC_TRIGGERED => {
                Self::RcTriggered(RcTriggered::read_from_prefix(payload).map_err(|_| EIO)?.0)
            }
            event::MMU_FAULT_QUEUED => Self::MmuFault,
            event::OS_ERROR_LOG => {
                let (log, _) = OsErrorLog::read_from_prefix(payload).map_err(|_| EIO)?;
                let at = core::mem::offset_of!(OsErrorLog, text);
                Self::OsError {
                    xid: log.kind,
                    channel: log.channel,
                    text: text(payload.get(at..at + log.text.len()).ok_or(EIO)?),
                }
            }
            event::UCODE_LIBOS_PRINT | event::LOCKDOWN_NOTICE | event::POST_NOCAT_RECORD => {
                Self::Diagnostic
            }
            function => Self::Unknown(function),
        }))
    }

    /// Writes an event that nobody waits for to the kernel's log.
    pub(crate) fn log(&self, dev: &Device) {
        match self {
            Self::OsError { xid, channel, text } => {
                dev_err!(dev, "GSP: Xid {xid}, channel {channel}: {text}\n")
            }
            Self::RcTriggered(rc) => dev_err!(
                dev,
                "GSP: channel {} on engine {} stopped by error {} at {:#x}\n",
                rc.channel,
                EngineName(rc.engine_type),
                rc.kind,
                u64::from(rc.fault_address_hi) << 32 | u64::from(rc.fault_address_lo)
            ),
            // What it means for a channel comes as an event of its own.
            Self::MmuFault => dev_dbg!(dev, "GSP: the MMU refused an engine's access\n"),
            Self::RunSequencer(_) => {
                dev_err!(dev, "GSP: register program outside of boot: not run\n")
            }
            Self::InitDone => dev_warn!(dev, "GSP: initialised again without having been asked\n"),
            Self::Posted(event) => dev_dbg!(
                dev,
                "GSP: event {:#x} of client {:#x}, {} bytes\n",
                event.notify_index,
                event.client,
                event.size
            ),
            Self::Diagnostic => (),
            Self::Unknown(function) => dev_dbg!(dev, "GSP: event {function:#x} ignored\n"),
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_events)]
mod tests {
    use super::*;

    fn message(function: u32, payload: &[u8]) -> Message<'_> {
        Message {
            function,
            result: 0,
            sequence: 0,
            payload,
        }
    }

    #[test]
    fn replies_are_no_events_and_unknown_events_are() -> Result {
        assert!(Event::parse(&message(65, &[]))?.is_none());
        assert!(matches!(
            Event::parse(&message(0x100f, &[]))?,
            Some(Event::Unknown(0x100f))
        ));
        assert!(matches!(
            Event::parse(&message(event::GSP_INIT_DONE, &[]))?,
            Some(Event::InitDone)
        ));
        Ok(())
    }

    #[test]
    fn short_payloads_are_errors() {
        for function in [
            event::GSP_RUN_CPU_SEQUENCER,
            event::POST_EVENT,
            event::RC_TRIGGERED,
            event::OS_ERROR_LOG,
        ] {
            assert!(Event::parse(&message(function, &[0; 8])).is_err());
        }
    }

    #[test]
    fn error_texts_end_where_they_end() -> Result {
        let mut payload = [b'x'; 272];
        payload[..4].copy_from_slice(&31u32.to_le_bytes());
        payload[12 + 4] = 0;
        let Some(Event::OsError {
            xid, text: words, ..
        }) = Event::parse(&message(event::OS_ERROR_LOG, &payload))?
        else {
            return Err(EINVAL);
        };
        assert_eq!((xid, words), (31, "xxxx"));
        assert_eq!(text(b"ok\xff\xfe"), "ok");
        assert_eq!(text(b"no end"), "no end");
        Ok(())
    }
}
