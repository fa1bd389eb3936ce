package test

import "ukdump/internal/crashdir"

// spaceFaults are targets with too little room. If there is a second target, it
// gets the dump.
var spaceFaults = []fault{
	{name: "disk-full", ci: true, fs: "ext4", inject: "faultlab fill /dump 0",
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "b5-disk-full-dmesg", fs: "ext4", alone: true, inject: "faultlab fill /dump 512",
		want: want{outcomes: []crashdir.Outcome{crashdir.DmesgOnly, crashdir.Incomplete}, dmesg: "/dump"}},
	{name: "disk-full-64-kib", fs: "ext4", inject: "faultlab fill /dump 64",
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "disk-full-1-mib", fs: "ext4", inject: "faultlab fill /dump 1024",
		want: want{outcomes: complete, dir: "/var/crash", dmesg: "/dump"}},
	{name: "disk-full-half-way", ci: true, fs: "ext4", alone: true, inject: "faultlab fill /dump 8192",
		want: want{outcomes: []crashdir.Outcome{crashdir.Incomplete}, dmesg: "/dump"}},
	{name: "disk-full-half-way-xfs", fs: "xfs", inject: "faultlab fill /dump 8192",
		want: want{outcomes: complete, dir: "/var/crash", dmesg: "/dump"}},
	{name: "disk-full-half-way-btrfs", fs: "btrfs", inject: "faultlab fill /dump 8192",
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "b2-space-tiny-after-dump", fs: "ext4", alone: true, inject: "faultlab fill /dump 30000",
		want: want{outcomes: complete, dir: "/dump", dmesg: "/dump"}},
	{name: "no-inodes", fs: "ext4", mkfs: "-N 64", inject: "i=0; while true >/dump/filler$i; do i=$((i + 1)); done 2>/dev/null; sync; [ $(df --output=iavail /dump | tail -n 1) = 0 ]",
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "two-inodes", fs: "ext4", mkfs: "-N 64", inject: "i=0; while true >/dump/filler$i; do i=$((i + 1)); done 2>/dev/null; rm /dump/filler0 /dump/filler1; sync; [ $(df --output=iavail /dump | tail -n 1) = 2 ]",
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "quota", fs: "xfs", inject: "umount /dump && mount -o prjquota LABEL=dump /dump && mkdir -p /dump/sub && xfs_quota -x -c 'project -s -p /dump 7' -c 'limit -p bhard=4m 7' /dump >/dev/null",
		want: want{outcomes: complete}},
}
