// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The socket: messages in, replies out.
//!
//! One `recvmsg` takes whatever has arrived into a buffer, and messages are cut from it, because a
//! trapped register access should cost two system calls and no more. Descriptors belong to the
//! message that holds the last byte of the read that brought them: the kernel never merges data
//! past a message that carries some.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::wire::{FLAG_ERROR, FLAG_REPLY, HEADER, Header, MAX_FDS, MAX_MESSAGE};

/// Descriptors kept for messages that have not fully arrived; more are closed.
const MOST_HELD_FDS: usize = 2 * MAX_FDS;

/// A message that was cut from the stream.
pub struct Message {
    /// Its header.
    pub header: Header,
    /// Where its body is in the connection's buffer; None if it was too large and is drained.
    pub body: Option<std::ops::Range<usize>>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

/// What an attempt to receive brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Some bytes.
    Data,
    /// Nothing for now.
    Empty,
    /// The peer is gone.
    Closed,
}

/// A connection.
pub struct Conn {
    socket: OwnedFd,
    buf: Vec<u8>,
    /// Unread bytes of `buf`.
    from: usize,
    to: usize,
    /// Position of `from` in the stream.
    position: u64,
    /// Descriptors, each with the stream position just past the read that brought it.
    fds: VecDeque<(u64, OwnedFd)>,
    /// Bytes of an oversized message still to throw away.
    skip: u64,
}

impl Conn {
    /// Takes a connected stream socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buf: vec![0; 2 * MAX_MESSAGE],
            from: 0,
            to: 0,
            position: 0,
            fds: VecDeque::new(),
            skip: 0,
        }
    }

    /// For `poll`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes what has arrived, without waiting.
    pub fn receive(&mut self) -> Result<Received, Errno> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buf.len() {
            self.buf.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut self.buf[self.to..])];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = match recvmsg(&self.socket, &mut iov, &mut control, flags) {
            Ok(msg) => msg.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Empty),
            Err(Errno::CONNRESET | Errno::PIPE) => 0,
            Err(e) => return Err(e),
        };
        if got == 0 {
            return Ok(Received::Closed);
        }
        self.to += got;
        let end = self.position + (self.to - self.from) as u64;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                let room = MOST_HELD_FDS - self.fds.len();
                self.fds.extend(fds.take(room).map(|fd| (end, fd)));
            }
        }
        self.drain_oversized();
        Ok(Received::Data)
    }

    /// Cuts the next whole message; an error means that the stream cannot be trusted any more.
    pub fn next_message(&mut self) -> Result<Option<Message>, Errno> {
        let waiting = &self.buf[self.from..self.to];
        let Some(header) = Header::parse(waiting) else { return Ok(None) };
        let size = header.size as usize;
        if size < HEADER {
            return Err(Errno::INVAL);
        }
        if size > MAX_MESSAGE {
            self.skip = size as u64;
            let fds = self.fds_before(self.position + size as u64);
            self.drain_oversized();
            return Ok(Some(Message { header, body: None, fds }));
        }
        if waiting.len() < size {
            return Ok(None);
        }
        let body = self.from + HEADER..self.from + size;
        self.from += size;
        self.position += size as u64;
        let fds = self.fds_before(self.position);
        Ok(Some(Message { header, body: Some(body), fds }))
    }

    /// The bytes of a message's body; valid until the next [`Conn::receive`].
    pub fn body(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or(&[])
    }

    fn fds_before(&mut self, end: u64) -> Vec<OwnedFd> {
        let mut out = Vec::new();
        while self.fds.front().is_some_and(|(at, _)| *at <= end) {
            out.extend(self.fds.pop_front().map(|(_, fd)| fd));
        }
        out
    }

    fn drain_oversized(&mut self) {
        let n = self.skip.min((self.to - self.from) as u64);
        self.skip -= n;
        self.position += n;
        self.from += n as usize;
    }

    /// Sends a reply in one write; `body` and a descriptor may be empty.
    pub fn reply(&self, to: &Header, body: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let size = (HEADER + body.len()) as u32;
        let header = Header { size, flags: FLAG_REPLY, error: 0, ..*to }.bytes();
        self.send(&header, body, fd)
    }

    /// Sends an error reply.
    pub fn reply_error(&self, to: &Header, error: Errno) -> Result<(), Errno> {
        let flags = FLAG_REPLY | FLAG_ERROR;
        let error = error.raw_os_error() as u32;
        let header = Header { size: HEADER as u32, flags, error, ..*to }.bytes();
        self.send(&header, &[], None)
    }

    fn send(&self, header: &[u8], body: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let total = header.len() + body.len();
        let mut sent = 0;
        while sent < total {
            // A large reply may go out in parts; the descriptor goes with the first.
            let head = header.get(sent..).unwrap_or(&[]);
            let tail = body.get(sent.saturating_sub(header.len())..).unwrap_or(&[]);
            let iov = [IoSlice::new(head), IoSlice::new(tail)];
            match sendmsg(&self.socket, &iov, &mut control, SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            }
            control.clear();
        }
        Ok(())
    }
}
