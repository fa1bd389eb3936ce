package squeeze

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// LZO1X as Documentation/staging/lzo.rst describes it. Matches have at least minMatch
// bytes, so the instructions for two and three bytes are never written.
const (
	minMatch = 4
	lzoTail  = 20 // bytes at the end of a page that are not searched

	m2MaxLen, m2MaxDist = 8, 1 << 11
	m3MaxLen, m3MaxDist = 33, 1 << 14
	m4MaxLen, m4MaxDist = 9, 3<<14 - 1

	// In pages of 4 KiB a table of 16 KiB finds 0.1 % more, and takes a tenth longer.
	lzoBits = 12
)

// lzoPacker compresses pages.
type lzoPacker struct {
	table [1 << lzoBits]uint16 // offset of the last four bytes with a hash
}

func newLzo() *lzoPacker { return &lzoPacker{} }

// pack implements packer for pages of at least lzoTail bytes and at most 64 KiB.
func (z *lzoPacker) pack(dst, src []byte) []byte { return dst[:z.compress(dst, src)] }

// compress returns the size, which is len(src) or more if the page does not shrink; dst is
// then not valid.
func (z *lzoPacker) compress(dst, src []byte) int {
	clear(z.table[:])
	page := unsafe.Pointer(unsafe.SliceData(src))
	n := len(src)
	end := n - lzoTail
	out, lit, pos := 0, 0, minMatch
	low := minMatch // the first run has no match before it: at least 4 bytes
	for pos < end {
		// Find the next four bytes that are as in another place before them. The longer the
		// literals, the larger are the steps.
		four := load32(page, pos)
		slot := &z.table[hash(four)]
		from := int(*slot)
		*slot = uint16(pos)
		if load32(page, from) != four || pos-from > m4MaxDist {
			pos += 1 + (pos-lit)>>4
			continue
		}
		for pos > low && from > 0 && src[pos-1] == src[from-1] { // a step went past it
			pos, from = pos-1, from-1
		}
		run := pos - lit
		switch {
		case run == 0:
		case run <= 3:
			dst[out-2] |= byte(run)
			le.PutUint32(dst[out:], load32(page, lit))
			out += run
		case out+run >= n:
			return n
		case run <= 16:
			dst[out] = byte(run - 3)
			to := dst[out+1 : out+17]
			le.PutUint64(to, load64(page, lit))
			le.PutUint64(to[8:], load64(page, lit+8))
			out += 1 + run
		default:
			out = lengthOf(dst, out, 0, run-3, 15)
			out += copy(dst[out:], src[lit:pos])
		}
		dist := pos - from
		// Most matches end within the next eight bytes: no call for those.
		size := minMatch
		if x := load64(page, pos+minMatch) ^ load64(page, from+minMatch); x != 0 {
			size += bits.TrailingZeros64(x) >> 3
		} else {
			size += 8 + same(src, pos+minMatch+8, from+minMatch+8)
		}
		lit = pos + size
		pos, low = lit, lit
		if last := lit - 2; last < end { // what follows is often like it
			z.table[hash(load32(page, last))] = uint16(last)
		}
		if size <= m2MaxLen && dist <= m2MaxDist {
			dist--
			le.PutUint16(dst[out:], uint16((size-1)<<5|dist&7<<2|dist>>3<<8))
			out += 2
			continue
		}
		out = match(dst, out, size, dist)
	}
	return finish(dst, src, out, lit)
}

func hash(four uint32) uint32 { return four * 2654435761 >> (32 - lzoBits) }

// same returns how many bytes from a and from b on are equal; a is behind b.
func same(p []byte, a, b int) int {
	n := 0
	page := unsafe.Pointer(unsafe.SliceData(p))
	for a+n+8 <= len(p) {
		if x := load64(page, a+n) ^ load64(page, b+n); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for a+n < len(p) && p[a+n] == p[b+n] {
		n++
	}
	return n
}

// load32 and load64 read without a check of bounds, which costs a quarter of the speed. All
// places that compress and search read lie before the tail of the page, or are checked by same.
func load32(p unsafe.Pointer, i int) uint32 { return *(*uint32)(unsafe.Add(p, i)) }

func load64(p unsafe.Pointer, i int) uint64 { return *(*uint64)(unsafe.Add(p, i)) }

// lengthOf writes an opcode with a length, or with 0 and the length above most behind it.
func lengthOf(dst []byte, out int, op byte, n, most int) int {
	if n <= most {
		dst[out] = op | byte(n)
		return out + 1
	}
	dst[out] = op
	out++
	for n -= most; n > 255; n -= 255 {
		dst[out] = 0
		out++
	}
	dst[out] = byte(n)
	return out + 1
}

// match writes a copy of n bytes from a distance. The low two bits of the last byte but
// one are for the literals that follow.
func match(dst []byte, out, n, dist int) int {
	switch {
	case n <= m2MaxLen && dist <= m2MaxDist:
		dist--
		b := dst[out : out+2]
		b[0], b[1] = byte((n-1)<<5|dist&7<<2), byte(dist>>3)
		return out + 2
	case dist <= m3MaxDist:
		out = lengthOf(dst, out, 0x20, n-2, m3MaxLen-2)
		dist--
	default:
		dist -= 1 << 14
		out = lengthOf(dst, out, byte(0x10|dist>>14<<3), n-2, m4MaxLen-2)
	}
	binary.LittleEndian.PutUint16(dst[out:], uint16(dist<<2))
	return out + 2
}

// finish writes the literals at the end and the end mark.
func finish(dst, src []byte, out, lit int) int {
	n := len(src) - lit
	if out+n+3 >= len(src) {
		return len(src)
	}
	switch {
	case n == 0:
	case n <= 3:
		dst[out-2] |= byte(n)
	default:
		out = lengthOf(dst, out, 0, n-3, 15)
	}
	out += copy(dst[out:], src[lit:])
	return out + copy(dst[out:], "\x11\x00\x00")
}
