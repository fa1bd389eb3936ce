package crashdir

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ours   = "2026-11-22T00-00-00Z"
	theirs = "2026-11-23T00-00-00Z"
)

// mountHere mounts over a directory in a namespace of this thread alone, which the test
// keeps until it ends.
func mountHere(t *testing.T, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

// mountFuse mounts a file system of user 1000 that never answers.
func mountFuse(t *testing.T, target, options string) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	mountHere(t, "x", target, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=1000,group_id=1000%s", fd, options))
}

// A directory whose owner cannot be known is nobody's dump. None of them holds up the
// others, and files and links of that name are not counted.
func TestScanLeavesOut(t *testing.T) {
	for name, plant := range map[string]func(t *testing.T, path string){
		"of another user":               func(t *testing.T, path string) { chown(t, path, 4242) },
		"of another user, not readable": func(t *testing.T, path string) { chown(t, path, 4242); os.Chmod(path, 0) },
		"FUSE that root may not see":    func(t *testing.T, path string) { mountFuse(t, path, "") },
		"FUSE that never answers":       func(t *testing.T, path string) { mountFuse(t, path, ",allow_other") },
		"tmpfs of root":                 func(t *testing.T, path string) { mountHere(t, "x", path, "tmpfs", 0, "") },
		"bind mount of the same file system": func(t *testing.T, path string) {
			mountHere(t, filepath.Join(filepath.Dir(path), ours), path, "", unix.MS_BIND, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			put(t, parent, ours, map[string]string{Vmcore: "x"})
			put(t, parent, theirs, map[string]string{Vmcore: "x"})
			put(t, parent, "2026-11-24T00-00-00Z", nil)
			plant(t, filepath.Join(parent, theirs))
			if err := os.WriteFile(filepath.Join(parent, "2026-11-25T00-00-00Z"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(ours, filepath.Join(parent, "2026-11-26T00-00-00Z")); err != nil {
				t.Fatal(err)
			}
			c, err := Scan(parent)
			if err != nil || len(c.Dumps) != 2 || c.Dumps[0].Name != ours || c.Dumps[0].Outcome != Complete {
				t.Errorf("%+v, %v", c.Dumps, err)
			}
			if c.NLeftOut != 1 || len(c.LeftOut) != 1 || !strings.Contains(c.LeftOut[0].Error(), theirs) {
				t.Errorf("left out %d: %v", c.NLeftOut, c.LeftOut)
			}
			d := Dump{Name: theirs, Path: filepath.Join(parent, theirs)}
			if err := Remove(d); err == nil {
				t.Error("it was removed")
			}
		})
	}
}

func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Skip(err)
	}
}

// Users may make any number of directories. The reasons are bounded, the count is not.
func TestScanLeavesOutMany(t *testing.T) {
	parent := t.TempDir()
	for n := range 3 * maxLeftOut {
		name := Name(crash.Add(time.Duration(n) * time.Second))
		put(t, parent, name, nil)
		chown(t, filepath.Join(parent, name), 4242)
	}
	c, err := Scan(parent)
	if err != nil || len(c.Dumps) != 0 || c.NLeftOut != 3*maxLeftOut || len(c.LeftOut) != maxLeftOut {
		t.Errorf("%d dumps, %d left out, %d reasons, %v", len(c.Dumps), c.NLeftOut, len(c.LeftOut), err)
	}
}

// Directories that come and go while they are listed are no dumps of anyone, and no
// error.
func TestScanChanging(t *testing.T) {
	parent, away := t.TempDir(), t.TempDir()
	put(t, parent, ours, map[string]string{Vmcore: "x"})
	put(t, away, theirs, map[string]string{Vmcore: "x"})
	chown(t, filepath.Join(away, theirs), 4242)
	stop, stopped := make(chan bool), make(chan error)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			err = errors.Join(os.Rename(filepath.Join(away, theirs), filepath.Join(parent, theirs)),
				os.Rename(filepath.Join(parent, theirs), filepath.Join(away, theirs)))
		}
		<-stop
		stopped <- err
	}()
	for range 2000 {
		c, err := Scan(parent)
		if err != nil || len(c.Dumps) != 1 || c.Dumps[0].Name != ours {
			t.Errorf("%+v, %v", c, err)
			break
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Somebody replaces the directory of a dump at any moment of its removal. Nothing
// elsewhere is removed, and no other dump.
func TestRemoveReplaced(t *testing.T) {
	const moments = 5
	for what, replace := range map[string]func(path, outside string) error{
		"a link to a directory":    func(path, outside string) error { return os.Symlink(outside, path) },
		"a link to a link":         func(path, outside string) error { return os.Symlink(outside+"/link", path) },
		"another dump":             func(path, outside string) error { return os.Rename(outside+"/dump", path) },
		"a file":                   func(path, outside string) error { return os.WriteFile(path, nil, 0o600) },
		"nothing":                  func(path, outside string) error { return nil },
		"a dump with a linked log": func(path, outside string) error { return os.Rename(outside+"/linked", path) },
	} {
		for moment := range moments {
			t.Run(fmt.Sprint(what, " ", moment), func(t *testing.T) {
				parent, outside := t.TempDir(), t.TempDir()
				put(t, parent, ours, map[string]string{Vmcore: "x", Dmesg: "x"})
				put(t, outside, "dump", map[string]string{Vmcore: "x"})
				put(t, outside, "linked", map[string]string{Vmcore: "x"})
				for link, to := range map[string]string{"link": ".", "linked/" + Dmesg: "../dump"} {
					if err := os.Symlink(to, filepath.Join(outside, link)); err != nil {
						t.Fatal(err)
					}
				}
				path := filepath.Join(parent, ours)
				d, err := Read(path)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				hook = func() error {
					if n++; n == moment+1 {
						if err := os.Rename(path, path+".moved"); err != nil {
							t.Fatal(err)
						}
						if err := replace(path, outside); err != nil {
							t.Fatal(err)
						}
					}
					return nil
				}
				defer func() { hook = func() error { return nil } }()
				if err := Remove(d); err == nil {
					t.Error("no error")
				}
				if n <= moment {
					t.Fatalf("the removal has %d steps", n)
				}
				cores := 0
				for _, dir := range []string{parent, outside} {
					filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
						if e.Name() == Vmcore && !strings.Contains(path, ".moved") {
							cores++
						}
						return err
					})
				}
				if cores != 2 {
					t.Errorf("%d of 2 other vmcores are left", cores)
				}
			})
		}
	}
}

// A dump of which a part cannot be removed is left whole.
func TestRemovable(t *testing.T) {
	for name, tt := range map[string]struct {
		plant func(t *testing.T, path string)
		want  error
	}{
		"ordinary":             {func(*testing.T, string) {}, nil},
		"mount in it":          {func(t *testing.T, path string) { mountHere(t, "x", path+"/sub", "tmpfs", 0, "") }, errMounted},
		"mount deep in it":     {func(t *testing.T, path string) { mountHere(t, "x", path+"/sub/sub", "tmpfs", 0, "") }, errMounted},
		"file mounted on file": {func(t *testing.T, path string) { mountHere(t, path+"/"+Dmesg, path+"/"+Vmcore, "", unix.MS_BIND, "") }, errMounted},
		"mount point":          {func(t *testing.T, path string) { mountHere(t, path, path, "", unix.MS_BIND, "") }, errMounted},
		"immutable":            {func(t *testing.T, path string) { chattr(t, path, immutable) }, errImmutable},
		"immutable log":        {func(t *testing.T, path string) { chattr(t, path+"/"+Dmesg, immutable) }, errImmutable},
		"append-only below":    {func(t *testing.T, path string) { chattr(t, path+"/sub/sub", appendOnly) }, errImmutable},
		"of another user":      {func(t *testing.T, path string) { chown(t, path, 4242) }, &OwnerError{UID: 4242}},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			put(t, parent, ours, map[string]string{Vmcore: "x", Dmesg: "x"})
			path := filepath.Join(parent, ours)
			put(t, path, "sub/sub", nil)
			d, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			tt.plant(t, path)
			err = Removable(d)
			if owner := new(OwnerError); errors.As(err, &owner) {
				err = &OwnerError{UID: owner.UID}
			}
			if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) && fmt.Sprint(err) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// chattr sets a flag of FS_IOC_SETFLAGS until the test ends.
func chattr(t *testing.T, path string, flag uint32) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0)
		f.Close()
	})
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flag)); err != nil {
		t.Skip(err)
	}
}

// A dump that cannot be read is of unknown outcome, not a failed one.
func TestUnknown(t *testing.T) {
	parent := t.TempDir()
	for _, day := range []string{"21", "22", "23"} {
		put(t, parent, "2026-11-"+day+"T00-00-00Z", map[string]string{Vmcore: "x"})
	}
	for name, mode := range map[string]fs.FileMode{parent: 0o755, parent + "/2026-11-21T00-00-00Z": 0, parent + "/2026-11-22T00-00-00Z": 0o444} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for p := filepath.Dir(parent); p != "/"; p = filepath.Dir(p) {
		if fi, err := os.Stat(p); err != nil || fi.Mode()&0o001 == 0 {
			os.Chmod(p, 0o755)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Setfsuid(65534) // takes CAP_DAC_OVERRIDE with it, capabilities(7)
	c, err := Scan(parent)
	unix.Setfsuid(os.Geteuid())
	if err != nil || len(c.Dumps) != 3 || c.NLeftOut != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, d := range c.Dumps[:2] {
		if d.Outcome != Unknown || d.Size != 0 || !errors.Is(d.ReportErr, fs.ErrPermission) {
			t.Errorf("%s: %s, %d bytes, %v", d.Name, d.Outcome, d.Size, d.ReportErr)
		}
	}
	if os.Geteuid() == 0 && c.Dumps[2].Outcome == Complete {
		t.Errorf("root's dump of mode 0700 is %s to others", c.Dumps[2].Outcome)
	}
	if Unknown.Better(Failed) {
		t.Error("what is not known is better than nothing")
	}
}

// Flags of linux/fs.h.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// ListSome looks at a bounded number of entries, whatever users have made.
func TestListSome(t *testing.T) {
	parent := t.TempDir()
	const n = 3000
	for i := range n {
		at := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
		if err := os.Mkdir(filepath.Join(parent, Name(at)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	big := filepath.Join(parent, "2025-01-01T00-00-00Z")
	if err := os.Mkdir(big, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(big, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ most, calls, want int }{
		{10, math.MaxInt, 10},
		{math.MaxInt, 50, 50},
		{math.MaxInt, 0, 0},
		{math.MaxInt, math.MaxInt, n + 1},
	} {
		calls := 0
		dumps, err := ListSome(parent, tt.most, func() bool { calls++; return calls <= tt.calls })
		// An entry and each file in it are a call.
		if err != nil || len(dumps) > tt.want || tt.calls == math.MaxInt && len(dumps) != tt.want || calls > 2*n+2 {
			t.Errorf("at most %d dumps in %d calls: %d dumps in %d calls, %v", tt.most, tt.calls, len(dumps), calls, err)
		}
		if left := Expendable(dumps); len(left) > 0 && left[len(left)-1].Name == Name(time.Date(2026, 1, 1, 0, 0, n-1, 0, time.UTC)) {
			t.Error("the newest dump is expendable")
		}
	}
	// Without time a removal ends, too.
	allowed := n + 1 + n + 10
	dumps, err := ListSome(parent, math.MaxInt, func() bool { allowed--; return allowed > 0 })
	if err != nil || len(dumps) != n+1 || dumps[0].Path != big {
		t.Fatalf("%d dumps, %v", len(dumps), err)
	}
	if err := Remove(dumps[0]); !errors.Is(err, errStopped) {
		t.Errorf("removal of a large directory: %v", err)
	}
}
