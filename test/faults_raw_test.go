package test

import (
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

const (
	swapOnRaw  = "mkswap -q $raw && swapon $raw\n"
	collectRaw = "kdumpctl collect >$out/collect.txt 2>&1 || fail \"collect: $(cat $out/collect.txt)\"\n"
	// The swap from before: mkswap chose its UUID, so no other swap has it.
	swapIsBack = "[ -n \"$(blkid -c /dev/null -t TYPE=swap)\" ] || fail 'there is no swap'\n" +
		"kdumpctl collect | grep -q '^Nothing' || fail 'something is left'\n"
)

// rawVolume makes a logical volume on the partition.
const rawVolume = "export DM_DISABLE_UDEV=1; modprobe dm_mod; pvcreate -qqy $raw && vgcreate -qqy dumps $raw && lvcreate -qqy -n one -l 100%FREE dumps && "

func freezeRaw(m *debian.Machine, _ *vmtest.VM) error     { return m.NBD("raw").Freeze() }
func failRawWrites(m *debian.Machine, _ *vmtest.VM) error { return m.NBD("raw").FailWrites() }
func failRawReads(m *debian.Machine, _ *vmtest.VM) error  { return m.NBD("raw").FailReads() }

// rawFaults put the dump on a partition without a file system; it is collected
// after the reboot.
var rawFaults = []fault{
	{name: "raw-swap-alone", ci: true, raw: true, prepare: swapOnRaw + "targets raw:swap", repair: collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/var/crash", format: dumpfile.Kdump}},
	{name: "raw-swap-is-the-default-fallback", raw: true, fs: "ext4", noEarlier: true,
		// The default is /var/crash and then swap; here /var/crash is on a disk that
		// disappears.
		prepare: swapOnRaw + "targets /dump raw:swap", inject: "umount /dump; dd if=/dev/zero of=$target bs=1M count=1 conv=fsync",
		change: []string{hurry}, repair: collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/dump", says: "did not appear"}},
	{name: "raw-blank-partition", raw: true, prepare: "targets raw:PARTUUID=$(blkid -p -s PART_ENTRY_UUID -o value $raw)", repair: collectRaw,
		check: "kdumpctl load || fail 'it is not blank again'",
		want:  want{outcomes: complete, dir: "/var/crash"}},
	{name: "raw-swap-on-logical-volume", raw: true, prepare: rawVolume + "mkswap -q /dev/dumps/one && swapon /dev/dumps/one && targets raw:swap",
		repair: "export DM_DISABLE_UDEV=1; vgchange -qqy -ay dumps\n" + collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/var/crash", format: dumpfile.Kdump}},
	{name: "raw-blank-logical-volume", raw: true, prepare: rawVolume + "targets raw:/dev/mapper/dumps-one",
		repair: "export DM_DISABLE_UDEV=1; vgchange -qqy -ay dumps\n" + collectRaw, check: "kdumpctl load || fail 'it is not blank again'",
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "raw-two-crashes", raw: true, prepare: swapOnRaw + "targets raw:swap /var/crash",
		// The first dump was not collected: the second one goes to the next
		// target.
		inject: "swapoff $raw; printf 'UKDUMP-RAW-DUMP\\n' | dd of=$raw conv=notrunc,fsync",
		want:   want{outcomes: complete, dir: "/var/crash", says: "has not been collected"}},
	{name: "raw-content-changed", raw: true, prepare: swapOnRaw + "targets raw:swap /var/crash",
		inject: "swapoff $raw; mkfs.ext4 -q -F -L mine $raw", check: "e2fsck -fn $(blkid -c /dev/null -l -o device -t LABEL=mine) || fail 'it was written to'",
		want: want{outcomes: complete, dir: "/var/crash", says: "the device holds ext4"}},
	{name: "raw-hibernated", raw: true, prepare: swapOnRaw + "targets raw:swap /var/crash",
		inject: "swapoff $raw; printf S1SUSPEND | dd of=$raw bs=1 seek=4086 conv=notrunc,fsync",
		want:   want{outcomes: complete, dir: "/var/crash", says: "hibernated"}},
	{name: "raw-collector-fails", raw: true, prepare: swapOnRaw + "targets raw:swap", change: []string{"collector=exit1"}, repair: collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/var/crash", format: dumpfile.ELF}},
	{name: "raw-collector-hangs-half", raw: true, prepare: swapOnRaw + "targets raw:swap", change: []string{hurry, "collector=first hang-half"}, repair: collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "raw-worker-killed", ci: true, raw: true, prepare: swapOnRaw + "targets raw:swap", change: []string{"collector=first kill-parent"}, repair: collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "raw-second-crash", raw: true, prepare: swapOnRaw + "targets raw:swap", change: []string{"collector=half-crash"}, repair: collectRaw, check: swapIsBack,
		want: want{outcomes: []crashdir.Outcome{crashdir.Incomplete, crashdir.DmesgOnly}, dmesg: "/var/crash", panics: true, within: 3 * time.Minute}},
	{name: "raw-eio-on-write", raw: true, nbd: true, prepare: swapOnRaw + "targets raw:swap /var/crash", events: inTheMiddle(failRawWrites), repair: collectRaw,
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "raw-eio-on-read", raw: true, nbd: true, prepare: swapOnRaw + "targets raw:swap /var/crash", events: inTheMiddle(failRawReads), repair: collectRaw,
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "raw-disk-stops-answering", raw: true, nbd: true, prepare: swapOnRaw + "targets raw:swap /var/crash", change: []string{hurry},
		events: []event{{line: atDumping, do: freezeRaw}, thaw("raw")}, repair: collectRaw,
		want: want{outcomes: anything, within: 4 * time.Minute}},
	{name: "crash-during-collect", raw: true, prepare: swapOnRaw + "targets raw:swap",
		// The machine goes down during the collection, several times.
		repair: "for n in 1 5 20 60; do timeout -s KILL 0.$n kdumpctl collect || true; done\n" + collectRaw, check: swapIsBack,
		want: want{outcomes: complete, dir: "/var/crash"}},
}

const (
	// The only target is a disk that disappears.
	evidenceDisk = "mkdir -p /evidence && mkfs.vfat -n EVIDENCE $raw >/dev/null && mount LABEL=EVIDENCE /evidence && echo EVIDENCE=/evidence >>/etc/ukdump.conf.d/zz.conf\n"
)

// evidenceFaults leave no working target.
var evidenceFaults = []fault{
	{name: "evidence-directory", ci: true, fs: "ext4", bus: vmtest.VirtioSCSI, alone: true, raw: true, prepare: evidenceDisk, change: []string{hurry},
		events: []event{{line: atPanic, do: unplug}},
		check:  "mkdir -p /evidence && mount LABEL=EVIDENCE /evidence && grep -q \"$mark\" /evidence/20*/vmcore-dmesg.txt && kdumpctl list | grep -q dmesg-only || fail 'no evidence'",
		want:   want{outcomes: nothing, says: "did not appear"}},
	{name: "evidence-pstore", ci: true, pc: true, fs: "ext4", bus: vmtest.VirtioSCSI, alone: true, noEarlier: true, erst: true, change: []string{hurry},
		events: []event{{line: atPanic, do: unplug}},
		check:  "mkdir -p /sys/fs/pstore; mount -t pstore pstore /sys/fs/pstore; grep -l 'sysrq triggered crash' /sys/fs/pstore/* && kdumpctl announce && kdumpctl list | grep -q failed || fail \"pstore: $(ls /sys/fs/pstore)\"",
		want:   want{outcomes: nothing, says: "did not appear", panics: true}},
	{name: "old-dumps-make-room", ci: true, fs: "ext4", size: 192, alone: true,
		prepare: "for y in 2014 2015 2016 2017 2018; do cp -a /dump/2020-01-01T00-00-00Z /dump/$y-01-01T00-00-00Z || true; done; sync",
		inject:  "faultlab fill /dump 9000",
		want:    want{outcomes: complete, dir: "/dump"}},
	{name: "old-dumps-stay-if-told-so", fs: "ext4", size: 192, alone: true, conf: "KEEP=0\n",
		prepare: "for y in 2014 2015; do cp -a /dump/2020-01-01T00-00-00Z /dump/$y-01-01T00-00-00Z; done; sync",
		inject:  "faultlab fill /dump 9000",
		check:   "[ -e /dump/2014-01-01T00-00-00Z/vmcore ] || fail 'an old dump is gone'",
		want:    want{outcomes: []crashdir.Outcome{crashdir.Incomplete}, dir: "/dump", dmesg: "/dump"}},
	{name: "plain-copy", ci: true, change: []string{"collector=exit1"}, want: want{outcomes: complete, format: dumpfile.ELF}},
}
