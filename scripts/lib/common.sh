# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What every script of the workbench uses: where things live, how messages look, locks, keys.
# Sourced; needs nothing but bash and coreutils, because a fresh machine has no more.

[[ -n ${GHOSTNV_COMMON:-} ]] && return 0
GHOSTNV_COMMON=1

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
CACHE=${GHOSTNV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ghostnv}
MIRROR=${GHOSTNV_MIRROR:-http://deb.debian.org/debian}
KERNEL_MINOR=7.3
JOBS=${GHOSTNV_JOBS:-$(nproc)}
TOOLS_DIR=$REPO/tools/testing/ghostnv

mkdir -p "$CACHE"/{lock,log,runs,vm,root,kernel/out} 2>/dev/null || {
	echo "ghostnv: cannot write $CACHE: free the disk or set GHOSTNV_CACHE to a writable directory" >&2
	exit 125
}
CACHE=$(cd "$CACHE" && pwd -P)

# die TEXT: one line that names the cause and the next step.
die() {
	echo "${0##*/}: $*" >&2
	exit 125
}

# note TEXT: one line for people, never mixed with a command's output.
note() {
	[[ -n ${GHOSTNV_QUIET:-} ]] || echo "$*" >&2
}

# hash_of: 16 hex digits of what comes in.
hash_of() {
	sha256sum | cut -c1-16
}

# tree_hash DIR [FIND-ARGS…]: one key for the names, modes and contents of files below DIR.
tree_hash() {
	local dir=$1
	shift
	(cd "$dir" && find . "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum) | hash_of
}

# with_lock NAME COMMAND…: runs COMMAND while nobody else holds NAME. The lock ends with the
# process, so an interrupted run leaves none. (Neither this nor what it calls may stand before
# && or ||: bash would ignore errors all the way down.)
with_lock() {
	local name=$1 fd
	shift
	exec {fd}>"$CACHE/lock/$name"
	if ! flock -n "$fd"; then
		note "waiting for another run that builds: $name"
		flock "$fd"
	fi
	"$@"
	exec {fd}>&-
}

# cause_of LOG: why a step failed and what to do, as far as one can tell, on one line.
cause_of() {
	local left
	left=$(df -Pm "$CACHE" | awk 'NR == 2 { print $4 }')
	if ((left < 512)); then
		echo "the disk is full: free some of $CACHE ($left MiB left), or set GHOSTNV_CACHE to another place"
	else
		echo "$(grep -v '^ *$' "$1" | tail -n 1) (log: $1)"
	fi
}

# step TITLE COMMAND…: runs COMMAND with its output in a log; shows one line with the time so far;
# on failure prints the log's end and its path.
step() {
	local title=$1 log start=$SECONDS pid status=0 shown=0
	shift
	log=$CACHE/log/$(tr -c 'a-zA-Z0-9.\n' '-' <<<"$title").log
	# Its own process group, so that an interrupt ends all of it.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'trap - INT TERM; kill -- "-$pid" 2>/dev/null; wait "$pid" 2>/dev/null; echo "interrupted: $title" >&2; exit 130' INT TERM
	while kill -0 "$pid" 2>/dev/null; do
		if ((SECONDS - start >= 1)) && [[ -t 2 && -z ${GHOSTNV_QUIET:-} ]]; then
			printf '\r[%4ds] %s …\033[K' $((SECONDS - start)) "$title" >&2
			shown=1
		elif ((shown == 0 && SECONDS - start >= 3)); then
			note "$(printf '[%4ds] %s …' $((SECONDS - start)) "$title")"
			shown=1
		fi
		sleep 0.2
	done
	wait "$pid" || status=$?
	trap - INT TERM
	[[ -t 2 && $shown == 1 && -z ${GHOSTNV_QUIET:-} ]] && printf '\r\033[K' >&2
	if ((status)); then
		echo "--- the last lines of $log:" >&2
		tail -n 20 "$log" >&2
		die "failed after $((SECONDS - start)) s: $title: $(cause_of "$log")"
	fi
	((SECONDS - start < 5)) || note "$(printf '[%4ds] %s: done' $((SECONDS - start)) "$title")"
}

# need_root: the roots, mounts and VM need it.
need_root() {
	((EUID == 0)) || die "run me as root (mounts and Debian roots need it), for instance with sudo"
}
