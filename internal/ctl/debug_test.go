package ctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/debug"
	"ukdump/internal/dump/dumptest"
)

// The command lines of --print open real dumps in the real debuggers. Their vmlinux is
// beside the vmcore or where its package has it.
func TestDebuggersReal(t *testing.T) {
	t.Parallel()
	names := dumptest.Real(t)
	script := filepath.Join(t.TempDir(), "release.py")
	if err := os.WriteFile(script, []byte("print('RELEASE:', prog['init_uts_ns'].name.release.string_().decode())\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	for _, name := range names {
		k, err := debug.IdentifyFile(name)
		if err != nil {
			t.Fatal(err)
		}
		vmlinux := filepath.Join(filepath.Dir(name), "vmlinux")
		if _, err := os.Stat(vmlinux); err != nil {
			found, err := (&debug.Finder{Root: "/"}).Find(k, "")
			if err != nil {
				t.Logf("%s: skipped: %v", name, err)
				continue
			}
			vmlinux = found.Path
		}
		for _, tt := range []struct{ debugger, args, stdin string }{
			{"crash", "-s", "sys\nquit\n"},
			{"drgn", script, ""},
		} {
			if _, err := exec.LookPath(tt.debugger); err != nil {
				t.Logf("%s: not installed", tt.debugger)
				continue
			}
			got := m.kdumpctl("debug --print --with " + tt.debugger + " --vmlinux " + vmlinux + " " + name + " -- " + tt.args)
			if got.status != 0 {
				t.Fatalf("%+v", got)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", got.stdout)
			cmd.Stdin = strings.NewReader(tt.stdin)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "RELEASE: "+k.Release) {
				t.Errorf("%s: %v\n%s", got.stdout, err, out)
			}
		}
	}
}
