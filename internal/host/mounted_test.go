package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestMountOf(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"proc/self/mountinfo": "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /srv rw - nfs4 server:/x rw\n3 1 0:3 / /run rw - tmpfs tmpfs rw\n4 1 0:4 / /cd ro - iso9660 /dev/sr0 ro\n5 1 0:5 / /tank rw - zfs tank rw\n",
		"srv/dumps/x":         "",
		"file":                "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/srv/dumps", filepath.Join(root, "crash")); err != nil {
		t.Fatal(err)
	}
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"/crash":      "/srv nfs4 /srv/dumps",
		"/srv/other/": "/srv nfs4 /srv/other",
		"/tank/crash": "/tank zfs /tank/crash",
		"/var/crash":  "/ overlay /var/crash",
		"/run/crash":  "lost",
		"/cd":         "lost",
		"/file":       "error",
	} {
		m, resolved, err := h.MountOf(dir)
		got := m.Point + " " + m.FSType + " " + resolved
		var unsupported *UnsupportedError
		switch {
		case errors.As(err, &unsupported):
			got = "lost"
		case err != nil:
			got = "error"
		}
		if got != want {
			t.Errorf("%s: got %s (%v), want %s", dir, got, err, want)
		}
	}
}
