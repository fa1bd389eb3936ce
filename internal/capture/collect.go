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
	"ukdump/internal/dumpfile"
	"ukdump/internal/evidence"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
	"ukdump/internal/vmcore"
)

const (
	// stderrTail is how much of a collector's output the report keeps.
	stderrTail = 4 << 10
	// showEvery is the interval of progress lines on the console.
	showEvery = 2 * time.Second
)

// collect runs the collectors of the plan in order until a vmcore is verified. Until
// then it keeps readable output of earlier collectors.
func (w *worker) collect() error {
	if w.place.whole() {
		w.report.Outcome = crashdir.Complete
		return nil // by an earlier worker
	}
	w.report.Outcome = crashdir.Incomplete
	w.writeEarly()
	// An earlier worker ended while it verified the vmcore: retry once.
	if a := w.lastAttempt(); a != nil && a.Phase == crashdir.Verifying {
		a.Phase, a.Error = crashdir.VerifyingAgain, unverifiedTwice
		w.save()
		if w.accept(a) {
			return nil
		}
		if remote != nil && w.state.Collector > 0 && remote.again(w, a) {
			w.state.Collector--
		}
	}
	if d := w.directory(); d != nil && len(w.attempts()) == 0 {
		w.makeRoom(filepath.Dir(d.dir), filepath.Base(d.dir), w.over.expect/2) // the forecast is of an uncompressed dump
	}
	var errs error
	for w.state.Collector < len(w.plan.Collectors) {
		c := &w.plan.Collectors[w.state.Collector]
		w.state.Collector++
		if !c.Pays(processors) && !c.Quick {
			w.log.printf("%s: not run: there is only one processor", c.Name)
		}
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
		if oomKills() > w.report.OOMKills { // the next collector may end the kernel
			w.writeEarly()
		}
	}
	if n := w.state.Unconfirmed; n > 0 && w.acceptUnconfirmed(&w.report.Attempts[n-1]) {
		return nil
	}
	return errs
}

// writeEarly writes the report so far: a capture that is cut short, as by a power failure,
// leaves it.
func (w *worker) writeEarly() {
	if err := w.writeReport(); err != nil {
		w.fail("write %s: %v", crashdir.ReportFile, err)
	}
	w.super.progress()
}

// attempt runs a collector and verifies its output. It returns nil after
// success, and otherwise the attempt with its error.
func (w *worker) attempt(c *plan.Collector) *crashdir.Attempt {
	// Recorded before the run, which may end this worker.
	w.super.progress() // the last collector may have stalled
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
		a.Error = fmt.Sprintf("kernel %s is not supported: the vmcore may lack pages", w.report.Kernel)
		w.state.Unconfirmed = n
	default:
		a.Phase, a.Error = crashdir.Verifying, unverified
		w.save()
		if w.accept(a) {
			if w.unknown(a) || c.Filters && w.crashed(w.over.misread) {
				w.warn("%s: this kernel is not known to be supported: the vmcore may lack pages or have too many: update makedumpfile", c.Name)
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

// useless reports whether c would only repeat a failure. After a collector that was too
// slow only quicker ones are tried, and before that none of them.
func (w *worker) useless(c *plan.Collector) bool { return w.unable(c) || c.Quick != w.slow() }

// unable reports whether c cannot save a vmcore at this place, or only slower than the next:
// if one filter does not support the kernel, no filter does.
func (w *worker) unable(c *plan.Collector) bool {
	return w.state.Unconfirmed > 0 && c.Filters || w.streams() && len(c.Stream) == 0 || !c.Pays(processors)
}

// unknown reports whether a collector warned that it does not support the kernel,
// and no forecast on the healthy machine has shown that it does. makedumpfile warns
// about every kernel that is newer than itself, mostly without need.
func (w *worker) unknown(a *crashdir.Attempt) bool {
	return makedumpfile.UnknownKernel(a.Stderr) && !w.crashed(w.over.known)
}

// crashed reports whether a word of the command line is about the kernel that crashed.
func (w *worker) crashed(release string) bool { return release != "" && release == w.report.Kernel }

// unconfirmed reports whether a vmcore is kept until the next collector has run,
// because its filter does not support the kernel. The warning alone is not enough: if
// the forecast was late, the next collector would replace a dump that is whole by one
// that is many times larger.
func (w *worker) unconfirmed(c *plan.Collector, a *crashdir.Attempt) bool {
	return c.Filters && w.unknown(a) && w.crashed(w.over.misread) && w.place.keeps()
}

// maxResumes bounds how often a collector continues its own output.
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

// streams reports whether collectors write to a pipe or a device.
func (w *worker) streams() bool { return w.state.Raw != "" || w.sealed }

// canResume reports whether c can continue its own output. A stream always begins
// anew.
func (w *worker) canResume(c *plan.Collector) bool { return c.Resumes && !w.streams() }

// resumes reports whether c continues the output of the last attempt.
func (w *worker) resumes(c *plan.Collector) bool {
	a := w.lastAttempt()
	return a != nil && w.canResume(c) && a.Name == c.Name
}

// next chooses the collector after attempt a of collector c. It sets state.Collector
// and returns the collector's name, or "" if no other collector can do better.
func (w *worker) next(a *crashdir.Attempt, c *plan.Collector) string {
	if remote != nil && !a.Stuck && w.timeLeft() > 0 && remote.again(w, a) {
		w.state.Collector--
		return c.Name + " again"
	}
	// No second collector may write beside a stuck one. On a failing device another
	// collector would only overwrite data that was saved.
	if a.Stuck || w.timeLeft() <= 0 || w.place.lost() != nil {
		return ""
	}
	if a.Slow {
		return w.nextUseful()
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
	// The next output is at least as large and needs room beside this one.
	if w.place.keeps() && w.place.room() < a.Bytes {
		return ""
	}
	return w.nextUseful()
}

// nextUseful returns the name of the next collector that is not useless, "" for none.
func (w *worker) nextUseful() string {
	for i := w.state.Collector; i < len(w.plan.Collectors); i++ {
		if c := &w.plan.Collectors[i]; !w.useless(c) {
			return c.Name
		}
	}
	return ""
}

// progressed reports whether this attempt came further than the last one of the same
// collector, and maxResumes is not reached.
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

// accept verifies the output of a collector that ended well, and gives the vmcore its
// final name.
func (w *worker) accept(a *crashdir.Attempt) bool {
	if err := w.verify(); err != nil {
		a.Phase, a.Error = crashdir.Rejected, err.Error()
		return false
	}
	if l := lastLines([]byte(a.Stderr), 1)[0]; bytes.Contains(l, []byte(leftOut)) {
		w.warn("%s", l)
	}
	a.Phase, a.Error, a.Limit, a.Percent = crashdir.Accepted, "", 0, 0
	w.report.Collector, w.report.Outcome = a.Name, crashdir.Complete
	where := "on disk and read back"
	if strings.HasPrefix(w.state.Raw, serverName) {
		where, a.Bytes = "at the server", w.place.size()
	}
	w.log.printf("vmcore: %d bytes, %s", a.Bytes, where)
	return true
}

// verify verifies the vmcore and compares it with the memory of the crashed kernel. If the
// kernel log cannot be located in the memory, a warning says that the vmcore may lack it.
func (w *worker) verify() error {
	m, f, err := OpenMemory(vmcorePath, w.warn)
	if err != nil {
		return err
	}
	defer f.Close()
	w.super.progress()
	return w.place.verify(m, w.super.progress)
}

// OpenMemory opens the memory that a dump must be of: /proc/vmcore, which m reads until f is
// closed. A log that cannot be located is only a warning.
func OpenMemory(path string, warn func(format string, a ...any)) (m dumpfile.Memory, f *os.File, err error) {
	if f, err = os.Open(path); err != nil {
		return m, nil, err
	}
	if m.Core, err = vmcore.Open(f); err != nil {
		f.Close()
		return m, nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Marks, err = m.Core.Marks(); err != nil {
		warn("unknown whether the vmcore has the kernel log: %v", err)
	}
	return m, f, nil
}

// acceptUnconfirmed accepts a vmcore that is whole but unconfirmed, if no later
// attempt did better.
func (w *worker) acceptUnconfirmed(a *crashdir.Attempt) bool {
	why := a.Error
	d, ok := w.place.(*directory)
	if !ok {
		return false
	}
	// The next attempt, if any, has renamed it.
	if name := fmt.Sprintf("%s.%d", d.output(), w.state.Unconfirmed+1); fileExists(name) {
		if err := d.restore(name); err != nil {
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

// runCollector runs one collector and returns its attempt. The caller verifies the
// output.
func (w *worker) runCollector(c *plan.Collector, nth int, resume bool) crashdir.Attempt {
	a := crashdir.Attempt{Name: c.Name, Exit: -1}
	begin, kills := uptime(), oomKills()
	argv, stdout, err := w.place.begin(c, nth, resume)
	var room int64
	if err == nil {
		room = w.place.room()
		a.Limit = room + w.place.taken() // includes the output that it continues
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
	setOOMScore(p.pid, 1000) // kill the collector before the worker

	stderr := &outputTail{tail: tail{max: stderrTail}}
	a.Error, a.Slow = w.follow(p, r, stderr, pace{continues: resume})
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
		if p.status.Signaled() && p.status.Signal() == unix.SIGKILL && oomKills() > kills {
			a.Error += ": out of memory"
		} else if r := makedumpfile.Reason(a.Stderr); r != "" {
			a.Error += ": " + r
		}
	}
	return a
}

// fillIn replaces the placeholders of an argument vector.
func (w *worker) fillIn(argv []string, limit int64) []string {
	var filled []string
	for _, arg := range argv {
		switch arg {
		case plan.VmcoreArg:
			arg = vmcorePath
		case plan.OutputArg:
			arg = w.place.(*directory).output()
		case plan.LimitArg:
			arg = strconv.FormatInt(limit, 10)
		case plan.InfoArg:
			filled = append(filled, w.infoArgs()...)
			continue
		}
		filled = append(filled, arg)
	}
	return filled
}

// follow waits for a collector. It returns "", or why it killed the collector: no
// progress, or no time left; slow says that it could not have ended in time. Progress is
// output of the process or growth of the file.
func (w *worker) follow(p *process, r *os.File, stderr *outputTail, copying pace) (why string, slow bool) {
	stall := seconds(w.plan.Deadlines.Stall)
	if remote != nil {
		stall = remote.stall(w)
	}
	begin := uptime()
	last, shown, size := begin, begin, int64(0)
	copying.start, copying.begin = begin, begin
	var buf bytes.Buffer
	var pr makedumpfile.Progress
	failed := 0 // checkpoints
	for {
		ended := p.poll()
		if err := w.place.checkpoint(); err != nil {
			w.fail("save the progress of the vmcore: %v", err)
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
				return err.Error(), false
			}
			return "", false
		}
		now := uptime()
		switch {
		case failed > 1: // more than one bad sector
			why = fmt.Sprintf("write the vmcore: %v", w.place.lost())
		case now-last > stall:
			why = fmt.Sprintf("no progress for %v", stall)
		case w.timeLeft() <= 0:
			why = "out of time"
		case remote != nil && remote.slow(w, &copying):
			why = "too slow to end in time"
		default:
			why = w.late(&copying)
			slow = why != ""
		}
		if why != "" {
			if !p.kill(5 * time.Second) {
				why += ", and the collector is stuck in the kernel"
			}
			return why, slow
		}
		shows := pr.Update(buf.Bytes())
		if shows {
			copying.update(now, pr)
		}
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

// outputTail is the tail of a collector's output as a terminal shows it: a carriage
// return overwrites the line. Otherwise progress would push out the messages.
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

// progressReader reports progress while it is read, at most once a second.
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
