// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The loop: one thread for messages, engines and firmware.
//!
//! Whatever waits in the socket is served first, because a guest CPU stands still until its read is
//! answered; then the card works for a bounded slice. A sleep costs about 10 us to wake from, so the
//! loop spins for a moment before it sleeps, but only while spinning has lately been worth it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

use super::conn::{Conn, Received};
use super::doorbell::LOOK_NS;
use super::server::Server;
use crate::host::Step;

/// Slice of work between two looks at the socket, ns.
const BUDGET: u64 = 30_000;
/// Messages served before the card gets a slice all the same.
const MOST_MESSAGES: usize = 256;
/// Longest spin before a sleep.
const SPIN_IDLE: Duration = Duration::from_micros(20);
/// A sleep this short would have been better spun through: its wake-up cost as much.
const SHORT_SLEEP: Duration = Duration::from_micros(50);
/// The same while a channel waits for a semaphore.
const SPIN_BLOCKED: Duration = Duration::from_micros(60);
/// Sleep while a channel waits for a semaphore: doubles from the first to the second, ns.
const BLOCKED: (u64, u64) = (50_000, 200_000);
/// Longest sleep: how soon a request to stop is noticed, ns.
const IDLE: u64 = 200_000_000;
/// Longest sleep while faults are planned, because those may be due by time, ns.
const IDLE_FAULTS: u64 = 1_000_000;

/// A listening socket; its file goes away with it.
pub struct Listener<'a> {
    socket: OwnedFd,
    path: &'a Path,
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path);
    }
}

impl<'a> Listener<'a> {
    /// Creates the socket; a stale one from an earlier run is replaced.
    pub fn bind(path: &'a Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
            let _ = std::fs::remove_file(path);
        }
        let with = || format!("listen on {}", path.display());
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .with_context(with)?;
        let address = SocketAddrUnix::new(path).with_context(with)?;
        bind(&socket, &address).with_context(with)?;
        listen(&socket, 1).with_context(with)?;
        Ok(Self { socket, path })
    }

    /// Waits for the client; None if asked to stop first.
    pub fn accept(&self, stop: &AtomicBool) -> anyhow::Result<Option<Conn>> {
        while !stop.load(Ordering::Relaxed) {
            if wait(self.socket.as_fd(), IDLE).context("wait for a client")? {
                let client = accept_with(&self.socket, SocketFlags::CLOEXEC).context("accept")?;
                return Ok(Some(Conn::new(client)));
            }
        }
        Ok(None)
    }
}

/// Sleeps until the descriptor is readable, at most `ns`; says whether it is.
fn wait(fd: BorrowedFd<'_>, ns: u64) -> Result<bool, Errno> {
    let timeout =
        Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)) {
        Ok(n) => Ok(n > 0),
        Err(Errno::INTR) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Serves a client until it goes away or `stop` is set.
pub fn run(conn: &mut Conn, server: &mut Server, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut idle = Idle::default();
    while !stop.load(Ordering::Relaxed) {
        match serve_waiting(conn, server).context("vfio-user connection")? {
            None => break,
            Some(0) => {}
            Some(_) => idle.active(),
        }
        let step = server.work(BUDGET);
        if step == Step::Busy || idle.keep_spinning(step) {
            std::hint::spin_loop();
            continue;
        }
        let ns = idle.sleep_time(step, server);
        if ns > 0 {
            let begin = Instant::now();
            let woken = wait(conn.fd(), ns).context("wait for a message")?;
            idle.slept(woken, begin.elapsed());
        }
    }
    server.disconnect();
    Ok(())
}

/// Serves what has arrived; None when the client is gone.
fn serve_waiting(conn: &mut Conn, server: &mut Server) -> Result<Option<usize>, Errno> {
    let mut served = 0;
    loop {
        while let Some(message) = conn.next_message()? {
            match server.serve(conn, message) {
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(None),
                other => other?,
            }
            served += 1;
            if served >= MOST_MESSAGES {
                return Ok(Some(served));
            }
        }
        match conn.receive()? {
            Received::Data => {}
            Received::Empty => return Ok(Some(served)),
            Received::Closed => return Ok(None),
        }
    }
}

/// Decides between spinning and sleeping.
struct Idle {
    /// When a message last came or a sleep last ended.
    since: Instant,
    /// Above zero while spinning pays: it ends in messages, or sleeps turn out shorter than spins.
    worth: i32,
    spinning: bool,
    blocked_ns: u64,
}

impl Default for Idle {
    fn default() -> Self {
        Self { since: Instant::now(), worth: 0, spinning: false, blocked_ns: BLOCKED.0 }
    }
}

impl Idle {
    const MOST_WORTH: i32 = 8;

    /// Messages were served.
    fn active(&mut self) {
        if self.spinning {
            self.worth = (self.worth + 2).min(Self::MOST_WORTH);
        }
        self.since = Instant::now();
        self.blocked_ns = BLOCKED.0;
        self.spinning = self.worth > 0;
    }

    fn keep_spinning(&mut self, step: Step) -> bool {
        let limit = if step == Step::Blocked { SPIN_BLOCKED } else { SPIN_IDLE };
        if self.spinning && self.since.elapsed() >= limit {
            self.spinning = false;
            self.worth -= 1;
        }
        self.spinning
    }

    /// How long to sleep, in nanoseconds.
    fn sleep_time(&mut self, step: Step, server: &Server) -> u64 {
        let env = &server.gpu.hw.env;
        let mut ns = if env.faults.is_empty() { IDLE } else { IDLE_FAULTS };
        if step == Step::Blocked {
            ns = self.blocked_ns;
            self.blocked_ns = (2 * ns).min(BLOCKED.1);
        }
        if server.shares_doorbell() {
            ns = ns.min(LOOK_NS);
        }
        match server.gpu.deadline() {
            Some(at) => ns.min(at.saturating_sub(env.clock.ns())),
            None => ns,
        }
    }

    /// A sleep ended; a short one would have been better spun through.
    fn slept(&mut self, woken: bool, time: Duration) {
        if woken && time < SHORT_SLEEP {
            self.worth = (self.worth + 1).min(Self::MOST_WORTH);
        }
    }
}
