#!/bin/sh
# record.sh OUT DIR...: records into OUT what this machine's /proc and /sys say
# about the storage below each DIR, about swap and about watchdogs, for
# testdata/hosts.
# Run it as root. Host name, machine-id, labels, keys, the command line and
# everything in uevent files that is not needed stay out; scrub.sh replaces UUIDs,
# serial numbers and names of volumes. Needs only what busybox has, and dmsetup where
# there are devices of device-mapper.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 OUT DIR..." >&2; exit 2; }
out=$1
shift

# file copies a small file, link a symbolic link, if they are there.
file() {
	[ -f "$1" ] || return 0
	mkdir -p "$out${1%/*}"
	cat "$1" >"$out$1" 2>/dev/null || rm -f "$out$1"
}
link() {
	[ -L "$1" ] && [ ! -L "$out$1" ] || return 0
	mkdir -p "$out${1%/*}"
	ln -s "$(readlink "$1")" "$out$1"
}

# device records the device at the sysfs path $1, its parents and suppliers.
device() (
	d=$1
	while [ "$d" != /sys/devices ] && [ -n "$d" ]; do
		[ ! -e "$out$d/uevent" ] || return 0
		if [ -f "$d/uevent" ]; then
			mkdir -p "$out$d"
			grep -E '^(MAJOR|MINOR|DEVNAME|DEVTYPE|PARTN|DRIVER|MODALIAS|PARTUUID)=' "$d/uevent" >"$out$d/uevent" || :
			for f in modalias dh_state dev size partition transport dma_mask_bits consistent_dma_mask_bits "scsi_host/${d##*/}/proc_name"; do
				file "$d/$f"
			done
			link "$d/subsystem"
			link "$d/driver"
			file "$d/of_node/mmc-pwrseq" # below a link
			if [ -e "$d/driver/module" ]; then
				link "$(readlink -f "$d/driver")/module"
				file "$(readlink -f "$d/driver/module")/initstate"
			fi
			for s in "$d"/supplier:*; do
				[ -L "$s" ] || continue
				link "$s"
				l=$(readlink -f "$s")
				link "$l/supplier"
				device "$(readlink -f "$l/supplier")"
			done
			if [ -L "$d/iommu" ]; then
				link "$d/iommu"
				device "$(readlink -f "$d/iommu")"
			fi
		fi
		d=${d%/*}
	done
)

# luks2 records of the LUKS2 header on /dev/$1 what this program reads, and
# nothing that could help to open it.
luks2() {
	segments=$(dd if="/dev/$1" bs=4096 skip=1 count=3 2>/dev/null | tr -d '\0' | sed -n 's/.*"segments":\({[^}]*}}\).*/\1/p')
	mkdir -p "$out/dev"
	{
		printf 'LUKS\272\276\000\002\000\000\000\000\000\000\100\000'
		head -c 4080 /dev/zero
		printf '{"segments":%s}' "$segments"
	} >"$out/dev/$1"
}

# block records the block device with the kernel name $1 and what it lies on.
block() (
	link "/sys/class/block/$1"
	b=$(readlink -f "/sys/class/block/$1")
	dev=$(cat "$b/dev")
	link "/sys/dev/block/$dev"
	for f in ro dm/name dm/uuid md/level md/metadata_version md/reshape_position loop/backing_file; do
		file "$b/$f"
	done
	for m in "$b"/md/dev-*; do
		file "$m/slot"
		file "$m/state"
	done
	if [ -L "$b/bcache" ]; then # to that of the disk behind the cache
		link "$b/bcache"
		c=$(readlink -f "$b/bcache")
		file "$c/state"
		file "$c/backing_dev_uuid"
	fi
	device "$b"
	[ -e "$b/partition" ] || {
		file "$b/queue/logical_block_size"
		file "$b/serial"
		file "$b/nsid"
		for f in serial vpd_pg80; do
			[ -f "$b/device/$f" ] || continue
			link "$b/device"
			d=$(readlink -f "$b/device")
			file "$d/$f"
		done
	}
	[ ! -e "$b/partition" ] || block "$(basename "${b%/*}")"
	case $b in
	*/nvme-subsystem/*)
		for c in "${b%/*}"/nvme*; do
			[ -L "$c" ] || continue
			link "$c"
			c=$(readlink -f "$c")
			device "$c"
			for p in "$c"/nvme*c*n*; do # the paths, which are hidden disks
				[ -e "$p/hidden" ] || continue
				link "/sys/class/block/${p##*/}"
				device "$p"
				file "$p/hidden"
			done
		done
		;;
	esac
	# What sysfs does not tell. dmsetup shows no keys.
	[ ! -e "$b/dm" ] || dmsetup table "$(cat "$b/dm/name")" >"$out$b/dm/table" 2>/dev/null || rm -f "$out$b/dm/table"
	if [ "$(blkid -p -s TYPE -o value "/dev/$1" 2>/dev/null)" = LVM2_member ]; then
		# Label and metadata of the physical volume, with the machine's name.
		mkdir -p "$out/dev"
		dd if="/dev/$1" of="$out/dev/$1" bs=64k count=17 conv=sparse 2>/dev/null
	fi
	for s in "$b"/holders/*; do
		[ ! -e "$s" ] || link "$s"
	done
	for s in "$b"/slaves/*; do
		[ -e "$s" ] || continue
		link "$s"
		block "$(basename "$s")"
		case $(cat "$b/dm/uuid" 2>/dev/null) in
		CRYPT-LUKS2-*) luks2 "$(basename "$s")" ;;
		esac
	done
	data=/run/udev/data/b$dev
	mkdir -p "$out/run/udev/data"
	if [ -f "$data" ]; then
		grep -E '^E:ID_(FS_TYPE|FS_UUID|FS_UUID_SUB|PART_ENTRY_UUID|PART_ENTRY_TYPE)=' "$data" >"$out$data" || :
	else
		# As udev would have written it.
		blkid "/dev/$1" 2>/dev/null | tr ' ' '\n' |
			sed -n -e 's/^\(TYPE\|UUID\)="\(.*\)"$/E:ID_FS_\1=\2/p' \
				-e 's/^PARTUUID="\(.*\)"$/E:ID_PART_ENTRY_UUID=\1/p' >"$out$data"
	fi
	[ -s "$out$data" ] || rm -f "$out$data"
)

mkdir -p "$out/proc/self" "$out/proc/sys/kernel" "$out/etc"

# mounts prints the mounts on the way to $1, and of an overlay those of its upper
# directory; overlay records which directories are there in both.
mounts() {
	awk -v dir="$1/" '{ p = $5; if (p != "/") p = p "/"; if (index(dir, p) == 1) print }' /proc/self/mountinfo |
		while read -r line; do
			echo "$line"
			case $line in
			*" - overlay "*upperdir=*)
				upper=${line##*upperdir=}
				upper=$(printf '%b' "${upper%%,*}")
				point=$(echo "$line" | cut -d ' ' -f 5)
				root=$(echo "$line" | cut -d ' ' -f 4)
				overlay "$1" "$point" "$(readlink -f "$upper${root%/}")"
				mounts "$(readlink -f "$upper")"
				;;
			esac
		done
}
overlay() {
	d=$1
	while :; do
		rel=${d#"${2%/}"}
		if [ -d "$d" ] && [ "$(stat -c '%f %y %z' "$d")" = "$(stat -c '%f %y %z' "$3$rel" 2>/dev/null)" ]; then
			echo "${d:-/} $3$rel" >>"$out/overlay"
		fi
		[ "$d" != "$2" ] && [ -n "$d" ] || break
		d=${d%/*}
	done
}
for dir in "$@"; do
	[ ! -e "$dir" ] || dir=$(readlink -f "$dir")
	mounts "$dir"
done | sort -un >"$out/proc/self/mountinfo"

while read -r _ _ dev _ _ rest; do
	fs=${rest#* - }
	type=${fs%% *}
	src=${fs#* }
	src=${src%% *}
	if [ -e "/sys/dev/block/$dev" ]; then
		block "$(basename "$(readlink -f "/sys/dev/block/$dev")")"
	elif [ "$type" = btrfs ]; then
		link "$src"
		name=$(basename "$(readlink -f "$src")")
		block "$name"
		for u in /sys/fs/btrfs/*/devices; do
			[ -e "$u/$name" ] || continue
			for m in "$u"/*; do
				link "$m"
				block "$(basename "$m")"
			done
		done
	fi
done <"$out/proc/self/mountinfo"

file /proc/swaps
sed 1d /proc/swaps 2>/dev/null | while read -r name type _; do
	[ "$type" != partition ] || block "$(basename "$(readlink -f "$name")")"
done

for w in /sys/class/watchdog/watchdog*; do
	[ -e "$w" ] || continue
	link "$w"
	d=$(readlink -f "$w")
	for f in identity timeout state nowayout; do
		file "$d/$f"
	done
	link "$d/device"
	device "$d"
done
# Some watchdogs do not tell their device: what is bound to drivers below
# drivers/watchdog.
rel=$(uname -r)
for m in /sys/bus/*/drivers/*/module; do
	[ -e "$m" ] || continue
	name=$(basename "$(readlink "$m")")
	dep=$(grep -E "^kernel/drivers/watchdog/$(echo "$name" | tr _ .)[.]ko[^:]*:" "/lib/modules/$rel/modules.dep" 2>/dev/null) || continue
	mkdir -p "$out/lib/modules/$rel"
	echo "${dep%%:*}:" >>"$out/lib/modules/$rel/modules.dep"
	: >>"$out/lib/modules/$rel/modules.alias"
	for l in "${m%/*}"/*; do
		case $(readlink -f "$l") in
		/sys/devices/*) link "$l"; device "$(readlink -f "$l")" ;;
		esac
	done
done

file /proc/sys/kernel/osrelease
grep '^MemTotal:' /proc/meminfo >"$out/proc/meminfo"
tr ' ' '\n' </proc/cmdline | grep '^root=' >"$out/proc/cmdline" || :
echo recorded >"$out/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$out/etc/machine-id"

# What is opened at boot, without where the keys are.
[ ! -f /etc/crypttab ] || awk '!/^[ \t]*(#|$)/ { $3 = "none"; print }' /etc/crypttab >"$out/etc/crypttab"
sh "$(dirname "$0")/scrub.sh" "$out"
for id in "$(hostname)" "$(cat /etc/machine-id 2>/dev/null)"; do
	[ -z "$id" ] || ! grep -rlF -e "$id" "$out" || echo "$0: $id is in these files: look at them before you give them away" >&2
done
