// SPDX-License-Identifier: GPL-2.0

//! The images in system memory, where Booter and the firmware fetch them.

use kernel::{
    dma::Coherent,
    prelude::*, //
};

use crate::{
    firmware,
    gsp::{
        libos::{
            self,
            Arguments, //
        },
        radix3::Radix3,
        rpc::Link,
        wpr::{
            self,
            Blob,
            Sources, //
        }, //
    },
    mem::Layout, //
};

/// System memory that Booter and the firmware read.
pub(super) struct Memory {
    pub(super) wpr_meta: Coherent<[u8]>,
    _bootloader: Coherent<[u8]>,
    _signature: Coherent<[u8]>,
    _image: Pin<KBox<Radix3>>,
    pub(super) arguments: Arguments,
}

impl Memory {
    /// Copies the images to where the GPU reaches them, and describes them to Booter.
    #[inline(never)]
    pub(super) fn new(link: &Link<'_>, set: &firmware::Set, layout: &Layout) -> Result<Self> {
        let dev = link.hw().dev;
        let image = KBox::pin_init(Radix3::new(dev, set.gsp.image()), GFP_KERNEL)?;
        let signature = libos::share(dev, set.gsp.signature())?;
        let bootloader = libos::share(dev, &set.bootloader.image)?;
        let info = set.bootloader.info;
        let meta = wpr::describe(
            &Sources {
                radix3: Blob {
                    address: image.dma_address(),
                    size: u64::try_from(image.size())?,
                },
                bootloader: Blob {
                    address: bootloader.dma_address(),
                    size: u64::try_from(set.bootloader.image.len())?,
                },
                bootloader_code: info.code,
                bootloader_data: info.data,
                bootloader_manifest: info.manifest,
                signature: Blob {
                    address: signature.dma_address(),
                    size: u64::try_from(set.gsp.signature().len())?,
                },
            },
            layout,
        );
        Ok(Self {
            wpr_meta: libos::share(dev, meta.as_bytes())?,
            arguments: Arguments::new(dev, link.queue_address(), link.history())?,
            _bootloader: bootloader,
            _signature: signature,
            _image: image,
        })
    }
}
