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
	// serverState is the state of a dump at a server, for the next worker.
	serverState = "/run/ukdump/server.json"
	// maxBroken is how often a connection may break below one vmcore.
	maxBroken = 3
	// brokenPause is the time before another try.
	brokenPause = 5 * time.Second
)

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
	Logged bool   // the kernel log is at the server
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

// setUpNetwork runs RoleNetwork, again after a failure that another try may mend.
func (w *worker) setUpNetwork(t *plan.Target) error {
	c, err := w.runCourier([]string{RoleNetwork, t.Dir}, seconds(2*w.plan.Deadlines.Device), nil, nil)
	if c != nil {
		c.release()
	}
	return err
}

// mountNFS mounts an export.
func (w *worker) mountNFS(t *plan.Target) error {
	c, err := w.runCourier([]string{RoleNFS, t.Dir, mountDir}, seconds(w.plan.Deadlines.Mount), nil, nil)
	if err != nil {
		return err
	}
	c.release()
	return w.noteNFS(t)
}

// noteNFS records the mount in the report.
func (w *worker) noteNFS(t *plan.Target) error {
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
	w.state.Raw = serverName + t.Dir
	w.save()
	r := &server{w: w, state: serverFile{Target: w.state.Target}}
	c, err := r.retry([]string{"create"}, nil)
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
	w.place = r
	return true
}

// writeReceipt writes log and report to the next target that is a directory, so that
// this machine can announce the crash after the reboot. An error is only a warning: the
// dump is saved.
func (w *worker) writeReceipt() {
	r := w.report
	if w.plan == nil || w.state.Target >= len(w.plan.Targets) {
		return
	}
	if t := w.target(); t.Kind == plan.NFS && w.state.Dir != "" {
		r.At = t.Dir + strings.TrimPrefix(w.state.Dir, mountDir)
	}
	if r.At == "" || r.Outcome != crashdir.Complete {
		return
	}
	at := r.Target
	for i := w.state.Target + 1; i < len(w.plan.Targets); i++ {
		t := &w.plan.Targets[i]
		if t.Kind != plan.Directory {
			continue
		}
		w.step(stepUmount, w.finishLimit(), w.close)
		errors := len(r.Errors)
		w.state.Target = i
		if w.open(t) {
			w.sealPlace()
			r.Outcome = crashdir.Complete
			w.step(stepDmesg, w.plan.Deadlines.Finish, w.writeLog)
			w.step(stepCaptureLog, w.plan.Deadlines.Finish, w.writeCaptureLog)
			w.step(stepReport, w.plan.Deadlines.Finish, w.writeReport)
			r.Errors = r.Errors[:errors]
			return
		}
		r.Warnings = append(r.Warnings, r.Errors[errors:]...)
		r.Errors = r.Errors[:errors]
	}
	r.Target = at
}

func (r *server) save() {
	b, err := json.Marshal(r.state)
	if err == nil {
		err = os.WriteFile(serverState+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(serverState+".new", serverState)
	}
	if err != nil {
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

// stall is how long the server may be silent.
func (r *server) stall() time.Duration { return seconds(r.w.plan.Deadlines.Stall) }

// retry runs an operation of RoleSend until the connection holds.
func (r *server) retry(op []string, write func(io.Writer) error) (c *courier, err error) {
	for try := 1; ; try++ {
		c, err = r.w.runCourier(r.args(op), seconds(r.w.plan.Deadlines.Finish), nil, write)
		if err == nil || !errors.Is(err, errBroken) || try >= maxBroken {
			return c, err
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
	_, err := r.retry([]string{"put", name}, write)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", r, name, err)
	}
	if name == crashdir.Dmesg {
		r.state.Logged = true
		r.save()
	}
	return nil
}

// room is not limited here: a server that is full refuses.
func (r *server) room() int64 { return 1 << 60 }

func (r *server) whole() bool { return r.state.Whole }

func (r *server) begin(c *plan.Collector, nth int, _ bool) ([]string, *os.File, error) {
	r.end()
	in, wr, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	unix.SetNonblock(int(in.Fd()), false)
	c2, err := r.w.startCourier(r.args([]string{"stream"}), in, nil)
	in.Close()
	if err != nil {
		wr.Close()
		return nil, nil, err
	}
	r.c, r.in = c2, wr
	r.state.Begun, r.state.Sent = true, 0
	r.save()
	return c.Stream, wr, nil
}

// end ends the courier of an attempt that failed.
func (r *server) end() {
	if r.in != nil {
		r.in.Close()
		r.in = nil
	}
	if r.c != nil {
		r.c.close()
		r.c = nil
	}
}

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
			if err := r.c.err(); err != nil {
				r.note(err)
			}
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

// againServer reports whether the collector is to be run again because the connection broke.
func (w *worker) againServer() bool {
	r, ok := w.place.(*server)
	if !ok || !errors.Is(r.lost(), errBroken) || r.broken > maxBroken {
		return false
	}
	// Only if the server answers: the next target may do better.
	r.end()
	w.log.printf("%v: trying again", r.err)
	time.Sleep(brokenPause)
	w.super.progress()
	if _, err := r.retry([]string{"ping"}, nil); err != nil {
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
		return errors.New("the sender is gone")
	}
	r.in.Close()
	r.in = nil
	defer r.end()
	err := r.c.wait(r.stall(), func() bool { return r.c.streamed })
	if err == nil && !r.c.streamed {
		err = errors.New("the sender ended before the stream")
	}
	if err == nil {
		err = r.c.commit()
	}
	if err == nil {
		err = r.c.wait(r.stall(), nil)
	}
	if r.state.Sent = r.c.moved; err != nil {
		r.note(err)
		return err
	}
	r.w.report.SHA256, r.w.report.At = r.c.sum, r.String()
	r.state.Whole = true
	r.save()
	progress()
	return nil
}

func (r *server) settle() (crashdir.Outcome, int64, error) {
	switch {
	case r.state.Whole:
		return crashdir.Complete, r.state.Sent, nil
	case r.state.Begun && r.size() > 0:
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
