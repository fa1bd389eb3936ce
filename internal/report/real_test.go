package report

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ukdump/internal/dump"
)

// reals returns the vmcores of crashed machines, in directories named after their suites.
func reals(t *testing.T) []string {
	dir := os.Getenv("UKDUMP_VMCORES")
	if dir == "" {
		t.Skip("UKDUMP_VMCORES is not set")
	}
	list, _ := filepath.Glob(filepath.Join(dir, "*", "vmcore"))
	return list
}

// TestReal makes the reports of crashed machines: two CPUs, a crash by SysRq.
func TestReal(t *testing.T) {
	for _, name := range reals(t) {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			d, err := dump.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			r := Make(context.Background(), d, Options{})
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d MiB allocated\n%s", took, (after.TotalAlloc-before.TotalAlloc)>>20, text(t, r))
			verify(t, r, filepath.Dir(name))
		})
	}
}

// verify compares a report with what is known of the machine. Dumps of 7.x lack pages of the
// kernel, which makedumpfile takes for pages of processes.
func verify(t *testing.T, r *Report, dir string) {
	t.Helper()
	if f := r.Fingerprint; f == nil || f.ID != "v1:5f40fb21704f7e64" || f.Kind != sysrqKind || f.Source != SourceStack {
		t.Errorf("fingerprint %+v", r.Fingerprint)
	}
	if len(r.CPUs) != 2 || !r.CPUs[0].Panicked || r.CPUs[0].Stack == nil || !r.CPUs[0].Stack.Complete {
		t.Fatalf("CPUs %+v", r.CPUs)
	}
	var got []string
	for _, f := range r.CPUs[0].Stack.Frames {
		got = append(got, f.String())
	}
	if want := printed(t, filepath.Join(dir, "vmcore-dmesg.txt")); len(want) < 5 || !strings.HasSuffix(strings.Join(got, "\n"), strings.Join(want, "\n")) {
		t.Errorf("got %v, the kernel printed %v", got, want)
	}
	for _, p := range r.Problems {
		if !strings.Contains(p.Reason, "excluded by dump level 31") || !strings.HasPrefix(r.Kernel.Release, "7.") {
			t.Errorf("%s: %s", p.Part, p.Reason)
		}
	}
	if r.Tasks == nil || r.Tasks.Total < 40 {
		t.Errorf("tasks %+v", r.Tasks)
	}
	if m := r.Memory; m == nil || len(m.Slabs) != maxUsers || len(m.Zones) == 0 || len(m.Processes) == 0 {
		t.Errorf("memory %+v", m)
	}
	if len(r.Problems) > 0 {
		return
	}
	if !slices.Contains(r.Mounts, Mount{"/dev/vda1", "/", "ext4", false}) {
		t.Errorf("mounts %+v", r.Mounts)
	}
	if len(r.Disks) != 3 || r.Disks[0].Name != "vda" || r.Disks[0].Bytes != 3<<30 || r.Disks[0].Note != "" {
		t.Errorf("disks %+v", r.Disks)
	}
}

// traced is a reliable line of a call trace.
var traced = regexp.MustCompile(`^\[[ 0-9.]+\]  ([A-Za-z_][^ ?]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)$`)

// printed returns the functions of the last call trace in a log from the crash on.
func printed(t *testing.T, name string) (out []string) {
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "Call Trace:") {
			out = nil
		}
		if m := traced.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			out = append(out, m[1])
		}
	}
	i := slices.IndexFunc(out, func(s string) bool { return strings.HasPrefix(s, "sysrq_handle_crash+") })
	return out[max(i, 0):]
}
