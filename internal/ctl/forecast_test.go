package ctl

import (
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
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
	l.Forecast, l.Cmdline = f, f.AddTo(l.Cmdline)
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
		{"forecast", 0, func(m *machine) { m.setForecast(&state.Forecast{Release: release, Bytes: 4 << 10}) }},
		{"forecast-too-large", 4, func(m *machine) { m.setForecast(&state.Forecast{Release: release, Bytes: 1 << 60}) }},
		{"forecast-unknown", 0, func(m *machine) {
			m.setForecast(&state.Forecast{Release: release, Problem: "the kernel is locked down\x1b[2J"})
		}},
		{"swap-partition", 4, func(m *machine) { swap(m); m.setForecast(&state.Forecast{Release: release, Bytes: 1 << 60}) }},
		{"only-raw", 0, func(m *machine) {
			m.Write("etc/ukdump.conf", "TARGET=raw:swap\n")
			swap(m)
			m.setForecast(&state.Forecast{Release: release, Bytes: 100 << 20})
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
	m.setForecast(&state.Forecast{Release: "6.1", Bytes: 1})
	if got := string(m.status(0)); !slices.Contains(strings.Split(got, "\n"), "missing         nothing") {
		t.Errorf("got %s", got)
	}
}

// The forecast takes a while: where nothing is loaded yet, the capture kernel is
// loaded without it first, unless loads are limited or it has nothing to add.
func TestLoadBeforeForecast(t *testing.T) {
	t.Parallel()
	const (
		understood = "ZERO\t1\nNON_PRI_CACHE\t1\nPRI_CACHE\t1\nUSER\t1\nFREE\t1\nKERN_DATA\t1\npage size:\t4096\nTotal pages on system:\t9\n"
		limit      = "proc/sys/kernel/kexec_load_limit_panic"
	)
	m := newMachine(t)
	for _, tt := range []struct {
		name, out string
		limit     string
		loaded    bool
		before    int // loads when it was asked for
		loads     int
		words     bool // they are in the set that was loaded last
	}{
		{"first load", understood, "-1", false, 1, 2, true},
		{"not understood", "", "-1", false, 1, 1, false},
		{"loaded already", understood, "-1", true, 0, 1, true},
		{"loaded already, not understood", "", "-1", true, 0, 1, false},
		{"one load left", understood, "1", false, 0, 1, true},
		{"two loads left", understood, "2", false, 0, 1, true},
		{"three loads left", understood, "3", false, 1, 2, true},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			m.calls = nil
			m.Write(limit, tt.limit+"\n")
			if tt.loaded {
				m.Write("sys/kernel/kexec_crash_loaded", "1\n")
			} else {
				m.Write("sys/kernel/kexec_crash_loaded", "0\n")
			}
			c := m.ctl()
			before := -1
			c.memUsage = func(string) ([]byte, error) {
				before = len(m.calls)
				return []byte(tt.out), nil
			}
			c.Args = []string{"load"}
			if status := c.End(c.run()); status != 0 || before != tt.before || len(m.calls) != tt.loads {
				t.Fatalf("status %d, %d loads before the forecast, loads %q", status, before, m.calls)
			}
			last := m.calls[len(m.calls)-1]
			l := c.store.Loaded()
			good, _, _, err := c.store.Fallback()
			if err != nil || l == nil || l.Cmdline != last || good.Cmdline != last || strings.Contains(last, "ukdump.known=") != tt.words {
				t.Errorf("loaded %q; remembered %+v and %+v, %v", last, l, good, err)
			}
			if l != nil && (l.Forecast == nil || (l.Forecast.Problem == "") != tt.words) {
				t.Errorf("forecast %+v", l.Forecast)
			}
		})
	}
}
