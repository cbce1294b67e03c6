// SPDX-License-Identifier: GPL-2.0 OR MIT

//! vfio-user messages: the server answers or refuses, and goes on.
//!
//! Input: records of command, flags, length and body, sent as messages; a length of 255 sends the
//! rest as raw bytes. They follow a greeting, and a write that makes the BARs answer.

#![no_main]

mod input;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;

use ghostnv_gpu::bus::conn::Conn;
use ghostnv_gpu::bus::serve::run;
use ghostnv_gpu::bus::server::Server;
use ghostnv_gpu::chip::Chip;
use ghostnv_gpu::env::Env;
use ghostnv_gpu::gpu::Gpu;
use ghostnv_gpu::machine::Machine;
use input::Input;
use libfuzzer_sys::fuzz_target;

/// Less than a socket takes without a reader on its other side.
const MOST_BYTES: usize = 32 << 10;

fn message(out: &mut Vec<u8>, command: u16, flags: u32, body: &[u8]) {
    out.extend(1u16.to_le_bytes());
    out.extend(command.to_le_bytes());
    out.extend((16 + body.len() as u32).to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend([0; 4]);
    out.extend(body);
}

fn stream(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, 1, 0, &[0; 4]);
    let mut decode = 4u64.to_le_bytes().to_vec();
    decode.extend([7u32, 2].iter().flat_map(|w| w.to_le_bytes()));
    decode.extend([6, 0]);
    message(&mut out, 10, 0, &decode);
    let mut input = Input(data);
    while !input.is_empty() && out.len() < MOST_BYTES {
        let (command, flags, len) = (input.number(1), input.number(1), input.number(1));
        if len == 255 {
            out.extend(input.bytes(MOST_BYTES));
            break;
        }
        message(&mut out, command as u16 % 17, flags as u32, input.bytes(len as usize));
    }
    out.truncate(MOST_BYTES);
    out
}

fuzz_target!(|data: &[u8]| {
    let (mut client, other) = UnixStream::pair().expect("sockets");
    client.write_all(&stream(data)).expect("room in the socket");
    client.shutdown(std::net::Shutdown::Write).expect("a socket");
    let drain = std::thread::spawn(move || {
        let mut sink = [0; 65536];
        while client.read(&mut sink).is_ok_and(|n| n > 0) {}
    });
    let chip = Chip::find("ga102").expect("a chip");
    let gpu = Gpu::new(Machine::new(chip, Env::new(64 << 20).expect("memory"), None));
    let mut server = Server::new(gpu, None);
    let mut conn = Conn::new(other.into());
    // An error is the client's, who broke the stream.
    let _ = run(&mut conn, &mut server, &AtomicBool::new(false));
    drop(conn);
    drain.join().expect("a reader");
});
