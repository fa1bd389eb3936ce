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
// # Pages from the core
//
// The pipe costs more CPU than it takes to compress: two copies of each page. With
// Options.Core, Run reads the bitmaps from the stream, ends it, and reads the pages in them
// from the core, as makedumpfile would. The second bitmap is whole before the first page
// if makedumpfile needs one cycle, that is, if its --cyclic-buffer has a bit for each page
// (its default is enough for 128 GiB). Otherwise the pages come from the stream.
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
// it if the batch before it is written; otherwise the worker of that does. A worker that has
// nothing to do sleeps. The memory is three batches and one compressor for each worker,
// whatever the size of the dump.
package squeeze

import (
	"bufio"
	"io"
	"sync"

	"ukdump/internal/dumpfile"
)

// Options of a run.
type Options struct {
	Compression string    // lzo, snappy, zlib or zstd
	Workers     int       // at least 1
	Progress    io.Writer // for progress as makedumpfile(8) prints it; nil for none

	// Core is the memory that makedumpfile(8) filters. If it is not nil, Run takes the
	// headers and the bitmap from the stream, closes that if it can be closed, and reads
	// the pages from the core. Data that makedumpfile would erase are not erased.
	Core *Core
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
		in:    stream{r: bufio.NewReaderSize(r, dumpfile.FlatHeaderSize), flag: flag},
		core:  o.Core,
		out:   sink{out: out, flag: flag, progress: progress{w: o.Progress}},
		ready: make([]*batch, batchesPerWorker*len(codecs)),
	}
	j.changed.L = &j.state
	j.in.filter.back, _ = out.(io.ReaderAt)
	j.closer, _ = r.(io.Closer)
	for range j.ready {
		j.free = append(j.free, &batch{})
	}
	var wg sync.WaitGroup
	for _, c := range codecs {
		wg.Go(func() { j.work(c) })
	}
	wg.Wait()
	return j.err
}

// batchesPerWorker lets a worker go on when its batch waits for others before it.
const batchesPerWorker = 3

// job is a run: workers take turns at reading. The one that has finished a batch writes
// it, and those behind it that wait, unless another worker writes.
type job struct {
	reading sync.Mutex // guards the stream
	in      stream
	count   int       // batches that were read
	direct  bool      // the pages are read from the core
	closer  io.Closer // of the stream

	core *Core

	state   sync.Mutex // guards the rest, but for out
	changed sync.Cond  // free, turn or err
	free    []*batch
	ready   []*batch // packed, by number modulo the length
	turn    int      // batches that were written
	writing bool     // a worker uses out
	err     error    // the first

	out sink
}

// work is one worker. It ends with the stream, or after the first error of any worker.
func (j *job) work(c packer) {
	r := &pageReader{core: j.core}
	defer r.close()
	for {
		b := j.read()
		if b == nil {
			return
		}
		switch {
		case len(b.pfns) > 0:
			if err := b.packCore(c, r); err != nil {
				j.fail(err)
				return
			}
		case b.kind == pagesBatch:
			b.pack(c)
		}
		j.write(b)
	}
}

// read returns the next batch: nil if the stream has ended, or the work has.
func (j *job) read() *batch {
	j.reading.Lock()
	defer j.reading.Unlock()
	if j.in.done {
		return nil
	}
	b := j.take()
	if b == nil {
		return nil
	}
	if err := j.fill(b); err != nil {
		j.fail(err)
		return nil
	}
	b.number = j.count
	j.count++
	return b
}

// take returns a batch that is free: nil after an error.
func (j *job) take() *batch {
	j.state.Lock()
	defer j.state.Unlock()
	for len(j.free) == 0 && j.err == nil {
		j.changed.Wait()
	}
	if j.err != nil {
		return nil
	}
	last := len(j.free) - 1
	b := j.free[last]
	j.free = j.free[:last]
	return b
}

// write writes the batch if all before it are written, and those that wait for it.
func (j *job) write(b *batch) {
	j.state.Lock()
	defer j.state.Unlock()
	j.ready[b.number%len(j.ready)] = b
	if j.writing {
		return
	}
	j.writing = true
	for j.err == nil {
		slot := &j.ready[j.turn%len(j.ready)]
		b := *slot
		if b == nil {
			break
		}
		*slot = nil
		j.state.Unlock()
		err := j.out.write(b)
		j.state.Lock()
		if err != nil && j.err == nil {
			j.err = err
		}
		j.turn++
		j.free = append(j.free, b)
		j.changed.Broadcast()
	}
	j.writing = false
}

// await waits until all batches that were read are written.
func (j *job) await() {
	j.state.Lock()
	defer j.state.Unlock()
	for j.turn != j.count && j.err == nil {
		j.changed.Wait()
	}
}

func (j *job) fail(err error) {
	j.state.Lock()
	defer j.state.Unlock()
	if j.err == nil {
		j.err = err
	}
	j.changed.Broadcast()
}

// fill fills a batch from the stream or, once the bitmap is known, makes one for pages of
// the core.
func (j *job) fill(b *batch) error {
	if j.core == nil || !j.in.filter.whole() || j.in.data != 0 && !j.direct {
		return j.in.fill(b)
	}
	if !j.direct {
		if err := j.in.setData(j.in.desc + j.in.filter.count*descSize); err != nil {
			return err
		}
		j.direct, j.core.used = true, true
		j.await() // the bitmap is read back
		if j.closer != nil {
			j.closer.Close() // makedumpfile(8) ends by SIGPIPE
		}
	}
	b.reset(j.in.pageSize)
	b.layout = j.in.layout
	err := j.in.filter.fill(b)
	j.in.done = b.kind == endBatch
	return err
}
