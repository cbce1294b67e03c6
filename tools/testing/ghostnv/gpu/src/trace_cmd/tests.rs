// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the trace command on a small trace and on damaged ones.

use super::*;
use crate::env::trace::{MAGIC, Trace};

/// A trace with two markers around one register write, an RPC and a violation.
fn sample() -> (tempfile::Dir, PathBuf) {
    let dir = tempfile::Dir::new();
    let path = dir.0.join("trace");
    let mut t = Trace::to_file(&path).unwrap();
    t.record(10, Kind::RegRead, 4, 0, 0x1720_00a1, 0);
    t.marker(20, 1, 1000, 0);
    t.record(30, Kind::RegWrite, 4, 0x11_0c00, 0, 0);
    t.record(40, Kind::RpcIn, 0, 76, 0x2080_0a5c, 7);
    t.violation(45, "tlb-stale", "one\ntwo", false);
    t.violation(46, "bar-fault", "known", true);
    t.marker(50, 2, 1500, 8);
    t.record(60, Kind::Doorbell, 4, 3, 0, 0);
    t.finish(70, 1600, 8);
    (dir, path)
}

/// A directory that is removed with its value.
mod tempfile {
    pub struct Dir(pub std::path::PathBuf);

    impl Dir {
        pub fn new() -> Self {
            use std::sync::atomic::{AtomicU32, Ordering};
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let dir = std::env::temp_dir().join(format!("gnvtrace-{}-{n}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn part(from: Option<u32>, to: Option<u32>) -> Part {
    Part { from, to }
}

#[test]
fn sums_between_markers() {
    let (_dir, path) = sample();
    let bytes = std::fs::read(path).unwrap();
    let all = sums(&bytes[..], &part(None, None), false).unwrap();
    assert_eq!((all.len(), all[0].mmio.reads, all[0].mmio.writes, all[0].doorbells), (1, 1, 1, 1));
    assert_eq!(all[0].dma_bytes_read, 1600);
    let mid = sums(&bytes[..], &part(Some(1), Some(2)), false).unwrap().remove(0);
    assert_eq!((mid.ns, mid.mmio.reads, mid.mmio.writes, mid.doorbells), (30, 0, 1, 0));
    assert_eq!((mid.dma_bytes_read, mid.dma_bytes_written), (500, 8));
    assert_eq!(mid.registers["GSP_QUEUE_HEAD(0)"], sum::Accesses { reads: 0, writes: 1 });
    assert_eq!(mid.rpcs_to_gsp["GSP_RM_CONTROL INTERNAL_INTR_GET_KERNEL_TABLE 0x20800a5c"], 1);
    assert_eq!(mid.violations["tlb-stale"], 1);
    assert_eq!((mid.violations.len(), mid.allowed["bar-fault"]), (1, 1));
    let each = sums(&bytes[..], &part(None, None), true).unwrap();
    let edges: Vec<_> = each.iter().map(|s| (s.from, s.to, s.mmio.writes)).collect();
    assert_eq!(edges, [(None, Some(1), 0), (Some(1), Some(2), 1), (Some(2), None, 0)]);
    assert!(sums(&bytes[..], &part(Some(9), None), false).is_err());
}

#[test]
fn show_filters_and_escapes() {
    let (_dir, path) = sample();
    let args = |kind: &[&str], reg: Option<&str>| ShowArgs {
        file: path.clone(),
        part: part(None, None),
        kind: kind.iter().map(|k| kinds(k).unwrap()).collect(),
        reg: reg.map(Into::into),
        limit: None,
    };
    let run = |args| {
        let mut out = Vec::new();
        show::show(&args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(run(args(&["reg"], None)).lines().count(), 2);
    assert!(run(args(&[], Some("queue_head"))).ends_with("W4 110c00 GSP_QUEUE_HEAD(0) <- 0x0\n"));
    assert_eq!(run(args(&[], Some("0-ff"))).lines().count(), 1);
    assert!(run(args(&["text"], None)).contains("VIOLATION tlb-stale: one\\ntwo\n"));
    assert!(kinds("nonsense").is_err());
}

#[test]
fn damaged_traces_end_or_are_refused() {
    let (_dir, path) = sample();
    let whole = std::fs::read(path).unwrap();
    assert!(sums(&b"GNVTRC99"[..], &part(None, None), false).is_err());
    let cut = &whole[..whole.len() - 5];
    assert_eq!(sums(cut, &part(None, None), false).unwrap()[0].doorbells, 1);
    let mut long = whole[..8 + 32].to_vec();
    long[16] = Kind::Text as u8;
    long[8 + 23] = 0xff;
    assert!(sums(&long[..], &part(None, None), false).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(0u8.., 0..512)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(body);
        let _ = sums(&bytes[..], &part(None, None), true);
    }
}
