package capture

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child that is started, polled and killed without a goroutine and
// without a wait that could block.
type process struct {
	pid    int
	ended  bool
	lost   bool // ended, but somebody else has its status
	status unix.WaitStatus
}

// start runs argv in its own process group. files become its descriptors 0, 1,
// 2 and so on.
func start(argv, env []string, files []*os.File) (*process, error) {
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: fds,
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return &process{pid: pid}, nil
}

// openNull opens /dev/null, or whatever else can stand for it: a missing device
// node is no reason not to start a process.
func openNull() *os.File {
	for _, name := range []string{"/dev/null", "/proc/self/exe"} {
		if f, err := os.OpenFile(name, os.O_RDONLY, 0); err == nil {
			return f
		}
	}
	return os.NewFile(0, "stdin")
}

// poll reports whether the process has ended.
func (p *process) poll() bool {
	if p.ended {
		return true
	}
	var st unix.WaitStatus
	pid, err := unix.Wait4(p.pid, &st, unix.WNOHANG, nil)
	if pid == p.pid {
		p.ended, p.status = true, st
	} else if err == unix.ECHILD {
		p.ended, p.lost = true, true
	}
	return p.ended
}

// kill sends SIGKILL to the process and everything it started and waits up to
// d. It returns false if the process is still there, which happens when it is
// stuck in the kernel.
func (p *process) kill(d time.Duration) bool {
	if p.poll() {
		return true
	}
	unix.Kill(-p.pid, unix.SIGKILL)
	for end := uptime() + d; uptime() < end; time.Sleep(10 * time.Millisecond) {
		if p.poll() {
			return true
		}
	}
	return p.poll()
}

// how describes the end of the process: "exit status 1", "signal 9 (killed)".
func (p *process) how() string {
	switch {
	case !p.ended:
		return "still running"
	case p.lost:
		return "unknown status"
	case p.status.Signaled():
		return fmt.Sprintf("signal %d (%s)", p.status.Signal(), p.status.Signal())
	}
	return fmt.Sprintf("exit status %d", p.status.ExitStatus())
}

// ok reports whether the process ended with status 0.
func (p *process) ok() bool {
	return p.ended && !p.lost && p.status.Exited() && p.status.ExitStatus() == 0
}

// setOOMScore makes the kernel's OOM killer prefer (1000) or spare (-1000) a
// process, see proc(5), oom_score_adj. pid 0 is this process. Best effort.
func setOOMScore(pid, score int) {
	name := "self"
	if pid != 0 {
		name = strconv.Itoa(pid)
	}
	os.WriteFile("/proc/"+name+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}
