package test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"ukdump/internal/dumpfile"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// nativeRuns are the runs of each program, of which the median counts.
const nativeRuns = 7

// nativeProgram is a program that saves a vmcore to a file.
type nativeProgram struct {
	name  string
	argv  []string
	base  *nativeProgram // whose speed is 1; nil: none
	head  int64          // only so many bytes of its standard output
	fails int            // of its runs
	wall  []float64
	cpu   []float64 // seconds
	size  int64
}

// benchNative measures programs of this computer on an ELF vmcore in the page cache.
func benchNative(t *testing.T, vmcore string) {
	// Not on a disk: ukdump-compress writes back to it, makedumpfile does not.
	dir, err := os.MkdirTemp("/dev/shm", "ukdump-bench-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	fi, err := os.Stat(vmcore)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := install(t.Context(), repo, vmtest.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	list := nativePrograms(filepath.Join(tree, "usr/lib/ukdump/ukdump-compress"), vmcore, out, fi.Size())
	fmt.Printf("natively, %d processors, vmcore of %d MiB, median of %d runs\n", runtime.NumCPU(), fi.Size()>>20, nativeRuns)
	// In turns, so that a busy moment meets all of them.
	for range nativeRuns {
		for _, p := range list {
			os.Remove(out)
			if err := p.run(t.Context()); err != nil {
				if p.argv[0] != "makedumpfile" {
					t.Fatalf("%s: %v", p.name, err)
				}
				p.fails++ // its threads abort now and then
				t.Logf("%s: %v", p.name, err)
				continue
			}
			if p.head > 0 {
				continue
			}
			if fi, err := os.Stat(out); err == nil {
				p.size = fi.Size()
			}
			if len(p.wall) == 1 && p.argv[0] != "cp" {
				if _, err := dumpfile.VerifyFile(out); err != nil {
					t.Fatalf("%s: %v", p.name, err)
				}
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "program\ts\tprocessor s\tMiB\tMB of vmcore/s\tspeed")
	for _, p := range list {
		if p.fails > 0 {
			fmt.Fprintf(w, "%s: failed %d times of %d\n", p.name, p.fails, nativeRuns)
		}
		if len(p.wall) == 0 {
			continue
		}
		wall := median(p.wall)
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.1f\t%.0f\t", p.name, wall, median(p.cpu), float64(p.size)/(1<<20), float64(fi.Size())/1e6/wall)
		if p.base != nil {
			fmt.Fprintf(w, "%.2f", median(p.base.wall)/wall)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// nativePrograms returns the programs for a vmcore of a size in bytes. compress is
// ukdump-compress.
func nativePrograms(compress, vmcore, out string, size int64) []*nativeProgram {
	list := []*nativeProgram{{name: "cp", argv: []string{"cp", "--sparse=never", vmcore, out}}}
	add := func(base *nativeProgram, name string, argv ...string) *nativeProgram {
		p := &nativeProgram{name: name, argv: argv, base: base}
		list = append(list, p)
		return p
	}
	features, _ := exec.Command("makedumpfile", "-v").CombinedOutput()
	zstd := slices.Contains(makedumpfile.Parse(features).Compressions, "zstd")
	for _, level := range []string{"31", "1"} {
		d := " -d " + level
		// The headers and both bitmaps come before the first page.
		selection := add(nil, "makedumpfile"+d+", up to the selection of pages", "makedumpfile", "-F", "-d", level, vmcore)
		selection.head = 8192 + 2*size/4096/8
		add(nil, "makedumpfile"+d, "makedumpfile", "-d", level, vmcore, out)
		lzo := add(nil, "makedumpfile -l"+d, "makedumpfile", "-l", "-d", level, vmcore, out)
		lzo.base = lzo
		add(lzo, "makedumpfile -l --num-threads 2"+d, "makedumpfile", "-l", "-d", level, "--num-threads", "2", vmcore, out)
		if level == "31" {
			add(lzo, "makedumpfile -c"+d, "makedumpfile", "-c", "-d", level, vmcore, out) // zlib takes ten times as long
		}
		base := map[string]*nativeProgram{"lzo": lzo}
		if zstd {
			base["zstd"] = add(nil, "makedumpfile -z"+d, "makedumpfile", "-z", "-d", level, vmcore, out)
		}
		for _, c := range []string{"lzo", "zstd"} {
			for _, workers := range []int{1, 2, 4} {
				if workers > runtime.NumCPU() {
					continue
				}
				p := add(base[c], fmt.Sprintf("ukdump-compress %s%s, workers: %d", c, d, workers),
					compress, "-q", "-c", c, "-j", strconv.Itoa(workers), "-r", vmcore, "-o", out, "-x", "makedumpfile", "-F", "-d", level, vmcore)
				base[c] = cmp.Or(base[c], p) // without zstd in makedumpfile, one worker
			}
		}
	}
	return list
}

// run runs the program once.
func (p *nativeProgram) run(ctx context.Context) error {
	begin := time.Now()
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	var text strings.Builder
	cmd.Stderr = &text
	if p.head == 0 {
		cmd.Stdout = &text
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w\n%s", err, text.String())
		}
	} else {
		r, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, r, p.head); err != nil {
			return fmt.Errorf("%w\n%s", err, text.String())
		}
		r.Close()
		cmd.Wait() // ends by SIGPIPE
	}
	p.wall = append(p.wall, time.Since(begin).Seconds())
	p.cpu = append(p.cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	return nil
}
