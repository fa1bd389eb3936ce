package memusage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"ukdump/internal/makedumpfile"
)

const (
	// deadline is how long makedumpfile may look at the memory.
	deadline = 30 * time.Second
	// maxOutput bounds the output that is kept, in bytes.
	maxOutput = 64 << 10
)

var errLate = fmt.Errorf("makedumpfile --mem-usage took more than %v", deadline)

// Run runs makedumpfile --mem-usage on the running kernel and returns its output,
// see makedumpfile(8). The words of argv are the program, or those that start it.
func Run(argv ...string) ([]byte, error) {
	const memory = "/proc/kcore"
	if _, err := os.Stat(memory); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
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
	case <-time.After(deadline + 2*cmd.WaitDelay):
		return nil, errLate
	}
	if ctx.Err() != nil {
		return nil, errLate
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
