# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# After a run: finds what the guest kernel and the model reported, prints it last, decides the
# exit status.

# What no healthy kernel prints.
KERNEL_REPORTS='Kernel panic|BUG: |Oops: |Oops:|general protection fault|KASAN: |UBSAN: |possible circular locking|possible recursive locking|possible irq lock inversion|inconsistent lock state|suspicious RCU usage|possible deadlock|INFO: task .* blocked for more|self-detected stall|detected stalls on|soft lockup|hard LOCKUP|ODEBUG: |kmemleak: unreferenced object|refcount_t: |list_add corruption|list_del corruption|DEBUG_LOCKS_WARN|WARNING: .*lock'
KERNEL_WARNINGS='WARNING: '

# print_report FILE PATTERN: each report with what follows, at most 60 lines in all.
print_report() {
	grep -aE -m 8 -A 24 -e "$2" "$1" | tr -d '\r' | head -n 60 >&2
}

# report_run DIR STATUS STRICT: exits.
report_run() {
	local dir=$1 status=$2 strict=$3 bad=0
	if [[ -e $dir/failure ]]; then
		[[ ! -s $dir/dmesg ]] || { echo "--- the guest kernel's last lines:" >&2 && tail -n 15 "$dir/dmesg" | tr -d '\r' >&2; }
		[[ ! -s $dir/model.log ]] || { echo "--- the model's last lines:" >&2 && tail -n 8 "$dir/model.log" >&2; }
	fi
	if [[ -s $dir/model.log ]] && grep -q 'panicked at' "$dir/model.log"; then
		bad=1
		echo "--- the emulated GPU itself failed ($dir/model.log):" >&2
		grep -A 6 -m 1 'panicked at' "$dir/model.log" >&2
	fi
	if [[ $strict == 1 && -s $dir/model.status && $(<"$dir/model.status") == 3 ]]; then
		bad=1
		echo "--- violations ($dir/model.log):" >&2
		grep -E '^violation|^ *violations' -A 3 "$dir/model.log" | head -n 40 >&2
	fi
	if [[ -s $dir/dmesg ]] && grep -qaE -e "$KERNEL_REPORTS" "$dir/dmesg"; then
		bad=1
		echo "--- the guest kernel reported ($dir/dmesg):" >&2
		print_report "$dir/dmesg" "$KERNEL_REPORTS"
	elif [[ -s $dir/dmesg ]] && grep -qaE -e "$KERNEL_WARNINGS" "$dir/dmesg"; then
		((strict == 0)) || bad=1
		echo "--- the guest kernel warned ($dir/dmesg):" >&2
		print_report "$dir/dmesg" "$KERNEL_WARNINGS"
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
