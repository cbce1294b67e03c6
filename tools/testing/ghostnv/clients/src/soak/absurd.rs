// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Firmware that answers nonsense: every length, count, offset, address and number that the driver
//! reads from it, one at a time, becomes zero, all ones, huge, or is off by one.
//!
//! What the driver makes of it is its own affair: an error, or nothing, where the number does not
//! matter. It must not crash, hang or keep silent about an error, and the next boot works.

use std::time::Instant;

use anyhow::Context;

use super::card::{Ask, Card};
use super::{BOUND, Effort, JOB, Row, work};

/// What becomes of each number.
const VALUES: [&str; 6] = ["zero", "max", "huge", "plus-one", "minus-one", "double"];

/// A field: its offset and size in bytes.
type Field = (&'static str, usize, u8);

/// A message of the firmware, and the fields in it that the driver reads.
///
/// Function and selector as in fault scripts; offsets from the start of the payload, that of
/// controls' parameters being 24. From the structures of release 570.144.
struct Message {
    name: &'static str,
    function: u32,
    selector: u32,
    fields: &'static [Field],
}

const MESSAGES: [Message; 12] = [
    Message {
        name: "GET_GSP_STATIC_INFO",
        function: 65,
        selector: 0,
        fields: &[
            ("numFBRegions", 344, 4),
            ("fbRegion[0].base", 352, 8),
            ("fbRegion[0].limit", 360, 8),
            ("fbRegion[0].reserved", 368, 8),
            ("fbRegion[0].supportCompressed", 380, 1),
            ("fbRegion[0].bProtected", 382, 1),
            ("fbRegion[1].base", 400, 8),
            ("fbRegion[1].limit", 408, 8),
            ("fb_length", 1224, 8),
            ("gpuNameString", 1260, 8),
            ("bar1PdeBase", 1536, 8),
            ("bar2PdeBase", 1544, 8),
            ("hInternalClient", 1600, 4),
            ("hInternalDevice", 1604, 4),
            ("hInternalSubdevice", 1608, 4),
        ],
    },
    Message {
        name: "INTR_GET_KERNEL_TABLE",
        function: 76,
        selector: 0x2080_0a5c,
        fields: &[
            ("tableLen", 24, 4),
            ("table[0].engineIdx", 28, 2),
            ("table[0].vectorStall", 36, 4),
            ("table[0].vectorNonStall", 40, 4),
            ("table[1].engineIdx", 44, 2),
            ("table[1].vectorStall", 52, 4),
            ("table[1].vectorNonStall", 56, 4),
            ("table[2].vectorNonStall", 72, 4),
        ],
    },
    Message {
        name: "FIFO_GET_DEVICE_INFO_TABLE",
        function: 76,
        selector: 0x2080_1112,
        fields: &[
            ("baseIndex", 24, 4),
            ("numEntries", 28, 4),
            ("bMore", 32, 1),
            ("entries[0].engineType", 44, 4),
            ("entries[0].runlist", 48, 4),
            ("entries[1].engineType", 144, 4),
            ("entries[1].runlist", 148, 4),
            ("entries[2].runlist", 248, 4),
        ],
    },
    Message {
        name: "CE_GET_FAULT_METHOD_BUFFER_SIZE",
        function: 76,
        selector: 0x2080_2a08,
        fields: &[("size", 24, 4)],
    },
    Message {
        name: "KGR_GET_CONTEXT_BUFFERS_INFO",
        function: 76,
        selector: 0x2080_0a32,
        fields: &[
            ("main.size", 24, 4),
            ("main.alignment", 28, 4),
            ("zcull.size", 32, 4),
            ("zcull.alignment", 36, 4),
            ("patch.size", 168, 4),
            ("patch.alignment", 172, 4),
            ("bundle.size", 176, 4),
            ("pagepool.alignment", 188, 4),
            ("attribute.size", 192, 4),
            ("rtv.size", 200, 4),
            ("fecs_event.size", 224, 4),
            ("priv_access_map.size", 232, 4),
        ],
    },
    Message {
        name: "GPU_GET_FERMI_GPC_INFO",
        function: 76,
        selector: 0x2080_0137,
        fields: &[("gpcMask", 24, 4)],
    },
    Message {
        name: "GPU_GET_FERMI_TPC_INFO",
        function: 76,
        selector: 0x2080_0138,
        fields: &[("gpcId", 24, 4), ("tpcMask", 28, 4)],
    },
    Message {
        name: "GR_GET_ZCULL_INFO",
        function: 76,
        selector: 0x2080_1206,
        fields: &[
            ("aliquotTotal", 36, 4),
            ("regionByteMultiplier", 40, 4),
            ("subregionCount", 52, 4),
        ],
    },
    Message {
        name: "GSP_RM_CONTROL",
        function: 76,
        selector: 0x2080_0a5c,
        fields: &[("status", 12, 4), ("paramsSize", 16, 4), ("flags", 20, 4), ("cmd", 8, 4)],
    },
    Message {
        name: "GSP_RM_ALLOC",
        function: 103,
        selector: 0x2080,
        fields: &[("status", 16, 4), ("paramsSize", 20, 4), ("hObject", 8, 4)],
    },
    Message {
        name: "FREE",
        function: 10,
        selector: 0,
        fields: &[("hObjectOld", 8, 4), ("status", 12, 4)],
    },
    Message {
        name: "GSP_RUN_CPU_SEQUENCER",
        function: 0x1002,
        selector: 0,
        fields: &[
            ("bufferSizeDWord", 0, 4),
            ("cmdIndex", 4, 4),
            ("regSaveArea[0]", 8, 4),
            ("regSaveArea[7]", 36, 4),
        ],
    },
];

/// Fields of the headers before each message, and how they are named.
const HEADERS: [Field; 9] = [
    ("checksum", 32, 4),
    ("queue sequence", 36, 4),
    ("elements", 40, 4),
    ("version", 48, 4),
    ("signature", 52, 4),
    ("length", 56, 4),
    ("function", 60, 4),
    ("result", 64, 4),
    ("sequence", 72, 4),
];

/// All faults, each with its title.
fn plan() -> Vec<(String, String)> {
    let mut plan = Vec::new();
    let mut add = |title: String, function: u32, selector: u32, rest: String| {
        let selector = if selector == 0 { String::new() } else { format!("selector={selector}\n") };
        let head = format!("[[fault]]\nkind='rpc'\nfunction={function}\n{selector}");
        plan.push((title, head + &rest));
    };
    for message in &MESSAGES {
        let Message { name, function, selector, fields } = *message;
        for (value, &(field, at, width)) in
            VALUES.iter().flat_map(|v| fields.iter().map(move |f| (v, f)))
        {
            let rest = format!("action='field'\nat={at}\nwidth={width}\nvalue='{value}'\n");
            add(format!("{name}.{field} {value}"), function, selector, rest);
        }
        for value in VALUES {
            let rest = format!("action='resize'\nvalue='{value}'\n");
            add(format!("{name}, length {value}"), function, selector, rest);
        }
    }
    for (field, at, width) in HEADERS {
        for value in VALUES {
            let rest = format!("action='header'\nat={at}\nwidth={width}\nvalue='{value}'\n");
            add(format!("header of a reply, {field} {value}"), 65, 0, rest);
        }
    }
    for value in VALUES {
        let rest = format!("action='pointer'\nvalue='{value}'\n");
        add(format!("write pointer of the ring, {value}"), 65, 0, rest);
    }
    plan
}

/// Goes through all of it; says whether nothing was wrong.
pub fn run(card: &mut Card, effort: Effort) -> anyhow::Result<bool> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, (title, script)) in plan().into_iter().enumerate() {
        if number as u64 % effort.stride != effort.count % effort.stride {
            continue;
        }
        let group = title.split(['.', ',']).next().unwrap_or_default();
        if rows.last().is_none_or(|row| row.name != group) {
            // Nothing of the last group is left over.
            again(card).with_context(|| format!("before {title}"))?;
            rows.push(Row::new(group));
        }
        if let Some(row) = rows.last_mut() {
            one(card, row, &title, &script, effort.verbose)?;
        }
    }
    again(card).context("at the end")?;
    Ok(rows.iter().fold(true, |good, row| row.print() && good))
}

fn one(
    card: &mut Card,
    row: &mut Row,
    title: &str,
    script: &str,
    verbose: bool,
) -> anyhow::Result<()> {
    card.complaints();
    card.load(script)?;
    let start = Instant::now();
    let bound = card.bind();
    let lived = if card.bound() { work::life(&card.node()?, JOB) } else { Ok(()) };
    let fired = card.ask(Ask::Fired)?;
    card.load("")?;
    let unbound = if card.bound() { card.unbind() } else { Ok(()) };
    let time = start.elapsed();
    let said = card.complaints();
    row.steps += 1;
    row.longest = row.longest.max(time.as_secs_f64());
    if time > BOUND {
        row.wrong.push(format!("{title}: took {time:?}"));
    }
    if fired == 0 {
        row.wrong.push(format!("{title}: the fault did not fire"));
    }
    if verbose {
        let end = format!("{:?}, {:?}", bound.as_ref().err(), lived.as_ref().err());
        println!("  {title}: {end}, {:.1} s: {}", time.as_secs_f64(), said.join(" | "));
    }
    if bound.is_ok() && lived.is_ok() && unbound.is_ok() && said.is_empty() {
        row.unharmed += 1;
    } else {
        row.refused += 1;
        if said.is_empty() {
            let end = format!("{bound:?}, {lived:?}");
            row.wrong.push(format!("{title}: {end}, and no word about it"));
        }
        // Nobody knows what nonsense has set up.
        card.reset()?;
    }
    Ok(())
}

/// With an honest firmware all works.
fn again(card: &mut Card) -> anyhow::Result<()> {
    card.complaints();
    if card.bind().is_err() {
        card.reset()?;
        card.bind().with_context(|| format!("{:?}", card.complaints()))?;
    }
    work::life(&card.node()?, JOB).context("the next client")?;
    Ok(card.unbind()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_names_each_fault_once() {
        let plan = plan();
        let mut titles: Vec<&str> = plan.iter().map(|(title, _)| title.as_str()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), plan.len());
        let fields: usize = MESSAGES.iter().map(|m| m.fields.len() + 1).sum();
        assert_eq!(plan.len(), VALUES.len() * (fields + HEADERS.len() + 1));
    }
}
