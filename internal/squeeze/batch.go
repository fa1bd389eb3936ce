package squeeze

import "bytes"

// A batch has batchSize bytes, or a bit less: so large that taking turns costs nothing,
// so small that it stays in a CPU's cache.
const (
	batchSize = 256 << 10
	minPage   = 4 << 10
	maxPage   = 64 << 10
	maxRuns   = 1024
)

// kind is the kind of a batch.
type kind int

const (
	pagesBatch kind = iota // data of pages, and descriptors that came with them
	headBatch              // bytes before the descriptors: they keep their offset
	tailBatch              // bytes behind the pages: erase information
	endBatch               // the end of the dump
)

// batch is a part of the stream that one worker handles.
type batch struct {
	number int // of batches before it
	kind   kind
	buf    []byte // batchSize bytes
	n      int    // bytes of the stream in buf
	off    int64  // of a headBatch, in the dump

	pageSize int
	first    bool // the first page is the first of the dump
	runs     []run
	pfns     []uint64 // page frames to read from the core; none if the pages are in buf
	noZeros  bool     // pages of zeros share the first page
	packed   int      // bytes in buf after pack
	results  []result // of the pages
	scratch  []byte   // a compressed page, or one from the core

	layout layout // what the reader knew when it took the batch
}

// run is a number of descriptors that follow each other and are of one sort.
type run struct {
	shared bool // they point to the first page, otherwise each to the next page
	n      int64
}

// result is the size of a page in the output. stored is set if it was not compressed.
type result uint32

const stored result = 1 << 31

func (r result) size() int { return int(r &^ stored) }

// reset empties the batch for pages of a size.
func (b *batch) reset(size int64) {
	pageSize := int(size)
	if b.buf == nil {
		b.buf = make([]byte, batchSize+scratchSize(maxPage))[:batchSize]
		b.runs = make([]run, 0, maxRuns)
	}
	if b.pageSize != pageSize && pageSize > 0 {
		b.pageSize = pageSize
		b.results = make([]result, 0, batchSize/pageSize)
		b.scratch = make([]byte, scratchSize(pageSize))
	}
	b.kind, b.n, b.first, b.packed = pagesBatch, 0, false, 0
	b.runs, b.results, b.pfns = b.runs[:0], b.results[:0], b.pfns[:0]
}

// addRun adds descriptors of one sort.
func (b *batch) addRun(shared bool, n int64) {
	if l := len(b.runs); l > 0 && b.runs[l-1].shared == shared {
		b.runs[l-1].n += n
		return
	}
	b.runs = append(b.runs, run{shared, n})
}

// pack compresses the pages in place: no page grows, so each fits before the next.
func (b *batch) pack(c packer) {
	for i := 0; i < b.n; i += b.pageSize {
		page := b.buf[i : i+b.pageSize]
		if i == 0 && b.first && zeros(page) {
			b.store(page)
			continue
		}
		p := c.pack(b.scratch, page)
		if len(p) >= len(page) {
			b.store(page)
			continue
		}
		b.packed += copy(b.buf[b.packed:], p)
		b.results = append(b.results, result(len(p)))
	}
}

func (b *batch) store(page []byte) {
	b.packed += copy(b.buf[b.packed:], page)
	b.results = append(b.results, result(len(page))|stored)
}

var zeroPage [maxPage]byte

// zeros reports whether a page has only zeros.
func zeros(p []byte) bool { return le.Uint64(p) == 0 && bytes.Equal(p, zeroPage[:len(p)]) }
