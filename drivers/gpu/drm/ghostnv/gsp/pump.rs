// SPDX-License-Identifier: GPL-2.0

//! Taking messages out of the ring, in bounded time.
//!
//! Whoever takes messages does so until there is the one he wants, or none. A firmware may post
//! them faster than they are taken, or damaged ones without end: that ends when time is up.

use kernel::{
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use super::queue::Taken;

/// What a look at one message came to.
pub(crate) enum Step<R> {
    /// What was waited for.
    Done(R),
    /// The caller's, but not all of it.
    More,
    /// Not for the caller.
    Other,
}

/// What came of taking messages until there was a reason to stop.
pub(super) enum Pumped<R> {
    /// What was waited for.
    Done(R),
    /// There are no more for now.
    Empty,
    /// Time is up, though there are more: a firmware may post them without end.
    Late,
}

/// Has `step` take messages, which says that there is none, by `None`, or what one came to.
pub(super) fn pump<R>(
    start: Instant<Monotonic>,
    limit: Delta,
    mut step: impl FnMut() -> Result<Option<Step<R>>>,
) -> Result<Pumped<R>> {
    loop {
        match step()? {
            Some(Step::Done(result)) => return Ok(Pumped::Done(result)),
            Some(Step::More | Step::Other) if start.elapsed() >= limit => return Ok(Pumped::Late),
            Some(Step::More | Step::Other) => (),
            None => return Ok(Pumped::Empty),
        }
    }
}

/// What taking a message came to, of which `message` says what a good one is.
///
/// A damaged one is nobody's, and counts: there may be no end to them either.
pub(super) fn step<R>(
    taken: Taken,
    message: impl FnOnce() -> Result<Step<R>>,
) -> Result<Option<Step<R>>> {
    match taken {
        Taken::Nothing => Ok(None),
        Taken::Message => message().map(Some),
        Taken::Bad(_) => Ok(Some(Step::Other)),
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_pump)]
mod tests {
    use super::*;
    use crate::gsp::wire;

    const SHORT: Delta = Delta::from_millis(5);
    const LONG: Delta = Delta::from_secs(60);

    #[test]
    fn messages_without_end_do_not_take_for_ever() -> Result {
        for more in [true, false] {
            let start = Instant::now();
            // Should nobody look at the time, it ends otherwise.
            let mut left = 1_000_000;
            let pumped = pump(start, SHORT, || {
                left -= 1;
                Ok((left > 0 && start.elapsed() < LONG).then_some(if more {
                    Step::<()>::More
                } else {
                    Step::Other
                }))
            })?;
            assert!(matches!(pumped, Pumped::Late));
            assert!(start.elapsed() >= SHORT);
        }
        Ok(())
    }

    #[test]
    fn nor_do_damaged_ones() -> Result {
        let start = Instant::now();
        let mut left = 1_000_000;
        let pumped = pump(start, SHORT, || {
            left -= 1;
            let taken = if left > 0 && start.elapsed() < LONG {
                Taken::Bad(wire::FrameError::Checksum)
            } else {
                Taken::Nothing
            };
            step(taken, || Ok(Step::Done(())))
        })?;
        assert!(matches!(pumped, Pumped::Late));
        assert!(matches!(
            step(Taken::Message, || Ok(Step::Done(1)))?,
            Some(Step::Done(1))
        ));
        assert!(step(Taken::Nothing, || Ok(Step::Done(1)))?.is_none());
        assert_eq!(step::<()>(Taken::Message, || Err(EIO)).err(), Some(EIO));
        Ok(())
    }

    #[test]
    fn a_reply_in_time_is_taken() -> Result {
        let mut steps = [
            Some(Step::Other),
            Some(Step::More),
            Some(Step::Done(7)),
            None,
        ]
        .into_iter();
        let pumped = pump(Instant::now(), LONG, || Ok(steps.next().flatten()))?;
        assert!(matches!(pumped, Pumped::Done(7)));
        let pumped = pump(Instant::now(), LONG, || Ok(steps.next().flatten()))?;
        assert!(matches!(pumped, Pumped::Empty));
        // One that has come is taken, however late it is looked at.
        let pumped = pump(Instant::now(), Delta::ZERO, || Ok(Some(Step::Done(8))))?;
        assert!(matches!(pumped, Pumped::Done(8)));
        let failed = pump(Instant::now(), LONG, || Err::<Option<Step<()>>, _>(EIO));
        assert_eq!(failed.err(), Some(EIO));
        Ok(())
    }
}
