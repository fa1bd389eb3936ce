#!/bin/sh
# scrub.sh TREE: replaces in a tree of record.sh what identifies one machine by
# made-up values, the same everywhere: UUIDs, PARTUUIDs, serial numbers, WWNs, MAC
# addresses, and the names of volume groups and volumes. Names of directories are
# left; read proc/self/mountinfo before you give a tree away.
# Needs only what busybox has.
set -eu
[ $# -eq 1 ] && [ -d "$1" ] || { echo "usage: $0 TREE" >&2; exit 2; }
cd "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# texts lists the files that can hold names of this machine. What a device says it
# is (modalias) is public, and contents of disks have been reduced already.
texts() {
	find . -type f ! -path './dev/*' ! -path './lib/*' ! -name modalias ! -name vpd_pg80 ! -name serial
}

# The metadata on a physical volume have checksums and are left as they are, so the
# names that they hold are left everywhere.
lvm=$(grep -lraF LABELONE dev 2>/dev/null) || :
[ -z "$lvm" ] || echo "$0: the names and UUIDs of LVM, and the host name of who made it, stay in" $lvm >&2

hex='[0-9a-f]'
uuid="$hex{8}-$hex{4}-$hex{4}-$hex{4}-$hex{12}"
{
	texts | while read -r f; do
		grep -v '^MODALIAS=' "$f" || :
	done
	find . # names
	find . -type l -exec readlink {} \;
} | tr 'A-Z' 'a-z' >"$work/lower" || :

# Each line: what, and what is put in its place.
{
	grep -oE "$uuid" "$work/lower" | sort -u |
		awk '{ n = sprintf("00000000-0000-4000-8000-%012d", NR); print $0, n; gsub("-", ""); gsub("-", "", n); print $0, n }'
	# Undashed in the names of device-mapper, if the dashed one was not there.
	cat sys/devices/virtual/block/*/dm/uuid 2>/dev/null | grep -oE "$hex{32}" | sort -u |
		awk '{ printf "%s 0000000000005000800%013d\n", $0, NR }'
	# WWNs: NAA and EUI, of multipath also as names.
	cat sys/devices/virtual/block/*/dm/uuid sys/devices/virtual/block/*/dm/name 2>/dev/null |
		grep -oE "mpath-$hex{16,33}$" | sed 's/mpath-//' | sort -u | awk '{ printf "%s 3%015d\n", $0, NR }'
	grep -oE "($hex{2}:){5}$hex{2}" "$work/lower" | sort -u | awk '{ printf "%s 02:00:00:00:00:%02d\n", $0, NR }'
	# Volume IDs of FAT, and PARTUUIDs of an MBR, whose signature all its partitions have.
	texts | xargs -r cat | sed -n 's/^E:ID_FS_UUID=\([0-9A-F]\{4\}-[0-9A-F]\{4\}\)$/\1/p' | sort -u |
		awk '{ printf "%s 0000-%04d\n", $0, NR }'
	grep -oE "partuuid=$hex{8}-$hex{2}\$|part_entry_uuid=$hex{8}-$hex{2}\$" "$work/lower" | sed 's/.*=//; s/-..$//' | sort -u |
		awk '{ printf "%s- %08d-\n", $0, NR }'
	# LVM: the UUIDs of group and volume together, that of a PV with dashes.
	[ -n "$lvm" ] || cat sys/devices/virtual/block/*/dm/uuid 2>/dev/null | sed -n 's/^LVM-\([A-Za-z0-9]\{32\}\)\([A-Za-z0-9]\{32\}\).*/\1 \2/p' |
		tr ' ' '\n' | sort -u | awk '{ n = sprintf("LV%030d", NR); print $0, n
			print dash($0), dash(n) }
			function dash(s) { return substr(s,1,6) "-" substr(s,7,4) "-" substr(s,11,4) "-" substr(s,15,4) "-" substr(s,19,4) "-" substr(s,23,4) "-" substr(s,27) }'
	[ -n "$lvm" ] || texts | xargs -r cat | sed -n 's/^E:ID_FS_UUID=\([A-Za-z0-9]\{6\}\(-[A-Za-z0-9]\{4\}\)\{5\}-[A-Za-z0-9]\{6\}\)$/\1/p' | sort -u |
		awk '{ printf "%s PV%04d-0000-0000-0000-0000-0000-000000\n", $0, NR }'
} | awk '!seen[$1]++ && $1 != $2' >"$work/map"
# Their spelling in capitals, as some tools have it.
awk '{ print; if (toupper($1) != $1) print toupper($1), $2 }' "$work/map" |
	awk '{ printf "s/%s/%s/g\n", $1, $2 }' >"$work/sed"

# Names that people choose: of volume groups, where they begin the name of a volume,
# and of encrypted volumes.
n=0
for d in sys/devices/virtual/block/*/dm; do
	[ -f "$d/uuid" ] || continue
	name=$(cat "$d/name")
	case $name in *[!A-Za-z0-9_.+-]*) continue ;; esac
	case $(cat "$d/uuid") in
	LVM-*)
		[ -z "$lvm" ] || continue
		# A dash in the group's name is doubled.
		vg=$(echo "$name" | sed 's/--/\n/g' | awk 'NR > 1 { printf "--" } { i = index($0, "-"); if (i) { printf "%s", substr($0, 1, i - 1); exit } printf "%s", $0 }')
		old=$vg- flat=$(echo "$vg" | sed 's/--/-/g')
		grep -qF "^$old " "$work/names" 2>/dev/null || { echo "^$old " >>"$work/names"; n=$((n + 1)); }
		printf 's,\\(^\\|[ /]\\)%s,\\1vg%d-,g\ns,/%s/,/vg%d/,g\n' "$old" $n "$flat" $n
		;;
	CRYPT-*)
		n=$((n + 1))
		printf 's,\\(^\\|[ /-]\\)%s\\($\\|[ ]\\),\\1crypt%d\\2,g\n' "$name" $n
		;;
	esac
done >>"$work/sed"

# Serial numbers: the page of a SCSI disk has four bytes before it.
n=0
find . -name vpd_pg80 -o -name serial | sort | while read -r f; do
	[ -s "$f" ] || continue
	# Equal ones stay equal.
	key=$(cksum <"$f" | tr ' ' -)
	grep -qx "$key" "$work/serials" 2>/dev/null || echo "$key" >>"$work/serials"
	n=$(grep -nx "$key" "$work/serials" | sed 's/:.*//')
	case $f in
	*/vpd_pg80) printf '\000\200\000\010SERIAL%02d' "$n" >"$f" ;;
	*) echo "SERIAL$n" >"$f" ;;
	esac
done

if [ -s "$work/sed" ]; then
	texts | while read -r f; do
		sed -f "$work/sed" "$f" >"$work/new"
		cmp -s "$work/new" "$f" || cat "$work/new" >"$f"
	done
	find . -type l | while read -r l; do
		old=$(readlink "$l")
		new=$(echo "$old" | sed -f "$work/sed")
		[ "$old" = "$new" ] || ln -sfn "$new" "$l"
	done
	find . -depth | while read -r p; do
		old=${p##*/}
		new=$(echo "$old" | sed -f "$work/sed")
		[ "$old" = "$new" ] || mv "$p" "${p%/*}/$new"
	done
fi
