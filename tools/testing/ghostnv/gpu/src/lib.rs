// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An emulated NVIDIA GPU, honest enough for drivers that were not written for it.
//!
//! QEMU sees this program as a PCI device over vfio-user. The rooms are the hardware's, and data
//! enters at the top:
//!
//! | room | what lives there |
//! |---|---|
//! | [`bus`] | vfio-user, PCI configuration space, which BAR access goes where |
//! | [`gpu`] | the whole card: BAR0 decode, the order in which units run |
//! | [`gsp`] | the firmware's side: boot arguments, message queues, RPCs, RM's object tree |
//! | [`boot`] | what the high-secure microcode does: FWSEC, booter, WPR2; checks what it is given |
//! | [`machine`] | the silicon below the firmware, as one value that units can be handed |
//! | [`falcon`], [`vbios`], [`timer`], [`intr`], [`bar`] | one hardware unit each |
//! | [`host`] | channels, GPFIFO, PBDMA, runlists, host methods |
//! | [`engine`] | what methods reach: copy, inline-to-memory, and the recorded classes |
//! | [`mmu`] | page-table walks and a TLB that really caches |
//! | [`chip`] | one table a chip |
//! | [`report`] | what a run came to |
//! | [`env`](mod@env) | memory, judge, trace, fault plan, clock: what every unit may use |
//!
//! Everything runs on one thread. The bus serves one message, then the engines get a bounded slice
//! of work, so a run is repeatable and no lock can be wrong. The guest controls every input:
//! registers, memory, queues and page tables are hostile, and no input may panic, loop or allocate
//! without bound.
//!
//! The model never helps. What hardware would reject or could not see is a *violation* (see
//! [`env::judge`]); it is printed, counted, and fails the run with `--strict`.

pub mod bar;
pub mod boot;
pub mod bus;
pub mod chip;
pub mod engine;
pub mod env;
pub mod falcon;
pub mod firmware;
pub mod gpu;
pub mod gsp;
pub mod host;
pub mod intr;
pub mod machine;
pub mod mmu;
pub mod report;
pub mod timer;
pub mod trace_cmd;
pub mod vbios;
pub mod vectors;
