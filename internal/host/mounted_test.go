package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMountOf(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"proc/self/mountinfo": "1 0 0:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:2 / /srv rw - nfs4 server:/x rw\n3 1 0:3 / /run rw - tmpfs tmpfs rw\n4 1 0:4 / /cd ro - iso9660 /dev/sr0 ro\n5 1 0:5 / /tank rw - zfs tank rw\n" +
			"6 1 0:6 / /live rw - overlay o rw,upperdir=/u\n7 1 0:7 / /memory rw - overlay o rw,upperdir=/run/u\n8 1 0:8 / /lower ro - overlay o ro,lowerdir=/l\n9 1 0:9 / /inner rw - overlay o rw,upperdir=/memory/u\n" +
			"10 1 0:10 / /volatile rw - overlay o rw,upperdir=/u,volatile\n11 1 0:11 / /elsewhere rw - overlay o rw,upperdir=/cow/u\n12 1 0:12 / /other rw - overlay o rw,upperdir=/run/v\n",
		"srv/dumps/x": "",
		"file":        "",
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
	// What the overlays show.
	h.sameDir = func(overlay, upper string) bool {
		rel := func(name string) string { return strings.TrimPrefix(name, root) }
		return map[string]string{"/live": "/u", "/volatile": "/u", "/memory": "/run/u", "/inner": "/memory/u"}[rel(overlay)] == rel(upper)
	}
	for dir, want := range map[string]string{
		"/crash":      "/srv nfs4 /srv/dumps",
		"/srv/other/": "/srv nfs4 /srv/other",
		"/tank/crash": "/tank zfs /tank/crash",
		"/var/crash":  "/ ext4 /var/crash",
		// Behind overlays.
		"/live/crash":     "/live overlay /live/crash",
		"/memory/crash":   "lost",
		"/inner/crash":    "lost",
		"/lower":          "lost",
		"/volatile":       "lost",
		"/elsewhere/dump": "/elsewhere overlay /elsewhere/dump in doubt",
		"/other/dump":     "/other overlay /other/dump in doubt", // the name means another directory here
		"/run/crash":      "lost",
		"/cd":             "lost",
		"/file":           "error",
	} {
		m, resolved, doubt, err := h.MountOf(dir)
		got := m.Point + " " + m.FSType + " " + resolved
		if doubt != "" {
			got += " in doubt"
		}
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
