package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file of simple-kdump in /etc/conf.d: comments, a value with blanks and no quotes.
const simpleKdump = `# Comments, and lines without anything.

KERNEL=/boot/vmlinuz-linux
INITRAMFS=/boot/initramfs-linux.img

BOOT_OPTIONS=root=/dev/os/root rw loglevel=5 console=ttyS0
`

func TestMode(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		emergency  bool
		err        string // after the file
	}{
		{"nothing", "", false, ""},
		{"dedicated", "MODE=dedicated\n", false, ""},
		{"emergency", "MODE=emergency\n", true, ""},
		{"back to the default", "MODE=emergency\nMODE=\n", false, ""},
		{"simple-kdump.conf", simpleKdump, true, ""},
		{"both", simpleKdump + "MODE=emergency\n", true, ""},
		{"contradiction", simpleKdump + "MODE=dedicated\n", false,
			":4: INITRAMFS=/boot/initramfs-linux.img: MODE=dedicated builds its own image"},
		{"no contradiction", simpleKdump + "INITRAMFS=\nMODE=dedicated\n", false, ""},
		{"raw by default", "MODE=emergency\nTARGET=\n", true, ""},
		{"raw", "MODE=emergency\nTARGET=\"/var/crash raw:swap\"\n", true, ":2: TARGET: raw:swap: MODE=emergency writes to directories only"},
		{"shell", "FAILURE_ACTION=shell\nMODE=emergency\n", true, ":1: FAILURE_ACTION=shell: MODE=emergency has no shell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, File)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			c, err := Load(root)
			if tt.err != "" {
				if err == nil || err.Error() != file+tt.err {
					t.Errorf("error %v, want %s%s", err, file, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Emergency() != tt.emergency {
				t.Errorf("emergency is %v", c.Emergency())
			}
		})
	}
}

func TestSimpleKdump(t *testing.T) {
	file := filepath.Join(t.TempDir(), "simple-kdump.conf")
	if err := os.WriteFile(file, []byte(simpleKdump), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Kernel != "/boot/vmlinuz-linux" || c.Initramfs != "/boot/initramfs-linux.img" || !strings.HasPrefix(c.BootOptions, "root=/dev/os/root rw ") {
		t.Errorf("%+v", c)
	}
}
