// Package rescue is the shell on the console of a machine whose capture failed. It
// interprets bash's language, has the commands of u-root that exist as packages, and
// commands of ukdump: save and capture again.
//
// PID 1 starts it and stays in charge: capture and reboot only end the shell with a
// status that PID 1 understands.
package rescue

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// Session is the shell with the facts that its commands show.
type Session struct {
	Root   string      // of the capture environment: "/", another one in tests
	Plan   *plan.Plan  // nil if it cannot be read
	Final  plan.Action // follows the end of the shell
	report *crashdir.Report
	memory func(dir string) bool // whether dir is in memory
}

// Open reads the plan and the report of the capture below root. What cannot be read is
// missing in the session: the shell is needed most if nothing works.
func Open(root string) *Session {
	s := &Session{Root: root, Final: plan.Action(os.Getenv(plan.FinalEnv)), memory: inMemory}
	if s.Final == "" {
		s.Final = plan.Reboot
	}
	if b, err := os.ReadFile(s.path(plan.Path)); err == nil {
		s.Plan, _ = plan.Parse(b)
	}
	if b, err := os.ReadFile(s.path(plan.StatePath)); err == nil {
		s.report = parseState(b)
	}
	return s
}

// parseState returns the report in the worker's state, nil if there is none.
func parseState(b []byte) *crashdir.Report {
	var state struct{ Report *crashdir.Report }
	if json.Unmarshal(b, &state) != nil {
		return nil
	}
	return state.Report
}

// path returns a path of the capture environment.
func (s *Session) path(name string) string { return filepath.Join(s.Root, name) }

// timeout returns how long the shell waits for a line, 0 for ever.
func (s *Session) timeout() time.Duration {
	if s.Plan == nil {
		return 10 * time.Minute
	}
	return time.Duration(s.Plan.ShellTimeout) * time.Second
}

// sessionEnv marks the process that has the console as its terminal.
const sessionEnv = "UKDUMP_RESCUE_SESSION"

// Main runs the shell on the standard descriptors and returns its exit status.
func Main() int {
	// The stamp tells the builder the version of this file.
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println(plan.Stamp)
		return 0
	}
	if len(os.Args) != 2 || os.Args[1] != "sh" {
		fmt.Fprintln(os.Stderr, "ukdump-rescue: not started: this is the shell of the capture kernel, packed into its initramfs by mkkdumpinitrd(8)")
		return 2
	}
	if os.Getenv(sessionEnv) == "" {
		if status, ok := withTerminal(); ok {
			return status
		}
	}
	s := Open("/")
	s.banner(os.Stdout)
	return s.Interactive(os.Stdin, os.Stdout)
}

// withTerminal runs this program again with the console as controlling terminal, so that
// Ctrl-C interrupts a command (tty_ioctl(4), TIOCSCTTY). PID 1 makes each child the leader
// of a process group, and a leader cannot begin a session (setsid(2)). ok is false if there
// is no terminal.
func withTerminal() (status int, ok bool) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), sessionEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return 0, false
	}
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), true
}
