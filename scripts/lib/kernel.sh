# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# The guest kernel: pristine source once per version, one grafted copy beside it, a build
# directory per flavour, finished kernels by key.
#
# Inside the tools root the grafted copy is always /work/src and a build /work/build-FLAVOUR, so
# that builds stay incremental and their results do not depend on where the cache is.

KERNEL_WORK=$CACHE/kernel/work

# kernel_fragments FLAVOUR: the configuration's parts, later ones win.
kernel_fragments() {
	cat "$TOOLS_DIR/kernel/guest.config"
	[[ $1 == release ]] || cat "$TOOLS_DIR/kernel/$1.config"
}

# kernel_key FLAVOUR: what the finished kernel is made of.
kernel_key() {
	{
		kernel_source_version
		kernel_fragments "$1"
		"$REPO/scripts/graft" --key
	} | hash_of
}

kernel_source_version() {
	awk -v p="linux-source-$KERNEL_MINOR" '$1 == "Package:" { hit = $2 == p } hit && $1 == "Version:" { print $2; exit }' \
		"$TOOLS_ROOT/var/lib/dpkg/status"
}

# setup_kernel FLAVOUR: KERNEL_OUT is the finished kernel's directory: kernel, modules/, config.
setup_kernel() {
	local flavour=$1
	KERNEL_OUT=$CACHE/kernel/out/$flavour-$(kernel_key "$flavour")
	[[ -e $KERNEL_OUT/kernel ]] || with_lock kernel build_kernel "$flavour"
	touch "$KERNEL_OUT"
}

build_kernel() {
	local flavour=$1
	[[ ! -e $KERNEL_OUT/kernel ]] || return 0
	graft_kernel
	mkdir -p "$KERNEL_WORK/build-$flavour"
	kernel_fragments "$flavour" >"$KERNEL_WORK/build-$flavour.fragment"
	step "kernel configuration ($flavour)" configure_kernel "$flavour"
	step "kernel build ($flavour)" make_kernel "$flavour"
	step "kernel install ($flavour)" publish_kernel "$flavour"
}

# graft_kernel: the working copy carries what this clone holds.
graft_kernel() {
	local version
	version=$(kernel_source_version)
	[[ -n $version ]] || die "the tools root holds no linux-source-$KERNEL_MINOR: make clean-cache and start again"
	step "kernel source $version" unpack_kernel "$version"
	step "kernel graft" "$REPO/scripts/graft" "$KERNEL_WORK/src"
}

# in_kernel_tree COMMAND…: inside the tools root, in the grafted source.
in_kernel_tree() {
	unshare --mount bash "$REPO/scripts/lib/chroot.sh" "$TOOLS_ROOT" /work/src "$KERNEL_WORK:/work" -- "$@"
}

unpack_kernel() {
	local version=$1 pristine tmp found
	pristine=$CACHE/kernel/src-$version
	if [[ ! -d $pristine ]]; then
		tmp=$CACHE/kernel/unpack.tmp
		rm -rf "$tmp" && mkdir -p "$tmp"
		tar -xf "$TOOLS_ROOT/usr/src/linux-source-$KERNEL_MINOR.tar.xz" -C "$tmp" --strip-components=1
		found=$(awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3; exit }' "$tmp/Makefile")
		[[ $found == "$KERNEL_MINOR" ]] || { echo "kernel $found is not tested yet, only $KERNEL_MINOR is" && return 1; }
		mv "$tmp" "$pristine"
		ln -sfn "${pristine##*/}" "$CACHE/kernel/src"
	fi
	# Hard links keep the time stamps, and the graft never writes through one.
	if [[ ! -e $KERNEL_WORK/src.version || $(<"$KERNEL_WORK/src.version") != "$version" ]]; then
		rm -rf "$KERNEL_WORK/src" "$KERNEL_WORK/src.tmp" && mkdir -p "$KERNEL_WORK"
		cp -al "$pristine" "$KERNEL_WORK/src.tmp"
		mv "$KERNEL_WORK/src.tmp" "$KERNEL_WORK/src"
		echo "$version" >"$KERNEL_WORK/src.version"
	fi
}

# Configuring takes seconds, so only a changed fragment or Kconfig file does it.
configure_kernel() {
	local build=$KERNEL_WORK/build-$1 key
	key=$({ cat "$build.fragment" && find "$KERNEL_WORK/src/drivers/gpu/drm/ghostnv" -name Kconfig -exec cat {} + &&
		cat "$REPO"/patches/*.patch; } | hash_of)
	[[ ! -e $build/.config || ! -e $build/.ghostnv || $(<"$build/.ghostnv") != "$key" ]] || return 0
	in_kernel_tree make "O=/work/build-$1" LLVM=-19 "KCONFIG_ALLCONFIG=/work/build-$1.fragment" allnoconfig
	grep -q '^CONFIG_RUST=y' "$build/.config" || { echo "the configuration lost CONFIG_RUST" && return 1; }
	echo "$key" >"$build/.ghostnv"
}

make_kernel() {
	in_kernel_tree make "O=/work/build-$1" LLVM=-19 "-j$JOBS" vmlinux modules
}

# Modules with their index, the kernel and its configuration, complete or not there at all.
publish_kernel() {
	local build=$KERNEL_WORK/build-$1 tmp=$KERNEL_OUT.tmp
	rm -rf "$tmp" "$build/install" && mkdir -p "$tmp"
	in_kernel_tree make "O=/work/build-$1" LLVM=-19 "INSTALL_MOD_PATH=/work/build-$1/install" INSTALL_MOD_STRIP=1 modules_install
	mv "$build/install/lib/modules" "$tmp/modules"
	rm -f "$tmp"/modules/*/{build,source}
	cp "$build/vmlinux" "$tmp/kernel"
	cp "$build/.config" "$tmp/config"
	mv -T "$tmp" "$KERNEL_OUT"
}
