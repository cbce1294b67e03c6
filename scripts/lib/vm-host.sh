#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The host's side of one VM, run by scripts/vm as process 1 of its own process and mount
# namespaces: starts the model and QEMU, passes output on, enforces the time limit. Leaves in the
# run's directory: dmesg, console, model.log, report.json, status.

set -uo pipefail

# The options, as scripts/vm exports them.
: "${run:?}" "${driver:?}" "${chip:?}" "${mem:?}" "${smp:?}" "${strict:?}" "${limit:?}" "${gpu:?}" "${hotplug:?}" "${NOVA_FIRMWARE?}"
: "${vram?}" "${bar1?}" "${doorbell:?}" "${append?}" "${allow?}" "${fault?}" "${trace?}" "${meter?}" "${meter_profile?}" "${meter_cover?}" "${share?}"

# fail TEXT: the VM itself failed; scripts/vm prints it.
fail() {
	echo "$*" >"$run/failure"
	exit 125
}

# Programs of the tools root run on the host through that root's own loader: no chroot, so that
# paths mean the same to everybody. Only for the background: the subshell becomes the program, so
# that a signal reaches it.
tool() {
	local lib=$TOOLS_ROOT/usr/lib/x86_64-linux-gnu
	QEMU_MODULE_DIR=$lib/qemu exec "$TOOLS_ROOT/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$@"
}

# A private tmpfs holds the sockets, pipes and what the guest sees as /run/ghostnv.
lay_out() {
	mount -t tmpfs -o mode=700 ghostnv "$CACHE/vm" || fail "cannot mount a tmpfs: is this a container without CAP_SYS_ADMIN?"
	cd "$CACHE/vm" || exit 125
	mkdir -p host/overlay/usr/lib/{modules,firmware}
	cp "$REPO/tools/testing/ghostnv/guest/init" "$run/config" "$run/argv" host/
	mkdir -p host/overlay/usr/lib/modules
	mount --bind "$KERNEL_OUT/modules" host/overlay/usr/lib/modules
	[[ -z $NOVA_FIRMWARE ]] || mount --bind "$NOVA_FIRMWARE" host/overlay/usr/lib/firmware
}

start_model() {
	local args=(--socket gpu.sock --chip "$chip" --doorbell "$doorbell" --report "$run/report.json" --firmware "$GUEST_ROOT/usr/lib/firmware/nvidia") i
	[[ -z $vram ]] || args+=(--vram "$vram")
	[[ -z $bar1 ]] || args+=(--bar1 "$bar1")
	[[ $strict == 0 ]] || args+=(--strict)
	[[ $hotplug == 0 ]] || args+=(--no-msix)
	while read -r i; do
		[[ -z $i ]] || args+=(--allow "$i")
	done <<<"$allow"
	[[ -z $fault ]] || args+=(--fault "$fault")
	[[ -z $trace ]] || args+=(--trace "$trace")
	tool "$GPU_BIN" serve "${args[@]}" </dev/null >"$run/model.log" 2>&1 &
	model=$!
	for ((i = 0; i < 1000; i++)); do
		[[ ! -S gpu.sock ]] || return 0
		kill -0 $model 2>/dev/null || break
		sleep 0.01
	done
	fail "the emulated GPU did not start: $(tail -n 1 "$run/model.log")"
}

# What the guest may ask of the machine, a word a line through a port of its own. QEMU's monitor
# would let it ask for anything.
serve_requests() {
	local request
	exec 8>monitor.in
	echo '{"execute": "qmp_capabilities"}' >&8
	while read -r request; do
		case $request in
		unplug) echo '{"execute": "device_del", "arguments": {"id": "gpu"}}' >&8 ;;
		esac
	done <requests
}

start_qemu() {
	# Without fast string instructions kernel and libc move words, not bytes: each byte of a
	# `rep stosb` to a BAR would be an access of its own.
	# Sizes of the window reach the guest's init through the control port.
	local resize='' native=''
	[[ $hotplug == 0 ]] || native=' pcie_ports=native'
	[[ ! -p $run/resize ]] || { exec 9<>"$run/resize" && resize=,input-path=$run/resize; }
	# shellcheck disable=SC2054 # QEMU's own commas
	local args=(
		-nodefaults -no-user-config -display none -no-reboot -L "$TOOLS_ROOT/usr/share/qemu"
		-L "$TOOLS_ROOT/usr/share/seabios" -name ghostnv -M "q35,memory-backend=ram" -accel tcg,thread=multi,tb-size=512
		-cpu max,-erms,-fsrm,-fsrs -smp "$smp" -m "$mem" -object "memory-backend-memfd,id=ram,size=${mem}M,share=on"
		-kernel "$KERNEL_OUT/kernel" -initrd "$INITRD"
		-append "console=ttyS0 panic=-1 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 oops=panic$native${append:+ $append}"
		-chardev "file,id=dmesg,path=$run/dmesg" -serial chardev:dmesg
		-device virtio-serial-pci -device virtio-rng-pci
		-chardev "file,id=ctl,path=$run/status$resize" -device virtserialport,chardev=ctl,name=ghostnv.ctl
		-fsdev "local,id=root,path=$GUEST_ROOT,security_model=none,readonly=on,multidevs=remap"
		-device virtio-9p-pci,fsdev=root,mount_tag=root
		-fsdev "local,id=host,path=$PWD/host,security_model=none,readonly=on,multidevs=remap"
		-device virtio-9p-pci,fsdev=host,mount_tag=host
	)
	# The counter wants to know where the kernel's functions are.
	[[ -z $meter ]] || {
		(tool "$TOOLS_ROOT/usr/bin/llvm-nm-19" "$KERNEL_OUT/kernel") >"$run/symbols" || fail "cannot read the kernel's symbols"
		args+=(-plugin "$MODEL_BIN/libghostnv_meter.so,out=$meter,symbols=$run/symbols${meter_profile:+,profile=$meter_profile}${meter_cover:+,cover=$meter_cover}")
	}
	# The host runs the programs that are there: they are the guest's to run, not to write.
	local readonly=''
	[[ $share/ != "$CACHE"/model/* ]] || readonly=,readonly=on
	[[ -z $share ]] || args+=(
		-fsdev "local,id=share,path=$share,security_model=none,multidevs=remap$readonly"
		-device virtio-9p-pci,fsdev=share,mount_tag=share)
	[[ $gpu == 0 ]] || args+=(
		-device pcie-root-port,id=rp0,chassis=1,slot=1
		-device '{"driver":"vfio-user-pci","id":"gpu","socket":{"type":"unix","path":"gpu.sock"},"bus":"rp0"}')
	# The slot's own controls, as a laptop's port has them, not the firmware's.
	[[ $hotplug == 0 ]] || {
		mkfifo monitor.in monitor.out requests
		cat monitor.out >"$run/monitor" &
		serve_requests &
		args+=(
			-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
			-chardev pipe,id=monitor,path=monitor -object monitor-qmp,id=qmp,chardev=monitor
			-chardev file,id=requests,path=requests -device virtserialport,chardev=requests,name=ghostnv.host)
	}
	if grep -q '^TERMINAL=none$' "$run/config"; then
		mkfifo out err
		tee -a "$run/console" <out &
		readers+=($!)
		tee -a "$run/console" <err >&2 &
		readers+=($!)
		args+=(
			-chardev file,id=out,path=out -device virtserialport,chardev=out,name=ghostnv.out
			-chardev file,id=err,path=err -device virtserialport,chardev=err,name=ghostnv.err)
		tool "$TOOLS_ROOT/usr/bin/qemu-system-x86_64" "${args[@]}" </dev/null >"$run/qemu.log" 2>&1 &
	else
		args+=(
			-chardev "stdio,id=tty,signal=off,logfile=$run/console" -device virtconsole,chardev=tty)
		tool "$TOOLS_ROOT/usr/bin/qemu-system-x86_64" "${args[@]}" <&0 2>"$run/qemu.log" &
	fi
	qemu=$!
}

readers=() model='' qemu=''
lay_out
: >"$run/console"
[[ $gpu == 0 ]] || start_model
date +%s.%N >"$run/started"
start_qemu

timer=
if ((limit)); then
	sleep "$limit" &
	timer=$!
	wait -n "$qemu" "$timer"
	if kill -0 "$qemu" 2>/dev/null; then
		echo "no end after $limit s" >"$run/timeout"
		kill -KILL "$qemu"
	fi
fi
wait "$qemu"
code=$?
date +%s.%N >"$run/ended"
if ((${#readers[@]})); then
	# QEMU may have ended before it opened the pipes, and a reader waits for the other end to open.
	while sleep 0.1; do : <>out && : <>err; done &
	opener=$!
	wait "${readers[@]}"
	kill "$opener"
fi

if [[ -n $model ]]; then
	# It ends when QEMU's connection does; nobody waits long for one that does not.
	for i in {1..400}; do
		kill -0 "$model" 2>/dev/null || break
		[[ $i != 60 ]] || kill "$model"
		sleep 0.05
	done
	kill -KILL "$model" 2>/dev/null
	wait "$model"
	echo $? >"$run/model.status"
fi

[[ ! -e $run/timeout ]] || exit 124
[[ -s $run/status ]] || fail "QEMU ended with $code before the guest was up: $(tail -n 1 "$run/qemu.log")"
status=$(sed -n 's/^exit //p' "$run/status" | tail -n 1)
[[ -n $status ]] || fail "the guest ended without finishing the command"
! grep -q '^fail ' "$run/status" || fail "$(sed -n 's/^fail //p' "$run/status" | tail -n 1)"
exit "$status"
