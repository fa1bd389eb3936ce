package host

import (
	"strings"
	"testing"
)

func TestCopies(t *testing.T) {
	const sdb = "sys/devices/pci0000:00/host1/block/sdb"
	copied := func(more map[string]string) map[string]string {
		all := map[string]string{
			sda + "/device/vpd_pg80": "\x00\x80\x00\x01A",
			"sys/class/block/sda":    "-> ../../devices/pci0000:00/host0/block/sda",
			"sys/class/block/sdb":    "-> ../../devices/pci0000:00/host1/block/sdb",
			sdb + "/dev":             "8:16\n",
			sdb + "/size":            "2048\n",
			sdb + "/device/vpd_pg80": "\x00\x80\x00\x01B",
			"run/udev/data/b8:16":    "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=the-uuid\n",
		}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	for _, tt := range []struct {
		name string
		more map[string]string
		want string
	}{
		{"a clone", nil, "sdb"},
		{"a clone that does not tell its number", map[string]string{sdb + "/device/vpd_pg80": ""}, "sdb"},
		{"another path to the disk", map[string]string{sdb + "/device/vpd_pg80": "\x00\x80\x00\x01A"}, ""},
		{"another path to a disk without a serial number", map[string]string{
			sdb + "/device/vpd_pg80": "", sda + "/device/wwid": "naa.1\n", sdb + "/device/wwid": "naa.1\n",
		}, ""},
		{"another disk without a serial number", map[string]string{
			sdb + "/device/vpd_pg80": "", sda + "/device/wwid": "naa.1\n", sdb + "/device/wwid": "naa.2\n",
		}, "sdb"},
		{"another file system", map[string]string{"run/udev/data/b8:16": "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=other\n"}, ""},
		{"member of a mirror", map[string]string{"run/udev/data/b8:16": "E:ID_FS_TYPE=linux_raid_member\nE:ID_FS_UUID=the-uuid\n"}, ""},
		{"another device of a pool", map[string]string{"run/udev/data/b8:16": "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=the-uuid\nE:ID_FS_UUID_SUB=x\n"}, ""},
	} {
		s, err := machine(t, disk("ext4", "rw", sda, copied(tt.more))).Storage("/var/crash")
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := strings.Join(s.Copies, " "); got != tt.want || s.Stack[0].Serial != "A" {
			t.Errorf("%s: got %q, serial number %q", tt.name, got, s.Stack[0].Serial)
		}
	}
}
