// Reportbench measures kdumpctl report for machines of 1, 8 and 256 GiB of memory.
//
// Synopsis:
//
//	go run ./test/reportbench [-kdumpctl PROGRAM] VMCORE
//
// VMCORE is a kdump-compressed dump of a small machine. The larger dumps are copies of it with
// invented memory behind its own: of 32 pages one is in the dump, as with -d 31 on a machine
// with a full page cache, and all of them share their data. So indexes and descriptors have
// the size of those of a large machine, and the structures that a report reads stay those of
// the small one.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"ukdump/internal/dumpfile"
)

const (
	gib  = 1 << 30
	runs = 3  // for the median
	each = 32 // of so many invented pages, one is in the dump
)

func main() {
	kdumpctl := flag.String("kdumpctl", "bin/kdumpctl", "program to measure")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "reportbench: give the vmcore of a small machine")
		os.Exit(2)
	}
	if err := run(*kdumpctl, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "reportbench:", err)
		os.Exit(1)
	}
}

func run(kdumpctl, vmcore string) error {
	f, err := os.Open(vmcore)
	if err != nil {
		return err
	}
	defer f.Close()
	dir, err := os.MkdirTemp("", "ukdump-reportbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Print("| memory | pages in the dump | file | time | processor | peak memory |\n|---|---|---|---|---|---|\n")
	for _, size := range []uint64{1 * gib, 8 * gib, 256 * gib} {
		path := filepath.Join(dir, "vmcore")
		pages, err := write(path, f, size)
		if err != nil {
			return err
		}
		m, err := measure(kdumpctl, path)
		if err != nil {
			return err
		}
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		fmt.Printf("| %d GiB | %d | %d MiB | %.1f s | %.1f s | %d MiB |\n", size/gib, pages, fi.Size()>>20, m.wall.Seconds(), m.cpu.Seconds(), m.peak>>20)
	}
	return nil
}

// write writes a dump like f with size bytes of memory, and returns the number of its pages.
func write(path string, f *os.File, size uint64) (pages uint64, err error) {
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	if pages, err = grow(w, f, size); err != nil {
		return 0, err
	}
	return pages, errors.Join(w.Flush(), out.Close())
}

// measurement is the median of runs.
type measurement struct {
	wall, cpu time.Duration
	peak      int64 // largest resident set, in bytes
}

func measure(kdumpctl, vmcore string) (m measurement, err error) {
	var walls, cpus []time.Duration
	var peaks []int64
	for range runs {
		cmd := exec.Command(kdumpctl, "report", vmcore)
		cmd.Stderr = os.Stderr
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			return m, fmt.Errorf("%s: %w", cmd, err)
		}
		walls = append(walls, time.Since(begin))
		cpus = append(cpus, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		peaks = append(peaks, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10) // getrusage(2): KiB
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	slices.Sort(peaks)
	return measurement{walls[runs/2], cpus[runs/2], peaks[runs/2]}, nil
}

// Places in a kdump-compressed dump of version 6, diskdump_mod.h in makedumpfile's sources.
const (
	bitmapBlocks = 436 // in struct disk_dump_header
	maxMapnr     = 440 // there, 32 bits
	maxMapnr64   = 96  // in struct kdump_sub_header, in the second block
	descSize     = 24  // of struct page_desc, which begins with the offset of the data
)

// grow writes the dump f with size bytes of memory, and returns the number of its pages. A
// dump that is larger already stays as it is.
func grow(w io.Writer, f *os.File, size uint64) (pages uint64, err error) {
	le := binary.LittleEndian
	h, err := dumpfile.ReadHeader(f)
	if err != nil {
		return 0, err
	}
	l, bs := h.Layout(), int64(h.BlockSize)
	if h.Format != dumpfile.Kdump || l.Split {
		return 0, errors.New("not one file in the kdump-compressed format")
	}
	own, err := h.Pages(f)
	if err != nil {
		return 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	frames := max(size/uint64(bs), l.Pages)
	first := (l.Pages + each - 1) / each * each // of the invented frames
	invented := uint64(0)
	if frames > first {
		invented = (frames - first + each - 1) / each
	}
	bitmap := (int64(frames+7)/8 + bs - 1) / bs * bs
	from := l.Descs + int64(own)*descSize // of the data
	shift := l.Memory + 2*bitmap + int64(own+invented)*descSize - from

	head := make([]byte, l.Memory)
	if err := dumpfile.ReadFull(f, head, 0); err != nil {
		return 0, err
	}
	le.PutUint32(head[bitmapBlocks:], uint32(2*bitmap/bs))
	le.PutUint32(head[maxMapnr:], uint32(min(frames, 1<<32-1)))
	le.PutUint64(head[bs+maxMapnr64:], frames)
	maps := make([]byte, 2*bitmap)
	for i, at := range []int64{l.Memory, l.Dumped} {
		if err := dumpfile.ReadFull(f, maps[int64(i)*bitmap:][:(l.Pages+7)/8], at); err != nil {
			return 0, err
		}
	}
	for n := first; n < frames; n++ {
		maps[n/8] |= 1 << (n % 8)
		if n%each == 0 {
			maps[uint64(bitmap)+n/8] |= 1 << (n % 8)
		}
	}
	descs := make([]byte, int64(own)*descSize)
	if err := dumpfile.ReadFull(f, descs, l.Descs); err != nil {
		return 0, err
	}
	for at := 0; at < len(descs); at += descSize {
		le.PutUint64(descs[at:], le.Uint64(descs[at:])+uint64(shift))
	}
	for _, b := range [][]byte{head, maps, descs} {
		if _, err := w.Write(b); err != nil {
			return 0, err
		}
	}
	for range invented {
		if _, err := w.Write(descs[:descSize]); err != nil {
			return 0, err
		}
	}
	_, err = io.Copy(w, io.NewSectionReader(f, from, fi.Size()-from))
	return own + invented, err
}
