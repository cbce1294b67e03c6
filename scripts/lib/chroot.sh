#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Runs a command inside the tools root: chroot.sh ROOT DIR [SOURCE:TARGET…] -- COMMAND…
# Called through "unshare --mount", so every mount here ends with the command. SOURCE appears at
# TARGET, a path below /work, which is a private tmpfs: nothing in the root itself changes.

set -euo pipefail

root=$1 dir=$2
shift 2
mount -t tmpfs -o mode=755 work "$root/work"
while [[ $1 != -- ]]; do
	mkdir -p "$root${1#*:}"
	mount --bind "${1%%:*}" "$root${1#*:}"
	shift
done
shift
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
# The network as the host sees it: resolver and certificates, for package registries.
for path in /etc/resolv.conf /etc/hosts; do
	[[ ! -e $path ]] || { [[ -e $root$path ]] || : >"$root$path"; mount --bind "$(realpath "$path")" "$root$path"; }
done
[[ ! -d /etc/ssl/certs ]] || mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
[[ ! -d /usr/share/ca-certificates ]] || mount --bind /usr/share/ca-certificates "$root/usr/share/ca-certificates"
[[ ! -d /usr/local/share/ca-certificates ]] || mount --bind /usr/local/share/ca-certificates "$root/usr/local/share/ca-certificates"
# shellcheck disable=SC2016
exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" ${http_proxy:+http_proxy="$http_proxy"} \
	${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} \
	${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} ${CARGO_HOME_INSIDE:+CARGO_HOME="$CARGO_HOME_INSIDE" CARGO_TARGET_DIR=/work/target} \
	sh -c 'cd "$1" && shift && exec "$@"' sh "$dir" "$@"
