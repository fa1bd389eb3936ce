package announce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
		r.Out.Warn(fmt.Sprintf("no hook for a crash: %v", err))
	}
}

// startHooks has the waiting hooks run, those of an interrupted run, too.
func (r *Run) startHooks() {
	waiting, err := r.Store.Hooks()
	if err == nil && len(waiting) > 0 {
		err = r.StartHooks()
	}
	if err != nil {
		r.Out.Warn(fmt.Sprintf("no hook runs now: %v", err))
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
	if r.Adopt {
		if err := adopt(); err != nil {
			return fmt.Errorf("HOOK: adopt its processes: %w", err)
		}
	}
	// A crash that is announced meanwhile starts no other run.
	for len(names) > 0 && err == nil {
		if err = r.runEach(names, program, conf, input); err == nil {
			names, err = r.Store.Hooks()
		}
	}
	return err
}

// runEach runs the program for the waiting crashes of these names.
func (r *Run) runEach(names []string, program string, conf *config.Config, input func(*state.Hook) ([]byte, error)) error {
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

// runHook runs the program once. It has a process group of its own, which gets SIGTERM at
// the limit. The processes that it leaves behind are killed: without systemd nothing else
// would end them.
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
	if cmd.Process == nil {
		return err
	}
	unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	if r.Adopt {
		if err := endRest(); err != nil {
			r.Out.Warn(fmt.Sprintf("HOOK %s: %v", program, err))
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ended by HOOK_TIMEOUT, after %d seconds", int(limit.Seconds()))
	case errors.Is(err, exec.ErrWaitDelay): // a process that it left behind had its input or output
		return nil
	}
	return err
}

// maxLinks is MAXSYMLINKS (include/linux/namei.h).
const maxLinks = 40

// trusted returns the path of the program at path below root, without symbolic links. It
// runs as root, so nobody else may be able to change it, a link on the way to it, or any
// directory above them.
func trusted(root, path string) (string, error) {
	top, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", err
	}
	path = filepath.Join(top, path)
	for range maxLinks {
		next, link, err := follow(top, path)
		if err != nil || !link {
			return next, err
		}
		path = next
	}
	return "", &os.PathError{Op: "HOOK: stat", Path: path, Err: unix.ELOOP}
}

// follow checks the directories of path from the top on, and the file there. If a symbolic
// link comes first, next is path with its target in place of it.
func follow(top, path string) (next string, link bool, err error) {
	const remedy = "Only root may be able to write to it and to the directories above it."
	var all []string // path, and the directories above it
	for at := path; ; at = filepath.Dir(at) {
		all = append(all, at)
		if at == top || at == "/" {
			break
		}
	}
	for _, at := range slices.Backward(all) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return "", false, &os.PathError{Op: "HOOK: stat", Path: at, Err: err}
		}
		mode := st.Mode & unix.S_IFMT
		switch {
		case mode == unix.S_IFLNK: // only who may write to its directory can change it
			target, err := os.Readlink(at)
			if err != nil {
				return "", false, fmt.Errorf("HOOK: %w", err)
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(at), target)
			}
			return filepath.Join(target, strings.TrimPrefix(path, at)), true, nil
		case at == path && (mode != unix.S_IFREG || st.Mode&0o100 == 0):
			return "", false, fmt.Errorf("HOOK: %s: not an executable file", at)
		case st.Uid != 0 && int(st.Uid) != os.Geteuid():
			return "", false, advice.With(fmt.Errorf("HOOK: %s: belongs to user %d: not run", at, st.Uid), remedy)
		case st.Mode&0o022 != 0:
			return "", false, advice.With(fmt.Errorf("HOOK: %s: others may write to it: not run", at), remedy)
		}
	}
	return path, false, nil
}
