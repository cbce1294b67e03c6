// SPDX-License-Identifier: GPL-2.0

//! Who has which piece of video memory.
//!
//! The kernel's GPU buddy allocator over what the firmware leaves to the driver. It is pure
//! software: a piece can be given back at any time, in any process context, also after the driver
//! has let go of the GPU, because an open DMA-BUF or a mapped buffer object may live that long.
//! Whoever frees a piece makes sure first that the GPU no longer reaches it.
//!
//! Contents are whatever the last owner left: whoever shows a piece to a client clears it first.

use core::ops::Range;

use kernel::{
    gpu::buddy::{
        AllocatedBlocks,
        GpuBuddy,
        GpuBuddyAllocFlag,
        GpuBuddyAllocFlags,
        GpuBuddyAllocMode,
        GpuBuddyParams, //
    },
    prelude::*,
    ptr::Alignment,
    sizes::SZ_4K,
    sync::Arc, //
};

use crate::{
    gpu::lost::Lost,
    mmu::Run, //
};

/// Least unit of video memory that is handed out, in bytes.
pub(crate) const PAGE: u64 = SZ_4K as u64;

/// Whether a piece must be one run of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One run.
    Contiguous,
    /// As few runs as there are free, the largest first; each a power of two and aligned to its own
    /// size.
    Scattered,
}

/// A run of addresses, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First byte.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len: u64,
}

impl Extent {
    /// First byte after it.
    pub(crate) fn end(&self) -> u64 {
        self.address.saturating_add(self.len)
    }
}

/// Video memory that the driver may hand out.
///
/// Shared by everything that owns a piece of it, and not bound to the device.
pub(crate) struct Vram {
    buddy: GpuBuddy,
    /// What lies between the usable regions; held, so that nobody else gets it.
    _holes: KVec<Pin<KBox<AllocatedBlocks>>>,
    total: u64,
    lost: Arc<Lost>,
}

fn alignment(bytes: u64) -> Result<Alignment> {
    Alignment::new_checked(usize::try_from(bytes)?).ok_or(EINVAL)
}

impl Vram {
    /// Takes over the `usable` regions, which are in ascending order and do not overlap. Once the
    /// GPU is `lost` nobody gets any of it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none, or they are not as described.
    pub(crate) fn new(usable: &[Range<u64>], lost: Arc<Lost>) -> Result<Arc<Self>> {
        let end = usable.last().ok_or(EINVAL)?.end & !(PAGE - 1);
        let buddy = GpuBuddy::new(GpuBuddyParams {
            base_offset: 0,
            size: end,
            chunk_size: alignment(PAGE)?,
        })?;
        let mut holes = KVec::new();
        let mut total = 0u64;
        let mut at = 0;

        for region in usable {
            let start = region.start.next_multiple_of(PAGE);
            let stop = region.end & !(PAGE - 1);
            if start < at || stop <= start {
                return Err(EINVAL);
            }
            if at < start {
                let hole = buddy.alloc_blocks(
                    GpuBuddyAllocMode::Range(at..start),
                    start - at,
                    alignment(PAGE)?,
                    GpuBuddyAllocFlags::default(),
                );
                holes.push(KBox::pin_init(hole, GFP_KERNEL)?, GFP_KERNEL)?;
            }
            total += stop - start;
            at = stop;
        }
        Ok(Arc::new(
            Self {
                buddy,
                _holes: holes,
                total,
                lost,
            },
            GFP_KERNEL,
        )?)
    }

    /// Takes `size` bytes, rounded up to whole pages, whose runs start at multiples of `align`.
    ///
    /// `align` is a power of two, or zero for none. A scattered piece is rounded up to a multiple
    /// of it. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a size of zero or an alignment that is no power of two, `ENOSPC` if there is
    /// not that much free, or not in one run, `ENODEV` if the GPU is lost: it may still use what
    /// was given back.
    pub(crate) fn alloc(&self, size: u64, align: u64, shape: Shape) -> Result<Piece> {
        if size == 0 || (align != 0 && !align.is_power_of_two()) {
            return Err(EINVAL);
        }
        let align = align.max(PAGE);
        let size = size.checked_next_multiple_of(PAGE).ok_or(ENOSPC)?;
        let (size, min, flags) = match shape {
            // The allocator gives a run that is aligned to the next power of two of its size.
            Shape::Contiguous if size.checked_next_power_of_two().ok_or(ENOSPC)? >= align => {
                (size, PAGE, GpuBuddyAllocFlag::Contiguous.into())
            }
            // One block of the alignment's size; its end is of no use to anyone else.
            Shape::Contiguous => (align, align, GpuBuddyAllocFlag::Contiguous.into()),
            Shape::Scattered => (
                size.checked_next_multiple_of(align).ok_or(ENOSPC)?,
                align,
                GpuBuddyAllocFlags::default(),
            ),
        };
        if size > self.total {
            return Err(ENOSPC);
        }
        let blocks =
            self.buddy
                .alloc_blocks(GpuBuddyAllocMode::Simple, size, alignment(min)?, flags);
        let blocks = KBox::pin_init(blocks, GFP_KERNEL)?;
        let piece = Piece { blocks };

        self.lost.check()?;
        if shape == Shape::Contiguous {
            // What the allocator falls back to when memory is fragmented is one run, but is
            // aligned to a page only.
            let extent = piece.contiguous().ok_or(ENOSPC)?;
            if extent.address % align != 0 {
                return Err(ENOSPC);
            }
        }
        Ok(piece)
    }

    /// Bytes that the driver has in all.
    #[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether the GPU is lost.
    pub(crate) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// End of the last region.
    pub(crate) fn end(&self) -> u64 {
        self.buddy.size()
    }

    /// Bytes not handed out; they need not be in one run. Takes the allocator's mutex.
    pub(crate) fn free(&self) -> u64 {
        self.buddy.avail()
    }

    /// Bytes handed out.
    #[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
    pub(crate) fn used(&self) -> u64 {
        self.total.saturating_sub(self.free())
    }
}

/// A piece of video memory; dropping it gives it back. Drop may sleep.
pub(crate) struct Piece {
    blocks: Pin<KBox<AllocatedBlocks>>,
}

impl Piece {
    /// Bytes, at least as many as were asked for.
    #[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
    pub(crate) fn size(&self) -> u64 {
        self.blocks.iter().map(|block| block.size()).sum()
    }

    /// Its runs, in the order in which they form the piece. Neighbouring blocks are merged.
    pub(crate) fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        let mut blocks = self.blocks.iter().map(|b| Extent {
            address: b.offset(),
            len: b.size(),
        });
        let mut next = blocks.next();

        core::iter::from_fn(move || {
            let mut run = next.take()?;
            for block in blocks.by_ref() {
                if block.address != run.end() {
                    next = Some(block);
                    break;
                }
                run.len += block.len;
            }
            Some(run)
        })
    }

    /// Its runs as page tables want them.
    pub(crate) fn runs(&self) -> Result<KVVec<Run>> {
        let mut runs = KVVec::new();
        let mut offset = 0;

        for Extent { address, len } in self.extents() {
            let run = Run {
                offset,
                address,
                len,
            };
            runs.push(run, GFP_KERNEL)?;
            offset += len;
        }
        Ok(runs)
    }

    /// The piece as one run, if it is one.
    pub(crate) fn contiguous(&self) -> Option<Extent> {
        let mut extents = self.extents();
        let first = extents.next()?;

        extents.next().is_none().then_some(first)
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_vram)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// One region.
    fn plain(size: u64) -> Result<Arc<Vram>> {
        Vram::new(core::slice::from_ref(&(0..size)), Lost::new()?)
    }

    #[test]
    fn holes_are_never_handed_out() -> Result {
        let vram = Vram::new(&[MIB..3 * MIB, 8 * MIB..9 * MIB], Lost::new()?)?;
        let mut pieces = KVec::new();

        assert_eq!((vram.total(), vram.free()), (3 * MIB, 3 * MIB));
        while let Ok(piece) = vram.alloc(64 << 10, 0, Shape::Contiguous) {
            pieces.push(piece, GFP_KERNEL)?;
        }
        assert_eq!((pieces.len(), vram.free()), (48, 0));
        for extent in pieces.iter().flat_map(Piece::extents) {
            let inside = |r: Range<u64>| r.contains(&extent.address) && extent.end() <= r.end;
            assert!(inside(MIB..3 * MIB) || inside(8 * MIB..9 * MIB));
        }
        drop(pieces);
        assert_eq!(vram.free(), 3 * MIB);
        Ok(())
    }

    #[test]
    fn shapes_and_alignments() -> Result {
        let vram = plain(64 * MIB)?;
        // (size, alignment, shape, size got)
        let table = [
            (1, 0, Shape::Contiguous, PAGE),
            (3 * MIB + 1, 2 * MIB, Shape::Contiguous, 3 * MIB + PAGE),
            (PAGE, 2 * MIB, Shape::Contiguous, 2 * MIB),
            (5 * MIB, 64 << 10, Shape::Scattered, 5 * MIB),
            (5 * MIB, 2 * MIB, Shape::Scattered, 6 * MIB),
        ];
        let mut pieces = KVec::new();

        for (size, align, shape, got) in table {
            let piece = vram.alloc(size, align, shape)?;
            assert_eq!(piece.size(), got);
            assert_eq!(piece.extents().map(|e| e.len).sum::<u64>(), got);
            assert!(piece.extents().all(|e| e.address % align.max(PAGE) == 0));
            assert!(shape == Shape::Scattered || piece.contiguous().is_some());
            pieces.push(piece, GFP_KERNEL)?;
        }
        let used: u64 = pieces.iter().map(Piece::size).sum();
        assert_eq!(vram.used(), used);
        Ok(())
    }

    #[test]
    fn fragmented_memory_is_given_in_pieces() -> Result {
        let vram = plain(4 * MIB)?;
        let mut all = KVec::new();

        for _ in 0..4 * MIB / PAGE {
            all.push(Some(vram.alloc(PAGE, 0, Shape::Contiguous)?), GFP_KERNEL)?;
        }
        // Every other page goes back.
        for slot in all.iter_mut() {
            let keep = slot
                .as_ref()
                .and_then(Piece::contiguous)
                .is_some_and(|e| e.address / PAGE % 2 == 0);
            if !keep {
                *slot = None;
            }
        }
        assert_eq!(vram.free(), 2 * MIB);
        assert!(vram.alloc(2 * PAGE, 0, Shape::Contiguous).is_err());
        let piece = vram.alloc(MIB, 0, Shape::Scattered)?;
        assert_eq!(piece.extents().count() as u64, MIB / PAGE);
        assert_eq!(vram.free(), MIB);
        Ok(())
    }

    #[test]
    fn absurd_requests() -> Result {
        let vram = plain(4 * MIB)?;

        for shape in [Shape::Contiguous, Shape::Scattered] {
            assert!(vram.alloc(0, 0, shape).is_err());
            assert!(vram.alloc(PAGE, 3, shape).is_err());
            assert!(vram.alloc(u64::MAX, 0, shape).is_err());
            assert!(vram.alloc(1 << 63, 0, shape).is_err());
            assert!(vram.alloc(5 * MIB, 0, shape).is_err());
        }
        assert_eq!(vram.used(), 0);
        assert!(Vram::new(&[], Lost::new()?).is_err());
        assert!(Vram::new(&[2 * MIB..3 * MIB, 0..MIB], Lost::new()?).is_err());
        Ok(())
    }

    #[test]
    fn nobody_gets_memory_of_a_lost_gpu() -> Result {
        let lost = Lost::new()?;
        let vram = Vram::new(core::slice::from_ref(&(0..4 * MIB)), lost.clone())?;
        let piece = vram.alloc(MIB, 0, Shape::Contiguous)?;

        assert!(lost.set() && !lost.set());
        for shape in [Shape::Contiguous, Shape::Scattered] {
            assert_eq!(vram.alloc(PAGE, 0, shape).err(), Some(ENODEV));
        }
        // What was given out stays, and can be given back.
        assert_eq!(vram.used(), MIB);
        drop(piece);
        assert_eq!(vram.used(), 0);
        assert_eq!(vram.alloc(PAGE, 0, Shape::Contiguous).err(), Some(ENODEV));
        Ok(())
    }
}
