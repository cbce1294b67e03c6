# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# Sets up what a command needs and nothing else. Everything is kept in the cache by key, so this
# is a few hashes when nothing has changed.

. "$REPO/scripts/lib/roots.sh"
. "$REPO/scripts/lib/kernel.sh"
. "$REPO/scripts/lib/quick.sh"
. "$REPO/scripts/lib/model.sh"

# setup_for_vm FLAVOUR GPU: the roots, a kernel, and with GPU=1 the model.
setup_for_vm() {
	local flavour=$1 gpu=$2
	setup_roots tools guest
	setup_kernel "$flavour"
	GPU_BIN=${GHOSTNV_GPU_BIN:-} NOVA_FIRMWARE=
	if [[ $gpu == 1 ]]; then
		if [[ -z $GPU_BIN ]]; then
			setup_model
			GPU_BIN=$MODEL_BIN/ghostnv-gpu
		fi
		[[ -x $GPU_BIN ]] || die "GHOSTNV_GPU_BIN names no program: $GPU_BIN"
		setup_nova_firmware
	fi
	setup_initrd
	[[ $flavour != builtin* ]] || setup_firmware_initrd
}

# run_tool PROGRAM ARGS…: a program built in, or of, the tools root, run on the host through that
# root's own loader: no chroot, so that paths mean the same to everybody.
run_tool() {
	local lib=$TOOLS_ROOT/usr/lib/x86_64-linux-gnu
	QEMU_MODULE_DIR=$lib/qemu "$TOOLS_ROOT/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$@"
}

# setup_initrd: the initramfs is busybox and one script.
setup_initrd() {
	local script=$TOOLS_DIR/guest/initramfs-init
	INITRD=$CACHE/kernel/initrd-$(cat "$TOOLS_ROOT/usr/bin/busybox" "$script" | hash_of)
	[[ -e $INITRD ]] || with_lock initrd build_initrd "$script"
}

build_initrd() {
	[[ -e $INITRD ]] || step "guest initramfs" write_initrd "$1"
}

write_initrd() {
	local work=$CACHE/kernel/initrd.tmp
	rm -rf "$work" && mkdir -p "$work/root"/{bin,dev,proc,sys}
	cp "$TOOLS_ROOT/usr/bin/busybox" "$work/root/bin/"
	cp "$1" "$work/root/init"
	mknod -m 600 "$work/root/dev/console" c 5 1
	(cd "$work/root" && find . | "$work/root/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"
	mv "$work/initrd" "$INITRD"
	rm -rf "$work"
}

# setup_firmware_initrd: INITRD also holds the firmware, for a driver that probes before there is a
# root. The kernel unpacks one archive after the other.
setup_firmware_initrd() {
	local base=$INITRD
	INITRD=$CACHE/kernel/initrd-firmware-$({ echo "${base##*/} ${GUEST_ROOT##*/}" && declare -f write_firmware_initrd; } | hash_of)
	[[ -e $INITRD ]] || with_lock initrd build_firmware_initrd "$base"
}

build_firmware_initrd() {
	[[ -e $INITRD ]] || step "guest initramfs with firmware" write_firmware_initrd "$1"
}

write_firmware_initrd() {
	(cd "$GUEST_ROOT/usr" && {
		find lib -maxdepth 1 -name lib
		find lib -maxdepth 2 -path lib/firmware
		find lib/firmware/nvidia -type d
		find lib/firmware/nvidia -name '*570.144*' -o -name 'bootloader-535*'
	} | "$TOOLS_ROOT/usr/bin/busybox" cpio -o -H newc 2>/dev/null) >"$INITRD.more"
	# This one first, as its length is what the next one's place must be a multiple of.
	cat "$INITRD.more" "$1" >"$INITRD.tmp"
	rm "$INITRD.more"
	mv "$INITRD.tmp" "$INITRD"
}
