// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loading and starting, as drivers do it.

use super::*;
use crate::env::mem::Phys;

fn env() -> Env {
    Env::new(1 << 20).expect("an environment")
}

fn chip(name: &str) -> &'static Chip {
    Chip::find(name).expect("a chip")
}

/// Sets the DMA up for a physical target.
fn prepare(f: &mut Falcon, env: &mut Env, target: u32) {
    for (off, value) in [(0x624, 0x80), (0x10c, 0), (0x600, 0x4 | target)] {
        assert_eq!(f.write(env, off, value), None);
    }
}

#[test]
fn dma_lands_code_with_its_tag_and_data() {
    let (mut env, mut f) = (env(), Falcon::gsp(chip("ga102")));
    let code: Vec<u8> = (0..=255).collect();
    env.mem.write(Phys::vram(0x1300), &code).expect("in VRAM");
    prepare(&mut f, &mut env, 0);
    for (off, value) in [(0x110, 0x10), (0x128, 0), (0x114, 0), (0x11c, 0x300), (0x118, 0x614)] {
        f.write(&mut env, off, value);
    }
    assert_eq!(f.read(0x118), Some(0x616));
    assert_eq!(f.memory.code(0x300, 256, true).as_deref(), Some(&code[..]));
    assert_eq!(f.memory.code(0x300, 256, false), None);
    assert_eq!(f.memory.lookup(0), None);

    for (off, value) in [(0x110, 0x13), (0x114, 0x100), (0x11c, 0), (0x118, 0x600)] {
        f.write(&mut env, off, value);
    }
    assert_eq!(f.memory.data(0x100, 256), Some(&code[..]));
    assert_eq!(env.judge.count(), 0);
}

#[test]
fn dma_that_cannot_work_is_caught() {
    // FBIF_CTL, TRANSCFG, base, memory offset, command.
    let cases = [
        (0x00, 0x4, 0x10, 0, 0x600),       // physical not allowed
        (0x80, 0x0, 0x10, 0, 0x600),       // virtual without a context
        (0x80, 0x7, 0x10, 0, 0x600),       // no such target
        (0x80, 0x5, 0x10, 0, 0x600),       // not mapped
        (0x80, 0x4, 0x1000, 0, 0x600),     // past VRAM
        (0x80, 0x4, 0x10, 0x10000, 0x600), // past DMEM
        (0x80, 0x4, 0x10, 0x10, 0x600),    // unaligned
        (0x80, 0x4, 0x10, 0, 0x700),       // bad size
        (0x80, 0x4, 0x10, 0, 0x630),       // code out
    ];
    for (n, (fbif, transcfg, base, to, command)) in cases.into_iter().enumerate() {
        let (mut env, mut f) = (env(), Falcon::sec2(chip("ga102")));
        for (off, value) in
            [(0x624, fbif), (0x600, transcfg), (0x110, base), (0x114, to), (0x118, command)]
        {
            f.write(&mut env, off, value);
        }
        assert!(env.judge.caught("falcon-dma"), "case {n}");
        assert!(!f.memory.has_code(), "case {n}");
    }
}

#[test]
fn pio_lands_on_turing_only() {
    let (mut env, mut f) = (env(), Falcon::gsp(chip("tu102")));
    f.write(&mut env, 0x180, 0x0100_fd00);
    f.write(&mut env, 0x188, 0xfd);
    for word in 0..64 {
        f.write(&mut env, 0x184, word);
    }
    let code = f.memory.code(0xfd00, 256, false).expect("loaded");
    assert_eq!(code[4..8], [1, 0, 0, 0]);
    f.write(&mut env, 0x1c0, 0x0100_0010);
    f.write(&mut env, 0x1c4, 0x1234);
    f.write(&mut env, 0x1c4, 0x5678);
    f.write(&mut env, 0x1c0, 0x0200_0014);
    assert_eq!(f.read(0x1c4), Some(0x5678));
    assert_eq!(env.judge.count(), 0);

    let mut f = Falcon::gsp(chip("ga102"));
    f.write(&mut env, 0x180, 0x0100_0000);
    assert!(env.judge.caught("falcon-pio"));
}

#[test]
fn reset_keeps_the_mailboxes_only() {
    let (mut env, mut f) = (env(), Falcon::gsp(chip("ga102")));
    f.write(&mut env, 0x040, 7);
    f.write(&mut env, 0x080, 7);
    assert!(f.memory.load_code(0, 0, true, &[1; 256]));
    f.start_riscv();
    assert_eq!(f.read(0x1388), Some(0x80));
    assert!(f.post_swgen0());
    assert_eq!(f.write(&mut env, 0x3c0, 1), Some(Event::Reset));
    assert_eq!(f.write(&mut env, 0x3c0, 0), None);
    assert_eq!((f.read(0x040), f.read(0x080)), (Some(7), Some(0)));
    assert_eq!((f.read(0x100), f.read(0x1388)), (Some(0x10), Some(0x10)));
    assert!(!f.memory.has_code() && !f.post_swgen0());
}

#[test]
fn the_falcon_starts_only_when_it_is_selected() {
    let (mut env, mut f) = (env(), Falcon::gsp(chip("ga102")));
    f.write(&mut env, 0x1668, 0x111);
    assert_eq!(f.write(&mut env, 0x100, 2), None);
    assert!(env.judge.caught("falcon-start"));
    f.write(&mut env, 0x1668, 0);
    assert_eq!(f.read(0x1668), Some(1));
    assert_eq!(f.write(&mut env, 0x100, 2), Some(Event::Start));
    assert_eq!(f.read(0x100), Some(0));
    f.halt();
    assert_eq!(f.read(0x100), Some(0x10));
}
