// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The copy engine where no recorded vector goes: refusals, large transfers, physical mode.

use super::*;

const PITCH: u32 = 0x186;
const PITCH_2D: u32 = 0x386;

/// Addresses, pitches and size.
fn geometry(src: u64, dst: u64, pitches: [u32; 2], size: [u32; 2]) -> Vec<u32> {
    let (src_hi, dst_hi) = ((src >> 32) as u32, (dst >> 32) as u32);
    inc(
        4,
        0x400,
        &[src_hi, src as u32, dst_hi, dst as u32, pitches[0], pitches[1], size[0], size[1]],
    )
}

fn run(rig: &mut Rig, parts: &[Vec<u32>]) -> Option<ChannelError> {
    rig.push(1, &parts.concat());
    assert_eq!(rig.settle(), Step::Idle);
    rig.host.take_errors().pop()
}

#[test]
fn launches_that_are_refused() {
    let (src, dst) = (DATA, DATA + 0x8_0000);
    let block = |size: u32, depth: u32, layer: u32| inc(4, 0x70c, &[size, 256, 16, depth, layer]);
    let plain = || geometry(src, dst, [64, 64], [64, 2]);
    let wide = || geometry(src, dst, [32, 64], [64, 2]);
    let none = Vec::new;
    // (setup, launch word, part of the text)
    let cases = [
        (wide(), none(), PITCH_2D, "SrcLineExceedsPitch"),
        (geometry(src, dst, [64, 32], [64, 2]), none(), PITCH_2D, "DstLineExceedsPitch"),
        (
            geometry(src, dst, [64, -32i32 as u32], [64, 2]),
            none(),
            PITCH_2D,
            "DstLineExceedsNegPitch",
        ),
        (plain(), inc(4, 0x708, &[2 << 16]), PITCH | 0x400, "InvalidValue"),
        (plain(), inc(4, 0x708, &[3]), PITCH | 0x400, "BadSourceComponent"),
        (plain(), block(0x1000, 1, 1), 0x286, "LayerExceedsDepth"),
        (plain(), block(0x1060, 1, 0), 0x286, "InvalidValue"),
        (plain(), block(0x0000, 1, 0), 0x286, "InvalidValue"),
        (geometry(src, dst + 64, [64, 64], [64, 2]), block(0x1000, 1, 0), 0x286, "Alignment"),
        (geometry(src, dst, [512, 512], [257, 2]), block(0x1000, 1, 0), 0x286, "OutOfBounds"),
        (geometry(src, dst, [64, 64], [64, 17]), block(0x1000, 1, 0), 0x286, "OutOfBounds"),
        (plain(), none(), PITCH | 1 << 31, "UnusedField"),
        (plain(), none(), PITCH | 3, "InvalidValue"),
        (plain(), inc(4, 0x240, &[0, 8, 1]), 0x10, "Alignment"),
        (plain(), none(), 0x8 | 1 << 19 | 8 << 14, "InvalidOperation"),
    ];
    for (geometry, setup, word, text) in cases {
        let mut rig = Rig::new();
        rig.channel(1, CE2);
        let error = run(&mut rig, &[geometry, setup, inc(4, 0x300, &[word])]).expect(text);
        assert_eq!(error.except, 41, "{text}");
        assert!(error.text.contains(text), "{} is not {text}", error.text);
    }
}

#[test]
fn barriers_move_nothing() {
    let mut rig = Rig::new();
    rig.channel(1, CE2);
    let words = [geometry(1 << 44, 1 << 44, [0, 0], [0, 0]), inc(4, 0x300, &[0x586])];
    assert!(run(&mut rig, &words).is_none());
    assert_eq!(rig.env.judge.count(), 0);
}

#[test]
fn lines_go_up_with_a_negative_pitch() {
    let mut rig = Rig::new();
    rig.channel(1, CE2);
    rig.write(DATA, b"abcdefgh");
    let minus = -4i32 as u32;
    let words = [geometry(DATA, DATA + 0x104, [4, minus], [4, 2]), inc(4, 0x300, &[PITCH_2D])];
    assert!(run(&mut rig, &words).is_none());
    assert_eq!(rig.read(DATA + 0x100).to_le_bytes(), *b"efghabcd");
}

#[test]
fn masks_keep_what_they_leave_out() {
    let mut rig = Rig::new();
    rig.channel(1, CE2);
    rig.write(DATA, &[0x11; 16]);
    // Of four bytes, write the second (constant B).
    let remap = inc(4, 0x700, &[0, 0xee, 0x6656 | 3 << 24]);
    let words = [geometry(0, DATA, [0, 0], [2, 1]), remap, inc(4, 0x300, &[PITCH | 0x400])];
    assert!(run(&mut rig, &words).is_none());
    assert_eq!(rig.read(DATA), 0x1111_ee11_1111_ee11);
    assert_eq!(rig.read(DATA + 8), 0x1111_1111_1111_1111);
}

#[test]
fn large_copies_are_whole() {
    let mut rig = Rig::new();
    rig.channel(1, CE2);
    let bytes: Vec<u8> = (0..0x3_0005u32).map(|i| ((i * 7) >> 3) as u8).collect();
    rig.write(DATA, &bytes);
    let size = [bytes.len() as u32, 1];
    let words = [geometry(DATA, DATA + 0x10_0003, [0, 0], size), inc(4, 0x300, &[PITCH])];
    assert!(run(&mut rig, &words).is_none());
    let mut back = vec![0; bytes.len()];
    rig.env.mem.read(Phys::vram(DATA + 0x10_0003), &mut back).unwrap();
    assert!(back == bytes);
}

#[test]
fn block_linear_and_back_is_the_same() {
    // Wider than a piece, not a multiple of anything, off origin, in the second slice.
    let (width, height) = (9001u32, 37u32);
    let mut rig = Rig::new();
    rig.channel(1, CE2);
    let bytes: Vec<u8> = (0..width * height).map(|i| ((i * 13) >> 2) as u8).collect();
    rig.write(DATA, &bytes);
    let tiled = DATA + 0x6_0000;
    let shape = [0x1120, 9216, 48, 2, 1];
    let there = [
        geometry(DATA, tiled, [width, 0], [width, height]),
        inc(4, 0x70c, &shape),
        inc(4, 0x74c, &[5, 3]),
        inc(4, 0x300, &[0x286]),
    ];
    assert!(run(&mut rig, &there).is_none());
    let back = [
        geometry(tiled, DATA + 0x18_0000, [0, width], [width, height]),
        inc(4, 0x728, &shape),
        inc(4, 0x73c, &[3 << 16 | 5]),
        inc(4, 0x300, &[0x306]),
    ];
    assert!(run(&mut rig, &back).is_none());
    let mut got = vec![0; bytes.len()];
    rig.env.mem.read(Phys::vram(DATA + 0x18_0000), &mut got).unwrap();
    assert!(got == bytes);
}

#[test]
fn physical_mode_is_privileged() {
    for privileged in [false, true] {
        let mut rig = Rig::new();
        let spec = ChannelSpec { privileged, ..rig.spec(1, CE2) };
        rig.host.create(&mut rig.env, spec).unwrap();
        rig.host.schedule(1, true).unwrap();
        rig.channels.push((1, 0, 0x11_0000));
        rig.write(DATA, &[7; 8]);
        let words = [
            geometry(DATA, DATA + 64, [0, 0], [8, 1]),
            inc(4, 0x260, &[0, 0]),
            inc(4, 0x300, &[PITCH | 3 << 12]),
        ];
        let error = run(&mut rig, &words);
        assert_eq!(error.map(|e| e.except), (!privileged).then_some(32));
        assert_eq!(rig.read(DATA + 64) != 0, privileged);
    }
}
