# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# Sets up what a command needs and nothing else.

setup_for_vm() {
	local flavour=$1 gpu=$2
	TOOLS_ROOT=$CACHE/root/tools
	GUEST_ROOT=$CACHE/root/guest
	KERNEL_OUT=$CACHE/kernel/out/$flavour
	NOVA_FIRMWARE=
	[[ ! -d $CACHE/firmware/nova ]] || NOVA_FIRMWARE=$CACHE/firmware/nova
	GPU_BIN=${GHOSTNV_GPU_BIN:-}
	if [[ $gpu == 1 && -z $GPU_BIN ]]; then
		GPU_BIN=${CARGO_TARGET_DIR:-$TOOLS_DIR/target}/release/ghostnv-gpu
		[[ -x $GPU_BIN ]] || die "no model yet: cargo build --release in $TOOLS_DIR, or set GHOSTNV_GPU_BIN"
	fi
	make_initrd
}

# The initramfs: busybox and one script.
make_initrd() {
	local script=$TOOLS_DIR/guest/initramfs-init key work
	key=$(cat "$TOOLS_ROOT/usr/bin/busybox" "$script" | hash_of)
	INITRD=$CACHE/kernel/initrd-$key
	[[ ! -e $INITRD ]] || return 0
	work=$(mktemp -d "$CACHE/kernel/initrd.XXXXXX")
	mkdir -p "$work/root"/{bin,dev,proc,sys}
	cp "$TOOLS_ROOT/usr/bin/busybox" "$work/root/bin/"
	cp "$script" "$work/root/init"
	mknod -m 600 "$work/root/dev/console" c 5 1
	(cd "$work/root" && find . | "$work/root/bin/busybox" cpio -o -H newc | gzip -1) >"$work/initrd" 2>/dev/null
	mv "$work/initrd" "$INITRD"
	rm -rf "$work"
}
