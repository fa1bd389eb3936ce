package host

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a host of files, whose content after "-> " is the target of a
// link.
func machine(t testing.TB, files map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// disk is a machine with one disk of that sysfs path, mounted on /.
func disk(fstype, super, sysfs string, more map[string]string) map[string]string {
	name := filepath.Base(sysfs)
	files := map[string]string{
		"proc/self/mountinfo": "1 0 8:0 / / rw - " + fstype + " /dev/" + name + " " + super + "\n",
		sysfs + "/dev":        "8:0\n",
		sysfs + "/size":       "2048\n",
		sysfs + "/uevent":     "DEVNAME=" + name + "\n",
		"sys/dev/block/8:0":   "-> ../../../" + sysfs,
		"run/udev/data/b8:0":  "S:disk/by-id/x\nE:ID_FS_TYPE=" + fstype + "\nE:ID_FS_UUID=the-uuid\n",
	}
	for k, v := range more {
		files[k] = v
	}
	return files
}

const sda = "sys/devices/pci0000:00/host0/block/sda"

func TestRefusals(t *testing.T) {
	mount := func(fstype, source string) map[string]string {
		return map[string]string{"proc/self/mountinfo": "1 0 0:9 / / rw - " + fstype + " " + source + " rw\n"}
	}
	virtual := func(name string) string { return "sys/devices/virtual/block/" + name }
	dm := virtual("dm-0")
	luks := func(table string) map[string]string {
		return disk("ext4", "rw", dm, map[string]string{
			dm + "/dm/uuid": "CRYPT-LUKS2-00000000000040008000000000000001-x\n", dm + "/dm/name": "luks-x\n", dm + "/dm/table": table,
			dm + "/slaves/sda":    "-> ../../../../pci0000:00/host0/block/sda",
			"sys/class/block/sda": "-> ../../devices/pci0000:00/host0/block/sda", sda + "/dev": "8:0\n", sda + "/size": "100\n",
		})
	}
	md := func(metadata, level string, more map[string]string) map[string]string {
		dir := virtual("md127") + "/md/"
		files := map[string]string{dir + "metadata_version": metadata + "\n", dir + "level": level + "\n"}
		maps.Copy(files, more)
		return disk("ext4", "rw", virtual("md127"), files)
	}
	member := map[string]string{
		virtual("md127") + "/slaves/sda": "-> ../../../../../" + sda, "sys/class/block/sda": "-> ../../../" + sda,
		sda + "/dev": "8:16\n", sda + "/uevent": "DEVNAME=sda\n", "run/udev/data/b8:16": "E:ID_FS_TYPE=linux_raid_member\nE:ID_FS_UUID=u\n",
	}
	with := func(files map[string]string, name, data string) map[string]string {
		files[name] = data
		return files
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		what  string
		text  string
	}{
		{"tmpfs", mount("tmpfs", "x"), "tmpfs file system", "lost at the reboot"},
		{"nfs", mount("nfs4", "server:/x"), "nfs4 file system", "not on a disk"},
		{"mergerfs", mount("fuse.mergerfs", "a:b"), "fuse.mergerfs file system", "made of other"},
		{"zfs", mount("zfs", "rpool/ROOT"), "ZFS dataset", "rpool/ROOT"},
		{"squashfs", mount("squashfs", "/dev/loop0"), "squashfs file system", "read-only"},
		{"bcachefs", mount("bcachefs", "/dev/sda:/dev/sdb"), "bcachefs file system", "cannot open it yet"},
		{"unknown type", mount("hfsplus", "/dev/sda1"), "hfsplus file system", "mounted on /"},
		{"luks without header", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "CRYPT-LUKS2-abc\n"}), "dm-crypt volume", "no LUKS header"},
		{"luks re-encrypted", luks("0 8 crypt aes-xts-plain64 :64:logon:d 0 8:0 0\n8 8 linear 8:0 8\n"), "LUKS volume", "luks-x (dm-0) is not supported: re-encryption in progress"},
		{"luks that the disk encrypts", luks("0 8 linear 8:0 32768\n"), "LUKS volume", "luks-x (dm-0) is not supported: its target of device-mapper is linear, not crypt"},
		{"luks with integrity", luks("0 8 crypt capi:authenc(hmac(sha256),xts(aes))-random :96:logon:d 0 253:0 0 1 integrity:48:aead\n"), "LUKS volume", "integrity"},
		{"luks with its header elsewhere", with(luks("0 8 crypt aes-xts-plain64 :64:logon:d 0 8:0 0\n"), "dev/sda", strings.Repeat("x", 8192)), "LUKS volume", "its header is not on sda"},
		{"without a UUID", with(disk("vfat", "rw", sda, nil), "run/udev/data/b8:0", "E:ID_FS_TYPE=vfat\n"), "vfat file system", "no UUID"},
		{"dm-crypt", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "CRYPT-PLAIN-abc\n"}), "dm-crypt volume", "dm-0"},
		{"partition of BIOS RAID", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "part1-DMRAID-abc\n"}), "kpartx partition on BIOS RAID set", "dm-0"},
		{"partition of a logical volume", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "part1-LVM-abc\n"}), "kpartx partition on LVM volume", "the capture kernel has no kpartx"},
		{"partition of a LUKS volume", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "part1-CRYPT-LUKS2-abc\n"}), "kpartx partition on dm-crypt volume", "the capture kernel has no kpartx"},
		{"dm-integrity", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "CRYPT-INTEGRITY-x-abc\n", dm + "/dm/name": "abc\n"}), "dm-integrity volume", "abc (dm-0)"},
		{"dm-verity", disk("ext4", "rw", dm, map[string]string{dm + "/dm/uuid": "CRYPT-VERITY-x-abc\n"}), "dm-verity volume", "dm-0"},
		{"drbd", disk("ext4", "rw", virtual("drbd0"), nil), "DRBD device", "drbd0"},
		{"autofs", mount("autofs", "/etc/auto.misc"), "autofs file system", "nothing was mounted"},
		{"other dm", disk("ext4", "rw", dm, map[string]string{dm + "/dm/name": "x\n"}), "device-mapper device", "x (dm-0)"},
		{"md without UUID", md("1.2", "raid1", nil), "md array", "md127 (raid1) is not supported: the UUID"},
		{"md of an unknown level", md("1.2", "multipath", member), "md array", "cannot run that level"},
		{"md without metadata", md("none", "raid0", nil), "md array", "no metadata"},
		{"md that is reshaped", md("1.2", "raid5", map[string]string{virtual("md127") + "/md/reshape_position": "1024\n"}), "md array", "reshape in progress"},
		{"imsm", md("external:/md126/0", "raid1", map[string]string{
			virtual("md126") + "/md/metadata_version": "external:imsm\n", "sys/class/block/md126": "-> ../../../" + virtual("md126"),
		}), "Intel RAID (IMSM)", "mdmon"},
		{"ddf", md("external:ddf", "raid1", nil), "DDF RAID", "mdmon"},
		{"loop", disk("ext4", "rw", virtual("loop0"), nil), "loop device", "a file on another"},
		{"zram", disk("ext4", "rw", virtual("zram0"), nil), "zram device", "memory"},
		{"nbd", disk("ext4", "rw", virtual("nbd1"), nil), "network block device", "not on a disk"},
		{"rbd", disk("ext4", "rw", "sys/devices/rbd/0/block/rbd0", nil), "Ceph block device", "not on a disk"},
		{"bcache without UUID", disk("ext4", "rw", virtual("bcache0"), map[string]string{virtual("bcache0") + "/bcache": "-> ../vdb/bcache"}), "bcache device", "UUID"},
		{"bcache that lost its cache", disk("ext4", "rw", virtual("bcache0"), map[string]string{
			virtual("bcache0") + "/bcache": "-> ../vdb/bcache", virtual("vdb") + "/bcache/state": "inconsistent\n", virtual("vdb") + "/bcache/backing_dev_uuid": "x\n",
		}), "bcache device", "was lost"},
		{"zvol", disk("ext4", "rw", virtual("zd0"), nil), "ZFS volume", ""},
		{"unknown virtual", disk("ext4", "rw", virtual("foo0"), nil), "virtual block device", "foo0"},
		{"iscsi", disk("ext4", "rw", "sys/devices/platform/host2/session1/target2:0:0/2:0:0:0/block/sda", nil), "iSCSI disk", "sda"},
		{"nvme-fabrics", disk("ext4", "rw", "sys/devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1", nil), "NVMe over Fabrics disk", "nvme0n1"},
		{"nvme tcp multipath", disk("ext4", "rw", "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", map[string]string{
			"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0":    "-> ../../nvme-fabrics/ctl/nvme0",
			"sys/devices/virtual/nvme-fabrics/ctl/nvme0/transport":     "tcp\n",
			"sys/devices/virtual/nvme-subsystem/nvme-subsys0/iopolicy": "numa\n",
		}), "NVMe over Fabrics disk", "(tcp)"},
		{"ext4 journal option", disk("ext4", "rw,journal_dev=0x811", sda, nil), "ext4 file system", "journal is on another"},
		{"xfs log option", disk("xfs", "rw,logdev=/dev/sdb", sda, nil), "xfs file system", "log is on another"},
		{"xfs realtime", disk("xfs", "rw,rtdev=/dev/sdb", sda, nil), "xfs file system", "real-time"},
		{"xfs log", disk("xfs", "rw", sda, map[string]string{"dev/sda": xfs(0)}), "xfs file system", "log is on another"},
		{"ext4 journal", disk("ext4", "rw", sda, map[string]string{"dev/sda": ext4(0)}), "ext4 file system", "journal is on another"},
	} {
		_, err := machine(t, tt.files).Storage("/var/crash")
		var u *UnsupportedError
		if !errors.As(err, &u) {
			t.Errorf("%s: got %v, want an *UnsupportedError", tt.name, err)
			continue
		}
		if u.What != tt.what || !strings.Contains(err.Error(), tt.text) || u.Dir != "/var/crash" {
			t.Errorf("%s: got %q: %v", tt.name, u.What, err)
		}
	}
}

// xfs and ext4 return the beginning of a file system with the log's or
// journal's place.
func xfs(log uint64) string {
	b := make([]byte, 1<<20)
	copy(b, "XFSB")
	binary.BigEndian.PutUint32(b[4:], 4096)
	b[32] = 1 // UUID
	binary.BigEndian.PutUint64(b[48:], log)
	return string(b)
}

func ext4(journal uint32) string {
	b := make([]byte, 1<<20)
	sb := b[1024:]
	sb[0x38], sb[0x39] = 0x53, 0xef
	sb[0x68] = 1 // UUID
	binary.LittleEndian.PutUint32(sb[0x5c:], 4)
	binary.LittleEndian.PutUint32(sb[0x60:], 0x40)
	binary.LittleEndian.PutUint32(sb[0xe0:], journal)
	return string(b)
}

func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		name, fstype, dev, uuid string
	}{
		{"ext4 on the device", "ext4", ext4(8), "01000000-0000-0000-0000-000000000000"},
		{"ext4 mounted as ext3", "ext3", ext4(8), "01000000-0000-0000-0000-000000000000"},
		{"xfs on the device", "xfs", xfs(100), "01000000-0000-0000-0000-000000000000"},
		{"udev only", "ext4", "", "the-uuid"},
		{"udev, unknown to us", "f2fs", "nothing", "the-uuid"},
	} {
		files := disk(tt.fstype, "rw", sda, nil)
		if tt.dev != "" {
			files["dev/sda"] = tt.dev
		}
		s, err := machine(t, files).Storage("/var/crash")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if s.UUID != tt.uuid || s.FSType != tt.fstype {
			t.Errorf("%s: got %s %s", tt.name, s.FSType, s.UUID)
		}
	}
	files := disk("xfs", "rw", sda, nil)
	files["dev/sda"] = ext4(8)
	if _, err := machine(t, files).Storage("/"); err == nil || !strings.Contains(err.Error(), "mounted as xfs but holds ext4") {
		t.Errorf("other type on the device: %v", err)
	}
	delete(files, "dev/sda")
	delete(files, "run/udev/data/b8:0")
	if _, err := machine(t, files).Storage("/"); err == nil || !strings.Contains(err.Error(), "UUID of sda") {
		t.Errorf("no way to the UUID: %v", err)
	}
}

func TestPaths(t *testing.T) {
	more := map[string]string{
		"var":            "-> /data/../data/v",
		"data/v/x":       "",
		"loop":           "-> loop",
		"etc/passwd":     "x",
		"escape":         "-> ../../../../../../../../../../etc",
		"data/v/crash":   "-> relative/dir",
		"data/v/file/..": "",
	}
	delete(more, "data/v/file/..")
	h := machine(t, disk("ext4", "rw", sda, more))
	for dir, want := range map[string]string{
		"/":                "/",
		"/var/crash":       "/data/v/relative/dir",
		"/var/./none/a/b/": "/data/v/none/a/b",
		"/var/../tmp":      "/tmp",
		"/escape/none":     "/etc/none",
	} {
		s, err := h.Storage(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
		} else if s.PathInFS != want {
			t.Errorf("%s: got %s, want %s", dir, s.PathInFS, want)
		}
	}
	for dir, want := range map[string]string{
		"/loop/x":     "too many levels",
		"/etc/passwd": "not a directory",
		"relative":    "not an absolute path",
		"":            "not an absolute path",
	} {
		if s, err := h.Storage(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v", dir, s, err)
		}
	}
}

func TestPlace(t *testing.T) {
	for _, tt := range []struct{ root, point, fstype, super, dir, path, options string }{
		{"/", "/", "ext4", "rw", "/var/crash", "/var/crash", ""},
		{"/", "/var", "ext4", "rw", "/var", "/", ""},
		{"/srv", "/var/crash", "ext4", "rw", "/var/crash/x", "/srv/x", ""},
		{"/@", "/", "btrfs", "rw,subvolid=256,subvol=/@", "/var/crash", "/var/crash", "subvolid=256"},
		{"/@/a", "/var", "btrfs", "rw,subvolid=256,subvol=/@", "/var/crash", "/a/crash", "subvolid=256"},
		{"/", "/", "btrfs", "rw,subvolid=5,subvol=/", "/var", "/var", "subvolid=5"},
		{"/@b", "/", "btrfs", "rw,subvolid=256,subvol=/@", "/var", "/@b/var", "subvolid=5"},
		{"/@", "/", "btrfs", "rw", "/var", "/@/var", "subvolid=5"},
		{"/a,b", "/", "btrfs", "rw,subvolid=300,subvol=/a,b", "/var", "/var", "subvolid=300"},
		{"/", "/", "ext4", "ro,noload,data=journal,journal_async_commit,usrjquota=aquota.user,jqfmt=vfsv0", "/var", "/var", ""},
		{"/", "/", "ext4", "rw,errors=panic,abort", "/var", "/var", ""},
		{"/", "/", "ext2", "rw,errors=panic", "/var", "/var", ""},
		{"/", "/", "f2fs", "rw,errors=panic,compress_algorithm=lz4", "/var", "/var", ""},
		{"/", "/", "vfat", "rw,codepage=437,errors=panic", "/var", "/var", "codepage=437"},
		{"/", "/", "exfat", "rw,iocharset=utf8,errors=panic", "/var", "/var", "iocharset=utf8"},
		{"/", "/", "xfs", "rw,nouuid,inode64,logbufs=8,sunit=8,usrquota,prjquota", "/var", "/var", "nouuid"},
		{"/", "/", "xfs", "rw,attr2,inode64,noquota", "/var", "/var", ""},
		{"/@", "/", "btrfs", "rw,compress=zstd:3,degraded,ssd,space_cache=v2,subvolid=256,subvol=/@", "/var", "/var", "subvolid=256"},
		{"/", "/", "f2fs", "rw,lazytime,compress_algorithm=lz4,checkpoint=disable", "/var", "/var", ""},
		{"/", "/sd", "exfat", "rw,iocharset=utf8,errors=remount-ro", "/sd/c", "/c", "iocharset=utf8"},
		{"/", "/boot", "vfat", "rw,codepage=850,iocharset=utf8,errors=remount-ro", "/boot/c", "/c", "codepage=850,iocharset=utf8"},
	} {
		s := &Storage{FSType: tt.fstype, Mount: Mount{Root: tt.root, Point: tt.point, FSType: tt.fstype, Super: tt.super}}
		if err := s.place(tt.dir); err != nil || s.PathInFS != tt.path || s.Options != tt.options {
			t.Errorf("%+v: got %s, %s, %v", tt, s.PathInFS, s.Options, err)
		}
	}
	s := &Storage{Mount: Mount{Root: "/x//deleted", Point: "/var"}}
	if err := s.place("/var"); err == nil {
		t.Error("a deleted directory has a place")
	}
}

func TestMissingDevice(t *testing.T) {
	for mount, want := range map[string]string{
		"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n":   "storage of /: ext4 on /: its block device 8:1 is not in /sys: ",
		"1 0 0:40 / / rw - btrfs /dev/sda1 rw\n": "storage of /: block device of /: no block device is called /dev/sda1",
	} {
		_, err := machine(t, map[string]string{"proc/self/mountinfo": mount}).Storage("/")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestRootSource(t *testing.T) {
	for line, want := range map[string]string{
		"root=/dev/sda1 ro":                "/dev/sda1",
		"root=/dev/sda1 root=PARTUUID=1-2": "/dev/disk/by-partuuid/1-2",
		"quiet root=UUID=abc":              "/dev/disk/by-uuid/abc",
		"quiet root=UUID=../x":             "",
		"quiet root=ID=abc":                "", // the kernel does not know that
		"root=nfs":                         "",
		"quiet":                            "",
	} {
		got, err := machine(t, map[string]string{"proc/cmdline": line + "\n"}).rootSource()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", line, got, err)
		}
	}
}

func TestSuppliers(t *testing.T) {
	const dev = "sys/devices/platform/soc/mmc"
	h := machine(t, map[string]string{
		dev + "/uevent":                "",
		dev + "/supplier:platform:reg": "-> ../../../virtual/devlink/platform:reg--platform:mmc",
		"sys/devices/virtual/devlink/platform:reg--platform:mmc/supplier": "-> ../../../platform/i2c/reg",
		"sys/devices/platform/i2c/reg/uevent":                             "",
		"sys/devices/platform/i2c/uevent":                                 "",
		// A circle.
		"sys/devices/platform/i2c/supplier:platform:mmc":                  "-> ../../virtual/devlink/platform:mmc--platform:i2c",
		"sys/devices/virtual/devlink/platform:mmc--platform:i2c/supplier": "-> ../../../platform/soc/mmc",
	})
	got, err := h.devices("/" + dev)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, d := range got {
		paths = append(paths, strings.TrimPrefix(d.Path, "/sys/devices/platform/"))
	}
	if s := strings.Join(paths, " "); s != "i2c i2c/reg soc/mmc" {
		t.Errorf("got %s", s)
	}
}

// An IOMMU comes before the devices behind it; one without a driver is omitted.
func TestIOMMU(t *testing.T) {
	const (
		pci  = "sys/devices/pci0000:00"
		smmu = "sys/devices/platform/arm-smmu-v3.0.auto"
	)
	h := machine(t, map[string]string{
		pci + "/0000:00:01.0/uevent":                  "",
		pci + "/0000:00:01.0/driver":                  "-> ../../../bus/pci/drivers/nvme",
		pci + "/0000:00:01.0/iommu":                   "-> ../../platform/arm-smmu-v3.0.auto/iommu/smmu3.0x9050000",
		pci + "/0000:00:02.0/uevent":                  "",
		pci + "/0000:00:02.0/iommu":                   "-> ../../virtual/iommu/dmar0",
		smmu + "/iommu/smmu3.0x9050000/uevent":        "",
		smmu + "/uevent":                              "MODALIAS=platform:arm-smmu-v3\n",
		smmu + "/driver":                              "-> ../../../bus/platform/drivers/arm-smmu-v3",
		"sys/bus/platform/drivers/arm-smmu-v3/module": "-> ../../../../module/arm_smmu_v3",
		"sys/module/arm_smmu_v3/initstate":            "live\n",
		"sys/devices/virtual/iommu/dmar0/uevent":      "",
	})
	got, err := h.devices("/"+pci+"/0000:00:01.0", "/"+pci+"/0000:00:02.0")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range got {
		list = append(list, filepath.Base(d.Path)+" "+d.Module)
	}
	if s := strings.Join(list, ", "); s != "arm-smmu-v3.0.auto arm_smmu_v3, 0000:00:01.0 , 0000:00:02.0 " {
		t.Errorf("got %s", s)
	}
}
