package announce

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// adopt makes this process the parent of those that lose theirs below it, see
// PR_SET_CHILD_SUBREAPER in prctl(2). So a process that has left the group of a hook by
// setsid(2) can be found.
func adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// restLimit bounds the time to end the processes that a hook has left behind.
const restLimit = 5 * time.Second

// endRest kills the children of this process until none is left: each may leave children of
// its own.
func endRest() error {
	for deadline := time.Now().Add(restLimit); ; time.Sleep(10 * time.Millisecond) {
		left, err := children()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of the hook do not end", len(left))
		}
		for _, pid := range left {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return os.NewSyscallError("kill", err)
			}
			// One in an uninterruptible sleep ends later.
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// children returns the children of this process, by proc_pid_stat(5).
func children() (pids []int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		if parent(b) == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// parent returns the parent in a line of proc_pid_stat(5), 0 if it is none. The name in it
// may have spaces and parentheses.
func parent(stat []byte) int {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	pid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return pid
}
