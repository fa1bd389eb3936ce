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

	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

const (
	// stderrTail is how much of a collector's output the report keeps.
	stderrTail = 4 << 10
	// showEvery is the interval of progress lines on the console.
	showEvery = 2 * time.Second
)

// collect runs the collectors of the plan in order until one leaves a vmcore
// that is verified. The output of the others is kept until then, if it can
// be opened at all.
func (w *worker) collect() error {
	if w.place.whole() {
		w.report.Outcome = crashdir.Complete
		return nil // the worker before this one had come to the end
	}
	// So that a capture that is cut short, by the loss of power for one,
	// explains itself.
	w.report.Outcome = crashdir.Incomplete
	if err := w.writeReport(); err != nil {
		w.fail("write %s: %v", crashdir.ReportFile, err)
	}
	w.super.progress()
	// The worker before this one ended while it verified the vmcore: try once more.
	if a := w.lastAttempt(); a != nil && a.Phase == crashdir.Verifying {
		a.Phase, a.Error = crashdir.VerifyingAgain, unverifiedTwice
		w.save()
		if w.accept(a) {
			return nil
		}
	}
	if d, ok := w.place.(*directory); ok && len(w.attempts()) == 0 {
		w.makeRoom(filepath.Dir(d.dir), filepath.Base(d.dir), w.over.expect/2) // it is forecast uncompressed
	}
	var errs error
	for w.state.Collector < len(w.plan.Collectors) {
		c := &w.plan.Collectors[w.state.Collector]
		w.state.Collector++
		if w.useless(c) {
			continue
		}
		a := w.attempt(c)
		if a == nil {
			return nil
		}
		err := fmt.Errorf("%s: %s", a.Name, a.Error)
		errs = errors.Join(errs, err)
		next := w.next(a, c)
		if next == "" {
			break
		}
		w.fail("%v: trying %s", err, next)
	}
	if n := w.state.Unconfirmed; n > 0 && w.acceptUnconfirmed(&w.report.Attempts[n-1]) {
		return nil
	}
	return errs
}

// attempt runs a collector and verifies its output. It returns nil after
// success, and otherwise the attempt with its error.
func (w *worker) attempt(c *plan.Collector) *crashdir.Attempt {
	// Recorded before it runs, in case that is the end of this worker.
	w.super.progress() // the one before may have stalled
	resume := w.resumes(c)
	w.report.Attempts = append(w.report.Attempts, crashdir.Attempt{Name: c.Name, Phase: crashdir.Running, Exit: -1, Error: unfinished})
	n := len(w.report.Attempts)
	w.save()
	a := &w.report.Attempts[n-1]
	*a = w.runCollector(c, n, resume)
	switch {
	case a.Error != "":
		a.Phase = crashdir.Rejected
	case w.unconfirmed(c, a):
		a.Phase = crashdir.Unconfirmed
		a.Error = fmt.Sprintf("it does not know kernel %s for certain and may have left out too much", w.report.Kernel)
		w.state.Unconfirmed = n
	default:
		a.Phase, a.Error = crashdir.Verifying, unverified
		w.save()
		if w.accept(a) {
			if w.unknown(a) {
				w.warn("%s: it does not know this kernel for certain and may have left out too much or too little: update makedumpfile", c.Name)
			}
			return nil
		}
	}
	w.save()
	return a
}

// The errors of an attempt in the report if the worker ends in its phase.
const (
	unfinished      = "the worker ended while the collector ran"
	unverified      = "the worker ended while it verified the vmcore"
	unverifiedTwice = "two workers ended while they verified the vmcore"
)

// useless reports whether c could only repeat a result: after one
// filter did not know the kernel, another one does not either.
func (w *worker) useless(c *plan.Collector) bool {
	return w.state.Unconfirmed > 0 && c.Filters || w.state.Raw != "" && len(c.Stream) == 0
}

// unknown reports whether a collector said that it does not know the kernel, and
// nobody has seen it get on with that one while the machine was healthy.
// makedumpfile says so of every kernel that is younger than itself, mostly for
// nothing.
func (w *worker) unknown(a *crashdir.Attempt) bool {
	return makedumpfile.UnknownKernel(a.Stderr) && (w.over.known == "" || w.over.known != w.report.Kernel)
}

// unconfirmed reports whether the vmcore of a filter that does not know the kernel
// has to wait for the output of the next collector.
func (w *worker) unconfirmed(c *plan.Collector, a *crashdir.Attempt) bool {
	return c.Filters && w.unknown(a) && w.place.keeps()
}

// maxResumes bounds how often a collector goes on where it was stopped.
const maxResumes = 3

// attempts returns the attempts at this place.
func (w *worker) attempts() []crashdir.Attempt { return w.report.Attempts[w.state.Attempts:] }

// lastAttempt returns the last attempt at this place, or nil.
func (w *worker) lastAttempt() *crashdir.Attempt {
	list := w.attempts()
	if len(list) == 0 {
		return nil
	}
	return &list[len(list)-1]
}

// canResume reports whether c can go on where it ended: not in a stream, which
// begins anew.
func (w *worker) canResume(c *plan.Collector) bool { return c.Resumes && w.state.Raw == "" }

// resumes reports whether c continues its output of the attempt before.
func (w *worker) resumes(c *plan.Collector) bool {
	a := w.lastAttempt()
	return a != nil && w.canResume(c) && a.Name == c.Name
}

// next decides which collector follows attempt a of collector c and returns the name of
// the collector that is to run, or "" if there is no point in any other. It sets
// state.Collector.
func (w *worker) next(a *crashdir.Attempt, c *plan.Collector) string {
	// Nobody may write beside one that cannot be killed. Where the device fails
	// another collector would only overwrite the data that is there.
	if a.Stuck || w.timeLeft() <= 0 || w.place.lost() != nil {
		return ""
	}
	if w.full(a) {
		// A weaker filter would need even more.
		if w.roomFor(a, c) {
			w.state.Collector--
			return c.Name + " again"
		}
		return ""
	}
	if w.canResume(c) && w.progressed(a) {
		w.state.Collector--
		return c.Name + " from where it ended"
	}
	// The output of any other is at least as large and needs room beside this one.
	if w.place.keeps() && w.place.room() < a.Bytes {
		return ""
	}
	for i := w.state.Collector; i < len(w.plan.Collectors); i++ {
		if c := &w.plan.Collectors[i]; !w.useless(c) {
			return c.Name
		}
	}
	return ""
}

// progressed reports whether the attempts of one collector came further each
// time, and not too often.
func (w *worker) progressed(a *crashdir.Attempt) bool {
	list := w.attempts()
	n, before := 0, int64(0)
	for i := len(list) - 1; i >= 0 && list[i].Name == a.Name; i-- {
		if n++; n == 2 {
			before = list[i].Bytes
		}
	}
	return n <= maxResumes && a.Bytes > before
}

// accept proves the output of a collector that ended well. The vmcore has its
// final name then.
func (w *worker) accept(a *crashdir.Attempt) bool {
	if err := w.place.prove(w.super.progress); err != nil {
		a.Phase, a.Error = crashdir.Rejected, err.Error()
		return false
	}
	if l := lastLines([]byte(a.Stderr), 1)[0]; bytes.Contains(l, []byte(leftOut)) {
		w.warn("%s", l)
	}
	a.Phase, a.Error, a.Limit, a.Percent = crashdir.Accepted, "", 0, 0
	w.report.Collector, w.report.Outcome = a.Name, crashdir.Complete
	w.log.printf("vmcore: %d bytes, on disk and read back", a.Bytes)
	return true
}

// acceptUnconfirmed accepts a vmcore that is whole but unconfirmed, where nothing
// better came after it.
func (w *worker) acceptUnconfirmed(a *crashdir.Attempt) bool {
	why := a.Error
	d, ok := w.place.(*directory)
	if !ok {
		return false
	}
	// The next attempt has put it aside, if there was one.
	if aside := fmt.Sprintf("%s.%d", d.output(), w.state.Unconfirmed+1); fileExists(aside) {
		if err := d.bringBack(aside); err != nil {
			w.fail("keep the vmcore of %s: %v", a.Name, err)
			return false
		}
	}
	if !w.accept(a) {
		return false
	}
	w.warn("%s: %s: update makedumpfile", a.Name, why)
	return true
}

// runCollector runs one collector and reports how it went; the caller proves
// the output.
func (w *worker) runCollector(c *plan.Collector, nth int, resume bool) crashdir.Attempt {
	a := crashdir.Attempt{Name: c.Name, Exit: -1}
	begin := uptime()
	argv, stdout, err := w.place.begin(c, nth, resume)
	var room int64
	if err == nil {
		room = w.place.room()
		a.Limit = room + w.place.taken() // with the room of the output that it continues
		if room < leastRoom {
			err = fmt.Errorf("no room: %d KiB", room>>10)
		}
	}
	if err != nil {
		a.Error = err.Error()
		return a
	}
	w.log.printf("%s", c.Name)
	r, wr, err := pipe()
	if err != nil {
		a.Error = err.Error()
		return a
	}
	defer r.Close()
	if stdout == nil {
		stdout = wr
	}
	null := openNull()
	p, err := start(w.fillIn(argv, room), childEnv, []*os.File{null, stdout, wr})
	null.Close()
	wr.Close()
	if err != nil {
		a.Error = err.Error()
		return a
	}
	setOOMScore(p.pid, 1000) // rather the collector than the worker

	stderr := &outputTail{tail: tail{max: stderrTail}}
	a.Error = w.follow(p, r, stderr)
	a.Seconds = round(uptime() - begin)
	a.Stderr = stderr.String()
	a.Stuck = !p.ended
	a.Bytes = w.place.size()
	a.Percent = w.percent
	switch {
	case !p.ended:
	case p.status.Signaled():
		a.Signal = p.status.Signal().String()
	case !p.lost:
		a.Exit = p.status.ExitStatus()
	}
	if a.Error == "" && !p.ok() {
		a.Error = p.how()
		if r := makedumpfile.Reason(a.Stderr); r != "" {
			a.Error += ": " + r
		}
	}
	return a
}

// fillIn replaces the placeholders of an argument vector.
func (w *worker) fillIn(argv []string, limit int64) []string {
	filled := slices.Clone(argv)
	for i, arg := range filled {
		switch arg {
		case plan.VmcoreArg:
			filled[i] = vmcorePath
		case plan.OutputArg:
			filled[i] = w.place.(*directory).output()
		case plan.LimitArg:
			filled[i] = strconv.FormatInt(limit, 10)
		}
	}
	return filled
}

// follow watches a collector to its end. It returns "", or why it had to kill
// it: no progress, or no time left. Progress is output of the process or growth
// of the file.
func (w *worker) follow(p *process, r *os.File, stderr *outputTail) string {
	stall := seconds(w.plan.Deadlines.Stall)
	begin := uptime()
	last, shown, size := begin, begin, int64(0)
	var buf bytes.Buffer
	var pr makedumpfile.Progress
	failed := 0 // checkpoints
	for {
		ended := p.poll()
		if err := w.place.checkpoint(); err != nil {
			w.fail("note how far the vmcore has come: %v", err)
			failed++
		}
		buf.Reset()
		n := readSome(r, &buf)
		stderr.Write(buf.Bytes())
		if w.over.debug && n > 0 {
			w.log.show(evidence.Printable(strings.ReplaceAll(strings.TrimSpace(buf.String()), "\n", " | ")))
		}
		w.sample()
		if s := w.place.size(); n > 0 || s != size {
			size, last = s, uptime()
			w.super.progress()
		}
		if ended && n == 0 {
			if err := w.place.lost(); err != nil {
				return err.Error()
			}
			return ""
		}
		now := uptime()
		why := ""
		switch {
		case failed > 1: // not just a bad sector
			why = fmt.Sprintf("cannot be written: %v", w.place.lost())
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
		shows := pr.Update(buf.Bytes())
		if w.percent = 0; pr.Copying() {
			w.percent = pr.Percent
		}
		if shows && now-shown >= showEvery {
			shown = now
			w.log.show(fmt.Sprintf("[%12.6f] "+evidence.Prefix+"%s", now.Seconds(), progressText(pr, size, now-begin)))
		}
		waitReadable(r, 100*time.Millisecond)
	}
}

func fileSize(path string) int64 {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// progressText describes the progress of a collector after elapsed, with size bytes
// written.
func progressText(p makedumpfile.Progress, size int64, elapsed time.Duration) string {
	s := fmt.Sprintf("%s %.0f %%, %.1f MiB written", p.Phase, p.Percent, float64(size)/(1<<20))
	sec := elapsed.Seconds()
	if sec > 0 {
		s += fmt.Sprintf(", %.1f MiB/s", float64(size)/(1<<20)/sec)
	}
	if p.Percent >= 1 && p.Percent < 100 {
		s += fmt.Sprintf(", %.0f s left", sec*(100-p.Percent)/p.Percent)
	}
	return s
}

// outputTail is the tail of a collector's output, as a terminal would show
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
		out = append(out, strings.TrimRight(evidence.Printable(string(line)), " "))
	}
	return strings.Join(out, "\n")
}

// progressReader tells the supervisor that reading goes on, at most once a
// second.
type progressReader struct {
	r        io.ReaderAt
	progress func()
	last     time.Duration
}

// ReadAt implements io.ReaderAt.
func (p *progressReader) ReadAt(b []byte, off int64) (int, error) {
	if now := uptime(); now-p.last > time.Second {
		p.last = now
		p.progress()
	}
	return p.r.ReadAt(b, off)
}
