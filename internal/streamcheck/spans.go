package streamcheck

import "errors"

// maxSpans bounds the parts of a dump that grow at the same time. makedumpfile(8) writes
// five: headers, two bitmaps, descriptors and pages.
const maxSpans = 256

var errScattered = errors.New("the dump is written in too many parts that do not touch")

// spans is a set of bytes: sorted ranges that do not touch.
type spans []span

type span struct{ start, end int64 }

// add adds a range. It fails if the set would need too many.
func (s *spans) add(start, end int64) error {
	l := *s
	i := len(l)
	for i > 0 && l[i-1].end >= start {
		i--
	}
	j := i // l[i:j] touch the new range
	for j < len(l) && l[j].start <= end {
		start, end = min(start, l[j].start), max(end, l[j].end)
		j++
	}
	if i == j {
		if len(l) == maxSpans {
			return errScattered
		}
		l = append(l, span{})
		copy(l[i+1:], l[i:])
		l[i] = span{start, end}
	} else {
		l[i] = span{start, end}
		l = append(l[:i+1], l[j:]...)
	}
	*s = l
	return nil
}

// overlaps reports whether the set has a byte of a range.
func (s spans) overlaps(start, end int64) bool {
	for _, x := range s {
		if x.start < end && start < x.end {
			return true
		}
	}
	return false
}

// from returns the end of the bytes that follow start without a gap.
func (s spans) from(start int64) int64 {
	for _, x := range s {
		if x.start <= start && start < x.end {
			return x.end
		}
	}
	return start
}
