package dump

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"ukdump/internal/dumpfile"
)

// maxSpans bounds the index of a flattened file: 80 MiB.
const maxSpans = 2 << 20

// flat is the dump inside a flattened file: an index of its records.
type flat struct {
	r     io.ReaderAt
	size  int64  // of the dump inside
	whole bool   // the records end with an end mark
	spans []span // sorted by off, without overlap
}

// span is a part of the dump inside. It is in one record of the flattened file, or in
// several of one size that follow each other.
type span struct {
	off, n int64 // in the dump
	at     int64 // of the byte at off in the flattened file
	size   int64 // of each record
	in     int64 // of the byte at off in its record
}

// ScatteredError reports a flattened file with more records than are indexed.
type ScatteredError struct{}

func (*ScatteredError) Error() string { return "the flattened dump has too many parts to be indexed" }

// Advice returns the command that makes a file which needs no index.
func (*ScatteredError) Advice() string { return "Run makedumpfile -R NEW <DUMP and open NEW." }

// newFlat reads the records. A file that was cut has those before the cut.
func newFlat(r io.ReaderAt, size int64) (*flat, error) {
	f := &flat{r: r}
	for at := int64(dumpfile.FlatHeaderSize); at < size; {
		rec, err := dumpfile.ReadFlatRecord(r, at)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		if err != nil || rec.End {
			f.whole = err == nil
			break
		}
		at += dumpfile.FlatRecordSize
		n := min(rec.Size, size-at)
		f.add(span{off: rec.Off, n: n, at: at, size: rec.Size})
		if len(f.spans) > maxSpans {
			return nil, &ScatteredError{}
		}
		f.size = max(f.size, rec.Off+n)
		at += rec.Size
	}
	if len(f.spans) == 0 {
		return nil, errors.New("no dump inside the flattened file")
	}
	var err error
	f.spans, err = lastWins(f.spans)
	return f, err
}

// add adds a record, to the last span if it continues that.
func (f *flat) add(s span) {
	if s.n <= 0 {
		return
	}
	if len(f.spans) > 0 {
		l := &f.spans[len(f.spans)-1]
		if l.off+l.n == s.off && l.n%l.size == 0 && s.size == l.size && l.place(l.n) == s.at {
			l.n += s.n
			return
		}
	}
	f.spans = append(f.spans, s)
}

// place returns where the byte i of the span is in the flattened file.
func (s *span) place(i int64) int64 {
	return s.at + i + (s.in+i)/s.size*dumpfile.FlatRecordSize
}

// from returns the span without its first i bytes.
func (s span) from(i int64) span {
	return span{s.off + i, s.n - i, s.place(i), s.size, (s.in + i) % s.size}
}

// lastWins sorts spans and cuts off the bytes that a later span replaces.
func lastWins(spans []span) ([]span, error) {
	order := make([]int, len(spans))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(spans[a].off, spans[b].off) })
	// A sweep over the dump: open has the spans that begin before off, the last first.
	var out []span
	open := &latest{}
	emit := func(off, end int64) {
		for off < end && open.Len() > 0 {
			s := spans[open.order[0]]
			if s.off+s.n <= off {
				heap.Pop(open)
				continue
			}
			part := s.from(off - s.off)
			part.n = min(end, s.off+s.n) - off
			out = appendSpan(out, part)
			off += part.n
		}
	}
	for k, i := range order {
		if k > 0 {
			emit(spans[order[k-1]].off, spans[i].off)
		}
		heap.Push(open, i)
		if len(out) > 2*maxSpans {
			return nil, &ScatteredError{}
		}
	}
	emit(spans[order[len(order)-1]].off, math.MaxInt64)
	return out, nil
}

// appendSpan appends a span, to the last one if it continues that.
func appendSpan(out []span, s span) []span {
	if len(out) > 0 {
		l := &out[len(out)-1]
		if l.off+l.n == s.off && l.size == s.size && l.place(l.n) == s.at && (l.in+l.n)%l.size == s.in {
			l.n += s.n
			return out
		}
	}
	return append(out, s)
}

// latest is a heap of indexes with the highest first.
type latest struct{ order []int }

func (l *latest) Len() int           { return len(l.order) }
func (l *latest) Less(i, j int) bool { return l.order[i] > l.order[j] }
func (l *latest) Swap(i, j int)      { l.order[i], l.order[j] = l.order[j], l.order[i] }
func (l *latest) Push(x any)         { l.order = append(l.order, x.(int)) }
func (l *latest) Pop() any {
	x := l.order[len(l.order)-1]
	l.order = l.order[:len(l.order)-1]
	return x
}

// ReadAt implements io.ReaderAt. Bytes that no record has are zeros, or the end if the
// file was cut and the record may have been lost.
func (f *flat) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at offset %d", off)
	}
	n := 0
	i, _ := slices.BinarySearchFunc(f.spans, off, func(s span, off int64) int {
		if s.off+s.n <= off {
			return -1
		}
		return 1
	})
	for n < len(p) && off < f.size {
		if i == len(f.spans) {
			break
		}
		s := &f.spans[i]
		if off < s.off && !f.whole {
			break
		}
		if off < s.off { // a hole
			hole := min(int64(len(p)-n), s.off-off)
			clear(p[n : n+int(hole)])
			n, off = n+int(hole), off+hole
			continue
		}
		in := off - s.off
		size := min(int64(len(p)-n), s.n-in, s.size-(s.in+in)%s.size)
		if err := dumpfile.ReadFull(f.r, p[n:n+int(size)], s.place(in)); err != nil {
			return n, err
		}
		n, off = n+int(size), off+size
		if off == s.off+s.n {
			i++
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
