// SPDX-License-Identifier: GPL-2.0

//! What graphics contexts are made of.
//!
//! The state of the graphics engine is in a dozen buffers while a channel does not run. Two are the
//! channel's own: the main image and the patch list. The others are for all channels: circular
//! buffers between stages of the pipeline, a log, maps of what registers a channel may write. The
//! driver lends all of them by *promoting* them, maps them where only the engine's front end can
//! reach, and the firmware writes their first contents. It takes those of the main image from the
//! *golden* context, which it makes of the first channel that gets a 3D object.
//!
//! Facts: open-gpu-kernel-modules 570.144, `kernel_graphics_context.c`
//! (`kgrctxGetCtxBuffers_IMPL`, `kgrctxShouldPreAllocPatchBuffer`), `ctrl2080gpu.h`.

use kernel::prelude::*;

use crate::gsp::{
    abi::{
        command,
        context_buffer,
        context_property,
        engine_type,
        ContextBufferInfo,
        ContextBuffers,
        PromoteContext,
        PromoteEntry,
        ScrubberChannel,
        PROMOTE_MAX,
        PROMOTE_VRAM, //
    },
    object::Control,
};

use super::{
    channel::Channel,
    Root, //
};

/// Which of a context's allocations a buffer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// Each channel's own.
    Own,
    /// All channels', written by the engine.
    Shared,
    /// All channels', read by the engine only.
    Maps,
}

/// What the driver knows of a buffer without asking.
struct Known {
    property: usize,
    id: u16,
    region: Region,
    /// The firmware writes its first contents.
    initialize: bool,
}

const fn known(property: usize, id: u16, region: Region, initialize: bool) -> Known {
    Known {
        property,
        id,
        region,
        initialize,
    }
}

/// The buffers in use.
const KNOWN: [Known; 9] = [
    known(
        context_property::GRAPHICS,
        context_buffer::MAIN,
        Region::Own,
        true,
    ),
    known(
        context_property::GRAPHICS_PATCH,
        context_buffer::PATCH,
        Region::Own,
        true,
    ),
    known(
        context_property::GRAPHICS_BUNDLE_CB,
        context_buffer::BUNDLE_CB,
        Region::Shared,
        false,
    ),
    known(
        context_property::GRAPHICS_PAGEPOOL,
        context_buffer::PAGEPOOL,
        Region::Shared,
        false,
    ),
    known(
        context_property::GRAPHICS_ATTRIBUTE_CB,
        context_buffer::ATTRIBUTE_CB,
        Region::Shared,
        false,
    ),
    known(
        context_property::GRAPHICS_RTV_CB_GLOBAL,
        context_buffer::RTV_CB_GLOBAL,
        Region::Shared,
        false,
    ),
    known(
        context_property::GRAPHICS_FECS_EVENT,
        context_buffer::FECS_EVENT,
        Region::Shared,
        true,
    ),
    known(
        context_property::GRAPHICS_PRIV_ACCESS_MAP,
        context_buffer::PRIV_ACCESS_MAP,
        Region::Maps,
        true,
    ),
    // Its size is that of the other map.
    known(
        context_property::GRAPHICS_PRIV_ACCESS_MAP,
        context_buffer::UNRESTRICTED_PRIV_ACCESS_MAP,
        Region::Maps,
        true,
    ),
];

/// More than any buffer of a context has.
const SIZE_LIMIT: u64 = 1 << 30;
const PAGE: u64 = 0x1000;
/// What follows the main image: a page for each of the channel's subcontexts.
const SUBCONTEXTS: u64 = 64 * PAGE;

/// A buffer, and where in its region it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    id: u16,
    pub(crate) region: Region,
    initialize: bool,
    /// From the start of the region.
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// How much memory a region takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) size: u64,
    /// Of its addresses in video memory and in address spaces; a power of two.
    pub(crate) align: u64,
}

/// How the buffers of a context are laid out.
pub(crate) struct Layout {
    buffers: KVec<Buffer>,
    own: Extent,
    shared: Extent,
    maps: Extent,
}

impl Layout {
    /// Lays buffers out whose sizes the firmware has given; `EIO` if these make no sense.
    fn new(sizes: &[ContextBufferInfo; context_property::COUNT]) -> Result<Self> {
        let start = Extent {
            size: 0,
            align: PAGE,
        };
        let mut layout = Self {
            buffers: KVec::with_capacity(KNOWN.len(), GFP_KERNEL)?,
            own: start,
            shared: start,
            maps: start,
        };
        for known in &KNOWN {
            let info = sizes.get(known.property).ok_or(EIO)?;
            let mut size = u64::from(info.size).next_multiple_of(PAGE);
            if known.id == context_buffer::MAIN {
                size += SUBCONTEXTS;
            }
            if info.size == 0 || size > SIZE_LIMIT {
                return Err(EIO);
            }
            // The engine addresses this one by its size's power of two.
            let align = if known.id == context_buffer::ATTRIBUTE_CB {
                size.next_power_of_two()
            } else {
                u64::from(info.alignment)
                    .clamp(PAGE, SIZE_LIMIT)
                    .next_power_of_two()
            };
            let extent = match known.region {
                Region::Own => &mut layout.own,
                Region::Shared => &mut layout.shared,
                Region::Maps => &mut layout.maps,
            };
            let offset = extent.size.next_multiple_of(align);
            extent.size = offset + size;
            extent.align = extent.align.max(align);
            layout.buffers.push(
                Buffer {
                    id: known.id,
                    region: known.region,
                    initialize: known.initialize,
                    offset,
                    size,
                },
                GFP_KERNEL,
            )?;
        }
        Ok(layout)
    }

    /// Asks the firmware.
    pub(crate) fn query(root: &Root<'_>) -> Result<Self> {
        root.control_internal(&GetContextBuffers)
    }

    /// How much memory a region takes.
    pub(crate) fn extent(&self, region: Region) -> Extent {
        match region {
            Region::Own => self.own,
            Region::Shared => self.shared,
            Region::Maps => self.maps,
        }
    }
}

/// Where the regions of a context are: in video memory, and in the channel's address space.
#[derive(Clone, Copy)]
pub(crate) struct Regions {
    pub(crate) own: (u64, u64),
    pub(crate) shared: (u64, u64),
    pub(crate) maps: (u64, u64),
}

impl Regions {
    fn of(&self, region: Region) -> (u64, u64) {
        match region {
            Region::Own => self.own,
            Region::Shared => self.shared,
            Region::Maps => self.maps,
        }
    }
}

/// Gives a channel its context.
///
/// For the golden context (`golden`) the firmware also writes the first contents of what all
/// channels share. The regions stay where they are until the channel has been freed.
pub(crate) fn promote(
    root: &Root<'_>,
    channel: &Channel<'_>,
    layout: &Layout,
    regions: &Regions,
    golden: bool,
) -> Result {
    root.control_subdevice(&Promote {
        client: root.client(),
        channel: channel.handle()?,
        layout,
        regions,
        golden,
    })
}

struct Promote<'a> {
    client: u32,
    channel: u32,
    layout: &'a Layout,
    regions: &'a Regions,
    golden: bool,
}

impl Promote<'_> {
    fn entry(&self, buffer: &Buffer) -> Option<PromoteEntry> {
        let (physical, address) = self.regions.of(buffer.region);
        let mut entry = PromoteEntry {
            id: buffer.id,
            ..Default::default()
        };
        match buffer.id {
            // The golden context is allowed all, and channels what the first map says.
            context_buffer::PRIV_ACCESS_MAP if self.golden => entry.nonmapped = 1,
            context_buffer::UNRESTRICTED_PRIV_ACCESS_MAP if !self.golden => return None,
            _ => entry.address = address + buffer.offset,
        }
        if buffer.initialize && (self.golden || buffer.region == Region::Own) {
            entry.initialize = 1;
            entry.physical = physical + buffer.offset;
            entry.size = buffer.size;
            entry.attributes = PROMOTE_VRAM;
        }
        Some(entry)
    }
}

impl Control for Promote<'_> {
    const COMMAND: u32 = command::PROMOTE_CTX;
    const NAME: &'static str = "GPU_PROMOTE_CTX";
    type Params = PromoteContext;
    type Reply = ();

    fn fill(&self, params: &mut PromoteContext) {
        params.engine = engine_type::GR0;
        params.channel_client = self.client;
        params.channel = self.channel;
        let entries = self.layout.buffers.iter().filter_map(|b| self.entry(b));
        for (slot, entry) in params.entries.iter_mut().zip(entries) {
            *slot = entry;
            params.entry_count += 1;
        }
    }

    fn read(_: &PromoteContext) -> Result {
        Ok(())
    }
}

static_assert!(KNOWN.len() <= PROMOTE_MAX);

struct GetContextBuffers;

impl Control for GetContextBuffers {
    const COMMAND: u32 = command::GET_CONTEXT_BUFFERS_INFO;
    const NAME: &'static str = "KGR_GET_CONTEXT_BUFFERS_INFO";
    type Params = ContextBuffers;
    type Reply = Layout;

    fn fill(&self, _: &mut ContextBuffers) {}

    fn read(params: &ContextBuffers) -> Result<Layout> {
        // There is one graphics engine unless it was partitioned.
        Layout::new(&params.engines[0])
    }
}

impl Control for ScrubberChannel {
    const COMMAND: u32 = command::INIT_BUG4208224_WAR;
    const NAME: &'static str = "KGR_INIT_BUG4208224_WAR";
    type Params = Self;
    type Reply = ();

    fn fill(&self, params: &mut Self) {
        *params = *self;
    }

    fn read(_: &Self) -> Result {
        Ok(())
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_rm_context)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn sizes() -> [ContextBufferInfo; context_property::COUNT] {
        let mut sizes = [ContextBufferInfo::default(); context_property::COUNT];
        for known in &KNOWN {
            sizes[known.property] = ContextBufferInfo {
                size: 0x2800,
                alignment: 0x100,
            };
        }
        sizes[context_property::GRAPHICS_ATTRIBUTE_CB].size = 0x3_0000;
        sizes
    }

    #[test]
    fn buffers_do_not_overlap_and_are_aligned() -> Result {
        let layout = Layout::new(&sizes())?;
        for (i, a) in layout.buffers.iter().enumerate() {
            assert_eq!(a.offset % PAGE, 0);
            assert!(a.offset + a.size <= layout.extent(a.region).size);
            for b in layout.buffers.iter().skip(i + 1) {
                assert!(
                    a.region != b.region
                        || a.offset + a.size <= b.offset
                        || b.offset + b.size <= a.offset
                );
            }
        }
        // The main image is followed by pages for subcontexts.
        assert_eq!(layout.buffers[0].size, 0x3000 + 0x4_0000);
        assert_eq!(layout.own.size, 0x3000 + 0x4_0000 + 0x3000);
        assert_eq!(layout.shared.align, 0x4_0000);
        Ok(())
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for size in [0, u32::MAX] {
            let mut sizes = sizes();
            sizes[context_property::GRAPHICS_PATCH].size = size;
            assert!(Layout::new(&sizes).is_err());
        }
        let mut sizes = sizes();
        sizes[context_property::GRAPHICS_PATCH].alignment = u32::MAX;
        assert!(Layout::new(&sizes).is_ok());
    }

    #[test]
    fn promotion_names_what_the_firmware_shall_write() -> Result {
        let layout = Layout::new(&sizes())?;
        let regions = Regions {
            own: (0x100_0000, 0x80_0000_0000),
            shared: (0x200_0000, 0x80_1000_0000),
            maps: (0x300_0000, 0x80_2000_0000),
        };
        let mut promote = Promote {
            client: 1,
            channel: 2,
            layout: &layout,
            regions: &regions,
            golden: true,
        };
        let mut params = PromoteContext::new_zeroed();
        promote.fill(&mut params);
        assert_eq!(params.entry_count, 9);
        let map = params.entries[7];
        assert_eq!((map.id, map.nonmapped, map.initialize), (10, 1, 1));
        assert_eq!((map.address, map.physical), (0, 0x300_0000));

        promote.golden = false;
        let mut params = PromoteContext::new_zeroed();
        promote.fill(&mut params);
        assert_eq!(params.entry_count, 8);
        let [main, patch, bundle, .., map] = &params.entries[..8] else {
            return Err(EINVAL);
        };
        assert_eq!((main.initialize, main.physical), (1, 0x100_0000));
        assert_eq!(patch.address, 0x80_0004_3000);
        assert_eq!((bundle.initialize, bundle.physical), (0, 0));
        assert_eq!((map.id, map.initialize, map.nonmapped), (10, 0, 0));
        assert_eq!(map.address, 0x80_2000_0000);
        Ok(())
    }
}
