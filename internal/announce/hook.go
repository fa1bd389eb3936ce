package announce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/state"
)

// queueHook keeps an announced crash for RunHooks.
func (r *Run) queueHook(e event) {
	h := &state.Hook{Message: e.message, MessageID: e.id, Fields: map[string]string{}}
	for _, f := range e.fields {
		if f.Value != "" {
			h.Fields[f.Name] = f.Value
		}
	}
	h.Directory = h.Fields["UKDUMP_DIRECTORY"]
	if err := r.Store.QueueHook(h); err != nil {
		r.Out.Warn(fmt.Sprintf("the hook is not run: %v", err))
	}
}

// startHooks has the waiting hooks run, those of an interrupted run, too.
func (r *Run) startHooks() {
	waiting, err := r.Store.Hooks()
	if err == nil && len(waiting) > 0 {
		err = r.StartHooks()
	}
	if err != nil {
		r.Out.Warn(fmt.Sprintf("the hook is not run now: %v", err))
	}
}

// RunHooks runs the program of HOOK for each announced crash that waits for it. input
// makes its standard input. A program that fails is a warning: each crash has one run, but
// for one that was interrupted.
func (r *Run) RunHooks(conf *config.Config, input func(*state.Hook) ([]byte, error)) error {
	unlock, err := r.Store.LockHooks()
	if err != nil {
		return err
	}
	defer unlock()
	names, err := r.Store.Hooks()
	if err != nil || len(names) == 0 || conf.Hook == "" {
		return err
	}
	program, err := trusted(r.Root, conf.Hook)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		h, err := r.Store.Hook(name)
		var in []byte
		if err == nil {
			in, err = input(h)
		}
		if err == nil {
			err = r.runHook(program, conf.HookTimeout, in)
		}
		if err != nil {
			r.Out.Warn(fmt.Sprintf("HOOK %s: %v", conf.Hook, err))
		}
		errs = append(errs, r.Store.RemoveHook(name))
	}
	return errors.Join(errs...)
}

// runHook runs the program once. It has a process group of its own, which is killed at the
// limit.
func (r *Run) runHook(program string, limit time.Duration, in []byte) error {
	const grace = 5 * time.Second // between SIGTERM and SIGKILL
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), r.Out.Stdout, r.Out.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = grace
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	err := cmd.Run()
	if ctx.Err() != nil {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		return fmt.Errorf("ended by HOOK_TIMEOUT, after %d seconds", int(limit.Seconds()))
	}
	return err
}

// trusted returns the path of the program at path below root. It runs as root, so nobody
// else may be able to change it, or any directory above it.
func trusted(root, path string) (string, error) {
	const remedy = "Only root may be able to write to it and to the directories above it."
	resolved, err := filepath.EvalSymlinks(filepath.Join(root, path))
	if err != nil {
		return "", fmt.Errorf("HOOK: %w", err)
	}
	top, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", err
	}
	for at := resolved; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return "", &os.PathError{Op: "HOOK: stat", Path: at, Err: err}
		}
		mode := st.Mode & unix.S_IFMT
		switch {
		case at == resolved && (mode != unix.S_IFREG || st.Mode&0o100 == 0):
			return "", fmt.Errorf("HOOK: %s: not an executable file", at)
		case st.Uid != 0 && int(st.Uid) != os.Geteuid():
			return "", advice.With(fmt.Errorf("HOOK: %s: belongs to user %d: not run", at, st.Uid), remedy)
		case st.Mode&0o022 != 0:
			return "", advice.With(fmt.Errorf("HOOK: %s: others may write to it: not run", at), remedy)
		}
		if at == top || at == "/" {
			return resolved, nil
		}
	}
}
