// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Names of registers, RPC functions, RM controls and classes.
//!
//! Only for reading traces; nothing in the model depends on it. The names are those of Linux
//! nouveau's and NVIDIA's public headers. What has no name here is shown by its number.

/// Registers at one address, sorted.
const REGISTERS: &[(u32, &str)] = &[
    (0x00_0000, "PMC_BOOT_0"),
    (0x00_0004, "PMC_BOOT_1"),
    (0x00_0a00, "PMC_BOOT_42"),
    (0x00_1438, "PBUS_SW_SCRATCH_FRTS_ERR"),
    (0x00_1454, "PBUS_SW_SCRATCH_SB_ERR"),
    (0x00_1700, "PBUS_BAR0_WINDOW"),
    (0x00_9100, "PTIMER_INTR_0"),
    (0x00_9140, "PTIMER_INTR_EN_0"),
    (0x00_9200, "PTIMER_NUMERATOR"),
    (0x00_9210, "PTIMER_DENOMINATOR"),
    (0x00_9400, "PTIMER_TIME_0"),
    (0x00_9410, "PTIMER_TIME_1"),
    (0x00_9420, "PTIMER_ALARM_0"),
    (0x02_1c04, "FUSE_DISPLAY"),
    (0x07_0000, "PFLUSH_FB_FLUSH"),
    (0x10_0c10, "PFB_NISO_FLUSH_SYSMEM_ADDR"),
    (0x10_0c40, "PFB_NISO_FLUSH_SYSMEM_ADDR_HI"),
    (0x10_0ce0, "PFB_LOCAL_MEMORY_RANGE"),
    (0x10_1000, "PEXTDEV_STRAP_0"),
    (0x11_8128, "GFW_BOOT_PRIV_LEVEL_MASK"),
    (0x11_8234, "GFW_BOOT_PROGRESS"),
    (0x11_83a4, "USABLE_FB_SIZE_IN_MB"),
    (0x1f_a824, "WPR2_ADDR_LO"),
    (0x1f_a828, "WPR2_ADDR_HI"),
    (0x62_5f04, "DISP_VGA_WORKSPACE_BASE"),
    (0x82_0c04, "FUSE_DISPLAY"),
    (0xb8_1600, "CPU_INTR_TOP"),
    (0xb8_1608, "CPU_INTR_TOP_EN_SET"),
    (0xb8_1610, "CPU_INTR_TOP_EN_CLEAR"),
    (0xb8_30a0, "MMU_INVALIDATE_PDB"),
    (0xb8_30a4, "MMU_INVALIDATE_UPPER_PDB"),
    (0xb8_30b0, "MMU_INVALIDATE"),
    (0xbb_0080, "USERMODE_TIME_0"),
    (0xbb_0084, "USERMODE_TIME_1"),
    (0xbb_0090, "USERMODE_NOTIFY_CHANNEL_PENDING"),
];

/// Registers in rows: first, last, stride, name.
const ROWS: &[(u32, u32, u32, &str)] = &[
    (0x82_4100, 0x82_413f, 4, "FUSE_UCODE_NVDEC"),
    (0x82_4140, 0x82_417f, 4, "FUSE_UCODE_SEC2"),
    (0x82_41c0, 0x82_41ff, 4, "FUSE_UCODE_GSP"),
    (0xb8_1000, 0xb8_103f, 4, "CPU_INTR_LEAF"),
    (0xb8_1200, 0xb8_123f, 4, "CPU_INTR_LEAF_EN_SET"),
    (0xb8_1400, 0xb8_143f, 4, "CPU_INTR_LEAF_EN_CLEAR"),
    (0xb8_3000, 0xb8_303f, 0x20, "MMU_FAULT_BUFFER"),
];

/// Falcons: first, last, name.
const FALCONS: &[(u32, u32, &str)] = &[
    (0x11_0000, 0x11_1fff, "GSP"),
    (0x83_0000, 0x83_1fff, "NVDEC_TU"),
    (0x84_0000, 0x84_1fff, "SEC2"),
    (0x84_8000, 0x84_9fff, "NVDEC"),
    (0x8f_2000, 0x8f_3fff, "FSP"),
];

/// Falcon registers by offset.
const FALCON: &[(u32, &str)] = &[
    (0x0004, "IRQSCLR"),
    (0x0008, "IRQSTAT"),
    (0x0010, "IRQMSET"),
    (0x0014, "IRQMCLR"),
    (0x0018, "IRQMASK"),
    (0x001c, "IRQDEST"),
    (0x0040, "MAILBOX0"),
    (0x0044, "MAILBOX1"),
    (0x0048, "ITFEN"),
    (0x0080, "OS"),
    (0x0084, "RM"),
    (0x00f4, "HWCFG2"),
    (0x0100, "CPUCTL"),
    (0x0104, "BOOTVEC"),
    (0x0108, "HWCFG"),
    (0x010c, "DMACTL"),
    (0x0110, "DMATRFBASE"),
    (0x0114, "DMATRFMOFFS"),
    (0x0118, "DMATRFCMD"),
    (0x011c, "DMATRFFBOFFS"),
    (0x0128, "DMATRFBASE1"),
    (0x012c, "HWCFG1"),
    (0x0130, "CPUCTL_ALIAS"),
    (0x03c0, "ENGINE"),
    (0x03e8, "INTR_RETRIGGER"),
    (0x0624, "FBIF_CTL"),
    (0x0c00, "QUEUE_HEAD(0)"),
    (0x0c04, "QUEUE_TAIL(0)"),
    (0x1180, "BROM_MOD_SEL"),
    (0x1198, "BROM_UCODE_ID"),
    (0x119c, "BROM_ENGIDMASK"),
    (0x1210, "BROM_PARAADDR(0)"),
    (0x1240, "RISCV_CORE_SWITCH_STATUS"),
    (0x12b4, "RISCV_IRQMASK_TU"),
    (0x1388, "RISCV_CPUCTL"),
    (0x1528, "RISCV_IRQMASK"),
    (0x1668, "RISCV_BCR_CTRL"),
];

/// Windows: first, last, name.
const WINDOWS: &[(u32, u32, &str)] = &[
    (0x08_8000, 0x08_8fff, "PCI_CONFIG_MIRROR"),
    (0x30_0000, 0x3f_ffff, "PROM"),
    (0x60_0000, 0x6f_ffff, "DISPLAY"),
    (0x70_0000, 0x7f_ffff, "PRAMIN"),
    (0xbb_0000, 0xbb_ffff, "USERMODE"),
];

/// Name of a BAR0 register.
pub fn register(at: u32) -> String {
    if let Ok(i) = REGISTERS.binary_search_by_key(&at, |(at, _)| *at) {
        return REGISTERS.get(i).map_or("", |(_, name)| name).into();
    }
    if let Some((first, _, stride, name)) = ROWS.iter().find(|r| (r.0..=r.1).contains(&at)) {
        let (index, within) = ((at - first) / stride, (at - first) % stride);
        return if within == 0 {
            format!("{name}({index})")
        } else {
            format!("{name}({index})+{within:#x}")
        };
    }
    if let Some((first, _, name)) = FALCONS.iter().find(|f| (f.0..=f.1).contains(&at)) {
        return format!("{name}_{}", falcon(at - first));
    }
    match WINDOWS.iter().find(|w| (w.0..=w.1).contains(&at)) {
        // The windows' thousands of addresses would bury everything else.
        Some((_, _, name)) => (*name).into(),
        None => format!("{at:#08x}"),
    }
}

/// Name of a register within a falcon.
fn falcon(off: u32) -> String {
    if let Some((_, name)) = FALCON.iter().find(|(at, _)| *at == off) {
        return (*name).into();
    }
    match off {
        0x180..=0x1bf => {
            let port = ["IMEMC", "IMEMD", "IMEMT"].get((off >> 2 & 3) as usize).unwrap_or(&"IMEM?");
            format!("{port}({})", (off - 0x180) >> 4)
        }
        0x1c0..=0x1ff if off & 4 == 0 => format!("DMEMC({})", (off - 0x1c0) >> 3),
        0x1c0..=0x1ff => format!("DMEMD({})", (off - 0x1c0) >> 3),
        0x600..=0x61f => format!("FBIF_TRANSCFG({})", (off - 0x600) >> 2),
        _ => format!("{off:#06x}"),
    }
}

const GSP_RM_CONTROL: u32 = 76;
const GSP_RM_ALLOC: u32 = 103;

/// RPC functions and events of firmware release 570.
const FUNCTIONS: &[(u32, &str)] = &[
    (1, "SET_GUEST_SYSTEM_INFO"),
    (2, "ALLOC_ROOT"),
    (4, "ALLOC_MEMORY"),
    (5, "ALLOC_CTX_DMA"),
    (6, "ALLOC_CHANNEL_DMA"),
    (10, "FREE"),
    (14, "MAP_MEMORY_DMA"),
    (15, "UNMAP_MEMORY_DMA"),
    (21, "DUP_OBJECT"),
    (47, "UNLOADING_GUEST_DRIVER"),
    (54, "SET_PAGE_DIRECTORY"),
    (65, "GET_GSP_STATIC_INFO"),
    (70, "UPDATE_BAR_PDE"),
    (71, "CONTINUATION_RECORD"),
    (72, "GSP_SET_SYSTEM_INFO"),
    (73, "SET_REGISTRY"),
    (GSP_RM_CONTROL, "GSP_RM_CONTROL"),
    (79, "UNSET_PAGE_DIRECTORY"),
    (97, "CTRL_GPFIFO_SCHEDULE"),
    (98, "CTRL_SET_TIMESLICE"),
    (99, "CTRL_PREEMPT"),
    (GSP_RM_ALLOC, "GSP_RM_ALLOC"),
    (111, "CTRL_GPU_PROMOTE_CTX"),
    (178, "DISABLE_CHANNELS"),
    (186, "CTRL_GPFIFO_GET_WORK_SUBMIT_TOKEN"),
    (200, "INVALIDATE_TLB"),
    (0x1001, "event GSP_INIT_DONE"),
    (0x1002, "event GSP_RUN_CPU_SEQUENCER"),
    (0x1003, "event POST_EVENT"),
    (0x1004, "event RC_TRIGGERED"),
    (0x1005, "event MMU_FAULT_QUEUED"),
    (0x1006, "event OS_ERROR_LOG"),
    (0x100c, "event UCODE_LIBOS_PRINT"),
    (0x100f, "event PERF_BRIDGELESS_INFO_UPDATE"),
    (0x101c, "event GSP_LOCKDOWN_NOTICE"),
    (0x1020, "event GSP_POST_NOCAT_RECORD"),
    (0x1021, "event FECS_ERROR"),
];

/// RM controls.
const CONTROLS: &[(u32, &str)] = &[
    (0x0073_0102, "SYSTEM_GET_NUM_HEADS"),
    (0x0073_0107, "SYSTEM_GET_SUPPORTED"),
    (0x0073_0108, "SYSTEM_GET_CONNECT_STATE"),
    (0x0073_010c, "SYSTEM_GET_ACTIVE"),
    (0x0073_0245, "SPECIFIC_GET_EDID_V2"),
    (0x0073_0250, "SPECIFIC_GET_CONNECTOR_DATA"),
    (0x0073_0273, "SPECIFIC_SET_HDMI_ENABLE"),
    (0x0073_0275, "SPECIFIC_SET_HDMI_AUDIO_MUTESTREAM"),
    (0x0073_0287, "SPECIFIC_GET_ALL_HEAD_MASK"),
    (0x0073_0288, "SPECIFIC_SET_OD_PACKET"),
    (0x0073_028b, "SPECIFIC_OR_GET_INFO"),
    (0x0073_0293, "SPECIFIC_SET_HDMI_SINK_CAPS"),
    (0x0073_1140, "DFP_GET_INFO"),
    (0x0073_1144, "DFP_SET_ELD_AUDIO_CAPS"),
    (0x0073_1150, "DFP_SET_AUDIO_ENABLE"),
    (0x0073_1152, "DFP_ASSIGN_SOR"),
    (0x0073_1341, "DP_AUXCH_CTRL"),
    (0x0073_1343, "DP_CTRL"),
    (0x0073_1346, "DP_SET_LANE_DATA"),
    (0x0073_1362, "DP_CONFIG_STREAM"),
    (0x0073_1365, "DP_SET_MANUAL_DISPLAYPORT"),
    (0x0073_1369, "DP_GET_CAPS"),
    (0x0073_1377, "DP_CONFIG_INDEXED_LINK_RATES"),
    (0x0080_1306, "FB_GET_COMPBIT_STORE_INFO"),
    (0x0080_1813, "DMA_SET_PAGE_DIRECTORY"),
    (0x0080_1814, "DMA_UNSET_PAGE_DIRECTORY"),
    (0x2080_012b, "GPU_PROMOTE_CTX"),
    (0x2080_0137, "GPU_GET_FERMI_GPC_INFO"),
    (0x2080_0138, "GPU_GET_FERMI_TPC_INFO"),
    (0x2080_01b0, "GPU_GET_CONSTRUCTED_FALCON_INFO"),
    (0x2080_0301, "EVENT_SET_NOTIFICATION"),
    (0x2080_0a01, "INTERNAL_DISPLAY_GET_STATIC_INFO"),
    (0x2080_0a1c, "INTERNAL_MEMSYS_GET_STATIC_CONFIG"),
    (0x2080_0a32, "INTERNAL_STATIC_KGR_GET_CONTEXT_BUFFERS_INFO"),
    (0x2080_0a42, "INTERNAL_GET_CONSTRUCTED_FALCON_INFO"),
    (0x2080_0a46, "INTERNAL_KGR_INIT_BUG4208224_WAR"),
    (0x2080_0a49, "INTERNAL_DISPLAY_WRITE_INST_MEM"),
    (0x2080_0a58, "INTERNAL_DISPLAY_CHANNEL_PUSHBUFFER"),
    (0x2080_0a5c, "INTERNAL_INTR_GET_KERNEL_TABLE"),
    (0x2080_0a6f, "INTERNAL_MEMSYS_PROGRAM_RAW_COMPRESSION_MODE"),
    (0x2080_0ac2, "INTERNAL_FBSR_INIT"),
    (0x2080_0ac6, "INTERNAL_INIT_BRIGHTC_STATE_LOAD"),
    (0x2080_1112, "FIFO_GET_DEVICE_INFO_TABLE"),
    (0x2080_1206, "GR_GET_ZCULL_INFO"),
    (0x2080_2a08, "CE_GET_FAULT_METHOD_BUFFER_SIZE"),
    (0x2080_a7d7, "INTERNAL_GCX_ENTRY_PREREQUISITE"),
    (0x90f1_0106, "VASPACE_COPY_SERVER_RESERVED_PDES"),
    (0xa06c_0101, "TSG_GPFIFO_SCHEDULE"),
    (0xa06f_0103, "GPFIFO_SCHEDULE"),
    (0xa06f_0104, "BIND"),
    (0xc36f_0108, "GPFIFO_GET_WORK_SUBMIT_TOKEN"),
];

/// Classes.
const CLASSES: &[(u32, &str)] = &[
    (0x0000, "NV01_ROOT"),
    (0x0005, "NV01_EVENT"),
    (0x0041, "NV01_ROOT_CLIENT"),
    (0x0073, "NV04_DISPLAY_COMMON"),
    (0x007e, "NV01_EVENT_KERNEL_CALLBACK_EX"),
    (0x0080, "NV01_DEVICE_0"),
    (0x00de, "RM_USER_SHARED_DATA"),
    (0x2080, "NV20_SUBDEVICE_0"),
    (0x902d, "FERMI_TWOD_A"),
    (0x9067, "FERMI_CONTEXT_SHARE_A"),
    (0x90f1, "FERMI_VASPACE_A"),
    (0xa06c, "KEPLER_CHANNEL_GROUP_A"),
    (0xa140, "KEPLER_INLINE_TO_MEMORY_B"),
    (0xc46f, "TURING_CHANNEL_GPFIFO_A"),
    (0xc56f, "AMPERE_CHANNEL_GPFIFO_A"),
    (0xc597, "TURING_A"),
    (0xc5b5, "TURING_DMA_COPY_A"),
    (0xc5c0, "TURING_COMPUTE_A"),
    (0xc797, "AMPERE_B"),
    (0xc7b5, "AMPERE_DMA_COPY_B"),
    (0xc7c0, "AMPERE_COMPUTE_B"),
    (0xc997, "ADA_A"),
    (0xc9c0, "ADA_COMPUTE_A"),
];

/// Name of an RPC, with the control or class it is about.
pub fn rpc(function: u32, selector: u64) -> String {
    let find = |table: &[(u32, &'static str)], key: u64| {
        table.iter().find(|(n, _)| u64::from(*n) == key).map(|(_, name)| *name)
    };
    let name = find(FUNCTIONS, function.into());
    let inner = match function {
        GSP_RM_CONTROL => find(CONTROLS, selector),
        GSP_RM_ALLOC => find(CLASSES, selector),
        _ => return name.map_or_else(|| format!("function {function:#x}"), Into::into),
    };
    let inner = inner.map_or_else(|| format!("{selector:#x}"), |i| format!("{i} {selector:#x}"));
    format!("{} {inner}", name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_names_resolve() {
        assert!(REGISTERS.windows(2).all(|w| w[0].0 < w[1].0));
        let cases = [
            (0x0, "PMC_BOOT_0"),
            (0xb8_1204, "CPU_INTR_LEAF_EN_SET(1)"),
            (0x11_0c00, "GSP_QUEUE_HEAD(0)"),
            (0x84_0188, "SEC2_IMEMT(0)"),
            (0x84_01cc, "SEC2_DMEMD(1)"),
            (0x31_2345, "PROM"),
            (0x12_3456, "0x123456"),
        ];
        for (at, name) in cases {
            assert_eq!(register(at), name);
        }
        assert_eq!(rpc(76, 0x801813), "GSP_RM_CONTROL DMA_SET_PAGE_DIRECTORY 0x801813");
        assert_eq!(rpc(103, 0x1234), "GSP_RM_ALLOC 0x1234");
        assert_eq!(rpc(10, 5), "FREE");
    }
}
