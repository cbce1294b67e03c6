// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The test port: how a test in the guest asks for faults and counts while it runs.
//!
//! Three dwords of configuration space, after the trace marker. Text goes into the first, four bytes
//! a write, zeroes left out; a command into the second; the third then holds what it came to. So a
//! test that sweeps thousands of faults needs one machine and no host.

use super::Gpu;

/// Takes the text for a fault script, which replaces the last one; how many faults it has.
pub const LOAD: u32 = 1;
/// How often the faults of that script have fired.
pub const FIRED: u32 = 2;
/// Requests with replies that the firmware has had since power-on.
pub const REQUESTS: u32 = 3;
/// Objects that the driver has in the firmware.
pub const OBJECTS: u32 = 4;
/// Objects that drivers had not freed when the firmware was asked to stop, since power-on.
pub const LEFT: u32 = 5;
/// Violations that no allow-list explains.
pub const VIOLATIONS: u32 = 6;
/// How often the firmware was started.
pub const BOOTS: u32 = 7;
/// What a command came to that is not known, or whose text makes no sense.
pub const REFUSED: u32 = u32::MAX;

/// Scripts whose refusal is said in the log: their text is the guest's, and so is their number.
const MOST_SAID: u64 = 8;
/// Characters of one.
const MOST_CHARS: usize = 400;

/// Longest text.
const MAX_TEXT: usize = 64 << 10;

impl Gpu {
    /// Four more bytes of text.
    pub(super) fn port_text(&mut self, word: u32) {
        if self.text.len() < MAX_TEXT {
            self.text.extend(word.to_le_bytes().iter().filter(|b| **b != 0));
        }
    }

    /// Carries a command out.
    pub(super) fn port_command(&mut self, command: u32) {
        let env = &mut self.hw.env;
        let answer = match command {
            LOAD => {
                let text = String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned();
                env.faults.replace(&text).map_or_else(
                    |error| {
                        self.refused += 1;
                        if self.refused <= MOST_SAID {
                            eprintln!("test port: {}", complaint(&error));
                        }
                        u64::from(REFUSED)
                    },
                    |count| count as u64,
                )
            }
            FIRED => env.faults.loaded_fired(),
            REQUESTS => env.firmware.requests,
            OBJECTS => self.gsp.objects(),
            LEFT => env.firmware.objects_left,
            VIOLATIONS => env.judge.count(),
            BOOTS => env.firmware.boots,
            _ => u64::from(REFUSED),
        };
        self.config.answer(u32::try_from(answer).unwrap_or(REFUSED));
    }
}

/// What is wrong with a script, on one line.
fn complaint(error: &anyhow::Error) -> String {
    format!("{error:#}").escape_debug().take(MOST_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::pci::{PORT_ANSWER, PORT_COMMAND, PORT_TEXT};
    use crate::chip::CHIPS;
    use crate::env::Env;
    use crate::machine::Machine;

    fn ask(gpu: &mut Gpu, command: u32) -> u32 {
        gpu.config_write(PORT_COMMAND as u64, &command.to_le_bytes());
        let mut answer = [0; 4];
        gpu.config_read(PORT_ANSWER as u64, &mut answer);
        u32::from_le_bytes(answer)
    }

    #[test]
    fn a_guest_loads_faults_and_asks_whether_they_fired() {
        let mut gpu = Gpu::new(Machine::new(CHIPS[0], Env::new(1 << 30).unwrap(), None));
        gpu.config_write(4, &[6, 0]);
        let load = |gpu: &mut Gpu, script: &str| {
            for chunk in script.as_bytes().chunks(4) {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                gpu.config_write(PORT_TEXT as u64, &word);
            }
            ask(gpu, LOAD)
        };
        assert_eq!(load(&mut gpu, "[[fault]]\nkind='all-ones'\ncount=1"), 1);
        let mut word = [0; 4];
        gpu.bar0_read(0, &mut word);
        assert_eq!((word, ask(&mut gpu, FIRED)), ([0xff; 4], 1));
        assert_eq!(load(&mut gpu, "[[fault]]\nkind='wrong'"), REFUSED);
        for round in 2..20 {
            assert_eq!((load(&mut gpu, "nonsense"), gpu.refused), (REFUSED, round));
        }
        assert_eq!((load(&mut gpu, ""), ask(&mut gpu, 99)), (0, REFUSED));
        assert_eq!((ask(&mut gpu, REQUESTS), ask(&mut gpu, OBJECTS)), (0, 0));
    }

    #[test]
    fn what_a_guest_writes_is_a_short_line_of_the_log() {
        let mut plan = crate::env::fault::FaultPlan::default();
        let script = format!("violation\n\x1b[2J{}", "x".repeat(5000));
        let line = complaint(&plan.replace(&script).unwrap_err());
        assert!(line.len() <= 4 * MOST_CHARS && !line.contains(['\n', '\x1b']), "{line}");
    }

    #[test]
    fn a_card_comes_back_without_its_state() {
        let mut gpu = Gpu::new(Machine::new(CHIPS[0], Env::new(1 << 30).unwrap(), None));
        gpu.hw.env.faults.replace("[[fault]]\nkind='unplug'\nback=1").unwrap();
        gpu.config_write(4, &[6, 0]);
        gpu.step(1000);
        let mut id = [0; 4];
        gpu.config_read(0, &mut id);
        assert_eq!(id, [0xff; 4]);
        assert!(gpu.deadline().is_some());
        std::thread::sleep(std::time::Duration::from_millis(2));
        gpu.config_read(0, &mut id);
        assert_eq!(id[..2], [0xde, 0x10]);
        gpu.config_read(4, &mut id);
        assert_eq!(id[0], 0);
    }
}
