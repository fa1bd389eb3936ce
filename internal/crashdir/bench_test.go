package crashdir

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// foreign is the number of names that a user has put beside the dumps.
const foreign = 150_000

// BenchmarkScan lists a directory in which users have left names, beside one dump. Its
// memory must not grow with their number: docs/measured.md has the results.
func BenchmarkScan(b *testing.B) {
	for name, fill := range map[string]func(path string, i int) error{
		"files": func(dir string, i int) error {
			return os.WriteFile(filepath.Join(dir, fmt.Sprint("core.", i)), nil, 0o600)
		},
		"dumps of another user": func(dir string, i int) error {
			// Names of one directory each, as Create makes them.
			path := filepath.Join(dir, time.Unix(int64(i)*60, 0).UTC().Format(TimeLayout))
			if err := os.Mkdir(path, 0o700); err != nil {
				return err
			}
			return os.Lchown(path, 4242, 4242)
		},
	} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "2026-11-23T16-19-03Z"), 0o700); err != nil {
				b.Fatal(err)
			}
			for i := range foreign {
				if err := fill(dir, i); os.IsPermission(err) {
					b.Skip("only root gives directories away")
				} else if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			begin := cpuTime(b)
			for b.Loop() {
				c, err := Scan(dir)
				if err != nil || len(c.Dumps) != 1 || len(c.LeftOut) > maxLeftOut {
					b.Fatalf("%d dumps, %d left out, %v", len(c.Dumps), len(c.LeftOut), err)
				}
			}
			b.ReportMetric((cpuTime(b)-begin).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// cpuTime returns the time that this process has spent on the processor. Other programs do
// not change it much, which they do with the time of the clock.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
