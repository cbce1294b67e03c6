// SPDX-License-Identifier: GPL-2.0

//! The firmware files of a chip, as distributions ship them.
//!
//! Four files for every chip, below `nvidia/<chip>/gsp/` in linux-firmware: `gsp`, GSP-RM itself
//! (an ELF file); `bootloader`, which starts it on GSP's RISC-V core; `booter_load` and
//! `booter_unload`, signed images for SEC2 that set up and take down the protected region. Turing
//! has a fifth, `gen_bootloader`, which loads FWSEC. A file that is missing or that makes no sense
//! costs one line with its name.

mod container;
mod elf;
mod fwsec;

use core::ops::Range;

use kernel::{
    firmware,
    prelude::*,
    str::CString, //
};

use crate::{
    bytes::Malformed,
    falcon::{
        Loader,
        Ucode, //
    },
    gpu::{
        chip::{
            Images,
            CHIPS, //
        },
        Hw, //
    }, //
};

pub(crate) use container::{
    Bootloader,
    HsImage, //
};
pub(crate) use fwsec::{
    Command,
    Fwsec, //
};

/// The release the driver speaks to.
pub(crate) const VERSION: &str = "570.144";

/// The images that bring GSP-RM up and down.
pub(crate) struct Set {
    /// GSP-RM.
    pub(crate) gsp: GspImage,
    /// What starts it.
    pub(crate) bootloader: Bootloader,
    /// Sets up the protected region and starts GSP.
    pub(crate) booter_load: Ucode,
    /// Takes the protected region down.
    pub(crate) booter_unload: Ucode,
}

impl Set {
    /// Requests all files of the chip.
    pub(crate) fn request(hw: Hw<'_>) -> Result<Self> {
        Ok(Self {
            gsp: GspImage::request(hw)?,
            bootloader: bootloader(hw)?,
            booter_load: booter(hw, "booter_load")?,
            booter_unload: booter(hw, "booter_unload")?,
        })
    }
}

fn bootloader(hw: Hw<'_>) -> Result<Bootloader> {
    let file = File::request(hw, "bootloader")?;
    let (code, entry) = file.check(hw, Bootloader::parse(file.bytes()))?;

    Bootloader::new(code, entry)
}

fn booter(hw: Hw<'_>, name: &'static str) -> Result<Ucode> {
    let file = File::request(hw, name)?;
    let image = file.check(hw, HsImage::parse(file.bytes(), hw.chip.hal.images))?;

    image.ucode(hw, name)
}

/// The loader for FWSEC, on chips that need one.
pub(crate) fn fwsec_loader(hw: Hw<'_>) -> Result<Option<Loader>> {
    match hw.chip.hal.images {
        Images::BootRom => Ok(None),
        Images::Loader => {
            let file = File::request(hw, "gen_bootloader")?;
            let (code, tag) = file.check(hw, container::parse_loader(file.bytes()))?;

            container::loader(code, tag).map(Some)
        }
    }
}

/// One file, with its name for messages.
struct File {
    firmware: firmware::Firmware,
    path: CString,
}

impl File {
    fn request(hw: Hw<'_>, name: &str) -> Result<Self> {
        let path = CString::try_from_fmt(fmt!(
            "nvidia/{}/gsp/{name}-{VERSION}.bin",
            hw.chip.directory
        ))?;
        let firmware = firmware::Firmware::request_nowarn(&path, hw.dev).inspect_err(|e| {
            dev_err!(hw.dev, "cannot get firmware {}: {e:?}\n", &*path);
        })?;

        Ok(Self { firmware, path })
    }

    fn bytes(&self) -> &[u8] {
        self.firmware.data()
    }

    /// Turns what a parser found wrong into a message.
    fn check<T>(&self, hw: Hw<'_>, parsed: Result<T, Malformed>) -> Result<T> {
        parsed.map_err(|Malformed(what)| {
            dev_err!(hw.dev, "firmware {} is damaged: {what}\n", &*self.path);
            EINVAL
        })
    }
}

/// The file of GSP-RM: some 60 MB, of which nothing is copied.
pub(crate) struct GspImage {
    file: File,
    image: Range<usize>,
    signature: Range<usize>,
}

impl GspImage {
    fn request(hw: Hw<'_>) -> Result<Self> {
        let file = File::request(hw, "gsp")?;
        let image = file.check(hw, elf::section(file.bytes(), ".fwimage"))?;
        let signature = file.check(hw, elf::section(file.bytes(), hw.chip.signature))?;

        Ok(Self {
            file,
            image,
            signature,
        })
    }

    /// The image that GSP's bootloader is to start.
    pub(crate) fn image(&self) -> &[u8] {
        self.file.bytes().get(self.image.clone()).unwrap_or(&[])
    }

    /// What proves the image genuine, for this chip.
    pub(crate) fn signature(&self) -> &[u8] {
        self.file.bytes().get(self.signature.clone()).unwrap_or(&[])
    }
}

/// Names the files in the module, for tools that build initial RAM disks.
pub(crate) struct ModInfo<const N: usize>;

impl<const N: usize> ModInfo<N> {
    const FILES: &'static [&'static str] = &["gsp", "bootloader", "booter_load", "booter_unload"];

    /// All paths, for [`kernel::module_firmware!`].
    pub(crate) const fn create(
        module_name: &'static kernel::str::CStr,
    ) -> firmware::ModInfoBuilder<N> {
        let mut builder = firmware::ModInfoBuilder::new(module_name);
        let mut chip = 0;

        while chip < CHIPS.len() {
            let mut file = 0;
            while file < Self::FILES.len() {
                builder = Self::entry(builder, CHIPS[chip].directory, Self::FILES[file]);
                file += 1;
            }
            if matches!(CHIPS[chip].hal.images, Images::Loader) {
                builder = Self::entry(builder, CHIPS[chip].directory, "gen_bootloader");
            }
            chip += 1;
        }

        builder
    }

    const fn entry(
        builder: firmware::ModInfoBuilder<N>,
        directory: &'static str,
        file: &'static str,
    ) -> firmware::ModInfoBuilder<N> {
        builder
            .new_entry()
            .push("nvidia/")
            .push(directory)
            .push("/gsp/")
            .push(file)
            .push("-")
            .push(VERSION)
            .push(".bin")
    }
}
