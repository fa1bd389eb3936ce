package memusage

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// sample is the output of makedumpfile of a Debian release on its own kernel.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/debian-" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRun(t *testing.T) {
	if _, err := os.Stat("/proc/kcore"); err != nil {
		if _, err := Run(time.Minute, "/bin/true"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without /proc/kcore: %v", err)
		}
		t.Skip("this machine has no /proc/kcore")
	}
	program := t.TempDir() + "/makedumpfile"
	script := "#!/bin/sh\necho \"$@\"\nyes | head -c 100000\necho open: denied >&2\necho 'makedumpfile Failed.' >&2\nexit $STATUS\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STATUS", "0")
	out, err := Run(time.Minute, program)
	if err != nil || len(out) != 64<<10 || !strings.HasPrefix(string(out), "--mem-usage /proc/kcore\n") {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
	t.Setenv("STATUS", "1")
	if _, err := Run(time.Minute, program); err == nil || !strings.HasPrefix(err.Error(), "makedumpfile --mem-usage: exit status 1: ") {
		t.Errorf("got %v", err)
	}
	if _, err := Run(time.Minute, program+"-none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(10*time.Millisecond, program); !errors.Is(err, ErrLate) {
		t.Errorf("a late one: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f, "bookworm"))
	f.Add(sample(f, "trixie"))
	f.Add([]byte("ZERO\t\t1 \nUSER\tx\npage size:\t65536"))
	f.Fuzz(func(t *testing.T, out []byte) {
		table, err := Parse(out)
		if err != nil || table.Check("") != nil {
			return
		}
		all := table.DumpSize(0)
		for level := range 32 {
			if n := table.DumpSize(level); n <= 0 || n > all {
				t.Errorf("level %d: %d of %d bytes of %+v", level, n, all, table)
			}
		}
		if all < table.total*table.pageSize || all == math.MaxInt64 {
			t.Errorf("%d bytes of %+v", all, table)
		}
	})
}
