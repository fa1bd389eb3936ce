package host

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Tools that load another capture kernel at the next boot, and units that do not.
func TestKdumpTools(t *testing.T) {
	const wants = "etc/systemd/system/multi-user.target.wants/"
	link := func(root, name, to string) {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, file); err != nil {
			t.Fatal(err)
		}
	}
	const kdump = "[Service]\nExecStart=/usr/bin/kdumpctl start\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		links []string // enabled units
		want  []string
	}{
		{"none", nil, nil, nil},
		{"Fedora", map[string]string{"usr/lib/systemd/system/kdump.service": kdump}, []string{"kdump.service"}, []string{"kdump.service"}},
		{"Fedora, installed and not enabled", map[string]string{"usr/lib/systemd/system/kdump.service": kdump}, nil, nil},
		{"removed, the link is left", nil, []string{"kdump.service"}, nil},
		{"openSUSE", map[string]string{"usr/lib/systemd/system/kdump.service": "", "usr/lib/systemd/system/kdump-early.service": ""},
			[]string{"kdump.service", "kdump-early.service"}, []string{"kdump-early.service", "kdump.service"}},
		{"Debian", map[string]string{"lib/systemd/system/kdump-tools.service": "", "etc/default/kdump-tools": "USE_KDUMP=1\n"},
			[]string{"kdump-tools.service"}, []string{"kdump-tools.service"}},
		{"Debian without its configuration", map[string]string{"lib/systemd/system/kdump-tools.service": ""},
			[]string{"kdump-tools.service"}, []string{"kdump-tools.service"}},
		{"Debian, turned off", map[string]string{"lib/systemd/system/kdump-tools.service": "", "etc/default/kdump-tools": "# a\nUSE_KDUMP=\"0\"\n"},
			[]string{"kdump-tools.service"}, nil},
		{"a unit of the administrator's", map[string]string{"etc/systemd/system/my-crash.service": "[Service]\nExecStart=-/usr/bin/kexec -p \\\n  /boot/vmlinuz\n"},
			[]string{"my-crash.service"}, []string{"my-crash.service"}},
		{"with the long option", map[string]string{"etc/systemd/system/a.service": "[Service]\nExecStartPost = /sbin/kexec --load-panic /boot/vmlinuz\n"},
			[]string{"a.service"}, []string{"a.service"}},
		{"in a shell", map[string]string{"etc/systemd/system/a.service": "[Service]\nExecStart=/bin/sh -c 'kexec -s -p /boot/vmlinuz'\n"},
			[]string{"a.service"}, []string{"a.service"}},
		{"a fast reboot is none", map[string]string{"etc/systemd/system/kexec-load.service": "[Service]\nExecStart=/sbin/kexec -l /boot/vmlinuz --reuse-cmdline\nExecStop=/sbin/kexec -p -u\n"},
			[]string{"kexec-load.service"}, nil},
		{"ours", map[string]string{"usr/lib/systemd/system/ukdump.service": "[Service]\nExecStart=/usr/bin/kdumpctl load\n"}, []string{"ukdump.service"}, nil},
	} {
		root := t.TempDir()
		files := maps.Clone(tt.files)
		if files == nil {
			files = make(map[string]string)
		}
		files["run/systemd/system/x"] = ""
		for name, text := range files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, unit := range tt.links {
			link(root, wants+unit, "/usr/lib/systemd/system/"+unit)
		}
		if got := KdumpTools(root); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		for _, unit := range tt.want { // masked
			os.Remove(filepath.Join(root, "etc/systemd/system", unit))
			link(root, "etc/systemd/system/"+unit, "/dev/null")
		}
		if got := KdumpTools(root); len(got) > 0 {
			t.Errorf("%s, masked: got %q", tt.name, got)
		}
	}
	root := t.TempDir() // without systemd
	for _, name := range []string{"etc/runlevels/default/kdump", "etc/rc2.d/S20kdump-tools"} {
		link(root, name, "/etc/init.d/kdump")
	}
	link(root, wants+"kdump.service", "/usr/lib/systemd/system/kdump.service")
	if got := KdumpTools(root); !slices.Equal(got, []string{"kdump", "S20kdump-tools"}) {
		t.Errorf("without systemd: got %q", got)
	}
}

func TestUnitStarted(t *testing.T) {
	root := t.TempDir()
	if at := UnitStarted(root, "kdump.service"); !at.IsZero() {
		t.Errorf("got %v", at)
	}
	dir := filepath.Join(root, "run/systemd/units")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("0123", filepath.Join(dir, "invocation:kdump.service")); err != nil {
		t.Fatal(err)
	}
	if at := UnitStarted(root, "kdump.service"); time.Since(at) > time.Hour || at.IsZero() {
		t.Errorf("got %v", at)
	}
}
