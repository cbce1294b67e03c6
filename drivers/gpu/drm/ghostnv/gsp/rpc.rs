// SPDX-License-Identifier: GPL-2.0

//! Calls to the firmware.
//!
//! A call is a type: its function number, its name for messages, how its request is written and
//! what its reply means. All have one deadline, `rpc_timeout_ms`: none is known to take long, and a
//! firmware that is busy says so. One call is under way at a time. Its caller sleeps until an
//! interrupt of the GSP, looks at the message ring, hands events to whoever they concern and takes
//! the reply. Before it goes it handles what has come behind that: there may be no other interrupt
//! for it. A call that gets no reply by its deadline is named in the log and ends the conversation:
//! the reply might still come and be taken for another call's, and a firmware that stopped
//! answering does not start again.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    fmt,
    io::Io,
    new_mutex, pci,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

use crate::{
    gpu::{
        chip::Chip,
        lost::Lost,
        Hw, //
    },
    irq::watch::{
        Failure,
        Watchlist, //
    },
    regs::BAR0_SIZE, //
};

use super::{
    abi::{
        function,
        RcTriggered,
        MESSAGE_SIZE_MAX, //
    },
    buffer::Buffer,
    doorbell,
    events::{
        EngineName,
        Event, //
    },
    history::{
        History,
        Record, //
    },
    pump::{
        pump,
        step,
        Pumped,
        Step, //
    },
    queue::{
        Rings,
        SharedMemory,
        Taken, //
    },
    signal::Signal,
    status::Status,
    wire, //
};

/// A request without a reply.
pub(crate) trait Notice {
    const FUNCTION: u32;
    const NAME: &'static str;

    /// Writes the payload.
    fn encode(&self, out: &mut Buffer) -> Result;
}

/// A request with a reply.
pub(crate) trait Call {
    const FUNCTION: u32;
    const NAME: &'static str;
    /// Most bytes of payload that a reply may have, at most [`MESSAGE_SIZE_MAX`].
    const REPLY_MAX: usize;
    type Reply;

    /// Writes the payload.
    fn encode(&self, out: &mut Buffer) -> Result;
    /// Reads from the reply's payload, which may be anything, whether GSP-RM refused.
    fn status(_payload: &[u8]) -> Result<Result<(), Status>> {
        Ok(Ok(()))
    }
    /// Reads the reply's payload, which may be anything. May allocate, unless there is nothing in
    /// [`Self::Reply`].
    fn decode(payload: &[u8]) -> Result<Self::Reply>;
}

/// How long the firmware may take to make room in the command ring.
const SPACE_DEADLINE: Delta = Delta::from_secs(4);

/// How often a waiter looks by itself, should an interrupt get lost.
const LOST_INTERRUPT: Delta = Delta::from_millis(500);

/// How long an answer usually takes at most; then the waiter looks whether the GPU is still there.
const USUAL: Delta = Delta::from_millis(20);

/// How long to leave a firmware alone that is busy.
const BUSY: Delta = Delta::from_millis(2);

/// How long the firmware may take for a call.
fn time_limit() -> Delta {
    // Zero would end every conversation.
    let ms = crate::module_parameters::rpc_timeout_ms.value().max(1);
    Delta::from_millis(ms.into())
}

struct Inner {
    rings: Rings<SharedMemory>,
    /// Calls made so far.
    calls: u32,
    /// As large as messages can be.
    request: Buffer,
    outgoing: Buffer,
    incoming: Buffer,
    reply: Buffer,
    /// Messages that come while nobody calls go to the log. During boot they wait.
    open: bool,
}

/// The conversation with the firmware.
///
/// Shared by those who call and by the interrupt thread, which handles events that come while
/// nobody calls. The mutex orders calls; the memory of the rings lives as long as the link. Fences
/// may wait for the mutex, so nothing is allocated while it is held.
#[pin_data]
pub(crate) struct Link<'bound> {
    dev: &'bound Device<Bound>,
    pdev: &'bound pci::Device<Bound>,
    bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
    chip: &'static Chip,
    lost: Arc<Lost>,
    /// Others have memory that the GPU reaches.
    serves: AtomicFlag,
    /// The GPU is kept away from system memory.
    isolated: AtomicFlag,
    #[pin]
    signal: Signal,
    #[pin]
    watchlist: Watchlist<'bound>,
    history: History,
    #[pin]
    inner: Mutex<Inner>,
}

impl<'bound> Link<'bound> {
    /// Rings that the firmware has not seen yet.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
        chip: &'static Chip,
    ) -> Result<impl PinInit<Self, Error> + use<'bound>> {
        let dev = pdev.as_ref();
        let inner = Inner {
            rings: Rings::new(SharedMemory::new(dev)?)?,
            calls: 0,
            request: Buffer::new(MESSAGE_SIZE_MAX)?,
            outgoing: Buffer::new(MESSAGE_SIZE_MAX)?,
            incoming: Buffer::new(MESSAGE_SIZE_MAX)?,
            reply: Buffer::new(MESSAGE_SIZE_MAX)?,
            open: false,
        };
        Ok(try_pin_init!(Self {
            dev,
            pdev,
            bar,
            chip,
            lost: Lost::new()?,
            serves: AtomicFlag::new(false),
            isolated: AtomicFlag::new(false),
            signal <- Signal::new(),
            watchlist <- Watchlist::new(),
            history: History::new()?,
            inner <- new_mutex!(inner),
        }))
    }

    /// Registers and chip.
    pub(crate) fn hw(&self) -> Hw<'_> {
        Hw {
            dev: self.dev,
            bar: &self.bar,
            chip: self.chip,
        }
    }

    /// What the interrupt handler raises.
    pub(crate) fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Channels whose owners are told of interrupts and failures.
    pub(crate) fn watchlist(&self) -> &Watchlist<'bound> {
        &self.watchlist
    }

    /// The latest calls.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Remembers what came of a call.
    fn remember<R>(
        &self,
        (name, function): (&'static str, u32),
        make: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let start = Instant::now();
        let made = make();
        self.history.add(Record {
            name,
            function,
            start,
            took: start.elapsed(),
            result: made.as_ref().map(|_| ()).map_err(|e| *e),
        });
        made
    }

    /// Bus address of the rings' memory.
    pub(crate) fn queue_address(&self) -> u64 {
        self.inner.lock().rings.memory().dma_address()
    }

    /// Whether the GPU is lost. No calls are made any more then.
    pub(crate) fn lost(&self) -> &Arc<Lost> {
        &self.lost
    }

    /// Gives the GPU up, because of `cause`. From here on it reaches no system memory, nobody gets
    /// video memory, and all channels have failed.
    ///
    /// For process context. Fences may wait for it: it allocates nothing. Until the firmware is
    /// [`open`](Self::open) and once it is to be unloaded it is only the conversation that ends,
    /// since nobody has memory of his own then, and stopping the firmware needs DMA.
    pub(crate) fn lose(&self, cause: fmt::Arguments<'_>) {
        if self.lost.is_set() {
            return;
        }
        let gone = self.hw().gone();
        let serves = self.serves.load(Relaxed);
        if serves {
            // One that seems gone, too: it may be its registers alone that do not answer.
            self.isolate();
        }
        // Whoever sees this knows that the GPU is isolated.
        if !self.lost.set() {
            return;
        }
        if gone {
            dev_err!(self.dev, "{cause}: the GPU has left the bus\n");
        } else if serves {
            dev_err!(
                self.dev,
                "{cause}: the GPU is lost; unbind it, reset it (sysfs: reset) and bind it again\n"
            );
        } else {
            dev_err!(self.dev, "{cause}\n");
        }
        // The GPU is where it can do no harm: those who wait may free their memory.
        self.watchlist.lost();
    }

    /// Keeps the GPU away from system memory until it is reset. What it has written by then has
    /// arrived when this returns.
    pub(super) fn isolate(&self) {
        /// The command register, and its bit that lets the device master the bus.
        const COMMAND: usize = 0x4;
        const MASTER: u16 = 1 << 2;
        let config = self.pdev.config_space();

        self.isolated.store(true, Relaxed);
        // It is there in any device; an error of the bus cannot be told.
        if let Ok(command) = config.try_read16(COMMAND) {
            let _ = config.try_write16(command & !MASTER, COMMAND);
        }
        // What a device answers arrives after what it wrote before.
        let _ = config.try_read16(COMMAND);
    }

    /// Nobody has memory any more that the GPU reaches: the firmware can be unloaded, unless it was
    /// [isolated](Self::isolate) before, as this says.
    pub(super) fn retire(&self) -> bool {
        self.serves.store(false, Relaxed);
        self.isolated.load(Relaxed)
    }

    /// Sends a request that has no reply.
    pub(crate) fn send<N: Notice>(&self, notice: &N) -> Result {
        self.remember((N::NAME, N::FUNCTION), || {
            let mut inner = self.inner.lock();
            inner.request.clear();
            notice.encode(&mut inner.request)?;
            let posted = self.post(&mut inner, N::FUNCTION, N::NAME);
            self.settle(&mut inner);
            posted
        })
    }

    /// Makes a call and waits for its reply.
    ///
    /// A firmware that is busy for the moment, and says that the same call may succeed later, is
    /// asked again until the time for a call is over. Allocates nothing if the reply says nothing.
    pub(crate) fn call<C: Call>(&self, call: &C) -> Result<C::Reply> {
        self.remember((C::NAME, C::FUNCTION), || self.make(call))
    }

    fn make<C: Call>(&self, call: &C) -> Result<C::Reply> {
        const { assert!(C::REPLY_MAX <= MESSAGE_SIZE_MAX) };
        let start: Instant<Monotonic> = Instant::now();
        // What the reply says is read without the mutex.
        let mut copy = match size_of::<C::Reply>() {
            0 => None,
            _ => Some(Buffer::new(C::REPLY_MAX)?),
        };
        loop {
            let mut inner = self.inner.lock();
            let answered = self.exchange(&mut inner, call);
            self.settle(&mut inner);
            let answered = answered?;
            let malformed = |_: &Error| dev_err!(self.dev, "GSP: malformed reply to {}\n", C::NAME);
            // Whether it was done nobody knows.
            let unknown = |_: &Error| self.lose(fmt!("GSP: malformed reply to {}", C::NAME));
            let done = match answered {
                Ok(()) => C::status(&inner.reply).inspect_err(unknown)?,
                refused => refused,
            };
            let Err(status) = done else {
                let Some(copy) = &mut copy else {
                    return C::decode(&inner.reply).inspect_err(malformed);
                };
                copy.append(&inner.reply)?;
                drop(inner);
                return C::decode(copy).inspect_err(malformed);
            };
            if !status.is_busy() || start.elapsed() >= time_limit() {
                dev_err!(self.dev, "GSP: {} refused: {status}\n", C::NAME);
                return Err(status.into());
            }
            drop(inner);
            fsleep(BUSY);
        }
    }

    /// Makes a call and has its reply in `inner.reply`, unless the reply's header says that there
    /// is none: a status there is about the request, one in the payload about what it asked for.
    fn exchange<C: Call>(&self, inner: &mut Inner, call: &C) -> Result<Result<(), Status>> {
        inner.request.clear();
        call.encode(&mut inner.request)?;
        inner.reply.clear();
        self.post(inner, C::FUNCTION, C::NAME)?;

        // Whether all of the reply so far says that more of it follows.
        let mut started = false;
        self.wait(inner, C::NAME, time_limit(), |message, reply| {
            let expected = if started {
                function::CONTINUATION_RECORD
            } else {
                C::FUNCTION
            };
            if message.function != expected {
                return Ok(Step::Other);
            }
            if let Err(status) = Status::check(message.result) {
                return Ok(Step::Done(Err(status)));
            }
            let total = reply.len().checked_add(message.payload.len()).ok_or(EIO)?;
            if total > C::REPLY_MAX {
                // More of it may follow, and be taken for the reply to another call.
                self.lose(fmt!("GSP: reply to {} has {total} bytes or more", C::NAME));
                return Err(EIO);
            }
            reply.append(message.payload)?;
            started = true;
            // A full message is continued, unless nothing is left to say.
            Ok(
                if message.payload.len() < wire::PAYLOAD_MAX || total == C::REPLY_MAX {
                    Step::Done(Ok(()))
                } else {
                    Step::More
                },
            )
        })
    }

    /// Waits for an event; `handle` gets each one and says what it was.
    pub(crate) fn wait_for_event(
        &self,
        name: &'static str,
        deadline: Delta,
        mut handle: impl FnMut(&Event<'_>) -> Result<Step<()>>,
    ) -> Result {
        let mut inner = self.inner.lock();
        let waited = self.wait(
            &mut inner,
            name,
            deadline,
            |message, _| match Event::parse(message) {
                Ok(None) => Ok(Step::Other),
                Ok(Some(event)) => handle(&event),
                Err(e) => {
                    dev_err!(
                        self.dev,
                        "GSP: malformed event {:#x} before {name}\n",
                        message.function
                    );
                    Err(e)
                }
            },
        );
        self.settle(&mut inner);
        waited
    }

    /// Lets the interrupt's thread handle what comes while nobody calls.
    pub(crate) fn open(&self) {
        self.serves.store(true, Relaxed);
        self.inner.lock().open = true;
        self.drain();
    }

    /// Handles what has come while nobody called. Called by the interrupt's thread.
    ///
    /// A firmware that goes on talking for longer than a call may take is as good as dead.
    pub(crate) fn drain(&self) {
        self.settle(&mut self.inner.lock());
    }

    /// Handles what is in the ring, which is nobody's. If there is nothing it costs a look.
    ///
    /// For an interrupt that comes while somebody [listens](Signal::listen) no thread is woken. So
    /// whoever has listened calls this once he does not any more.
    fn settle(&self, inner: &mut Inner) {
        if !inner.open || self.lost.is_set() {
            return;
        }
        let limit = time_limit();
        let pumped = pump(Instant::now(), limit, || {
            step(self.next(inner)?, || {
                self.unclaimed(&inner.incoming);
                Ok(Step::<()>::Other)
            })
        });
        match pumped {
            Ok(Pumped::Late) => self.lose(fmt!(
                "GSP: events without end, for {} ms",
                limit.as_millis()
            )),
            Ok(_) => (),
            Err(e) => self.lose(fmt!("GSP: message queue is broken: {e:?}")),
        }
    }

    /// Puts a request into the ring and rings.
    fn post(&self, inner: &mut Inner, function: u32, name: &'static str) -> Result {
        self.lost.check()?;
        let Inner {
            rings,
            request,
            outgoing,
            calls,
            ..
        } = inner;
        for (function, piece) in wire::pieces(function, request) {
            wire::encode(outgoing, rings.next_sequence(), *calls, function, piece)?;
            let put = self.signal.listen().patiently(
                Instant::now(),
                SPACE_DEADLINE,
                // The firmware does not interrupt for space it made.
                |_| Delta::from_millis(1),
                |_| match rings.put(outgoing) {
                    Err(EAGAIN) => Ok(None),
                    result => result.map(Some),
                },
            );
            put.and_then(|put| put.ok_or(EAGAIN)).inspect_err(|e| {
                self.lose(fmt!("GSP: no room in the command queue for {name}: {e:?}"))
            })?;
            doorbell(self.hw());
        }
        *calls = calls.wrapping_add(1);
        Ok(())
    }

    /// Takes the next message, if there is one, into `incoming`.
    fn next(&self, inner: &mut Inner) -> Result<Taken> {
        let taken = inner.rings.take(&mut inner.incoming)?;
        if let Taken::Bad(why) = &taken {
            dev_err!(self.dev, "GSP: message dropped: {why:?}\n");
        }
        Ok(taken)
    }

    /// Deals with a message that no caller asked for.
    fn unclaimed(&self, bytes: &[u8]) {
        let Ok(message) = wire::decode(bytes) else {
            return;
        };
        match Event::parse(&message) {
            Ok(Some(Event::RcTriggered(rc))) => self.channel_failed(&rc),
            Ok(Some(event)) => event.log(self.dev),
            Ok(None) => dev_warn!(
                self.dev,
                "GSP: reply to function {} that nobody waits for\n",
                message.function
            ),
            Err(_) => dev_err!(self.dev, "GSP: malformed event {:#x}\n", message.function),
        }
    }

    /// Tells the owner of a channel that the firmware has stopped it.
    fn channel_failed(&self, rc: &RcTriggered) {
        let failure = Failure {
            xid: rc.kind,
            address: u64::from(rc.fault_address_hi) << 32 | u64::from(rc.fault_address_lo),
            fault: rc.fault_type,
        };
        let mut known = false;
        self.watchlist.failed(rc.channel, &failure, |owner| {
            known = true;
            dev_err!(
                self.dev,
                "channel {} of {owner}, engine {}: stopped by error {} at {:#x}\n",
                rc.channel,
                EngineName(rc.engine_type),
                failure.xid,
                failure.address
            );
        });
        if !known {
            Event::RcTriggered(*rc).log(self.dev);
        }
    }

    /// Takes messages until `accept` is satisfied.
    fn wait<R>(
        &self,
        inner: &mut Inner,
        name: &'static str,
        deadline: Delta,
        mut accept: impl FnMut(&wire::Message<'_>, &mut Buffer) -> Result<Step<R>>,
    ) -> Result<R> {
        let start: Instant<Monotonic> = Instant::now();
        let nap = |waited| {
            if waited < USUAL {
                USUAL
            } else {
                LOST_INTERRUPT
            }
        };
        let look = |waited| {
            // What the GPU answers arrives after what it wrote before, so the look that follows
            // misses nothing that the GPU has said by then.
            if waited >= USUAL && self.hw().gone() {
                self.lose(fmt!("GSP: no {name}"));
                return Err(ENODEV);
            }
            // The last look, too, may take more than one message.
            let pumped = pump(start, deadline.max(waited + USUAL), || {
                let taken = self.next(inner).inspect_err(|e| {
                    self.lose(fmt!("GSP: no {name}: message queue is broken: {e:?}"))
                })?;
                step(taken, || {
                    let message = wire::decode(&inner.incoming)?;
                    let step = accept(&message, &mut inner.reply)?;
                    if matches!(step, Step::Other) {
                        self.unclaimed(&inner.incoming);
                    }
                    Ok(step)
                })
            })?;
            Ok(match pumped {
                Pumped::Done(result) => Some(result),
                Pumped::Empty | Pumped::Late => None,
            })
        };
        let found = self.signal.listen().patiently(start, deadline, nap, look)?;
        found.ok_or_else(|| {
            self.lose(fmt!("GSP: no {name} within {} ms", deadline.as_millis()));
            ETIMEDOUT
        })
    }
}
