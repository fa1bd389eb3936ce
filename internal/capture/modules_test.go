package capture

import (
	"strings"
	"testing"

	"ukdump/internal/plan"
)

// loadFake loads the modules a, b, c and d by a shell script in the child's
// place. module is the script for the module $i.
func loadFake(t *testing.T, module string) (*worker, error) {
	t.Helper()
	w := testWorker(t)
	w.plan.Deadlines.Module = 3
	for _, name := range []string{"a", "b", "c", "d"} {
		w.plan.Modules = append(w.plan.Modules, plan.Module{Name: name})
	}
	script := "i=$1; while [ $i -lt 4 ]; do " + module + "; i=$((i+1)); done"
	err := w.loadModulesBy("/bin/sh", "-c", script, "sh")
	return w, err
}

func TestLoadModules(t *testing.T) {
	tests := []struct {
		name, module string
		err          string
		errors       []string // in the report
	}{
		{"all well", "echo", "", nil},
		{"one cannot be loaded", `case $i in 2) echo "c: finit_module: exec format error";; *) echo;; esac`,
			"1 of 4", []string{"load module c: finit_module: exec format error"}},
		{"one oopses", `case $i in 1) kill -9 $$;; *) echo;; esac`,
			"1 of 4", []string{"load module b: did not come back: signal 9 (killed)"}},
		{"one hangs", `case $i in 1) exec sleep 60;; *) echo;; esac`,
			"1 of 4", []string{"load module b: did not come back: signal 9 (killed)"}},
		{"the last one hangs", `case $i in 3) exec sleep 60;; *) echo;; esac`,
			"1 of 4", []string{"load module d: did not come back: signal 9 (killed)"}},
		{"each one ends the child", `exit 1`, "4 of 4", []string{
			"load module a: did not come back: exit status 1", "load module b: did not come back: exit status 1",
			"load module c: did not come back: exit status 1", "load module d: did not come back: exit status 1"}},
		{"half a line", `case $i in 1) printf half; exit 0;; *) echo;; esac`,
			"1 of 4", []string{"load module b: did not come back: exit status 0"}},
		{"more lines than modules", `echo; echo; echo`, "", nil},
		{"control characters", `case $i in 0) printf 'a: \033[2J\n';; *) echo;; esac`,
			"1 of 4", []string{"load module a: ?[2J"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, err := loadFake(t, tt.module)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if got, want := strings.Join(w.report.Errors, "\n"), strings.Join(tt.errors, "\n"); got != want {
				t.Errorf("in the report:\n%s\nwant:\n%s", got, want)
			}
			if w.state.Module != 4 {
				t.Errorf("ended at module %d", w.state.Module)
			}
		})
	}
}

// The deadline is that of one module.
func TestLoadModulesSlowly(t *testing.T) {
	w, err := loadFake(t, "sleep 1; echo")
	if err != nil || len(w.report.Errors) > 0 {
		t.Errorf("%v: %q", err, w.report.Errors)
	}
}

// A worker that follows another one begins where that one ended.
func TestLoadModulesResumes(t *testing.T) {
	w := testWorker(t)
	w.plan.Deadlines.Module = 3
	w.plan.Modules = []plan.Module{{Name: "a"}, {Name: "b"}}
	w.state.Module = 1
	if err := w.loadModulesBy("/bin/sh", "-c", `[ $1 = 1 ] && echo`, "sh"); err != nil {
		t.Errorf("%v: %q", err, w.report.Errors)
	}
}

func TestLoadModulesNoChild(t *testing.T) {
	w := testWorker(t)
	w.plan.Modules = []plan.Module{{Name: "a"}}
	if err := w.loadModulesBy("/nonexistent/init"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}
