package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/vmcore"
)

// writes is a collector that leaves a vmcore of that many bytes behind its
// header and then runs the script then.
func writes(t *testing.T, name string, size int, then string) plan.Collector {
	t.Helper()
	header := filepath.Join(t.TempDir(), "header")
	if err := os.WriteFile(header, elfCore(), 0o600); err != nil {
		t.Fatal(err)
	}
	return sh(name, fmt.Sprintf("cat %s >\"$1\"; printf %%%ds x >>\"$1\"; %s", header, size, then))
}

const says = "echo 'The kernel version is not supported.' >&2"

// Which collectors run, and their output.
func TestLadder(t *testing.T) {
	filter := func(c plan.Collector) plan.Collector { c.Filters = true; return c }
	tests := []struct {
		name       string
		collectors []plan.Collector
		known      string // or, after "!", the kernel that is misread
		ran        string // names of the collectors
		outcome    crashdir.Outcome
		size       int
		warning    string
	}{
		{"first", []plan.Collector{writes(t, "a", 1, "true"), writes(t, "b", 2, "true")}, "", "a", crashdir.Complete, 1, ""},
		{"exit status", []plan.Collector{writes(t, "a", 1, "exit 1"), writes(t, "b", 2, "true")}, "", "a b", crashdir.Complete, 2, ""},
		{"garbage with exit 0", []plan.Collector{sh("a", `echo x >"$1"`), writes(t, "b", 2, "true")}, "", "a b", crashdir.Complete, 2, ""},
		{"nothing with exit 0", []plan.Collector{sh("a", `true`), writes(t, "b", 2, "true")}, "", "a b", crashdir.Complete, 2, ""},
		{"signal", []plan.Collector{writes(t, "a", 9, "kill -9 $$"), writes(t, "b", 2, "true")}, "", "a b", crashdir.Complete, 2, ""},
		{"stall", []plan.Collector{writes(t, "a", 9, "sleep 60"), writes(t, "b", 2, "true")}, "", "a b", crashdir.Complete, 2, ""},
		{"all fail", []plan.Collector{writes(t, "a", 9, "exit 1"), writes(t, "b", 2, "exit 1")}, "", "a b", crashdir.Incomplete, 9, ""},

		{"kernel misread", []plan.Collector{filter(writes(t, "a", 1, says)), filter(writes(t, "a2", 1, says)), writes(t, "b", 2, says)}, "!6.1.0", "a b", crashdir.Complete, 2, "b: this kernel is not known to be supported"},
		{"kernel unknown, but seen to work", []plan.Collector{filter(writes(t, "a", 1, says)), writes(t, "b", 2, "true")}, "6.1.0", "a", crashdir.Complete, 1, ""},
		{"kernel never tried", []plan.Collector{filter(writes(t, "a", 1, says)), filter(writes(t, "a2", 1, says)), writes(t, "b", 9, says)}, "", "a", crashdir.Complete, 1, "a: this kernel is not known to be supported"},
		{"kernel never tried, the filter fails", []plan.Collector{filter(writes(t, "a", 1, says+"; exit 1")), writes(t, "b", 2, says)}, "", "a b", crashdir.Complete, 2, "b: this kernel is not known to be supported"},
		{"kernel never tried, the dump is damaged", []plan.Collector{filter(sh("a", `echo x >"$1"; `+says)), writes(t, "b", 2, "true")}, "", "a b", crashdir.Complete, 2, ""},
		{"another kernel was seen to work", []plan.Collector{filter(writes(t, "a", 1, says)), writes(t, "b", 2, "true")}, "6.2.0", "a", crashdir.Complete, 1, "a: this kernel is not known to be supported"},
		{"another kernel is misread", []plan.Collector{filter(writes(t, "a", 1, says)), writes(t, "b", 2, "true")}, "!6.2.0", "a", crashdir.Complete, 1, "a: this kernel is not known to be supported"},
		{"misread without a warning", []plan.Collector{filter(writes(t, "a", 1, "true")), writes(t, "b", 2, "true")}, "!6.1.0", "a", crashdir.Complete, 1, "a: this kernel is not known to be supported"},
		{"kernel misread, the rest fails", []plan.Collector{filter(writes(t, "a", 1, says)), writes(t, "b", 2, "exit 1"), sh("c", "exit 1")}, "!6.1.0", "a b c", crashdir.Complete, 1, "a: kernel 6.1.0 is not supported"},
		{"kernel misread, nothing else", []plan.Collector{filter(writes(t, "a", 1, says))}, "!6.1.0", "a", crashdir.Complete, 1, "a: kernel 6.1.0 is not supported"},
		{"a copy with gaps", []plan.Collector{writes(t, "copy", 1, "echo 'copy: 7 pages "+leftOut+"' >&2")}, "", "copy", crashdir.Complete, 1, "copy: 7 pages could not be read"},
		{"kernel unknown and garbage", []plan.Collector{filter(sh("a", `echo x >"$1"; `+says)), sh("b", "exit 1")}, "", "a b", crashdir.Failed, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := testWorker(t, tt.collectors...)
			w.report.Kernel = "6.1.0"
			if release, misread := strings.CutPrefix(tt.known, "!"); misread {
				w.over.misread = release
			} else {
				w.over.known = release
			}
			err := w.collect()
			w.settle()
			if (err == nil) != (tt.outcome == crashdir.Complete) || w.report.Outcome != tt.outcome {
				t.Errorf("outcome %s, error %v, want %s", w.report.Outcome, err, tt.outcome)
			}
			var ran []string
			for _, a := range w.report.Attempts {
				ran = append(ran, a.Name)
			}
			if got := strings.Join(ran, " "); got != tt.ran {
				t.Errorf("ran %s, want %s", got, tt.ran)
			}
			want := int64(len(elfCore()) + tt.size)
			if tt.size < 0 {
				want = 0
			}
			if w.report.Vmcore != want {
				t.Errorf("vmcore of %d bytes, want %d", w.report.Vmcore, want)
			}
			if got := strings.Join(w.report.Warnings, "\n"); (got == "") != (tt.warning == "") || !strings.Contains(got, tt.warning) {
				t.Errorf("warnings %q, want %q", got, tt.warning)
			}
			if tt.outcome == crashdir.Complete {
				if left, _ := filepath.Glob(w.state.Dir + "/vmcore-incomplete*"); len(left) > 0 {
					t.Errorf("left behind: %s", left)
				}
			}
		})
	}
}

// One that can go on where it was stopped does so, as long as it comes further.
func TestLadderResumes(t *testing.T) {
	resume := func(script string) plan.Collector { c := sh("copy", script); c.Resumes = true; return c }
	for _, tt := range []struct {
		name, script string
		runs         int
	}{
		{"each time further", `printf 1 >>"$1"; exit 1`, maxResumes + 1},
		{"not further", `printf 1 >"$1"; exit 1`, 2},
		{"not at all", "exit 1", 1},
	} {
		w := testWorker(t, resume(tt.script))
		w.collect()
		if n := len(w.report.Attempts); n != tt.runs {
			t.Errorf("%s: %d runs, want %d", tt.name, n, tt.runs)
		}
		if want := int64(maxResumes + 1); tt.runs > 2 && w.place.size() != want {
			t.Errorf("%s: %d bytes, want %d: it did not go on", tt.name, w.place.size(), want)
		}
	}
}

// The placeholders of a collector's arguments.
func TestFillIn(t *testing.T) {
	w := testWorker(t)
	got := w.fillIn([]string{"/bin/makedumpfile", "-L", plan.LimitArg, plan.VmcoreArg, plan.OutputArg, "x%limit"}, 12345)
	want := "/bin/makedumpfile -L 12345 " + vmcorePath + " " + w.state.Dir + "/vmcore-incomplete x%limit"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// makedumpfile gets the corrected VMCOREINFO of this memory, if that needs one.
func TestFillInInfo(t *testing.T) {
	old := makeInfo
	t.Cleanup(func() { makeInfo = old })
	w := testWorker(t)
	argv := []string{"/bin/makedumpfile", plan.InfoArg, "-d", "31", plan.VmcoreArg}
	args := []string{"-i", infoFile}
	for _, tt := range []struct {
		name string
		make func(in vmcore.Info, path string) ([]string, error)
		core []byte
		want string
	}{
		{"not arm64", nil, elfCore(), ""},
		{"needed", func(in vmcore.Info, path string) ([]string, error) {
			if in.Release() == "" || path != infoFile {
				t.Errorf("VMCOREINFO of %q to %s", in.Release(), path)
			}
			return args, nil
		}, elfCore(), " -i " + infoFile},
		{"not needed", func(vmcore.Info, string) ([]string, error) { return nil, nil }, elfCore(), ""},
		{"cannot be written", func(vmcore.Info, string) ([]string, error) { return nil, errors.New("full") }, elfCore(), ""},
		{"no core", func(vmcore.Info, string) ([]string, error) { return args, nil }, []byte("x"), ""},
	} {
		makeInfo = tt.make
		setMemory(t, tt.core)
		if got, want := strings.Join(w.fillIn(argv, 1), " "), "/bin/makedumpfile"+tt.want+" -d 31 "+vmcorePath; got != want {
			t.Errorf("%s: got %s, want %s", tt.name, got, want)
		}
	}
	if len(w.report.Warnings) != 1 || !strings.Contains(w.report.Warnings[0], "full") {
		t.Errorf("warnings: %q", w.report.Warnings)
	}
}

// A test makes room by removing tests only.
func TestMakeRoomForTest(t *testing.T) {
	w := testWorker(t)
	w.plan.MakeSpace = true
	w.report.Test = "abc"
	parent := filepath.Dir(w.state.Dir)
	for i, test := range []string{"", "x", "", "y"} {
		dir := filepath.Join(parent, fmt.Sprintf("2026-11-2%dT00-00-00Z", i))
		os.Mkdir(dir, 0o700)
		os.WriteFile(filepath.Join(dir, "vmcore"), []byte("x"), 0o600)
		b, err := (&crashdir.Report{Version: crashdir.ReportVersion, Outcome: crashdir.Complete, Test: test}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, crashdir.ReportFile), b, 0o600)
	}
	w.makeRoom(parent, filepath.Base(w.state.Dir), 1<<60)
	if got, want := fmt.Sprint(w.report.Removed), "[2026-11-21T00-00-00Z 2026-11-23T00-00-00Z]"; got != want {
		t.Errorf("removed %s, want %s", got, want)
	}
}

// Old dumps make room for the new one, but only those that may go, and only
// where it is allowed.
func TestMakeRoom(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		w := testWorker(t)
		w.plan.MakeSpace = allowed
		parent := filepath.Dir(w.state.Dir)
		for i, files := range []string{"vmcore", "vmcore", "vmcore-incomplete", "vmcore-dmesg.txt"} {
			dir := filepath.Join(parent, fmt.Sprintf("2026-11-2%dT00-00-00Z", i))
			os.Mkdir(dir, 0o700)
			os.WriteFile(filepath.Join(dir, files), []byte("x"), 0o600)
		}
		current := filepath.Base(w.state.Dir) // the newest but one by its name
		if w.makeRoom(parent, current, 0) {
			t.Error("removed something although there is room")
		}
		got := w.makeRoom(parent, current, 1<<60)
		want := []string{"2026-11-20T00-00-00Z", "2026-11-22T00-00-00Z"} // not the last complete, not the newest
		if !allowed {
			want = nil
		}
		if got != allowed || fmt.Sprint(w.report.Removed) != fmt.Sprint(want) {
			t.Errorf("allowed %v: removed %s, want %s", allowed, w.report.Removed, want)
		}
		if !fileExists(w.state.Dir) {
			t.Error("removed the dump that is being written")
		}
	}
}

// Only a collector that failed for lack of room has old dumps make some.
func TestFull(t *testing.T) {
	w := testWorker(t)
	out := w.place.(*directory).output()
	if err := os.WriteFile(out, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(out, 64<<20); err != nil { // a hole
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		a    crashdir.Attempt
		want bool
	}{
		{"it came to its limit", crashdir.Attempt{Exit: 1, Limit: 1 << 19, Bytes: 1 << 19}, true},
		{"a file with holes", crashdir.Attempt{Exit: -1, Limit: 32 << 20, Bytes: 64 << 20}, false},
		{"it ended well", crashdir.Attempt{Exit: 0, Limit: 1 << 19, Bytes: 1 << 19}, false},
		{"it did not run", crashdir.Attempt{Exit: -1}, false},
	} {
		if got := w.full(&tt.a); got != tt.want {
			t.Errorf("%s: full %v", tt.name, got)
		}
	}
}

// The room of a collector that goes on is the room it has used and the rest.
func TestLimitOfResumed(t *testing.T) {
	w := testWorker(t)
	c := sh("copy", `echo "$2" >&2; exit 1`)
	c.Argv = append(c.Argv, plan.LimitArg)
	const size = 8 << 20
	if err := os.WriteFile(w.place.(*directory).output(), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	a := w.runCollector(&c, 2, true)
	more, err := strconv.ParseInt(a.Stderr, 10, 64)
	if err != nil || a.Limit != more+size {
		t.Errorf("limit %d, and it was told that there is room for %q", a.Limit, a.Stderr)
	}
}
