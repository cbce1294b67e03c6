// SPDX-License-Identifier: GPL-2.0
// in: vm.rs
//
// A bind that was prepared is run or given up, once.

fn run_once(maps: &Maps<'_>, bind: Bind) -> Result {
    maps.run_now(bind)
}

fn run_twice(maps: &Maps<'_>, bind: Bind) -> Result {
    maps.run_now(bind)?;
    maps.run_now(bind) //~ E0382
}

fn run_after_it_was_given_up(maps: &Maps<'_>, bind: Bind) -> Result {
    maps.abandon(bind);
    maps.run_now(bind) //~ E0382
}

fn outliving_the_device<'bound>(vm: Arc<Vm<'bound>>) -> Arc<Vm<'static>> {
    vm //~ lifetime
}
