package host

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostileFiles makes files that a reader could hang in or fill its memory from. They
// have the name x in directories of dir.
func hostileFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	make := func(name string, f func(path string) error) {
		path := filepath.Join(dir, name, "x")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := f(path); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	make("fifo", func(p string) error { return syscall.Mkfifo(p, 0o644) })
	make("link-to-fifo", func(p string) error { return os.Symlink("../fifo/x", p) })
	make("directory", func(p string) error { return os.Mkdir(p, 0o755) })
	make("loop", func(p string) error { return os.Symlink("x", p) })
	make("terabyte", func(p string) error {
		f, err := os.Create(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(1 << 40)
	})
	make("socket", func(p string) error {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		// The name of a socket is short: bind it below the working directory.
		t.Chdir(filepath.Dir(p))
		return syscall.Bind(fd, &syscall.SockaddrUnix{Name: "x"})
	})
	return names
}

// soon fails the test if f does not return.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s: hangs", what)
	}
}

func TestReadFileRefusesHostile(t *testing.T) {
	root := t.TempDir()
	names := hostileFiles(t, root)
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		soon(t, name, func() {
			if b, err := h.ReadFile("/" + name + "/x"); err == nil {
				t.Errorf("%s: read %d bytes", name, len(b))
			}
			if b, err := fs.ReadFile(h.FS("/"+name), "x"); err == nil {
				t.Errorf("%s below FS: read %d bytes", name, len(b))
			}
			if f, err := h.FS("/" + name).Open("x"); err == nil && name != "directory" {
				t.Errorf("%s: opened", name)
				f.Close()
			}
			if _, err := h.read("/" + name + "/x"); err == nil {
				t.Errorf("%s: read as an attribute", name)
			}
		})
	}
}

func TestReadFileOfDevices(t *testing.T) {
	h, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/dev/zero", "/dev/urandom", "/dev/full"} {
		soon(t, name, func() {
			if b, err := h.ReadFile(name); err == nil {
				t.Errorf("%s: read %d bytes", name, len(b))
			}
		})
	}
	// A masked file of a configuration is empty.
	if b, err := h.ReadFile("/dev/null"); err != nil || len(b) > 0 {
		t.Errorf("/dev/null: %d bytes, %v", len(b), err)
	}
	// Files of proc(5) have a size of 0.
	if b, err := h.ReadFile("/proc/self/status"); err != nil || !strings.Contains(string(b), "Pid:") {
		t.Errorf("/proc/self/status: %d bytes, %v", len(b), err)
	}
}

// fstab and units that cannot be read configure no mounts.
func TestConfiguredMountsHostile(t *testing.T) {
	for _, name := range []string{"etc/fstab", "proc/self/mountinfo", "etc/systemd/system/srv.mount"} {
		root := t.TempDir()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o644); err != nil {
			t.Fatal(err)
		}
		soon(t, name, func() {
			if m := ReadMountTable(root).Absent(filepath.Join(root, "srv")); len(m) > 0 {
				t.Errorf("%s: %+v", name, m)
			}
		})
	}
}

// FuzzMountTable reads fstab and a unit that anybody may have written.
func FuzzMountTable(f *testing.F) {
	f.Add("UUID=x /srv ext4 nofail 0 2\n", "[Mount]\nWhere=/srv\nWhat=/dev/sdb\n")
	f.Add("a\\040b /\\057 x\n/ /.. y defaults", "Where=\nWhere=srv/..\n")
	f.Fuzz(func(t *testing.T, fstab, unit string) {
		root := t.TempDir()
		for name, text := range map[string]string{"etc/fstab": fstab, "etc/systemd/system/srv.mount": unit, "etc/systemd/system/local-fs.target.wants/srv.mount": unit} {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range ReadMountTable(root).Absent(filepath.Join(root, "srv/crash")) {
			if !filepath.IsAbs(m.Point) {
				t.Errorf("a mount point %q", m.Point)
			}
		}
	})
}
