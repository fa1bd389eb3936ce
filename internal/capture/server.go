package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/plan"
)

const (
	// serverName marks a dump at a server where a raw device has its name.
	serverName = "server:"
	// maxBroken is how often a connection may break below one vmcore.
	maxBroken = 3
	// maxReceipts is how many workers begin a receipt.
	maxReceipts = 2
)

// serverState is the state of a dump at a server, for the next worker.
var serverState = "/run/ukdump/server.json"

// brokenPause is the time before another try.
var brokenPause = 5 * time.Second

// server is a place at a server.
type server struct {
	w      *worker
	state  serverFile
	c      *courier // the vmcore's, nil if none is running
	in     *os.File // write end of its standard input
	broken int
	err    error // why no more is written here
}

// serverFile is kept for the next worker.
type serverFile struct {
	Target int    // index
	Dir    string // name of the dump's directory, at the server below the machine's
	Sent   int64  // bytes of the vmcore
	Begun  bool   // a vmcore was begun
	Whole  bool   // and committed
	Sum    string // SHA-256 of its stream
	Logged bool   // the kernel log is at the server, or its beginning
}

// openServer prepares a target at a server.
func (w *worker) openServer(t *plan.Target) bool {
	d := w.plan.Deadlines
	// Carrier, then perhaps DHCP.
	err := w.step(stepNetwork, 2*d.Device, func() error { return w.setUpNetwork(t) })
	switch {
	case err != nil:
	case t.Kind == plan.NFS:
		if err = w.step(stepMount, d.Mount, func() error { return w.mountNFS(t) }); err == nil {
			err = w.step(stepDirectory, d.Mount, func() error { return w.makeDir(t) })
		}
	default:
		err = w.step(stepDirectory, d.Mount, func() error { return w.login(t) })
	}
	if err != nil {
		w.step(stepUmount, d.Finish, w.close)
		return false
	}
	return true
}

// setUpNetwork runs RoleNetwork, which has a second try of its own where there is one.
func (w *worker) setUpNetwork(t *plan.Target) error {
	_, err := w.runCourier([]string{RoleNetwork, t.Dir}, seconds(2*w.plan.Deadlines.Device), nil, nil)
	return err
}

// mountNFS mounts an export and records it in the report.
func (w *worker) mountNFS(t *plan.Target) error {
	if _, err := w.runCourier([]string{RoleNFS, t.Dir, mountDir}, seconds(w.plan.Deadlines.Mount), nil, nil); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(mountDir, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	w.report.Target = crashdir.Target{Dir: t.Dir, FSType: string(plan.NFS), Free: int64(st.Bavail) * st.Bsize}
	w.log.printf("mounted %s, %d MiB free", t.Dir, w.report.Target.Free>>20)
	return nil
}

// login makes the directory of the dump at the server.
func (w *worker) login(t *plan.Target) error {
	r := &server{w: w, state: serverFile{Target: w.state.Target}}
	r.save() // before the other: the next worker must not find the dump of an earlier capture
	w.state.Raw = serverName + t.Dir
	w.save()
	c, err := r.retry([]string{"create"}, w.plan.Deadlines.Mount, nil)
	if err == nil && c.dir == "" {
		err = errors.New("the sender named no directory")
	}
	if err != nil {
		w.state.Raw = ""
		return err
	}
	r.state.Dir = c.dir
	r.save()
	w.report.Target = crashdir.Target{Dir: t.Dir, FSType: protocol(t.Dir)}
	w.place = r
	w.log.printf("writing to %s", r)
	return nil
}

// protocol returns the beginning of a target's name.
func protocol(name string) string {
	p, _, _ := strings.Cut(name, ":")
	return p
}

// reopenServer sets place to that of the last worker if it was at a server.
func (w *worker) reopenServer() bool {
	if !strings.HasPrefix(w.state.Raw, serverName) {
		return false
	}
	r := &server{w: w}
	b, err := os.ReadFile(serverState)
	if err == nil {
		err = json.Unmarshal(b, &r.state)
	}
	if err != nil || r.state.Target != w.state.Target || r.state.Dir == "" {
		w.state.Raw = "" // not logged in yet
		return true
	}
	if r.state.Whole { // the last worker may not have come to note it
		w.report.SHA256, w.report.At = r.state.Sum, r.String()
	}
	w.place = r
	return true
}

// writeReceipt writes log and report to the next target that is a directory, so that
// this machine can announce the crash after the reboot. An error is only a warning: the
// dump is saved.
func (w *worker) writeReceipt() {
	r := w.report
	if w.plan == nil || !r.Outcome.Success(r.LogOnly) || w.state.Target >= len(w.plan.Targets) {
		return
	}
	first := w.state.Receipts == 0
	if w.state.Receipts++; w.state.Receipts > maxReceipts {
		return
	}
	if !first { // a worker died in it
		if w.place != nil {
			w.writeReceiptFiles()
		}
		return
	}
	if r.At = w.at(); r.At == "" {
		return
	}
	at := r.Target
	for i := w.state.Target + 1; i < len(w.plan.Targets); i++ {
		t := &w.plan.Targets[i]
		if t.Kind != plan.Directory {
			continue
		}
		w.step(stepUmount, w.finishLimit(), w.close)
		w.state.Target = i
		before := len(r.Errors)
		if w.open(t) {
			w.writeReceiptFiles()
			return
		}
		r.Warnings = append(r.Warnings, r.Errors[before:]...)
		r.Errors = r.Errors[:before]
	}
	r.Target = at
}

// at returns the name of a dump at a server, "" if it is here.
func (w *worker) at() string {
	if r, ok := w.place.(*server); ok {
		return r.String()
	}
	if t := w.target(); t.Kind == plan.NFS && w.state.Dir != "" {
		return strings.TrimSuffix(t.Dir, "/") + strings.TrimPrefix(w.state.Dir, mountDir)
	}
	return w.report.At // by an earlier worker
}

// writeReceiptFiles writes log and report to place.
func (w *worker) writeReceiptFiles() {
	w.sealPlace()
	w.step(stepDmesg, w.plan.Deadlines.Finish, w.writeLog)
	w.step(stepCaptureLog, w.plan.Deadlines.Finish, w.writeCaptureLog)
	w.step(stepReport, w.plan.Deadlines.Finish, w.writeReport)
}

func (r *server) save() {
	if err := saveJSON(serverState, r.state); err != nil {
		r.w.log.errorf("keep the state: %v", err)
	}
}

// target returns the target's name.
func (r *server) target() string { return r.w.plan.Targets[r.state.Target].Dir }

func (r *server) String() string { return strings.TrimSuffix(r.target(), "/") + "/" + r.state.Dir }

// args returns the arguments of RoleSend.
func (r *server) args(op []string) []string {
	return append([]string{RoleSend, r.target(), r.state.Dir}, op...)
}

// ServerStall is how long the server of a target may be silent. If there is a target after
// it, that needs the time.
func ServerStall(p *plan.Plan, target string) time.Duration {
	stall := seconds(p.Deadlines.Stall)
	if n := len(p.Targets); n > 0 && p.Targets[n-1].Dir != target {
		stall = min(stall, time.Minute)
	}
	return stall
}

// stall is how long the server may be silent.
func (r *server) stall() time.Duration { return ServerStall(r.w.plan, r.target()) }

// collectorStall is how long a collector may make no progress.
func (w *worker) collectorStall() time.Duration {
	if r, ok := w.place.(*server); ok {
		return r.stall()
	}
	return seconds(w.plan.Deadlines.Stall)
}

// slowAfter is the time since the start of a collector after which the speed of a connection
// is known well enough.
const slowAfter = 30 * time.Second

// tooSlow reports whether the vmcore will not be at the server in time, as its progress shows,
// while another target could still take it. That gets a quarter of the time that is left.
func (w *worker) tooSlow(p *pace) bool {
	now := uptime()
	r, ok := w.place.(*server)
	if !ok || r.last() || now-p.start < slowAfter {
		return false
	}
	if need, known := p.need(now, w.percent); !known || need <= (w.end-now)*3/4 {
		return false
	}
	r.err = errSlow
	return true
}

var errSlow = errors.New("the connection is too slow")

// last reports whether no target follows.
func (r *server) last() bool { return r.state.Target+1 >= len(r.w.plan.Targets) }

// retry runs an operation of RoleSend until the connection holds. limit is how many seconds
// the server may be silent.
func (r *server) retry(op []string, limit int, write func(io.Writer) error) (c *courier, err error) {
	for try := 1; ; try++ {
		begin := uptime()
		c, err = r.w.runCourier(r.args(op), min(seconds(limit), r.stall()), nil, write)
		if err == nil || !errors.Is(err, errBroken) || try >= maxBroken {
			return c, err
		}
		if !r.last() && uptime()-begin >= r.stall() {
			return c, err // a silent server: the next target needs the time
		}
		r.w.log.printf("%s: %v: trying again", op[0], err)
		time.Sleep(brokenPause)
		r.w.super.progress()
	}
}

func (r *server) writeFile(name string, write func(io.Writer) error) error {
	if _, all := r.w.encryption(); all && name == crashdir.ReportFile {
		if err := r.put(name+crashdir.Sealed, write); err != nil {
			return err
		}
		return r.w.writeRedacted(redactedServer{r})
	}
	return r.put(name, write)
}

// redactedServer writes a report that needs no encryption.
type redactedServer struct{ *server }

func (r redactedServer) writeFile(name string, write func(io.Writer) error) error {
	return r.put(name, write)
}

// put writes a file. The sender encrypts it if the plan says so, but for report.json.
func (r *server) put(name string, write func(io.Writer) error) error {
	c, err := r.retry([]string{"put", name}, r.w.plan.Deadlines.Finish, write)
	// The sender keeps the beginning of a log that could not be read to its end.
	if name == crashdir.Dmesg && c != nil && c.p.ok() {
		r.state.Logged = true
		r.save()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// room is not limited here: a server that is full refuses.
func (r *server) room() int64 { return 1 << 60 }

func (r *server) whole() bool { return r.state.Whole }

func (r *server) begin(c *plan.Collector, nth int, _ bool) ([]string, *os.File, error) {
	r.end()
	r.err = nil
	op := []string{"stream"}
	if r.state.Begun {
		op = append(op, "again") // the sender gives up the remains of the last one
	}
	var err error
	if r.c, r.in, err = r.w.startFed(r.args(op), nil); err != nil {
		return nil, nil, err
	}
	r.state.Begun, r.state.Sent = true, 0
	r.save()
	return c.Stream, r.in, nil
}

// end ends the courier of an attempt that failed.
func (r *server) end() {
	if r.in != nil {
		r.in.Close()
		r.in = nil
	}
	if r.c != nil {
		r.c.close()
		r.state.Sent = r.c.moved
		r.c = nil
	}
}

// size returns the bytes that the server has taken of the last vmcore.
func (r *server) size() int64 {
	if r.c != nil {
		r.c.pump()
		r.state.Sent = r.c.moved
	}
	return r.state.Sent
}

func (r *server) taken() int64      { return r.state.Sent }
func (r *server) checkpoint() error { return nil }
func (r *server) keeps() bool       { return false }

// lost returns the error of the sender, which ends before the collector if the server is
// gone or refuses.
func (r *server) lost() error {
	if r.err == nil && r.c != nil {
		if _, ended := r.c.pump(); ended {
			r.note(r.c.err())
		}
	}
	return r.err
}

// note records the error of a sender. A connection that broke may be made again.
func (r *server) note(err error) {
	if r.err = err; errors.Is(err, errBroken) {
		r.broken++
	}
}

// full reports whether a pipe takes no more.
func full(in *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

// again reports whether the last collector is to be run again, on a new connection.
func (w *worker) again(a *crashdir.Attempt) bool {
	w.super.progress() // the last collector may have stalled
	switch p := w.place.(type) {
	case *server:
		return p.again()
	case *sealedDirectory:
		return w.sealAgain(&p.s, a)
	case *sealedRaw:
		return w.sealAgain(&p.s, a)
	}
	return false
}

func (r *server) again() bool {
	w := r.w
	if r.lost() == nil && r.c != nil && full(r.in) {
		r.note(r.c.stop("the server takes no more")) // the collector waited for it
		if !r.last() {
			return false // the next target needs the time
		}
	}
	if errors.Is(r.err, errStream) {
		r.end()
		r.err = nil // another collector may do better
	}
	if !errors.Is(r.err, errBroken) || r.broken > maxBroken {
		return false
	}
	// Only if the server answers: the next target may do better.
	r.end()
	w.super.progress()
	w.log.printf("%v: trying again", r.err)
	time.Sleep(brokenPause)
	w.super.progress()
	if _, err := r.retry([]string{"ping"}, w.plan.Deadlines.Stall, nil); err != nil {
		r.err = err
		return false
	}
	r.err = nil
	return true
}

// verify waits until the server has the whole stream, which the sender has checked in
// passing, and has it read back and renamed where the server can.
func (r *server) verify(_ dumpfile.Memory, progress func()) error {
	if r.c == nil {
		r.note(errGone)
		return errGone
	}
	r.in.Close()
	r.in = nil
	err := r.c.finish(r.stall())
	sum := r.c.sum
	r.end()
	if err != nil {
		r.note(err)
		return err
	}
	r.state.Whole, r.state.Sum = true, sum
	r.save()
	r.w.report.SHA256, r.w.report.At = sum, r.String()
	progress()
	return nil
}

// errGone is the error of a vmcore whose sender or encryption ended with the last worker.
var errGone = fmt.Errorf("%w: it ended with the worker", errBroken)

func (r *server) settle() (crashdir.Outcome, int64, error) {
	r.end()
	switch {
	case r.state.Whole:
		return crashdir.Complete, r.state.Sent, nil
	case r.state.Sent > 0 && protocol(r.target()) != "s3": // where nobody can read parts
		return crashdir.Incomplete, r.state.Sent, nil
	case r.state.Logged:
		return crashdir.DmesgOnly, 0, nil
	}
	return crashdir.Failed, 0, nil
}

func (r *server) close() error {
	r.end()
	return nil
}
