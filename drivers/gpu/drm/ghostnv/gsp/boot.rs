// SPDX-License-Identifier: GPL-2.0

//! Starting the firmware, and stopping it so that it can be started again.
//!
//! Three processors hand the GPU to each other. The GSP's falcon runs FWSEC, from the VBIOS, which
//! carves the first protected piece (FRTS) out of the end of VRAM. SEC2's falcon runs Booter, which
//! grows that into WPR2, copies the firmware there, verifies it and starts the GSP's RISC-V core.
//! That core runs LibOS and GSP-RM, which may ask the CPU to write registers for it and at last
//! says that it is done. Each stage is a type with one way forward, so that none can be left out
//! or come twice.
//!
//! Whatever stage is reached, dropping it undoes it: [`Teardown`] asks a firmware that talks to
//! stop, has FWSEC put the falcon back and Booter's counterpart give WPR2 back. Memory that the GPU
//! may still read is freed after that.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_gsp_tu102.c` (`kgspBootstrap_TU102`,
//! `kgspTeardown_TU102`) and `kernel_gsp_frts_tu102.c`.

use core::marker::PhantomData;

use kernel::{
    device::Bound,
    io::Io,
    pci,
    prelude::*,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    falcon::{
        Core,
        Falcon,
        Ucode, //
    },
    firmware::{
        self,
        Command,
        Fwsec, //
    },
    gpu::{
        chip::Chip,
        Hw, //
    },
    irq::Irq,
    mem::{
        self,
        Layout, //
    },
    regs::{
        self,
        falcon::{
            Gsp as GspEngine,
            Sec2, //
        },
        BAR0_SIZE, //
    },
    vbios::Vbios, //
};

use super::{
    abi,
    commands::{
        GetStaticInfo,
        GpuInfo,
        SetRegistry,
        SetSystemInfo, //
    },
    events::Event,
    pump::Step,
    rpc::Link,
    sequencer, //
};

mod cores;
mod memory;
mod teardown;

use self::{
    cores::SequencerCore,
    memory::Memory,
    teardown::Teardown, //
};

/// How long Booter's start of the RISC-V core may take to show.
const ACTIVE_DEADLINE: Delta = Delta::from_secs(5);
/// How long the firmware may initialise the GPU.
const INIT_DEADLINE: Delta = Delta::from_secs(10);
/// How often registers are looked at that have no interrupt.
const POLL_PERIOD: Delta = Delta::from_micros(100);

/// A bus address as the two mailboxes take it.
pub(super) fn halves(address: u64) -> (u32, u32) {
    // CAST: Both halves are meant.
    (address as u32, (address >> 32) as u32)
}

/// Makes the rings.
#[inline(never)]
fn connect<'bound>(
    pdev: &'bound pci::Device<Bound>,
    bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
    chip: &'static Chip,
) -> Result<Arc<Link<'bound>>> {
    Arc::pin_init(Link::new(pdev, bar, chip)?, GFP_KERNEL)
}

/// Registers the interrupt.
#[inline(never)]
fn listen<'bound>(
    pdev: &'bound pci::Device<Bound>,
    link: Arc<Link<'bound>>,
) -> Result<Pin<KBox<Irq<'bound>>>> {
    KBox::pin_init(Irq::new(pdev, link)?, GFP_KERNEL)
}

/// FWSEC from the VBIOS, ready for both of its commands: protect FRTS, and put all back.
#[inline(never)]
fn read_fwsec(hw: Hw<'_>, layout: &Layout) -> Result<(Ucode, Ucode)> {
    let fwsec = Fwsec::find(hw, &Vbios::read(hw)?)?;
    Ok((
        fwsec.ucode(hw, &Command::Frts(layout.frts.clone()))?,
        fwsec.ucode(hw, &Command::Sb)?,
    ))
}

/// Nothing has happened on the GPU.
pub(crate) struct Prepared;
/// FRTS is protected.
pub(crate) struct Protected;
/// The GSP is reset and will find its arguments.
pub(crate) struct Armed;
/// The RISC-V core runs the firmware.
pub(crate) struct Started;

/// What a running firmware needs. Fields are dropped in this order.
struct Parts<'bound> {
    teardown: Teardown<'bound>,
    memory: Memory,
    irq: Pin<KBox<Irq<'bound>>>,
    images: Images,
    app_version: u32,
}

/// Images that only a boot needs.
struct Images {
    booter_load: Ucode,
    fwsec_frts: Ucode,
    layout: Layout,
}

/// A boot that has reached `Stage`. Boxed, since kernel stacks are small.
pub(crate) struct Boot<'bound, Stage> {
    parts: KBox<Parts<'bound>>,
    _stage: PhantomData<Stage>,
}

impl<'bound, Stage> Boot<'bound, Stage> {
    fn hw(&self) -> Hw<'_> {
        self.parts.teardown.link.hw()
    }

    fn reached<Next>(self) -> Boot<'bound, Next> {
        Boot {
            parts: self.parts,
            _stage: PhantomData,
        }
    }
}

impl<'bound> Boot<'bound, Prepared> {
    /// Gets all images and all memory, so that later stages cannot fail for want of them.
    #[inline(never)]
    fn prepare(
        pdev: &'bound pci::Device<Bound>,
        bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
        chip: &'static Chip,
    ) -> Result<Self> {
        let link = connect(pdev, bar, chip)?;
        let hw = link.hw();
        let set = firmware::Set::request(hw)?;
        let layout = Layout::new(
            hw,
            u64::try_from(set.gsp.image().len())?,
            u64::try_from(set.bootloader.image.len())?,
        )?;
        let (fwsec_frts, fwsec_sb) = read_fwsec(hw, &layout)?;
        let memory = Memory::new(&link, &set, &layout)?;
        let app_version = set.bootloader.info.app_version;
        let irq = listen(pdev, link.clone())?;

        // The firmware finds these when it wakes.
        link.send(&SetSystemInfo(pdev))?;
        link.send(&SetRegistry)?;

        let parts = Parts {
            teardown: Teardown {
                link,
                fwsec_sb,
                booter_unload: set.booter_unload,
                talks: false,
            },
            memory,
            irq,
            images: Images {
                booter_load: set.booter_load,
                fwsec_frts,
                layout,
            },
            app_version,
        };
        Ok(Self {
            parts: KBox::new(parts, GFP_KERNEL)?,
            _stage: PhantomData,
        })
    }

    /// Has FWSEC protect FRTS.
    #[inline(never)]
    fn protect(self) -> Result<Boot<'bound, Protected>> {
        let hw = self.hw();
        Falcon::<GspEngine>::new(hw).run(&self.parts.images.fwsec_frts, (0, 0))?;
        let error = hw.bar.read(regs::chip::SW_SCRATCH_FRTS).error();
        if error != 0 {
            dev_err!(hw.dev, "GSP: FWSEC-FRTS failed: {error:#x}\n");
            return Err(EIO);
        }
        match mem::wpr2(hw) {
            Some(region) if region.start == self.parts.images.layout.frts.start => {
                Ok(self.reached())
            }
            region => {
                dev_err!(
                    hw.dev,
                    "GSP: FWSEC-FRTS protected {region:#x?} instead of {:#x?}\n",
                    self.parts.images.layout.frts
                );
                Err(EIO)
            }
        }
    }
}

impl<'bound> Boot<'bound, Protected> {
    /// Resets the GSP for its RISC-V core and leaves the arguments in its mailboxes.
    #[inline(never)]
    fn arm(self) -> Result<Boot<'bound, Armed>> {
        let gsp = Falcon::<GspEngine>::new(self.hw());
        gsp.reset_into(Core::RiscV)?;
        gsp.set_mailboxes(self.parts.memory.arguments.mailboxes());
        Ok(self.reached())
    }
}

impl<'bound> Boot<'bound, Armed> {
    /// Has Booter verify the firmware and start it.
    #[inline(never)]
    fn start(self) -> Result<Boot<'bound, Started>> {
        let hw = self.hw();
        let meta = halves(self.parts.memory.wpr_meta.dma_address());
        let (status, _) = Falcon::<Sec2>::new(hw).run(&self.parts.images.booter_load, meta)?;
        if status != 0 {
            dev_err!(
                hw.dev,
                "SEC2: booter_load refused the firmware: {status:#x}\n"
            );
            return Err(EIO);
        }
        let gsp = Falcon::<GspEngine>::new(hw);
        gsp.set_os_version(self.parts.app_version);
        hw.poll(POLL_PERIOD, ACTIVE_DEADLINE, || gsp.riscv_active())
            .inspect_err(|e| {
                dev_err!(
                    hw.dev,
                    "GSP: the RISC-V core did not start within 5 s: {e:?}\n"
                )
            })?;
        Ok(self.reached())
    }
}

impl<'bound> Boot<'bound, Started> {
    /// Waits until the firmware has initialised the GPU, and asks what it found.
    #[inline(never)]
    fn finish(mut self) -> Result<Gsp<'bound>> {
        let link = self.parts.teardown.link.clone();
        let hw = link.hw();
        let mut core = SequencerCore {
            hw,
            arguments: self.parts.memory.arguments.mailboxes(),
            app_version: self.parts.app_version,
        };
        link.wait_for_event("GSP_INIT_DONE", INIT_DEADLINE, |event| match event {
            Event::InitDone => Ok(Step::Done(())),
            Event::RunSequencer(program) => {
                sequencer::run(program, hw, &mut core)?;
                Ok(Step::More)
            }
            _ => Ok(Step::Other),
        })?;
        self.parts.teardown.talks = true;
        link.open();

        let info = link.call(&GetStaticInfo)?;
        self.parts.memory.arguments.booted();
        dev_info!(
            hw.dev,
            "GSP-RM {} runs on {}: {} MiB of VRAM, {} MiB usable\n",
            abi::VERSION,
            info.name(),
            info.vram >> 20,
            info.usable_bytes() >> 20
        );
        Ok(Gsp {
            parts: self.parts,
            link,
            info: KBox::new(info, GFP_KERNEL)?,
        })
    }
}

/// Takes the times of stages.
struct StopWatch(Instant<Monotonic>);

impl StopWatch {
    /// Milliseconds since the last call, or since it was started.
    fn lap(&mut self) -> i64 {
        let lap = self.0.elapsed();

        self.0 = self.0 + lap;
        lap.as_millis_ceil()
    }
}

/// A GSP whose firmware runs. Dropping it stops the firmware.
pub(crate) struct Gsp<'bound> {
    parts: KBox<Parts<'bound>>,
    link: Arc<Link<'bound>>,
    info: KBox<GpuInfo>,
}

impl<'bound> Gsp<'bound> {
    /// Boots the firmware.
    pub(crate) fn boot(
        pdev: &'bound pci::Device<Bound>,
        bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
        chip: &'static Chip,
    ) -> Result<Self> {
        let mut clock = StopWatch(Instant::now());
        let boot = Boot::prepare(pdev, bar, chip)?;
        let images = clock.lap();
        let boot = boot.protect()?;
        let frts = clock.lap();
        let boot = boot.arm()?.start()?;
        let booter = clock.lap();
        let gsp = boot.finish()?;
        let firmware = clock.lap();

        dev_info!(
            pdev,
            "GSP booted: images {images} ms, FRTS {frts} ms, Booter {booter} ms, GSP-RM {firmware} ms\n"
        );
        Ok(gsp)
    }

    /// For calls to the firmware.
    pub(crate) fn link(&self) -> &Arc<Link<'bound>> {
        &self.link
    }

    /// Says which interrupt vectors are the GSP's and which ones engines raise.
    pub(crate) fn route_interrupts(&self, gsp: u32, engines: impl Iterator<Item = u32>) -> Result {
        self.parts.irq.route(gsp, engines)
    }

    /// What the firmware found the GPU to be.
    pub(crate) fn info(&self) -> &GpuInfo {
        &self.info
    }
}
