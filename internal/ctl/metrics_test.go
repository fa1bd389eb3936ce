package ctl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/state"
)

// checkMetrics checks the text format strictly: a HELP and a TYPE line before the samples of
// each family, no family and no sample twice, and the names that Prometheus asks for
// (https://prometheus.io/docs/practices/naming/).
func checkMetrics(text string) (errs []string) {
	sample := regexp.MustCompile(`^([a-z][a-z0-9_]*)(\{[a-z_]+="([^"\\\n]|\\[\\"n])*"(,[a-z_]+="([^"\\\n]|\\[\\"n])*")*\})? -?[0-9]+(\.[0-9]+)?$`)
	seen := map[string]bool{}
	name, typed := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, _, _ = strings.Cut(help, " ")
			typed = false
			if seen[name] || !strings.HasPrefix(name, "ukdump_") || strings.HasSuffix(name, "_total") || !strings.HasSuffix(help, ".") {
				errs = append(errs, line)
			}
			seen[name] = true
			continue
		}
		if strings.HasPrefix(line, "# TYPE ") {
			if typed || line != "# TYPE "+name+" gauge" {
				errs = append(errs, line)
			}
			typed = true
			continue
		}
		m := sample.FindStringSubmatch(line)
		series, _, _ := strings.Cut(line, " ")
		if m == nil || m[1] != name || !typed || seen[series+"{}"] {
			errs = append(errs, line)
		}
		seen[series+"{}"] = true
	}
	if !strings.HasSuffix(text, "\n") {
		errs = append(errs, "no newline at the end")
	}
	return errs
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dumps(m)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	st := state.Store{Root: m.Root}
	test := st.NewTest("abc", false, st.Loaded())
	test.Result = state.TestPassed
	if err := st.SaveTest(test); err != nil {
		t.Fatal(err)
	}
	got := m.kdumpctl("metrics")
	if got.status != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	for _, line := range checkMetrics(got.stdout) {
		t.Errorf("bad line: %s", line)
	}
	for _, want := range []string{
		"ukdump_loaded 1\n", "ukdump_last_test_success 1\n", "ukdump_test_holds 1\n", fmt.Sprintf("ukdump_last_test_timestamp_seconds %d\n", test.Time.Unix()),
		`ukdump_crashes{outcome="dmesg-only"} 3` + "\n", `ukdump_dump_free_bytes{directory="ROOT/var/crash"} `,
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}

	// A directory that cannot be read: the number of crashes is not known, and not 0.
	m.Remove("var/crash")
	m.Write("var/crash", "a file")
	got = m.kdumpctl("metrics")
	if got.status != 0 || strings.Contains(got.stdout, "ukdump_crashes") || strings.Contains(got.stdout, "ukdump_dump_bytes") {
		t.Errorf("%+v", got)
	}

	// The file is replaced, and nothing else is left.
	m.Write("out/ukdump.prom", "old")
	m.expect("metrics --output ROOT/out/ukdump.prom", result{0, "", ""})
	if b := m.Read("out/ukdump.prom"); strings.ReplaceAll(b, m.Root, "ROOT") != got.stdout {
		t.Errorf("got %s", b)
	}
	entries, err := os.ReadDir(filepath.Join(m.Root, "out"))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if fi, err := os.Stat(filepath.Join(m.Root, "out/ukdump.prom")); err != nil || fi.Mode() != 0o644 {
		t.Errorf("%v, %v", fi, err)
	}
}

// promtool fails if the program of Prometheus complains. The Debian package prometheus has
// it.
func promtool(t *testing.T, text string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	cmd := exec.Command(program, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// On a machine where everything is known, each metric has a sample, and promtool accepts
// all of them.
func TestMetricsAll(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dumps(m)
	m.Write("var/crash/2026-11-23T01-00-00Z/crash.json", `{"version":1,"fingerprint":{"id":"v1:0123456789abcdef","kind":"a \"b\\c","frames":["f"]}}`)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	st := state.Store{Root: m.Root}
	l := st.Loaded()
	l.SetForecast(&state.Forecast{Release: "6.1.0", Verdict: state.Understood, Bytes: 1 << 30})
	test := st.NewTest("abc", false, l)
	test.Result = state.TestPassed
	for _, err := range []error{st.SaveLoaded(l), st.SaveTest(test)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := m.kdumpctl("metrics")
	if got.status != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	var names []string
	for line := range strings.Lines(got.stdout) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	want := []string{
		"ukdump_info", "ukdump_loaded", "ukdump_ready", "ukdump_reserved_bytes", "ukdump_forecast_bytes",
		"ukdump_last_test_timestamp_seconds", "ukdump_last_test_success", "ukdump_test_holds",
		"ukdump_crashes", "ukdump_crashes_by_fingerprint", "ukdump_last_crash_timestamp_seconds",
		"ukdump_dump_bytes", "ukdump_dump_free_bytes",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q\nwant %q\n%s", names, want, got.stdout)
	}
	for _, line := range checkMetrics(got.stdout) {
		t.Errorf("bad line: %s", line)
	}
	promtool(t, got.stdout)
}

func TestEscapeLabel(t *testing.T) {
	for in, want := range map[string]string{
		`a"b\c`:        `a\"b\\c`,
		"a\nb\x1b\xff": "a b??",
	} {
		if got := escapeLabel(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
