package capture

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/evidence"
)

// process is a child. Starting, polling and killing it never blocks and needs no
// goroutine.
type process struct {
	pid    int
	ended  bool
	lost   bool // ended, but its status was collected elsewhere
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

// openNull opens /dev/null, or a substitute: a missing device node must not keep a
// process from starting.
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

// kill sends SIGKILL to the process group and waits up to d. It returns false if the
// process is stuck in the kernel.
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

// setName gives this process the name under which the kernel's messages and
// userProcesses know it, see proc_pid_comm(5). Best effort.
func setName(name string) { os.WriteFile("/proc/self/comm", []byte(name), 0) }

// userProcess is a process that is no kernel thread.
type userProcess struct {
	pid  int
	name string
}

func (p userProcess) String() string { return fmt.Sprintf("%s (%d)", p.name, p.pid) }

// userProcesses returns the processes below proc, the mount point of procfs, without
// the kernel's threads, PID 1 and the process except. Those that have ended and were
// not waited for are among them. It reads nothing that a process can block: not its
// command line, for one, which lies in its own memory.
func userProcesses(proc string, except int) ([]userProcess, error) {
	f, err := os.Open(proc)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []userProcess
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid <= 1 || pid == except {
			continue
		}
		b, err := os.ReadFile(proc + "/" + name + "/stat")
		if err != nil {
			continue // it has just gone
		}
		if comm, kernel := parseStat(b); !kernel {
			list = append(list, userProcess{pid, comm})
		}
	}
	return list, nil
}

// parseStat returns the name of a process and whether it is a thread of the
// kernel, from the content of proc_pid_stat(5). The name may hold anything, so
// it ends at the last parenthesis.
func parseStat(b []byte) (comm string, kernel bool) {
	const kthread = 0x00200000 // PF_KTHREAD, include/linux/sched.h
	i, j := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if i < 0 || j < i {
		return "", false
	}
	fields := strings.Fields(string(b[j+1:]))
	if len(fields) > 6 { // flags is field 9, and 2 are before these
		flags, _ := strconv.ParseUint(fields[6], 10, 64)
		kernel = flags&kthread != 0
	}
	return evidence.Printable(string(b[i+1 : j])), kernel
}

// leaderDead reports whether the first thread of the process has ended and others have
// not.
func (p *process) leaderDead() bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	i := bytes.LastIndexByte(b, ')')
	return err == nil && !p.poll() && i >= 0 && bytes.HasPrefix(b[i+1:], []byte(" Z"))
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
