package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On a recorded machine the directories that are the same have the same times.
func TestOverlay(t *testing.T) {
	const disk1 = "1 0 8:0 / / rw - ext4 /dev/sda rw\n"
	const root = "2 1 0:30 / /live rw - overlay "
	for _, tt := range []struct {
		name   string
		mounts string
		more   []string // directories besides
		dir    string
		want   string // in the file system
		text   string // of the refusal
		remedy string
	}{
		{"upper directory", root + "overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n", nil, "/live/var/crash", "/u/var/crash", "", ""},
		{"one that is not there yet", root + "overlay rw,upperdir=/u\n", nil, "/live/var/crash/sub/x", "/u/var/crash/sub/x", "", ""},
		{"bind mount of the overlay", "2 1 0:30 /var /live/var rw - overlay o rw,upperdir=/u\n", nil, "/live/var/crash", "/u/var/crash", "", ""},
		{"through a link to it", root + "overlay rw,upperdir=/u\n", nil, "/link", "/u/var/crash", "", ""},
		{"upper directory behind a link", root + "overlay rw,upperdir=/ulink\n", nil, "/live/var/crash", "/u/var/crash", "", ""},
		{"escaped", root + `overlay rw,upperdir=/a\040b\054c` + "\n", []string{"a b,c/var/crash"}, "/live/var/crash", "/a b,c/var/crash", "", ""},
		{"escaped for mount, too", root + `overlay rw,upperdir=/a\134\054c` + "\n", []string{"a,c/var/crash"}, "/live/var/crash", "/a,c/var/crash", "", ""},
		{"of an overlay in an overlay", root + "overlay rw,upperdir=/u/var\n3 2 0:31 / /live/var rw - overlay o rw,upperdir=/live\n", []string{"live/crash"}, "/live/var/crash", "/u/var/crash", "", ""},
		{"on tmpfs", root + "overlay rw,upperdir=/u\n3 1 0:40 / /u rw - tmpfs tmpfs rw\n", nil, "/live/var/crash", "", "/u/var/crash is on tmpfs, which is memory", ""},
		{"of a container", root + "overlay rw,upperdir=/var/lib/x/diff\n", nil, "/live/var/crash", "", "/var/lib/x/diff is not visible here", ""},
		{"another directory of the name", root + "overlay rw,upperdir=/other\n", []string{"other/var/crash"}, "/live/var/crash", "", "/other is not visible here", ""},
		{"named below the root of the initramfs", root + "overlay rw,upperdir=/root/host/image-X/rw\n", []string{"host/image-X/rw/var/crash"}, "/live/var/crash", "/host/image-X/rw/var/crash", "", ""},
		{"named below /sysroot", root + "overlay rw,upperdir=/sysroot/u\n", nil, "/live/var/crash", "/u/var/crash", "", ""},
		{"named below /new_root", root + "overlay rw,upperdir=/new_root/a\\040b\\054c\n", []string{"a b,c/var/crash"}, "/live/var/crash", "/a b,c/var/crash", "", ""},
		{"on a mount that was moved", root + "overlay rw,upperdir=/live/persistence/host/image-X/rw\n", []string{"host/image-X/rw/var/crash", "persistence/host"}, "/live/var/crash", "/host/image-X/rw/var/crash", "", ""},
		{"moved with its mount", root + "overlay rw,upperdir=/cow/n\n3 1 8:0 /m /m rw - ext4 /dev/sda rw\n", []string{"m/n/var/crash"}, "/live/var/crash", "/m/n/var/crash", "", ""},
		{"moved to memory", root + "overlay rw,upperdir=/run/initramfs/n\n3 1 0:40 / /m rw - tmpfs tmpfs rw\n", []string{"m/n/var/crash"}, "/live/var/crash", "", "/m/n/var/crash is on tmpfs, which is memory", ""},
		{"moved to another directory of the name", root + "overlay rw,upperdir=/root/host/other\n", []string{"host/other/var/crash", "other/var/crash"}, "/live/var/crash", "", "/root/host/other is not visible here", ""},
		{"named like the overlay", root + "overlay rw,upperdir=/root/live\n", nil, "/live/var/crash", "", "/root/live is not visible here", ""},
		{"relative", root + "overlay rw,upperdir=u\n", nil, "/live/var/crash", "", "not visible here", ""},
		{"lower layer only", root + "overlay rw,upperdir=/u\n", []string{"live/srv"}, "/live/srv/crash", "", "/live/srv is in its read-only lower", "touch /live/srv"},
		{"no upper directory", root + "overlay ro,lowerdir=/l:/m\n", nil, "/live/var/crash", "", "overlay file system mounted on /live is not supported: read-only", ""},
		{"composefs", root + "composefs ro,lowerdir=/l::/m\n", nil, "/live/var/crash", "", "composefs mounted on /live is not supported: read-only", ""},
		{"volatile", root + "overlay rw,upperdir=/u,volatile\n", nil, "/live/var/crash", "", "volatile", ""},
		{"volatile by its new name", root + "overlay rw,upperdir=/u,fsync=volatile\n", nil, "/live/var/crash", "", "volatile", ""},
	} {
		h := machine(t, disk("ext4", "rw", sda, map[string]string{
			"proc/self/mountinfo": disk1 + tt.mounts,
			"link":                "-> /live/var/crash", "ulink": "-> u",
		}))
		for _, name := range append([]string{"live/var/crash", "u/var/crash"}, tt.more...) {
			if err := os.MkdirAll(filepath.Join(h.root, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		h.sameDir = func(a, b string) bool {
			rel := func(p string) string {
				for _, x := range []string{"/live", "/u", "/a b,c", "/a,c", "/host/image-X/rw", "/m/n"} {
					p = strings.TrimPrefix(p, h.root+x)
				}
				return p
			}
			_, err := os.Stat(a)
			_, err2 := os.Stat(b)
			return rel(a) == rel(b) && err == nil && err2 == nil
		}
		if tt.name == "of an overlay in an overlay" {
			h.sameDir = func(_, _ string) bool { return true }
		}
		s, err := h.Storage(tt.dir)
		var u *UnsupportedError
		switch {
		case tt.want != "":
			if err != nil || s.PathInFS != tt.want || s.Upper != tt.want || s.FSType != "ext4" || s.Mount.Point != "/" && s.Mount.Point != "/m" {
				t.Errorf("%s: got %+v, %v", tt.name, s, err)
			}
		case !errors.As(err, &u) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(u.Advice(), tt.remedy):
			t.Errorf("%s: got %+v, %v", tt.name, s, err)
		}
	}
}

func TestSameDir(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	file := filepath.Join(a, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, dir := range []string{a, b} {
		if err := os.Chtimes(dir, now, now); err != nil { // but not that of the last change
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // more than a tick
	}
	if !sameDir(a, a+"/.") {
		t.Error("a directory is not itself")
	}
	if sameDir(a, b) {
		t.Error("times of change are not looked at")
	}
	if sameDir(file, file) || sameDir(a, filepath.Join(a, "none")) {
		t.Error("what is no directory is one")
	}
}

// TestRealOverlay runs where overlays can be mounted: as root.
func TestRealOverlay(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"l/var/low", "l/both", "u/both/crash", "w", "m", "u2"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(root, name) }
	if err := mountOverlay(at("l"), at("u"), at("w"), at("m")); err != nil {
		t.Skip(err)
	}
	defer umount(at("m"))
	for _, tt := range []struct {
		overlay, upper string
		want           bool
	}{
		{"m", "u", true}, {"m/both", "u/both", true}, {"m/both/crash", "u/both/crash", true},
		{"m", "l", false}, {"m", "u2", false}, {"m/both", "l/both", false}, {"m/var", "u/var", false},
	} {
		if got := sameDir(at(tt.overlay), at(tt.upper)); got != tt.want {
			t.Errorf("%s is %s: %v", tt.overlay, tt.upper, got)
		}
	}
	if err := os.MkdirAll(at("m/both/new"), 0o750); err != nil {
		t.Fatal(err)
	}
	if !sameDir(at("m/both"), at("u/both")) || !sameDir(at("m/both/new"), at("u/both/new")) {
		t.Error("after a change it is not the same any more")
	}
}

func mountOverlay(lower, upper, work, on string) error {
	return unix.Mount("overlay", on, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
}

func umount(dir string) { unix.Unmount(dir, unix.MNT_DETACH) }

// TestRealMovedOverlay runs where overlays can be mounted: the upper directory has
// another name than at the time of the mount.
func TestRealMovedOverlay(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, d := range []string{"root/host/image/rw/crash", "root/host/image/rw2/crash", "root/host/w", "l/x", "m"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // more than a tick
	}
	if err := mountOverlay(at("l"), at("root/host/image/rw"), at("root/host/w"), at("m")); err != nil {
		t.Skip(err)
	}
	defer umount(at("m"))
	if err := os.Rename(at("root/host"), at("host")); err != nil {
		t.Fatal(err)
	}
	h, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	m := Mount{ID: 2, Parent: 1, FSType: "overlay", Root: "/", Point: at("m"), Super: "rw,upperdir=/root/host/image/rw"}
	mounts := []Mount{{ID: 1, FSType: "ext4", Point: "/", Root: "/"}, {ID: 3, Parent: 1, FSType: "ext4", Point: at(""), Root: "/"}, m}
	if got, err := h.upperDir("/var/crash", m, mounts); err != nil || got != at("host/image/rw") {
		t.Errorf("got %q, %v", got, err)
	}
	m.Super = "rw,upperdir=/root/host/image/rw2"
	if got, err := h.upperDir("/var/crash", m, mounts); err != nil || got != "" {
		t.Errorf("another directory of the name: got %q, %v", got, err)
	}
}
