// SPDX-License-Identifier: GPL-2.0
// in: vm/bind.rs
//
// A bind is given up once and not run after that; what it took out is freed once; sparse regions that
// are kept change no more.

fn run_later(maps: &Maps<'_>, mut bind: Bind) {
    let (changes, ran) = maps.run_later(&mut bind);
    maps.release(changes, ran.arrived);
    maps.abandon(bind);
}

fn run_after_it_was_given_up(maps: &Maps<'_>, mut bind: Bind) {
    maps.abandon(bind);
    let _ = maps.run_later(&mut bind); //~ E0382
}

fn given_up_twice(maps: &Maps<'_>, bind: Bind) {
    maps.abandon(bind);
    maps.abandon(bind); //~ E0382
}

fn freed_twice(maps: &Maps<'_>, changes: Changes<Table>) {
    maps.release(changes, Ok(()));
    maps.release(changes, Ok(())); //~ E0382
}

fn kept(mut regions: RegionsEdit<'_>) -> Result {
    regions.insert(0..4096)?;
    regions.keep();
    Ok(())
}

fn changed_after_they_were_kept(mut regions: RegionsEdit<'_>) -> Result {
    regions.keep();
    regions.insert(0..4096) //~ E0382
}

fn outliving_the_device<'bound>(
    vm: kernel::sync::Arc<crate::vm::Vm<'bound>>,
) -> kernel::sync::Arc<crate::vm::Vm<'static>> {
    vm //~ lifetime
}
