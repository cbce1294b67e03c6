// SPDX-License-Identifier: GPL-2.0 OR MIT
// Contains unsafe code: QEMU's plugin interface is a C library.
#![expect(unsafe_code, reason = "calls into QEMU")]

//! QEMU's plugin interface, version 7 (QEMU 11.1), as far as it is used here.
//!
//! Callbacks run on the thread of the guest's one processor. A block of instructions is *translated*
//! before it runs for the first time, which is when callbacks are attached to its instructions.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ops::Range;

/// Version of the interface that these declarations are of.
pub const VERSION: c_int = 7;

/// What QEMU tells a plugin about the machine.
#[repr(C)]
pub struct Info {
    target: *const c_char,
    version_min: c_int,
    version_now: c_int,
    system: bool,
    cpus: c_int,
    cpus_max: c_int,
}

impl Info {
    /// Whether it is a whole machine with one processor.
    pub fn is_single(&self) -> bool {
        self.system && self.cpus_max == 1
    }
}

/// A counter: a member of QEMU's array with one element for each processor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counter {
    board: usize,
    offset: usize,
}

/// A block of instructions under translation.
#[derive(Clone, Copy)]
pub struct Block(*const c_void);

/// An instruction in it.
#[derive(Clone, Copy)]
pub struct Instruction(*mut c_void);

/// An access to a device.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Physical address.
    pub address: u64,
    /// Bytes.
    pub size: u32,
    /// Whether it is a write.
    pub write: bool,
}

type Executed = extern "C" fn(c_uint, *mut c_void);
type Accessed = extern "C" fn(c_uint, u32, u64, *mut c_void);

const NO_REGISTERS: c_int = 0;
const ADD: c_int = 0;
const READ_AND_WRITE: c_int = 3;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        cb: extern "C" fn(*const c_void, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_register_atexit_cb(id: u64, cb: extern "C" fn(*mut c_void), data: *mut c_void);
    fn qemu_plugin_scoreboard_new(size: usize) -> usize;
    fn qemu_plugin_u64_get(counter: Counter, cpu: c_uint) -> u64;
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_data(insn: *const c_void, to: *mut c_void, len: usize) -> usize;
    fn qemu_plugin_insn_vaddr(insn: *const c_void) -> u64;
    fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        insn: *mut c_void,
        op: c_int,
        counter: Counter,
        value: u64,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut c_void,
        cb: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut c_void,
        cb: Accessed,
        flags: c_int,
        rw: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_get_hwaddr(info: u32, va: u64) -> *const c_void;
    fn qemu_plugin_hwaddr_is_io(place: *const c_void) -> bool;
    fn qemu_plugin_hwaddr_phys_addr(place: *const c_void) -> u64;
    fn qemu_plugin_mem_is_store(info: u32) -> bool;
    fn qemu_plugin_mem_size_shift(info: u32) -> c_uint;
}

impl Counter {
    /// A new counter.
    pub fn new() -> Self {
        // SAFETY: no conditions; it is never freed.
        Self { board: unsafe { qemu_plugin_scoreboard_new(size_of::<u64>()) }, offset: 0 }
    }

    /// Its value for the one processor.
    pub fn get(self) -> u64 {
        // SAFETY: it was made by `new`.
        unsafe { qemu_plugin_u64_get(self, 0) }
    }
}

impl Block {
    /// Its instructions.
    pub fn instructions(self) -> impl Iterator<Item = Instruction> {
        // SAFETY: blocks exist during their translation's callback only.
        let count = unsafe { qemu_plugin_tb_n_insns(self.0) };
        // SAFETY: as above, and the index is below the count.
        (0..count).map(move |i| Instruction(unsafe { qemu_plugin_tb_get_insn(self.0, i) }))
    }
}

impl Instruction {
    /// Its virtual address.
    pub fn address(self) -> u64 {
        // SAFETY: instructions exist during their block's callback only.
        unsafe { qemu_plugin_insn_vaddr(self.0) }
    }

    /// Its first bytes, and how many those are.
    pub fn bytes(self) -> ([u8; 8], usize) {
        let mut bytes = [0; 8];
        // SAFETY: as above; QEMU writes at most the length given.
        let len = unsafe { qemu_plugin_insn_data(self.0, bytes.as_mut_ptr().cast(), bytes.len()) };
        (bytes, len)
    }

    /// Counts each execution.
    pub fn count(self, counter: Counter) {
        // SAFETY: as above.
        unsafe { qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(self.0, ADD, counter, 1) }
    }

    /// Has `cb` called with `data` whenever it is executed.
    pub fn on_execute(self, cb: Executed, data: usize) {
        // SAFETY: as above; the data is a number.
        unsafe {
            qemu_plugin_register_vcpu_insn_exec_cb(self.0, cb, NO_REGISTERS, data as *mut c_void);
        }
    }

    /// Has `cb` called for each access to memory.
    pub fn on_access(self, cb: Accessed) {
        let none = std::ptr::null_mut();
        // SAFETY: as above.
        unsafe { qemu_plugin_register_vcpu_mem_cb(self.0, cb, NO_REGISTERS, READ_AND_WRITE, none) }
    }
}

/// The access to a device that a callback of [`Instruction::on_access`] is about, if it is one.
pub fn device_access(info: u32, va: u64) -> Option<Access> {
    // SAFETY: called in the callback only, with its arguments.
    unsafe {
        let place = qemu_plugin_get_hwaddr(info, va);
        if place.is_null() || !qemu_plugin_hwaddr_is_io(place) {
            return None;
        }
        Some(Access {
            address: qemu_plugin_hwaddr_phys_addr(place),
            size: 1 << qemu_plugin_mem_size_shift(info),
            write: qemu_plugin_mem_is_store(info),
        })
    }
}

extern "C" fn translated(block: *const c_void, _: *mut c_void) {
    super::translate(Block(block));
}

extern "C" fn exiting(_: *mut c_void) {
    super::finish();
}

/// Has [`super::translate`] and [`super::finish`] called.
pub fn start(id: u64) {
    let none = std::ptr::null_mut();
    // SAFETY: the functions live as long as the plugin, which is never unloaded.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated, none);
        qemu_plugin_register_atexit_cb(id, exiting, none);
    }
}

#[unsafe(no_mangle)]
static qemu_plugin_version: c_int = VERSION;

#[unsafe(no_mangle)]
extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let indices: Range<usize> = 0..argc.max(0) as usize;
    // SAFETY: QEMU passes `argc` strings, and its description of the machine.
    let (arguments, info) = unsafe {
        let text = |i| CStr::from_ptr(*argv.add(i)).to_string_lossy().into_owned();
        (indices.map(text).collect::<Vec<_>>(), &*info)
    };
    match super::install(id, info, &arguments) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("ghostnv-meter: {error}");
            1
        }
    }
}
