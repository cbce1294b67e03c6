// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One vector: what was pushed, and what memory held afterwards. The format is described in the
//! vectors' own README.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde::Deserialize;

use crate::chip::{Arch, Chip};

/// Bytes of `src` and `dst`.
pub const BUFFER: usize = 64 << 10;
/// Bytes of `aux`.
pub const AUX: usize = 4 << 10;
/// Bytes of `aux` that are compared.
const AUX_COMPARED: usize = 256;
/// What `dst` is filled with.
const DST_FILL: u8 = 0xcd;

/// An argument of a method.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Arg {
    /// A word.
    Word(u32),
    /// A class by its role.
    Class(String),
    /// Half of an address: buffer, offset, "hi" or "lo".
    Address(String, u64, String),
}

/// A method: form, subchannel, byte address, arguments.
#[derive(Debug, Deserialize)]
pub struct Push(pub String, pub u32, pub u32, pub Vec<Arg>);

#[derive(Debug, Deserialize)]
struct Expect {
    dst_len: usize,
    dst_zlib_b64: String,
    aux: String,
}

/// A vector.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// `copy` or `compute`.
    pub channel: String,
    /// Where the buffers lie: `vram` or `host`.
    #[serde(rename = "where")]
    pub placement: String,
    /// Methods, in order.
    pub push: Vec<Push>,
    #[serde(default)]
    aux_init: String,
    #[serde(default)]
    mask_aux: Vec<(usize, usize)>,
    expect: Expect,
}

/// Reads a file of vectors, gzip or plain.
pub fn load(path: &Path) -> anyhow::Result<Vec<Case>> {
    let file = File::open(path).context("open")?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut cases = Vec::new();
    for (i, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.with_context(|| format!("line {}", i + 1))?;
        if !line.trim().is_empty() {
            cases.push(serde_json::from_str(&line).with_context(|| format!("line {}", i + 1))?);
        }
    }
    Ok(cases)
}

/// `src` before and after.
pub fn src() -> Vec<u8> {
    (0..BUFFER as u32 / 4)
        .flat_map(|i| [(4 * i) as u8, ((4 * i) >> 8) as u8, 0x5a, (i >> 14 & 3) as u8])
        .collect()
}

/// `dst` before.
pub fn dst() -> Vec<u8> {
    vec![DST_FILL; BUFFER]
}

impl Case {
    /// `aux` before.
    pub fn aux(&self) -> anyhow::Result<Vec<u8>> {
        let mut aux = unhex(&self.aux_init).context("aux_init")?;
        anyhow::ensure!(aux.len() <= AUX, "aux_init is too long");
        aux.resize(AUX, 0);
        Ok(aux)
    }

    /// How memory differs from what silicon left, if it does.
    pub fn compare(&self, src: &[u8], dst: &[u8], aux: &[u8]) -> anyhow::Result<Option<String>> {
        let mut want = Vec::new();
        let packed = STANDARD.decode(&self.expect.dst_zlib_b64).context("dst_zlib_b64")?;
        let limit = BUFFER as u64 + 1;
        ZlibDecoder::new(packed.as_slice()).take(limit).read_to_end(&mut want).context("dst")?;
        anyhow::ensure!(want.len() == self.expect.dst_len && want.len() <= BUFFER, "dst_len");
        want.resize(BUFFER, DST_FILL);
        let want_aux = unhex(&self.expect.aux).context("aux")?;
        let mut have_aux = aux.get(..AUX_COMPARED.min(want_aux.len())).unwrap_or(aux).to_vec();
        for &(from, to) in &self.mask_aux {
            let to = to.min(want_aux.len());
            if let (Some(have), Some(want)) = (have_aux.get_mut(from..to), want_aux.get(from..to)) {
                have.copy_from_slice(want);
            }
        }
        Ok(difference("src", src, &self::src())
            .or_else(|| difference("dst", dst, &want))
            .or_else(|| difference("aux", &have_aux, &want_aux)))
    }

    /// Why a chip's classes cannot execute this vector, if they cannot.
    pub fn missing_on(&self, chip: &Chip) -> Option<&'static str> {
        if chip.arch >= Arch::Ampere {
            return None;
        }
        self.push.iter().find_map(|p| p.missing_on_turing(self.channel == "compute"))
    }
}

impl Push {
    fn missing_on_turing(&self, graphics: bool) -> Option<&'static str> {
        let Push(form, subch, first, args) = self;
        let copy = !graphics || *subch == 4;
        args.iter().enumerate().find_map(|(i, arg)| {
            let step = match form.as_str() {
                "inc" => i,
                "1inc" => i.min(1),
                _ => 0,
            };
            let word = if let Arg::Word(w) = arg { *w } else { 0 };
            match first.wrapping_add(4 * step as u32) {
                0x21c..=0x224 if copy => Some("c5b5 has no monitored fence"),
                0x24c if copy => Some("c5b5 has no 64-bit semaphore payload"),
                0x300 if copy && word >> 27 & 1 != 0 => {
                    Some("c5b5 has no 64-bit semaphore payload")
                }
                0x300 if copy && word >> 19 & 1 != 0 && matches!(word >> 14 & 0xf, 0xb | 0xc) => {
                    Some("c5b5 has no floating-point minimum and maximum")
                }
                0x158..=0x168 if !copy => Some("c5c0 has no REPORT_SEMAPHORE_EXECUTE"),
                _ => None,
            }
        })
    }
}

/// The first difference of two buffers, in words a person can use.
fn difference(name: &str, have: &[u8], want: &[u8]) -> Option<String> {
    let at = have
        .iter()
        .zip(want)
        .position(|(a, b)| a != b)
        .or_else(|| (have.len() != want.len()).then(|| have.len().min(want.len())))?;
    let count = have.iter().zip(want).filter(|(a, b)| a != b).count();
    let show = |b: &[u8]| {
        b.iter().skip(at).take(8).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
    };
    let (have, want) = (show(have), show(want));
    Some(format!("{name}+{at:#x} is {have}, silicon has {want}; {count} bytes differ"))
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(text.len() % 2 == 0 && text.is_ascii(), "not hex");
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).context("not hex"))
        .collect()
}
