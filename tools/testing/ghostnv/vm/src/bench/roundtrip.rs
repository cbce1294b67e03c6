// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long a call of the firmware takes a driver that user space cannot make call: the trace shows
//! it where all drivers do the same. They say goodbye with `UNLOADING_GUEST_DRIVER`, wait for the
//! reply, and then read GSP's mailbox to see whether it has stopped.

use std::path::Path;

use anyhow::ensure;
use ghostnv_gpu::trace_cmd::{self, Part, ShowArgs, TraceCommand};

/// Microseconds from ringing for each goodbye until the first read of the mailbox.
pub fn unloading(trace: &Path) -> anyhow::Result<Vec<f64>> {
    let mut text = Vec::new();
    let args = ShowArgs {
        file: trace.to_owned(),
        part: Part::default(),
        kind: Vec::new(),
        reg: None,
        limit: None,
    };
    trace_cmd::run(&TraceCommand::Show(args), &mut text)?;
    let times = round_trips(&String::from_utf8_lossy(&text));
    ensure!(!times.is_empty(), "{}: no goodbye to the firmware", trace.display());
    Ok(times)
}

/// The same, of a trace's lines: microseconds, then what happened.
fn round_trips(text: &str) -> Vec<f64> {
    let mut times = Vec::new();
    // When the queue's bell was rung last, and whether that was for a goodbye.
    let (mut rung, mut leaving) = (0.0, false);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(Ok(now)) = words.first().map(|word| word.parse::<f64>()) else { continue };
        match words[1..] {
            ["W4", _, "GSP_QUEUE_HEAD(0)", ..] => rung = now,
            ["rpc", ">", "UNLOADING_GUEST_DRIVER", ..] => leaving = true,
            ["R4", _, "GSP_MAILBOX0", ..] if leaving => {
                times.push(now - rung);
                leaving = false;
            }
            _ => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_goodbyes_count() {
        let text = "  10.0 W4 110c00 GSP_QUEUE_HEAD(0) <- 0x0\n  11.0 rpc > SET_REGISTRY object 0x0\n\
            12.0 R4 110040 GSP_MAILBOX0 -> 0x0\n20.5 W4 110c00 GSP_QUEUE_HEAD(0) <- 0x0\n\
            21.0 rpc > UNLOADING_GUEST_DRIVER object 0x0\n22.0 rpc < UNLOADING_GUEST_DRIVER\n\
            23.0 interrupt 131\n30.0 R4 110040 GSP_MAILBOX0 -> 0x80000000\n\
            31.0 R4 110040 GSP_MAILBOX0 -> 0x80000000\n";
        assert_eq!(round_trips(text), [9.5]);
    }
}
