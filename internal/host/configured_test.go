package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMountRemote(t *testing.T) {
	for _, tt := range []struct {
		m    ConfiguredMount
		want bool
	}{
		{ConfiguredMount{What: "server:/crash", FSType: "nfs4"}, true},
		{ConfiguredMount{What: "crash", FSType: "glusterfs"}, true},
		{ConfiguredMount{What: "admin@.fs=/crash", FSType: "ceph"}, true},
		{ConfiguredMount{What: "a=b:/crash", FSType: "unheard"}, true},
		{ConfiguredMount{What: "//server/crash", FSType: "unheard"}, true},
		{ConfiguredMount{What: "https://server/crash", FSType: "davfs"}, true},
		{ConfiguredMount{What: "UUID=y", FSType: "ext4", Options: "noatime,_netdev"}, true},
		{ConfiguredMount{What: "UUID=y", FSType: "ext4", Options: "noauto"}, false},
		{ConfiguredMount{What: "LABEL=a:b", FSType: "ext4"}, false},
		{ConfiguredMount{What: "ID=x:y", FSType: "auto"}, false},
		{ConfiguredMount{What: "/dev/disk/by-path/pci-0000:00:01.1", FSType: "xfs"}, false},
		{ConfiguredMount{What: "crash", FSType: "virtiofs"}, false},
		{ConfiguredMount{What: "crash", FSType: "9p"}, false},
	} {
		if got := tt.m.Remote(); got != tt.want {
			t.Errorf("%+v: %v", tt.m, got)
		}
	}
}

// Units count as systemd takes them.
func TestMountUnits(t *testing.T) {
	t.Parallel()
	const unit = "[Mount]\nWhat=/dev/sda1\nWhere=/var/crash/\nType=ext4\nOptions=noatime\n"
	const vendor, admin = "usr/lib/systemd/system/var-crash.mount", "etc/systemd/system/var-crash.mount"
	const wants = "etc/systemd/system/local-fs.target.wants/var-crash."
	for name, tt := range map[string]struct {
		files map[string]string
		links map[string]string
		want  []ConfiguredMount
	}{
		"wanted":   {map[string]string{vendor: unit}, map[string]string{wants + "mount": "/" + vendor}, []ConfiguredMount{{"/dev/sda1", "/var/crash", "ext4", "noatime"}}},
		"unwanted": {map[string]string{vendor: unit}, nil, nil},
		"required": {map[string]string{vendor: unit}, map[string]string{"usr/lib/systemd/system/a.service.requires/var-crash.mount": "x"}, []ConfiguredMount{{"/dev/sda1", "/var/crash", "ext4", "noatime"}}},
		"automount": {map[string]string{vendor: unit, "etc/systemd/system/var-crash.automount": ""}, map[string]string{wants + "automount": "x"},
			[]ConfiguredMount{{"/dev/sda1", "/var/crash", "ext4", "noatime"}}},
		"masked": {map[string]string{vendor: unit}, map[string]string{admin: "/dev/null", wants + "mount": "/" + vendor}, nil},
		"empty":  {map[string]string{vendor: unit, admin: ""}, map[string]string{wants + "mount": "/" + vendor}, nil},
		"replaced": {map[string]string{vendor: unit, admin: "[Mount]\nWhat=server:/crash\nWhere=/var/crash\nType=nfs\n"}, map[string]string{wants + "mount": "x"},
			[]ConfiguredMount{{"server:/crash", "/var/crash", "nfs", ""}}},
		"escaped": {map[string]string{`etc/systemd/system/a\x20b.mount`: "[Mount]\nWhat=x\nWhere=/a b\n"}, map[string]string{`etc/systemd/system/a.target.wants/a\x20b.mount`: "x"},
			[]ConfiguredMount{{What: "x", Point: "/a b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			at := func(name string) string {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				return path
			}
			for file, text := range tt.files {
				if err := os.WriteFile(at(file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for link, target := range tt.links {
				if err := os.Symlink(target, at(link)); err != nil {
					t.Fatal(err)
				}
			}
			if got := configuredMounts(root); !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
