package announce

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/journal"
	"ukdump/internal/state"
)

// hookRun is a machine with a hook.
func hookRun(t *testing.T, script string) (*Run, *config.Config, *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "hook"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	conf := config.Default()
	conf.Hook = "/hook"
	return &Run{Out: &cli.Program{Name: "kdumpctl", Stdout: &errs, Stderr: &errs}, Root: root, Store: state.Store{Root: root}}, conf, &errs
}

func message(h *state.Hook) ([]byte, error) { return []byte(h.Message + " " + h.Directory + "\n"), nil }

func TestHooks(t *testing.T) {
	r, conf, out := hookRun(t, "cat\n[ -z \"$SECRET\" ] && pwd\n")
	t.Setenv("SECRET", "x")
	r.queueHook(event{message: "first", fields: []journal.Field{{Name: "UKDUMP_DIRECTORY", Value: "/var/crash/x"}, {Name: "UKDUMP_CAUSE"}}})
	r.queueHook(event{message: "second"})
	started := 0
	r.StartHooks = func() error { started++; return nil }
	r.startHooks()
	if started != 1 {
		t.Errorf("started %d times", started)
	}
	if err := r.RunHooks(conf, message); err != nil {
		t.Error(err)
	}
	if want := "first /var/crash/x\n/\nsecond \n/\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
	r.startHooks()
	if names, err := r.Store.Hooks(); len(names) > 0 || err != nil || started != 1 {
		t.Errorf("%q, %v, started %d times", names, err, started)
	}
}

// A hook that fails or hangs is a warning, and the next one is run.
func TestHookFails(t *testing.T) {
	r, conf, out := hookRun(t, "read line\ncase $line in hang*) sleep 1000;; fail*) echo trouble >&2; exit 3;; esac\necho $line\n")
	conf.HookTimeout = time.Second
	for _, m := range []string{"fail", "hang", "good"} {
		r.queueHook(event{message: m})
	}
	if err := r.RunHooks(conf, message); err != nil {
		t.Error(err)
	}
	want := "trouble\nkdumpctl: warning: HOOK /hook: exit status 3\nkdumpctl: warning: HOOK /hook: ended by HOOK_TIMEOUT, after 1 seconds\ngood\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
}

// alive reports whether the process whose ID the file has is there, and no zombie.
func alive(t *testing.T, file string) bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// Nothing of a hook is left after its end, by itself or at the limit: neither a process of its
// group that ignores SIGTERM, nor one in a session of its own with children.
func TestHookLeavesProcesses(t *testing.T) {
	const script = `read line
trap '' TERM
sh -c 'trap "" TERM; sleep 1000 & echo $! >'"$0"'.group; wait' &
setsid sh -c 'sleep 1000 & echo $! >'"$0"'.session; wait' &
until [ -s "$0.group" ] && [ -s "$0.session" ]; do sleep 0.01; done
case $line in
	hang*) while :; do sleep 1000; done ;;
esac
echo $line
`
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("setsid is not installed")
	}
	for message, want := range map[string]string{
		"good": "good\n",
		"hang": "kdumpctl: warning: HOOK /hook: ended by HOOK_TIMEOUT, after 2 seconds\n",
	} {
		t.Run(message, func(t *testing.T) {
			r, conf, out := hookRun(t, script)
			r.Adopt = true // the tests of this package do not run at the same time
			defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
			conf.HookTimeout = 2 * time.Second
			if message == "good" {
				conf.HookTimeout = time.Minute
			}
			r.queueHook(event{message: message})
			if err := r.RunHooks(conf, func(h *state.Hook) ([]byte, error) { return []byte(h.Message + "\n"), nil }); err != nil {
				t.Error(err)
			}
			if out.String() != want {
				t.Errorf("got %q, want %q", out, want)
			}
			for _, name := range []string{"hook.group", "hook.session"} {
				if alive(t, filepath.Join(r.Root, name)) {
					t.Errorf("%s: the process is there", name)
				}
			}
		})
	}
}

func TestParent(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (sh) S 7 12 12 0": 7, "12 (a) S 9 (b)) R 8 1": 8, "12 (x": 0, "": 0, "1 (x) S": 0, "1 (x) S y": 0,
	} {
		if got := parent([]byte(stat)); got != want {
			t.Errorf("%q: got %d, want %d", stat, got, want)
		}
	}
}

// A program that another user could change is not run, and the crashes wait.
func TestHookTrusted(t *testing.T) {
	r, conf, out := hookRun(t, "echo run\n")
	r.queueHook(event{message: "x"})
	hook := filepath.Join(r.Root, "hook")
	for _, tt := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"writable by the group", func() error { return os.Chmod(hook, 0o775) }, "others may write to it"},
		{"not executable", func() error { return os.Chmod(hook, 0o644) }, "not an executable file"},
		{"directory writable", func() error { return os.Chmod(r.Root, 0o777) }, "others may write to it"},
		{"missing", func() error { return os.Remove(hook) }, "no such file"},
		{"a directory", func() error { return os.Mkdir(hook, 0o755) }, "not an executable file"},
	} {
		if err := tt.change(); err != nil {
			t.Fatal(err)
		}
		if err := r.RunHooks(conf, message); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		os.Chmod(r.Root, 0o755)
		os.Chmod(hook, 0o755)
	}
	if names, _ := r.Store.Hooks(); len(names) != 1 || out.Len() > 0 {
		t.Errorf("%q wait, output %q", names, out)
	}
}

// So is a link that another user could change, wherever it leads.
func TestHookLink(t *testing.T) {
	r, conf, _ := hookRun(t, "")
	r.queueHook(event{message: "x"})
	open := filepath.Join(r.Root, "open")
	for _, err := range []error{
		os.Mkdir(open, 0o755), os.Chmod(open, 0o777),
		os.Symlink("../hook", open+"/link"), os.Symlink("open/link", r.Root+"/outer"),
		os.Symlink("hook", r.Root+"/good"), os.Symlink("loop", r.Root+"/loop"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"/open/link": "others may write to it", "/outer": "others may write to it", "/loop": "too many levels"} {
		conf.Hook = name
		if err := r.RunHooks(conf, message); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	conf.Hook = "/good"
	if err := r.RunHooks(conf, message); err != nil {
		t.Error(err)
	}
}

// A crash that is announced while hooks run has its own run.
func TestHookMeanwhile(t *testing.T) {
	r, conf, out := hookRun(t, "cat\n")
	r.queueHook(event{message: "first"})
	err := r.RunHooks(conf, func(h *state.Hook) ([]byte, error) {
		if h.Message == "first" {
			r.queueHook(event{message: "second"})
		}
		return message(h)
	})
	if want := "first \nsecond \n"; err != nil || out.String() != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestHooksBounded(t *testing.T) {
	st := state.Store{Root: t.TempDir()}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = st.QueueHook(&state.Hook{})
	}
	if names, _ := st.Hooks(); err == nil || len(names) != 100 {
		t.Errorf("%d wait, %v", len(names), err)
	}
}
