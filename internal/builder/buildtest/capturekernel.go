package buildtest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/kfeature"
)

// CaptureKernel returns the options that dir, packaging/capture-kernel, sets for a GOARCH
// and a version of Linux. Options that it turns off are "n".
func CaptureKernel(t testing.TB, dir, arch string, version kfeature.Version) map[string]string {
	t.Helper()
	options := make(map[string]string)
	for _, name := range []string{"common.config", map[string]string{"amd64": "x86_64.config", "arm64": "arm64.config"}[arch]} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(data), "\n") {
			if off, ok := strings.CutPrefix(line, "# CONFIG_"); ok {
				options["CONFIG_"+strings.TrimSuffix(off, " is not set")] = "n"
				continue
			}
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			line, bound, _ := strings.Cut(line, " # ")
			option, value, ok := strings.Cut(line, "=")
			if _, twice := options[option]; !ok || !strings.HasPrefix(option, "CONFIG_") || twice {
				t.Fatalf("%s:%d: %q is no option, or there twice", name, i+1, line)
			}
			if inVersion(t, bound, version) {
				options[option] = value
			}
		}
	}
	return options
}

// SmallConfig returns the configuration that packaging/capture-kernel asks for on x86_64, of
// Linux 6.12.
func SmallConfig(t testing.TB) string {
	t.Helper()
	options := CaptureKernel(t, "../../packaging/capture-kernel", "amd64", kfeature.Version{6, 12})
	var s strings.Builder
	for _, o := range slices.Sorted(maps.Keys(options)) {
		if options[o] == "n" {
			s.WriteString("# " + o + " is not set\n")
			continue
		}
		s.WriteString(o + "=" + options[o] + "\n")
	}
	return s.String()
}

// inVersion says whether a line with the bound "since X.Y" or "until X.Y" is for a version.
func inVersion(t testing.TB, bound string, version kfeature.Version) bool {
	t.Helper()
	if bound == "" {
		return true
	}
	word, number, _ := strings.Cut(bound, " ")
	major, minor, _ := strings.Cut(number, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil || word != "since" && word != "until" {
		t.Fatalf("%q is neither \"since X.Y\" nor \"until X.Y\"", bound)
	}
	older := kfeature.Version{a, b}.After(version.String())
	return older == (word == "until")
}
