// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: a registration that borrows the vectors stored beside it.

//! The interrupt of the GPU, and the tree of sources behind it.
//!
//! The hardware raises an MSI when an enabled subtree gets a pending vector. The handler closes the
//! tree, acknowledges the vectors, serves their sources and opens the tree again; a vector that
//! became pending meanwhile raises the next MSI at that moment. Vectors are acknowledged before
//! their source is looked at, so that what happens after the look is a new interrupt.
//!
//! Until the firmware says which vector is whose, every vector leads to the GSP's falcon, whose
//! own status register is the truth about whether it interrupted.
//!
//! Facts: open-gpu-kernel-modules 570.144, `intr_tu102.c` and `kernel_falcon_tu102.c`.

use kernel::{
    device::Bound,
    io::{
        register::{
            Array,
            WithBase, //
        },
        Io, //
    },
    irq::{
        Flags,
        IrqRequest,
        IrqReturn,
        ThreadedHandler,
        ThreadedIrqReturn,
        ThreadedRegistration, //
    },
    pci::{
        self,
        IrqTypes,
        IrqVectorRegistration, //
    },
    prelude::*,
    sync::Arc,
};

use crate::{
    falcon::Falcon,
    gpu::Hw,
    gsp::rpc::Link,
    regs::{
        falcon::{
            Gsp,
            IRQMCLR,
            IRQSCLR,
            IRQSTAT, //
        },
        intr::{
            ALL_SUBTREES,
            LEAF,
            LEAF_EN_CLEAR,
            LEAF_EN_SET,
            LEAVES,
            TOP,
            TOP_EN_CLEAR,
            TOP_EN_SET, //
        },
    },
};

/// Closes the whole tree and forgets what is pending.
fn close(hw: Hw<'_>) {
    let bar = hw.bar;
    bar.write_reg(TOP_EN_CLEAR::zeroed().with_subtrees(ALL_SUBTREES));
    for leaf in 0..LEAVES {
        if let Some(at) = LEAF_EN_CLEAR::try_at(leaf) {
            bar.write(at, LEAF_EN_CLEAR::zeroed().with_vectors(u32::MAX));
        }
        if let Some(at) = LEAF::try_at(leaf) {
            bar.write(at, LEAF::zeroed().with_vectors(u32::MAX));
        }
    }
}

/// Lets every vector through.
fn open(hw: Hw<'_>) {
    let bar = hw.bar;
    for leaf in 0..LEAVES {
        if let Some(at) = LEAF_EN_SET::try_at(leaf) {
            bar.write(at, LEAF_EN_SET::zeroed().with_vectors(u32::MAX));
        }
    }
    bar.write_reg(TOP_EN_SET::zeroed().with_subtrees(ALL_SUBTREES));
}

/// Acknowledges all pending vectors; says whether there were any.
fn acknowledge(hw: Hw<'_>) -> bool {
    let bar = hw.bar;
    let top = bar.read(TOP).subtrees();
    let mut any = false;
    for leaf in (0..LEAVES).filter(|leaf| top & 1 << (leaf / 2) != 0) {
        if let Some(at) = LEAF::try_at(leaf) {
            let pending = bar.read(at);
            if pending.vectors() != 0 {
                any = true;
                if let Some(at) = LEAF::try_at(leaf) {
                    bar.write(at, pending);
                }
            }
        }
    }
    any
}

/// Serves the GSP's falcon; says whether the firmware has put messages into its ring.
fn serve_gsp(hw: Hw<'_>) -> bool {
    let bar = hw.bar;
    let falcon = Falcon::<Gsp>::new(hw);
    let stat = bar.read(IRQSTAT::of::<Gsp>());
    let bits = stat.into_raw() & falcon.riscv_irq_mask();
    let message = IRQSTAT::from(bits).swgen0();
    let rest = IRQSTAT::from(bits).with_swgen0(false).into_raw();

    if message {
        bar.write(WithBase::of::<Gsp>(), IRQSCLR::zeroed().with_swgen0(true));
    }
    if rest != 0 {
        // Nothing that is left is expected; silence it rather than be called for it for ever.
        dev_warn!(hw.dev, "GSP: unexpected interrupts {rest:#x} turned off\n");
        bar.write(WithBase::of::<Gsp>(), IRQMCLR::zeroed().with_bits(rest));
        bar.write(WithBase::of::<Gsp>(), IRQSCLR::from(rest));
    }
    if bits != 0 {
        falcon.retrigger_irq();
    }
    message
}

/// What the interrupt runs.
struct Handler<'bound> {
    link: Arc<Link<'bound>>,
}

impl ThreadedHandler for Handler<'_> {
    fn handle(&self) -> ThreadedIrqReturn {
        let hw = self.link.hw();
        hw.bar
            .write_reg(TOP_EN_CLEAR::zeroed().with_subtrees(ALL_SUBTREES));
        let pending = acknowledge(hw);
        let message = pending && serve_gsp(hw);
        hw.bar
            .write_reg(TOP_EN_SET::zeroed().with_subtrees(ALL_SUBTREES));

        if !pending {
            ThreadedIrqReturn::None
        } else if message && !self.link.signal().raise() {
            // Nobody waits for a reply: an event came by itself.
            ThreadedIrqReturn::WakeThread
        } else {
            ThreadedIrqReturn::Handled
        }
    }

    fn handle_threaded(&self) -> IrqReturn {
        self.link.drain();
        IrqReturn::Handled
    }
}

/// The registered interrupt; the tree is closed when this is dropped.
#[pin_data(PinnedDrop)]
pub(crate) struct Irq<'bound> {
    #[pin]
    handler: ThreadedRegistration<'bound, Handler<'bound>>,
    /// Borrowed by `handler`, and dropped after it. Boxed, so that it never moves.
    _vectors: KBox<IrqVectorRegistration<'bound>>,
}

impl<'bound> Irq<'bound> {
    /// Registers the handler and opens the tree.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        link: Arc<Link<'bound>>,
    ) -> Result<impl PinInit<Self, Error> + use<'bound>> {
        close(link.hw());
        let vectors = pdev
            .alloc_irq_vectors(1, 1, IrqTypes::all())
            .inspect_err(|e| dev_err!(pdev, "no interrupt: {e:?}\n"))?;
        let vectors = KBox::new(vectors, GFP_KERNEL)?;
        // SAFETY: The box's contents stay where they are and are dropped after `handler`, the only
        // user of the reference, as fields are dropped in the order of their declaration.
        let borrowed: &'bound IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&*vectors) };
        let request = IrqRequest::from(borrowed.index(0)?);

        Ok(try_pin_init!(Self {
            // SAFETY: `Irq` is only ever made in a box that its owner drops before the device is
            // unbound; nothing forgets it.
            handler <- unsafe {
                ThreadedRegistration::new(
                    request,
                    Flags::SHARED,
                    c"ghostnv",
                    Ok(Handler { link }),
                )
            },
            _: { open(handler.handler().link.hw()) },
            _vectors: vectors,
        }? Error))
    }
}

#[pinned_drop]
impl PinnedDrop for Irq<'_> {
    fn drop(self: Pin<&mut Self>) {
        close(self.handler.handler().link.hw());
    }
}
