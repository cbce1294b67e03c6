// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Shares memory with another device, and with another client, and has a copy engine use it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use ghostnv_clients::prng::Prng;
use ghostnv_clients::uapi::abi::{DOMAIN_GART, DOMAIN_VRAM};
use ghostnv_clients::uapi::prime::Other;
use ghostnv_clients::uapi::push::Pushbuf;
use ghostnv_clients::uapi::{Bo, Channel, Client, Engine, FenceStatus};

/// Pushbuffers.
const PUSH: u64 = 0x1_0000_0000;
/// The client's own memory.
const OWN: u64 = 0x1_1000_0000;
/// What came from elsewhere.
const FOREIGN: u64 = 0x1_2000_0000;
/// More of its own.
const SPARE: u64 = 0x1_3000_0000;
/// Bytes of each object.
const SIZE: u64 = 300 << 10;

/// dma-bufs through the nouveau uAPI, with the memory of another device.
#[derive(Parser)]
#[command(name = "gpu-prime", version)]
struct Args {
    /// The GPU's device file.
    #[arg(long, default_value = "/dev/dri/renderD128")]
    device: PathBuf,
    /// The device file of a driver that has memory only, such as vgem.
    #[arg(long)]
    other: PathBuf,
    /// A copy must end within this many seconds.
    #[arg(long, default_value_t = 20)]
    limit: u64,
}

/// A client with a copy engine.
struct Seat {
    client: Client,
    channel: Channel,
    push: Bo,
    own: Bo,
    limit: Duration,
}

impl Seat {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let client = Client::open(&args.device)?;
        Ok(Self {
            channel: client.channel(Engine::Copy)?,
            push: client.bo(DOMAIN_GART, 4096, PUSH)?,
            own: client.bo(DOMAIN_GART, SIZE, OWN)?,
            client,
            limit: Duration::from_secs(args.limit),
        })
    }

    fn copy(&self, from: u64, to: u64) -> anyhow::Result<()> {
        let push = Pushbuf::new().copy(from, to, SIZE as u32).bytes();
        self.push.write(0, &push)?;
        let syncobj = self.client.syncobj()?;
        self.client.exec(&self.channel, &[(PUSH, push.len() as u32)], &syncobj).context("EXEC")?;
        ensure!(self.client.wait(&syncobj, self.limit)?, "no signal in {:?}", self.limit);
        let status = self.client.status(&syncobj)?;
        ensure!(matches!(status, FenceStatus::Signalled), "fence: {status:?}");
        Ok(self.client.destroy(&syncobj)?)
    }
}

/// The copy engine reads and writes memory of the other device.
fn from_another_device(seat: &Seat, other: &Other, bytes: &mut Prng) -> anyhow::Result<()> {
    let theirs = other.bo(SIZE)?;
    let [first, second] = [0; 2].map(|_| bytes.bytes(SIZE as usize));
    let imported = seat.client.import(&other.export(&theirs)?, SIZE, FOREIGN)?;

    theirs.write(0, &first)?;
    seat.copy(imported.va, OWN)?;
    ensure!(seat.own.read(0, SIZE as usize)? == first, "what was read differs");
    seat.own.write(0, &second)?;
    seat.copy(OWN, imported.va)?;
    ensure!(theirs.read(0, SIZE as usize)? == second, "what was written differs");
    Ok(seat.client.drop_import(&imported)?)
}

/// Another client of the same driver gets the same memory.
fn to_another_client(seat: &Seat, args: &Args, bytes: &mut Prng) -> anyhow::Result<()> {
    for domain in [DOMAIN_GART, DOMAIN_VRAM] {
        let friend = Seat::new(args)?;
        let shared = seat.client.shareable_bo(domain, SIZE, SPARE)?;
        let pattern = bytes.bytes(SIZE as usize);
        let buffer = seat.client.export(&shared)?;
        let imported = friend.client.import(&buffer, SIZE, FOREIGN)?;

        seat.own.write(0, &pattern)?;
        seat.copy(OWN, SPARE)?;
        friend.copy(imported.va, OWN)?;
        ensure!(friend.own.read(0, SIZE as usize)? == pattern, "domain {domain}: bytes differ");
        seat.client.unmap(&shared)?;
        seat.client.close(&shared)?;
        // The friend still has it.
        friend.own.write(0, &vec![0; SIZE as usize])?;
        friend.copy(imported.va, OWN)?;
        ensure!(friend.own.read(0, SIZE as usize)? == pattern, "domain {domain}: it has gone");
    }
    Ok(())
}

/// The other device attaches to memory of the GPU's. (vgem does not look at its pages.)
fn to_another_device(seat: &Seat, other: &Other) -> anyhow::Result<()> {
    let system = seat.client.shareable_bo(DOMAIN_GART, SIZE, SPARE)?;
    other.try_import(&seat.client.export(&system)?)?;
    seat.client.unmap(&system)?;
    Ok(seat.client.close(&system)?)
}

/// What may not be shared is not.
fn not_shareable(seat: &Seat) -> anyhow::Result<()> {
    match seat.client.export(&seat.own) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(e) => Err(e).context("export of what may not be shared"),
        Ok(_) => anyhow::bail!("what may not be shared was exported"),
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let other = Other::open(&args.other)?;
    let seat = Seat::new(args)?;
    let mut bytes = Prng::new(1);

    from_another_device(&seat, &other, &mut bytes).context("from another device")?;
    println!("gpu-prime: ok: copies from and to the memory of another device");
    to_another_client(&seat, args, &mut bytes).context("to another client")?;
    println!("gpu-prime: ok: another client has the same memory, and keeps it");
    to_another_device(&seat, &other).context("to another device")?;
    println!("gpu-prime: ok: another device attaches to system memory of the GPU");
    not_shareable(&seat)?;
    println!("gpu-prime: ok: what may not be shared is not");
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("gpu-prime: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
