package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/vmcore"
)

const (
	// stderrTail is how much of a collector's output the report keeps.
	stderrTail = 4 << 10
	// showEvery is the interval of progress lines on the console.
	showEvery = 2 * time.Second
	// spaceLow is the free space below which a failed collector is taken to
	// have filled the file system: a weaker filter would need even more.
	spaceLow = 4 << 20
)

// unsupported is what makedumpfile prints on a kernel newer than it knows. It
// then goes on and exits with 0 (makedumpfile.c, check_release).
const unsupported = "The kernel version is not supported"

// collect runs the collectors of the plan in order until one leaves a vmcore
// that is proven to be whole. What the others left is kept until then, if it can
// be opened at all.
func (w *worker) collect() error {
	output := filepath.Join(w.state.Dir, crashdir.Vmcore+crashdir.Suffix)
	// So that a capture that is cut short, by the loss of power for one,
	// explains itself.
	w.report.Outcome = crashdir.Incomplete
	if err := w.writeReport(); err != nil {
		w.fail("write %s: %v", crashdir.ReportFile, err)
	}
	w.super.progress()
	if fileExists(filepath.Join(w.state.Dir, crashdir.Vmcore)) {
		return nil // the worker before this one had come to the end
	}
	// Or to the proof. It is given one more chance.
	if n := len(w.report.Attempts); n > 0 && w.report.Attempts[n-1].Error == unproven {
		a := &w.report.Attempts[n-1]
		a.Error = unproven + " twice"
		w.save()
		if w.accept(a, output) {
			return nil
		}
	}
	var errs error
	for n := &w.state.Collector; *n < len(w.plan.Collectors); {
		c := &w.plan.Collectors[*n]
		w.stepAside(output)
		// Recorded before it runs, in case that is the end of this worker.
		*n++
		w.report.Attempts = append(w.report.Attempts, crashdir.Attempt{Name: c.Name, Exit: -1, Error: unfinished})
		w.save()
		a := &w.report.Attempts[len(w.report.Attempts)-1]
		*a = w.runCollector(c, output)
		if a.Error == "" {
			a.Error = unproven
			w.save()
			if w.accept(a, output) {
				return nil
			}
		}
		w.save()
		err := fmt.Errorf("%s: %s", c.Name, a.Error)
		errs = errors.Join(errs, err)
		// Nobody may write beside one that cannot be killed, and a weaker filter
		// needs at least the space that this one had, beside what it left.
		if a.Stuck || w.timeLeft() <= 0 || w.spaceLeft() < spaceLow || readable(output) && w.spaceLeft() < a.Bytes {
			break
		}
		if *n < len(w.plan.Collectors) {
			w.fail("%v: trying %s", err, w.plan.Collectors[*n].Name)
		}
	}
	return errs
}

// The errors of an attempt that is still running, and of one that has ended but
// is not proven yet: what the report says if the worker ends then.
const (
	unfinished = "the worker ended while it ran"
	unproven   = "the worker ended while it proved the vmcore"
)

// accept proves the output of a collector that ended well. The vmcore has its
// final name then.
func (w *worker) accept(a *crashdir.Attempt, output string) bool {
	if err := w.prove(output); err != nil {
		a.Error = err.Error()
		return false
	}
	a.Error = ""
	w.report.Collector = a.Name
	w.removeAsides(output)
	return true
}

// stepAside makes way for a collector. What another one left is removed only if
// no tool could open it.
func (w *worker) stepAside(output string) {
	if !fileExists(output) {
		return
	}
	var err error
	if readable(output) {
		err = os.Rename(output, fmt.Sprintf("%s.%d", output, len(w.report.Attempts)))
	} else {
		err = os.Remove(output)
	}
	if err != nil {
		w.fail("make way for the next collector: %v", err)
	}
}

// bringBack gives the largest of the incomplete dumps the name under which it is
// looked for.
func (w *worker) bringBack(output string) {
	best := ""
	for _, f := range asides(output) {
		if best == "" || fileSize(f) > fileSize(best) {
			best = f
		}
	}
	if best == "" || fileSize(best) <= fileSize(output) && readable(output) {
		return
	}
	if fileExists(output) {
		w.stepAside(output)
	}
	if err := os.Rename(best, output); err != nil {
		w.fail("keep the best of the incomplete dumps: %v", err)
	}
}

// removeAsides removes incomplete dumps after a complete one was proven.
func (w *worker) removeAsides(output string) {
	for _, f := range asides(output) {
		if err := os.Remove(f); err != nil {
			w.warn("remove an incomplete dump: %v", err)
		}
	}
}

// asides returns the files that stepAside made.
func asides(output string) []string {
	list, _ := filepath.Glob(output + ".*") // our own pattern cannot be bad
	return list
}

// readable reports whether crash(8) has a chance to open the dump at path.
func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = vmcore.ReadHeader(f)
	return err == nil
}

// runCollector runs one collector and reports how it went; the caller proves
// the output.
func (w *worker) runCollector(c *plan.Collector, output string) crashdir.Attempt {
	a := crashdir.Attempt{Name: c.Name, Exit: -1}
	begin := uptime()
	argv := make([]string, len(c.Argv))
	for i, arg := range c.Argv {
		switch arg {
		case plan.VmcoreArg:
			arg = vmcorePath
		case plan.OutputArg:
			arg = output
		}
		argv[i] = arg
	}
	w.log.printf("%s", c.Name)
	r, wr, err := pipe()
	if err != nil {
		a.Error = err.Error()
		return a
	}
	defer r.Close()
	null := openNull()
	p, err := start(argv, childEnv, []*os.File{null, wr, wr})
	null.Close()
	wr.Close()
	if err != nil {
		a.Error = err.Error()
		return a
	}
	setOOMScore(p.pid, 1000) // rather the collector than the worker

	stderr := &outputTail{tail: tail{max: stderrTail}}
	a.Error = w.follow(p, r, output, stderr)
	a.Seconds = round(uptime() - begin)
	a.Stderr = stderr.String()
	a.Stuck = !p.ended
	a.Bytes = fileSize(output)
	switch {
	case !p.ended:
	case p.status.Signaled():
		a.Signal = p.status.Signal().String()
	case !p.lost:
		a.Exit = p.status.ExitStatus()
	}
	if a.Error == "" && !p.ok() {
		a.Error = p.how()
		if l := lastLines([]byte(a.Stderr), 1)[0]; len(l) > 0 {
			a.Error += ": " + string(l)
		}
	}
	if strings.Contains(a.Stderr, unsupported) {
		w.warn("%s: it does not know this kernel for certain and may have left out too much or too little: update makedumpfile", c.Name)
	}
	return a
}

// follow watches a collector to its end. It returns "", or why it had to kill
// it: no progress, or no time left. Progress is output of the process or growth
// of the file.
func (w *worker) follow(p *process, r *os.File, output string, stderr *outputTail) string {
	stall := seconds(w.plan.Deadlines.Stall)
	begin := uptime()
	last, shown, size := begin, begin, int64(0)
	var buf bytes.Buffer
	pr := progressLine{}
	for {
		ended := p.poll()
		buf.Reset()
		n := readSome(r, &buf)
		stderr.Write(buf.Bytes())
		if w.over.debug && n > 0 {
			w.log.show(printable(bytes.ReplaceAll(bytes.TrimSpace(buf.Bytes()), []byte("\n"), []byte(" | "))))
		}
		w.sample()
		if s := fileSize(output); n > 0 || s != size {
			size, last = s, uptime()
			w.super.progress()
		}
		if ended && n == 0 {
			return ""
		}
		now := uptime()
		why := ""
		switch {
		case now-last > stall:
			why = fmt.Sprintf("no progress for %v", stall)
		case w.timeLeft() <= 0:
			why = "out of time"
		}
		if why != "" {
			if !p.kill(5 * time.Second) {
				why += ", and it is stuck in the kernel"
			}
			return why
		}
		if pr.update(buf.Bytes()) && now-shown >= showEvery {
			shown = now
			w.log.show(fmt.Sprintf("[%12.6f] kdumpinit: %s", now.Seconds(), pr.text(size, now-begin)))
		}
		waitReadable(r, 100*time.Millisecond)
	}
}

// spaceLeft returns the free space of the target in bytes.
func (w *worker) spaceLeft() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(w.state.Dir, &st); err != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

// prove makes sure that the dump at path is on the disk and whole, and gives it
// its final name.
func (w *worker) prove(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	w.super.progress()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	// What is read from here on comes from the disk, not from the cache.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return os.NewSyscallError("fadvise", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := vmcore.ReadHeader(f)
	if err != nil {
		return fmt.Errorf("the header of the vmcore: %w", err)
	}
	// All page descriptors of a large machine take a while.
	if err := h.Verify(&progressReader{r: f, super: w.super}, fi.Size()); err != nil {
		return err
	}
	if !h.Complete {
		return errors.New("the vmcore is marked as incomplete")
	}
	if err := crashdir.Commit(w.state.Dir, crashdir.Vmcore); err != nil {
		return err
	}
	w.log.printf("vmcore: %d bytes, on disk and read back", fi.Size())
	return nil
}

func fileSize(path string) int64 {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// progressLine is the last progress that makedumpfile printed:
// "Copying data : [ 45.3 %] / eta: 12s" (print_info.c, print_progress).
type progressLine struct {
	phase   string
	percent float64
}

// update takes what the collector printed and reports whether there was
// progress in it.
func (p *progressLine) update(b []byte) bool {
	i := bytes.LastIndexByte(b, '%')
	if i < 0 {
		return false
	}
	b = b[:i]
	if j := bytes.LastIndexAny(b, "\r\n"); j >= 0 {
		b = b[j+1:]
	}
	phase, num, ok := strings.Cut(string(b), ": [")
	if !ok {
		return false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if err != nil || v < 0 || v > 100 {
		return false
	}
	p.phase, p.percent = strings.TrimSpace(phase), v
	return true
}

// text describes the progress after elapsed, with size bytes written.
func (p *progressLine) text(size int64, elapsed time.Duration) string {
	s := fmt.Sprintf("%s %.0f %%, %.1f MiB written", p.phase, p.percent, float64(size)/(1<<20))
	sec := elapsed.Seconds()
	if sec > 0 {
		s += fmt.Sprintf(", %.1f MiB/s", float64(size)/(1<<20)/sec)
	}
	if p.percent >= 1 && p.percent < 100 {
		s += fmt.Sprintf(", %.0f s left", sec*(100-p.percent)/p.percent)
	}
	return s
}

// outputTail is the tail of what a collector printed, as a terminal would show
// it: of a line that was overwritten after a carriage return only the last state
// counts. Progress would otherwise push out the messages.
type outputTail struct {
	tail
	line []byte
	cr   bool
}

// Write implements io.Writer and never fails.
func (o *outputTail) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\r':
			o.cr = true
			continue
		case c == '\n':
			o.tail.Write(append(o.line, '\n'))
			o.line = o.line[:0]
		default:
			if o.cr {
				o.line = o.line[:0]
			}
			if len(o.line) < 1024 {
				o.line = append(o.line, c)
			}
		}
		o.cr = false
	}
	return len(p), nil
}

// String returns the tail without control characters.
func (o *outputTail) String() string {
	var out []string
	text := append(slices.Clone(o.tail.bytes()), o.line...)
	for line := range bytes.SplitSeq(bytes.TrimRight(text, "\n"), []byte("\n")) {
		out = append(out, strings.TrimRight(printable(line), " "))
	}
	return strings.Join(out, "\n")
}

// progressReader tells the supervisor that reading goes on, at most once a
// second.
type progressReader struct {
	r     io.ReaderAt
	super reporter
	last  time.Duration
}

// ReadAt implements io.ReaderAt.
func (p *progressReader) ReadAt(b []byte, off int64) (int, error) {
	if now := uptime(); now-p.last > time.Second {
		p.last = now
		p.super.progress()
	}
	return p.r.ReadAt(b, off)
}
