package capture

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

func TestFeedInterval(t *testing.T) {
	for timeout, want := range map[int]time.Duration{
		-1:    time.Second,
		0:     time.Second,
		1:     time.Second / 3,
		15:    5 * time.Second,
		30:    10 * time.Second,
		86400: 10 * time.Second,
	} {
		if got := feedInterval(timeout); got != want {
			t.Errorf("%d s: %v, want %v", timeout, got, want)
		}
	}
}

// addWatchdog makes the files of a watchdog; its device is a plain file, which
// knows none of the ioctls.
func addWatchdog(t *testing.T, f *feeder, name, identity string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(f.sys, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.sys, name, "identity"), []byte(identity+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := filepath.Join(f.dev, name)
	if err := os.WriteFile(dev, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestFeeder(t *testing.T) {
	f := newFeeder([]string{"first", "30", "second", "15"})
	f.sys, f.dev = t.TempDir(), t.TempDir()
	f.feed(time.Second) // no driver yet

	first := addWatchdog(t, f, "watchdog0", "first")
	foreign := addWatchdog(t, f, "watchdog1", "foreign")
	f.feed(2 * time.Second) // opens, which feeds
	if len(f.open) != 1 || f.open["watchdog0"] == nil {
		t.Fatalf("open: %v", f.open)
	}
	second := addWatchdog(t, f, "watchdog2", "second")
	f.feed(3 * time.Second)
	if len(f.open) != 2 {
		t.Errorf("a watchdog that came later was not opened: %v", f.open)
	}
	f.feed(3500 * time.Millisecond)
	f.feed(4 * time.Second)
	for file, want := range map[string]string{first: "\x00\x00", second: "\x00", foreign: ""} {
		if b, _ := os.ReadFile(file); string(b) != want {
			t.Errorf("%s was fed %q, want %q", filepath.Base(file), b, want)
		}
	}
}

// Two watchdogs of one driver have one identity.
func TestFeederTwins(t *testing.T) {
	f := newFeeder([]string{"twin", "30", "twin", "30"})
	f.sys, f.dev = t.TempDir(), t.TempDir()
	addWatchdog(t, f, "watchdog0", "twin")
	f.feed(time.Second)
	addWatchdog(t, f, "watchdog1", "twin")
	f.feed(2 * time.Second)
	if len(f.open) != 2 {
		t.Errorf("open: %v", f.open)
	}
}

func TestPermitted(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	unix.Write(fds[1], make([]byte, 5000))
	if !permitted(fds[0]) {
		t.Error("not permitted")
	}
	if n, err := unix.Read(fds[0], make([]byte, 1)); err != unix.EAGAIN {
		t.Errorf("old permissions are left: %d, %v", n, err)
	}
	// The next one is waited for.
	go func() {
		time.Sleep(20 * time.Millisecond)
		unix.Write(fds[1], []byte{0})
		unix.Close(fds[1])
	}()
	// The last byte and the end may be seen at once.
	begin := time.Now()
	permitted(fds[0])
	if time.Since(begin) < 10*time.Millisecond {
		t.Error("did not wait")
	}
	if permitted(fds[0]) {
		t.Error("permitted by nobody")
	}
}

// Permissions come at their pace, end with until, and a feeder that does not
// read never holds up the supervisor.
func TestPermissions(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	p, err := start([]string{"/bin/sleep", "60"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill(10 * time.Second)
	w := newWatchdogs([]plan.Watchdog{{Identity: "x", Timeout: 30}}, 100000*time.Second)
	w.child, w.pipe = p, fds[1]
	count := func() int {
		n, _ := unix.Read(fds[0], make([]byte, 1<<20))
		return max(n, 0)
	}
	for ms := range 1000 {
		w.feed(time.Second + time.Duration(ms)*time.Millisecond)
	}
	if n := count(); n != 10 {
		t.Errorf("%d permissions in a second, want 10", n)
	}
	for sec := range 99998 { // more than the pipe holds
		w.feed(time.Duration(2+sec) * time.Second)
	}
	for count() > 0 {
	}
	w.feed(100001 * time.Second)
	if n := count(); n != 0 {
		t.Errorf("%d permissions after the end", n)
	}
	w.extend(100100 * time.Second)
	w.feed(100002 * time.Second)
	if n := count(); n != 1 {
		t.Errorf("%d permissions after it was extended, want 1", n)
	}
}

// A plan without watchdogs starts nothing.
func TestNoWatchdogs(t *testing.T) {
	w := newWatchdogs(nil, time.Hour)
	w.feed(time.Minute)
	w.extend(time.Hour)
	if w != nil || w.pid() != 0 {
		t.Errorf("got %+v", w)
	}
}
