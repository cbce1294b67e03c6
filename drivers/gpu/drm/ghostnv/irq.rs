// SPDX-License-Identifier: GPL-2.0
// Contains unsafe code: a registration that borrows the vectors stored beside it.

//! The interrupt of the GPU, and the tree of sources behind it.
//!
//! The hardware raises an MSI when the first enabled vector becomes pending, and none for further
//! ones while any is. Vectors are acknowledged before their source is looked at, so that what
//! happens after the look is a new interrupt.
//!
//! Until the firmware says which vector is whose, every vector leads to the GSP's falcon, whose
//! own status register is the truth about whether it interrupted. After that only the GSP's vector
//! and the non-stalling vectors of engines are enabled, and the interrupt of an engine costs one
//! register write (the acknowledgment) and one read, which makes sure that the acknowledgment
//! has arrived before fences are looked at, and says whether anything is left. Everything happens
//! in the handler itself; only messages of the firmware that nobody waits for go to its thread.
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
        IrqType,
        IrqTypes,
        IrqVectorRegistration, //
    },
    prelude::*,
    sync::{
        Arc,
        SetOnce, //
    },
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

pub(crate) mod watch;

/// How often the handler looks again before it lets others have the processor.
const ROUNDS: usize = 4;

/// Which vectors are whose.
struct Routes {
    /// Leaf and bit of the GSP.
    gsp: (usize, u32),
    /// Non-stalling vectors of engines, by leaf.
    nonstall: [u32; LEAVES],
}

/// Leaf and bit of a vector; `EIO` for one that the tree does not have.
fn place(vector: u32) -> Result<(usize, u32)> {
    let leaf = usize::try_from(vector / 32)?;
    if leaf >= LEAVES {
        return Err(EIO);
    }
    Ok((leaf, 1 << (vector % 32)))
}

impl Routes {
    fn new(gsp: u32, engines: impl Iterator<Item = u32>) -> Result<Self> {
        let mut nonstall = [0; LEAVES];
        for vector in engines {
            let (leaf, bit) = place(vector)?;
            *nonstall.get_mut(leaf).ok_or(EIO)? |= bit;
        }
        Ok(Self {
            gsp: place(gsp)?,
            nonstall,
        })
    }

    /// Vectors of a leaf that are anybody's.
    fn leaf(&self, leaf: usize) -> u32 {
        let gsp = if leaf == self.gsp.0 { self.gsp.1 } else { 0 };
        self.nonstall.get(leaf).copied().unwrap_or(0) | gsp
    }

    /// The bit of the top that stands for the GSP's leaf.
    fn gsp_subtree(&self) -> u32 {
        1 << (self.gsp.0 / 2)
    }
}

fn write_leaf(hw: Hw<'_>, leaf: usize, vectors: u32) {
    if let Some(at) = LEAF::try_at(leaf) {
        hw.bar.write(at, LEAF::zeroed().with_vectors(vectors));
    }
}

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
    if top == u32::MAX {
        // The GPU has left the bus.
        return false;
    }
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
    if stat.into_raw() == u32::MAX {
        // The GPU has left the bus.
        return false;
    }
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
    routes: SetOnce<Routes>,
    /// The interrupt is a line that other devices may share.
    line: bool,
}

impl Handler<'_> {
    /// Tells whoever waits for the firmware; says whether nobody does.
    fn messages_unclaimed(&self) -> bool {
        !self.link.signal().raise()
    }

    /// As long as nobody knows which vector is whose.
    fn handle_any(&self) -> ThreadedIrqReturn {
        let hw = self.link.hw();
        hw.bar
            .write_reg(TOP_EN_CLEAR::zeroed().with_subtrees(ALL_SUBTREES));
        let pending = acknowledge(hw);
        let message = pending && serve_gsp(hw);
        hw.bar
            .write_reg(TOP_EN_SET::zeroed().with_subtrees(ALL_SUBTREES));

        if !pending {
            ThreadedIrqReturn::None
        } else if message && self.messages_unclaimed() {
            ThreadedIrqReturn::WakeThread
        } else {
            ThreadedIrqReturn::Handled
        }
    }

    fn handle_routed(&self, routes: &Routes) -> ThreadedIrqReturn {
        let hw = self.link.hw();
        let top = || hw.bar.read(TOP).subtrees();
        if self.line && top() & ALL_SUBTREES == 0 {
            return ThreadedIrqReturn::None;
        }
        let mut unclaimed = false;
        let mut left = true;
        for _ in 0..ROUNDS {
            for (leaf, &vectors) in routes.nonstall.iter().enumerate() {
                if vectors != 0 {
                    write_leaf(hw, leaf, vectors);
                }
            }
            // Makes the acknowledgment arrive before the fences are looked at.
            let pending = top();
            self.link.watchlist().completed();
            // All ones come from a GPU that has left the bus.
            left = pending != 0 && pending != u32::MAX;
            if !left {
                break;
            }
            if pending & routes.gsp_subtree() != 0 {
                write_leaf(hw, routes.gsp.0, routes.gsp.1);
                unclaimed |= serve_gsp(hw) && self.messages_unclaimed();
            }
        }
        if left {
            // What is pending raises a new interrupt.
            hw.bar
                .write_reg(TOP_EN_CLEAR::zeroed().with_subtrees(ALL_SUBTREES));
            hw.bar
                .write_reg(TOP_EN_SET::zeroed().with_subtrees(ALL_SUBTREES));
        }
        if unclaimed {
            ThreadedIrqReturn::WakeThread
        } else {
            ThreadedIrqReturn::Handled
        }
    }
}

impl ThreadedHandler for Handler<'_> {
    fn handle(&self) -> ThreadedIrqReturn {
        match self.routes.as_ref() {
            Some(routes) => self.handle_routed(routes),
            None => self.handle_any(),
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
        let line = matches!(vectors.irq_type(), IrqType::Intx);
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
                    Ok(Handler {
                        link,
                        routes: SetOnce::new(),
                        line,
                    }),
                )
            },
            _: { open(handler.handler().link.hw()) },
            _vectors: vectors,
        }? Error))
    }

    /// Enables the vectors of the GSP and of engines, and no others, from now on.
    ///
    /// Called once.
    pub(crate) fn route(&self, gsp: u32, engines: impl Iterator<Item = u32>) -> Result {
        let handler = self.handler.handler();
        let hw = handler.link.hw();
        let routes = Routes::new(gsp, engines).inspect_err(|_| {
            dev_err!(hw.dev, "GSP: interrupt vectors outside of the tree\n");
        })?;
        // First without the others, as the handler would not know them.
        for leaf in 0..LEAVES {
            let theirs = !routes.leaf(leaf);
            if let Some(at) = LEAF_EN_CLEAR::try_at(leaf) {
                hw.bar
                    .write(at, LEAF_EN_CLEAR::zeroed().with_vectors(theirs));
            }
            write_leaf(hw, leaf, theirs);
        }
        if !handler.routes.populate(routes) {
            return Err(EBUSY);
        }
        // Messages of the time between raise no further interrupt.
        handler.link.drain();
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Irq<'_> {
    fn drop(self: Pin<&mut Self>) {
        close(self.handler.handler().link.hw());
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_irq)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_places() -> Result {
        assert_eq!(place(0)?, (0, 1));
        assert_eq!(place(131)?, (4, 8));
        assert_eq!(place(255)?, (7, 1 << 31));
        assert!(place(256).is_err());
        assert!(place(u32::MAX).is_err());
        Ok(())
    }

    #[test]
    fn routes_keep_leaves_apart() -> Result {
        let routes = Routes::new(131, [0, 1, 4, 33].into_iter())?;
        assert_eq!(routes.leaf(0), 0b10011);
        assert_eq!(routes.leaf(1), 0b10);
        assert_eq!(routes.leaf(4), 8);
        assert_eq!(routes.leaf(8), 0);
        assert_eq!(routes.gsp_subtree(), 1 << 2);
        Ok(())
    }
}
