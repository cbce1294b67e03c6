// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The image half: copies between buffers and images, and between images, for every texel size,
//! tiling and dimension.
//!
//! Each shape gets two images. Both are filled from a buffer, changed by partial uploads, copied
//! to each other, and read back to a buffer whose padding must stay as it was.

use std::rc::Rc;

use ash::vk;

use super::chain::Chain;
use super::diff::Diff;
use super::shadow::{ImageShadow, Regions, bytes};
use super::{Options, Totals};
use crate::prng::Prng;
use crate::vk::{Buffer, Commands, Device, Image, ImageShape, Place, Region};

/// Formats by their bytes per texel.
const FORMATS: &[(vk::Format, usize)] = &[
    (vk::Format::R8_UINT, 1),
    (vk::Format::R8G8_UINT, 2),
    (vk::Format::R8G8B8A8_UINT, 4),
    (vk::Format::R32G32_UINT, 8),
    (vk::Format::R32G32B32A32_UINT, 16),
];

/// Extents of images, with levels and layers, around the sizes of GOBs and blocks.
const SHAPES: &[(vk::ImageType, [u32; 3], u32, u32)] = &[
    (vk::ImageType::TYPE_2D, [1, 1, 1], 1, 1),
    (vk::ImageType::TYPE_2D, [64, 8, 1], 1, 1),
    (vk::ImageType::TYPE_2D, [67, 129, 1], 1, 1),
    (vk::ImageType::TYPE_2D, [300, 37, 1], 9, 3),
    (vk::ImageType::TYPE_2D, [517, 260, 1], 1, 1),
    (vk::ImageType::TYPE_1D, [1021, 1, 1], 1, 2),
    (vk::ImageType::TYPE_3D, [17, 9, 5], 1, 1),
    (vk::ImageType::TYPE_3D, [40, 37, 19], 6, 1),
];

/// Partial copies of each kind.
const PARTS: usize = 3;
/// What the readback buffer holds before.
const BACKGROUND: u32 = 0xa5c3_965a;

/// Runs the image half.
pub fn run(
    device: &Rc<Device>,
    chain: &mut Chain,
    options: &Options,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let mut prng = Prng::new(options.seed ^ 0x1ace_5eed);
    let mut partial = true;
    for family in device.families() {
        partial &= device.family(family)?.any_texel();
    }
    if !partial {
        totals.skips("partial image copies: a queue family copies whole images only".into());
    }
    for &(format, texel) in FORMATS {
        for &(kind, extent, levels, layers) in SHAPES {
            for tiling in [vk::ImageTiling::OPTIMAL, vk::ImageTiling::LINEAR] {
                let shape = ImageShape { kind, format, tiling, extent, levels, layers };
                // Linear images have one level and one layer at least; more is optional.
                if !shape.supported(device) {
                    let name = format!("{}", Shown(&shape));
                    if tiling == vk::ImageTiling::OPTIMAL {
                        totals.skips(format!("{name}: not supported"));
                    }
                    continue;
                }
                let mut case = Case::new(device, &mut prng, shape, texel, totals.images % 2 == 1)?;
                case.run(chain, partial, options, totals)?;
                totals.images += 1;
                options.check(totals)?;
            }
        }
    }
    Ok(())
}

/// Two images of one shape.
struct Case<'a> {
    prng: &'a mut Prng,
    shape: ImageShape,
    images: [Image; 2],
    shadows: [ImageShadow; 2],
    device: &'a Rc<Device>,
}

impl<'a> Case<'a> {
    fn new(
        device: &'a Rc<Device>,
        prng: &'a mut Prng,
        shape: ImageShape,
        texel: usize,
        dedicated: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            prng,
            shape,
            // The second is of the other kind of allocation, which changes its page kind.
            images: [Image::new(device, shape, dedicated)?, Image::new(device, shape, !dedicated)?],
            shadows: [ImageShadow::new(shape, texel), ImageShadow::new(shape, texel)],
            device,
        })
    }

    fn run(
        &mut self,
        chain: &mut Chain,
        partial: bool,
        options: &Options,
        totals: &mut Totals,
    ) -> anyhow::Result<()> {
        let uploads = self.upload_plan(partial);
        let staging = self.staging(&uploads, totals)?;
        let copies = self.copy_plan(partial);
        let (downloads, size) = self.download_plan(partial);
        let readback = Buffer::new(self.device, size, Place::Host)?;
        let [first, second] = &self.images;
        let image = |i: usize| if i == 0 { first } else { second };
        chain.submit(|commands| {
            commands.adopt(first);
            commands.adopt(second);
            commands.fill(&readback, 0, None, BACKGROUND);
            for (target, regions) in &uploads {
                commands.barrier();
                commands.upload(&staging, image(*target), regions);
            }
            commands.barrier();
        })?;
        let queue = chain.submit(|commands| {
            record_copies(commands, &copies, [first, second]);
            for (source, regions) in &downloads {
                commands.download(image(*source), &readback, regions);
            }
            commands.barrier();
        })?;
        chain.finish()?;
        self.count(&uploads, &downloads, &copies, totals);
        self.compare(queue, &readback, &copies, &downloads, options, totals)
    }

    /// Uploads by image: all of both, then random parts.
    fn upload_plan(&mut self, partial: bool) -> Vec<(usize, Vec<Region>)> {
        let texel = self.shadows[0].texel();
        let mut regions = Regions::new(self.prng, self.shape, texel);
        let mut plan = vec![(0, regions.whole()), (1, regions.whole())];
        let parts = if partial { PARTS } else { 0 };
        plan.extend((0..parts).map(|i| (i % 2, vec![regions.part()])));
        plan
    }

    /// A buffer of random bytes for the uploads, which also happen to the shadow.
    fn staging(
        &mut self,
        plan: &[(usize, Vec<Region>)],
        totals: &mut Totals,
    ) -> anyhow::Result<Buffer> {
        let texel = self.shadows[0].texel();
        let ends = plan.iter().flat_map(|(_, regions)| regions);
        let ends = ends.map(|r| r.buffer_offset + super::shadow::span(r, texel));
        let data = self.prng.bytes(ends.max().unwrap_or(4) as usize);
        let staging = Buffer::new(self.device, data.len() as u64, Place::Host)?;
        staging.write(0, &data)?;
        totals.upload += data.len() as u64;
        for (target, regions) in plan {
            regions.iter().for_each(|r| self.shadows[*target].upload(&data, r));
        }
        Ok(staging)
    }

    /// Copies between the images, as (source, from, to), which also happen to the shadow.
    fn copy_plan(&mut self, partial: bool) -> Vec<(usize, Region, Region)> {
        let texel = self.shadows[0].texel();
        let mut regions = Regions::new(self.prng, self.shape, texel);
        let mut plan = Vec::new();
        for i in 0..if partial { PARTS } else { 0 } {
            let from = regions.part();
            plan.push((i % 2, from, regions.moved(&from)));
        }
        for (source, from, to) in &plan {
            let [first, second] = &mut self.shadows;
            let (src, dst) = if *source == 0 { (first, second) } else { (second, first) };
            dst.copy(src, from, to);
        }
        plan
    }

    /// Downloads by image: all of both and random parts; and the buffer's size.
    fn download_plan(&mut self, partial: bool) -> (Vec<(usize, Vec<Region>)>, u64) {
        let texel = self.shadows[0].texel();
        let mut regions = Regions::new(self.prng, self.shape, texel);
        let mut plan = vec![(0, regions.whole()), (1, regions.whole())];
        let parts = if partial { PARTS } else { 0 };
        plan.extend((0..parts).map(|i| (i % 2, vec![regions.part()])));
        (plan, regions.end.div_ceil(4) * 4 + 64)
    }

    fn compare(
        &self,
        queue: &str,
        readback: &Buffer,
        copies: &[(usize, Region, Region)],
        plan: &[(usize, Vec<Region>)],
        options: &Options,
        totals: &mut Totals,
    ) -> anyhow::Result<()> {
        let mut found = readback.read_all()?;
        let mut expected = vec![0; found.len()];
        let words = expected.chunks_exact_mut(4);
        words.for_each(|w| w.copy_from_slice(&BACKGROUND.to_le_bytes()));
        for (source, regions) in plan {
            regions.iter().for_each(|r| self.shadows[*source].download(&mut expected, r));
        }
        options.sabotage(&mut found, totals);
        totals.verified += found.len() as u64;
        let Some(diff) = Diff::of(&expected, &found) else { return Ok(()) };
        let texel = self.shadows[0].texel();
        let first = diff.first as u64;
        let hit = |r: &&Region| {
            let end = r.buffer_offset + super::shadow::span(r, texel);
            (r.buffer_offset..end).contains(&first)
        };
        let region = plan.iter().find_map(|(i, rs)| rs.iter().find(hit).map(|r| (i, r)));
        totals.differs(format!(
            "{} read back on the {queue} queue: {diff}; in the copy of (image, region) {region:?} \
             after image copies {copies:?}",
            Shown(&self.shape)
        ));
        Ok(())
    }

    fn count(
        &self,
        uploads: &[(usize, Vec<Region>)],
        downloads: &[(usize, Vec<Region>)],
        copies: &[(usize, Region, Region)],
        totals: &mut Totals,
    ) {
        let texel = self.shadows[0].texel();
        let size = |regions: &[Region]| regions.iter().map(|r| bytes(r, texel)).sum();
        uploads.iter().for_each(|(_, regions)| totals.to_image.add(size(regions)));
        downloads.iter().for_each(|(_, regions)| totals.from_image.add(size(regions)));
        copies.iter().for_each(|(_, from, _)| totals.image.add(bytes(from, texel)));
    }
}

fn record_copies(commands: &Commands, copies: &[(usize, Region, Region)], images: [&Image; 2]) {
    for (source, from, to) in copies {
        let [first, second] = images;
        let (src, dst) = if *source == 0 { (first, second) } else { (second, first) };
        commands.image_copy((src, from), (dst, to));
        commands.barrier();
    }
}

/// An image shape as a person would name it.
struct Shown<'a>(&'a ImageShape);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ImageShape { kind, format, tiling, extent, levels, layers } = self.0;
        write!(f, "image {kind:?} {extent:?} {format:?} {tiling:?} levels {levels} layers {layers}")
    }
}
