package capture

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ukdump/internal/plan"
)

func TestParseParent(t *testing.T) {
	for in, want := range map[string]int{
		"33 (makedumpfile) D 7 33 0 0 -1 4194560 120 0\n": 7,
		"34 (a) S 9 0) 0 (b) R 1 34 0 0 -1 4194304 1\n":   1,
		"35 (x) R": 0,
		"35":       0,
		"":         0,
	} {
		if got := parseParent([]byte(in)); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}

// Nobody but our own children is killed.
func TestDescendants(t *testing.T) {
	p, err := start([]string{"/bin/sh", "-c", "sleep 60 & wait"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill(5 * time.Second)
	for end := uptime() + 10*time.Second; ; time.Sleep(10 * time.Millisecond) {
		all, err := userProcesses("/proc", 0)
		if err != nil {
			t.Fatal(err)
		}
		ours := descendants(slices.Clone(all))
		for _, x := range ours {
			if x.pid == os.Getpid() || x.pid == os.Getppid() {
				t.Fatalf("%v is no child of %d", x, os.Getpid())
			}
		}
		grandchild := slices.ContainsFunc(ours, func(x userProcess) bool { return x.name == "sleep" })
		if slices.ContainsFunc(ours, func(x userProcess) bool { return x.pid == p.pid }) && grandchild {
			return
		}
		if uptime() > end {
			t.Fatalf("the child %d and its own child are not in %v", p.pid, ours)
		}
	}
}

func TestCheckMounted(t *testing.T) {
	if err := checkMounted("/proc"); err != nil {
		t.Errorf("/proc: %v", err)
	}
	if err := checkMounted(t.TempDir()); err != errNotMounted {
		t.Errorf("an ordinary directory: %v", err)
	}
	if err := checkMounted(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there: no error")
	}
}

func TestInMountinfo(t *testing.T) {
	const mounts = "21 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw\n" +
		"36 21 254:2 /var/crash /srv/crash rw - ext4 /dev/vdb rw\n" +
		`37 21 254:3 / /srv/a\040b rw - ext4 /dev/vdc rw` + "\n38 21\n"
	for point, want := range map[string]bool{"/": true, "/srv/crash": true, "/var/crash": false, "/srv": false, "/srv/a b": true, "/srv/a": false} {
		if inMountinfo(mounts, point) != want {
			t.Errorf("%s: %v", point, !want)
		}
	}
}

// A directory that is not mounted gets no dump, nor does a path that leads elsewhere.
func TestOpenMounted(t *testing.T) {
	dir := t.TempDir()
	w := testWorker(t)
	w.plan.Deadlines = plan.Deadlines{Device: 1, Mount: 1, Finish: 1, Total: 60}
	target := &plan.Target{Kind: plan.Mounted, Dir: dir, Path: dir, Mount: &plan.SystemMount{Point: dir}}
	if w.openMounted(target) {
		t.Error("opened though nothing is mounted there")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	target.Path = link
	if err := w.makeDir(target); err == nil {
		t.Error("a symbolic link was followed")
	}
	target.Path = filepath.Join(dir, "crash")
	if err := w.makeDir(target); err != nil {
		t.Fatal(err)
	}
	if got := filepath.Dir(w.state.Dir); got != target.Path {
		t.Errorf("the dump is in %s", got)
	}
}
