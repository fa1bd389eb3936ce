package memusage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"ukdump/internal/makedumpfile"
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
	late := fmt.Errorf("%w: %.0f seconds", ErrLate, limit.Seconds())
	const memory = "/proc/kcore"
	if _, err := os.Stat(memory); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "--mem-usage", memory)...)
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
		return nil, fmt.Errorf("makedumpfile --mem-usage: %w: %s", err, reason)
	}
	return nil, fmt.Errorf("makedumpfile --mem-usage: %w", err)
}

// cappedBuffer keeps the first bytes that are written to it.
type cappedBuffer struct{ bytes.Buffer }

// Write implements io.Writer and never fails.
func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxOutput-b.Len()))])
	return len(p), nil
}
