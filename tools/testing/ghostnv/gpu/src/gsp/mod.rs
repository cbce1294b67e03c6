// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The firmware's side: message queues, RPCs, and RM's object tree.
//!
//! Booter starts the RISC-V core with the address of the LibOS arguments. From there the GSP finds
//! the queues, reads SET_SYSTEM_INFO and SET_REGISTRY that the driver put there before boot or
//! after, and answers with an empty CPU sequencer script and GSP_INIT_DONE. From then on every
//! request gets its reply, until UNLOADING_GUEST_DRIVER halts the core: for good, or for a suspend
//! that keeps all objects until the core is started again with the resume arguments.

mod args;
mod bytes;
mod element;
mod events;
mod function;
mod queue;
mod rm;
mod rpc;
mod shapes;
mod static_info;
mod system_info;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::env::fault::{RpcAction, Stage};
use crate::machine::Machine;
use function::Status;
use queue::{Message, Queues, Spoil};
use rm::Rm;

pub use rm::Kind as ObjectKind;
pub use shapes::{Shape, shapes};

/// GSP mailbox 0 once the core has halted after UNLOADING_GUEST_DRIVER.
const HALTED: u32 = 0x8000_0000;
/// Nanoseconds that RM takes to restore the GPU. The event that says so must not come at once: a
/// driver with interrupts enabled takes it in its handler, before it begins to wait.
const RESTORE: u64 = 100_000_000;
/// Nanoseconds between looks at a full message ring.
const RETRY: u64 = 1_000_000;
/// Requests served before the bus gets its turn again.
const BATCH: usize = 64;

/// What booter verified and the GSP starts from.
#[derive(Debug, Clone, Default)]
pub struct BootInfo {
    /// Address of the LibOS init arguments (GSP mailboxes), system memory.
    pub libos_args: u64,
    /// From the WPR meta: start of all reserved VRAM (`nonWprHeapOffset`).
    pub reserved_start: u64,
    /// From the WPR meta: FRTS offset.
    pub frts: u64,
    /// From the WPR meta: VRAM size.
    pub fb_size: u64,
    /// Resumed from suspend (SR meta) rather than booted.
    pub resume: bool,
}

/// GSP-RM.
#[derive(Default)]
pub struct Gsp {
    /// Booted and not unloaded.
    pub running: bool,
    core: Option<Box<Core>>,
    /// When to look for room in the message ring again.
    retry: Option<u64>,
}

/// How far RM has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for what the driver must tell it first.
    Booting { system_info: bool, registry: bool },
    /// GSP_INIT_DONE was sent.
    Running,
    /// Halted by UNLOADING_GUEST_DRIVER.
    Halted { suspended: bool },
}

/// A message that is sent later.
struct Delayed {
    due: u64,
    message: Message,
    then: Option<Phase>,
}

/// An event that is sent right behind a reply.
struct Held {
    /// What the reply is to; any, if there is none.
    behind: Option<u32>,
    message: Message,
}

/// The software on the core.
struct Core {
    queues: Queues,
    /// Address of RMARGS.
    rmargs: u64,
    rm: Rm,
    phase: Phase,
    delayed: Vec<Delayed>,
    held: Vec<Held>,
    /// The command queue was not drained yet.
    kicked: bool,
    /// Fault: the command queue is never read.
    deaf: bool,
    /// When RM will be back after a resume.
    restore_at: Option<u64>,
}

impl Gsp {
    /// The RISC-V core starts; sets up queues and drains what is already in the command queue.
    pub fn start(&mut self, hw: &mut Machine, info: BootInfo) {
        if !self.is_suspended() {
            drop_objects(hw, self.core.take());
        }
        let old = self.core.take();
        self.running = false;
        if !info.resume {
            drop_objects(hw, old);
            self.core = Core::boot(hw, &info).map(Box::new);
        } else if let Some(core) = old {
            self.core = Some(core.resume(hw));
        } else {
            hw.env.violation("gsp-resume", "resume arguments, but nothing was suspended");
        }
        self.running = self.core.is_some();
        hw.env.firmware.boots += u64::from(self.running);
        self.step(hw);
    }

    /// Objects that the driver has at present.
    pub fn objects(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.rm.objects())
    }

    /// The driver wrote the queue doorbell (0x110c00).
    pub fn doorbell(&mut self, hw: &mut Machine) {
        if let Some(core) = self.core.as_mut().filter(|_| self.running) {
            core.kicked = true;
            self.step(hw);
        }
    }

    /// Delayed replies that are due, channel errors to report. Called after every slice of work.
    pub fn step(&mut self, hw: &mut Machine) {
        let Some(core) = self.core.as_mut().filter(|_| self.running) else { return };
        core.serve(hw);
        core.send_due(hw);
        core.report_channel_errors(hw);
        if core.phase == Phase::Running && !hw.env.faults.is_empty() {
            core.unasked_events(hw);
        }
        core.flush(hw);
        self.retry = core.queues.has_backlog().then(|| hw.env.clock.ns() + RETRY);
        if let Phase::Halted { suspended } = core.phase {
            self.running = false;
            hw.gsp_falcon.mailbox[0] = HALTED;
            hw.gsp_falcon.riscv_active = false;
            if !suspended {
                hw.env.firmware.unloads += 1;
                hw.env.firmware.objects_left += self.objects();
                drop_objects(hw, self.core.take());
            }
        }
    }

    /// Time (ns) of the next delayed reply, if any.
    pub fn deadline(&self) -> Option<u64> {
        let core = self.core.as_ref().filter(|_| self.running)?;
        if core.kicked && !core.deaf {
            return Some(0);
        }
        core.delayed.iter().map(|d| d.due).chain(self.retry).chain(core.restore_at).min()
    }

    /// The core stops (booter_unload); all RM objects are gone, unless they were suspended.
    pub fn stop(&mut self, hw: &mut Machine) {
        if !self.is_suspended() {
            drop_objects(hw, self.core.take());
        }
        self.running = false;
    }

    /// Function-level reset: like [`Gsp::stop`], but the chip forgets by itself.
    ///
    /// What was suspended survives, because hardware keeps it in memory.
    pub fn reset(&mut self) {
        if !self.is_suspended() {
            self.core = None;
        }
        self.running = false;
        self.retry = None;
    }

    fn is_suspended(&self) -> bool {
        self.core.as_ref().is_some_and(|c| c.phase == Phase::Halted { suspended: true })
    }

    /// Fires an event of the subdevice (`NV2080_NOTIFIERS_…`) at every client that asked for it.
    pub fn post_event(&mut self, hw: &mut Machine, notify_index: u32, data: &[u8]) {
        if let Some(core) = self.core.as_mut().filter(|_| self.running) {
            core.post_event(hw, notify_index, data);
            core.flush(hw);
        }
    }
}

/// Destroys what RM's objects hold in the chip.
fn drop_objects(hw: &mut Machine, core: Option<Box<Core>>) {
    if let Some(mut core) = core {
        core.rm.destroy_all(hw);
    }
}

impl Core {
    fn boot(hw: &mut Machine, info: &BootInfo) -> Option<Self> {
        let args = args::find(&mut hw.env, info.libos_args)?;
        if args.old_level != 0 || args.in_pm_transition {
            let text = format!("first boot with old level {}", args.old_level);
            hw.env.violation("gsp-boot-args", text);
        }
        Some(Self {
            queues: Queues::new(&mut hw.env, &args)?,
            rmargs: args.address,
            rm: Rm::new(hw, info)?,
            phase: Phase::Booting { system_info: false, registry: false },
            delayed: Vec::new(),
            held: Vec::new(),
            kicked: true,
            deaf: hw.env.faults.boot(Stage::Queue),
            restore_at: None,
        })
    }

    /// Continues after a suspend: RM's memory came back as it was, queue pointers included.
    ///
    /// LibOS does not start anew, so only RMARGS are read again, where they were.
    fn resume(mut self: Box<Self>, hw: &mut Machine) -> Box<Self> {
        let args = args::read(&mut hw.env, self.rmargs);
        if args.is_none_or(|a| a.old_level != rm::LEVEL_SUSPEND || !a.in_pm_transition) {
            hw.env.violation("gsp-resume", "RMARGS do not say that this is a resume");
        }
        self.deaf = hw.env.faults.boot(Stage::Queue);
        self.kicked = true;
        self.rm.resume(hw);
        self.phase = Phase::Booting { system_info: true, registry: true };
        self.restore_at = Some(hw.env.clock.ns() + RESTORE);
        self
    }

    /// Serves requests in the order of the command queue.
    fn serve(&mut self, hw: &mut Machine) {
        if self.deaf || !self.kicked {
            return;
        }
        for _ in 0..BATCH {
            if matches!(self.phase, Phase::Halted { .. }) {
                return;
            }
            let Some(request) = self.queues.receive(&mut hw.env) else {
                self.kicked = false;
                return;
            };
            self.request(hw, request);
            self.flush(hw);
        }
    }

    /// Tells the driver that RM is up. The script is always empty: drivers disagree about the unit
    /// of its length, and nova-core waits for one.
    fn init_done(&mut self, hw: &mut Machine) {
        self.phase = Phase::Running;
        if hw.env.faults.boot(Stage::InitDone) {
            return;
        }
        self.event(hw, function::GSP_RUN_CPU_SEQUENCER, vec![0; 40]);
        self.event(hw, function::GSP_INIT_DONE, Vec::new());
    }

    /// Sends an event; events have no sequence number and no result.
    fn event(&mut self, hw: &mut Machine, function: u32, payload: Vec<u8>) {
        let mut message = Message { function, sequence: 0, result: Status::OK.0, payload };
        let fault = hw.env.faults.event(function);
        match fault.map(|f| f.action) {
            Some(RpcAction::Swallow) => return,
            Some(RpcAction::Field) => rpc::spoil_field(&mut message.payload, fault),
            Some(RpcAction::Resize) => {
                let len = message.payload.len() as u64;
                message.payload.resize(fault.map_or(0, |f| f.value.of(len, 2)) as usize, 0xff);
            }
            // No more of them than of replies that wait.
            Some(RpcAction::Behind) if self.held.len() < rpc::MAX_DELAYED => {
                self.held.push(Held { behind: fault.and_then(|f| f.selector), message });
                return;
            }
            _ => {}
        }
        self.send(hw, &message, None);
    }

    fn send(&mut self, hw: &mut Machine, message: &Message, spoil: Option<Spoil>) {
        rpc::trace_out(&mut hw.env, message);
        self.queues.send(&mut hw.env, message, spoil);
    }

    /// A reply has been sent, to what this is the control or class of: events follow it.
    fn follow(&mut self, hw: &mut Machine, selector: u32) {
        let (now, later): (Vec<_>, _) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.behind.is_none_or(|behind| behind == selector));
        self.held = later;
        for held in now {
            self.send(hw, &held.message, None);
        }
    }

    fn send_due(&mut self, hw: &mut Machine) {
        let now = hw.env.clock.ns();
        if self.restore_at.is_some_and(|at| at <= now) {
            self.restore_at = None;
            self.init_done(hw);
        }
        let (due, later) =
            std::mem::take(&mut self.delayed).into_iter().partition(|d: &Delayed| d.due <= now);
        self.delayed = later;
        let due: Vec<Delayed> = due;
        for d in due {
            self.send(hw, &d.message, None);
            if let Some(phase) = d.then {
                self.phase = phase;
            }
        }
    }

    /// Moves messages into the ring and interrupts the CPU for them.
    fn flush(&mut self, hw: &mut Machine) {
        if self.queues.flush(&mut hw.env) {
            hw.gsp_interrupt();
        }
    }
}
