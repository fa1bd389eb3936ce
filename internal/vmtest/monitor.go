package vmtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// monitorLimit is how long QEMU may take for the answer to one command.
const monitorLimit = 30 * time.Second

// monitorArgs make QEMU speak QMP on its descriptor 3, the first of
// exec.Cmd.ExtraFiles. They are not in Options.Args: a machine that is started by hand
// has no such descriptor, and its monitor is at Ctrl-A C.
var monitorArgs = []string{"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control"}

// monitor is the QMP connection to a running QEMU (qemu-qmp-ref(7)).
type monitor struct {
	mu    sync.Mutex
	conn  net.Conn
	dec   *json.Decoder
	ready bool // capabilities are negotiated
}

// newMonitor returns a monitor and QEMU's end of its socket.
func newMonitor() (*monitor, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "monitor"), os.NewFile(uintptr(fds[1]), "monitor")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return &monitor{conn: conn, dec: json.NewDecoder(conn)}, theirs, nil
}

// close waits for a command: the answer to quit may still lie in the socket when QEMU has
// ended.
func (m *monitor) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn.Close()
}

// answer is a message of QEMU: a greeting, an event, or the result of a command.
type answer struct {
	QMP    json.RawMessage `json:"QMP"`
	Event  string          `json:"event"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

// call executes one command and returns its result.
func (m *monitor) call(command string, arguments map[string]any) (json.RawMessage, error) {
	m.conn.SetDeadline(time.Now().Add(monitorLimit))
	b, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return nil, err
	}
	if _, err := m.conn.Write(append(b, '\n')); err != nil {
		return nil, err
	}
	for {
		var a answer
		if err := m.dec.Decode(&a); err != nil {
			return nil, err
		}
		switch {
		case a.Error != nil:
			return nil, errors.New(a.Error.Desc)
		case a.Return != nil:
			return a.Return, nil
		}
	}
}

// human executes a command of the monitor that people use.
func (m *monitor) human(line string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready {
		if _, err := m.call("qmp_capabilities", nil); err != nil {
			return "", err
		}
		m.ready = true
	}
	raw, err := m.call("human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.ReplaceAll(text, "\r", "")), nil
}

// Monitor executes a command of QEMU's monitor, such as "device_del disk1", and
// returns what it printed. Commands that fail print why and are errors only if
// QEMU says "Error". It may be called at any time between Start and Wait, also
// from another goroutine.
func (vm *VM) Monitor(line string) (string, error) {
	out, err := vm.monitor.human(line)
	if err == nil && strings.HasPrefix(out, "Error") {
		err = errors.New(out)
	}
	if err != nil {
		return out, fmt.Errorf("monitor: %s: %w", line, err)
	}
	return out, nil
}
