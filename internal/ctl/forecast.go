package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ukdump/internal/builder"
)

// forecast is how large a dump of the running kernel would be, as far as
// makedumpfile can tell. nil knows nothing.
type forecast struct {
	Release string `json:"release"`           // of the kernel, as uname -r prints it
	Bytes   int64  `json:"bytes,omitempty"`   // the most that a dump takes, as nothing is compressed; 0 if unknown
	Note    string `json:"note,omitempty"`    // why it is larger than it could be
	Problem string `json:"problem,omitempty"` // why it is unknown
}

// forecastDeadline is how long makedumpfile may look at the memory.
const forecastDeadline = 30 * time.Second

// forecast asks the makedumpfile that goes into the image of b about the running
// kernel. It also shows whether that program understands this kernel: it warns
// about kernels that it works with, and is silent about some that it does not.
func (c *ctl) forecast(b *builder.Build) *forecast {
	if !c.canForecast() {
		return nil
	}
	ask := c.memUsage
	if ask == nil {
		ask = func(program string) ([]byte, error) { return runMemUsage(program) }
	}
	return c.forecastWith(b.DumpLevel, func() ([]byte, error) { return ask(b.Makedumpfile) })
}

// forecastWith is the forecast for dumps at that level; ask runs makedumpfile
// --mem-usage.
func (c *ctl) forecastWith(level int, ask func() ([]byte, error)) *forecast {
	f := &forecast{Release: c.read("proc/sys/kernel/osrelease")}
	if c.kexec.Lockdown() == "confidentiality" {
		f.Problem = "the kernel is locked down and hides its memory (lockdown=confidentiality)"
		return f
	}
	out, err := ask()
	var u memUsage
	if err == nil {
		u, err = parseMemUsage(out)
	}
	if err == nil {
		err = u.check(c.read("proc/meminfo"))
	}
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

// canForecast reports whether the running kernel can be asked: that of another
// machine does not run here.
func (c *ctl) canForecast() bool { return c.memUsage != nil || c.root == "/" }

// words are what the capture kernel's command line tells PID 1 about f. There
// are none if makedumpfile does not understand the kernel.
func (f *forecast) words() []string {
	if f == nil || f.Bytes == 0 || f.Release == "" || strings.ContainsAny(f.Release, " \t\n\"") {
		return nil
	}
	// Rounded up, so that not every load has another command line.
	step := int64(1) << max(bits.Len64(uint64(f.Bytes))-3, 20)
	return []string{fmt.Sprintf("ukdump.expect=%d", (f.Bytes+step-1)/step*step), "ukdump.known=" + f.Release}
}

// addTo returns a command line with the words of f. They come first, because
// what the user appends may end in words for init.
func (f *forecast) addTo(cmdline string) string {
	return strings.TrimSpace(strings.Join(append(f.words(), cmdline), " "))
}

// read returns a small file of the machine without blanks at its ends, empty if
// it cannot be read.
func (c *ctl) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(c.root, name))
	return strings.TrimSpace(string(b))
}

// runMemUsage returns what makedumpfile --mem-usage prints about the running
// kernel, see makedumpfile(8). The words of argv are the program, or what starts
// it.
func runMemUsage(argv ...string) ([]byte, error) {
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
