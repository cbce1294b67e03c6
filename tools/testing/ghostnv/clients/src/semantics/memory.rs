// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GEM_NEW when video memory is full.

use anyhow::{Context, ensure};
use rustix::io::Errno;

use super::rig::PLACE;
use super::{Case, Rig, fails};
use crate::uapi::Wait;
use crate::uapi::abi::{DOMAIN_GART, DOMAIN_VRAM};
use crate::uapi::push::Pushbuf;

const PAGE: u64 = 0x1000;
const SIZE: u64 = 0x1_0000;

/// The cases. nouveau makes room by moving what others have.
pub const CASES: &[Case] = &[Case { name: "memory-spills", ghostnv_only: true, run: spills }];

/// What may be elsewhere is in system memory when video memory is full, works there and stays there.
fn spills(rig: &mut Rig) -> anyhow::Result<()> {
    let either = DOMAIN_VRAM | DOMAIN_GART;
    // Now, so that its neighbour needs no page table later.
    let before = rig.client.bo(either, SIZE, PLACE + PAGE)?;
    let place = |bo: &crate::uapi::Bo| rig.client.domain(bo.handle).context("GEM_INFO");
    ensure!(place(&before)? == DOMAIN_VRAM, "with room: in {}", place(&before)?);
    let system = rig.client.told("drm-total-system")?;

    let (mut taken, mut size) = (Vec::new(), 64 << 20);
    while size >= PAGE {
        match rig.client.gem_new(DOMAIN_VRAM, size) {
            Ok(handle) => taken.push(handle),
            Err(e) if e.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) => size /= 2,
            Err(e) => return Err(e).context("GEM_NEW"),
        }
    }
    fails("more video memory", rig.client.gem_new(DOMAIN_VRAM, PAGE), Errno::NOMEM)?;

    let spilled = rig.client.bo(either, SIZE, PLACE + PAGE + SIZE).context("spilled")?;
    ensure!(place(&spilled)? == DOMAIN_GART, "without room: in {}", place(&spilled)?);
    ensure!(spilled.read(0, SIZE as usize)? == vec![0; SIZE as usize], "what others left there");
    spilled.write(0x2000, &[0x77; 256])?;
    let push = Pushbuf::new().copy(spilled.va + 0x2000, spilled.va + 0x8f00, 256);
    let push = rig.stage(&push)?;
    let done = rig.client.syncobj()?;
    rig.client.submit(rig.one.id, &[push], &[], &[Wait::Binary(&done)])?;
    rig.wait("the copy", &done)?;
    ensure!(spilled.read(0x8f00, 256)? == [0x77; 256], "the copy");

    for handle in taken {
        rig.client.gem_close(handle)?;
    }
    let again = rig.client.gem_new(either, SIZE)?;
    let place = |handle| rig.client.domain(handle).context("GEM_INFO");
    ensure!(place(again)? == DOMAIN_VRAM, "with room again: in {}", place(again)?);
    ensure!(place(spilled.handle)? == DOMAIN_GART, "it moved");
    rig.client.unmap(&spilled)?;
    rig.client.close(&spilled)?;
    let last = rig.client.told("drm-total-system")?;
    ensure!(last == system, "not freed: {last:?}, {system:?} before");
    Ok(())
}
