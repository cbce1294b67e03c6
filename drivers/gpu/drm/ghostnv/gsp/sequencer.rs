// SPDX-License-Identifier: GPL-2.0

//! The CPU sequencer: register programs that the firmware has the CPU run during boot.
//!
//! Some registers are out of the GSP's reach until the CPU has stepped in, so GSP-RM sends a list
//! of writes, polls and core controls and waits. The list is words: a command, then its operands.
//! The whole program is decoded before its first command is run, so that a malformed one changes
//! nothing.
//!
//! Facts: open-gpu-kernel-modules 570.144, `rmgspseq.h` and `kernel_gsp.c`
//! (`kgspExecuteSequencerBuffer_IMPL`), where the count of used words is an index into the words.
//! How long a poll without a limit of its own may take is a fact of nouveau and nova-core.

use kernel::{
    io::{
        Io, //
    },
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

use crate::gpu::Hw;

use super::abi::{
    sequencer as op,
    SequencerHeader, //
};

/// Registers that a program may save for the firmware.
const SAVED_REGISTERS: usize = 8;

/// Longest delay and poll that a program may ask for.
const LIMIT_US: u32 = 5_000_000;

/// Longest that a whole program may take: it may have thousands of delays.
const PROGRAM_LIMIT: Delta = Delta::from_secs(10);

/// How long a poll may take of which the program does not say it, which it does by a zero.
const POLL_DEFAULT: Delta = Delta::from_secs(4);

/// How long a poll may take, if `left` is left for the program.
fn poll_limit(timeout_us: u32, left: Delta) -> Delta {
    let own = match timeout_us {
        0 => POLL_DEFAULT,
        us => Delta::from_micros(i64::from(us.min(LIMIT_US))),
    };
    own.min(left)
}

/// How long a delay is, if `left` is left for the program.
///
/// # Errors
///
/// `ETIMEDOUT` if that is too little. One that is cut short is none.
fn delay(microseconds: u32, left: Delta) -> Result<Delta> {
    let delay = Delta::from_micros(i64::from(microseconds.min(LIMIT_US)));
    if delay > left {
        return Err(ETIMEDOUT);
    }
    Ok(delay)
}

/// What is left for a program that has run for so long; `ETIMEDOUT` if there is nothing.
fn left(elapsed: Delta) -> Result<Delta> {
    let left = PROGRAM_LIMIT - elapsed;
    if left <= Delta::ZERO {
        return Err(ETIMEDOUT);
    }
    Ok(left)
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Write {
        register: u32,
        value: u32,
    },
    Modify {
        register: u32,
        mask: u32,
        value: u32,
    },
    Poll {
        register: u32,
        mask: u32,
        value: u32,
        timeout_us: u32,
        error: u32,
    },
    Delay {
        microseconds: u32,
    },
    Store {
        register: u32,
        index: usize,
    },
    CoreReset,
    CoreStart,
    CoreWaitForHalt,
    CoreResume,
}

/// A program whose header has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Program<'a> {
    words: &'a [u8],
}

/// Takes one word off the front.
fn word(words: &mut &[u8]) -> Result<u32> {
    let (word, rest) = words.split_first_chunk::<4>().ok_or(EIO)?;
    *words = rest;
    Ok(u32::from_le_bytes(*word))
}

impl<'a> Program<'a> {
    /// Checks that the words in use are there.
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self> {
        let (header, words) = SequencerHeader::read_from_prefix(payload).map_err(|_| EIO)?;
        let used = usize::try_from(header.used_words)?;
        if header.used_words > header.buffer_words {
            return Err(EIO);
        }
        let bytes = used.checked_mul(size_of::<u32>()).ok_or(EIO)?;
        Ok(Self {
            words: words.get(..bytes).ok_or(EIO)?,
        })
    }

    /// Decodes the commands, in order; ends after the first error.
    pub(crate) fn commands(&self) -> impl Iterator<Item = Result<Command>> + 'a {
        let mut words = self.words;
        core::iter::from_fn(move || {
            if words.is_empty() {
                return None;
            }
            let command = Self::command(&mut words);
            if command.is_err() {
                words = &[];
            }
            Some(command)
        })
    }

    fn command(words: &mut &[u8]) -> Result<Command> {
        Ok(match word(words)? {
            op::REG_WRITE => Command::Write {
                register: word(words)?,
                value: word(words)?,
            },
            op::REG_MODIFY => Command::Modify {
                register: word(words)?,
                mask: word(words)?,
                value: word(words)?,
            },
            op::REG_POLL => Command::Poll {
                register: word(words)?,
                mask: word(words)?,
                value: word(words)?,
                timeout_us: word(words)?,
                error: word(words)?,
            },
            op::DELAY_US => Command::Delay {
                microseconds: word(words)?,
            },
            op::REG_STORE => Command::Store {
                register: word(words)?,
                index: usize::try_from(word(words)?)
                    .ok()
                    .filter(|index| *index < SAVED_REGISTERS)
                    .ok_or(EIO)?,
            },
            op::CORE_RESET => Command::CoreReset,
            op::CORE_START => Command::CoreStart,
            op::CORE_WAIT_FOR_HALT => Command::CoreWaitForHalt,
            op::CORE_RESUME => Command::CoreResume,
            _ => return Err(EIO),
        })
    }
}

/// What a program does to the GSP's core.
pub(crate) trait Core {
    fn reset(&mut self) -> Result;
    fn start(&mut self) -> Result;
    fn wait_for_halt(&mut self) -> Result;
    fn resume(&mut self) -> Result;
}

/// Runs a program, for [`PROGRAM_LIMIT`] at most, apart from what the core itself takes.
pub(crate) fn run(program: &Program<'_>, hw: Hw<'_>, core: &mut impl Core) -> Result {
    for command in program.commands() {
        command.inspect_err(|_| dev_err!(hw.dev, "GSP: malformed register program\n"))?;
    }
    let start: Instant<Monotonic> = Instant::now();
    for (index, command) in program.commands().enumerate() {
        let command = command?;
        left(start.elapsed())
            .and_then(|left| execute(command, left, hw, core))
            .inspect_err(|e| {
                dev_err!(
                    hw.dev,
                    "GSP: register program failed at command {index}, {command:x?}: {e:?}\n"
                )
            })?;
    }
    Ok(())
}

fn execute(command: Command, left: Delta, hw: Hw<'_>, core: &mut impl Core) -> Result {
    let bar = hw.bar;
    match command {
        Command::Write { register, value } => bar.try_write32(value, usize::try_from(register)?),
        Command::Modify {
            register,
            mask,
            value,
        } => {
            let register = usize::try_from(register)?;
            let old = bar.try_read32(register)?;
            bar.try_write32(old & !mask | value, register)
        }
        Command::Poll {
            register,
            mask,
            value,
            timeout_us,
            error,
        } => {
            let register = usize::try_from(register)?;
            let limit = poll_limit(timeout_us, left);
            // So that the loop below cannot fail by the register's number.
            bar.try_read32(register)?;
            hw.poll(Delta::from_micros(10), limit, || {
                bar.try_read32(register)
                    .is_ok_and(|got| got & mask == value)
            })
            .inspect_err(|_| dev_err!(hw.dev, "GSP: register poll failed, error {error:#x}\n"))
        }
        Command::Delay { microseconds } => {
            // The firmware asks for a duration; there is nothing else to wait for.
            fsleep(delay(microseconds, left)?);
            Ok(())
        }
        // The saved value goes nowhere that a 570 firmware reads; the access is what counts.
        Command::Store { register, .. } => bar.try_read32(usize::try_from(register)?).map(|_| ()),
        Command::CoreReset => core.reset(),
        Command::CoreStart => core.start(),
        Command::CoreWaitForHalt => core.wait_for_halt(),
        Command::CoreResume => core.resume(),
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_sequencer)]
mod tests {
    use super::*;

    /// A payload: the count of used words, and the words.
    fn payload(used: u32, words: &[u32]) -> KVec<u8> {
        let header = SequencerHeader {
            buffer_words: words.len() as u32,
            used_words: used,
            ..Default::default()
        };
        let mut out = KVec::new();
        let _ = out.extend_from_slice(header.as_bytes(), GFP_KERNEL);
        for word in words {
            let _ = out.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL);
        }
        out
    }

    #[test]
    fn commands_are_decoded_in_order() -> Result {
        let bytes = payload(10, &[0, 0x10, 1, 3, 50, 4, 0x20, 7, 5, 8]);
        let program = Program::parse(&bytes)?;
        let mut commands = program.commands();
        let mut expect = |command| {
            assert_eq!(commands.next(), Some(Ok(command)));
        };
        expect(Command::Write {
            register: 0x10,
            value: 1,
        });
        expect(Command::Delay { microseconds: 50 });
        expect(Command::Store {
            register: 0x20,
            index: 7,
        });
        expect(Command::CoreReset);
        expect(Command::CoreResume);
        assert_eq!(commands.next(), None);
        Ok(())
    }

    #[test]
    fn polls_and_delays_have_limits() {
        for (us, poll, pause) in [
            (0, 4_000_000, 0),
            (1, 1, 1),
            (LIMIT_US, 5_000_000, 5_000_000),
            (u32::MAX, 5_000_000, 5_000_000),
        ] {
            assert!(poll_limit(us, PROGRAM_LIMIT) == Delta::from_micros(poll));
            assert!(delay(us, PROGRAM_LIMIT) == Ok(Delta::from_micros(pause)));
        }
    }

    #[test]
    fn a_program_has_a_limit() {
        let short = Delta::from_micros(3);
        for (us, poll) in [(0, 3), (1, 1), (3, 3), (4, 3), (u32::MAX, 3)] {
            assert!(poll_limit(us, short) == Delta::from_micros(poll));
            assert_eq!(delay(us, short).is_ok(), us <= 3);
        }
        let nearly = PROGRAM_LIMIT - short;
        assert!(left(Delta::ZERO) == Ok(PROGRAM_LIMIT));
        assert!(left(nearly) == Ok(short));
        for late in [PROGRAM_LIMIT, PROGRAM_LIMIT + short] {
            assert!(left(late) == Err(ETIMEDOUT));
        }
    }

    #[test]
    fn an_empty_program_has_no_commands() -> Result {
        assert_eq!(Program::parse(&payload(0, &[]))?.commands().count(), 0);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_an_error() -> Result {
        // More words in use than sent, an unknown command, missing operands, a bad index.
        assert!(Program::parse(&payload(2, &[5])).is_err());
        assert!(Program::parse(&payload(u32::MAX, &[5])).is_err());
        for words in [&[9u32][..], &[1, 0x10, 0xff], &[4, 0x20, 8]] {
            let bytes = payload(words.len() as u32, words);
            let mut commands = Program::parse(&bytes)?.commands();
            assert!(matches!(commands.next(), Some(Err(_))));
            assert!(commands.next().is_none());
        }
        Ok(())
    }
}
