package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
// that is proven to be whole.
func (w *worker) collect() error {
	output := filepath.Join(w.state.Dir, crashdir.Vmcore+crashdir.Suffix)
	// So that a capture that is cut short, by the loss of power for one,
	// explains itself.
	w.report.Outcome = crashdir.Incomplete
	if err := w.writeReport(); err != nil {
		w.fail("write %s: %v", crashdir.ReportFile, err)
	}
	w.super.progress()
	var errs error
	for i := range w.plan.Collectors {
		c := &w.plan.Collectors[i]
		a := w.runCollector(c, output)
		if a.Error == "" {
			if err := w.prove(output); err != nil {
				a.Error = err.Error()
			}
		}
		w.report.Attempts = append(w.report.Attempts, a)
		w.report.Collector = c.Name
		w.save()
		if a.Error == "" {
			return nil
		}
		err := fmt.Errorf("%s: %s", c.Name, a.Error)
		errs = errors.Join(errs, err)
		if i+1 == len(w.plan.Collectors) || w.timeLeft() <= 0 || w.spaceLeft() < spaceLow {
			break
		}
		w.fail("%v: trying %s", err, w.plan.Collectors[i+1].Name)
		w.removeUseless(output)
	}
	return errs
}

// removeUseless makes room for the next collector. A dump whose header can be
// read may be all there will ever be: it only steps aside.
func (w *worker) removeUseless(output string) {
	var err error
	if readable(output) {
		err = os.Rename(output, output+".1")
	} else if err = os.Remove(output); os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		w.fail("make room for the next collector: %v", err)
	}
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
	null, err := os.Open("/dev/null")
	if err != nil {
		wr.Close()
		a.Error = err.Error()
		return a
	}
	p, err := start(argv, childEnv, []*os.File{null, wr, wr})
	null.Close()
	wr.Close()
	if err != nil {
		a.Error = err.Error()
		return a
	}
	setOOMScore(p.pid, 1000) // rather the collector than the worker

	stderr := &tail{max: stderrTail}
	a.Error = w.follow(p, r, output, stderr)
	a.Seconds = round(uptime() - begin)
	a.Stderr = cleanOutput(stderr.bytes())
	a.Bytes = fileSize(output)
	if p.ended {
		if p.status.Signaled() {
			a.Signal = p.status.Signal().String()
		} else {
			a.Exit = p.status.ExitStatus()
		}
		if a.Error == "" && !p.ok() {
			a.Error = p.how()
			if l := lastLines([]byte(a.Stderr), 1)[0]; len(l) > 0 {
				a.Error += ": " + string(l)
			}
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
func (w *worker) follow(p *process, r *os.File, output string, stderr *tail) string {
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
			w.log.show(cleanOutput(buf.Bytes()))
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

// timeLeft returns the time until the dump has to be over.
func (w *worker) timeLeft() time.Duration { return w.end - uptime() }

// spaceLeft returns the free space of the target in bytes.
func (w *worker) spaceLeft() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(mountDir, &st); err != nil {
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
	if err := h.Verify(f, fi.Size()); err != nil {
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

// cleanOutput makes a collector's output readable in a report: of a line that
// was overwritten with carriage returns only the last state is kept, and
// control characters are replaced.
func cleanOutput(b []byte) string {
	var out []string
	for line := range bytes.SplitSeq(bytes.TrimRight(b, "\r\n"), []byte("\n")) {
		line = bytes.TrimRight(line, "\r")
		if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
			line = line[i+1:]
		}
		out = append(out, strings.TrimRight(printable(line), " "))
	}
	return strings.Join(out, "\n")
}
