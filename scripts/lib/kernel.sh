# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# The guest kernel: pristine source once per version; for each flavour a grafted copy (hard links)
# and a build directory; finished kernels by key.
#
# Inside the tools root the grafted copy is always /work/src and a build /work/build-FLAVOUR, so
# that builds stay incremental and their results do not depend on where the cache is. The builtin
# flavours differ from release and debug in one driver: they start as copies of those builds, at the
# same paths.

DRIVER_DIR=drivers/gpu/drm/ghostnv

# kernel_work FLAVOUR: the directory that holds src/ and build-FLAVOUR/.
kernel_work() { echo "$CACHE/kernel/work/$1"; }

# kernel_base FLAVOUR: the flavour that it is the same as but for the driver.
kernel_base() {
	case $1 in
	builtin) echo release ;;
	builtin-debug) echo debug ;;
	*) echo "$1" ;;
	esac
}

# kernel_build FLAVOUR: the build directory's name there.
kernel_build() { echo "build-$(kernel_base "$1")"; }

# kernel_fragments FLAVOUR: the configuration's parts, later ones win.
kernel_fragments() {
	local parts=(guest)
	case $(kernel_base "$1") in debug | starve) parts+=("$(kernel_base "$1")") ;; esac
	[[ $1 != builtin* ]] || parts+=(builtin)
	[[ $1 != builtin-debug ]] || parts+=(builtin-debug)
	(cd "$TOOLS_DIR/kernel" && cat "${parts[@]/%/.config}")
}

# kernel_key FLAVOUR [--base-key]: what the finished kernel is made of, all of it or all but the
# driver's own Rust files.
kernel_key() {
	{
		kernel_source_version
		kernel_fragments "$1"
		"$REPO/scripts/graft" "${2:---key}"
	} | hash_of
}

kernel_source_version() {
	awk -v p="linux-source-$KERNEL_MINOR" '$1 == "Package:" { hit = $2 == p } hit && $1 == "Version:" { print $2; exit }' \
		"$TOOLS_ROOT/var/lib/dpkg/status"
}

# setup_kernel FLAVOUR: KERNEL_OUT is the finished kernel's directory: kernel, modules/, config.
# With KERNEL_QUICK set, and only the driver changed, the driver is made the quick way.
setup_kernel() {
	local flavour=$1 build=build_kernel
	KERNEL_OUT=$CACHE/kernel/out/$flavour-$(kernel_key "$flavour")
	if [[ ! -e $KERNEL_OUT/kernel ]] && quick_wanted "$flavour" && only_driver_changed "$flavour"; then
		KERNEL_OUT+=-quick build=quick_driver
	fi
	[[ -e $KERNEL_OUT/kernel ]] || with_lock "kernel-$flavour" "$build" "$flavour"
	touch "$KERNEL_OUT"
}

build_kernel() {
	local flavour=$1
	[[ ! -e $KERNEL_OUT/kernel ]] || return 0
	[[ $flavour != builtin* ]] || seed_builtin "$flavour"
	graft_kernel "$flavour"
	if only_driver_changed "$flavour"; then
		step "driver build ($flavour)" rebuild_driver "$flavour"
	else
		step "kernel configuration ($flavour)" configure_kernel "$flavour"
		step "kernel build ($flavour)" make_kernel "$flavour"
		step "kernel install ($flavour)" publish_kernel "$flavour"
		if quick_wanted "$flavour"; then prime_quick "$flavour"; fi
	fi
	# What the build directory last made, for the short way of the next time.
	printf '%s\n' "$(kernel_key "$flavour" --base-key)" "$KERNEL_OUT" >"$(kernel_work "$flavour")/published"
}

# only_driver_changed FLAVOUR: the last finished kernel differs in the driver's Rust files only.
only_driver_changed() {
	local base='' last=''
	[[ $1 != builtin* && -e $(kernel_work "$1")/published ]] || return 1
	{ read -r base && read -r last; } <"$(kernel_work "$1")/published" || return 1
	[[ -e $last/kernel && $base == "$(kernel_key "$1" --base-key)" ]]
}

# seed_builtin FLAVOUR: its base kernel's copy and build, made if need be; later builds go on from
# there.
seed_builtin() {
	local base
	base=$(kernel_base "$1")
	[[ ! -e $(kernel_work "$1")/version ]] || return 0
	# In a process of its own: KERNEL_OUT there is the base kernel's.
	(setup_kernel "$base")
	with_lock "kernel-$base" step "kernel copy ($1)" copy_base "$base" "$1"
}

copy_base() {
	local from to
	from=$(kernel_work "$1") to=$(kernel_work "$2")
	rm -rf "$to" && mkdir -p "$to"
	cp -al "$from/src" "$to/src"
	cp -a "$from/build-$1" "$to/build-$1"
	cp "$from/version" "$to/version"
}

# The short way: the driver's module alone, in a copy of the last finished kernel.
rebuild_driver() {
	drop_quick "$1"
	in_kernel_tree "$1" make "O=/work/$(kernel_build "$1")" LLVM=-19 "-j$JOBS" $DRIVER_DIR/ghostnv.ko
	publish_driver "$1"
}

# publish_driver FLAVOUR: KERNEL_OUT is the last finished kernel with the module just made.
publish_driver() {
	local work last tmp=$KERNEL_OUT.tmp module file
	work=$(kernel_work "$1") last=$(tail -n 1 "$(kernel_work "$1")/published")
	rm -rf "$tmp" && cp -al "$last" "$tmp"
	module=$(find "$tmp/modules" -path "*/$DRIVER_DIR/ghostnv.ko")
	[[ -n $module ]] || { echo "$last holds no ghostnv.ko" && return 1; }
	rm "$module" "$tmp"/modules/*/modules.*
	mkdir -p "$work/depmod/lib"
	cp "$work/$(kernel_build "$1")/$DRIVER_DIR/ghostnv.ko" "$work/depmod/"
	in_kernel_tree "$1" llvm-strip-19 --strip-debug /work/depmod/ghostnv.ko
	cp "$work/depmod/ghostnv.ko" "$module"
	for file in order builtin builtin.modinfo; do
		cp "$last"/modules/*/modules.$file "$tmp"/modules/*/
	done
	depmod_tree "$tmp"
	mv -T "$tmp" "$KERNEL_OUT"
}

# depmod_tree DIR: the index of DIR/modules/VERSION.
depmod_tree() {
	local version
	version=$(ls "$1/modules")
	unshare --mount bash "$REPO/scripts/lib/chroot.sh" "$TOOLS_ROOT" / "$1/modules:/work/lib/modules" -- depmod -b /work "$version"
}

# graft_kernel FLAVOUR: the working copy carries what this clone holds.
graft_kernel() {
	local version
	version=$(kernel_source_version)
	[[ -n $version ]] || die "the tools root holds no linux-source-$KERNEL_MINOR: make clean-cache and start again"
	with_lock kernel-source step "kernel source $version" unpack_kernel "$version"
	step "kernel copy ($1)" copy_kernel "$version" "$(kernel_work "$1")"
	step "kernel graft ($1)" "$REPO/scripts/graft" "$(kernel_work "$1")/src"
}

unpack_kernel() {
	local version=$1 pristine tmp found
	pristine=$CACHE/kernel/src-$version
	[[ ! -d $pristine ]] || return 0
	tmp=$CACHE/kernel/unpack.tmp
	rm -rf "$tmp" && mkdir -p "$tmp"
	tar -xf "$TOOLS_ROOT/usr/src/linux-source-$KERNEL_MINOR.tar.xz" -C "$tmp" --strip-components=1
	found=$(awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3; exit }' "$tmp/Makefile")
	[[ $found == "$KERNEL_MINOR" ]] || { echo "kernel $found is not tested yet, only $KERNEL_MINOR is" && return 1; }
	mv "$tmp" "$pristine"
	ln -sfn "${pristine##*/}" "$CACHE/kernel/src"
}

# Hard links keep the time stamps, and the graft never writes through one.
copy_kernel() {
	local version=$1 work=$2
	[[ ! -e $work/version || $(<"$work/version") != "$version" ]] || return 0
	mkdir -p "$work" && rm -rf "$work/src" "$work/src.tmp"
	cp -al "$CACHE/kernel/src-$version" "$work/src.tmp"
	mv "$work/src.tmp" "$work/src"
	echo "$version" >"$work/version"
}

# in_kernel_tree FLAVOUR COMMAND…: inside the tools root, in the grafted source.
in_kernel_tree() {
	local work
	work=$(kernel_work "$1")
	shift
	unshare --mount bash "$REPO/scripts/lib/chroot.sh" "$TOOLS_ROOT" /work/src "$work:/work" -- "$@"
}

# Configuring takes seconds, so only a changed fragment or Kconfig file does it.
configure_kernel() {
	local flavour=$1 work name build key
	work=$(kernel_work "$flavour") name=$(kernel_build "$flavour")
	build=$work/$name
	mkdir -p "$build"
	kernel_fragments "$flavour" >"$build.fragment"
	key=$({ cat "$build.fragment" && find "$work/src/$DRIVER_DIR" -name Kconfig -exec cat {} + &&
		cat "$REPO"/patches/*.patch; } | hash_of)
	[[ ! -e $build/.config || ! -e $build/.ghostnv || $(<"$build/.ghostnv") != "$key" ]] || return 0
	in_kernel_tree "$flavour" make "O=/work/$name" LLVM=-19 "KCONFIG_ALLCONFIG=/work/$name.fragment" allnoconfig
	grep -q '^CONFIG_RUST=y' "$build/.config" || { echo "the configuration lost CONFIG_RUST" && return 1; }
	echo "$key" >"$build/.ghostnv"
}

make_kernel() {
	drop_quick "$1"
	in_kernel_tree "$1" make "O=/work/$(kernel_build "$1")" LLVM=-19 "-j$JOBS" vmlinux modules
}

# Modules with their index, the kernel and its configuration, complete or not there at all.
publish_kernel() {
	local name build tmp=$KERNEL_OUT.tmp
	name=$(kernel_build "$1")
	build=$(kernel_work "$1")/$name
	rm -rf "$tmp" "$build/install" && mkdir -p "$tmp"
	in_kernel_tree "$1" make "O=/work/$name" LLVM=-19 "INSTALL_MOD_PATH=/work/$name/install" INSTALL_MOD_STRIP=1 modules_install
	mv "$build/install/lib/modules" "$tmp/modules"
	rm -f "$tmp"/modules/*/{build,source}
	cp "$build/vmlinux" "$tmp/kernel"
	cp "$build/.config" "$tmp/config"
	mv -T "$tmp" "$KERNEL_OUT"
	# A few are kept; many clones and branches come and go.
	find "$CACHE/kernel/out" -mindepth 1 -maxdepth 1 -name "$1-*" -type d -mmin +60 -printf '%T@ %p\n' | sort -rn |
		tail -n +9 | cut -d' ' -f2- | xargs -r -d'\n' rm -rf
}
