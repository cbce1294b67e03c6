// SPDX-License-Identifier: GPL-2.0
// in: gsp/boot.rs
//
// The stages of a boot come in their order, each of them once.

fn in_order(boot: Boot<'_, Prepared>) -> Result<Gsp<'_>> {
    boot.protect()?.arm()?.start()?.finish()
}

fn a_stage_left_out(boot: Boot<'_, Prepared>) {
    let _ = boot.arm(); //~ E0599
}

fn booter_before_the_gsp_is_reset(boot: Boot<'_, Protected>) {
    let _ = boot.start(); //~ E0599
}

fn a_firmware_that_was_not_started(boot: Boot<'_, Armed>) {
    let _ = boot.finish(); //~ E0599
}

fn a_stage_twice(boot: Boot<'_, Prepared>) -> Result {
    let _ = boot.protect()?;
    let _ = boot.protect()?; //~ E0382
    Ok(())
}

fn no_way_back(boot: Boot<'_, Started>) {
    let _ = boot.protect(); //~ E0599
}

fn outliving_the_device<'bound>(gsp: Gsp<'bound>) -> Gsp<'static> {
    gsp //~ lifetime
}
