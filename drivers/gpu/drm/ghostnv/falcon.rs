// SPDX-License-Identifier: GPL-2.0

//! Falcons: the microcontrollers that run NVIDIA's signed images.
//!
//! Running an image takes four steps, and the types keep them in order: [`Falcon::reset`] gives an
//! engine with cleared memories ([`Ready`]), [`Ready::load`] one with an image in it ([`Loaded`]),
//! [`Loaded::start`] a core that runs ([`Running`]), and [`Running::wait_halted`] its result. An
//! image cannot be started on memories that were never cleared, nor loaded over one that runs.
//!
//! What differs between generations, from the way bytes get into the falcon's memories to the place
//! of the RISC-V core's state, is behind [`Hal`].

use core::marker::PhantomData;

use kernel::{
    dma::Coherent,
    io::{
        register::{
            RegisterBase,
            WithBase, //
        },
        Io, //
    },
    prelude::*,
    time::{
        delay::udelay,
        Delta, //
    }, //
};

use crate::{
    gpu::{
        chip::Chip,
        Hw, //
    },
    regs::{
        self,
        falcon::{
            Base,
            Base2,
            Gsp,
            Sec2, //
        }, //
    }, //
};

mod ga102;
mod tu102;
mod ucode;

pub(crate) use ga102::Ga102;
pub(crate) use tu102::Tu102;
pub(crate) use ucode::{
    Brom,
    Loader,
    Parts,
    Section,
    Ucode,
    BLOCK, //
};

/// How long an image may run; the longest one, booter, takes some 100 ms.
const RUN_LIMIT: Delta = Delta::from_secs(2);
/// How often the core is asked whether it has halted.
const RUN_PERIOD: Delta = Delta::from_micros(50);

/// An engine with a falcon in it.
pub(crate) trait Engine: RegisterBase<Base> + RegisterBase<Base2> + Sized + 'static {
    /// Name for messages.
    const NAME: &'static str;

    /// How the chip's generation drives this falcon.
    fn hal(chip: &Chip) -> &'static dyn Hal<Self>;
}

impl Engine for Gsp {
    const NAME: &'static str = "GSP";

    fn hal(chip: &Chip) -> &'static dyn Hal<Self> {
        chip.hal.gsp
    }
}

impl Engine for Sec2 {
    const NAME: &'static str = "SEC2";

    fn hal(chip: &Chip) -> &'static dyn Hal<Self> {
        chip.hal.sec2
    }
}

/// Which core of an engine that has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// The falcon.
    Falcon,
    /// The RISC-V core, which runs GSP-RM.
    RiscV,
}

/// System memory that an image is fetched from, to be kept until the core has halted.
pub(crate) type Staging = Option<Coherent<[u8]>>;

/// What differs between generations.
///
/// Generic over the engine so that register offsets are checked when the driver is compiled.
pub(crate) trait Hal<E: Engine>: Sync {
    /// Waits until the engine may be reset.
    fn prepare_reset(&self, hw: Hw<'_>);

    /// Whether the memories have been cleared after a reset.
    fn scrubbed(&self, hw: Hw<'_>) -> bool;

    /// Gives the engine to one of its cores.
    fn select(&self, hw: Hw<'_>, core: Core) -> Result;

    /// Gets an image into the falcon's memories.
    fn load(&self, hw: Hw<'_>, ucode: &Ucode) -> Result<Staging>;

    /// The lowest version of a signed image that the fuses let run; 0 if all may.
    fn fuse_version(&self, hw: Hw<'_>, brom: &Brom) -> Result<u32>;

    /// Whether the RISC-V core runs.
    fn riscv_active(&self, hw: Hw<'_>) -> bool;

    /// The interrupts that the RISC-V core passes to the host, as bits of `IRQSTAT`.
    fn riscv_irq_mask(&self, hw: Hw<'_>) -> u32;

    /// Makes the engine look at its pending interrupts again.
    fn retrigger_irq(&self, hw: Hw<'_>);
}

/// A falcon in an unknown state.
pub(crate) struct Falcon<'a, E: Engine> {
    hw: Hw<'a>,
    hal: &'static dyn Hal<E>,
    _engine: PhantomData<E>,
}

/// A falcon with cleared memories.
pub(crate) struct Ready<'a, E: Engine>(Falcon<'a, E>);

/// A falcon with an image in its memories.
pub(crate) struct Loaded<'a, E: Engine> {
    falcon: Falcon<'a, E>,
    name: &'static str,
    staging: Staging,
}

/// A falcon that runs an image.
pub(crate) struct Running<'a, E: Engine> {
    falcon: Falcon<'a, E>,
    name: &'static str,
    staging: Staging,
}

impl<E: Engine> Clone for Falcon<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Engine> Copy for Falcon<'_, E> {}

impl<'a, E: Engine> Falcon<'a, E> {
    /// The engine's falcon on this GPU.
    pub(crate) fn new(hw: Hw<'a>) -> Self {
        Self {
            hw,
            hal: E::hal(hw.chip),
            _engine: PhantomData,
        }
    }

    /// Resets the engine for its falcon.
    pub(crate) fn reset(self) -> Result<Ready<'a, E>> {
        self.reset_into(Core::Falcon)?;
        Ok(Ready(self))
    }

    /// Resets the engine and gives it to one of its cores.
    pub(crate) fn reset_into(self, core: Core) -> Result {
        /// How long the reset line is held, as NVIDIA's driver does; the engine has no status to
        /// wait for while it is in reset.
        const HOLD: Delta = Delta::from_micros(10);
        /// Clearing both memories takes far less than 1 ms.
        const SCRUB_LIMIT: Delta = Delta::from_millis(20);

        let Hw { bar, dev, .. } = self.hw;
        let line = regs::falcon::ENGINE::of::<E>();

        self.hal.prepare_reset(self.hw);
        bar.update(line, |r| r.with_reset(true));
        udelay(HOLD);
        bar.update(regs::falcon::ENGINE::of::<E>(), |r| r.with_reset(false));

        self.poll(SCRUB_LIMIT, || self.hal.scrubbed(self.hw))
            .inspect_err(|e| {
                dev_err!(
                    dev,
                    "{}: memories not cleared after reset: {e:?}\n",
                    E::NAME
                )
            })?;
        self.hal.select(self.hw, core).inspect_err(|e| {
            dev_err!(dev, "{}: cannot select the {core:?} core: {e:?}\n", E::NAME)
        })?;
        self.poll(SCRUB_LIMIT, || self.hal.scrubbed(self.hw))
            .inspect_err(|e| {
                dev_err!(
                    dev,
                    "{}: memories not cleared for {core:?}: {e:?}\n",
                    E::NAME
                )
            })?;

        let boot_0 = bar.read(regs::chip::BOOT_0).into_raw();
        bar.write(
            WithBase::of::<E>(),
            regs::falcon::RM::zeroed().with_boot_0(boot_0),
        );
        Ok(())
    }

    /// Resets the falcon, runs an image to its end and returns the mailboxes it left.
    pub(crate) fn run(self, ucode: &Ucode, mailboxes: (u32, u32)) -> Result<(u32, u32)> {
        self.reset()?.load(ucode)?.start(mailboxes)?.wait_halted()
    }

    /// Writes both mailboxes.
    pub(crate) fn set_mailboxes(self, (m0, m1): (u32, u32)) {
        self.hw.bar.write(
            WithBase::of::<E>(),
            regs::falcon::MAILBOX0::zeroed().with_value(m0),
        );
        self.hw.bar.write(
            WithBase::of::<E>(),
            regs::falcon::MAILBOX1::zeroed().with_value(m1),
        );
    }

    /// Reads both mailboxes.
    pub(crate) fn mailboxes(self) -> (u32, u32) {
        let bar = self.hw.bar;

        (
            bar.read(regs::falcon::MAILBOX0::of::<E>()).value(),
            bar.read(regs::falcon::MAILBOX1::of::<E>()).value(),
        )
    }

    /// Tells the application that is going to run its own version.
    pub(crate) fn set_os_version(self, version: u32) {
        self.hw.bar.write(
            WithBase::of::<E>(),
            regs::falcon::OS::zeroed().with_version(version),
        );
    }

    /// Whether the engine's RISC-V core runs.
    pub(crate) fn riscv_active(self) -> bool {
        self.hal.riscv_active(self.hw)
    }

    /// The interrupts that the RISC-V core passes to the host, as bits of `IRQSTAT`.
    pub(crate) fn riscv_irq_mask(self) -> u32 {
        self.hal.riscv_irq_mask(self.hw)
    }

    /// Makes the engine raise its interrupt again if one is still pending.
    pub(crate) fn retrigger_irq(self) {
        self.hal.retrigger_irq(self.hw);
    }

    /// Starts the falcon core with whatever is in its memories.
    pub(crate) fn start(self) {
        let bar = self.hw.bar;

        if bar.read(regs::falcon::CPUCTL::of::<E>()).alias_en() {
            bar.write(
                WithBase::of::<E>(),
                regs::falcon::CPUCTL_ALIAS::zeroed().with_startcpu(true),
            );
        } else {
            bar.write(
                WithBase::of::<E>(),
                regs::falcon::CPUCTL::zeroed().with_startcpu(true),
            );
        }
    }

    /// Waits until the falcon core halts; as of [`Hw::poll`] with two seconds.
    pub(crate) fn wait_halted(self) -> Result {
        self.hw.poll(RUN_PERIOD, RUN_LIMIT, || {
            self.hw.bar.read(regs::falcon::CPUCTL::of::<E>()).halted()
        })
    }

    fn poll(self, limit: Delta, condition: impl Fn() -> bool) -> Result {
        self.hw.poll(Delta::from_micros(2), limit, condition)
    }
}

impl<'a, E: Engine> Ready<'a, E> {
    /// Gets an image into the memories and prepares the core to start it.
    pub(crate) fn load(self, ucode: &Ucode) -> Result<Loaded<'a, E>> {
        let Self(falcon) = self;
        let bar = falcon.hw.bar;

        bar.update(regs::falcon::FBIF_CTL::of::<E>(), |r| {
            r.with_allow_phys_no_ctx(true)
        });
        bar.write(WithBase::of::<E>(), regs::falcon::DMACTL::zeroed());

        let staging = falcon.hal.load(falcon.hw, ucode).inspect_err(|e| {
            dev_err!(
                falcon.hw.dev,
                "{}: cannot load {}: {e:?}\n",
                E::NAME,
                ucode.name
            )
        })?;

        bar.write(
            WithBase::of::<E>(),
            regs::falcon::BOOTVEC::zeroed().with_address(ucode.entry()),
        );
        Ok(Loaded {
            falcon,
            name: ucode.name,
            staging,
        })
    }
}

impl<'a, E: Engine> Loaded<'a, E> {
    /// Starts the image with arguments in the mailboxes.
    pub(crate) fn start(self, mailboxes: (u32, u32)) -> Result<Running<'a, E>> {
        self.falcon.set_mailboxes(mailboxes);
        self.falcon.start();
        Ok(Running {
            falcon: self.falcon,
            name: self.name,
            staging: self.staging,
        })
    }
}

impl<E: Engine> Running<'_, E> {
    /// Waits for the image to finish and returns the mailboxes. One that does not is made to.
    pub(crate) fn wait_halted(self) -> Result<(u32, u32)> {
        let Self {
            falcon,
            name,
            staging,
        } = self;

        falcon.wait_halted().inspect_err(|e| {
            let (m0, m1) = falcon.mailboxes();

            dev_err!(
                falcon.hw.dev,
                "{}: {name} did not halt: {e:?} (mailboxes {m0:#x}, {m1:#x})\n",
                E::NAME
            );
            // It may be fetching its image still.
            if falcon.reset().is_err() {
                core::mem::forget(staging);
            }
        })?;
        Ok(falcon.mailboxes())
    }
}
