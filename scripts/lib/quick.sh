# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# The quick driver: what somebody who edits it waits for. The driver is one crate, and Kbuild has
# the compiler begin anew in one code generation unit each time, which takes half a minute. Here the
# same command runs incrementally in many units, whose objects are linked into the one that Kbuild
# goes on from. Such code is as correct but inlined differently, so what is counted, timed or
# shipped is never made this way: scripts/test, bench and soak ask for the exact one.

# quick_wanted FLAVOUR: GHOSTNV_EXACT, set by commands and their children, says no. So does the debug
# kernel: lockdep tells the names of lock classes apart by their addresses, and each unit has its own.
quick_wanted() { [[ $1 == release && -n ${KERNEL_QUICK:-} && -z ${GHOSTNV_EXACT:-} ]]; }

# quick_driver FLAVOUR: KERNEL_OUT becomes the last finished kernel with the driver as it is now.
quick_driver() {
	[[ ! -e $KERNEL_OUT/kernel ]] || return 0
	graft_kernel "$1"
	step "driver build, incremental ($1)" make_quick_driver "$1"
}

make_quick_driver() {
	compile_quickly "$1"
	link_quickly "$1"
	publish_driver "$1"
}

# prime_quick FLAVOUR: compiles once, so that the first edit is quick too.
prime_quick() {
	step "driver build, for edits to come ($1)" compile_quickly "$1"
}

# saved_command FLAVOUR SUFFIX: what Kbuild ran last for the driver's object, "rustc … ; objtool …",
# or for its module.
saved_command() {
	sed -n '1s/^savedcmd_[^ ]* := //p' "$(kernel_work "$1")/$(kernel_build "$1")/$DRIVER_DIR/.ghostnv$2.cmd"
}

# compile_quickly FLAVOUR: one object a unit below quick/obj.
compile_quickly() {
	local quick rustc
	quick=$(kernel_work "$1")/quick
	rustc=$(saved_command "$1" .o | sed -e 's/ *;.*//' -e 's| --out-dir [^ ]*| --out-dir /work/quick/obj|' \
		-e 's/ --emit=dep-info=[^ ]*//' -e 's/ --emit=obj=[^ ]*/ --emit=obj/' \
		-e 's| -Ccodegen-units=1 | -Ccodegen-units=64 -Cincremental=/work/quick/incremental |')
	[[ $rustc == *-Cincremental=*--emit=obj\ * ]] || { echo "unknown form of the driver's command: $rustc" && return 1; }
	rm -rf "$quick/obj" && mkdir -p "$quick/obj"
	in_kernel_tree "$1" sh -c "cd /work/$(kernel_build "$1") && RUSTC_BOOTSTRAP=1 $rustc"
}

# link_quickly FLAVOUR: the units' objects become Kbuild's, which is then newer than its sources; that
# becomes the module. Kbuild looks at half the tree before it does that, so its last two commands are
# repeated here; when modpost finds that what it writes about the module has changed, all is left to
# Kbuild.
link_quickly() {
	local build objtool ld
	build=$(kernel_build "$1")
	objtool=$(saved_command "$1" .o | sed -n 's/^[^;]*; *//p' | sed 's/ --module / --link --module /')
	ld=$(saved_command "$1" .ko)
	touch "$(kernel_work "$1")/quick/placed"
	in_kernel_tree "$1" sh -ec "cd /work/$build
		ld.lld-19 -r -o $DRIVER_DIR/ghostnv.o /work/quick/obj/*.o
		${objtool:-true}
		echo $DRIVER_DIR/ghostnv.o >/work/quick/modules.order
		scripts/mod/modpost -M -E -n -o /work/quick/symvers -T /work/quick/modules.order vmlinux.o
		if [ $DRIVER_DIR/ghostnv.mod.o -nt $DRIVER_DIR/ghostnv.mod.c ]; then ${ld:-false}
		else make -C /work/src O=/work/$build LLVM=-19 -j$JOBS $DRIVER_DIR/ghostnv.ko; fi"
}

# drop_quick FLAVOUR: the build directory has no object that was made quickly.
drop_quick() {
	local work
	work=$(kernel_work "$1")
	[[ -e $work/quick/placed ]] || return 0
	rm -f "$work/$(kernel_build "$1")/$DRIVER_DIR"/ghostnv.{o,ko} "$work/quick/placed"
}
