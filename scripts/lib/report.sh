# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# After a run: finds what the guest kernel and the model reported, prints it last, decides the
# exit status.

# What no healthy kernel prints.
KERNEL_REPORTS='Kernel panic|BUG: |Oops: |Oops:|general protection fault|KASAN: |UBSAN: |possible circular locking|turning off the locking correctness validator|possible recursive locking|possible irq lock inversion|inconsistent lock state|suspicious RCU usage|possible deadlock|INFO: task .* blocked|self-detected stall|detected stalls on|detected expedited stalls|soft lockup|hard LOCKUP|ODEBUG: |kmemleak: unreferenced object|refcount_t: |list_add corruption|list_del corruption|DEBUG_LOCKS_WARN|WARNING: .*lock'
KERNEL_WARNINGS='WARNING: '

# print_report FILE PATTERN: each report with what follows, at most 60 lines in all.
print_report() {
	grep -aP -m 8 -A 24 -e "$2" "$1" | tr -d '\r' | head -n 60 >&2
}

# report_model DIR STRICT STATUS: the model's verdict is 0, or 3 for violations in a strict run; with
# any other status it judged nothing.
report_model() {
	[[ $3 != 0 ]] || return 0
	if [[ $2 == 1 ]] && grep -qE '^violation' "$1/model.log"; then
		echo "--- violations ($1/model.log):" >&2
		grep -E '^violation|^ *violations' -A 3 "$1/model.log" | head -n 40 >&2
	fi
	[[ $3 != 3 ]] || return 1
	echo "--- the emulated GPU gave no verdict, it ended with status $3; its last lines ($1/model.log):" >&2
	tail -n 5 "$1/model.log" >&2
	return 1
}

# report_run DIR STATUS STRICT [EXPECTED]: exits. A warning at a function that EXPECTED, an extended
# regular expression, matches fails no run.
report_run() {
	local dir=$1 status=$2 strict=$3 warnings=$KERNEL_WARNINGS bad=0
	[[ -z ${4:-} ]] || warnings="WARNING: (at (?!($4)\\+)|(?!at ))"
	if [[ -e $dir/failure ]]; then
		[[ ! -s $dir/dmesg ]] || { echo "--- the guest kernel's last lines:" >&2 && tail -n 15 "$dir/dmesg" | tr -d '\r' >&2; }
		[[ ! -s $dir/model.log ]] || { echo "--- the model's last lines:" >&2 && tail -n 8 "$dir/model.log" >&2; }
	fi
	if [[ -s $dir/model.log ]] && grep -q 'panicked at' "$dir/model.log"; then
		bad=1
		echo "--- the emulated GPU itself failed ($dir/model.log):" >&2
		grep -A 6 -m 1 'panicked at' "$dir/model.log" >&2
	fi
	if [[ -e $dir/model.status ]]; then
		report_model "$dir" "$strict" "$(<"$dir/model.status")" || bad=1
	fi
	if [[ -s $dir/dmesg ]] && grep -qaE -e "$KERNEL_REPORTS" "$dir/dmesg"; then
		bad=1
		echo "--- the guest kernel reported ($dir/dmesg):" >&2
		print_report "$dir/dmesg" "$KERNEL_REPORTS"
	elif [[ -s $dir/dmesg ]] && grep -qaP -e "$warnings" "$dir/dmesg"; then
		((strict == 0)) || bad=1
		echo "--- the guest kernel warned ($dir/dmesg):" >&2
		print_report "$dir/dmesg" "$warnings"
	fi
	if [[ -e $dir/timeout ]]; then
		echo "vm: $(<"$dir/timeout"); logs: $dir" >&2
	elif [[ -e $dir/failure ]]; then
		echo "vm: $(<"$dir/failure"); logs: $dir" >&2
	elif ((bad)); then
		echo "vm: failed by the report above; logs: $dir" >&2
	fi
	((bad == 0 || status != 0)) || status=99
	exit "$status"
}
