// SPDX-License-Identifier: GPL-2.0 OR MIT

//! vfio-user and PCI: how QEMU's `vfio-user-pci` client reaches the card.
//!
//! | file | what it knows |
//! |---|---|
//! | [`wire`] | messages as bytes |
//! | [`conn`] | the socket |
//! | [`server`] | what each request does |
//! | [`pci`] | configuration space |
//! | [`irq`] | event descriptors |
//! | [`doorbell`] | the usermode page as shared memory |
//! | [`serve`](mod@serve) | the loop that shares one thread between messages and engines |
//!
//! The server is written by hand because latency of a trapped register access is the figure that
//! every driver pays for: one `recvmsg`, one `sendmsg`, no allocation. Protocol facts are those of
//! QEMU's `docs/interop/vfio-user.rst`.

pub mod conn;
pub mod doorbell;
pub mod irq;
pub mod pci;
pub mod serve;
pub mod server;
pub mod wire;
