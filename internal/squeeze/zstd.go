package squeeze

import (
	"math/bits"
	"unsafe"
)

const (
	zstdBits  = 12
	zstdTail  = 16  // bytes at the end of a page that are not searched
	zstdLeast = 256 // the header is for at least so many bytes
	zstdHead  = 7   // bytes of the frame's header
)

// zstdPacker compresses pages with zstd. A page is a frame of one segment and one block,
// RFC 8878.
type zstdPacker struct {
	table  [1 << zstdBits]uint16 // offset of the last five bytes with a hash
	seqs   []sequence            // room for those of the largest page
	lits   []byte                // the same, and 16 bytes
	coder  huffman               // of the literals
	tables [3]fseTable           // of the alphabets, for one page
}

// sequence is a match, and the literals before it.
type sequence struct {
	run    uint16 // literals
	match  uint16 // length less 3
	offset uint16 // distance and 3, or 1: that of the last match, or of the one before if run is 0
	codes  [3]uint8
}

func newZstd() *zstdPacker {
	return &zstdPacker{seqs: make([]sequence, maxPage/minMatch), lits: make([]byte, maxPage+16)}
}

// pack implements packer for pages of zstdLeast bytes to 64 KiB.
func (z *zstdPacker) pack(dst, src []byte) []byte {
	seqs, lits := z.search(src)
	n := z.frame(dst, seqs, lits, len(src))
	if n >= len(src) {
		return src
	}
	return dst[:n]
}

// frame writes the frame of a page of some size, and returns its size: that of the page or
// more if it gave up.
func (z *zstdPacker) frame(dst []byte, seqs []sequence, lits []byte, size int) int {
	le.PutUint32(dst, 0xfd2fb528)
	dst[4] = 1<<5 | 1<<6 // one segment, of which the size follows in two bytes
	le.PutUint16(dst[5:], uint16(size-zstdLeast))
	const start = zstdHead + 3
	out := z.coder.pack(dst, start, lits)
	if out < size {
		out = z.writeSequences(dst, out, seqs, size)
	}
	block := 1 | 2<<1 | (out-start)<<3 // the last, compressed
	dst[7], dst[8], dst[9] = byte(block), byte(block>>8), byte(block>>16)
	return out
}

// search splits a page into matches and literals.
func (z *zstdPacker) search(src []byte) ([]sequence, []byte) {
	clear(z.table[:])
	page := unsafe.Pointer(unsafe.SliceData(src))
	lits := unsafe.Pointer(unsafe.SliceData(z.lits))
	end := len(src) - zstdTail
	count, packed := 0, 0
	rep, before := 1, 4 // the last two distances that differ; the format begins with these
	lit, pos := 0, 1
	for pos < end {
		// Find the next bytes that are as in another place before them, best with the
		// distance of the last match. The longer the literals, the larger are the steps.
		next := load64(page, pos)
		slot := &z.table[hash5(next)]
		from := int(*slot)
		*slot = uint16(pos)
		var size, offset int
		switch {
		case load32(page, pos+1) == load32(page, pos+1-rep):
			pos++
			size = minMatch + same(src, pos+minMatch, pos+minMatch-rep)
			offset = 1
		case load32(page, from) == uint32(next):
			rep, before = pos-from, rep
			offset = rep + 3
			size = minMatch
			if x := load64(page, pos+minMatch) ^ load64(page, from+minMatch); x != 0 {
				size += bits.TrailingZeros64(x) >> 3
			} else {
				size += 8 + same(src, pos+minMatch+8, from+minMatch+8)
			}
			for pos > lit && from > 0 && src[pos-1] == src[from-1] { // a step went past it
				pos, from, size = pos-1, from-1, size+1
			}
		default:
			pos += 1 + (pos-lit)>>7
			continue
		}
		run := pos - lit
		if run <= 16 {
			*(*[16]byte)(unsafe.Add(lits, packed)) = *(*[16]byte)(unsafe.Add(page, lit))
		} else {
			copy(z.lits[packed:], src[lit:pos])
		}
		packed += run
		z.seqs[count] = sequence{run: uint16(run), match: uint16(size - 3), offset: uint16(offset)}
		count++
		start := pos
		pos += size
		lit = pos
		if pos >= end {
			break
		}
		// What follows is often like the match.
		z.table[hash5(load64(page, start+2))] = uint16(start + 2)
		z.table[hash5(load64(page, pos-2))] = uint16(pos - 2)
		for pos < end && load32(page, pos) == load32(page, pos-before) {
			rep, before = before, rep
			z.table[hash5(load64(page, pos))] = uint16(pos)
			size = minMatch + same(src, pos+minMatch, pos+minMatch-rep)
			z.seqs[count] = sequence{match: uint16(size - 3), offset: 1}
			count++
			pos += size
			lit = pos
		}
	}
	packed += copy(z.lits[packed:], src[lit:])
	return z.seqs[:count], z.lits[:packed]
}

// hash5 returns the slot of the lowest five bytes.
func hash5(x uint64) uint64 { return x << 24 * 889523592379 >> (64 - zstdBits) }

// The alphabets, in the order of their tables in a block.
const (
	runAlphabet = iota
	offsetAlphabet
	matchAlphabet
)

// alphabet is one of the codes of sequences, RFC 8878, section 3.1.1.3.2.1.1. A code stands
// for a range of values.
type alphabet struct {
	usual fseTable // the table that decoders have
	most  int      // log of the largest table
	// Not for offsets, whose code is the log of the value:
	extra     [64]uint8 // bits that say which value of the range it is
	base      [64]uint16
	codes     [128]uint8 // of the smallest values
	codeShift uint8      // code of larger ones, less the log of the value
}

func newAlphabet(most int, log uint, usual []int16, shift uint8, extra ...uint8) alphabet {
	a := alphabet{most: most, codeShift: shift}
	a.usual.build(log, usual)
	next := 0
	for c := range usual {
		if first := len(usual) - len(extra); c >= first {
			a.extra[c] = extra[c-first]
		}
		a.base[c] = uint16(next)
		end := next + 1<<a.extra[c]
		for ; next < min(end, len(a.codes)); next++ {
			a.codes[next] = uint8(c)
		}
		next = end
	}
	return a
}

// code returns the code of a value.
func (a *alphabet) code(v uint16) uint8 {
	if v < uint16(len(a.codes)) {
		return a.codes[v&127]
	}
	return uint8(bits.Len16(v)) - 1 + a.codeShift
}

// RFC 8878, section 3.1.1.3.2.2, has the distributions.
var alphabets = [...]alphabet{
	runAlphabet: newAlphabet(9, 6, []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2,
		2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}, 19,
		1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
	offsetAlphabet: newAlphabet(8, 5, []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}, 0),
	matchAlphabet: newAlphabet(9, 6, []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		-1, -1, -1, -1, -1, -1, -1}, 36,
		1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
}

// writeSequences writes the section of the sequences and returns the end, which is limit
// or more if it gave up.
func (z *zstdPacker) writeSequences(dst []byte, out int, seqs []sequence, limit int) int {
	n := len(seqs)
	if n < 128 {
		dst[out] = byte(n)
		out++
	} else {
		dst[out], dst[out+1] = byte(n>>8+128), byte(n)
		out += 2
	}
	if n == 0 {
		return out
	}
	var counts [3][64]uint16
	for i := range seqs {
		s := &seqs[i]
		r, o, m := alphabets[runAlphabet].code(s.run), uint8(bits.Len16(s.offset)-1), alphabets[matchAlphabet].code(s.match)
		s.codes = [3]uint8{r, o, m}
		counts[runAlphabet][r&63]++
		counts[offsetAlphabet][o&63]++
		counts[matchAlphabet][m&63]++
	}
	modes := out
	dst[modes] = 0
	out++
	last := &seqs[n-1]
	var tables [3]*fseTable
	for a := range alphabets {
		var mode byte
		tables[a], mode, out = z.chooseTable(dst, out, a, &counts[a], n, last.codes[a])
		dst[modes] |= mode << (6 - 2*a)
	}

	run, offset, match := tables[runAlphabet], tables[offsetAlphabet], tables[matchAlphabet]
	r, o, m := run.start(last.codes[runAlphabet]), offset.start(last.codes[offsetAlphabet]), match.start(last.codes[matchAlphabet])
	b := last.extra(bitstream{out: out}).flush(dst)
	for i := n - 2; i >= 0; i-- {
		// 7 bits from before, 26 of the states and 15 of the offset leave room for short runs
		// and matches, with 4 and 5 bits. For longer ones, with 15 each, flush first.
		s := &seqs[i]
		b, o = offset.encode(b, o, s.codes[offsetAlphabet])
		b, m = match.encode(b, m, s.codes[matchAlphabet])
		b, r = run.encode(b, r, s.codes[runAlphabet])
		if s.codes[runAlphabet] > 24 || s.codes[matchAlphabet] > 42 {
			b = b.flush(dst)
		}
		b = s.extra(b).flush(dst)
		if b.out >= limit {
			return limit
		}
	}
	b = run.end(offset.end(match.end(b, m), o), r)
	return b.end(dst)
}

// extra adds the bits that the codes leave open.
func (s *sequence) extra(b bitstream) bitstream {
	c := s.codes[runAlphabet] & 63
	n := alphabets[runAlphabet].extra[c]
	b = b.add(uint32(s.run-alphabets[runAlphabet].base[c]), uint(n))
	c = s.codes[matchAlphabet] & 63
	n = alphabets[matchAlphabet].extra[c]
	b = b.add(uint32(s.match-alphabets[matchAlphabet].base[c]), uint(n))
	c = s.codes[offsetAlphabet] & 15
	return b.add(uint32(s.offset)&(1<<c-1), uint(c))
}

// chooseTable returns the table for an alphabet and its mode, and writes what decoders
// must know of it. n is the sum of counts, and last the code of the last sequence.
func (z *zstdPacker) chooseTable(dst []byte, out, a int, counts *[64]uint16, n int, last uint8) (*fseTable, byte, int) {
	most, high := uint16(0), 0
	for c, x := range counts {
		most = max(most, x)
		if x > 0 {
			high = c
		}
	}
	t, al := &z.tables[a], &alphabets[a]
	switch {
	case int(most) == n && n > 2:
		t.single(last)
		dst[out] = last
		return t, 1, out + 1
	case n < 9<<al.usual.log>>3 || int(most) < n>>(al.usual.log-1):
		// Few sequences do not pay for a table, nor do counts that are alike.
		return &al.usual, 0, out
	}
	if counts[last] > 1 { // the last one is free: it is the first state
		counts[last]--
		n--
	}
	log := fseLog(al.most, n, high)
	var norm [64]int16
	normalize(norm[:high+1], counts[:high+1], n, log)
	t.build(log, norm[:high+1])
	return t, 2, writeNorm(dst, out, norm[:high+1], log)
}
