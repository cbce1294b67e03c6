// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Plays a vfio-user client over a socket pair: what QEMU does, and what nobody should.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use ghostnv_gpu::bus::conn::Conn;
use ghostnv_gpu::bus::doorbell::SharedPage;
use ghostnv_gpu::bus::serve::run;
use ghostnv_gpu::bus::server::Server;
use ghostnv_gpu::chip::Chip;
use ghostnv_gpu::env::Env;
use ghostnv_gpu::env::trace::Kind;
use ghostnv_gpu::gpu::Gpu;
use ghostnv_gpu::machine::Machine;
use ghostnv_gpu::report::Report;
use proptest::prelude::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

const NO_REPLY: u32 = 0x10;
const REPLY: u32 = 1;
const ERROR: u32 = 0x20;
const EINVAL: u32 = 22;
const E2BIG: u32 = 7;
const EOPNOTSUPP: u32 = 95;
const ENOSYS: u32 = 38;

struct Client {
    socket: UnixStream,
    server: JoinHandle<(Report, u64)>,
    next: u16,
}

struct Reply {
    flags: u32,
    error: u32,
    body: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Client {
    /// A server in its own thread, with its client end.
    fn start(shared: bool) -> Self {
        let (socket, other) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let chip = Chip::find("ga102").unwrap();
            let gpu = Gpu::new(Machine::new(chip, Env::new(64 << 20).unwrap(), None));
            let page = shared.then(|| SharedPage::new(chip.classes.usermode).unwrap());
            let mut server = Server::new(gpu, page);
            let mut conn = Conn::new(OwnedFd::from(other));
            let ended = run(&mut conn, &mut server, &AtomicBool::new(false));
            // A broken stream is an error of the client, not of the server.
            drop(ended);
            let doorbells = server.gpu.hw.env.trace.total(Kind::Doorbell);
            (Report::of(&server.gpu), doorbells)
        });
        Self { socket, server, next: 0 }
    }

    fn greeted(shared: bool) -> Self {
        let mut c = Self::start(shared);
        let reply = c.call(1, b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16}}\0", &[]);
        assert_eq!(reply.flags, REPLY);
        let text = std::str::from_utf8(&reply.body[4..reply.body.len() - 1]).unwrap();
        let caps: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(caps["capabilities"]["write_multiple"], true);
        c
    }

    fn send(&mut self, command: u16, flags: u32, body: &[u8], fds: &[BorrowedFd<'_>]) {
        self.next += 1;
        let mut message = Vec::new();
        message.extend(self.next.to_le_bytes());
        message.extend(command.to_le_bytes());
        message.extend((16 + body.len() as u32).to_le_bytes());
        message.extend(flags.to_le_bytes());
        message.extend([0; 4]);
        message.extend(body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let sent =
            sendmsg(&self.socket, &[IoSlice::new(&message)], &mut control, SendFlags::empty());
        assert_eq!(sent, Ok(message.len()));
    }

    fn reply(&mut self) -> Reply {
        let mut head = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [std::io::IoSliceMut::new(&mut head)];
        let got = recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        assert_eq!(got.bytes, 16);
        let fds = control
            .drain()
            .flat_map(|m| match m {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(u16::from_le_bytes([head[0], head[1]]), self.next);
        let mut body = vec![0; u32_at(&head, 4) as usize - 16];
        self.socket.read_exact(&mut body).unwrap();
        Reply { flags: u32_at(&head, 8), error: u32_at(&head, 12), body, fds }
    }

    fn call(&mut self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> Reply {
        self.send(command, 0, body, fds);
        self.reply()
    }

    fn ok(&mut self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> Vec<u8> {
        let reply = self.call(command, body, fds);
        assert_eq!((reply.flags, reply.error), (REPLY, 0), "command {command}");
        reply.body
    }

    fn error(&mut self, command: u16, body: &[u8]) -> u32 {
        let reply = self.call(command, body, &[]);
        assert_eq!((reply.flags, reply.body.len()), (REPLY | ERROR, 0));
        reply.error
    }

    fn read32(&mut self, region: u32, offset: u64) -> u32 {
        let body = self.ok(9, &access(region, offset, 4, &[]), &[]);
        u32_at(&body, 16)
    }

    fn end(self) -> (Report, u64) {
        drop(self.socket);
        self.server.join().expect("the server must not panic")
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn access(region: u32, offset: u64, count: u32, data: &[u8]) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &words(&[region, count]), data].concat()
}

fn map(flags: u32, offset: u64, iova: u64, size: u64) -> Vec<u8> {
    let wide: Vec<u8> = [offset, iova, size].iter().flat_map(|w| w.to_le_bytes()).collect();
    [words(&[32, flags]), wide].concat()
}

#[test]
fn a_client_finds_the_card_and_gets_its_interrupts() {
    let mut c = Client::greeted(false);
    assert_eq!(c.ok(4, &words(&[16, 0, 0, 0]), &[]), words(&[16, 3, 9, 3]));
    for (index, size) in [(0, 16u64 << 20), (1, 256 << 20), (2, 0), (3, 32 << 20), (7, 4096)] {
        let info = c.ok(5, &words(&[32, 0, index, 0, 0, 0, 0, 0]), &[]);
        let flags = if size > 0 { 3 } else { 0 };
        assert_eq!(info[..16], words(&[32, flags, index, 0]));
        assert_eq!(info[16..24], size.to_le_bytes());
    }
    assert_eq!(c.ok(7, &words(&[16, 0, 1, 0]), &[])[12..], words(&[1]));

    // Until the command register allows it, BARs do not answer.
    assert_eq!(c.read32(7, 0), 0x2204_10de);
    assert_eq!(c.read32(0, 0), !0);
    c.ok(10, &access(7, 4, 2, &[6, 0]), &[]);
    assert_eq!(c.read32(0, 0), 0x1720_00a1);

    // Guest memory comes and goes at any time; a range without a file is known but not readable.
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, 1 << 20).unwrap();
    let fd = [memory.as_fd()];
    c.ok(2, &map(3, 0x1000, 0x10_0000, 0x8000), &fd);
    assert_eq!(c.call(2, &map(3, 0, 0x10_4000, 0x8000), &fd).error, EINVAL);
    c.ok(2, &map(1, 0, 0xc_0000, 0x1000), &[]);
    let unmap = [&words(&[24, 0])[..], &map(0, 0, 0x10_0000, 0x8000)[16..]].concat();
    assert_eq!(c.ok(3, &unmap, &[]).len(), 24);
    c.ok(2, &map(3, 0, 0x10_0000, 0x8000), &fd);

    // An event descriptor for MSI, and the client's own trigger of it.
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    c.ok(8, &words(&[20, 4 | 32, 1, 0, 1]), &[event.as_fd()]);
    c.ok(8, &words(&[20, 1 | 32, 1, 0, 1]), &[]);
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(&event, &mut count), Ok(8));
    assert_eq!(u64::from_ne_bytes(count), 1);

    // Posted writes, alone and several in one, then a read that must see them.
    c.send(10, NO_REPLY, &access(0, 0x11_0010, 4, &words(&[0x40])), &[]);
    let record = |offset, value| [access(0, offset, 4, &words(&[value])), vec![0; 4]].concat();
    let multi = [record(0xb8_1210, !0), record(0xb8_1608, 0xf)].concat();
    c.send(15, NO_REPLY, &[&2u64.to_le_bytes()[..], &multi].concat(), &[]);
    assert_eq!(c.read32(0, 0xb8_1210), !0);
    assert_eq!(c.read32(0, 0xb8_1608), 0xf);

    // A function-level reset forgets both.
    c.ok(13, &[], &[]);
    c.ok(10, &access(7, 4, 2, &[6, 0]), &[]);
    assert_eq!(c.read32(0, 0xb8_1608), 0);
    let (report, _) = c.end();
    assert_eq!(report.violation_count, 0, "{:?}", report.violations);
    assert!(report.totals["reg-write"] >= 3);
}

#[test]
fn errors_carry_their_number_and_the_stream_goes_on() {
    let mut c = Client::start(false);
    assert_eq!(c.error(4, &words(&[16, 0, 0, 0])), EINVAL);
    assert_eq!(c.error(1, b"\0\0\0\0not json\0"), EINVAL);
    assert_eq!(c.error(1, &[1, 0, 0, 0]), EINVAL);
    c.ok(1, &[0; 4], &[]);
    for (command, body, error) in [
        (5, words(&[32, 0, 9]), EINVAL),
        (9, access(0, 16 << 20, 4, &[]), EINVAL),
        (9, access(2, 0, 4, &[]), EINVAL),
        (9, access(1, 0, 2 << 20, &[]), EINVAL),
        (9, access(1, u64::MAX, 4, &[]), EINVAL),
        (10, access(0, 0, 8, &[0; 4]), EINVAL),
        (8, words(&[20, 4 | 32, 1, 0, 9]), EINVAL),
        (2, map(3, 0, u64::MAX, 2), EINVAL),
        (3, [&words(&[24, 1])[..], &[0; 16]].concat(), EOPNOTSUPP),
        (11, vec![0; 64], EOPNOTSUPP),
        (99, vec![0; 64], ENOSYS),
        (9, vec![], EINVAL),
    ] {
        assert_eq!(c.error(command, &body), error, "command {command}");
    }
    // Too large to be read: answered and drained.
    c.socket.write_all(&[0x77, 0x77]).unwrap();
    let size = 16 + (3u32 << 20);
    c.socket.write_all(&[&[10, 0][..], &size.to_le_bytes(), &[0; 8]].concat()).unwrap();
    c.next = 0x7777;
    let reply = {
        let mut writer = c.socket.try_clone().unwrap();
        let body = std::thread::spawn(move || writer.write_all(&vec![0xee; 3 << 20]));
        let reply = c.reply();
        body.join().unwrap().unwrap();
        reply
    };
    assert_eq!((reply.flags, reply.error), (REPLY | ERROR, E2BIG));
    assert_eq!(c.read32(7, 0), 0x2204_10de);
    // A message in drips.
    c.next += 1;
    let mut message = c.next.to_le_bytes().to_vec();
    message.extend([9, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(access(7, 0, 4, &[]));
    for byte in message {
        c.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(u32_at(&c.reply().body, 16), 0x2204_10de);
    c.end();
}

#[test]
fn the_usermode_page_can_be_shared() {
    let mut c = Client::greeted(true);
    let short = c.call(5, &words(&[32, 0, 0, 0, 0, 0, 0, 0]), &[]);
    assert_eq!((u32_at(&short.body, 0), u32_at(&short.body, 12)), (64, 32));
    assert_eq!((short.body.len(), short.fds.len()), (32, 0));
    let full = c.call(5, &words(&[64, 0, 0, 0, 0, 0, 0, 0]), &[]);
    assert_eq!(full.body[..16], words(&[64, 1 | 2 | 4 | 8, 0, 32]));
    assert_eq!(full.body[32..48], words(&[0x1_0001, 0, 1, 0]));
    assert_eq!(u32_at(&full.body, 48), 0xbb_0000);

    let file = File::from(full.fds.into_iter().next().unwrap());
    let page: MmapRegion = MmapRegion::from_file(FileOffset::new(file, 0xbb_0000), 4096).unwrap();
    let doorbell = page.get_atomic_ref::<AtomicU32>(0x90).unwrap();
    doorbell.store(2 << 16 | 5, Ordering::SeqCst);
    while doorbell.load(Ordering::SeqCst) != !0 {
        std::thread::yield_now();
    }
    assert_ne!(page.get_atomic_ref::<AtomicU32>(0x80).unwrap().load(Ordering::SeqCst), 0);
    assert_eq!(c.end().1, 1);
}

/// Messages that are nearly right: a real command, sizes and numbers near the limits.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        0u32..64,
        Just(!0u32),
        Just(0xb8_1200u32),
        Just(0x70_0000u32),
        Just(0x11_0100u32),
        any::<u32>(),
    ];
    let body = prop_oneof![
        prop::collection::vec(number, 0..16).prop_map(|w| words(&w)),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    (0u16..17, prop::bool::ANY, body).prop_map(|(command, posted, body)| {
        let mut m = vec![1, 0];
        m.extend(command.to_le_bytes());
        m.extend((16 + body.len() as u32).to_le_bytes());
        m.extend((u32::from(posted) * NO_REPLY).to_le_bytes());
        m.extend([0; 4]);
        m.extend(body);
        m
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stream_of_messages_panics(
        messages in prop::collection::vec(message(), 0..40),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut c = Client::greeted(false);
        c.ok(10, &access(7, 4, 2, &[6, 0]), &[]);
        let mut reader = c.socket.try_clone().unwrap();
        let drain = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        for m in messages {
            c.socket.write_all(&m).unwrap();
        }
        let _ = c.socket.write_all(&tail);
        let _ = c.socket.shutdown(std::net::Shutdown::Write);
        prop_assert!(c.server.join().is_ok());
        drop(c.socket);
        let _ = drain.join();
    }
}
