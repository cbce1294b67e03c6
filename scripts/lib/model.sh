# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# The emulated GPU and the test programs (cargo, with the tools root's own compiler), and the
# firmware in the form that nova-core wants. Finished programs are kept by the hash of their
# sources, so a fresh clone of the same sources builds nothing.

# setup_model: MODEL_BIN is the directory of the finished programs.
setup_model() {
	MODEL_BIN=$CACHE/model/bin-$(model_key)
	[[ -e $MODEL_BIN/.complete ]] || with_lock model build_model
	touch "$MODEL_BIN"
}

model_key() {
	tree_hash "$TOOLS_DIR" ! -path './target/*' ! -path '*/fuzz/*' \
		\( -name '*.rs' -o -name '*.toml' -o -name Cargo.lock \) ! -path './allow/*'
}

build_model() {
	local tmp=$MODEL_BIN.tmp
	[[ ! -e $MODEL_BIN/.complete ]] || return 0
	step "model and clients (cargo)" cargo_in_root build --release --locked --workspace
	rm -rf "$tmp" "$MODEL_BIN" && mkdir -p "$tmp"
	find "$CACHE/model/target/release" -maxdepth 1 -type f -executable \( ! -name '*.so' -o -name 'libghostnv_*.so' \) -exec cp -t "$tmp" {} +
	touch "$tmp/.complete"
	mv -T "$tmp" "$MODEL_BIN"
}

# cargo_in_root ARGS…: in the workspace of the emulated GPU, for one clone at a time. Cargo goes by
# time stamps and by paths within the workspace, so it would take another clone's newer results for
# this one's. (Not with_lock: some callers stand before "&&".)
cargo_in_root() (
	inside=/work/tree-$(hash_of <<<"$REPO") stamp=$CACHE/model/target/.clone
	mkdir -p "$CACHE"/model/{cargo,target}
	exec 9>"$CACHE/lock/cargo"
	flock 9
	if [[ ! -e $stamp || $(<"$stamp") != "$REPO" ]]; then
		rm -rf "$CACHE"/model/target/*/.fingerprint/ghostnv*
		echo "$REPO" >"$stamp"
	fi
	[[ ! -e $HOME/.cargo/config.toml ]] || cp "$HOME/.cargo/config.toml" "$CACHE/model/cargo/config.toml"
	CARGO_HOME_INSIDE=/work/cargo unshare --mount bash "$REPO/scripts/lib/chroot.sh" "$TOOLS_ROOT" \
		"$inside/tools/testing/ghostnv" "$REPO:$inside" "$CACHE/model/cargo:/work/cargo" \
		"$CACHE/model/target:/work/target" -- cargo "$@"
)

# setup_nova_firmware: NOVA_FIRMWARE holds nvidia/CHIP/gsp/*.tlv.
setup_nova_firmware() {
	NOVA_FIRMWARE=$CACHE/firmware/nova-$(nova_firmware_key)
	[[ -d $NOVA_FIRMWARE ]] || with_lock firmware build_nova_firmware
}

# nova_firmware_key: the files it is made from, and all that decides what is made of them.
nova_firmware_key() {
	{
		echo "${GUEST_ROOT##*/}"
		tree_hash "$TOOLS_DIR/gpu/src/firmware" ! -name tests.rs
		tree_hash "$TOOLS_DIR/gpu/src/chip"
	} | hash_of
}

build_nova_firmware() {
	[[ ! -d $NOVA_FIRMWARE ]] || return 0
	rm -rf "$NOVA_FIRMWARE.tmp" && mkdir -p "$NOVA_FIRMWARE.tmp"
	step "firmware for nova-core" run_tool "$GPU_BIN" firmware nova \
		--out "$NOVA_FIRMWARE.tmp" "$GUEST_ROOT/usr/lib/firmware/nvidia"
	mv -T "$NOVA_FIRMWARE.tmp" "$NOVA_FIRMWARE"
}
