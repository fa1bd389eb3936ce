package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ukdump/internal/builder"
	"ukdump/internal/state"
)

// forecastDeadline is how long makedumpfile may look at the memory.
const forecastDeadline = 30 * time.Second

// forecast asks the makedumpfile that goes into the image of b about the running
// kernel. It also shows whether that program understands this kernel: it warns
// about kernels that it works with, and is silent about some that it does not.
func (ld *Loader) forecast(b *builder.Build) *state.Forecast {
	if !ld.CanForecast() {
		return nil
	}
	return ld.ForecastWith(b.DumpLevel, func() ([]byte, error) { return ld.AskMakedumpfile(b.Makedumpfile) })
}

// AskMakedumpfile returns what makedumpfile --mem-usage prints about the running
// kernel. The words of argv are the program, or what starts it and, last, it.
func (ld *Loader) AskMakedumpfile(argv ...string) ([]byte, error) {
	if ld.MemUsage != nil {
		return ld.MemUsage(argv[len(argv)-1])
	}
	return RunMemUsage(argv...)
}

// ForecastWith is the forecast for dumps at that level; ask runs makedumpfile
// --mem-usage.
func (ld *Loader) ForecastWith(level int, ask func() ([]byte, error)) *state.Forecast {
	f := &state.Forecast{Release: ld.Store.Running()}
	if ld.Slot.Lockdown() == "confidentiality" {
		f.Problem = "the kernel is locked down and hides its memory (lockdown=confidentiality)"
		return f
	}
	u, err := ld.countPages(ask)
	if err != nil {
		f.Problem = err.Error()
		return f
	}
	f.Bytes = u.dump(level)
	if kinds := u.missing(); kinds != "" && level > 1 {
		f.Note = "makedumpfile finds no pages " + kinds + " in this kernel and saves them, too: update it for smaller dumps"
	}
	return f
}

// countPages asks for the kinds of pages and compares them with /proc/meminfo.
func (ld *Loader) countPages(ask func() ([]byte, error)) (memUsage, error) {
	out, err := ask()
	if err != nil {
		return memUsage{}, err
	}
	u, err := parseMemUsage(out)
	if err != nil {
		return memUsage{}, err
	}
	meminfo, _ := os.ReadFile(filepath.Join(ld.Root, "proc/meminfo"))
	return u, u.check(string(meminfo))
}

// CanForecast reports whether the running kernel can be asked: that of another
// machine does not run here.
func (ld *Loader) CanForecast() bool { return ld.MemUsage != nil || ld.Root == "/" }

// RunMemUsage returns what makedumpfile --mem-usage prints about the running
// kernel, see makedumpfile(8). The words of argv are the program, or what starts
// it.
func RunMemUsage(argv ...string) ([]byte, error) {
	const memory = "/proc/kcore"
	if _, err := os.Stat(memory); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), forecastDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "--mem-usage", memory)...)
	cmd.WaitDelay = time.Second
	var out cappedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// One that is stuck in the kernel cannot even be killed.
	done := make(chan error, 1)
	go func() { done <- cmd.Run() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(forecastDeadline + 2*cmd.WaitDelay):
		return nil, errForecastLate
	}
	switch {
	case ctx.Err() != nil:
		return nil, errForecastLate
	case err != nil:
		return nil, fmt.Errorf("makedumpfile --mem-usage: %w%s", err, complaint(out.Bytes()))
	}
	return out.Bytes(), nil
}

var errForecastLate = fmt.Errorf("makedumpfile --mem-usage took more than %v", forecastDeadline)

// noise are lines of makedumpfile that say nothing of a reason.
var noise = []string{"", "makedumpfile Failed.", "The kernel version is not supported.", "The makedumpfile operation may be incomplete."}

// complaint returns the last line of makedumpfile that says what failed, after
// ": ".
func complaint(out []byte) string {
	last := ""
	for line := range bytes.Lines(out) {
		if s := strings.TrimSpace(string(line)); !slices.Contains(noise, s) {
			last = ": " + s
		}
	}
	return last
}

// cappedBuffer keeps the first 64 KiB that are written to it.
type cappedBuffer struct{ bytes.Buffer }

func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, 64<<10-b.Len()))])
	return len(p), nil
}

// errNotUnderstood is that of counts that cannot be those of a running kernel.
var errNotUnderstood = errors.New("makedumpfile does not understand this kernel")
