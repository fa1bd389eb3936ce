package squeeze

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestThroughput compares makedumpfile and ukdump-compress on the vmcore that UKDUMP_VMCORE
// names. UKDUMP_LEVELS has dump levels, UKDUMP_RUNS the number of runs, of which medians are
// printed; the runs of all rows take turns, so that other work on the machine hits each. It
// writes below UKDUMP_OUT, where a tmpfs keeps the disk out of the result.
func TestThroughput(t *testing.T) {
	vmcore := os.Getenv("UKDUMP_VMCORE")
	if vmcore == "" {
		t.Skip("UKDUMP_VMCORE is not set")
	}
	dir := os.Getenv("UKDUMP_OUT")
	if dir == "" {
		dir = t.TempDir()
	}
	program := filepath.Join(t.TempDir(), "ukdump-compress")
	if b, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "ukdump/cmd/ukdump-compress").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	levels := strings.Fields(os.Getenv("UKDUMP_LEVELS"))
	if len(levels) == 0 {
		levels = []string{"31", "1"}
	}
	runs, _ := strconv.Atoi(os.Getenv("UKDUMP_RUNS"))
	out := filepath.Join(dir, "ukdump-throughput")
	defer os.Remove(out)
	for _, level := range levels {
		trials := []*trial{
			{name: "makedumpfile uncompressed", dump: []string{"-d", level, vmcore, out}},
			{name: "makedumpfile lzo", dump: []string{"-l", "-d", level, vmcore, out}},
		}
		for _, c := range strings.Fields(cmp.Or(os.Getenv("UKDUMP_COMPRESSIONS"), "lzo zstd zlib snappy")) {
			for _, j := range []string{"1", "2"} {
				dump, pack := []string{"-F", "-d", level, vmcore}, []string{program, "-q", "-c", c, "-j", j}
				trials = append(trials,
					&trial{name: fmt.Sprintf("ukdump-compress %s, %s", c, j), dump: dump, pack: append(slices.Clone(pack), out)},
					&trial{name: fmt.Sprintf("ukdump-compress %s, %s, -r", c, j), dump: dump, pack: append(slices.Clone(pack), "-r", vmcore, out)})
			}
		}
		for range max(runs, 1) {
			for _, tr := range trials {
				os.Remove(out)
				if err := tr.run(); err != nil {
					t.Fatalf("%s: %v", tr.name, err)
				}
				info, err := os.Stat(out)
				if err != nil {
					t.Fatal(err)
				}
				tr.size = info.Size()
			}
		}
		plain := trials[0].size
		base := trials[1]
		t.Logf("level %s, %d MB uncompressed", level, plain/1e6)
		for _, tr := range trials {
			wall, cpu := median(tr.wall), median(tr.cpu)
			t.Logf("%-31s %7.3f s %7.0f MB/s %7.3f CPU-s %11d bytes; of %s: speed %.2f, CPU %.2f, size %.3f", tr.name, wall,
				float64(plain)/1e6/wall, cpu, tr.size, base.name, median(base.wall)/wall, cpu/median(base.cpu), float64(tr.size)/float64(base.size))
		}
	}
}

// trial is one way to make a dump.
type trial struct {
	name       string
	dump, pack []string
	wall, cpu  []float64 // seconds
	size       int64
}

func (tr *trial) run() error {
	var text bytes.Buffer
	dump := exec.Command("makedumpfile", tr.dump...)
	dump.Stderr = &text
	cmds := []*exec.Cmd{dump}
	if len(tr.pack) > 0 {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		pack := exec.Command(tr.pack[0], tr.pack[1:]...)
		dump.Stdout, pack.Stdin, pack.Stderr = w, r, os.Stderr
		cmds = append(cmds, pack)
		defer r.Close()
		defer w.Close()
	}
	begin := time.Now()
	for _, c := range cmds {
		if err := c.Start(); err != nil {
			return err
		}
		for _, f := range []any{c.Stdin, c.Stdout} {
			if f, ok := f.(*os.File); ok && f != nil {
				f.Close()
			}
		}
	}
	cpu := 0.0
	for i, c := range cmds {
		// With -r, ukdump-compress ends makedumpfile by SIGPIPE.
		if err := c.Wait(); err != nil && (i == 1 || !slices.Contains(tr.pack, "-r")) {
			return fmt.Errorf("%w\n%s", err, text.Bytes())
		}
		cpu += (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
	}
	tr.wall, tr.cpu = append(tr.wall, time.Since(begin).Seconds()), append(tr.cpu, cpu)
	return nil
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}
