package capture

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		in     string
		comm   string
		kernel bool
	}{
		{"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0\n", "kthreadd", true},
		{"33 (makedumpfile) D 1 33 0 0 -1 4194560 120 0\n", "makedumpfile", false},
		{"34 (a) S 0 0) 0 0 (b) R 1 34 0 0 -1 4194304 1\n", "a) S 0 0) 0 0 (b", false},
		{"35 (\x1b[2J) R 1 35 0 0 -1 4194304 1\n", "?[2J", false},
		{"36 (x) R 1", "x", false},
		{"37 )x( R 1", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		comm, kernel := parseStat([]byte(tt.in))
		if comm != tt.comm || kernel != tt.kernel {
			t.Errorf("%q: got %q, %v", tt.in, comm, kernel)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("33 (makedumpfile) D 1 33 0 0 -1 4194560 120 0\n"))
	f.Add([]byte("34 (a) (b) R 1 34 0 0 -1 x 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if comm, _ := parseStat(b); strings.ContainsAny(comm, "\n\x1b\x00") {
			t.Errorf("%q has control characters", comm)
		}
	})
}

func TestUserProcesses(t *testing.T) {
	proc := t.TempDir()
	for name, stat := range map[string]string{
		"1":    "1 (init) S 0 1 1 0 -1 4194560 1",
		"2":    "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0",
		"33":   "33 (worker) D 1 33 0 0 -1 4194560 1",
		"44":   "44 (feeder) S 1 44 0 0 -1 4194560 1",
		"66":   "66 (modules) Z 1 66 0 0 -1 4194560 1",
		"self": "33 (worker) D 1 33 0 0 -1 4194560 1",
		"55":   "", // gone while we look
	} {
		dir := filepath.Join(proc, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if stat == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := userProcesses(proc, 44)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b userProcess) int { return a.pid - b.pid })
	if want := []userProcess{{33, "worker"}, {66, "modules"}}; !slices.Equal(list, want) {
		t.Errorf("got %v, want %v", list, want)
	}
	if _, err := userProcesses(filepath.Join(proc, "none"), 0); err == nil {
		t.Error("no error without a directory")
	}
}

// The real thing finds a child, also after it has ended.
func TestUserProcessesReal(t *testing.T) {
	p, err := start([]string{"/bin/sleep", "60"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill(10 * time.Second)
	list, err := userProcesses("/proc", 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(list, userProcess{p.pid, "sleep"}) {
		t.Errorf("sleep (%d) is not in %v", p.pid, list)
	}
	p.kill(10 * time.Second)
	if list, _ = userProcesses("/proc", 0); slices.Contains(list, userProcess{p.pid, "sleep"}) {
		t.Errorf("sleep (%d) was waited for and is still in %v", p.pid, list)
	}
}

// Only a process that has got stuck since the last time tells something about the target
// in use.
func TestNoteStuck(t *testing.T) {
	module, first, second := userProcess{5, roleModules}, userProcess{6, roleWorker}, userProcess{7, "makedumpfile"}
	s := &supervisor{}
	for i, tt := range []struct {
		list []userProcess
		want bool
	}{
		{[]userProcess{module}, false},
		{[]userProcess{module, first}, true},
		{[]userProcess{module, first}, false},
		{[]userProcess{first, second}, true},
		{[]userProcess{second}, false},
	} {
		if got := s.noteStuck(tt.list); got != tt.want {
			t.Errorf("%d: got %v for %v", i, got, tt.list)
		}
	}
}
