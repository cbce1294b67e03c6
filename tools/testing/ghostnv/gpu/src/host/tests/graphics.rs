// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The part of the graphics classes that is executed.

use super::*;

const D: u32 = DATA as u32;

/// A channel whose objects RM allocated.
fn graphics() -> Rig {
    let mut rig = Rig::new();
    let ch = rig.channel(1, GR);
    for class in [0xc797, 0xc7c0, 0xa140, 0x902d] {
        rig.host.attach(ch, class).unwrap();
    }
    rig
}

fn run(rig: &mut Rig, words: &[u32]) {
    rig.push(1, words);
    assert_eq!(rig.settle(), Step::Idle);
    assert_eq!(rig.env.judge.count(), 0, "{words:x?}");
}

#[test]
fn report_semaphores() {
    let report = |subch, payload, word| inc(subch, 0x1b00, &[0, D, payload, word]);
    let execute = |payload_hi, word| inc(1, 0x158, &[5, payload_hi, D, 0, word]);
    // (words, what 64 bits of eights become, whether a time stamp follows)
    let cases = [
        (report(0, 5, 1 << 28), 0x0808_0808_0000_0005, false),
        (report(0, 5, 0), 5, true),
        (report(1, 5, 0), 5, true),
        (report(0, 5, 1 << 28 | 1 << 3), 0x0808_0808_0808_080d, false),
        // A report of any counter is zero.
        (report(0, 5, 2 | 2 << 23), 0, true),
        (execute(7, 1 << 3), 0x0808_0808_0000_0005, false),
        (execute(7, 2 << 3 | 1 << 12), 0x7_0000_0005, false),
        (execute(7, 1 << 12), 0x7_0000_0005, true),
    ];
    for (words, want, stamped) in cases {
        let mut rig = graphics();
        rig.write(DATA, &[8; 8]);
        run(&mut rig, &words);
        assert_eq!(rig.read(DATA), want, "{words:x?}");
        assert_eq!(rig.read(DATA + 8) != 0, stamped, "{words:x?}");
    }
}

#[test]
fn inline_rows_take_whole_words() {
    for subch in [0, 1, 2] {
        let mut rig = graphics();
        let words = [
            // Two rows of five bytes, eight apart; then a release of one word.
            inc(subch, 0x180, &[5, 2, 0, D, 8]),
            inc(subch, 0x1dc, &[0, D + 0x20, 9]),
            inc(subch, 0x1b0, &[1 | 2 << 4 | 1 << 12]),
            vec![3 << 29 | 4 << 16 | subch << 13 | 0x1b4 >> 2],
            vec![0x0403_0201, 0xffff_ff05, 0x1413_1211, 0xffff_ff15],
        ];
        run(&mut rig, &words.concat());
        assert_eq!(rig.read(DATA), 0x05_0403_0201);
        assert_eq!(rig.read(DATA + 8), 0x15_1413_1211);
        assert_eq!(rig.read(DATA + 0x20), 9);
    }
}

#[test]
fn what_is_not_executed_is_counted() {
    let mut rig = graphics();
    run(&mut rig, &[inc(1, 0x2b4, &[0x1000]), inc(1, 0x2c0, &[3])].concat());
    run(&mut rig, &[inc(0, 0x3800, &[0, 0]), inc(0, 0x300, &[0]), inc(3, 0x200, &[0])].concat());
    let counted = [("compute-dispatch", 1), ("3d-macro", 2), ("3d-method", 1), ("2d-method", 1)];
    for (name, count) in counted {
        assert_eq!(rig.env.judge.notes.get(name), Some(&count), "{name}");
    }
    // Without an object there is no context to run in.
    rig.host.detach(1, 0xc797);
    rig.push(1, &inc(0, 0x300, &[0]));
    rig.settle();
    assert!(rig.env.judge.caught("engine-no-object"));
}
