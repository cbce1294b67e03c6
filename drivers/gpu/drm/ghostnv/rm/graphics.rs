// SPDX-License-Identifier: GPL-2.0

//! What the graphics engine is made of, which clients size their memory by.
//!
//! A GPC (graphics processing cluster) holds TPCs (texture processing clusters), and boards differ
//! in how many of each are left enabled.

use kernel::prelude::*;

use crate::gsp::{
    abi::{
        command,
        GpcInfo,
        TpcInfo,
        ZcullInfo, //
    },
    object::Control, //
};

use super::Root;

/// Asks which GPCs there are.
struct GetGpcMask;

impl Control for GetGpcMask {
    const COMMAND: u32 = command::GET_FERMI_GPC_INFO;
    const NAME: &'static str = "GPU_GET_FERMI_GPC_INFO";
    type Params = GpcInfo;
    type Reply = u32;

    fn fill(&self, _: &mut GpcInfo) {}

    fn read(params: &GpcInfo) -> Result<u32> {
        Ok(params.mask)
    }
}

/// Asks which TPCs a GPC has.
struct GetTpcMask(u32);

impl Control for GetTpcMask {
    const COMMAND: u32 = command::GET_FERMI_TPC_INFO;
    const NAME: &'static str = "GPU_GET_FERMI_TPC_INFO";
    type Params = TpcInfo;
    type Reply = u32;

    fn fill(&self, params: &mut TpcInfo) {
        params.gpc = self.0;
    }

    fn read(params: &TpcInfo) -> Result<u32> {
        Ok(params.mask)
    }
}

/// Asks about the early depth test.
struct GetZcullInfo;

impl Control for GetZcullInfo {
    const COMMAND: u32 = command::GET_ZCULL_INFO;
    const NAME: &'static str = "GR_GET_ZCULL_INFO";
    type Params = ZcullInfo;
    type Reply = ZcullInfo;

    fn fill(&self, _: &mut ZcullInfo) {}

    fn read(params: &ZcullInfo) -> Result<ZcullInfo> {
        Ok(*params)
    }
}

/// The graphics engine.
pub(crate) struct Graphics {
    /// GPCs that are enabled.
    pub(crate) gpcs: u32,
    /// TPCs that are enabled, of all GPCs together.
    pub(crate) tpcs: u32,
    /// The early depth test, if the firmware tells.
    pub(crate) zcull: Option<ZcullInfo>,
}

impl Graphics {
    /// Asks the firmware.
    pub(crate) fn query(root: &Root<'_>) -> Result<Self> {
        let gpc_mask = root.control_subdevice(&GetGpcMask)?;
        let mut tpcs = 0;

        for gpc in (0..u32::BITS).filter(|gpc| gpc_mask & (1 << gpc) != 0) {
            tpcs += root.control_subdevice(&GetTpcMask(gpc))?.count_ones();
        }

        Ok(Self {
            gpcs: gpc_mask.count_ones(),
            tpcs,
            // Clients do without; what failed has been said.
            zcull: root.control_internal(&GetZcullInfo).ok(),
        })
    }
}
