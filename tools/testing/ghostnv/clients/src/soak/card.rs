// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The GPU as the machine sees it: a PCI function that is bound, reset and taken away, the emulated
//! GPU's test port in its configuration space, and what the kernel logs about it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Commands of the test port; see `gpu/port.rs` of the emulated GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Ask {
    /// Takes the text as the script of faults.
    Load = 1,
    /// How often faults of the script fired.
    Fired = 2,
    /// Requests that the firmware has had.
    Requests = 3,
    /// Objects that the driver has in the firmware.
    Objects = 4,
    /// Objects that were not freed when the firmware was stopped.
    Left = 5,
}

/// Where the vendor-specific capability's list starts.
const CAPABILITIES: u64 = 0x34;
/// Its number.
const VENDOR_SPECIFIC: u8 = 9;
/// `O_NONBLOCK`.
const NONBLOCK: i32 = 0o4000;

/// A PCI function with a driver.
pub struct Card {
    address: String,
    driver: String,
    port: u64,
    log: File,
}

impl Card {
    /// The NVIDIA function of this machine, for a driver whose module is loaded.
    pub fn find(driver: &str) -> anyhow::Result<Self> {
        let address = std::env::var("GHOSTNV_GPU").context("GHOSTNV_GPU names no PCI function")?;
        let log = OpenOptions::new().read(true).custom_flags(NONBLOCK).open("/dev/kmsg")?;
        let mut card = Self { address, driver: driver.to_owned(), port: 0, log };
        card.port = card.find_port()?;
        Ok(card)
    }

    /// Its directory in sysfs.
    pub fn dir(&self) -> PathBuf {
        Path::new("/sys/bus/pci/devices").join(&self.address)
    }

    fn config(&self) -> anyhow::Result<File> {
        let path = self.dir().join("config");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        file.with_context(|| format!("open {}", path.display()))
    }

    fn find_port(&self) -> anyhow::Result<u64> {
        let config = self.config()?;
        let mut at = [0];
        config.read_exact_at(&mut at, CAPABILITIES)?;
        for _ in 0..16 {
            let mut head = [0; 2];
            config.read_exact_at(&mut head, at[0].into())?;
            if head[0] == VENDOR_SPECIFIC {
                return Ok(u64::from(at[0]) + 8);
            }
            at[0] = head[1];
        }
        bail!("no vendor-specific capability: is this the emulated GPU?")
    }

    /// Asks the emulated GPU.
    pub fn ask(&self, what: Ask) -> anyhow::Result<u32> {
        let config = self.config()?;
        config.write_all_at(&(what as u32).to_le_bytes(), self.port + 4)?;
        let mut answer = [0; 4];
        config.read_exact_at(&mut answer, self.port + 8)?;
        Ok(u32::from_le_bytes(answer))
    }

    fn text(&self, script: &str) -> anyhow::Result<()> {
        let config = self.config()?;
        for chunk in script.as_bytes().chunks(4) {
            let mut word = [b' '; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            config.write_all_at(&word, self.port)?;
        }
        Ok(())
    }

    /// Pulls the card out of its slot for some milliseconds.
    pub fn pull(&self, ms: u64) -> anyhow::Result<()> {
        self.text(&format!("[[fault]]\nkind='unplug'\nback={ms}\n"))?;
        let config = self.config()?;
        config.write_all_at(&(Ask::Load as u32).to_le_bytes(), self.port + 4)?;
        let start = Instant::now();
        let mut vendor = [0; 2];
        while vendor != [0xff; 2] {
            ensure!(start.elapsed() < Duration::from_secs(1), "the card is still there");
            config.read_exact_at(&mut vendor, 0)?;
        }
        Ok(())
    }

    /// Loads a fault script; an empty one takes the last one away.
    pub fn load(&self, script: &str) -> anyhow::Result<()> {
        self.text(script)?;
        let faults = script.matches("[[fault]]").count() as u32;
        let loaded = self.ask(Ask::Load)?;
        ensure!(loaded == faults, "the emulated GPU refused the script ({loaded:#x}): {script}");
        Ok(())
    }

    /// Whether a driver is bound.
    pub fn bound(&self) -> bool {
        self.dir().join("driver").exists()
    }

    /// Binds the driver; the error is probe's.
    pub fn bind(&self) -> io::Result<()> {
        fs::write(format!("/sys/bus/pci/drivers/{}/bind", self.driver), &self.address)
    }

    /// Unbinds it.
    pub fn unbind(&self) -> io::Result<()> {
        fs::write(format!("/sys/bus/pci/drivers/{}/unbind", self.driver), &self.address)
    }

    /// Resets the function.
    pub fn reset(&self) -> anyhow::Result<()> {
        fs::write(self.dir().join("reset"), "1").context("reset")
    }

    /// Takes the function away, as if its slot had been emptied.
    pub fn remove(&self) -> anyhow::Result<()> {
        fs::write(self.dir().join("remove"), "1").context("remove")
    }

    /// Looks for it again until it is bound.
    pub fn rescan(&self, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            fs::write("/sys/bus/pci/rescan", "1").context("rescan")?;
            if self.bound() {
                return Ok(());
            }
            ensure!(start.elapsed() < limit, "not back and bound within {limit:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The render node.
    pub fn node(&self) -> anyhow::Result<PathBuf> {
        let entries = fs::read_dir(self.dir().join("drm")).context("no DRM device")?;
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let node = names.filter(|n| n.starts_with("renderD")).min().context("no render node")?;
        Ok(Path::new("/dev/dri").join(node))
    }

    /// Warnings and errors that the driver has logged since the last call.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.log.read(&mut record) {
                Ok(0) => break,
                Ok(len) => {
                    let text = String::from_utf8_lossy(&record[..len]).into_owned();
                    lines.extend(complaint(&text, &self.driver));
                }
                // Records were overwritten; the next ones are there.
                Err(e) if e.raw_os_error() == Some(32) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// The driver's own words in a record of the kernel's log, if it is a warning or worse.
fn complaint(record: &str, driver: &str) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let level: u32 = head.split(',').next()?.parse().ok()?;
    let text = text.lines().next()?;
    let (device, said) = text.strip_prefix(driver)?.split_once(": ")?;
    // The driver core's own line is no explanation.
    let own = device.starts_with(' ') && !said.starts_with("probe with driver ");
    (level & 7 <= 4 && own).then(|| said.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_the_drivers() {
        let said = |record| complaint(record, "ghostnv");
        let line =
            "3,812,5555,-;ghostnv 0000:01:00.0: GSP: no FREE within 5000 ms\n SUBSYSTEM=pci\n";
        assert_eq!(said(line).as_deref(), Some("GSP: no FREE within 5000 ms"));
        let core = "3,1,2,-;ghostnv 0000:01:00.0: probe with driver ghostnv failed with error -5\n";
        assert_eq!(said(core), None);
        assert_eq!(said("6,812,5555,-;ghostnv 0000:01:00.0: NVIDIA GA102\n"), None);
        assert_eq!(said("3,812,5555,-;pcieport 0000:00:01.0: ghostnv: no\n"), None);
    }
}
