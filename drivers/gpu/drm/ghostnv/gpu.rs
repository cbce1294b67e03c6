// SPDX-License-Identifier: GPL-2.0

//! One GPU, from the moment its registers are mapped until the driver lets go of it.
//!
//! Order matters twice here. On the way up the chip must be known before anything but the two
//! identity registers is touched, and the board's own firmware must be done before video memory or
//! a falcon is. On the way down the GSP must have stopped before the memory it uses goes away;
//! fields are dropped in the order of their declaration, which is that order.

use kernel::{
    device::{
        self,
        Bound, //
    },
    drm,
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    pci,
    prelude::*,
    scoped_work::OwnedQueue,
    sync::Arc,
    time::Delta, //
};

use crate::{
    channel::turns::Turns,
    gsp::{
        rpc::Link,
        Gsp, //
    },
    host,
    mem::{
        self,
        Memory,
        SysmemFlush, //
    },
    regs::{
        self,
        Bar0,
        BAR0_SIZE, //
    },
    rm,
    uapi, //
};

pub(crate) mod chip;
pub(crate) mod lost;

use chip::{
    Chip,
    Identity, //
};

/// What code that talks to the hardware needs to know: whose registers, and which chip's.
///
/// A copy is as good as the original; it lives no longer than the binding of the device.
#[derive(Clone, Copy)]
pub(crate) struct Hw<'a> {
    /// For messages, DMA memory and firmware requests.
    pub(crate) dev: &'a device::Device<Bound>,
    /// The registers.
    pub(crate) bar: Bar0<'a>,
    /// Which chip this is.
    pub(crate) chip: &'static Chip,
}

impl Hw<'_> {
    /// Whether the GPU has left the bus, by one read over it.
    pub(crate) fn gone(self) -> bool {
        absent(self.bar.read(regs::chip::BOOT_0).into_raw())
    }

    /// Looks at registers every `period` until `condition` holds.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the GPU has left the bus meanwhile: all its registers read as ones then, which
    /// satisfies many a condition, so that is looked at whenever one holds and now and then while
    /// it does not. `ETIMEDOUT` after `limit`.
    pub(crate) fn poll(
        self,
        period: Delta,
        limit: Delta,
        mut condition: impl FnMut() -> bool,
    ) -> Result {
        /// Looks between two checks that the GPU is there.
        const EVERY: u32 = 32;
        let mut looks = 0;

        let done = read_poll_timeout(
            || {
                let held = condition();
                looks += 1;
                if (held || looks % EVERY == 0) && self.gone() {
                    return Err(ENODEV);
                }
                Ok(held)
            },
            |held| *held,
            period,
            limit,
        );
        match done {
            Err(ETIMEDOUT) if self.gone() => Err(ENODEV),
            done => done.map(|_| ()),
        }
    }
}

/// Whether `BOOT_0` cannot be any chip's: a device that does not answer reads as all ones, and as
/// zeroes behind some bridges.
fn absent(boot_0: u32) -> bool {
    boot_0 == u32::MAX || boot_0 == 0
}

/// What everything shares that uses a GPU whose firmware runs.
///
/// Whoever holds one lets go of it before the driver lets go of the device.
pub(crate) struct Core<'bound> {
    /// The driver's objects in the firmware.
    pub(crate) rm: Arc<rm::Root<'bound>>,
    /// The engines there are.
    pub(crate) engines: rm::engines::Engines,
    /// Memory for channels.
    pub(crate) pool: Pin<KBox<host::Pool>>,
    /// Kept for the firmware, on chips where it needs that.
    _scrubber: Option<host::context::Scrubber<'bound>>,
    /// Contexts of the graphics engine, if there is one.
    pub(crate) contexts: Option<host::context::Contexts>,
    /// Video memory and page tables.
    pub(crate) mem: Arc<Memory<'bound>>,
    /// Whose jobs are late.
    pub(crate) turns: Pin<KBox<Turns>>,
    /// Runs what fences wait for, also when memory is short.
    pub(crate) workers: Arc<OwnedQueue>,
    link: Arc<Link<'bound>>,
}

impl<'bound> Core<'bound> {
    #[inline(never)]
    fn new(gsp: &Gsp<'bound>, pdev: &'bound pci::Device<Bound>) -> Result<Arc<Self>> {
        let link = gsp.link().clone();
        let rm = rm::Root::new(link.clone(), gsp.info())?;
        let engines = rm::engines::Engines::query(&rm)?;
        gsp.route_interrupts(
            engines.gsp_vector,
            engines.all().iter().filter_map(|engine| engine.nonstall),
        )?;
        let mem = Arc::new(Memory::new(pdev, link.clone(), gsp.info())?, GFP_KERNEL)?;
        let pool = KBox::pin_init(host::Pool::new(), GFP_KERNEL)?;
        let contexts = match engines.graphics() {
            Some(engine) => Some(host::context::Contexts::new(
                link.hw(),
                &rm,
                &mem,
                engine,
                engines.method_buffer_size,
                &pool,
            )?),
            None => None,
        };
        let scrubber = match (engines.graphics(), &contexts) {
            (Some(engine), Some(contexts)) if link.hw().chip.needs_scrubber() => {
                Some(host::context::Scrubber::new(
                    link.hw(),
                    &rm,
                    &mem,
                    engine,
                    engines.method_buffer_size,
                    contexts,
                )?)
            }
            _ => None,
        };
        let turns = Turns::new(engines.all().iter().map(|engine| engine.runlist))?;
        Ok(Arc::new(
            Self {
                rm,
                turns: KBox::pin_init(turns, GFP_KERNEL)?,
                engines,
                pool,
                _scrubber: scrubber,
                contexts,
                mem,
                workers: Arc::new(OwnedQueue::new(c"ghostnv")?, GFP_KERNEL)?,
                link,
            },
            GFP_KERNEL,
        )?)
    }

    /// The hardware, for as long as `self` is borrowed.
    pub(crate) fn hw(&self) -> Hw<'_> {
        self.link.hw()
    }

    /// `ENODEV` if the GPU is lost, and with it whatever somebody wants of it.
    pub(crate) fn check(&self) -> Result {
        self.link.lost().check()
    }

    /// The conversation with the firmware.
    pub(crate) fn link(&self) -> &Arc<Link<'bound>> {
        &self.link
    }
}

/// A GPU that the driver is bound to.
#[pin_data]
pub(crate) struct Gpu<'bound> {
    /// Dropped first: user space lets go of everything.
    drm: drm::Registration<'bound, uapi::Driver>,
    core: Arc<Core<'bound>>,
    /// Dropped before what follows: the firmware stops while all that it uses is still there.
    gsp: Gsp<'bound>,
    chip: &'static Chip,
    /// Must outlive everything that lets the GPU write to system memory.
    flush: SysmemFlush<'bound>,
    pdev: &'bound pci::Device<Bound>,
    bar: Arc<pci::Bar<'bound, BAR0_SIZE>>,
}

impl<'bound> Gpu<'bound> {
    /// Brings the GPU up.
    pub(crate) fn new<'a>(
        pdev: &'bound pci::Device<device::Core<'a>>,
    ) -> Result<impl PinInit<Self, Error> + use<'bound, 'a>> {
        let bar = pdev
            .iomap_region_sized::<BAR0_SIZE>(0, c"ghostnv/bar0")
            .inspect_err(|e| dev_err!(pdev, "cannot map the registers (BAR0): {e:?}\n"))?;
        let bar = Arc::new(bar, GFP_KERNEL)?;
        let chip = identify(pdev.as_ref(), &bar)?;

        wait_for_board(pdev.as_ref(), &bar)?;
        check_stopped(Hw {
            dev: pdev.as_ref(),
            bar: &bar,
            chip,
        })?;
        // Not before: what still runs may use memory that was given to others long ago.
        pdev.set_master();

        let flush = SysmemFlush::new(pdev.as_ref(), bar.clone())?;
        let (gsp, core, drm) = Self::start(pdev, &bar, chip).inspect_err(|_| {
            let hw = Hw {
                dev: pdev.as_ref(),
                bar: &bar,
                chip,
            };
            // Then what was said before is only how it was noticed.
            if hw.gone() {
                dev_err!(pdev, "the GPU left the bus while it was set up\n");
            }
        })?;

        Ok(try_pin_init!(Self {
            drm,
            core,
            gsp,
            chip,
            flush,
            pdev,
            bar,
        }))
    }

    /// Boots the firmware, and makes of it what clients use.
    #[inline(never)]
    fn start(
        pdev: &'bound pci::Device<device::Core<'_>>,
        bar: &Arc<pci::Bar<'bound, BAR0_SIZE>>,
        chip: &'static Chip,
    ) -> Result<Parts<'bound>> {
        let gsp = Gsp::boot(pdev, bar.clone(), chip)?;
        let core = Core::new(&gsp, pdev)?;
        let drm = uapi::register(pdev, core.clone(), gsp.info())?;

        Ok((gsp, core, drm))
    }
}

/// What [`Gpu::start`] makes.
type Parts<'bound> = (
    Gsp<'bound>,
    Arc<Core<'bound>>,
    drm::Registration<'bound, uapi::Driver>,
);

/// Reads which chip this is, and says why when it is none for this driver.
fn identify(dev: &device::Device, bar: Bar0<'_>) -> Result<&'static Chip> {
    let boot_0 = bar.read(regs::chip::BOOT_0);

    if absent(boot_0.into_raw()) {
        dev_err!(
            dev,
            "registers read {:#x}: the GPU is off or has left the bus\n",
            boot_0.into_raw()
        );
        return Err(ENODEV);
    }
    if boot_0.predates_fermi() {
        dev_info!(dev, "this GPU has no GSP firmware: use nouveau\n");
        return Err(ENODEV);
    }

    let boot_42 = bar.read(regs::chip::BOOT_42);
    let id = boot_42.chip_id();

    if boot_42.into_raw() == u32::MAX {
        dev_err!(dev, "the GPU left the bus while it was identified\n");
        return Err(ENODEV);
    }

    match chip::identify(id) {
        Identity::Supported(chip) => {
            dev_info!(
                dev,
                "NVIDIA {} revision {:x}.{:x}\n",
                chip.label,
                boot_42.major_revision().get(),
                boot_42.minor_revision().get()
            );
            Ok(chip)
        }
        Identity::TooOld => {
            dev_info!(dev, "chip {id:#x} has no GSP firmware: use nouveau\n");
            Err(ENODEV)
        }
        Identity::NotYet => {
            dev_info!(dev, "chip {id:#x} is not supported yet\n");
            Err(ENODEV)
        }
    }
}

/// Checks that no firmware runs that nobody stopped.
fn check_stopped(hw: Hw<'_>) -> Result {
    let Some(region) = mem::wpr2(hw) else {
        return Ok(());
    };
    // Ones in all registers are no region.
    if hw.gone() {
        dev_err!(hw.dev, "the GPU left the bus while it was set up\n");
        return Err(ENODEV);
    }
    dev_err!(
        hw.dev,
        "WPR2 is set up at {region:#x?} already: the GPU needs a reset\n"
    );
    Err(EBUSY)
}

/// Waits until the firmware in the VBIOS (GFW) has initialised memory and clocks.
///
/// It starts with the board's power and is usually long done; after a hot reset it is not.
fn wait_for_board(dev: &device::Device, bar: Bar0<'_>) -> Result {
    /// As long as NVIDIA's own driver allows (`gpuWaitForGfwBootComplete_TU102`).
    const LIMIT: Delta = Delta::from_secs(4);
    const PERIOD: Delta = Delta::from_millis(1);

    read_poll_timeout(
        || {
            // The progress is readable only once its protection has been lowered.
            Ok(
                if bar.read(regs::chip::GFW_BOOT_PRIV_LEVEL_MASK).read_level0() {
                    bar.read(regs::chip::GFW_BOOT).progress()
                } else {
                    0
                },
            )
        },
        |progress| *progress == 0xff,
        PERIOD,
        LIMIT,
    )
    .map(|_| ())
    .inspect_err(|_| {
        dev_err!(
            dev,
            "the board's firmware (GFW) did not finish within 4 s: progress {:#x}\n",
            bar.read(regs::chip::GFW_BOOT).progress()
        )
    })
}
