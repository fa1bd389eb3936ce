package memusage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"ukdump/internal/makedumpfile"
	"ukdump/internal/vmcore"
)

// maxOutput bounds the output that is kept, in bytes.
const maxOutput = 64 << 10

// ErrLate is the error of a run that did not end within its limit. It says nothing
// about the kernel.
var ErrLate = errors.New("makedumpfile --mem-usage did not end in time")

// Run runs makedumpfile --mem-usage on the running kernel and returns its output,
// see makedumpfile(8). The words of argv are the program, or those that start it. It
// is killed after limit.
func Run(limit time.Duration, argv ...string) ([]byte, error) {
	if _, err := os.Stat(memory); err != nil {
		return nil, err
	}
	return run(limit, argv, "--mem-usage", memory)
}

// Reads returns an error if makedumpfile cannot find its way to the log of the running
// kernel with a corrected VMCOREINFO (makedumpfile.InfoArgs), or if in needs none. It
// tells nothing of how it counts pages: with --mem-usage it does not look at that file.
func Reads(limit time.Duration, in vmcore.Info, argv ...string) error {
	dir, err := os.MkdirTemp("", "kdumpctl-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	info, err := makedumpfile.InfoArgs(in, filepath.Join(dir, "vmcoreinfo"))
	if err != nil {
		return err
	}
	if info == nil {
		return errors.New("this kernel needs no other VMCOREINFO")
	}
	log := filepath.Join(dir, "dmesg")
	if _, err := run(limit, argv, "--dump-dmesg", append(info, memory, log)...); err != nil {
		return err
	}
	if fi, err := os.Stat(log); err != nil || fi.Size() == 0 {
		return errors.New("makedumpfile --dump-dmesg: it finds no log")
	}
	return nil
}

// memory is the memory of the running kernel, proc_kcore(5).
const memory = "/proc/kcore"

// run runs makedumpfile with an option and more arguments and returns its output.
func run(limit time.Duration, argv []string, option string, more ...string) ([]byte, error) {
	late := fmt.Errorf("%w: %.0f seconds", ErrLate, limit.Seconds())
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], slices.Concat(argv[1:], []string{option}, more)...)
	cmd.WaitDelay = time.Second
	var out cappedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A process that is stuck in the kernel cannot even be killed.
	done := make(chan error, 1)
	go func() { done <- cmd.Run() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(limit + 2*cmd.WaitDelay):
		return nil, late
	}
	if ctx.Err() != nil {
		return nil, late
	}
	if err == nil {
		return out.Bytes(), nil
	}
	if reason := makedumpfile.Reason(out.String()); reason != "" {
		return nil, fmt.Errorf("makedumpfile %s: %w: %s", option, err, reason)
	}
	return nil, fmt.Errorf("makedumpfile %s: %w", option, err)
}

// cappedBuffer keeps the first bytes that are written to it.
type cappedBuffer struct{ bytes.Buffer }

// Write implements io.Writer and never fails.
func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxOutput-b.Len()))])
	return len(p), nil
}
