# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# Debian 13 roots, made by mmdebstrap: "tools" builds the kernel and the model and holds QEMU and
# the kernel's source; "guest" is what the VM boots; "fuzz" builds the fuzz targets. Each is keyed
# by its list of packages, so a changed list makes a new root and an unchanged one is never touched
# again.

SUITE=trixie

TOOLS_PACKAGES=(
	clang-19 lld-19 llvm-19 libclang-19-dev gcc libc6-dev make pkgconf flex bison bc libelf-dev libssl-dev
	rustc rust-src bindgen rustfmt rust-clippy cargo
	python3 perl kmod cpio rsync xz-utils zstd git ca-certificates busybox-static util-linux shellcheck
	qemu-system-x86/$SUITE-backports qemu-system-common/$SUITE-backports qemu-system-data/$SUITE-backports
	seabios/$SUITE-backports "linux-source-$KERNEL_MINOR/$SUITE-backports"
)
GUEST_PACKAGES=(
	mesa-vulkan-drivers/$SUITE-backports libgl1-mesa-dri/$SUITE-backports libvulkan1 vulkan-tools
	firmware-nvidia-graphics/$SUITE-backports libdrm-tests
	python3 pciutils strace kmod procps gdb-minimal mount hostname less
)

# libFuzzer is C++. Who does not fuzz does not need this one.
FUZZ_PACKAGES=(rustc cargo g++ libc6-dev ca-certificates)

# setup_roots NAME…: TOOLS_ROOT, GUEST_ROOT and FUZZ_ROOT are their directories.
setup_roots() {
	local name
	need_host_tools
	for name in "$@"; do
		case $name in
		tools)
			setup_root tools "${TOOLS_PACKAGES[@]}"
			TOOLS_ROOT=$ROOT
			;;
		guest)
			setup_root guest "${GUEST_PACKAGES[@]}"
			GUEST_ROOT=$ROOT
			;;
		fuzz)
			setup_root fuzz "${FUZZ_PACKAGES[@]}"
			FUZZ_ROOT=$ROOT
			;;
		esac
	done
}

# root_key NAME: what the root is made of.
root_key() {
	case $1 in
	tools) printf '%s\n' "$SUITE" "${TOOLS_PACKAGES[@]}" | hash_of ;;
	guest) printf '%s\n' "$SUITE" "${GUEST_PACKAGES[@]}" | hash_of ;;
	fuzz) printf '%s\n' "$SUITE" "${FUZZ_PACKAGES[@]}" | hash_of ;;
	esac
}

setup_root() {
	local name=$1
	shift
	ROOT=$CACHE/root/$name-$(root_key "$name")
	[[ -d $ROOT ]] || with_lock "root-$name" make_root "$name" "$ROOT" "$@"
}

make_root() {
	local name=$1 dir=$2
	shift 2
	[[ ! -d $dir ]] || return 0
	need_mmdebstrap
	rm -rf --one-file-system "$CACHE/root/$name".tmp.*
	step "$name root from $MIRROR" build_root "$dir" "$CACHE/root/$name.tmp.$$" "$@"
	ln -sfn "${dir##*/}" "$CACHE/root/$name"
}

build_root() {
	local dir=$1 tmp=$2 include suite
	shift 2
	include=$(IFS=, && echo "$*")
	for suite in $SUITE $SUITE-updates $SUITE-backports; do
		echo "deb $MIRROR $suite main contrib non-free non-free-firmware"
	done >"$tmp.list"
	local options=(--variant=apt --mode=root --include="$include" --aptopt='APT::Install-Recommends "false"') more
	mapfile -t more < <(mirror_options)
	options+=("${more[@]}")
	# What it mounts in the new root must end with it, even when it is killed: the next run removes
	# what is left.
	unshare --mount mmdebstrap "${options[@]}" "$SUITE" "$tmp" "$tmp.list" 2>&1 | tee "$tmp.said" || {
		explain_mmdebstrap "$tmp.said"
		rm -rf --one-file-system "$tmp" "$tmp.list" "$tmp.said"
		return 1
	}
	rm -rf "$tmp.list" "$tmp.said" "$tmp"/var/cache/apt/archives/*.deb "$tmp"/var/lib/apt/lists/*
	mkdir -p "$tmp/work"
	mv -T "$tmp" "$dir"
}

# mirror_options: how the mirror is reached, an option of mmdebstrap a line.
mirror_options() {
	local proxy
	# A proxy that the host's apt is told to use is used here too.
	proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy 2>/dev/null | head -n 1)
	[[ -z $proxy ]] || echo "--aptopt=Acquire::http::Proxy \"$proxy\""
	# What a snapshot says of itself was meant to hold for a week.
	[[ $MIRROR != *snapshot* ]] || echo '--aptopt=Acquire::Check-Valid-Until "false"'
}

# explain_mmdebstrap FILE: why it failed, from what it said.
explain_mmdebstrap() {
	if grep -q "Unable to locate package linux-source-$KERNEL_MINOR" "$1"; then
		echo "$MIRROR offers no linux-source-$KERNEL_MINOR any more, and newer kernels are not tested yet: set GHOSTNV_MIRROR=http://snapshot.debian.org/archive/debian/20261121T000000Z"
	elif grep -qE 'Temporary failure resolving|Could not (resolve|connect)|Failed to fetch|Connection' "$1"; then
		echo "no network to $MIRROR: connect this machine, or set GHOSTNV_MIRROR to a mirror it reaches"
	else
		echo "mmdebstrap failed"
	fi
}

need_mmdebstrap() {
	[[ -n $(type -P mmdebstrap) && -e /usr/share/keyrings/debian-archive-keyring.gpg ]] && return
	host_packages mmdebstrap debian-archive-keyring
}

# need_host_tools: programs of the host itself that a Debian without "standard" may lack.
need_host_tools() {
	local pair missing=()
	for pair in git:git xz:xz-utils awk:mawk flock:util-linux setpriv:util-linux; do
		[[ -n $(type -P "${pair%%:*}") ]] || missing+=("${pair#*:}")
	done
	((${#missing[@]} == 0)) || host_packages "${missing[@]}"
}

# host_packages NAME…: installs what the host lacks.
host_packages() {
	[[ -n $(type -P apt-get) ]] || die "please install: $*"
	step "host packages $*" apt_install "$@"
}

apt_install() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y --no-install-recommends "$@" ||
		{ apt-get update && apt-get install -y --no-install-recommends "$@"; } ||
		{ echo "apt-get cannot install $*: install them by hand, or check network and sources" && return 1; }
}
