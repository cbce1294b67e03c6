// SPDX-License-Identifier: GPL-2.0

//! Tests of the page tables against plain memory.
//!
//! `Soft` holds tables as words. Its walk reads them the way the hardware does and shares no code
//! with the tree. After each of many random changes, every page of a few windows of virtual
//! addresses must be what a flat list says it is.

use kernel::prelude::*;

#[kunit_tests(ghostnv_mmu)]
mod cases {
    use core::cell::Cell;

    use kernel::sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    };

    use super::super::{
        Aperture,
        Attr,
        Changes,
        Format,
        Gp100,
        Need,
        Run,
        Running,
        Stock,
        TableMemory,
        TableSize,
        Tally,
        Tree,
        What, //
    };
    use super::*;

    const FORMAT: &dyn Format = &Gp100;
    const PAGE: u64 = 0x1000;
    const MIB: u64 = 1 << 20;

    /// Tables are at multiples of 4 KiB from here on.
    const BASE: u64 = 0x1_0000_0000;

    /// One table's words; none while it is free.
    type Table = Option<KVVec<u64>>;

    struct Soft {
        tables: Cell<KVVec<Table>>,
        /// Tables given out and not given back.
        live: Arc<Atomic<i64>>,
        /// What was done to tables that must not be.
        faults: Cell<u32>,
    }

    struct Handle(usize, Arc<Atomic<i64>>);

    impl Drop for Handle {
        fn drop(&mut self) {
            self.1.fetch_add(-1, Relaxed);
        }
    }

    impl TableMemory for Soft {
        type Table = Handle;

        fn alloc(&self, size: TableSize) -> Result<Handle> {
            let mut words = KVVec::new();
            words.resize(size as usize / 8, 0, GFP_KERNEL)?;
            let number = self.with(|tables| {
                tables.push(Some(words), GFP_KERNEL)?;
                Ok::<_, Error>(tables.len() - 1)
            })?;
            self.live.fetch_add(1, Relaxed);
            Ok(Handle(number, self.live.clone()))
        }

        fn address(&self, table: &Handle) -> u64 {
            BASE + table.0 as u64 * PAGE
        }

        fn write(&self, table: &Handle, first: usize, words: &mut dyn Iterator<Item = u64>) {
            // A write to a free table, or beyond its end, is a fault.
            let written = self.with(|tables| {
                let memory = tables.get_mut(table.0)?.as_mut()?.get_mut(first..)?;
                let mut places = memory.iter_mut();
                for word in words {
                    *places.next()? = word;
                }
                Some(())
            });
            if written.is_none() {
                self.fault();
            }
        }

        fn barrier(&self) {}

        fn free_zeroed(&self, table: Handle) {
            let words = self.with(|tables| tables.get_mut(table.0)?.take());
            if !words.is_some_and(|words| words.iter().all(|&word| word == 0)) {
                self.fault();
            }
        }
    }

    /// What a page is: address and entry's other bits, or sparse, or nothing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum State {
        Nothing,
        Sparse,
        Page(u64, u64),
    }

    impl Soft {
        fn with<R>(&self, f: impl FnOnce(&mut KVVec<Table>) -> R) -> R {
            let mut tables = self.tables.replace(KVVec::new());
            let result = f(&mut tables);
            self.tables.set(tables);
            result
        }

        fn fault(&self) {
            self.faults.set(self.faults.get() + 1);
        }

        /// A word of a table that is in use; `EFAULT` if there is none.
        fn word(&self, table: u64, index: u64) -> Result<u64> {
            let table = table.checked_sub(BASE).ok_or(EFAULT)? / PAGE;
            let number = usize::try_from(table)?;

            self.with(|tables| {
                let words = tables.get(number)?.as_ref()?;
                words.get(index as usize).copied()
            })
            .ok_or(EFAULT)
        }

        /// The table that an entry points at, if it does.
        fn target(word: u64) -> Result<Option<u64>> {
            match word & 6 {
                0 => Ok(None),
                2 => Ok(Some((word & !0xff) << 4)),
                // Tables are in video memory.
                _ => Err(EFAULT),
            }
        }

        fn page(word: u64, va: u64, size: u64) -> Result<State> {
            let address = (word << 4) & 0x0fff_ffff_f000;
            if address % size != 0 {
                return Err(EFAULT);
            }
            Ok(State::Page(
                address + (va & (size - 1) & !(PAGE - 1)),
                word & !(0x0fff_ffff_f000 >> 4),
            ))
        }

        /// What the hardware finds at an address; `EFAULT` if tables are not as they should be.
        fn walk(&self, root: u64, va: u64) -> Result<State> {
            let mut table = root;
            for (shift, mask) in [(47, 3), (38, 511), (29, 511)] {
                let word = self.word(table, va >> shift & mask)?;
                table = match (Self::target(word)?, word) {
                    (Some(next), _) => next,
                    (None, 8) => return Ok(State::Sparse),
                    (None, 0) => return Ok(State::Nothing),
                    _ => return Err(EFAULT),
                };
            }
            let low = self.word(table, (va >> 21 & 255) * 2)?;
            if low & 1 != 0 {
                return Self::page(low, va, 2 * MIB);
            }
            if low == 8 {
                return Ok(State::Sparse);
            }
            if let Some(big) = Self::target(low)? {
                match self.word(big, va >> 16 & 31)? {
                    0 => (),
                    8 => return Ok(State::Sparse),
                    word => return Self::page(word, va, 0x10000),
                }
            }
            let high = self.word(table, (va >> 21 & 255) * 2 + 1)?;
            let Some(small) = Self::target(high)? else {
                return Ok(State::Nothing);
            };
            match self.word(small, va >> 12 & 511)? {
                0 => Ok(State::Nothing),
                8 => Ok(State::Sparse),
                word => Self::page(word, va, PAGE),
            }
        }
    }

    struct Rig {
        memory: Soft,
        tree: Tree<Soft>,
    }

    impl Rig {
        fn new() -> Result<Self> {
            let memory = Soft {
                tables: Cell::new(KVVec::new()),
                live: Arc::new(Atomic::new(0), GFP_KERNEL)?,
                faults: Cell::new(0),
            };
            Ok(Self {
                tree: Tree::new(FORMAT, &memory)?,
                memory,
            })
        }

        /// Makes one change; whether anything was written. `EFAULT` if it needs more than it
        /// said, or does to tables what must not be done.
        fn set(&mut self, va: u64, len: u64, what: What<'_>) -> Result<bool> {
            let mut stock = Stock::empty();
            let mut changes = Changes::new();
            let need = self.tree.need(va, len, what)?;
            let mut tally = Tally::new();
            Tree::<Soft>::tally(FORMAT, va, len, what, &mut tally)?;
            if !need.at_most(tally.need()) {
                return Err(EFAULT);
            }
            stock.fill(FORMAT, &self.memory, need)?;
            self.tree
                .set(&self.memory, va, len, what, &mut stock, &mut changes)?;
            self.tree.sweep(&self.memory, va, len, &mut changes);
            stock.release(&self.memory);
            let written = changes.is_written();
            changes.release(&self.memory);
            if self.memory.faults.get() != 0 {
                return Err(EFAULT);
            }
            Ok(written)
        }

        /// Makes changes that follow each other, with no more tables than they say they need
        /// together. Says of each whether something might have been there.
        fn set_in_order(
            &mut self,
            spare: &mut Stock<Handle>,
            steps: &[(u64, u64, What<'_>)],
        ) -> Result<KVec<bool>> {
            let (mut stock, mut changes) = (Stock::empty(), Changes::new());
            let (mut running, mut occupied) = (Running::default(), KVec::new());
            for &(va, len, what) in steps {
                let there = self.tree.need_in_order(va, len, what, &mut running)?;
                occupied.push(there, GFP_KERNEL)?;
            }
            let need = running.need();
            stock.draw(spare, need);
            stock.fill(FORMAT, &self.memory, need)?;
            for &(va, len, what) in steps {
                self.tree
                    .set(&self.memory, va, len, what, &mut stock, &mut changes)?;
            }
            for &(va, len, _) in steps {
                self.tree.sweep(&self.memory, va, len, &mut changes);
            }
            spare.keep(&mut stock, Need::A_FEW);
            stock.release(&self.memory);
            spare.keep_changes(&mut changes, Need::A_FEW);
            changes.release(&self.memory);
            if self.memory.faults.get() != 0 {
                return Err(EFAULT);
            }
            Ok(occupied)
        }

        fn tables(&self) -> i64 {
            self.memory.live.load(Relaxed)
        }

        fn at(&self, va: u64) -> Result<State> {
            self.memory.walk(self.tree.root(&self.memory).0, va)
        }
    }

    fn run(offset: u64, address: u64, len: u64) -> Run {
        Run {
            offset,
            address,
            len,
        }
    }

    fn vram(runs: &[Run]) -> What<'_> {
        What::Pages {
            runs,
            offset: 0,
            attr: Attr::linear(Aperture::Vram),
        }
    }

    #[test]
    fn entries_are_as_the_format_says() {
        let linear = Attr::linear(Aperture::Vram);
        let attr = Attr {
            aperture: Aperture::Coherent,
            kind: 6,
            volatile: false,
            read_only: true,
            privileged: true,
            no_atomics: true,
        };

        assert_eq!(FORMAT.pte(0x12_3456_7000, linear), 0x1_2345_6701);
        assert_eq!(FORMAT.pte(0x1000, attr), 0x0600_0000_0000_01ed);
        assert_eq!(FORMAT.pde(0x2000), 0x202);
        assert_eq!(FORMAT.advance(0x101, 0x10000), 0x1101);
        assert_eq!(FORMAT.advance(8, 0x10000), 8);
    }

    #[test]
    fn page_sizes_follow_alignment_and_contiguity() -> Result {
        // (virtual address, memory, bytes, tables beside the root and the three directories)
        let table = [
            (2 * MIB, 4 * MIB, 2 * MIB, 0),
            (2 * MIB, 4 * MIB, 64 << 10, 1),
            (2 * MIB, 4 * MIB + PAGE, 64 << 10, 1),
            (2 * MIB + PAGE, 4 * MIB + PAGE, 128 << 10, 2),
            (MIB, MIB, 4 * MIB, 2),
            (0, 0x10000, 4 * MIB, 2),
        ];
        for (va, address, len, tables) in table {
            // The same for either memory.
            for aperture in [Aperture::Vram, Aperture::Coherent] {
                let mut rig = Rig::new()?;
                let what = What::Pages {
                    runs: &[run(0, address, len)],
                    offset: 0,
                    attr: Attr::linear(aperture),
                };
                assert!(rig.set(va, len, what)?);
                assert_eq!(rig.tables(), 4 + tables);
                assert!(rig.set(va, len, What::Invalid)?);
                assert_eq!(rig.tables(), 1);
            }
        }
        Ok(())
    }

    #[test]
    fn holes_cost_nothing() -> Result {
        let mut rig = Rig::new()?;

        assert!(!rig.set(0, 1 << 49, What::Invalid)?);
        assert!(!rig.set(32 * MIB, 32 * MIB, What::Invalid)?);
        assert_eq!(rig.tables(), 1);
        // A terabyte of sparse addresses: four entries in a directory of two.
        assert!(rig.set(0, 1 << 40, What::Sparse)?);
        assert_eq!(rig.tables(), 2);
        assert_eq!(rig.at((1 << 40) - PAGE)?, State::Sparse);
        assert_eq!(rig.at(1 << 40)?, State::Nothing);
        // Memory in its midst, and out again.
        let runs = [run(0, 0x5000, PAGE)];
        assert!(rig.set(1 << 39, PAGE, vram(&runs))?);
        assert_eq!(rig.at(1 << 39)?, State::Page(0x5000, 1));
        assert_eq!(rig.at((1 << 39) + PAGE)?, State::Sparse);
        assert_eq!(rig.at((1 << 39) + (1 << 35))?, State::Sparse);
        assert!(rig.set(1 << 39, PAGE, What::Sparse)?);
        assert_eq!(rig.at(1 << 39)?, State::Sparse);
        assert!(rig.set(0, 1 << 40, What::Invalid)?);
        assert_eq!(rig.at(1 << 39)?, State::Nothing);
        Ok(())
    }

    #[test]
    fn changes_in_order_need_what_they_take() -> Result {
        let runs = [run(0, 4 * MIB, 4 * MIB)];
        for before in [What::Invalid, What::Sparse, vram(&runs)] {
            for (size, step) in [
                (PAGE, PAGE),
                (PAGE, 3 * PAGE),
                (0x10000, 0x10000),
                (0x18000, 0x20000),
                (2 * MIB, 2 * MIB),
                (3 * MIB, 3 * MIB),
            ] {
                let (mut rig, mut spare) = (Rig::new()?, Stock::empty());
                rig.set(2 * MIB, 4 * MIB, before)?;
                let mut steps = KVec::new();
                for i in 0..20 {
                    let what = if i % 3 == 2 {
                        What::Invalid
                    } else {
                        vram(&runs)
                    };
                    steps.push((MIB + i * step, size, what), GFP_KERNEL)?;
                }
                rig.set_in_order(&mut spare, &steps)?;
                assert_eq!(rig.at(MIB)?, State::Page(4 * MIB, 1));
                assert_eq!(rig.at(MIB + 2 * step)?, State::Nothing);
                assert_eq!(rig.at(MIB + 19 * step)?, State::Page(4 * MIB, 1));
            }
        }
        Ok(())
    }

    #[test]
    fn what_may_be_there_is_said() -> Result {
        let (mut rig, mut spare) = (Rig::new()?, Stock::empty());
        let runs = [run(0, 0x10000, 4 * MIB)];
        let mut ask = |va, len, what| {
            let occupied = rig.set_in_order(&mut spare, &[(va, len, what)])?;
            occupied.first().copied().ok_or(EINVAL)
        };

        assert!(!ask(0x1000, PAGE, vram(&runs))?);
        assert!(!ask(0x2000, PAGE, vram(&runs))?);
        assert!(ask(0x1000, PAGE, What::Invalid)?);
        assert!(!ask(0x1000, PAGE, What::Invalid)?);
        assert!(!ask(0x10000, 0x10000, vram(&runs))?);
        assert!(!ask(0x20000, PAGE, vram(&runs))?);
        assert!(ask(0xf000, 2 * PAGE, vram(&runs))?);
        assert!(!ask(2 * MIB, 2 * MIB, vram(&runs))?);
        assert!(ask(3 * MIB, PAGE, What::Invalid)?);
        assert!(!ask(1 << 40, 1 << 38, What::Sparse)?);
        assert!(ask(1 << 40, PAGE, vram(&runs))?);
        assert!(ask(1 << 40, 1 << 38, What::Invalid)?);
        Ok(())
    }

    #[test]
    fn tables_that_come_back_are_used_again() -> Result {
        let (mut rig, mut spare) = (Rig::new()?, Stock::empty());
        let runs = [run(0, 0x1000, PAGE)];
        let mut made = 0;

        for round in 0..8 {
            rig.set_in_order(&mut spare, &[(round << 40, PAGE, vram(&runs))])?;
            assert_eq!(rig.at(round << 40)?, State::Page(0x1000, 1));
            rig.set_in_order(&mut spare, &[(round << 40, PAGE, What::Invalid)])?;
            if round == 0 {
                made = rig.tables();
            }
            assert_eq!(rig.tables(), made);
        }
        assert!(spare.have().at_most(Need::A_FEW));
        spare.release(&rig.memory);
        assert_eq!(rig.tables(), 1);
        assert_eq!(rig.memory.faults.get(), 0);
        Ok(())
    }

    #[test]
    fn tables_are_tallied_once() -> Result {
        let mut tally = Tally::new();
        let runs = [run(0, 0x10000, 64 << 10)];

        for i in 0..64 {
            Tree::<Soft>::tally(FORMAT, i << 16, 64 << 10, vram(&runs), &mut tally)?;
        }
        // Two directories and a last one, and a table for each of two spans.
        let need = tally.need();
        let mut stock = Stock::empty();
        let rig = Rig::new()?;
        stock.fill(FORMAT, &rig.memory, need)?;
        assert_eq!(rig.tables(), 1 + 3 + 2);
        Ok(())
    }

    #[test]
    fn absurd_ranges_are_refused() -> Result {
        let rig = Rig::new()?;

        for (va, len) in [
            (0, 0),
            (1, PAGE),
            (0, 1),
            (u64::MAX & !(PAGE - 1), PAGE),
            (1 << 49, PAGE),
            ((1 << 49) - PAGE, 2 * PAGE),
            (PAGE, u64::MAX - PAGE + 1),
        ] {
            assert!(rig.tree.need(va, len, What::Invalid).is_err());
        }
        Ok(())
    }

    /// Numbers that look random and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    /// Runs of random length and alignment for `len` bytes from `skip` on.
    fn random_runs(numbers: &mut Numbers, skip: u64, len: u64) -> Result<KVVec<Run>> {
        let mut runs = KVVec::new();
        let mut at = 0;
        while at < skip + len {
            let left = (skip + len - at) / PAGE;
            let (unit, most) = match numbers.below(4) {
                0 => (PAGE, 3),
                1 => (PAGE, 40),
                2 => (0x10000, 2000),
                _ => (2 * MIB, 2000),
            };
            let pages = (1 + numbers.below(most)).min(left);
            let address = numbers.below(1 << 14) * unit;
            runs.push(run(at, address, pages * PAGE), GFP_KERNEL)?;
            at += pages * PAGE;
        }
        Ok(runs)
    }

    #[test]
    fn random_changes_match_a_flat_list() -> Result {
        /// Around the border of a last directory, and of the root's entries.
        const WINDOWS: [u64; 2] = [(1 << 29) - 5 * MIB, (1 << 47) - 3 * MIB];
        const SIZE: u64 = 10 * MIB;
        const COUNT: u64 = SIZE / PAGE;
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut rig = Rig::new()?;
        let mut flat = KVVec::new();
        flat.resize(2 * COUNT as usize, State::Nothing, GFP_KERNEL)?;

        for round in 0..100 {
            let window = numbers.below(2);
            let coarse = numbers.below(3);
            let unit = [1, 16, 512][coarse as usize];
            let first = numbers.below(COUNT / unit) * unit;
            let most = [20, COUNT, COUNT][coarse as usize].min(COUNT - first);
            let count = (1 + numbers.below(most)).div_ceil(unit) * unit;
            let count = count.min(COUNT - first);
            let (va, len) = (WINDOWS[window as usize] + first * PAGE, count * PAGE);
            let skip = numbers.below(30) * PAGE;
            let runs = random_runs(&mut numbers, skip, len)?;
            let attr = Attr {
                kind: numbers.below(7) as u8,
                read_only: numbers.below(2) == 0,
                ..Attr::linear(Aperture::Vram)
            };
            let what = match numbers.below(6) {
                0 | 1 => What::Invalid,
                2 => What::Sparse,
                _ => What::Pages {
                    runs: &runs,
                    offset: skip,
                    attr,
                },
            };
            let range =
                (window * COUNT + first) as usize..(window * COUNT + first + count) as usize;
            let mut changed = false;
            for (i, state) in flat[range].iter_mut().enumerate() {
                let offset = skip + i as u64 * PAGE;
                let new = match what {
                    What::Invalid => State::Nothing,
                    What::Sparse => State::Sparse,
                    What::Pages { .. } => {
                        let run = runs.iter().rev().find(|run| run.offset <= offset);
                        let run = run.ok_or(EINVAL)?;
                        State::Page(run.address + offset - run.offset, FORMAT.pte(0, attr))
                    }
                };
                changed |= *state != new;
                *state = new;
            }
            assert!(rig.set(va, len, what)? || !changed);
            for (i, state) in flat.iter().enumerate() {
                let i = i as u64;
                let va = WINDOWS[(i / COUNT) as usize] + i % COUNT * PAGE;
                let found = rig.at(va)?;
                if found != *state {
                    pr_err!("round {round}: {va:#x} is {found:?}, not {state:?}\n");
                }
                assert!(found == *state);
            }
        }
        for window in WINDOWS {
            rig.set(window, SIZE, What::Invalid)?;
        }
        assert_eq!(rig.tables(), 1);
        Ok(())
    }
}
