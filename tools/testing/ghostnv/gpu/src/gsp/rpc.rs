// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The RPC dispatcher: a request in, its effect, and a reply that repeats the request with the
//! fields that RM fills in. RM's own status is a field of the payload; `rpc_result` only says that
//! the function itself could not be run.

use super::bytes::{put, put_u32, u8_at, u32_at, u64_at};
use super::function::{self, Outcome, Status, status};
use super::queue::{Message, Request, Spoil};
use super::rm::{Allocation, LEVEL_SUSPEND};
use super::{Core, Delayed, Phase, static_info, system_info};
use crate::env::Env;
use crate::env::fault::{RpcAction, RpcFault};
use crate::env::trace::Kind;
use crate::machine::Machine;

/// Fixed part of `rpc_gsp_rm_control_v03_00`.
pub const CONTROL: usize = 24;
/// Fixed part of `rpc_gsp_rm_alloc_v03_00`.
pub const ALLOC: usize = 32;
/// `rpc_alloc_memory_v13_01` before the list of pages.
pub const MEMORY: usize = 56;
/// `rpc_free_v03_00`.
pub const FREE: usize = 16;
/// `UpdateBarPde_v15_00`.
pub const BAR_PDE: usize = 24;
/// `rpc_unloading_guest_driver_v1F_07`.
pub const UNLOADING: usize = 8;

/// Most replies that wait for their time, and most bytes of them.
pub const MAX_DELAYED: usize = 64;
const MAX_DELAYED_BYTES: usize = 32 << 20;

/// Longest payload that a fault makes of a reply.
const MAX_RESIZED: usize = 200_000;

/// Where the status of a function is in its payload.
fn status_field(function: u32) -> Option<usize> {
    match function {
        function::GSP_RM_CONTROL | function::FREE => Some(12),
        function::GSP_RM_ALLOC => Some(16),
        _ => None,
    }
}

/// Where what the driver asked for begins in the payload of a reply.
fn params_field(function: u32) -> usize {
    match function {
        function::GSP_RM_CONTROL => CONTROL,
        function::GSP_RM_ALLOC => ALLOC,
        _ => 0,
    }
}

/// The control or class that a payload is about.
fn selector(function: u32, payload: &[u8]) -> u32 {
    match function {
        function::GSP_RM_CONTROL => u32_at(payload, 8),
        function::GSP_RM_ALLOC | function::ALLOC_MEMORY => u32_at(payload, 12),
        _ => 0,
    }
}

fn trace_in(env: &mut Env, request: &Request) {
    let selector = selector(request.function, &request.payload);
    let object = match request.function {
        function::GSP_RM_CONTROL => u32_at(&request.payload, 4),
        function::GSP_RM_ALLOC | function::FREE | function::ALLOC_MEMORY => {
            u32_at(&request.payload, 8)
        }
        _ => 0,
    };
    let now = env.clock.ns();
    env.trace.record(now, Kind::RpcIn, 0, request.function, selector.into(), object.into());
}

/// Records a message to the driver.
pub fn trace_out(env: &mut Env, message: &Message) {
    let Message { function, result, payload, .. } = message;
    let status = status_field(*function).map_or(*result, |off| u32_at(payload, off));
    let now = env.clock.ns();
    let selector = selector(*function, payload);
    env.trace.record(now, Kind::RpcOut, 0, *function, selector.into(), status.into());
}

impl Core {
    /// Serves one request.
    pub fn request(&mut self, hw: &mut Machine, request: Request) {
        trace_in(&mut hw.env, &request);
        match request.function {
            function::GSP_SET_SYSTEM_INFO => self.system_info(hw, &request.payload),
            function::SET_REGISTRY => self.registry(hw, &request.payload),
            _ => self.request_with_reply(hw, request),
        }
    }

    fn system_info(&mut self, hw: &mut Machine, payload: &[u8]) {
        let Phase::Booting { system_info: false, registry } = self.phase else {
            return out_of_order(hw, "SET_SYSTEM_INFO");
        };
        if registry {
            out_of_order(hw, "SET_REGISTRY before SET_SYSTEM_INFO");
        }
        system_info::check(hw, payload);
        self.phase = Phase::Booting { system_info: true, registry };
        self.boot_progress(hw);
    }

    fn registry(&mut self, hw: &mut Machine, payload: &[u8]) {
        let Phase::Booting { system_info, registry: false } = self.phase else {
            return out_of_order(hw, "SET_REGISTRY");
        };
        system_info::check_registry(hw, payload);
        self.phase = Phase::Booting { system_info, registry: true };
        self.boot_progress(hw);
    }

    fn boot_progress(&mut self, hw: &mut Machine) {
        if self.phase == (Phase::Booting { system_info: true, registry: true }) {
            self.init_done(hw);
        }
    }

    fn request_with_reply(&mut self, hw: &mut Machine, request: Request) {
        let Request { function, sequence, mut payload } = request;
        let about = selector(function, &payload);
        let fault = hw.env.faults.rpc(function, about);
        hw.env.firmware.requests += 1;
        hw.env.faults.requested();
        let phase = self.phase;
        let result = match fault.map(|f| f.action) {
            Some(RpcAction::Status) => {
                let status = fault.map_or(0, |f| f.status);
                match status_field(function) {
                    Some(off) => put_u32(&mut payload, off, status),
                    None => {
                        self.reply_status(hw, function, sequence, payload, status);
                        return self.follow(hw, about);
                    }
                }
                Status::OK
            }
            _ => status(self.run(hw, function, &mut payload)),
        };
        let mut message = Message { function, sequence, result: result.0, payload };
        let spoil = match fault.map(|f| f.action) {
            Some(RpcAction::Swallow) => return,
            // Firmware that is asked more than this while it dawdles answers at once.
            Some(RpcAction::Delay) if self.delays_no_more() => None,
            Some(RpcAction::Delay) => {
                // A core that answers late also halts late.
                let then = (self.phase != phase).then_some(self.phase);
                self.phase = phase;
                let ms = fault.map_or(0, |f| f.ms);
                let due = hw.env.clock.ns().saturating_add(ms.saturating_mul(1_000_000));
                self.delayed.push(Delayed { due, message, then });
                return;
            }
            Some(RpcAction::Garbage) => {
                let from = params_field(function).min(message.payload.len());
                message.payload.iter_mut().skip(from).for_each(|b| *b = 0xff);
                None
            }
            Some(RpcAction::Field) => {
                spoil_field(&mut message.payload, fault);
                None
            }
            Some(RpcAction::Resize) => {
                let value = fault.map_or(0, |f| f.value.of(message.payload.len() as u64, 4));
                // All that a driver could take for one message, and then some.
                let limit = MAX_RESIZED.min(value as usize);
                message.payload.resize(limit, 0xff);
                None
            }
            Some(RpcAction::Header) => {
                fault.map(|f| Spoil::Header { at: f.at, width: f.width, value: f.value })
            }
            Some(RpcAction::Pointer) => fault.map(|f| Spoil::Pointer(f.value)),
            Some(RpcAction::Checksum) => Some(Spoil::Checksum),
            Some(RpcAction::Length) => Some(Spoil::Length),
            Some(RpcAction::Signature) => Some(Spoil::Signature),
            Some(RpcAction::Status | RpcAction::Behind) | None => None,
        };
        self.send(hw, &message, spoil);
        self.follow(hw, about);
    }

    /// Whether there is no room for another reply that waits.
    fn delays_no_more(&self) -> bool {
        let bytes: usize = self.delayed.iter().map(|d| d.message.payload.len()).sum();
        self.delayed.len() >= MAX_DELAYED || bytes >= MAX_DELAYED_BYTES
    }

    fn reply_status(
        &mut self,
        hw: &mut Machine,
        function: u32,
        sequence: u32,
        payload: Vec<u8>,
        result: u32,
    ) {
        self.send(hw, &Message { function, sequence, result, payload }, None);
    }

    /// Runs a function and leaves its reply in `payload`.
    fn run(&mut self, hw: &mut Machine, function: u32, payload: &mut Vec<u8>) -> Outcome {
        if self.phase != Phase::Running {
            out_of_order(hw, &format!("function {function}"));
            return Err(Status::INVALID_STATE);
        }
        match function {
            function::GET_GSP_STATIC_INFO => {
                fixed(hw, function, payload, static_info::SIZE)?;
                *payload = static_info::reply(hw.chip, &self.rm.vram);
                Ok(())
            }
            function::UPDATE_BAR_PDE => {
                fixed(hw, function, payload, BAR_PDE)?;
                self.rm.update_bar_pde(
                    hw,
                    u32_at(payload, 0),
                    u64_at(payload, 8),
                    u64_at(payload, 16),
                )
            }
            function::GSP_RM_CONTROL => self.control(hw, payload),
            function::GSP_RM_ALLOC => self.alloc(hw, payload),
            function::FREE => {
                fixed(hw, function, payload, FREE)?;
                let (client, object) = (u32_at(payload, 0), u32_at(payload, 8));
                let freed = self.rm.free(hw, client, object);
                put_u32(payload, 12, status(freed).0);
                Ok(())
            }
            function::ALLOC_MEMORY => {
                if payload.len() < MEMORY {
                    return bad_length(hw, function, payload.len());
                }
                let allocated = self.rm.alloc_memory(hw, payload);
                payload.truncate(MEMORY);
                allocated
            }
            function::UNLOADING_GUEST_DRIVER => {
                fixed(hw, function, payload, UNLOADING)?;
                self.unload(hw, u8_at(payload, 0) != 0, u32_at(payload, 4));
                Ok(())
            }
            _ => {
                hw.env.judge.note(format!("rpc function {function} not supported"));
                Err(Status::NOT_SUPPORTED)
            }
        }
    }

    fn control(&mut self, hw: &mut Machine, payload: &mut [u8]) -> Outcome {
        let (head, params) = split(hw, function::GSP_RM_CONTROL, payload, CONTROL, 16)?;
        let (client, object, cmd) = (u32_at(head, 0), u32_at(head, 4), u32_at(head, 8));
        let done = self.rm.control(hw, client, object, cmd, params);
        put_u32(head, 12, status(done).0);
        Ok(())
    }

    fn alloc(&mut self, hw: &mut Machine, payload: &mut [u8]) -> Outcome {
        let (head, params) = split(hw, function::GSP_RM_ALLOC, payload, ALLOC, 20)?;
        let ask = Allocation {
            client: u32_at(head, 0),
            parent: u32_at(head, 4),
            handle: u32_at(head, 8),
            class: u32_at(head, 12),
        };
        let done = self.rm.alloc(hw, &ask, params).map(|handle| put_u32(head, 8, handle));
        put_u32(head, 16, status(done).0);
        Ok(())
    }

    /// RM shuts down: for good, or keeping everything for a resume.
    fn unload(&mut self, hw: &mut Machine, in_pm_transition: bool, level: u32) {
        let suspended = level == LEVEL_SUSPEND;
        if in_pm_transition != suspended {
            let text = format!("unload to level {level}, bInPMTransition {in_pm_transition}");
            hw.env.violation("rm-params", text);
        }
        if suspended {
            self.rm.suspend(hw);
        }
        self.phase = Phase::Halted { suspended };
    }
}

/// Changes a field of a payload as a fault asks.
pub fn spoil_field(payload: &mut [u8], fault: Option<RpcFault>) {
    let Some(fault) = fault else { return };
    let width = usize::from(fault.width.clamp(1, 8));
    let mut word = [0; 8];
    for (i, byte) in word.iter_mut().enumerate().take(width) {
        *byte = u8_at(payload, fault.at.saturating_add(i));
    }
    let new = fault.value.of(u64::from_le_bytes(word), fault.width).to_le_bytes();
    put(payload, fault.at, &new[..width]);
}

/// Splits a payload into its header and as many parameter bytes as the header says.
fn split<'a>(
    hw: &mut Machine,
    function: u32,
    payload: &'a mut [u8],
    header: usize,
    size_field: usize,
) -> Outcome<(&'a mut [u8], &'a mut [u8])> {
    let len = payload.len();
    let size = u32_at(payload, size_field) as usize;
    if header.checked_add(size) != Some(len) {
        bad_length(hw, function, len)?;
    }
    payload.split_at_mut_checked(header).ok_or(Status::INVALID_PARAM_STRUCT)
}

/// Checks the size of a payload of fixed size.
fn fixed(hw: &mut Machine, function: u32, payload: &[u8], size: usize) -> Outcome {
    if payload.len() == size { Ok(()) } else { bad_length(hw, function, payload.len()) }
}

fn bad_length(hw: &mut Machine, function: u32, len: usize) -> Outcome {
    hw.env.violation("rpc-length", format!("function {function} with a payload of {len:#x} bytes"));
    Err(Status::INVALID_PARAM_STRUCT)
}

fn out_of_order(hw: &mut Machine, what: &str) {
    hw.env.violation("rpc-order", format!("{what} does not fit the boot sequence"));
}
