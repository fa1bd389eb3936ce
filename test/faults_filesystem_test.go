package test

import "ukdump/internal/crashdir"

// These faults damage the disk below the mounted file system just before the
// crash, and repair it before the second boot looks for the earlier dumps.
const (
	zero     = "dd if=/dev/zero of=$target bs=4096 conv=notrunc,fsync status=none "
	noise    = "dd if=/dev/urandom of=$target bs=4096 conv=notrunc,fsync status=none "
	fsckExt4 = "e2fsck -fy /dev/disk/by-label/dump || true"
)

var filesystemFaults = []fault{
	{name: "ext4-superblock", ci: true, fs: "ext4", inject: zero + "count=1", noEarlier: true,
		want: want{outcomes: complete, dir: "/var/crash", says: "did not appear"}, change: []string{hurry}},
	{name: "ext4-descriptors", fs: "ext4", inject: zero + "seek=1 count=8", noEarlier: true,
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "ext4-journal", fs: "ext4", noEarlier: true,
		inject: "block=$(debugfs -R 'blocks <8>' $target 2>/dev/null | cut -d' ' -f1) && " + noise + "seek=$block count=1024",
		want:   want{outcomes: complete}},
	{name: "ext4-root-directory", fs: "ext4", noEarlier: true,
		inject: "block=$(debugfs -R 'blocks <2>' $target 2>/dev/null | cut -d' ' -f1) && " + noise + "seek=$block count=1",
		want:   want{outcomes: complete}},
	{name: "ext4-inode-table", fs: "ext4", noEarlier: true, inject: noise + "seek=16 count=4096",
		want: want{outcomes: complete, dir: "/var/crash"}},
	// Not damaged: a feature of the future.
	{name: "ext4-unknown-feature", fs: "ext4", noEarlier: true,
		inject: "debugfs -w -R 'set_super_value feature_incompat 0x800002c6' $target && sync",
		want:   want{outcomes: complete, dir: "/var/crash", says: "the kernel does not support a feature or an option of it, or its superblock is damaged; kernel: EXT4-fs"}},
	// The superblock asks for a panic at the first error; the healthy kernel does not obey.
	{name: "ext4-errors-panic", ci: true, fs: "ext4", mkfs: "-e panic", mount: "mount -o errors=continue LABEL=dump /dump", noEarlier: true,
		inject: noise + "seek=16 count=4096",
		want:   want{outcomes: complete, dir: "/var/crash", says: "EXT4-fs error"}},
	{name: "xfs-superblock", fs: "xfs", noEarlier: true, inject: zero + "count=1", change: []string{hurry},
		want: want{outcomes: complete, dir: "/var/crash", says: "did not appear"}},
	{name: "xfs-log", fs: "xfs", noEarlier: true,
		inject: "touch /dump/x; sync; start=$(xfs_db -r -c 'sb 0' -c 'p logstart' $target | cut -d' ' -f3); start=$(xfs_db -r -c \"convert fsblock $start daddr\" $target | sed 's/.*(\\(.*\\))/\\1/'); " + noise + "seek=$((start / 8)) count=1024",
		want:   want{outcomes: complete, dir: "/var/crash"}},
	{name: "xfs-root-inode", fs: "xfs", noEarlier: true,
		inject: "ino=$(xfs_db -r -c 'sb 0' -c 'p rootino' $target | cut -d' ' -f3); at=$(xfs_db -r -c \"convert ino $ino daddr\" $target | sed 's/.*(\\(.*\\))/\\1/'); " + noise + "seek=$((at / 8)) count=4",
		want:   want{outcomes: complete, dir: "/var/crash"}},
	{name: "btrfs-superblock", fs: "btrfs", noEarlier: true, inject: zero + "seek=16 count=1", change: []string{hurry},
		want: want{outcomes: complete, dir: "/var/crash", says: "did not appear"}},
	{name: "b6-mount-fails", ci: true, fs: "btrfs", noEarlier: true, // both copies of the trees, all but the superblock
		inject: zero + "seek=256 count=16384; " + zero + "seek=17 count=230",
		want:   want{outcomes: complete, dir: "/var/crash"}},
	{name: "mount-fails-alone", fs: "ext4", alone: true, noEarlier: true, inject: zero + "seek=1 count=8",
		want: want{outcomes: []crashdir.Outcome{none}, says: "nothing could be saved"}},
	{name: "target-is-a-file", fs: "ext4", noEarlier: true, dir: "/dump/crash", prepare: "mkdir /dump/crash",
		inject: "rmdir /dump/crash && echo x >/dump/crash && sync",
		want:   want{outcomes: complete, dir: "/var/crash", says: "not a directory any more"}},
	{name: "target-is-a-symlink", fs: "ext4", noEarlier: true, dir: "/dump/crash", prepare: "mkdir /dump/crash",
		inject: "rmdir /dump/crash && ln -s /etc /dump/crash && sync",
		want:   want{outcomes: complete, dir: "/var/crash", says: "not a directory any more"}},
	{name: "target-is-gone", fs: "ext4", noEarlier: true, alone: true, dir: "/dump/a/crash", prepare: "mkdir -p /dump/a/crash",
		inject: "rm -r /dump/a && sync",
		want:   want{outcomes: complete, dir: "/dump/a/crash"}},
}
