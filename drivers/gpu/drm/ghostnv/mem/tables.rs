// SPDX-License-Identifier: GPL-2.0

//! Video memory for page tables.
//!
//! Tables are 4 KiB or 256 bytes; video memory comes in blocks of 64 KiB, as much as a window of
//! [`Bar2`] shows. Zeroing one costs hundreds of writes over the bus, so a table that was emptied
//! entry by entry is remembered to be zero, and is handed out first.

use kernel::{
    bits::genmask_u64,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sizes::SZ_64K,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use crate::mmu::{
    TableMemory,
    TableSize, //
};

use super::{
    bar2::Bar2,
    vram::{
        Piece,
        Shape,
        Vram, //
    }, //
};

/// Bytes of a block.
const BLOCK: u64 = SZ_64K as u64;
/// Words of a bit for each table of a block.
const WORDS: usize = SZ_64K / TableSize::Big as usize / 64;

/// A block and which of its tables are free.
struct Block {
    _memory: Piece,
    free: [u64; WORDS],
    /// Of the free ones, those that are zero.
    zeroed: [u64; WORDS],
}

struct Blocks {
    /// By address.
    list: RBTree<u64, Block>,
    /// A block that had a free table when it was last looked at.
    hint: u64,
    /// Free tables in all blocks.
    free: usize,
}

/// Tables of one size. Pure software, like [`Vram`].
#[pin_data]
pub(crate) struct Pool {
    vram: Arc<Vram>,
    size: TableSize,
    #[pin]
    blocks: Mutex<Blocks>,
}

/// Index of the first bit that is set in both.
fn first_set(a: &[u64; WORDS], b: &[u64; WORDS]) -> Option<usize> {
    let both = a.iter().zip(b).map(|(a, b)| a & b);
    let (word, bits) = both.enumerate().find(|(_, bits)| *bits != 0)?;
    Some(64 * word + bits.trailing_zeros() as usize)
}

fn assign(bits: &mut [u64; WORDS], index: usize, set: bool) {
    if let Some(word) = bits.get_mut(index / 64) {
        let bit = 1 << (index % 64);
        *word = if set { *word | bit } else { *word & !bit };
    }
}

impl Pool {
    /// A pool without blocks.
    pub(crate) fn new(vram: Arc<Vram>, size: TableSize) -> impl PinInit<Self> {
        pin_init!(Self {
            vram,
            size,
            blocks <- new_mutex!(Blocks {
                list: RBTree::new(),
                hint: 0,
                free: 0,
            }),
        })
    }

    fn per_block(&self) -> usize {
        SZ_64K / self.size as usize
    }

    /// All bits of a block.
    fn all(&self) -> [u64; WORDS] {
        let mut left = self.per_block();
        [(); WORDS].map(|()| {
            let bits = left.min(64);
            left -= bits;
            match bits {
                0 => 0,
                bits => genmask_u64(0..=bits as u32 - 1),
            }
        })
    }

    /// Takes a table: its address, and whether it is zero.
    fn take(self: &Arc<Self>) -> Result<(Table, bool)> {
        let mut guard = self.blocks.lock();
        let blocks = &mut *guard;
        // The GPU may still walk what was given back.
        self.vram.lost().check()?;
        if blocks.free == 0 {
            let memory = self.vram.alloc(BLOCK, BLOCK, Shape::Contiguous)?;
            let base = memory.contiguous().ok_or(EINVAL)?.address;
            let block = Block {
                _memory: memory,
                free: self.all(),
                zeroed: [0; WORDS],
            };
            let node = RBTreeNode::new(base, block, GFP_KERNEL)?;
            blocks.list.insert(node);
            blocks.free += self.per_block();
            blocks.hint = base;
        }
        let has_free = |block: &Block| block.free.iter().any(|&bits| bits != 0);
        let hint = blocks.hint;
        if !blocks.list.get(&hint).is_some_and(has_free) {
            let found = blocks.list.iter().find(|(_, block)| has_free(block));
            blocks.hint = *found.ok_or(ENOSPC)?.0;
        }
        let base = blocks.hint;
        let block = blocks.list.get_mut(&base).ok_or(EINVAL)?;
        let zero = first_set(&block.free, &block.zeroed);
        let index = zero
            .or_else(|| first_set(&block.free, &block.free))
            .ok_or(ENOSPC)?;

        assign(&mut block.free, index, false);
        blocks.free = blocks.free.saturating_sub(1);
        let table = Table {
            address: base + (index * self.size as usize) as u64,
            pool: Some(self.clone()),
            zeroed: false,
        };
        Ok((table, zero.is_some()))
    }

    /// Takes a table back.
    fn give(&self, address: u64, zeroed: bool) {
        let base = address & !(BLOCK - 1);
        // CAST: Below 64 KiB.
        let index = (address - base) as usize / self.size as usize;
        let mut guard = self.blocks.lock();
        let blocks = &mut *guard;
        let Some(block) = blocks.list.get_mut(&base) else {
            return;
        };

        assign(&mut block.free, index, true);
        assign(&mut block.zeroed, index, zeroed);
        let idle = block.free == self.all();
        blocks.hint = base;
        blocks.free = blocks.free.saturating_add(1);
        // One idle block is kept, for whoever makes and frees an address space in turn.
        if idle && blocks.free > self.per_block() {
            blocks.free -= self.per_block();
            let node = blocks.list.remove_node(&base);
            drop(guard);
            drop(node);
        }
    }
}

/// A table in video memory; dropping it frees it.
pub(crate) struct Table {
    address: u64,
    /// None if the table is the firmware's.
    pool: Option<Arc<Pool>>,
    zeroed: bool,
}

impl Table {
    /// A table that the firmware made.
    pub(crate) fn foreign(address: u64) -> Self {
        Self {
            address,
            pool: None,
            zeroed: false,
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.give(self.address, self.zeroed);
        }
    }
}

/// Page tables in video memory, written through BAR2.
pub(crate) struct Tables<'bound> {
    bar2: Arc<Bar2<'bound>>,
    pages: Arc<Pool>,
    bigs: Arc<Pool>,
}

impl<'bound> Tables<'bound> {
    /// Without tables.
    pub(crate) fn new(bar2: Arc<Bar2<'bound>>, vram: &Arc<Vram>) -> Result<Self> {
        let pool = |size| Arc::pin_init(Pool::new(vram.clone(), size), GFP_KERNEL);

        Ok(Self {
            bar2,
            pages: pool(TableSize::Page)?,
            bigs: pool(TableSize::Big)?,
        })
    }
}

impl TableMemory for Tables<'_> {
    type Table = Table;

    fn alloc(&self, size: TableSize) -> Result<Table> {
        let pool = match size {
            TableSize::Page => &self.pages,
            TableSize::Big => &self.bigs,
        };
        let (table, zeroed) = pool.take()?;
        if !zeroed {
            self.bar2.zero(table.address, size as u64)?;
        }
        Ok(table)
    }

    fn address(&self, table: &Table) -> u64 {
        table.address
    }

    fn write(&self, table: &Table, first: usize, words: &mut dyn Iterator<Item = u64>) {
        // What is not written of a GPU that is lost, `mem::arrive()` says.
        let _ = self.bar2.write(table.address + 8 * first as u64, words);
    }

    fn barrier(&self) {
        self.bar2.barrier();
    }

    fn free_zeroed(&self, mut table: Table) {
        table.zeroed = true;
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_tables)]
mod tests {
    use super::*;
    use crate::gpu::lost::Lost;

    #[test]
    fn tables_are_recycled_and_blocks_returned() -> Result {
        let vram = Vram::new(core::slice::from_ref(&(0..1 << 20)), Lost::new()?)?;
        for size in [TableSize::Page, TableSize::Big] {
            let pool = Arc::pin_init(Pool::new(vram.clone(), size), GFP_KERNEL)?;
            let mut tables = KVec::new();
            let count = 2 * SZ_64K / size as usize + 1;

            for _ in 0..count {
                let (table, zeroed) = pool.take()?;
                assert!(!zeroed && table.address % size as u64 == 0);
                assert!(tables.iter().all(|t: &Table| t.address != table.address));
                tables.push(table, GFP_KERNEL)?;
            }
            assert_eq!(vram.used(), 3 * BLOCK);
            let Some(mut last) = tables.pop() else {
                return Err(EINVAL);
            };
            let address = last.address;
            last.zeroed = true;
            drop(last);
            let (again, zeroed) = pool.take()?;
            assert!(zeroed && again.address == address);
            drop(again);
            drop(tables);
            assert_eq!(vram.used(), BLOCK);
            drop(pool);
            assert_eq!(vram.used(), 0);
        }
        Ok(())
    }

    #[test]
    fn no_memory_is_an_error() -> Result {
        let lost = Lost::new()?;
        let vram = Vram::new(core::slice::from_ref(&(0..BLOCK)), lost.clone())?;
        let pool = Arc::pin_init(Pool::new(vram, TableSize::Page), GFP_KERNEL)?;
        let mut tables = KVec::new();

        while let Ok((table, _)) = pool.take() {
            tables.push(table, GFP_KERNEL)?;
        }
        assert_eq!(tables.len(), 16);
        tables.pop();
        assert!(pool.take().is_ok());
        assert!(lost.set());
        assert_eq!(pool.take().err(), Some(ENODEV));
        Ok(())
    }
}
