# Functions for the scripts of the guest.

# say prints a line on the console in one piece, even with quiet: the host looks
# for it.
say() {
	echo "<2>ukdump-test: $*" >/dev/kmsg
}

# fail says why and switches the machine off.
fail() {
	say "FAILED $*"
	switch_off
}

switch_off() {
	sync
	busybox reboot -f
}

# disk prints the virtio disk with the given serial number.
disk() {
	for sys in /sys/block/vd*; do
		if [ "$(cat "$sys/serial")" = "$1" ]; then
			echo "/dev/${sys##*/}"
		fi
	done
}

# new_disk prints the disk with that name, on any bus, as long as nobody has
# written to it.
new_disk() {
	magic=ukdump-$1
	for sys in /sys/block/*; do
		dev=/dev/${sys##*/}
		# One byte more: the newline, which the shell drops.
		if [ "$(head -c $((${#magic} + 1)) "$dev" 2>/dev/null | tr -d '\0')" = "$magic" ]; then
			echo "$dev"
		fi
	done
}

# results copies files to the host.
results() {
	sync
	tar -C / -cf "$(disk result)" "$@"
}
