package ctl

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/makedumpfile/memusage"
	"ukdump/internal/state"
)

// setForecast gives the loaded set a forecast.
func (m *machine) setForecast(f *state.Forecast) {
	m.t.Helper()
	c := m.ctl()
	l := c.store.Loaded()
	if l == nil {
		m.t.Fatal("nothing is loaded")
	}
	l.SetForecast(f)
	m.rewrite("var/lib/ukdump/loaded.json")
	if err := c.store.SaveLoaded(l); err != nil {
		m.t.Fatal(err)
	}
}

func TestStatusForecast(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	swap := func(m *machine) {
		m.AddSwap()
		m.rewrite(image)
		m.rewrite("var/lib/ukdump/loaded.json")
		m.kdumpctl("load")
	}
	const release = buildtest.Release
	for _, tt := range []struct {
		name   string
		status int
		change func(m *machine)
	}{
		{"forecast", 0, func(m *machine) {
			m.setForecast(&state.Forecast{Release: release, Verdict: state.Understood, Bytes: 4 << 10})
		}},
		{"forecast-too-large", 4, func(m *machine) {
			m.setForecast(&state.Forecast{Release: release, Verdict: state.Understood, Bytes: 1 << 60})
		}},
		{"forecast-unknown", 0, func(m *machine) {
			m.setForecast(&state.Forecast{Release: release, Problem: "the kernel is locked down\x1b[2J"})
		}},
		{"swap-partition", 4, func(m *machine) {
			swap(m)
			m.setForecast(&state.Forecast{Release: release, Verdict: state.Understood, Bytes: 1 << 60})
		}},
		{"only-raw", 0, func(m *machine) {
			m.Write("etc/ukdump.conf", "TARGET=raw:swap\n")
			swap(m)
			m.setForecast(&state.Forecast{Release: release, Verdict: state.Understood, Bytes: 100 << 20})
		}},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			tt.change(m)
			buildtest.Golden(t, "status-"+tt.name+".txt", m.status(tt.status))
		})
	}
}

// The words of a loaded forecast are no change of the command line.
func TestForecastIsNoChange(t *testing.T) {
	m := newMachine(t)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	m.setForecast(&state.Forecast{Release: "6.1", Verdict: state.Understood, Bytes: 1})
	if got := string(m.status(0)); !slices.Contains(strings.Split(got, "\n"), "missing         nothing") {
		t.Errorf("got %s", got)
	}
}

// makedumpfile takes a while: the capture kernel is always loaded before. It is loaded
// again if it should know the result, unless a sysctl leaves it the last load.
func TestLoadBeforeForecast(t *testing.T) {
	t.Parallel()
	const (
		understood = "ZERO\t1\nNON_PRI_CACHE\t1\nPRI_CACHE\t1\nUSER\t1\nFREE\t1\nKERN_DATA\t1\npage size:\t4096\nTotal pages on system:\t9\n"
		misread    = "ZERO\t1\nNON_PRI_CACHE\t1\nPRI_CACHE\t1\nUSER\t1\nFREE\t1\nKERN_DATA\t0\npage size:\t4096\nTotal pages on system:\t9\n"
		limit      = "proc/sys/kernel/kexec_load_limit_panic"
	)
	late := fmt.Errorf("%w: 30 seconds", memusage.ErrLate)
	m := newMachine(t)
	m.Write("proc/version", "Linux version "+buildtest.Release+" (debian) #1 SMP\n")
	for _, tt := range []struct {
		name   string
		out    string
		err    error
		left   int // loads that the sysctl allows
		loaded bool
		loads  int
		word   string // in the set that was loaded last
		says   string // on either output
	}{
		{"first load", understood, nil, -1, false, 2, "ukdump.known=", ""},
		{"misread", misread, nil, -1, false, 2, "ukdump.misread=", "finds no pages of the kernel: dumps are larger than necessary: update makedumpfile"},
		{"no table", "", nil, -1, false, 1, "", "unknown whether makedumpfile understands kernel " + buildtest.Release + ": makedumpfile --mem-usage did not print its table"},
		{"late", "", late, -1, false, 1, "", "unknown whether makedumpfile understands kernel " + buildtest.Release + ": makedumpfile --mem-usage did not end in time: 30 seconds"},
		{"loaded already", understood, nil, -1, true, 2, "ukdump.known=", ""},
		{"loaded already, late", "", late, -1, true, 1, "", "did not end in time"},
		{"one load left", understood, nil, 1, false, 1, "", ""},
		{"two loads left", understood, nil, 2, false, 1, "", ""},
		{"three loads left", understood, nil, 3, false, 2, "ukdump.known=", ""},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			os.Remove(m.Root + "/var/lib/ukdump/makedumpfile.json")
			m.calls = nil
			left := tt.left
			m.asked = func() { left = max(left-1, min(left, -1)); m.Write(limit, fmt.Sprintln(left)) }
			m.Write(limit, fmt.Sprintln(left))
			m.Write("sys/kernel/kexec_crash_loaded", "0\n")
			if tt.loaded {
				m.Write("sys/kernel/kexec_crash_loaded", "1\n")
			}
			before := -1
			m.memUsage = func(string) ([]byte, error) {
				before = len(m.calls)
				return []byte(tt.out), tt.err
			}
			got := m.kdumpctl("load")
			if got.status != 0 || before != 1 || len(m.calls) != tt.loads || !strings.Contains(got.stdout+got.stderr, tt.says) {
				t.Fatalf("%+v, %d loads before makedumpfile ran, loads %q", got, before, m.calls)
			}
			c := m.ctl()
			last := m.calls[len(m.calls)-1]
			l := c.store.Loaded()
			good, _, _, err := c.store.Fallback()
			if err != nil || l == nil || l.Cmdline != last || good.Cmdline != last {
				t.Errorf("loaded %q; remembered %+v and %+v, %v", last, l, good, err)
			}
			if !strings.Contains(last, tt.word) || tt.word == "" && (strings.Contains(last, "ukdump.known=") || strings.Contains(last, "ukdump.misread=")) {
				t.Errorf("loaded %q, want %q", last, tt.word)
			}
			if s := m.kdumpctl("status"); s.status != 0 {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// A verdict holds at later boots of the same kernel with the same makedumpfile, and for
// nothing else.
func TestVerdictIsRemembered(t *testing.T) {
	t.Parallel()
	const banner = "Linux version " + buildtest.Release + " (debian) #1 SMP\n"
	late := func(string) ([]byte, error) { return nil, fmt.Errorf("%w: 30 seconds", memusage.ErrLate) }
	m := newMachine(t)
	m.Write("proc/version", banner)
	m.memUsage = func(string) ([]byte, error) { return buildtest.MemUsage(t, "bookworm"), nil }
	if got := m.kdumpctl("load"); got.status != 0 || !strings.Contains(m.inKernel().cmdline, "ukdump.known="+buildtest.Release) {
		t.Fatalf("%+v, %q", got, m.calls)
	}
	for _, tt := range []struct {
		name   string
		change func()
		known  bool
	}{
		{"the same", func() {}, true},
		{"another dump level", func() { m.Write("etc/ukdump.conf", "DUMP_LEVEL=17\n"); m.rewrite(image) }, true},
		{"another build of the release", func() { m.Write("proc/version", strings.Replace(banner, "#1", "#2", 1)) }, false},
		{"no banner", func() { m.Remove("proc/version") }, false},
		{"another makedumpfile", func() {
			m.Write("usr/bin/makedumpfile", m.Read("usr/bin/makedumpfile")+"x")
			m.rewrite(image)
		}, false},
		{"a damaged list", func() { m.Write("var/lib/ukdump/makedumpfile.json", "x") }, false},
		{"a list of the future", func() { m.Write("var/lib/ukdump/makedumpfile.json", `{"version":2}`) }, false},
		{"no list", func() { m.Remove("var/lib/ukdump/makedumpfile.json") }, false},
	} {
		for _, line := range []string{"load", "load --if-reserved"} {
			m.run(t, tt.name+", "+line, func(t *testing.T) {
				m.rewrite("var/lib/ukdump/loaded.json")
				m.rewrite("var/lib/ukdump/last-good/set.json")
				tt.change()
				m.reboot()
				m.memUsage = late
				got := m.kdumpctl(line)
				if known := strings.Contains(m.inKernel().cmdline, "ukdump.known="); got.status != 0 || known != tt.known {
					t.Errorf("%+v, loads %q, want known %v", got, m.calls, tt.known)
				}
				if notKnown := strings.Contains(got.stdout, "unknown whether makedumpfile understands"); notKnown == tt.known {
					t.Errorf("known %v: %s", tt.known, got.stdout)
				}
			})
		}
	}
}

// The trial after the boot makes its result known to the loaded set, and only to that.
func TestReloadForecast(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("proc/version", "Linux version 1\n")
	m.memUsage = func(string) ([]byte, error) { return buildtest.MemUsage(t, "bookworm"), nil }
	m.expect("reload --forecast", result{0, "nothing to do: kdumpctl has loaded no capture kernel\n", ""})
	if got := m.kdumpctl("load --if-reserved"); got.status != 0 || len(m.calls) != 1 || strings.Contains(m.inKernel().cmdline, "ukdump.known") {
		t.Fatalf("%+v, %q", got, m.calls)
	}
	const understands = "makedumpfile understands kernel " + buildtest.Release + ": a dump takes up to 148.8 MiB\n"
	for _, tt := range []struct {
		name   string
		change func()
		want   result
		loads  int
	}{
		{"first trial", func() {}, result{0, understands, ""}, 1},
		{"second trial", func() { m.kdumpctl("reload --forecast"); m.calls = nil }, result{0, understands, ""}, 0},
		{"another set was loaded meanwhile", func() {
			m.memUsage = func(string) ([]byte, error) {
				l := m.ctl().store.Loaded()
				l.ImageID = "x"
				m.ctl().store.SaveLoaded(l)
				return buildtest.MemUsage(t, "bookworm"), nil
			}
		}, result{0, "nothing to do: another set was loaded meanwhile\n", ""}, 0},
		{"loaded again meanwhile", func() {
			m.memUsage = func(string) ([]byte, error) {
				l := m.ctl().store.Loaded()
				l.Time = l.Time.Add(1)
				m.ctl().store.SaveLoaded(l)
				return buildtest.MemUsage(t, "bookworm"), nil
			}
		}, result{0, understands, ""}, 1},
		{"the image is out of date", func() { m.Write("etc/ukdump.conf", "DUMP_LEVEL=17\n") }, result{0, "nothing to do: the loaded image is not the configured one\n", ""}, 0},
		{"another program's", func() { m.Remove("var/lib/ukdump/loaded.json") }, result{0, "nothing to do: kdumpctl has loaded no capture kernel\n", ""}, 0},
		{"the fallback set is gone", func() { m.Remove(lastGood) }, result{0, understands, ""}, 0},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			for _, name := range []string{"loaded.json", "makedumpfile.json", "last-good/set.json"} {
				if _, err := os.Stat(m.Root + "/var/lib/ukdump/" + name); err == nil {
					m.rewrite("var/lib/ukdump/" + name)
				}
			}
			m.calls = nil
			tt.change()
			m.expect("reload --forecast", tt.want)
			if len(m.calls) != tt.loads {
				t.Errorf("loads %q, want %d", m.calls, tt.loads)
			}
			if tt.loads > 0 && !strings.Contains(m.inKernel().cmdline, "ukdump.known="+buildtest.Release) {
				t.Errorf("loaded %q", m.inKernel().cmdline)
			}
		})
	}
	m.expect("reload --forecast --hotplug", result{2, "", "kdumpctl: --forecast loads the same set again, so it excludes --hotplug and --image\n"})
}
