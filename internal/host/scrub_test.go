package host

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScrub gives testdata/scrub.sh a machine with a name everywhere.
func TestScrub(t *testing.T) {
	const (
		dm0, dm1, dm2 = "sys/devices/virtual/block/dm-0", "sys/devices/virtual/block/dm-1", "sys/devices/virtual/block/dm-2"
		disk          = "sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0"
		vmbus         = "sys/devices/LNXSYSTM:00/VMBUS:00/f8b3781a-1e82-4818-a1c3-63d806ec15bb"
		luks          = "5e1f3a0c-6b7d-4c2e-9f10-aabbccddeeff"
	)
	modalias := "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01\n"
	h := machine(t, map[string]string{
		"proc/self/mountinfo":                   "24 1 253:1 / / rw - ext4 /dev/mapper/alice--pc--vg-root rw\n25 24 8:2 / /boot rw - vfat /dev/sda2 rw\n",
		"proc/cmdline":                          "root=/dev/alice-pc-vg/root resume=UUID=9b8c7d6e-5f40-4132-8a9b-0c1d2e3f4a5b\n",
		"etc/crypttab":                          "alice_disk UUID=" + luks + " none luks\n",
		dm0 + "/dm/name":                        "alice_disk\n",
		dm0 + "/dm/uuid":                        "CRYPT-LUKS2-5e1f3a0c6b7d4c2e9f10aabbccddeeff-alice_disk\n",
		dm1 + "/dm/name":                        "alice--pc--vg-root\n",
		dm1 + "/dm/uuid":                        "LVM-Qm3sXv0bL2nYp7RkTg9wZc4dUe6hJi81aB5fGt2yHr7uNk3mPq9sVx4zCw6eDj0l\n",
		dm2 + "/dm/name":                        "mpatha\n",
		dm2 + "/dm/uuid":                        "mpath-3600508b400105e210000900000490000\n",
		"run/udev/data/b8:1":                    "E:ID_FS_TYPE=crypto_LUKS\nE:ID_FS_UUID=" + luks + "\nE:ID_PART_ENTRY_UUID=3c2b1a09-01\n",
		"run/udev/data/b8:2":                    "E:ID_FS_TYPE=vfat\nE:ID_FS_UUID=7C3F-19AB\nE:ID_PART_ENTRY_UUID=3c2b1a09-02\n",
		"run/udev/data/b8:3":                    "E:ID_FS_TYPE=LVM2_member\nE:ID_FS_UUID=Ab1cD2-eF3g-H4iJ-5kLm-6NoP-7qRs-T8uVwX\n",
		disk + "/vpd_pg80":                      "\x00\x80\x00\x0aWD-SECRET1",
		disk + "/modalias":                      modalias,
		disk + "/uevent":                        "MODALIAS=" + modalias,
		"sys/devices/virtual/block/nbd0/serial": "SECRET2\n",
		"sys/devices/virtual/block/nbd1/serial": "SECRET2\n",
		vmbus + "/uevent":                       "MODALIAS=vmbus:f912ad6d2b17ea48bd65f927a61c7684\n",
		"sys/bus/vmbus/devices/x":               "-> ../../../" + strings.TrimPrefix(vmbus, "sys/"),
		"sys/fs/btrfs/9b8c7d6e-5f40-4132-8a9b-0c1d2e3f4a5b/devices/sda3/size": "1\n",
		"dev/disk/by-uuid/9b8c7d6e-5f40-4132-8a9b-0c1d2e3f4a5b":               "-> ../../sda3",
		"sys/devices/virtual/net/eth0/address":                                "52:54:00:ab:cd:ef\n",
	})
	if out, err := exec.Command("sh", "testdata/scrub.sh", h.root).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	all := ""
	filepath.WalkDir(h.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		all += strings.TrimPrefix(p, h.root) + "\n"
		if d.Type() == fs.ModeSymlink {
			target, _ := os.Readlink(p)
			all += target + "\n"
		} else if d.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			all += string(b)
		}
		return nil
	})
	for _, secret := range []string{
		"alice", "5e1f3a0c", "9b8c7d6e", "f8b3781a", "3c2b1a09", "7C3F", "Ab1cD2", "Qm3sXv", "aB5fGt", "600508b4", "SECRET", "52:54:00",
	} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is left in\n%s", secret, all)
		}
	}
	// Names that belong together still do.
	for name, want := range map[string]string{
		"/" + dm0 + "/dm/name":            "crypt1",
		"/" + dm0 + "/dm/uuid":            "CRYPT-LUKS2-" + "00000000000040008000" + "000000000001" + "-crypt1",
		"/" + dm1 + "/dm/name":            "vg2-root",
		"/etc/crypttab":                   "crypt1 UUID=00000000-0000-4000-8000-000000000001 none luks",
		"/run/udev/data/b8:1":             "E:ID_FS_TYPE=crypto_LUKS\nE:ID_FS_UUID=00000000-0000-4000-8000-000000000001\nE:ID_PART_ENTRY_UUID=00000001-01",
		"/run/udev/data/b8:2":             "E:ID_FS_TYPE=vfat\nE:ID_FS_UUID=0000-0001\nE:ID_PART_ENTRY_UUID=00000001-02",
		"/proc/cmdline":                   "root=/dev/vg2/root resume=UUID=00000000-0000-4000-8000-000000000002",
		"/" + disk + "/uevent":            "MODALIAS=" + strings.TrimSpace(modalias),
		"/" + disk + "/modalias":          strings.TrimSpace(modalias),
		"/sys/bus/vmbus/devices/x/uevent": "MODALIAS=vmbus:f912ad6d2b17ea48bd65f927a61c7684",
	} {
		if got, err := h.read(name); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if got := h.attr("/sys/devices/virtual/block/nbd0", "serial"); got == "" || got != h.attr("/sys/devices/virtual/block/nbd1", "serial") {
		t.Errorf("equal serial numbers do not stay equal: %q", got)
	}
}
