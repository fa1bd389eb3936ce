package vmtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// VM is a running machine.
type VM struct {
	options  Options
	monitor  *monitor
	console  *console
	keyboard io.WriteCloser // of the serial console
	next     int            // console line that Expect looks at first
	ctx      context.Context
	cancel   context.CancelFunc
	deadline time.Duration
	ended    chan struct{} // closed when QEMU is gone
	err      error         // how it ended; valid after ended
}

// Error is a failure of a machine.
type Error struct {
	What    string   // "no line with \"login:\" within 10s"
	Tail    []string // last lines of the console, at most 40
	Log     string   // file with all of it; may be empty
	Command string   // starts the same machine again
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "virtual machine: %s\n--- last lines of its console", e.What)
	if e.Log != "" {
		fmt.Fprintf(&b, " (all: %s)", e.Log)
	}
	for _, l := range e.Tail {
		b.WriteString("\n" + l)
	}
	fmt.Fprintf(&b, "\n--- the same machine again (Ctrl-A X ends it):\n%s", e.Command)
	return b.String()
}

// Start starts the machine. It ends when the guest powers off or resets, when
// ctx or its deadline ends, and when this process dies. Wait must be called.
func Start(ctx context.Context, o Options) (*VM, error) {
	args, err := o.Args()
	if err != nil {
		return nil, err
	}
	deadline := o.Deadline
	if deadline == 0 {
		deadline = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	vm := &VM{options: o, console: newConsole(o.Line), ctx: ctx, cancel: cancel, deadline: deadline, ended: make(chan struct{})}

	out := []io.Writer{vm.console}
	var log *os.File
	if o.Log != "" {
		if log, err = os.Create(o.Log); err != nil {
			cancel()
			return nil, fmt.Errorf("console log: %w", err)
		}
		out = append(out, log)
	}

	mon, theirs, err := newMonitor()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("monitor: %w", err)
	}
	defer theirs.Close()
	vm.monitor = mon

	cmd := exec.CommandContext(ctx, o.Arch.qemu(), append(args, monitorArgs...)...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout = io.MultiWriter(out...)
	cmd.Stderr = cmd.Stdout // QEMU's own complaints belong to the story
	if vm.keyboard, err = cmd.StdinPipe(); err != nil {
		cancel()
		mon.close()
		return nil, fmt.Errorf("serial console: %w", err)
	}
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	started := make(chan error)
	go func() {
		// The death signal is sent when the thread that forked ends
		// (prctl(2), PR_SET_PDEATHSIG), so keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			vm.err = cmd.Wait()
		}
		mon.close()
		if log != nil {
			log.Close()
		}
		close(vm.ended)
	}()
	if err := <-started; err != nil {
		cancel()
		mon.close()
		return nil, fmt.Errorf("start virtual machine: %w", err)
	}
	return vm, nil
}

// Expect waits until the console has printed a line that contains marker,
// after the line that the previous Expect found. It returns an *Error when the
// machine ends or the time is over before.
func (vm *VM) Expect(marker string, within time.Duration) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		// Read first: a machine that has ended has printed everything.
		over := vm.isOver()
		line, changed := vm.console.find(marker, vm.next)
		switch {
		case line >= 0:
			vm.next = line + 1
			return nil
		case over:
			return vm.Fail("ended before printing %q", marker)
		}
		select {
		case <-changed:
		case <-vm.ended:
		case <-timer.C:
			return vm.Fail("no line with %q within %v", marker, within)
		}
	}
}

func (vm *VM) isOver() bool {
	select {
	case <-vm.ended:
		return true
	default:
		return false
	}
}

// Wait waits until QEMU has ended and returns nil if the guest ended it, by a
// reset or by switching itself off, or else an *Error.
func (vm *VM) Wait() error {
	<-vm.ended
	defer vm.cancel()
	switch {
	case vm.ctx.Err() == context.DeadlineExceeded:
		return vm.Fail("still running after %v", vm.deadline)
	case vm.ctx.Err() != nil:
		return vm.Fail("interrupted")
	case vm.err != nil:
		return vm.Fail("QEMU ended with %v", vm.err)
	}
	return nil
}

// WaitFor is Wait, but ends the machine and returns an *Error if that is still
// running after d.
func (vm *VM) WaitFor(d time.Duration) error {
	select {
	case <-vm.ended:
		return vm.Wait()
	case <-time.After(d):
		// Whether it is paused, for a failed disk for one, and where it hangs.
		status, _ := vm.Monitor("info status")
		registers, _ := vm.Monitor("info registers")
		err := vm.Fail("still running after %v (%s)\n%s", d.Round(time.Second), status, registers)
		vm.Kill()
		return err
	}
}

// Kill ends the machine at once, as if its plug were pulled.
func (vm *VM) Kill() {
	vm.cancel()
	<-vm.ended
}

// Type types a line on the serial console, and Enter.
func (vm *VM) Type(line string) error {
	_, err := io.WriteString(vm.keyboard, line+"\r")
	return err
}

// Console returns the lines that the console has printed so far, without
// terminal control sequences.
func (vm *VM) Console() []string { return vm.console.all() }

// Fail returns an *Error about this machine.
func (vm *VM) Fail(format string, a ...any) error {
	tail := vm.console.all()
	if n := len(tail) - 40; n > 0 {
		tail = tail[n:]
	}
	command, _ := vm.options.Command() // Start has checked it
	return &Error{What: fmt.Sprintf(format, a...), Tail: tail, Log: vm.options.Log, Command: command}
}

// KVMWorks boots an amd64 kernel under KVM and returns nil if it prints its version in
// good time. There are hosts whose KVM can be opened and then hangs, so its
// device node proves nothing.
func KVMWorks(ctx context.Context, kernel string) error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	f.Close()
	vm, err := Start(ctx, Options{Kernel: kernel, Cmdline: "console=ttyS0 earlyprintk=ttyS0 panic=1", MemoryMiB: 512, Accel: KVM, Deadline: 30 * time.Second})
	if err != nil {
		return err
	}
	defer vm.Kill()
	return vm.Expect("Linux version", 15*time.Second)
}
