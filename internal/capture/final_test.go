package capture

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// A shell needs a word on the command line, and the plan says when.
func TestWantsShell(t *testing.T) {
	withShell, without := &plan.Plan{FailureAction: plan.Shell}, &plan.Plan{FailureAction: plan.Reboot}
	for _, tt := range []struct {
		plan   *plan.Plan
		word   bool
		action plan.Action
		want   bool
	}{
		{withShell, false, plan.Shell, false},
		{withShell, true, plan.Shell, true},
		{withShell, true, plan.Reboot, false}, // after a complete dump, or ukdump.final=
		{without, false, plan.Reboot, false},
		{without, true, plan.Reboot, true},
		{nil, false, plan.Reboot, false},
		{nil, true, plan.Reboot, true},
	} {
		s := &supervisor{plan: tt.plan, over: overrides{shell: tt.word}}
		if got := s.wantsShell(tt.action); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

// The shell can ask for another action by its exit status.
func TestAfterShell(t *testing.T) {
	for _, tt := range []struct {
		action plan.Action
		status int
		want   plan.Action
	}{
		{plan.Shell, 0, plan.Reboot},
		{plan.Halt, 0, plan.Halt},
		{plan.Poweroff, 1, plan.Poweroff},
		{plan.Halt, -1, plan.Halt}, // a signal
		{plan.Halt, plan.ExitReboot, plan.Reboot},
		{plan.Reboot, plan.ExitPoweroff, plan.Poweroff},
		{plan.Reboot, plan.ExitHalt, plan.Halt},
	} {
		if got := afterShell(tt.action, tt.status); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}

// A capture that begins again is of the same crash, and its worker is a first one.
func TestAgain(t *testing.T) {
	w := testWorker(t)
	w.state.Module, w.state.Target, w.state.Step, w.state.Begun, w.state.Best = 3, 1, stepMount, true, crashdir.DmesgOnly
	w.report.ID, w.report.Errors = "id", []string{"mount: no such device"}
	st := w.state.again(time.Hour)
	want := state{Report: crashdir.Report{ID: "id"}, Module: 3, Since: time.Hour}
	if !reflect.DeepEqual(*st, want) {
		t.Errorf("got %+v", st)
	}
	next := newWorker(st)
	if next.report.ID != "id" || next.report.Outcome != crashdir.Failed || next.resume() != "" {
		t.Errorf("the next worker has %+v", next.state)
	}
}

func TestHasBackend(t *testing.T) {
	dir := t.TempDir()
	if hasBackend(filepath.Join(dir, "none")) {
		t.Error("there is none")
	}
	for content, want := range map[string]bool{"erst\n": true, "(null)\n": false, "\n": false, "": false} {
		file := filepath.Join(dir, "backend")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if hasBackend(file) != want {
			t.Errorf("%q: want %v", content, want)
		}
	}
}

// None of these leads to a panic on purpose; one that does can be tested in a
// capture kernel only.
func TestWantsNoPstore(t *testing.T) {
	asked := &plan.Plan{Pstore: true}
	for name, s := range map[string]*supervisor{
		"no plan":      {},
		"not asked":    {plan: &plan.Plan{}},
		"shell":        {plan: asked, over: overrides{shell: true}},
		"other action": {plan: asked, over: overrides{final: plan.Reboot}},
		"no vmcore":    {plan: asked},
	} {
		if fileExists(vmcorePath) {
			t.Skip("this is a capture kernel")
		}
		if s.wantsPstore(plan.Reboot, crashdir.Failed) {
			t.Errorf("%s: wanted", name)
		}
	}
}

// A pause takes its time, and not much more.
func TestPause(t *testing.T) {
	s := &supervisor{}
	begin := uptime()
	s.pause(150 * time.Millisecond)
	if d := uptime() - begin; d < 150*time.Millisecond || d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestTry(t *testing.T) {
	s := &supervisor{log: &logger{kmsg: -1, console: -1}}
	if s.try(func() { panic("a bug") }) {
		t.Error("a panic passed for success")
	}
	if !s.try(func() {}) {
		t.Error("success passed for a panic")
	}
}

// A console that the kernel writes to gets a burst, and then little by little.
func TestBudget(t *testing.T) {
	var b budget
	now := 100 * time.Second
	const line = 128
	n := 0
	for b.take(line, now) {
		n++
	}
	if n != consoleBurst/line {
		t.Errorf("%d lines of %d bytes at once, want %d", n, line, consoleBurst/line)
	}
	if now += time.Second; b.take(line, now) {
		t.Error("a second paid for more than it does")
	}
	if now += time.Second; !b.take(line, now) || b.take(line, now) {
		t.Error("two seconds do not pay for one line")
	}
	if now += time.Hour; !b.take(consoleBurst, now) || b.take(1, now) {
		t.Error("an hour does not pay for a burst")
	}
}

// A worker whose forerunner is stuck does not try the same thing again.
func TestResumeStuck(t *testing.T) {
	for step, want := range map[step]state{
		"log":       {},
		"modules":   {Module: 1},
		"device":    {Target: 1},
		"mount":     {Target: 1},
		"directory": {Target: 1},
	} {
		w := testWorker(t)
		w.stuck, w.state.Dir, w.state.Step, w.place = true, "", step, nil
		if again := w.resume(); again != "" {
			t.Errorf("%s: does %q again", step, again)
		}
		if w.state.Module != want.Module || w.state.Target != want.Target {
			t.Errorf("%s: module %d, target %d", step, w.state.Module, w.state.Target)
		}
	}
	for _, step := range []step{"dmesg", "vmcore", "capture-log", "report", "umount"} {
		w := testWorker(t)
		w.stuck, w.state.Step, w.place = true, step, nil
		w.report.Attempts = []crashdir.Attempt{{Name: "a", Phase: crashdir.Running}}
		w.report.Outcome, w.state.Best, w.state.Logged = crashdir.Incomplete, crashdir.Failed, true
		w.state.Collector = 1
		if again := w.resume(); again != "" || w.state.Target != 1 || w.state.Dir != "" {
			t.Errorf("%s: does %q again on target %d in %q", step, again, w.state.Target, w.state.Dir)
		}
		if w.state.Best != crashdir.DmesgOnly {
			t.Errorf("%s: what is known to be saved there is %s", step, w.state.Best)
		}
	}
}

// The outcome after the death of a worker is neither better nor worse than the files.
func TestSaved(t *testing.T) {
	for name, tt := range map[string]struct {
		state state
		want  crashdir.Outcome
	}{
		"nothing at all":                {state{}, crashdir.Failed},
		"a promise, without a log":      {state{Report: crashdir.Report{Outcome: crashdir.Incomplete}, Best: crashdir.Failed}, crashdir.Failed},
		"a promise and a log":           {state{Report: crashdir.Report{Outcome: crashdir.Incomplete}, Best: crashdir.Failed, Logged: true}, crashdir.DmesgOnly},
		"a vmcore at the target before": {state{Report: crashdir.Report{Outcome: crashdir.Failed}, Best: crashdir.Incomplete, Logged: true}, crashdir.Incomplete},
		"a vmcore that was verified":    {state{Report: crashdir.Report{Outcome: crashdir.Complete}, Best: crashdir.Failed}, crashdir.Complete},
	} {
		if got := tt.state.saved(tt.state.Best); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A worker gets stuck while it verifies the vmcore: no other target is needed.
func TestStuckWhenComplete(t *testing.T) {
	w := testWorker(t, writes(t, "a", 1, "true"))
	w.plan.Targets = make([]plan.Target, 2)
	if err := w.collect(); err != nil {
		t.Fatal(err)
	}
	w.stuck, w.state.Step, w.place = true, "report", nil
	w.resume()
	if w.state.Best != crashdir.Complete {
		t.Errorf("best is %s", w.state.Best)
	}
}

// A directory that cannot be read gives no outcome.
func TestSettleUnreadable(t *testing.T) {
	w := testWorker(t)
	w.report.Outcome, w.report.Vmcore = crashdir.Incomplete, 0
	if err := os.Remove(w.state.Dir); err != nil {
		t.Fatal(err)
	}
	if w.settle(); w.report.Outcome != crashdir.Failed {
		t.Errorf("outcome %s", w.report.Outcome)
	}
}

// Only files that exist are written.
func TestDisarm(t *testing.T) {
	sys := t.TempDir()
	for name, content := range map[string]string{
		"kernel/panic_on_warn": "1\n", "kernel/panic_on_oops": "1\n", "kernel/hung_task_panic": "3\n", "vm/panic_on_oom": "2\n",
		"kernel/softlockup_panic": "1\n", "kernel/panic": "10\n", "vm/dirty_bytes": "0\n",
	} {
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disarm(sys)
	limitDirty(sys, 1<<30)
	for name, want := range map[string]string{
		"kernel/panic_on_warn": "0\n", "kernel/panic_on_oops": "0\n", "kernel/hung_task_panic": "0\n", "vm/panic_on_oom": "0\n",
		"kernel/softlockup_panic": "1\n", "kernel/panic": "10\n", "vm/dirty_bytes": "16777216\n",
	} {
		if b, err := os.ReadFile(filepath.Join(sys, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", name, b, err, want)
		}
	}
	if fileExists(sys+"/kernel/panic_on_io_nmi") || fileExists(sys+"/vm/dirty_background_bytes") {
		t.Error("made a file")
	}
}

// What waits to be written must not fill a small memory.
func TestLimitDirty(t *testing.T) {
	for available, want := range map[int64][2]string{
		0:         {"16777216\n", "4194304\n"},
		16 << 20:  {"2097152\n", "524288\n"},
		128 << 20: {"16777216\n", "4194304\n"},
		1 << 40:   {"16777216\n", "4194304\n"},
	} {
		sys := t.TempDir()
		if err := os.Mkdir(sys+"/vm", 0o755); err != nil {
			t.Fatal(err)
		}
		names := [2]string{sys + "/vm/dirty_bytes", sys + "/vm/dirty_background_bytes"}
		for _, name := range names {
			if err := os.WriteFile(name, []byte("0\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		limitDirty(sys, available)
		for i, name := range names {
			if b, err := os.ReadFile(name); err != nil || string(b) != want[i] {
				t.Errorf("%d bytes: %s has %q, %v; want %q", available, name, b, err, want[i])
			}
		}
	}
}

// Every supported type whose superblock can ask for a panic has an option against it.
func TestErrorPolicies(t *testing.T) {
	for _, fs := range []string{"ext2", "ext3", "ext4"} {
		if got := joinOptions("", errorPolicies[fs]); got != "errors=continue" {
			t.Errorf("%s: %q", fs, got)
		}
	}
	for _, fs := range []string{"xfs", "btrfs", "f2fs", "vfat", "exfat"} {
		if got := joinOptions("x", errorPolicies[fs]); got != "x" {
			t.Errorf("%s: %q: older kernels do not know the option", fs, got)
		}
	}
}
