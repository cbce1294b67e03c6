// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Ranges of physical addresses that user space is to map write-combining.
//!
//! Some architectures, x86 with PAT among them, keep a list of how each range of physical addresses
//! that is not RAM may be mapped, so that no two mappings of it disagree. A page that goes into the
//! mapping of a process by its frame number is mapped as the list says, whatever the page
//! protection that comes with it asks for; and what is not on the list is mapped uncached. A driver
//! that shows the memory of its device to processes puts it on the list first, or each of their
//! stores is a transaction of its own on the bus.
//!
//! x86 without PAT has no such list, and no write-combining page either: there a memory type range
//! register, if one is left, does it for the whole range. Elsewhere nothing has to be done.
//!
//! C header: [`include/linux/io.h`](srctree/include/linux/io.h)

use crate::{
    bindings,
    error::to_result,
    io::{
        PhysAddr,
        ResourceSize, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use core::marker::PhantomData;

/// A range that is mapped write-combining into processes, for as long as this lives.
///
/// It concerns mappings made meanwhile. Who made some must have removed them when it is dropped.
///
/// `pci::Device::write_combined()` makes one of a BAR.
///
/// # Invariants
///
/// The range is reserved, and `mtrr` is what `arch_phys_wc_add()` returned for it, or 0.
pub struct WriteCombined<'a> {
    start: PhysAddr,
    len: ResourceSize,
    mtrr: c_int,
    _owner: PhantomData<&'a ()>,
}

impl WriteCombined<'_> {
    /// Reserves `len` bytes from `start` on, which are whole pages. May sleep.
    ///
    /// The same range may be reserved more than once. If others have all of it, or parts of it and
    /// nobody the rest, mapped uncached before, that is how it stays, and no error.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such range of pages, `EBUSY` if there are mappings of it that differ
    /// from one another, `ENOMEM`.
    ///
    /// # Safety
    ///
    /// The range must be memory of a device, and not RAM, as long as the lifetime of the result.
    pub unsafe fn new(start: PhysAddr, len: ResourceSize) -> Result<Self> {
        const PAGE: ResourceSize = PAGE_SIZE as ResourceSize;

        if len == 0 || start % PAGE != 0 || len % PAGE != 0 || start.checked_add(len).is_none() {
            return Err(EINVAL);
        }

        // SAFETY: By the safety requirements nothing is changed of how the kernel sees its memory.
        to_result(unsafe { bindings::arch_io_reserve_memtype_wc(start, len) })?;

        let mtrr = match (start.try_into(), len.try_into()) {
            // SAFETY: As above. It does nothing where the reservation is what counts.
            (Ok(start), Ok(len)) => unsafe { bindings::arch_phys_wc_add(start, len) },
            _ => 0,
        };

        // INVARIANT: That was just done. What went wrong with the register has been logged, and it
        // is of no use to know.
        Ok(Self {
            start,
            len,
            mtrr,
            _owner: PhantomData,
        })
    }
}

impl Drop for WriteCombined<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant both undo what was done.
        unsafe {
            bindings::arch_phys_wc_del(self.mtrr);
            bindings::arch_io_free_memtype_wc(self.start, self.len);
        }
    }
}

#[kunit_tests(rust_io_write_combined)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_pages_only() -> Result {
        const PAGE: ResourceSize = PAGE_SIZE as ResourceSize;
        const START: PhysAddr = 16 * PAGE;

        for (start, len) in [
            (START, 0),
            (START, 1),
            (START, PAGE + 1),
            (START + 1, PAGE),
            (PhysAddr::MAX - PAGE + 1, PAGE),
            (START, ResourceSize::MAX - PAGE + 1),
        ] {
            // SAFETY: It is refused.
            let range = unsafe { WriteCombined::new(start, len) };

            assert_eq!(range.err(), Some(EINVAL));
        }
        Ok(())
    }
}

/// Without PAT there is no list, and nothing to be seen.
#[cfg(CONFIG_X86_PAT)]
#[kunit_tests(rust_io_write_combined_pat)]
mod pat_tests {
    use super::*;
    use crate::page::PAGE_SHIFT;

    /// Where a PC never has RAM, nor much else: between what interrupts are written to and the
    /// firmware.
    const NOWHERE: PhysAddr = 0xfef0_0000;

    /// Whether a process would have the page that is `page` pages after [`NOWHERE`] mapped
    /// write-combining, if it were mapped now.
    fn combines(page: usize) -> bool {
        // SAFETY: They only compute, and look at the list.
        unsafe {
            let asked = bindings::vm_get_page_prot(0);
            let mut got = asked;
            let pfn = (NOWHERE as usize >> PAGE_SHIFT) + page;

            bindings::pfnmap_setup_cachemode(pfn, PAGE_SIZE, &mut got) == 0
                && got.pgprot == bindings::pgprot_writecombine(asked).pgprot
        }
    }

    fn reserve(page: usize, count: usize) -> Result<WriteCombined<'static>> {
        let bytes = |pages: usize| (pages * PAGE_SIZE) as PhysAddr;

        // SAFETY: See `NOWHERE`.
        unsafe { WriteCombined::new(NOWHERE + bytes(page), bytes(count)) }
    }

    /// False if the CPU has no PAT or was told not to use it.
    fn is_there() -> bool {
        // SAFETY: There are no requirements.
        unsafe { bindings::pat_enabled() }
    }

    #[test]
    fn mappings_combine_while_it_lives() -> Result {
        if !is_there() {
            return Ok(());
        }
        let which = || [combines(0), combines(1), combines(2), combines(3)];

        assert_eq!(which(), [false; 4]);
        let first = reserve(1, 2)?;
        assert_eq!(which(), [false, true, true, false]);
        let second = reserve(1, 2)?;
        drop(first);
        assert_eq!(which(), [false, true, true, false]);
        drop(second);
        assert_eq!(which(), [false; 4]);
        Ok(())
    }

    #[test]
    fn does_not_contradict_others() -> Result {
        if !is_there() {
            return Ok(());
        }
        // SAFETY: See `NOWHERE`. It is not accessed.
        let mapped = unsafe { bindings::ioremap(NOWHERE, PAGE_SIZE) };
        assert!(!mapped.is_null());

        // Mapped uncached as a whole or in part: so be it.
        let same = reserve(0, 2).map(|_range| (combines(0), combines(1)));
        // Mapped in two ways: that cannot be.
        let mixed = reserve(1, 1).and_then(|_range| reserve(0, 2).map(|_| ()));
        // SAFETY: It is mapped.
        unsafe { bindings::iounmap(mapped) };

        assert_eq!(same, Ok((false, false)));
        assert_eq!(mixed, Err(EBUSY));
        // And nothing is left of it.
        let whole = reserve(0, 2)?;
        assert!(combines(0) && combines(1));
        drop(whole);
        Ok(())
    }
}
