package cli

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pipe gets one line, and only if the work takes longer than a second.
func TestTaskOnPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &Program{Name: "prog", Stderr: w}
	p.Begin("quick work").End()
	task := p.Begin("long work on %s", "a\x1b[2Jb")
	time.Sleep(quiet*2 + quiet/2)
	task.Share(1, 2)
	task.End()
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil || strings.Count(string(got), "\n") != 1 || !strings.HasPrefix(string(got), "prog: long work on a") || bytes.Contains(got, []byte{0x1b}) {
		t.Errorf("%q, %v", got, err)
	}
}

// A terminal gets a line that changes and is gone at the end.
func TestTaskOnTerminal(t *testing.T) {
	master, slave := pty(t)
	p := &Program{Name: "prog", Stderr: slave}
	task := p.Begin("long work")
	task.Share(30, 200)
	time.Sleep(quiet + quiet/2)
	task.End()
	b := make([]byte, 4096)
	n, err := master.Read(b)
	got := string(b[:n])
	if err != nil || !strings.HasPrefix(got, clearLine+"prog: long work … 15 %, 1 s") {
		t.Errorf("%q, %v", got, err)
	}
	if !strings.HasSuffix(got, clearLine) {
		n, err = master.Read(b)
		if got := string(b[:n]); err != nil || got != clearLine {
			t.Errorf("at the end: %q, %v", got, err)
		}
	}
}

func TestNoTask(t *testing.T) {
	var b bytes.Buffer
	task := (&Program{Stderr: &b}).Begin("x")
	task.Share(1, 2)
	task.End()
	if task != nil || b.Len() > 0 {
		t.Error("a buffer got progress")
	}
}

// pty returns both ends of a pseudoterminal (pts(4)).
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
