// Package squeeze compresses a dump with several CPUs while makedumpfile(8) writes it.
//
// makedumpfile filters pages and writes an uncompressed kdump-compressed dump as a
// flattened stream, option -F without an option for a compression. Run reads that stream
// and writes the same dump with compressed pages, to a file or as a flattened stream:
//
//	makedumpfile -F -d 31 /proc/vmcore | ukdump-compress -c lzo vmcore
//
// Why not makedumpfile --num-threads: its threads poll, so they take the CPU from each other
// where another process is busy, and they exclude -F.
//
// # Order of the stream
//
// makedumpfile (write_kdump_pages_and_bitmap_cyclic, from 1.5.5 to 1.7.9) writes records
// with an offset each:
//
//	header, ELF notes with VMCOREINFO, sub header
//	first bitmap, in one record for each cycle
//	second bitmap of a cycle, then the pages of that cycle:
//	    descriptors, up to 64 KiB in pages of 4 KiB
//	    data of pages, the same
//	the rest of the data, then the rest of the descriptors
//	erase information and the sub header again, with the options --config and --eppic
//	end mark
//
// Descriptors come in the order of their page frames, and so do the data. The first
// data at all are a page of zeros, which the descriptors of all such pages share, if the
// dump level excludes them (-d 1). A descriptor may come before its page and after it, but
// only by a cache of makedumpfile. Run refuses a stream in another order.
//
// # Order of the output
//
// Everything before the data of pages keeps its offset, because the number of descriptors
// stays. The data become shorter, and so do their offsets in the descriptors. The page of
// zeros and pages that do not shrink are stored as they are, as makedumpfile does.
//
// # Work
//
// A worker takes a batch of pages from the stream, compresses it where it lies and writes
// it when the batch before it is written. A worker that has nothing to do sleeps. The memory
// is one batch and one compressor for each worker, whatever the size of the dump.
package squeeze

import (
	"bufio"
	"io"
	"sync"
)

// Options of a run.
type Options struct {
	Compression string    // lzo, snappy, zlib or zstd
	Workers     int       // at least 1
	Progress    io.Writer // for progress as makedumpfile(8) prints it; nil for none
}

// MaxWorkers bounds Options.Workers.
const MaxWorkers = 64

// Output takes a dump. Offsets rise, but for the headers and the descriptors.
type Output interface {
	io.WriterAt
	// Finish ends a dump that is whole. Without it, readers can tell that it is not.
	Finish() error
}

// Run compresses the flattened dump in r. It calls Finish only if the stream was whole
// and in order. The caller closes the output.
func Run(r io.Reader, out Output, o Options) error {
	codecs := make([]packer, max(1, min(o.Workers, MaxWorkers)))
	var flag uint32
	for i := range codecs {
		var err error
		if codecs[i], flag, err = newPacker(o.Compression); err != nil {
			return err
		}
	}
	j := &job{
		in:  stream{r: bufio.NewReaderSize(r, flatHeader), flag: flag},
		out: sink{out: out, flag: flag, progress: progress{w: o.Progress}},
	}
	j.turns.L = &j.state
	var wg sync.WaitGroup
	for _, c := range codecs {
		wg.Go(func() { j.work(c) })
	}
	wg.Wait()
	return j.err
}

// job is a run: workers take turns at reading and, in the same order, at writing.
type job struct {
	reading sync.Mutex // guards in, count
	in      stream
	count   int // batches that were read

	state sync.Mutex // guards turn, err
	turns sync.Cond
	turn  int   // batches that were written
	err   error // the first

	out sink // of the worker whose turn it is
}

// work is one worker. It ends with the stream, or after the first error of any worker.
func (j *job) work(c packer) {
	b := &batch{}
	for j.read(b) {
		if b.kind == pagesBatch {
			b.pack(c)
		}
		if !j.await(b.number) {
			return
		}
		j.pass(j.out.write(b))
	}
}

// read fills a batch. It returns false if the stream has ended, or the work has.
func (j *job) read(b *batch) bool {
	j.reading.Lock()
	defer j.reading.Unlock()
	if j.in.done || j.failed() {
		return false
	}
	if err := j.in.fill(b); err != nil {
		j.fail(err)
		return false
	}
	b.number = j.count
	j.count++
	return true
}

// await waits until all batches before the one with a number are written.
func (j *job) await(number int) bool {
	j.state.Lock()
	defer j.state.Unlock()
	for j.turn != number && j.err == nil {
		j.turns.Wait()
	}
	return j.err == nil
}

// pass lets the next worker write, unless there is an error.
func (j *job) pass(err error) {
	if err != nil {
		j.fail(err)
		return
	}
	j.state.Lock()
	j.turn++
	j.state.Unlock()
	j.turns.Broadcast()
}

func (j *job) fail(err error) {
	j.state.Lock()
	if j.err == nil {
		j.err = err
	}
	j.state.Unlock()
	j.turns.Broadcast()
}

func (j *job) failed() bool {
	j.state.Lock()
	defer j.state.Unlock()
	return j.err != nil
}
