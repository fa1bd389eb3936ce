package vmtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// NBD serves an image to QEMU through nbdkit(1), which can be told to fail.
// It lives until Close, over several runs of the machine.
type NBD struct {
	dir   string // socket and the files that switch errors on
	cmd   *exec.Cmd
	ended chan struct{}
}

// ServeNBD starts a server for the image, a raw disk.
func ServeNBD(ctx context.Context, image string) (*NBD, error) {
	// A short path: that of a socket has at most 107 bytes (unix(7)).
	dir, err := os.MkdirTemp("", "nbd-")
	if err != nil {
		return nil, err
	}
	n := &NBD{dir: dir, ended: make(chan struct{})}
	// The error filter obeys a file for each kind of request; see
	// nbdkit-error-filter(1). Zeroing and trimming are writes for us.
	args := []string{"--foreground", "--exit-with-parent", "--newstyle", "--unix", n.socket(), "--filter=error", "file", image}
	for request, file := range map[string]string{"pread": "reads", "pwrite": "writes", "zero": "writes", "trim": "writes"} {
		args = append(args, "error-"+request+"-rate=100%", "error-"+request+"-file="+filepath.Join(dir, file))
	}
	n.cmd = exec.CommandContext(ctx, "nbdkit", args...)
	var out bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &out, &out
	n.cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() {
		// As in Start: nbdkit's --exit-with-parent is about the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := n.cmd.Start()
		started <- err
		if err == nil {
			n.cmd.Wait()
		}
		close(n.ended)
	}()
	if err := <-started; err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start nbdkit: %w", err)
	}
	for {
		if _, err := os.Stat(n.socket()); err == nil {
			return n, nil
		}
		select {
		case <-n.ended:
			os.RemoveAll(dir)
			return nil, fmt.Errorf("nbdkit ended: %s", bytes.TrimSpace(out.Bytes()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (n *NBD) socket() string { return filepath.Join(n.dir, "socket") }

// URI returns the path of a Disk that is this image.
func (n *NBD) URI() string { return "nbd:unix:" + n.socket() }

// FailReads makes every read fail with EIO from now on.
func (n *NBD) FailReads() error { return n.fail("reads") }

// FailWrites makes every write fail with EIO from now on.
func (n *NBD) FailWrites() error { return n.fail("writes") }

func (n *NBD) fail(request string) error {
	return os.WriteFile(filepath.Join(n.dir, request), nil, 0o600)
}

// Freeze leaves every request without an answer from now on.
func (n *NBD) Freeze() error { return n.cmd.Process.Signal(syscall.SIGSTOP) }

// Heal ends the faults of FailReads, FailWrites and Freeze.
func (n *NBD) Heal() error {
	os.Remove(filepath.Join(n.dir, "reads"))
	os.Remove(filepath.Join(n.dir, "writes"))
	return n.cmd.Process.Signal(syscall.SIGCONT)
}

// Close ends the server.
func (n *NBD) Close() error {
	n.cmd.Process.Kill()
	<-n.ended
	return os.RemoveAll(n.dir)
}
