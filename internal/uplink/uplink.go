// Package uplink has the roles that kdumpinit-net adds to PID 1: it sets the network up,
// mounts exports, writes files to servers and encrypts. Each runs as a child of the
// worker, which reads its progress and kills it if it is silent; see internal/capture.
package uplink

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"ukdump/internal/capture"
	"ukdump/internal/dumpfile"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/vmcore"
)

// vmcorePath is the memory of the crashed kernel.
const vmcorePath = "/proc/vmcore"

// job is one run of a role.
type job struct {
	plan   *plan.Plan
	remote *netplan.Plan
	server *netplan.Server // nil if no target was named
	root   fs.FS           // the image
}

// open reads the plan. target is the Dir of a target, "" for none.
func open(target string) (*job, error) {
	b, err := os.ReadFile("/" + plan.Path)
	if err != nil {
		return nil, err
	}
	j := &job{root: os.DirFS("/")}
	if j.plan, err = plan.Parse(b); err != nil {
		return nil, err
	}
	if j.remote, err = netplan.Of(j.plan.Remote); err != nil {
		return nil, err
	}
	if target == "" {
		return j, nil
	}
	if j.server = j.remote.Server(target); j.server == nil {
		return nil, fmt.Errorf("%s: the plan has no server", target)
	}
	return j, nil
}

// run runs a role and returns its exit status.
func run(args []string, least int, f func(args []string) error) int {
	if len(args) < least {
		return 2
	}
	err := f(args)
	if err == nil {
		return 0
	}
	fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
	if Broken(err) {
		return capture.ExitBroken
	}
	return 1
}

// brokenError is an error after which another try may work.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

// Broken reports whether an error is one of the connection and not an answer.
func Broken(err error) bool {
	var op net.Error
	var broken *brokenError
	return errors.As(err, &broken) || errors.As(err, &op)
}

// say prints a line for the worker.
func say(word, format string, a ...any) {
	fmt.Println(word + " " + strings.ReplaceAll(fmt.Sprintf(format, a...), "\n", " "))
}

func warn(format string, a ...any) { say(capture.SayWarning, format, a...) }

// meter prints progress at most twice a second. Its add may be called by several
// goroutines.
type meter struct {
	mu    sync.Mutex
	bytes int64
	last  time.Time
}

func (m *meter) set(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes = bytes
	if now := time.Now(); now.Sub(m.last) > 500*time.Millisecond {
		m.last = now
		say(capture.SayProgress, "%d", bytes)
	}
}

// add counts more bytes.
func (m *meter) add(n int64) { m.set(m.total() + n) }

func (m *meter) total() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// beat prints progress without new bytes.
func (m *meter) beat() { m.set(m.total()) }

// end prints the final number.
func (m *meter) end() { say(capture.SayProgress, "%d", m.total()) }

// memory opens the memory that the dump must be of. A log that cannot be located is a
// warning, as without a server.
func memory() (*dumpfile.Memory, error) {
	f, err := os.Open(vmcorePath)
	if err != nil {
		return nil, err
	}
	core, err := vmcore.Open(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", vmcorePath, err)
	}
	marks, err := core.Marks()
	if err != nil {
		warn("the vmcore is not verified to have the kernel log: %v", err)
	}
	return &dumpfile.Memory{Core: core, Marks: marks}, nil
}

// committed waits until the worker knows that the collector has ended well.
func committed() error {
	var b [1]byte
	n, err := os.NewFile(capture.ControlFD, "control").Read(b[:])
	if n == 1 && b[0] == capture.CommitByte {
		return nil
	}
	return fmt.Errorf("the collector failed: %v", err)
}
