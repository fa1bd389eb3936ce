package test

import "ukdump/internal/vmtest"

const (
	ext4Dump = "mkfs.ext4 -q -F -m 0 -L dump "
	// A volume on the first of two partitions.
	volumeDump = "partitions $target 900MiB 900MiB && vg $part1 $part2 && lvcreate $lvm -n target -L 600m ukdump $part1 && " + ext4Dump + "/dev/ukdump/target"
	mirrorDump = "partitions $target 600MiB 600MiB && md 1 $part1 $part2 && " + ext4Dump + "/dev/md0"
	cachedDump = "partitions $target 900MiB 300MiB && make-bcache --wipe-bcache -B $part1 -C $part2 && bcache_on && " + ext4Dump + "/dev/bcache0"

	// wipe erases the identity of a device while it is in use: for the capture kernel
	// the disk is gone.
	wipe      = "sync; dd if=/dev/zero bs=4096 count=16 oflag=direct 2>/dev/null of="
	wipeBtrfs = "sync; dd if=/dev/zero bs=64K seek=1 count=1 oflag=direct 2>/dev/null of=$part2; dd if=/dev/zero bs=64K seek=1024 count=1 oflag=direct 2>/dev/null of=$part2"
)

// storageFaults change the storage of the target after the image was loaded. The
// capture kernel follows a change if it can. If it cannot, it must not write there: the
// dump goes to /var/crash, the second target.
var storageFaults = []fault{
	{name: "lvm-volume-extended", fs: "ext4", size: 2048, make: volumeDump, mount: "vg_on; mount /dev/ukdump/target /dump",
		inject: "lvextend $lvm -L 1g ukdump/target $part2 && resize2fs /dev/ukdump/target",
		want:   want{outcomes: complete, dir: "/dump"}},
	{name: "lvm-volume-moved", fs: "ext4", size: 2048, make: volumeDump, mount: "vg_on; mount /dev/ukdump/target /dump",
		inject: "modprobe dm_mirror && pvmove $lvm -i 1 --config activation/monitoring=0 $part1 $part2",
		want:   want{outcomes: complete, dir: "/dump"}},
	{name: "lvm-thin-pool-extended", fs: "ext4", size: 2048,
		make:   "partitions $target 1800MiB && vg $part1 && lvcreate $lvm -n target -L 600m -V 1g --thinpool pool ukdump && " + ext4Dump + "/dev/ukdump/target",
		mount:  "vg_on; mount /dev/ukdump/target /dump",
		inject: "lvextend $lvm -L +400m ukdump/pool",
		want:   want{outcomes: complete, dir: "/dump"}},
	// A write past the snapshot would change the snapshot.
	{name: "lvm-snapshot-made", ci: true, fs: "ext4", size: 2048, make: volumeDump, mount: "vg_on; mount /dev/ukdump/target /dump",
		inject: "modprobe dm_snapshot && lvcreate $lvm -s -n before -L 100m ukdump/target",
		check:  "mount -o ro /dev/ukdump/before /mnt && ls /mnt >/dev/null && umount /mnt",
		want:   want{outcomes: complete, dir: "/var/crash", says: "it has a snapshot"}},
	{name: "lvm-volume-mirrored", fs: "ext4", size: 2048, make: volumeDump, mount: "vg_on; mount /dev/ukdump/target /dump",
		inject: "modprobe -a dm_raid raid1 && lvconvert $lvm --type raid1 -m 1 --config activation/monitoring=0 ukdump/target",
		want:   want{outcomes: complete, dir: "/var/crash", says: "the volume was changed"}},
	{name: "lvm-group-made-anew", fs: "ext4", size: 2048, make: volumeDump, mount: "vg_on; mount /dev/ukdump/target /dump", noEarlier: true,
		change: []string{hurry}, inject: "umount /dump && vgremove $lvm -f ukdump && vg $part1 $part2 && lvcreate $lvm -n target -L 600m ukdump $part1 && " + ext4Dump + "/dev/ukdump/target",
		want: want{outcomes: complete, dir: "/var/crash", says: "did not appear"}},
	{name: "file-system-made-anew", ci: true, fs: "ext4", noEarlier: true, change: []string{hurry},
		inject: "umount /dump && " + ext4Dump + "$target",
		want:   want{outcomes: complete, dir: "/var/crash", says: "did not appear"}},

	// The stale member has an older state of the file system.
	{name: "md-member-left-behind", ci: true, fs: "ext4", size: 1400, make: mirrorDump, mount: "md_on; mount LABEL=dump /dump",
		inject: "mdadm --quiet --manage /dev/md0 --fail $part1 && echo later >/dump/later && sync",
		check:  "[ \"$(cat /dump/later)\" = later ] || fail 'the older state was written to'",
		want:   want{outcomes: complete, dir: "/dump"}},
	{name: "md-spare-took-over", fs: "ext4", size: 1400,
		make:   "partitions $target 400MiB 400MiB 400MiB && md 1 $part1 $part2 && mdadm --quiet --manage /dev/md0 --add $part3 && " + ext4Dump + "/dev/md0",
		mount:  "md_on; mount LABEL=dump /dump",
		inject: "mdadm --quiet --manage /dev/md0 --fail $part1 && sleep 1 && { mdadm --wait /dev/md0 || true; } && echo later >/dump/later && sync",
		check:  "[ \"$(cat /dump/later)\" = later ] || fail 'the older state was written to'",
		want:   want{outcomes: complete, dir: "/dump"}},
	{name: "md-dirty-and-member-gone", fs: "xfs", size: 1400, noEarlier: true,
		make:   "partitions $target 400MiB 400MiB 400MiB && md 5 $part1 $part2 $part3 && mkfs.xfs -q -f -L dump /dev/md0",
		mount:  "md_on; mount LABEL=dump /dump",
		change: []string{hurry},
		inject: "echo 0 >/sys/block/md0/md/safe_mode_delay && echo later >/dump/later && " + wipe + "$part3",
		want:   want{outcomes: complete, dir: "/var/crash", says: "does not run with 2 members"}},
	{name: "btrfs-member-gone", fs: "btrfs", size: 1400,
		make:   "partitions $target 600MiB 600MiB && mkfs.btrfs -q -f -L dump -m raid1 -d raid1 $part1 $part2",
		mount:  "modprobe btrfs; btrfs device scan; mount LABEL=dump /dump || mount -o degraded LABEL=dump /dump",
		change: []string{hurry}, inject: wipeBtrfs,
		want: want{outcomes: complete, dir: "/dump", says: "1 members after"}},
	{name: "bcache-cache-gone", fs: "ext4", size: 1400, make: cachedDump, mount: "bcache_on; mount LABEL=dump /dump",
		change: []string{hurry}, inject: wipe + "$part2",
		want: want{outcomes: complete, dir: "/dump", says: "did not appear: continuing without it"}},
	{name: "bcache-dirty-cache-gone", fs: "ext4", size: 1400, make: cachedDump, mount: "bcache_on; mount LABEL=dump /dump", noEarlier: true,
		change: []string{hurry},
		inject: "echo writeback >/sys/block/bcache0/bcache/cache_mode && echo 0 >/sys/block/bcache0/bcache/writeback_running && echo later >/dump/later && " + wipe + "$part2",
		want:   want{outcomes: complete, dir: "/var/crash", says: "may have data that was not written back"}},
	// The directory below the mount point is not the target: the loaded set stays.
	{name: "mount-of-target-missing", fs: "ext4",
		load: "kdumpctl load && umount /dump && echo 'LABEL=dump /dump ext4 nofail 0 2' >>/etc/fstab && refused kdumpctl load && refused kdumpctl build && refused kdumpctl verify && { kdumpctl status >/run/status || true; } && grep '^missing.*/dump is not mounted' /run/status",
		want: want{outcomes: complete, dir: "/dump"}},
	// The capture kernel mounts the target anew, so it can write.
	{name: "target-read-only-at-load", fs: "ext4",
		load: "mount -o remount,ro /dump && kdumpctl load 2>/run/warning && grep 'is mounted read-only' /run/warning && { kdumpctl status >/run/status || true; } && grep '^missing.*/dump.* is mounted read-only' /run/status && refused kdumpctl verify",
		want: want{outcomes: complete, dir: "/dump"}},
	// A snapshot is not the target: the loaded set stays.
	{name: "target-in-read-only-snapshot", fs: "btrfs",
		load: "kdumpctl load && btrfs subvolume snapshot -r /dump /dump/snapshot && targets /dump/snapshot/crash && refused kdumpctl load && grep 'read-only, as snapshots can be' $out/refused.txt && targets /dump",
		want: want{outcomes: complete, dir: "/dump"}},
	// One of the paths to the disk is gone.
	{name: "path-gone", fs: "ext4", bus: vmtest.SCSIPaths,
		make:   "multipath && " + ext4Dump + "/dev/mapper/mpatha",
		mount:  "multipath; mount /dev/mapper/mpatha /dump",
		events: []event{{line: atPanic, do: unplug}},
		want:   want{outcomes: complete, dir: "/dump"}},
}
