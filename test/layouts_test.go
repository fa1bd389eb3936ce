package test

// layout is the guest's script for /var/crash, in sh(1) with the functions of
// test/debian/guest/storage.
type layout struct {
	fs, stack string // for the table
	n         int    // disks beside the root's: $target, $target2, …; 0: /var/crash is on the root's
	// make runs once. With root it runs before root, and copy_root follows.
	make  string
	mount string // runs in both boots after make; $target is no longer known
	root  string // mounts the root on /mnt, in place of the boot disk
	// renamed: the device must have another name in the capture kernel.
	renamed bool
	noModes bool   // the file system has no modes
	words   string // of the kernel's command line in both boots
	keepRAM bool   // the memory outlives the crash
}

const (
	mountTarget = "mount LABEL=target /var/crash"
	// QEMU's SD cards take minutes to discard.
	ext4 = "mkfs.ext4 -q -F -E nodiscard -L target"
)

var layouts = map[string]layout{
	"root": {fs: "ext4", stack: "GPT partition (root)"},
	"bind": {
		fs: "ext4", stack: "GPT partition (root), bind mount",
		make:  "mkdir -p /srv/dumps",
		mount: "mount --bind /srv/dumps /var/crash",
	},
	"tmpfs": {fs: "tmpfs", stack: "-", mount: "mount -t tmpfs tmpfs /var/crash"},
	// The kernel finds this disk by the words alone, before and after the crash.
	"pmem": {
		fs: "ext4", stack: "persistent memory (memmap=)", words: "memmap=256M!512M", keepRAM: true,
		make:  "modprobe -a nd_e820 nd_pmem && " + ext4 + " /dev/pmem0",
		mount: "modprobe -a nd_e820 nd_pmem && mount /dev/pmem0 /var/crash",
	},
	"loop": {
		fs: "ext4", stack: "loop",
		make:  "truncate -s 512M /srv/disk && " + ext4 + " /srv/disk",
		mount: "modprobe loop && mount -o loop /srv/disk /var/crash",
	},
	"zram": {
		fs: "ext4", stack: "zram",
		mount: "modprobe zram && echo 512M >/sys/block/zram0/disksize && " + ext4 + " /dev/zram0 && mount /dev/zram0 /var/crash",
	},

	// File systems on a whole disk or a partition.
	"ext2": {fs: "ext2", stack: "disk", n: 1, make: "mkfs.ext2 -q -F -L target $target", mount: mountTarget},
	"ext3": {fs: "ext3", stack: "disk", n: 1, make: "mkfs.ext3 -q -F -L target $target", mount: mountTarget},
	"ext4": {fs: "ext4", stack: "disk", n: 1, make: ext4 + " $target", mount: mountTarget},
	"ext4-partition": {
		fs: "ext4", stack: "GPT partition", n: 1,
		make: ext4 + " $(partition $target)", mount: mountTarget,
	},
	"mbr": {
		fs: "ext4", stack: "MBR partition", n: 1,
		make: "label=dos; " + ext4 + " $(partition $target)", mount: mountTarget,
	},
	"var": {
		fs: "ext4", stack: "disk, on /var", n: 1,
		make:  ext4 + " $target && mount $target /mnt && cp -a /var/. /mnt && umount /mnt",
		mount: "mount LABEL=target /var",
	},
	"renamed": {
		fs: "ext4", stack: "disk with another name", n: 2, renamed: true,
		make: "swap_names; " + ext4 + " $target", mount: mountTarget,
	},
	// Features that need modules beside that of the file system.
	"ext4-quota":    {fs: "ext4 with quotas", stack: "disk", n: 1, make: ext4 + " -O quota $target", mount: mountTarget},
	"ext4-casefold": {fs: "ext4 with casefold", stack: "disk", n: 1, make: ext4 + " -O casefold $target", mount: mountTarget},
	"btrfs-blake2":  {fs: "btrfs with blake2 checksums", stack: "disk", n: 1, make: "mkfs.btrfs -q -f --csum blake2 -L target $target", mount: mountTarget},
	// The copy must not change.
	"clone": {
		fs: "ext4", stack: "disk with a copy", n: 2,
		make:  ext4 + " $target && dd if=$target of=$target2 bs=1M conv=sparse,fsync 2>/dev/null && dumpe2fs -h $target2 >/srv/copy 2>&1",
		mount: "mount $(disk target) /var/crash && dumpe2fs -h $(disk target2) 2>&1 | cmp - /srv/copy",
	},
	"ext4-external-journal": {
		fs: "ext4, journal elsewhere", stack: "disk", n: 2,
		make: "mke2fs -q -F -O journal_dev $target2 && " + ext4 + " -J device=$target2 $target", mount: mountTarget,
	},
	"xfs": {fs: "xfs", stack: "disk", n: 1, make: "mkfs.xfs -q -f -L target $target", mount: mountTarget},
	// Version 4 of the format.
	"xfs-crc=0": {fs: "xfs (crc=0)", stack: "disk", n: 1, make: "mkfs.xfs -q -f -m crc=0 -L target $target", mount: mountTarget},
	// The capture kernel mounts it without quotas; the next mount with quotas
	// counts again.
	"xfs-quota": {
		fs: "xfs with quotas", stack: "disk", n: 1,
		make:  "mkfs.xfs -q -f -L target $target",
		mount: "mount -o usrquota,prjquota LABEL=target /var/crash",
	},
	"xfs-external-log": {
		fs: "xfs, log elsewhere", stack: "disk", n: 2,
		make:  "mkfs.xfs -q -f -L target -l logdev=$target2,size=64m $target",
		mount: "mount -o logdev=$target2 LABEL=target /var/crash",
	},
	"f2fs":  {fs: "f2fs", stack: "disk", n: 1, make: "mkfs.f2fs -q -f -t 0 -l target $target", mount: mountTarget},
	"vfat":  {fs: "vfat", stack: "disk", n: 1, noModes: true, make: "mkfs.vfat -n TARGET $target", mount: "mount LABEL=TARGET /var/crash"},
	"exfat": {fs: "exfat", stack: "disk", n: 1, noModes: true, make: "mkfs.exfat -L target $target", mount: mountTarget},
	"overlay-root": {
		fs: "overlay (root)", stack: "ext4 out of sight", n: 1,
		make: ext4 + " $target && mount $target /media && mkdir /media/upper /media/work && umount /media",
		root: "modprobe overlay && mount LABEL=target /media && mount -t overlay -o lowerdir=/,upperdir=/media/upper,workdir=/media/work overlay /mnt",
	},

	"overlay": {
		fs: "overlay", stack: "ext4 on disk", n: 1,
		make: ext4 + " $target && mount $target /media && mkdir /media/upper /media/work && umount /media",
		mount: "modprobe overlay && mount LABEL=target /media && " +
			"mount -t overlay -o lowerdir=/srv,upperdir=/media/upper,workdir=/media/work overlay /var/crash",
	},

	// btrfs.
	"btrfs": {fs: "btrfs", stack: "disk", n: 1, make: "mkfs.btrfs -q -f -L target $target", mount: mountTarget},
	"btrfs-subvolume": {
		fs: "btrfs subvolume", stack: "disk", n: 1,
		make:  "mkfs.btrfs -q -f -L target $target && mount $target /mnt && btrfs subvolume create /mnt/@crash && umount /mnt",
		mount: "mount -o subvol=@crash LABEL=target /var/crash",
	},
	"btrfs-root": {
		fs: "btrfs subvolume /, compressed", stack: "GPT partition", n: 1,
		make: "modprobe btrfs && part=$(partition $target) && mkfs.btrfs -q -f -L target $part && mount $part /mnt && btrfs subvolume create /mnt/@ && umount /mnt",
		root: "modprobe btrfs && mount -o subvol=@,compress=lzo LABEL=target /mnt",
	},
	"btrfs-var": {
		fs: "btrfs subvolume /var", stack: "disk", n: 1,
		make: "mkfs.btrfs -q -f -L target $target && mount $target /mnt && btrfs subvolume create /mnt/@var && " +
			"cp -a /var/. /mnt/@var && umount /mnt",
		mount: "mount -o subvol=@var,compress=zstd LABEL=target /var",
	},
	"btrfs-single": {
		fs: "btrfs", stack: "2 disks, single", n: 2,
		make:  "mkfs.btrfs -q -f -L target -m raid1 -d single $target $target2",
		mount: "modprobe btrfs && btrfs device scan && " + mountTarget,
	},
	"btrfs-raid1": {
		fs: "btrfs", stack: "2 disks, raid1", n: 2,
		make:  "mkfs.btrfs -q -f -L target -m raid1 -d raid1 $target $target2",
		mount: "modprobe btrfs && btrfs device scan && " + mountTarget,
	},
	"btrfs-degraded": {
		fs: "btrfs", stack: "1 of 2 disks, raid1", n: 2,
		make: "mkfs.btrfs -q -f -L target -m raid1 -d raid1 $target $target2 && wipefs -qa $target2 && " +
			"modprobe btrfs && { btrfs device scan --forget || true; }",
		mount: "modprobe btrfs && btrfs device scan && mount -o degraded LABEL=target /var/crash",
	},

	// Device mapper.
	"lvm-linear": {
		fs: "ext4", stack: "LVM linear", n: 1,
		make: "vg $target && lvcreate $lvm -n target -L 1g ukdump && " + ext4 + " /dev/ukdump/target", mount: "vg_on && " + mountTarget,
	},
	"lvm-xfs": {
		fs: "xfs", stack: "LVM linear on GPT partition", n: 1,
		make:  "vg $(partition $target) && lvcreate $lvm -n target -L 1g ukdump && mkfs.xfs -q -f -L target /dev/ukdump/target",
		mount: "vg_on && " + mountTarget,
	},
	"lvm-striped": {
		fs: "ext4", stack: "LVM striped over 2 disks", n: 2,
		make:  "vg $target $target2 && lvcreate $lvm -n target -i 2 -L 1g ukdump && " + ext4 + " /dev/ukdump/target",
		mount: "vg_on && " + mountTarget,
	},
	"lvm-thin": {
		fs: "ext4", stack: "LVM thin", n: 1,
		make:  "vg $target && lvcreate $lvm -n target -L 1500m -V 1g --thinpool pool ukdump && " + ext4 + " /dev/ukdump/target",
		mount: "vg_on && " + mountTarget,
	},
	"lvm-thin-snapshot": {
		fs: "ext4", stack: "LVM thin with a snapshot", n: 1,
		make: "vg $target && lvcreate $lvm -n target -L 1500m -V 1g --thinpool pool ukdump && " + ext4 + " /dev/ukdump/target && " +
			"lvcreate $lvm -s -n before ukdump/target",
		// The snapshot has not changed.
		mount: "vg_on && lvchange $lvm -ay -K ukdump/before && mount /dev/ukdump/target /var/crash && " +
			"mount -o ro /dev/ukdump/before /mnt && [ \"$(ls /mnt)\" = lost+found ] && umount /mnt",
	},
	"lvm-raid5": {
		fs: "ext4", stack: "LVM raid5 over 3 disks", n: 3,
		make: "vg $target $target2 $target3 && lvcreate $lvm -n target --type raid5 -i 2 --nosync -L 1g ukdump && " + ext4 + " /dev/ukdump/target",
		// With --nosync it makes no difference whether the volume was in use at
		// the crash.
		mount: "vg_on && " + mountTarget,
	},
	"lvm-cached": {
		fs: "ext4", stack: "LVM cached", n: 2,
		make: "vg $target $target2 && lvcreate $lvm -n target -L 1g ukdump $target && lvcreate $lvm --type cache-pool -n fast -L 256m ukdump $target2 && " +
			"lvconvert $lvm --type cache --cachepool ukdump/fast ukdump/target && " + ext4 + " /dev/ukdump/target",
		mount: "vg_on && " + mountTarget,
	},
	"lvm-raid1": {
		fs: "ext4", stack: "LVM raid1", n: 2,
		make:  "vg $target $target2 && lvcreate $lvm -n target --type raid1 -m 1 --nosync -L 1g ukdump && " + ext4 + " /dev/ukdump/target",
		mount: "vg_on && " + mountTarget,
	},
	"lvm-raid1-degraded": {
		fs: "ext4", stack: "LVM raid1, 1 of 2 disks", n: 2,
		make: "vg $target $target2 && lvcreate $lvm -n target --type raid1 -m 1 --nosync -L 1g ukdump && " + ext4 + " /dev/ukdump/target && " +
			"vgchange $lvm -an ukdump && dd if=/dev/zero of=$target2 bs=1M count=1 conv=fsync 2>/dev/null",
		mount: "vg_on && " + mountTarget,
	},
	"lvm-snapshot": {
		fs: "ext4", stack: "LVM linear with a snapshot", n: 1,
		make: "vg $target && lvcreate $lvm -n target -L 600m ukdump && " + ext4 + " /dev/ukdump/target && lvcreate $lvm -s -n before -L 300m ukdump/target",
		// The snapshot has not changed and is still valid.
		mount: "vg_on && mount /dev/ukdump/target /var/crash && mount -o ro /dev/ukdump/before /mnt && [ \"$(ls /mnt)\" = lost+found ] && umount /mnt",
	},
	"lvm-root": {
		fs: "ext4 (root)", stack: "LVM linear on GPT partition", n: 1,
		make: "vg $(partition $target) && lvcreate $lvm -n target -L 1800m ukdump && " + ext4 + " /dev/ukdump/target",
		root: "vg_on && mount /dev/ukdump/target /mnt",
	},
	"multipath": {
		fs: "ext4", stack: "dm-multipath over 2 paths", n: 1,
		make:  ext4 + " ${target%%\n*}",
		mount: "multipath && mount /dev/mapper/mpatha /var/crash",
	},
	"multipath-partition": {
		fs: "ext4", stack: "GPT partition of dm-multipath over 2 paths", n: 1,
		make:  ext4 + " $(partition ${target%%\n*})",
		mount: "multipath && kpartx && mount /dev/mapper/mpatha-part1 /var/crash",
	},
	"lvm-multipath": {
		fs: "ext4", stack: "LVM on dm-multipath over 2 paths", n: 1,
		make:  "multipath && vg /dev/mapper/mpatha && lvcreate $lvm -n target -L 1g ukdump && " + ext4 + " /dev/ukdump/target",
		mount: "multipath && vg_on && " + mountTarget,
	},
	"luks": {
		fs: "ext4", stack: "LUKS2", n: 1,
		make:  "luks $target && " + ext4 + " /dev/mapper/secret",
		mount: mountTarget,
	},
	"lvm-luks": {
		fs: "ext4", stack: "LVM on LUKS2", n: 1,
		make:  "luks $target && vg /dev/mapper/secret && lvcreate $lvm -n target -L 1g ukdump && " + ext4 + " /dev/ukdump/target",
		mount: mountTarget,
	},
	"integrity": {
		fs: "ext4", stack: "dm-integrity", n: 1,
		make:  "part=$(partition $target 100MiB) && integritysetup format -q $part && integritysetup open $part checked && " + ext4 + " /dev/mapper/checked",
		mount: mountTarget,
	},

	// md.
	"md0":    {fs: "ext4", stack: "md raid0", n: 2, make: "md 0 $target $target2 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget},
	"md1":    {fs: "ext4", stack: "md raid1, metadata 1.2", n: 2, make: "md 1 $target $target2 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget},
	"md5":    {fs: "xfs", stack: "md raid5 over 3 disks", n: 3, make: "md 5 $target $target2 $target3 && mkfs.xfs -q -f -L target /dev/md0", mount: "md_on && " + mountTarget},
	"md6":    {fs: "ext4", stack: "md raid6 over 4 disks", n: 4, make: "md 6 $target $target2 $target3 $target4 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget},
	"md10":   {fs: "ext4", stack: "md raid10 over 4 disks", n: 4, make: "md 10 $target $target2 $target3 $target4 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget},
	"bcache": {fs: "ext4", stack: "bcache", n: 2, make: "make-bcache --wipe-bcache -B $target -C $target2 && bcache_on && " + ext4 + " /dev/bcache0", mount: "bcache_on && " + mountTarget},
	"md-linear": {
		fs: "ext4", stack: "md linear", n: 2,
		make: "md linear $target $target2 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget,
	},
	"bcache-md1": {
		fs: "ext4", stack: "bcache on md raid1", n: 3,
		make:  "md 1 $target $target2 && make-bcache --wipe-bcache -B /dev/md0 -C $target3 && bcache_on && " + ext4 + " /dev/bcache0",
		mount: "md_on && bcache_on && " + mountTarget,
	},
	"btrfs-lvm": {
		fs: "btrfs", stack: "2 logical volumes, raid1", n: 2,
		make: "vg $target $target2 && lvcreate $lvm -n one -L 1g ukdump $target && lvcreate $lvm -n two -L 1g ukdump $target2 && " +
			"mkfs.btrfs -q -f -L target -m raid1 -d raid1 /dev/ukdump/one /dev/ukdump/two",
		mount: "vg_on && modprobe btrfs && btrfs device scan && " + mountTarget,
	},
	"md1-0.90": {
		fs: "ext4", stack: "md raid1, metadata 0.90", n: 2,
		make: "md 1 --metadata=0.90 $target $target2 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget,
	},
	"md1-1.0": {
		fs: "ext4", stack: "md raid1, metadata 1.0", n: 2,
		make: "md 1 --metadata=1.0 $target $target2 && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget,
	},
	"md1-partitions": {
		fs: "btrfs", stack: "md raid1 on GPT partitions", n: 2,
		make:  "md 1 $(partition $target) $(partition $target2) && mkfs.btrfs -q -f -L target /dev/md0",
		mount: "md_on && " + mountTarget,
	},
	"md1-degraded": {
		fs: "ext4", stack: "md raid1, 1 of 2 disks", n: 1,
		make: "md 1 $target missing && " + ext4 + " /dev/md0", mount: "md_on && " + mountTarget,
	},
	"md5-degraded": {
		fs: "ext4", stack: "md raid5, 2 of 3 disks", n: 2,
		// The crash left the array dirty. Without --force mdadm does not run a RAID 5
		// that is dirty and degraded.
		make: "md 5 $target missing $target2 && " + ext4 + " /dev/md0", mount: "md_on --force && " + mountTarget,
	},
	"md-root": {
		fs: "ext4 (root)", stack: "md raid1 on GPT partitions", n: 2,
		make: "md 1 $(partition $target) $(partition $target2) && " + ext4 + " /dev/md0",
		root: "md_on && mount LABEL=target /mnt",
	},
	"md1-divided": {
		fs: "ext4", stack: "GPT partition of md raid1", n: 2,
		make: "md 1 $target $target2 && " + ext4 + " $(partition /dev/md0)", mount: "md_on && " + mountTarget,
	},
	"md1-lvm": {
		fs: "ext4", stack: "md raid1 on LVM", n: 2,
		make: "vg $target $target2 && lvcreate $lvm -n one -L 900m ukdump $target && lvcreate $lvm -n two -L 900m ukdump $target2 && " +
			"md 1 /dev/ukdump/one /dev/ukdump/two && " + ext4 + " /dev/md0",
		mount: "vg_on && md_on && " + mountTarget,
	},
	"lvm-md1-partitions": {
		fs: "xfs", stack: "LVM on md raid1 on GPT partitions", n: 2,
		make: "md 1 $(partition $target) $(partition $target2) && vg /dev/md0 && lvcreate $lvm -n target -L 1g ukdump && " +
			"mkfs.xfs -q -f -L target /dev/ukdump/target",
		mount: "md_on && vg_on && " + mountTarget,
	},
}
