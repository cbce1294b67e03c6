// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The CPU's own idea of an image, and the address arithmetic of copies between it and buffers.

use crate::prng::Prng;
use crate::vk::{ImageShape, Region};

/// Rows of padding that a random region may have in the buffer.
const MOST_PADDING: u64 = 9;

/// Bytes of one image: each subresource tightly packed.
#[derive(Debug, Clone)]
pub struct ImageShadow {
    shape: ImageShape,
    texel: usize,
    parts: Vec<Vec<u8>>,
}

impl ImageShadow {
    /// An image of zeros with `texel` bytes per texel.
    pub fn new(shape: ImageShape, texel: usize) -> Self {
        let mut parts = Vec::new();
        for _ in 0..shape.layers {
            for level in 0..shape.levels {
                let [w, h, d] = extent(&shape, level).map(|v| v as usize);
                parts.push(vec![0; w * h * d * texel]);
            }
        }
        Self { shape, texel, parts }
    }

    fn part(&self, layer: u32, level: u32) -> usize {
        (layer * self.shape.levels + level) as usize
    }

    /// The rows of a region as (subresource, its byte offset, buffer offset, length).
    fn rows(&self, region: &Region) -> Vec<(usize, usize, usize, usize)> {
        let [width, height, _] = extent(&self.shape, region.level).map(|v| v as usize);
        let [x0, y0, z0] = region.offset.map(|v| v as usize);
        let [w, h, d] = region.extent.map(|v| v as usize);
        let (pitch, rows) = layout(region);
        let mut list = Vec::new();
        for layer in 0..region.layers {
            let part = self.part(region.layer + layer, region.level);
            for z in 0..d {
                for y in 0..h {
                    let texel = ((z0 + z) * height + y0 + y) * width + x0;
                    let slice = layer as usize + z;
                    let at = region.buffer_offset as usize;
                    let at = at + (slice * rows as usize + y) * pitch as usize * self.texel;
                    list.push((part, texel * self.texel, at, w * self.texel));
                }
            }
        }
        list
    }

    /// A copy from a buffer.
    pub fn upload(&mut self, buffer: &[u8], region: &Region) {
        for (part, at, from, len) in self.rows(region) {
            self.parts[part][at..at + len].copy_from_slice(&buffer[from..from + len]);
        }
    }

    /// A copy to a buffer.
    pub fn download(&self, buffer: &mut [u8], region: &Region) {
        for (part, at, to, len) in self.rows(region) {
            buffer[to..to + len].copy_from_slice(&self.parts[part][at..at + len]);
        }
    }

    /// A copy from another image; both regions have one extent.
    pub fn copy(&mut self, source: &ImageShadow, from: &Region, to: &Region) {
        let rows = source.rows(from).into_iter().zip(self.rows(to));
        for ((part, at, _, len), (to_part, to_at, _, _)) in rows {
            self.parts[to_part][to_at..to_at + len]
                .copy_from_slice(&source.parts[part][at..at + len]);
        }
    }

    /// Bytes per texel.
    pub fn texel(&self) -> usize {
        self.texel
    }
}

/// Size of a mip level.
pub fn extent(shape: &ImageShape, level: u32) -> [u32; 3] {
    shape.extent.map(|v| (v >> level).max(1))
}

/// Row length and image height in force.
fn layout(region: &Region) -> (u32, u32) {
    let or = |given: u32, tight: u32| if given == 0 { tight } else { given };
    (or(region.row_length, region.extent[0]), or(region.image_height, region.extent[1]))
}

/// Bytes of a region in its buffer, from its offset on.
pub fn span(region: &Region, texel: usize) -> u64 {
    let (pitch, rows) = layout(region);
    let [w, h, d] = region.extent.map(u64::from);
    let slices = d.max(region.layers.into());
    (((slices - 1) * u64::from(rows) + h - 1) * u64::from(pitch) + w) * texel as u64
}

/// Bytes of texels in a region.
pub fn bytes(region: &Region, texel: usize) -> u64 {
    region.extent.iter().map(|&v| u64::from(v)).product::<u64>()
        * u64::from(region.layers)
        * texel as u64
}

/// Chooses regions and gives each its own place in one buffer.
pub struct Regions<'a> {
    prng: &'a mut Prng,
    shape: ImageShape,
    texel: usize,
    /// End of the last region in the buffer.
    pub end: u64,
}

impl<'a> Regions<'a> {
    /// Starts at the beginning of the buffer.
    pub fn new(prng: &'a mut Prng, shape: ImageShape, texel: usize) -> Self {
        Self { prng, shape, texel, end: 0 }
    }

    /// Regions that together hold the whole image: one a level with all layers, or one each.
    pub fn whole(&mut self) -> Vec<Region> {
        let mut list = Vec::new();
        for level in 0..self.shape.levels {
            let full = extent(&self.shape, level);
            if self.prng.below(2) == 0 {
                list.push(self.place(level, (0, self.shape.layers), [0; 3], full));
                continue;
            }
            for layer in 0..self.shape.layers {
                list.push(self.place(level, (layer, 1), [0; 3], full));
            }
        }
        list
    }

    /// A random box in a random subresource.
    pub fn part(&mut self) -> Region {
        let level = self.prng.below(self.shape.levels.into()) as u32;
        let layer = self.prng.below(self.shape.layers.into()) as u32;
        let full = extent(&self.shape, level);
        let size = full.map(|v| self.prng.size(v.into()) as u32);
        let mut offset = [0; 3];
        for ((at, full), size) in offset.iter_mut().zip(full).zip(size) {
            *at = self.prng.below(u64::from(full - size) + 1) as u32;
        }
        self.place(level, (layer, 1), offset, size)
    }

    /// Another place for a box of the same size in the same level.
    pub fn moved(&mut self, region: &Region) -> Region {
        let full = extent(&self.shape, region.level);
        let mut other = *region;
        other.layer = self.prng.below(self.shape.layers.into()) as u32;
        for (i, at) in other.offset.iter_mut().enumerate() {
            *at = self.prng.below(u64::from(full[i] - region.extent[i]) + 1) as u32;
        }
        other
    }

    fn place(
        &mut self,
        level: u32,
        (layer, layers): (u32, u32),
        offset: [u32; 3],
        extent: [u32; 3],
    ) -> Region {
        // A transfer queue wants offsets that are multiples of 4 and of the texel.
        let align = self.texel.max(4) as u64;
        let gap = self.prng.below(5);
        let (mut row_length, mut image_height) = (0, 0);
        if self.prng.below(2) == 0 {
            row_length = extent[0] + self.prng.below(MOST_PADDING) as u32;
            image_height = extent[1] + self.prng.below(MOST_PADDING) as u32;
        }
        let buffer_offset = (self.end.div_ceil(align) + gap) * align;
        let region = Region {
            buffer_offset,
            row_length,
            image_height,
            level,
            layer,
            layers,
            offset,
            extent,
        };
        self.end = buffer_offset + span(&region, self.texel);
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ash::vk;

    const SHAPE: ImageShape = ImageShape {
        kind: vk::ImageType::TYPE_2D,
        format: vk::Format::R8G8_UINT,
        tiling: vk::ImageTiling::OPTIMAL,
        extent: [5, 3, 1],
        levels: 2,
        layers: 2,
    };

    #[test]
    fn rows_land_where_vulkan_says() {
        let mut image = ImageShadow::new(SHAPE, 2);
        let buffer: Vec<u8> = (0..=255).collect();
        // Two layers of 2x2 texels at (3,1), rows 4 texels apart, slices 3 rows apart.
        let region = Region {
            buffer_offset: 10,
            row_length: 4,
            image_height: 3,
            level: 0,
            layer: 0,
            layers: 2,
            offset: [3, 1, 0],
            extent: [2, 2, 1],
        };
        image.upload(&buffer, &region);
        // Layer 1 starts at 10 + 3*4*2 = 34; its second row 8 bytes later, at texel (3,2).
        let second = &image.parts[image.part(1, 0)];
        assert_eq!(second[(2 * 5 + 3) * 2..][..4], [42, 43, 44, 45]);
        assert_eq!(image.parts[0][(5 + 3) * 2..][..4], [10, 11, 12, 13]);
        assert_eq!(span(&region, 2), 34 + 8 + 4 - 10);
        assert_eq!(bytes(&region, 2), 16);
        let mut back = vec![0; 256];
        image.download(&mut back, &region);
        assert_eq!(back.iter().filter(|&&b| b != 0).count(), 16);
        assert_eq!(back[42..46], [42, 43, 44, 45]);
    }

    #[test]
    fn regions_are_inside_and_apart() {
        let mut prng = Prng::new(9);
        for _ in 0..200 {
            let mut regions = Regions::new(&mut prng, SHAPE, 2);
            let mut list = regions.whole();
            let covered: u64 = list.iter().map(|r| bytes(r, 2)).sum();
            assert_eq!(covered, 2 * 2 * (15 + 2));
            list.extend((0..5).map(|_| regions.part()));
            list.push(regions.moved(&list[4]));
            for r in &list {
                let full = extent(&SHAPE, r.level);
                assert!((0..3).all(|i| r.offset[i] + r.extent[i] <= full[i]), "{r:?}");
                assert!(r.buffer_offset % 4 == 0 && r.layer + r.layers <= 2, "{r:?}");
            }
            let end = |r: &Region| r.buffer_offset + span(r, 2);
            list.pop();
            assert!(list.windows(2).all(|w| end(&w[0]) <= w[1].buffer_offset));
        }
    }
}
