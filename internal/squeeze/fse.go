package squeeze

import "math/bits"

// Finite State Entropy as RFC 8878 describes it in section 4.1. Tables are built as its
// decoders build theirs, so the order of everything here is part of the format.

const (
	fseMinLog = 5
	fseMaxLog = 9 // of match and literals lengths
)

// fseTable encodes the symbols of one alphabet. A state is a number from 1<<log on.
type fseTable struct {
	log     uint
	states  [1 << fseMaxLog]uint16 // the states of each symbol, those of a symbol together
	symbols [64]fseSymbol
}

// fseSymbol says how a symbol changes the state: n = (state+bits)>>16 low bits of it are
// written, and the next state is states[state>>n+first].
type fseSymbol struct {
	bits  uint32
	first int32
}

// build makes the table for a distribution of 1<<log states. -1 is a symbol so rare that
// its only state is one of the last.
func (t *fseTable) build(log uint, norm []int16) {
	t.log = log
	size := 1 << log
	var owner [1 << fseMaxLog]uint8 // the symbols of the states
	var next [64]uint16
	high, total := size-1, 0
	for s, n := range norm {
		next[s] = uint16(total)
		switch {
		case n == 0:
			continue
		case n == -1:
			owner[high&(1<<fseMaxLog-1)] = uint8(s)
			high--
			n = 1
		}
		most := log - uint(bits.Len16(uint16(n-1)))
		if n > 1 {
			most++
		}
		t.symbols[s&63] = fseSymbol{uint32(most<<16) - uint32(n)<<most, int32(total - int(n))}
		total += int(n)
	}
	step := size>>1 + size>>3 + 3
	at := 0
	for s, n := range norm {
		for range n {
			owner[at] = uint8(s)
			for at = (at + step) & (size - 1); at > high; {
				at = (at + step) & (size - 1)
			}
		}
	}
	for i, s := range owner[:size] {
		t.states[next[s&63]] = uint16(size + i)
		next[s&63]++
	}
}

// single makes the table of an alphabet with one symbol, which takes no bits. Its only
// state is 0.
func (t *fseTable) single(s uint8) {
	t.log = 0
	t.states[0] = 0
	t.symbols[s&63] = fseSymbol{}
}

// start returns the state for the last symbol, which is encoded first.
func (t *fseTable) start(s uint8) uint32 {
	sym := t.symbols[s&63]
	n := (sym.bits + 1<<15) >> 16
	return uint32(t.states[int32((n<<16-sym.bits)>>n)+sym.first])
}

// encode adds the bits of a symbol and returns the next state.
func (t *fseTable) encode(b bitstream, state uint32, s uint8) (bitstream, uint32) {
	sym := &t.symbols[s&63]
	n := (state + sym.bits) >> 16 & 31
	next := t.states[(int32(state>>n)+sym.first)&(1<<fseMaxLog-1)]
	return b.add(state&(1<<n-1), uint(n)), uint32(next)
}

// end adds the state that the decoder starts with.
func (t *fseTable) end(b bitstream, state uint32) bitstream {
	return b.add(state&(1<<t.log-1), t.log)
}

// fseLog returns the log of a table for n symbols, of which high is the highest: at most
// most, small if there are few symbols, and large enough for one state of each.
func fseLog(most, n, high int) uint {
	least := min(bits.Len(uint(n)), bits.Len(uint(high))+1)
	return uint(max(fseMinLog, least, min(most, bits.Len(uint(n-1))-3)))
}

// normalize scales counts, of which the sum is n, to a distribution of 1<<log states.
func normalize(norm []int16, counts []uint16, n int, log uint) {
	left := 1 << log
	scale := uint64(left) << 32 / uint64(n)
	largest := 0
	for s, c := range counts {
		v := int((uint64(c)*scale + 1<<31) >> 32)
		if v == 0 && c > 0 {
			v = 1
		}
		norm[s] = int16(v)
		left -= v
		if c > counts[largest] {
			largest = s
		}
	}
	if -left < int(norm[largest])/2 {
		norm[largest] += int16(left)
		return
	}
	for ; left < 0; left++ { // there are many rare symbols
		largest = 0
		for s, v := range norm[:len(counts)] {
			if v > norm[largest] {
				largest = s
			}
		}
		norm[largest]--
	}
}

// writeNorm writes a distribution without -1, and returns the end.
func writeNorm(dst []byte, out int, norm []int16, log uint) int {
	b := bitstream{out: out}
	b = b.add(uint32(log-fseMinLog), 4)
	left, threshold, width := 1<<log+1, 1<<log, log+1
	zero := false
	for s := 0; left > 1; s++ {
		if zero { // how many follow it
			from := s
			for norm[s] == 0 {
				s++
			}
			for ; s >= from+3; from += 3 {
				b = b.add(3, 2).flush(dst)
			}
			b = b.add(uint32(s-from), 2)
		}
		v := int(norm[s]) + 1
		zero = v == 1
		small := 2*threshold - 1 - left // values that take a bit less
		left -= v - 1
		n := width
		switch {
		case v < small:
			n--
		case v >= threshold:
			v += small
		}
		b = b.add(uint32(v), n).flush(dst)
		for left < threshold {
			width--
			threshold >>= 1
		}
	}
	return b.out + int(b.n+7)/8
}

// bitstream collects bits from the lowest on. It is a value, because a pointer would keep
// it out of registers.
type bitstream struct {
	bits uint64
	n    uint // of bits
	out  int  // bytes written before them
}

// add adds the n low bits of v; the others are 0. The caller flushes before there are 64.
func (b bitstream) add(v uint32, n uint) bitstream {
	return bitstream{b.bits | uint64(v)<<(b.n&63), b.n + n, b.out}
}

// flush writes whole bytes, so less than 8 bits are left. It writes 8 bytes; the next flush
// overwrites those after the whole ones.
func (b bitstream) flush(dst []byte) bitstream {
	le.PutUint64(dst[b.out:], b.bits)
	return bitstream{b.bits >> (b.n &^ 7 & 63), b.n & 7, b.out + int(b.n>>3)}
}

// end writes the end mark, at which decoders start, and returns the end.
func (b bitstream) end(dst []byte) int {
	b = b.flush(dst).add(1, 1).flush(dst)
	return b.out + int(b.n+7)/8
}
