// Package uplink has the roles that kdumpinit-net adds to PID 1: it sets the network up,
// mounts exports, writes files to servers and encrypts. Each runs as a child of the
// worker, which reads its progress and kills it if it is silent; see internal/capture.
package uplink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/capture"
	"ukdump/internal/dumpfile"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/remote"
)

// The surroundings of a role, for tests.
var (
	vmcorePath           = "/proc/vmcore" // the memory of the crashed kernel
	root       fs.FS     = os.DirFS("/")  // the image
	stdin      io.Reader = os.Stdin
	stdout     io.Writer = os.Stdout
	control              = func() io.Reader { return os.NewFile(capture.ControlFD, "control") }
	sink                 = func() io.Writer { return os.NewFile(sinkFD, "sink") }
	openStore            = remote.Open
)

// sinkFD is the descriptor to which Seal writes.
const sinkFD = 4

// job is one run of a role.
type job struct {
	plan   *plan.Plan
	remote *netplan.Plan
	server *netplan.Server // nil if no target was named
}

// open reads the plan. target is the Dir of a target, "" for none.
func open(target string) (*job, error) {
	b, err := fs.ReadFile(root, plan.Path)
	if err != nil {
		return nil, err
	}
	j := new(job)
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
	// With one place for goroutines, Go's monitor takes it away in each longer system call and
	// looks again every 20 µs (sysmon in runtime/proc.go): a third of the processor's time.
	runtime.GOMAXPROCS(2)
	err := f(args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stdout, strings.ReplaceAll(err.Error(), "\n", "; "))
	switch {
	case broken(err):
		return capture.ExitBroken
	case errors.Is(err, errStream):
		return capture.ExitStream
	}
	return 1
}

// errStream marks the error of a stream that was no whole dump.
var errStream = errors.New("not a whole dump")

// lost are errors of a connection that broke or could not be made. A file that is missing
// and a disk that is full at the server are system errors, too, but not of these.
var lost = []error{
	io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded,
	unix.ETIMEDOUT, unix.ECONNRESET, unix.ECONNREFUSED, unix.ECONNABORTED, unix.EPIPE,
	unix.ENETUNREACH, unix.ENETDOWN, unix.EHOSTUNREACH, unix.EHOSTDOWN,
}

// broken reports whether an error is one of the connection, after which another try may
// work, and not an answer of the server.
func broken(err error) bool {
	var op *net.OpError
	if errors.Is(err, errStream) { // which may have ended early, too
		return false
	}
	if errors.As(err, &op) {
		return !strings.HasSuffix(op.Op, " error") // alerts of TLS are answers: "remote error"
	}
	return slices.ContainsFunc(lost, func(e error) bool { return errors.Is(err, e) })
}

// say prints a line for the worker.
func say(word, format string, a ...any) {
	fmt.Fprintln(stdout, word+" "+strings.ReplaceAll(fmt.Sprintf(format, a...), "\n", " "))
}

func warn(format string, a ...any) { say(capture.SayWarning, format, a...) }

// meter prints progress at most twice a second. Several goroutines may use it.
type meter struct {
	mu    sync.Mutex
	bytes int64
	last  time.Time
}

func (m *meter) set(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show(bytes)
}

// add counts more bytes.
func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show(m.bytes + n)
}

// beat prints progress without new bytes.
func (m *meter) beat() { m.add(0) }

// show prints the number of bytes, unless it has just done so. The caller has locked m.
func (m *meter) show(bytes int64) {
	m.bytes = bytes
	if now := time.Now(); now.Sub(m.last) > 500*time.Millisecond {
		m.last = now
		say(capture.SayProgress, "%d", bytes)
	}
}

// end prints the final number.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	say(capture.SayProgress, "%d", m.bytes)
}

// memory opens the memory that the dump must be of, until this role ends.
func memory() (*dumpfile.Memory, error) {
	m, _, err := capture.OpenMemory(vmcorePath, warn)
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// committed waits until the worker knows that the collector has ended well.
func committed() error {
	var b [1]byte
	if n, _ := control().Read(b[:]); n == 1 && b[0] == capture.CommitByte {
		return nil
	}
	return errors.New("the collector failed")
}
