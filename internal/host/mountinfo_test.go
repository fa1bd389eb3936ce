package host

import (
	"strings"
	"testing"
)

func TestParseMounts(t *testing.T) {
	got, err := parseMounts(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
37 36 0:22 / /sys rw shared:1 - sysfs  rw
38 36 0:30 /a\134b /m - btrfs x y
`)
	if err == nil {
		t.Fatalf("too few fields: got %v", got)
	}
	got, err = parseMounts(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
37 36 0:22 / /sys rw - sysfs  rw
38 36 0:30 /a\134b /m rw - btrfs /dev/a\011b rw,subvolid=7,subvol=/x,y\040z
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{36, 35, 98, 0, "/mnt1", "/mnt 2", "ext3", "/dev/root", "rw,errors=continue"},
		{37, 36, 0, 22, "/", "/sys", "sysfs", "", "rw"},
		{38, 36, 0, 30, `/a\b`, "/m", "btrfs", "/dev/a\tb", `rw,subvolid=7,subvol=/x,y\040z`},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	m := got[2]
	for name, want := range map[string]string{"subvolid": "7", "subvol": "/x,y z", "rw": "", "none": ""} {
		if v, _ := m.option(name); v != want {
			t.Errorf("option %s: got %q, want %q", name, v, want)
		}
	}
	for _, bad := range []string{"1", "x 1 0:1 / / rw - ext4 a b", "1 x 0:1 / / rw - ext4 a b", "1 1 0 / / rw - ext4 a b",
		"1 1 0:1 / / rw ext4 a b", "1 1 0:1 / rel rw - ext4 a b", "1 1 0:99999999999 / / rw - ext4 a b", "1 1 0:1 / / rw -"} {
		if m, err := parseMounts(bad); err == nil || !strings.HasPrefix(err.Error(), "mountinfo:1: ") {
			t.Errorf("%q: got %v, %v", bad, m, err)
		}
	}
}

func TestHolding(t *testing.T) {
	for _, tt := range []struct{ name, table, dir, want string }{
		{"longest", "1 0 / a|2 1 /var b|3 2 /var/crash c|4 1 /v d", "/var/crash", "c"},
		{"a name that begins alike", "1 0 / a|2 1 /var b", "/variable", "a"},
		{"the mount point itself", "1 0 / a|2 1 /var b", "/var", "b"},
		{"shadowed", "1 0 / a|2 1 /var/crash b|3 1 /var c", "/var/crash/x", "c"},
		{"shadowed and mounted again", "1 0 / a|2 1 /var/crash b|3 1 /var c|4 3 /var/crash d", "/var/crash/x", "d"},
		{"one on the other", "1 0 / a|2 1 /var b|3 2 /var c", "/var/crash", "c"},
		{"order of the table", "3 2 /var/crash c|2 1 /var b|1 0 / a", "/var/crash", "c"},
		{"root on root", "1 1 / a|2 1 / b|3 2 /var c", "/var", "c"},
		{"no root", "2 1 /var b", "/var", ""},
		{"circle", "1 0 / a|2 3 /var b|3 2 /var c", "/var", "a"},
	} {
		var mounts []Mount
		for line := range strings.SplitSeq(tt.table, "|") {
			f := strings.Fields(line)
			m, err := parseMount(f[0] + " " + f[1] + " 8:1 / " + f[2] + " rw - ext4 " + f[3] + " rw")
			if err != nil {
				t.Fatal(err)
			}
			mounts = append(mounts, m)
		}
		m, ok := holding(mounts, tt.dir)
		if m.Source != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: got %q, want %q", tt.name, m.Source, tt.want)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n", "/mnt 2/x")
	f.Add("1 0 0:2 /@ / rw - btrfs /dev/x rw,subvolid=256,subvol=/@\n2 1 0:2 /@/a//deleted /var rw - btrfs x rw\n", "/var/crash")
	f.Fuzz(func(t *testing.T, data, dir string) {
		mounts, err := parseMounts(data)
		if err != nil {
			return
		}
		m, ok := holding(mounts, dir)
		if !ok {
			return
		}
		s := &Storage{Dir: dir, Mount: m, FSType: m.FSType}
		if err := s.place(dir); err == nil && !strings.HasPrefix(s.PathInFS, "/") {
			t.Errorf("path in the file system: %q", s.PathInFS)
		}
	})
}
