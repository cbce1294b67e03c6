// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RM's objects: client, device, subdevice, address space.

use super::paging::Space;
use super::{Driver, Result, Sabotage, get32, get64, put32, put64};

pub const CLIENT: u32 = 0xc1d0_0001;
pub const DEVICE: u32 = 0xde1d_0000;
pub const SUBDEVICE: u32 = 0x5d1d_0000;
pub const VASPACE: u32 = 0x90f1_0000;

/// What RM said and gave.
#[derive(Default)]
pub struct Rm {
    internal: (u32, u32),
    pub bar1: Space,
    pub space: Space,
    /// Non-stall vector of each copy engine.
    pub copy_vectors: Vec<u32>,
}

impl Driver {
    pub fn alloc(
        &mut self,
        parent: u32,
        object: u32,
        class: u32,
        params: &[u8],
    ) -> Result<Vec<u8>> {
        let mut payload = vec![0; 32];
        let head = [CLIENT, parent, object, class, 0, params.len() as u32];
        super::put(&mut payload, 0, &super::words(&head));
        payload.extend(params);
        let reply = self.call(103, &payload)?;
        match get32(&reply, 16) {
            0 => Ok(reply[32..].to_vec()),
            status => Err(format!("alloc of class {class:#x}: status {status:#x}")),
        }
    }

    pub fn control(
        &mut self,
        client: u32,
        object: u32,
        cmd: u32,
        params: &[u8],
    ) -> Result<Vec<u8>> {
        let mut payload = vec![0; 24];
        let head = [client, object, cmd, 0, params.len() as u32];
        super::put(&mut payload, 0, &super::words(&head));
        payload.extend(params);
        let reply = self.call(76, &payload)?;
        match get32(&reply, 12) {
            0 => Ok(reply[24..].to_vec()),
            status => Err(format!("control {cmd:#x}: status {status:#x}")),
        }
    }

    pub fn free(&mut self, object: u32) -> Result {
        let reply = self.call(10, &super::words(&[CLIENT, 0, object, 0]))?;
        match get32(&reply, 12) {
            0 => Ok(()),
            status => Err(format!("free of {object:#x}: status {status:#x}")),
        }
    }

    /// What never changes, and which engine interrupts with which vector.
    pub fn static_info(&mut self) -> Result {
        let info = self.call(65, &[0; 1656])?;
        self.rm.bar1 = Space::new(get64(&info, 1536), true);
        self.rm.internal = (get32(&info, 1600), get32(&info, 1608));
        let (client, object) = self.rm.internal;
        let size = self.pick(Sabotage::WrongSize, 2064, 2068);
        let object = object ^ self.pick(Sabotage::UnknownHandle, 0x40, 0);
        let table = self.control(client, object, 0x2080_0a5c, &vec![0; size])?;
        let entry = |n: usize| (get32(&table, 4 + 16 * n) as u16, get32(&table, 16 + 16 * n));
        let all: Vec<_> = (0..get32(&table, 0) as usize).map(entry).collect();
        let vector = |mc: u16| all.iter().find(|(i, _)| *i == mc).map(|(_, vector)| *vector);
        self.rm.copy_vectors = (15..19).filter_map(vector).collect();
        Ok(())
    }

    /// Client, device, subdevice, and an address space whose tables the driver owns.
    pub fn objects(&mut self) -> Result {
        self.alloc(CLIENT, CLIENT, 0, &[0; 120])?;
        let mut device = vec![0; 56];
        put32(&mut device, 4, CLIENT);
        self.alloc(CLIENT, DEVICE, 0x80, &device)?;
        let parent = self.pick(Sabotage::WrongParent, CLIENT, DEVICE);
        self.alloc(parent, SUBDEVICE, 0x2080, &[0; 4])?;
        if self.does(Sabotage::DuplicateHandle) {
            self.alloc(CLIENT, DEVICE, 0x80, &device)?;
        }
        let mut vaspace = vec![0; 48];
        put32(&mut vaspace, 4, 1 << 3);
        let class = self.pick(Sabotage::WrongClass, 0x90f2, 0x90f1);
        self.alloc(DEVICE, VASPACE, class, &vaspace)?;
        let root = self.card.alloc_vram(0x1000);
        self.rm.space = Space::new(root, false);
        let mut directory = vec![0; 32];
        put64(&mut directory, 0, root);
        put32(&mut directory, 8, self.pick(Sabotage::PageDirectorySize, 512, 4));
        put32(&mut directory, 16, VASPACE);
        self.control(CLIENT, DEVICE, 0x80_1813, &directory)?;
        Ok(())
    }
}
