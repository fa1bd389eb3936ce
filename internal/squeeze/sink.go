package squeeze

import (
	"errors"
	"fmt"
	"math"
)

// sink writes batches in their order and makes the descriptors.
type sink struct {
	out      Output
	flag     uint32
	progress progress

	first   result // of the first page
	results queue[result]
	runs    queue[run]
	has     bool // first is known

	start int64 // offset of the first page, in the output as in the stream
	data  int64 // offset of the next data in the output; 0 before the first
	tail  int64 // of the erase information in the output; 0 if none has come
	page  int64 // of the page of the next descriptor that is not shared
	descs []byte
	desc  int64 // offset of descs
}

// descsSize is the size of the buffer for descriptors: as many as fit into 64 KiB.
const descsSize = (64 << 10) / descSize * descSize

// write writes a batch. A page whose descriptor is to come waits as a result, a
// descriptor whose page is to come waits as a run.
func (s *sink) write(b *batch) error {
	l := &b.layout
	switch b.kind {
	case headBatch:
		if err := s.moveErase(b); err != nil {
			return err
		}
		return s.writeAt(b.buf[:b.n], b.off)
	case tailBatch:
		if s.tail == 0 {
			s.tail = s.data
		}
		return s.append(b.buf[:b.n])
	case endBatch:
		if err := s.flush(); err != nil {
			return err
		}
		s.progress.print(s.desc-l.desc, l.data-l.desc, true)
		return s.out.Finish()
	}
	if s.data == 0 {
		s.start, s.data, s.page, s.desc = l.data, l.data, l.data, l.desc
		s.descs = make([]byte, 0, descsSize)
	}
	if b.packed > 0 {
		if err := s.append(b.buf[:b.packed]); err != nil {
			return err
		}
	}
	if err := s.describe(b); err != nil {
		return err
	}
	s.progress.print(s.desc+int64(len(s.descs))-l.desc, l.data-l.desc, false)
	return nil
}

func (s *sink) writeAt(p []byte, off int64) error {
	_, err := s.out.WriteAt(p, off)
	return err
}

// append writes behind the data.
func (s *sink) append(p []byte) error {
	err := s.writeAt(p, s.data)
	s.data += int64(len(p))
	return err
}

// moveErase corrects the offset of the erase information in the sub header: it follows the
// data.
func (s *sink) moveErase(b *batch) error {
	sub, err := within(b.buf[:b.n], b.off, b.layout.pageSize, subSize)
	if sub == nil || err != nil {
		return err
	}
	off, size := le.Uint64(sub[eraseAt:]), le.Uint64(sub[eraseAt+8:])
	l := &b.layout
	switch {
	case size == 0 || off < uint64(l.desc):
		return nil
	case l.end == 0 || s.tail == 0 || off < uint64(l.end) || off > math.MaxInt64:
		return fmt.Errorf("erase information at offset %d, not behind the data", off)
	}
	le.PutUint64(sub[eraseAt:], uint64(s.tail+int64(off)-l.end))
	return nil
}

// describe writes the descriptors of a batch, and those that waited for it.
func (s *sink) describe(b *batch) error {
	results := b.results
	if !s.has && len(results) > 0 {
		s.first, s.has, results = results[0], true, results[1:]
		s.page += int64(s.first.size())
	}
	if err := s.results.push(results); err != nil {
		return err
	}
	if err := s.runs.push(b.runs); err != nil {
		return err
	}
	for s.has && s.runs.len() > 0 {
		r := s.runs.front()
		n := r.n
		if !r.shared {
			n = min(n, int64(s.results.len()))
		}
		if n == 0 {
			break
		}
		if err := s.describePages(r.shared, n); err != nil {
			return err
		}
		if r.n -= n; r.n == 0 {
			s.runs.pop()
		}
	}
	return nil
}

// describePages writes n descriptors: of the first page, or each of the next page.
func (s *sink) describePages(shared bool, n int64) error {
	for range n {
		off, res := s.page, s.first
		if shared {
			off = s.start
		} else {
			res = *s.results.front()
			s.results.pop()
			s.page += int64(res.size())
		}
		flags := s.flag
		if res&stored != 0 {
			flags = 0
		}
		s.descs = le.AppendUint64(s.descs, uint64(off))
		s.descs = le.AppendUint32(s.descs, uint32(res.size()))
		s.descs = le.AppendUint32(s.descs, flags)
		s.descs = le.AppendUint64(s.descs, 0)
		if len(s.descs) == descsSize {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the descriptors in the buffer.
func (s *sink) flush() error {
	if len(s.descs) == 0 {
		return nil
	}
	err := s.writeAt(s.descs, s.desc)
	s.desc += int64(len(s.descs))
	s.descs = s.descs[:0]
	return err
}

// queue is a queue with a bound. The bounds of stream keep it short.
type queue[T any] struct {
	items []T
	head  int
}

const maxQueue = 4*maxAhead + 2*maxRuns

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) front() *T { return &q.items[q.head] }

func (q *queue[T]) pop() { q.head++ }

func (q *queue[T]) push(items []T) error {
	if q.len()+len(items) > maxQueue {
		return errors.New("too many pages wait for their descriptors")
	}
	if q.head > 0 {
		q.items, q.head = append(q.items[:0], q.items[q.head:]...), 0
	}
	q.items = append(q.items, items...)
	return nil
}
