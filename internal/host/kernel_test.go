package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFiveLevel(t *testing.T) {
	for _, tt := range []struct {
		name, cpuinfo string
		want, unknown bool
	}{
		{"four levels", "processor\t: 0\nflags\t\t: fpu lm smep\n", false, false},
		{"five levels", "processor\t: 0\nflags\t\t: fpu la57 lm\n\nprocessor\t: 1\n", true, false},
		{"the last flag", "flags\t\t: fpu la57\n", true, false},
		{"a part of a flag", "flags\t\t: xla57 la57x\nbugs\t\t: la57\n", false, false},
		{"another architecture", "processor\t: 0\nFeatures\t: fp asimd\n", false, true},
		{"empty", "", false, true},
	} {
		h := &Host{root: t.TempDir()}
		file := h.path("/proc/cpuinfo")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(tt.cpuinfo), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := h.FiveLevel(); got != tt.want || (err != nil) != tt.unknown {
			t.Errorf("%s: got %v, %v", tt.name, got, err)
		}
	}
	if _, err := (&Host{root: t.TempDir()}).FiveLevel(); err == nil {
		t.Error("no file: no error")
	}
}

func TestDefinesPartitions(t *testing.T) {
	for _, tt := range []struct {
		line string
		want bool
	}{
		{"quiet", false},
		{"blkdevparts=mmcblk0:1M(boot),-(root) quiet", true},
		{"blkdevparts=sda:1M(a);mmcblk0:-(b)", true},
		{`"blkdevparts=sda:1M(a);mmcblk0:-(b)"`, true},
		{`blkdevparts="mmcblk0:-(b)"`, true},
		{"blkdevparts=mmcblk01:1M(a)", false},
		{"xblkdevparts=mmcblk0:1M(a)", false},
		{"blkdevparts=", false},
	} {
		if got := definesPartitions(tt.line, "mmcblk0"); got != tt.want {
			t.Errorf("%q: got %v", tt.line, got)
		}
	}
}
