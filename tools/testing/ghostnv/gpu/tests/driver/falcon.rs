// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loads and runs microcode on a falcon, and FWSEC and booter in particular.

use super::{Driver, Result, Sabotage, put, put32, rom};

pub const GSP: u32 = 0x11_0000;
pub const SEC2: u32 = 0x84_0000;

/// Microcode with its signature in place.
struct Loadable {
    imem: Vec<u8>,
    /// Virtual address of the code.
    entry: u32,
    dmem: Vec<u8>,
    signature_at: u32,
    engine_id_mask: u32,
    ucode_id: u32,
}

impl Driver {
    /// Resets an engine and selects its falcon.
    pub fn reset_falcon(&mut self, base: u32) -> Result {
        let c = &mut self.card;
        c.wr(base + 0x3c0, 1);
        c.wr(base + 0x3c0, 0);
        c.wait("memory scrubbing", |c| c.rd(base + 0xf4) & 1 << 12 == 0)?;
        if !self.does(Sabotage::CoreSelect) {
            self.card.wr(base + 0x1668, 0);
        } else {
            self.card.wr(base + 0x1668, 0x10);
        }
        self.card.wait("core selection", |c| c.rd(base + 0x1668) & 1 != 0)?;
        self.card.wr(base + 0x84, 0x1720_00a1);
        Ok(())
    }

    /// Loads by DMA, tells the boot ROM, starts, waits for the halt.
    fn run_falcon(&mut self, base: u32, code: &Loadable, mailbox: Option<u64>) -> Result {
        self.reset_falcon(base)?;
        let imem = self.card.alloc(code.entry as usize + code.imem.len());
        self.card.store(imem + u64::from(code.entry), &code.imem);
        let dmem = self.card.alloc_with(&code.dmem);
        let c = &mut self.card;
        c.wr(base + 0x624, 0x80);
        c.wr(base + 0x10c, 0);
        c.wr(base + 0x600, 0x5);
        self.dma(base, imem, code.entry, code.imem.len(), 0x614)?;
        self.dma(base, dmem, 0, code.dmem.len(), 0x600)?;
        let ucode_id = self.pick(Sabotage::FwsecBrom, code.ucode_id + 1, code.ucode_id);
        let entry = self.pick(Sabotage::BooterEntry, code.entry + 0x100, code.entry);
        let c = &mut self.card;
        c.wr(base + 0x1210, code.signature_at);
        c.wr(base + 0x119c, code.engine_id_mask);
        c.wr(base + 0x1198, ucode_id);
        c.wr(base + 0x1180, 1);
        if let Some(value) = mailbox {
            c.wr(base + 0x40, value as u32);
            c.wr(base + 0x44, (value >> 32) as u32);
        }
        c.wr(base + 0x104, if base == SEC2 { entry } else { code.entry });
        c.wr(base + 0x100, 2);
        c.wait("falcon halt", |c| c.rd(base + 0x100) & 0x10 != 0)
    }

    /// Moves blocks of 256 bytes into IMEM or DMEM from `offset` of the source on.
    fn dma(&mut self, base: u32, from: u64, offset: u32, len: usize, command: u32) -> Result {
        let from = from + self.pick(Sabotage::FalconDmaAddress, 1 << 40, 0);
        let c = &mut self.card;
        c.wr(base + 0x110, (from >> 8) as u32);
        c.wr(base + 0x128, (from >> 40) as u32);
        for at in (0..len as u32).step_by(256) {
            c.wr(base + 0x114, at);
            c.wr(base + 0x11c, offset + at);
            c.wr(base + 0x118, command);
            c.wait("falcon DMA", |c| c.rd(base + 0x118) & 2 != 0)?;
        }
        Ok(())
    }

    /// Runs FWSEC with a command: 0x15 makes WPR2 of a region, 0x19 prepares for unloading.
    pub fn fwsec(&mut self, command: u32, region: (u64, u64)) -> Result {
        let rom = rom::fwsec(&mut self.card)?;
        let mut dmem = rom.dmem;
        let interface = rom.interface_at as usize;
        let entries = dmem[interface + 3] as usize;
        let mapper = (0..entries)
            .map(|i| interface + 4 + i * 8)
            .find(|e| dmem[*e] == 4)
            .map(|e| super::get32(&dmem, e + 4) as usize)
            .ok_or("no DMEM mapper")?;
        put32(&mut dmem, mapper + 0x2c, command);
        let buffer = super::get32(&dmem, mapper + 8) as usize;
        let start = (region.0 + self.pick(Sabotage::FwsecRegion, 0x1000, 0)) >> 12;
        let size = (region.1 >> 12) as u32;
        put(&mut dmem, buffer, &super::words(&[1, 24, 0, 0, 0, 2]));
        if command == 0x15 {
            put(&mut dmem, buffer + 24, &super::words(&[1, 20, start as u32, size, 2]));
        }
        // No fuse is blown: the first version's signature.
        let fuses = self.card.rd(0x82_41c0 + 4 * (rom.ucode_id - 1));
        let index = if fuses == 0 { 0 } else { 32 - fuses.leading_zeros() };
        let index = index as usize + usize::from(self.does(Sabotage::FwsecSignature));
        put(&mut dmem, rom.signature_at as usize, &rom.signatures[index]);
        let mut imem = rom.imem;
        imem[0x40] ^= self.pick(Sabotage::FwsecByte, 1, 0);
        let code = Loadable {
            imem,
            entry: 0,
            dmem,
            signature_at: rom.signature_at,
            engine_id_mask: rom.engine_id_mask,
            ucode_id: rom.ucode_id,
        };
        self.run_falcon(GSP, &code, None)?;
        let (at, shift) = if command == 0x15 { (0x1438, 16) } else { (0x1454, 0) };
        match self.card.rd(at) >> shift & 0xffff {
            0 => Ok(()),
            status => Err(format!("FWSEC command {command:#x} failed with {status:#x}")),
        }
    }

    /// Runs booter_load or booter_unload.
    pub fn booter(&mut self, load: bool, mailbox: u64) -> Result {
        let load_code = load || self.does(Sabotage::LoadInsteadOfUnload);
        let code = if load_code { &self.blobs.load } else { &self.blobs.unload }.clone();
        let fuse = self.card.rd(0x82_4140 + 4 * (code.ucode_id - 1));
        let index = (code.fuse_version - fuse) as usize;
        let index = index - usize::from(load && self.does(Sabotage::BooterSignature));
        let mut image = code.image;
        put(&mut image, code.patch_loc as usize, &code.signatures[index]);
        let part = |(at, len): (u32, u32)| image[at as usize..(at + len) as usize].to_vec();
        let loadable = Loadable {
            imem: part(code.app),
            entry: code.app.0,
            dmem: part(code.data),
            signature_at: code.patch_loc - code.data.0,
            engine_id_mask: code.engine_id_mask,
            ucode_id: code.ucode_id,
        };
        self.run_falcon(SEC2, &loadable, Some(mailbox))?;
        match self.card.rd(SEC2 + 0x40) {
            0 => Ok(()),
            error => Err(format!("booter failed with {error:#x}")),
        }
    }
}
