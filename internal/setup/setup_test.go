package setup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/bootloader"
	"ukdump/internal/state"
	"ukdump/internal/trigger"
)

// loader is a boot loader of one file with one line, and a command that copies it to what
// the next boot reads.
type loader struct{}

const (
	source  = "/etc/default/boot"
	booted  = "/boot/line"
	program = "update-boot"

	unfinished = "/boot/new" // update-boot leaves it if it fails
)

func (loader) Name() string { return "test" }

func (loader) Find(*bootloader.System) (*bootloader.Found, error) {
	return &bootloader.Found{Loader: "test", Booted: bootloader.Yes, Because: "it is a test"}, nil
}

func (loader) Plan(s *bootloader.System, e bootloader.Edit) (*bootloader.Plan, error) {
	old, err := os.ReadFile(filepath.Join(s.Root, source))
	if err != nil {
		return nil, err
	}
	line := strings.TrimSuffix(string(old), "\n")
	if e.Apply(line) == line {
		return &bootloader.Plan{}, nil
	}
	return &bootloader.Plan{
		Files:    []bootloader.File{{Path: source, Old: old, New: []byte(e.Apply(line) + "\n"), Mode: 0o644}},
		Commands: []bootloader.Command{{Args: []string{program}, Why: "writes " + booted, Writes: []string{"/boot/l*", unfinished}}},
	}, nil
}

func (loader) Next(s *bootloader.System) ([]bootloader.Entry, error) {
	b, err := os.ReadFile(filepath.Join(s.Root, booted))
	return []bootloader.Entry{{Title: "Linux", Source: booted, Cmdline: strings.TrimSpace(string(b)), Default: true}}, err
}

type testMachine struct {
	*Machine
	t    *testing.T
	ran  []string
	fail string // the command that fails
	lazy bool   // update-boot does nothing
}

func newMachine(t *testing.T) *testMachine {
	root := t.TempDir()
	m := &testMachine{t: t}
	m.Machine = &Machine{
		Root: root, Store: state.Store{Root: root},
		Look:   func(name string) (string, error) { return "/usr/bin/" + name, nil },
		Loader: func() ([]bootloader.Found, error) { return []bootloader.Found{{Loader: "test"}}, nil },
		Choose: func([]bootloader.Found, string) (bootloader.Loader, error) { return loader{}, nil },
		Run: func(args []string) ([]byte, error) {
			m.ran = append(m.ran, strings.Join(args, " "))
			if args[0] == program && !m.lazy {
				m.put(booted, m.get(source))
			}
			if args[0] == m.fail {
				m.put(unfinished, "half")
				return []byte("working\nit broke\n"), errors.New("exit status 1")
			}
			return nil, nil
		},
	}
	m.put(source, "quiet\n")
	m.put(booted, "quiet\n")
	m.put("/proc/sys/kernel/panic_on_oops", "0\n")
	m.put("/run/systemd/system/x", "")
	return m
}

func (m *testMachine) put(name, data string) {
	m.t.Helper()
	path := m.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// get returns the content of a file, "-" if there is none.
func (m *testMachine) get(name string) string {
	b, err := os.ReadFile(m.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return "-"
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

func options(size string) Options {
	chosen, err := trigger.ParseChoices("oops")
	if err != nil {
		panic(err)
	}
	return Options{Triggers: chosen, Crashkernel: func([]string) ([]string, string) { return strings.Fields(size), "a test" }}
}

func silent(string, ...any) {}

func (m *testMachine) apply(o Options) error {
	m.t.Helper()
	p, err := m.Plan(o)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.Apply(p, silent)
}

// The capture kernel is offered where it is installed and no other one is chosen.
func TestOfferKernel(t *testing.T) {
	size := func() (int64, error) { return 72 << 20, nil }
	for _, tt := range []struct {
		name      string
		installed bool
		offer     func() (int64, error)
		want      string
	}{
		{"installed", true, size, "A small capture kernel is installed. KERNEL=/usr/lib/ukdump/capture-kernel/vmlinuz in /etc/ukdump.conf lets a capture work in less memory: crashkernel=72M."},
		{"installed, without a driver", true, func() (int64, error) { return 0, errors.New("lacks CONFIG_X") },
			"A small capture kernel is installed, but this machine does not take it: lacks CONFIG_X."},
		{"installed, and another kernel is chosen", true, nil, ""},
		{"not installed", false, size, ""},
	} {
		m := newMachine(t)
		if tt.installed {
			m.put(CaptureKernel, "kernel")
		}
		o := options("crashkernel=64M")
		o.OfferKernel = tt.offer
		p, err := m.Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(p.Notes, func(n string) bool { return !strings.HasPrefix(n, "A small") })
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Directories that were made for a file go with it, if nobody else uses them.
func TestDirectories(t *testing.T) {
	const sysctls = "/etc/sysctl.d"
	for _, tt := range []struct {
		name  string
		first func(m *testMachine)
		after func(m *testMachine)
		fails bool
		stays bool
	}{
		{name: "made", first: func(*testMachine) {}, after: func(*testMachine) {}},
		{name: "made, then used", first: func(*testMachine) {}, after: func(m *testMachine) { m.put(sysctls+"/other.conf", "x") }, stays: true},
		{name: "there before", first: func(m *testMachine) { os.MkdirAll(m.path(sysctls), 0o755) }, after: func(*testMachine) {}, stays: true},
		{name: "made, and the command fails", first: func(m *testMachine) { m.fail = program }, fails: true},
		{name: "applied twice", first: func(*testMachine) {}, after: func(m *testMachine) {
			if err := m.apply(options("crashkernel=64M")); err != nil {
				m.t.Error(err)
			}
		}},
	} {
		m := newMachine(t)
		tt.first(m)
		if err := m.apply(options("crashkernel=128M")); (err != nil) != tt.fails {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !tt.fails {
			tt.after(m)
			if _, err := m.Remove(silent); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		if m.exists(sysctls) != tt.stays {
			t.Errorf("%s: %s is there: %v", tt.name, sysctls, !tt.stays)
		}
	}
}

// A minimal Debian has no sysctl(8).
func TestRemoveWithoutSysctl(t *testing.T) {
	m := newMachine(t)
	m.Look = func(name string) (string, error) {
		if name == "sysctl" {
			return "", os.ErrNotExist
		}
		return "/usr/bin/" + name, nil
	}
	m.put("/usr/lib/systemd/systemd-sysctl", "")
	if err := m.apply(options("crashkernel=128M")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Remove(silent); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/usr/lib/systemd/systemd-sysctl /etc/sysctl.d/60-ukdump.conf", "sh -c echo 0 >/proc/sys/kernel/panic_on_oops"} {
		if !slices.Contains(m.ran, want) {
			t.Errorf("ran %q, not %q", m.ran, want)
		}
	}
}

func TestApplyAndRemove(t *testing.T) {
	m := newMachine(t)
	if err := os.Chmod(m.path(source), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := m.apply(options("crashkernel=128M")); err != nil {
		t.Fatal(err)
	}
	if got := m.get(booted); got != "quiet crashkernel=128M\n" {
		t.Errorf("next boot: %q", got)
	}
	if got := m.get(SysctlFile); !strings.Contains(got, "\nkernel.panic_on_oops = 1\n") {
		t.Errorf("sysctls: %q", got)
	}
	want := []string{"update-boot", "sysctl -q -p /etc/sysctl.d/60-ukdump.conf", "systemctl enable ukdump.service"}
	if !slices.Equal(m.ran, want) {
		t.Errorf("ran %q", m.ran)
	}
	m.put("/etc/systemd/system/sysinit.target.wants/ukdump.service", "") // what the command would do
	p, err := m.Plan(options("crashkernel=128M"))
	if err != nil || !p.Nothing() {
		t.Errorf("the second time: %+v, %v", p, err)
	}
	// Another size; removing takes back both.
	if err := m.apply(options("crashkernel=80M")); err != nil {
		t.Fatal(err)
	}
	m.ran = nil
	left, err := m.Remove(silent)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if m.get(source) != "quiet\n" || m.get(booted) != "quiet\n" || m.get(SysctlFile) != "-" || m.exists(dir) {
		t.Errorf("not as before: %q, %q, %q", m.get(source), m.get(booted), m.get(SysctlFile))
	}
	if fi, err := os.Stat(m.path(source)); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	want = []string{"systemctl disable ukdump.service", "sysctl -q -w kernel.panic_on_oops=0", "update-boot"}
	if !slices.Equal(m.ran, want) {
		t.Errorf("ran %q", m.ran)
	}
	if _, err := m.Remove(silent); !errors.Is(err, ErrNothingToRemove) {
		t.Error(err)
	}
}

// Whatever fails: every file is as it was.
func TestApplyFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *testMachine)
		want   string
	}{
		"the command fails":   {func(m *testMachine) { m.fail = program }, "update-boot: exit status 1: it broke"},
		"a later one fails":   {func(m *testMachine) { m.fail = "systemctl" }, "systemctl enable ukdump.service: exit status 1"},
		"it is not installed": {func(m *testMachine) { m.Look = func(string) (string, error) { return "", os.ErrNotExist } }, "update-boot is not installed"},
		"a directory is in the way": {func(m *testMachine) {
			m.put("/etc/sysctl.d", "a file")
		}, "/etc/sysctl.d/60-ukdump.conf: not a directory"},
	} {
		m := newMachine(t)
		p, err := m.Plan(options("crashkernel=128M"))
		if err != nil {
			t.Fatal(err)
		}
		c.change(m)
		if err := m.Apply(p, silent); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if m.get(source) != "quiet\n" || m.get(booted) != "quiet\n" {
			t.Errorf("%s: not as before: %q, %q", name, m.get(source), m.get(booted))
		}
		if got := m.get(unfinished); got != "-" {
			t.Errorf("%s: %s is left: %q", name, unfinished, got)
		}
		m.fail = ""
		if left, err := m.Remove(silent); len(left) > 0 || err != nil && !errors.Is(err, ErrNothingToRemove) {
			t.Errorf("%s: remove: %v, %v", name, left, err)
		}
	}
}

// A command that says nothing and does nothing is noticed.
func TestReadBack(t *testing.T) {
	m := newMachine(t)
	m.lazy = true
	if err := m.apply(options("crashkernel=128M")); err == nil || err.Error() != "the next boot is not with crashkernel=128M: Linux (/boot/line)" {
		t.Error(err)
	}
}

// On a machine without systemd the user has a unit to replace, and the boot loader is read all the same.
func TestReadBackWithoutSystemd(t *testing.T) {
	m := newMachine(t)
	if err := os.RemoveAll(m.path("/run/systemd")); err != nil {
		t.Fatal(err)
	}
	m.lazy = true
	err := m.apply(options("crashkernel=128M"))
	if err == nil || err.Error() != "the next boot is not with crashkernel=128M: Linux (/boot/line)" {
		t.Error(err)
	}
	if got := advice.For(err); got != "kdumpctl setup --remove takes the changes back." {
		t.Errorf("advice %q", got)
	}
}

// A command that would have nowhere to write is not run.
func TestNowhereToWrite(t *testing.T) {
	m := newMachine(t)
	p, err := m.Plan(options("crashkernel=128M"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Run {
		if p.Run[i].Args[0] == program {
			p.Run[i].Writes = append(p.Run[i].Writes, source+"/line/new") // below a file
		}
	}
	if err := m.Apply(p, silent); err == nil || err.Error() != "write "+source+"/line/new: not a directory" {
		t.Error(err)
	}
	if len(m.ran) > 0 || m.get(source) != "quiet\n" {
		t.Errorf("ran %q, %s is %q", m.ran, source, m.get(source))
	}
}

func TestChangedByOthers(t *testing.T) {
	m := newMachine(t)
	p, err := m.Plan(options("crashkernel=128M"))
	if err != nil {
		t.Fatal(err)
	}
	m.put(source, "splash\n")
	if err := m.Apply(p, silent); err == nil || !strings.Contains(err.Error(), source+" was changed meanwhile") {
		t.Error(err)
	}
	if got := m.get(source); got != "splash\n" {
		t.Errorf("overwritten: %q", got)
	}
	if err := m.apply(options("crashkernel=128M")); err != nil {
		t.Fatal(err)
	}
	m.put(source, "splash crashkernel=128M debug\n")
	left, err := m.Remove(silent)
	if err != nil || len(left) != 1 || left[0].Path != source || !strings.Contains(left[0].Diff, "\n-splash crashkernel=128M debug\n+splash\n") {
		t.Errorf("%+v, %v", left, err)
	}
	if got := m.get(source); got != "splash crashkernel=128M debug\n" {
		t.Errorf("overwritten: %q", got)
	}
	if m.get(SysctlFile) != "-" {
		t.Error("the rest was not removed")
	}
}

// The power goes off between two writes: what was written can be taken back, and setup can
// begin again.
func TestInterrupted(t *testing.T) {
	m := newMachine(t)
	run := m.Run
	m.Run = func([]string) ([]byte, error) { panic("off") }
	func() {
		defer func() { recover() }()
		m.apply(options("crashkernel=128M"))
	}()
	m.Run = run
	if got := m.get(source); got != "quiet crashkernel=128M\n" {
		t.Fatalf("%q", got)
	}
	if err := m.apply(options("crashkernel=80M")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Remove(silent); err != nil {
		t.Fatal(err)
	}
	if m.get(source) != "quiet\n" || m.get(booted) != "quiet\n" || m.get(SysctlFile) != "-" {
		t.Errorf("not as before: %q, %q, %q", m.get(source), m.get(booted), m.get(SysctlFile))
	}
}

// If no command takes back what one has written, the files are restored.
func TestRestoresOutputs(t *testing.T) {
	m := newMachine(t)
	m.put("/boot/entries/a.conf", "options quiet\n")
	m.put("/boot/entries/b.conf", "options debug\n")
	run := m.Run
	m.Run = func(args []string) ([]byte, error) {
		if args[0] == "grubby" {
			m.put("/boot/entries/a.conf", "options quiet crashkernel=128M\n")
		}
		return run(args)
	}
	p := &Plan{Run: []bootloader.Command{{Args: []string{"grubby", "--args=crashkernel=128M"}, Undo: []string{"true"}, Writes: []string{"/boot/entries/*.conf"}}}}
	if err := m.Apply(p, silent); err != nil {
		t.Fatal(err)
	}
	left, err := m.Remove(silent)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if got := m.get("/boot/entries/a.conf"); got != "options quiet\n" {
		t.Errorf("%q", got)
	}
}

func TestUnknownLoader(t *testing.T) {
	m := newMachine(t)
	m.Loader = func() ([]bootloader.Found, error) { return nil, errors.New("no boot loader found that ukdump knows") }
	p, err := m.Plan(options("crashkernel=128M"))
	if err != nil || len(p.Manual) != 1 || !strings.HasPrefix(p.Manual[0], "Add crashkernel=128M to the kernel's command line") {
		t.Errorf("%+v, %v", p, err)
	}
}

// A link stays a link, and its target has the new content.
func TestLinks(t *testing.T) {
	m := newMachine(t)
	if err := os.Rename(m.path(source), m.path("/etc/boot-real")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../boot-real", m.path(source)); err != nil {
		t.Fatal(err)
	}
	if err := m.apply(options("crashkernel=128M")); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(m.path(source)); err != nil || to != "../boot-real" {
		t.Errorf("%q, %v", to, err)
	}
	if got := m.get("/etc/boot-real"); got != "quiet crashkernel=128M\n" {
		t.Errorf("%q", got)
	}
}

func TestWrong(t *testing.T) {
	entry := func(line string, isDefault bool) bootloader.Entry {
		return bootloader.Entry{Title: line, Source: "x:1", Cmdline: line, Default: isDefault}
	}
	words := []string{"crashkernel=128M"}
	for name, c := range map[string]struct {
		entries []bootloader.Entry
		words   []string
		ok      bool
	}{
		"the default has it":           {[]bootloader.Entry{entry("a", false), entry("crashkernel=128M", true)}, words, true},
		"only another has it":          {[]bootloader.Entry{entry("crashkernel=128M", false), entry("a", true)}, words, false},
		"the default is not known":     {[]bootloader.Entry{entry("crashkernel=128M", false), entry("recovery", false)}, words, true},
		"none has it":                  {[]bootloader.Entry{entry("a", false)}, words, false},
		"another size":                 {[]bootloader.Entry{entry("crashkernel=64M", true)}, words, false},
		"twice":                        {[]bootloader.Entry{entry("crashkernel=128M crashkernel=64M", true)}, words, false},
		"no entries":                   {nil, words, false},
		"it is to be gone, and it is":  {[]bootloader.Entry{entry("a", true)}, nil, true},
		"it is to be gone, and is not": {[]bootloader.Entry{entry("crashkernel=1M", true)}, nil, false},
	} {
		if err := Wrong(c.entries, c.words); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
