package ctl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		return // the Debian package prometheus has it
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(got.stdout)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
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
