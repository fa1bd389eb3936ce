package dump

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"ukdump/internal/dumpfile"
)

// A bitmap of 2 TiB of memory has 64 MiB, so it is read in chunks.
const (
	chunkSize   = 16 << 10 // bytes of a bitmap: 512 MiB of memory in pages of 4 KiB
	chunkBits   = chunkSize * 8
	keptChunks  = 32
	countedSize = 1 << 20 // bytes that are read at once to count
)

// bitmap is a bitmap in a file with the number of bits set before each chunk.
type bitmap struct {
	r    io.ReaderAt
	off  int64  // in the file
	bits uint64 // bits that it has

	// ranks[i] is the number of bits set between from and chunk i+first. It grows as far
	// as it is needed.
	from, first uint64
	ranks       []uint64

	kept [keptChunks]chunk
	buf  []byte // of countedSize
}

type chunk struct {
	i    uint64
	data []byte // empty if the slot is not used
}

// newBitmap returns the bitmap at an offset. Ranks count from the bit from on.
func newBitmap(r io.ReaderAt, off int64, bits, from uint64) *bitmap {
	return &bitmap{r: r, off: off, bits: bits, from: from, first: from / chunkBits}
}

// chunk returns the bytes of chunk i. They are shorter at the end of the bitmap, and valid
// until the next call.
func (b *bitmap) chunk(i uint64) ([]byte, error) {
	c := &b.kept[i%keptChunks]
	if c.i == i && len(c.data) > 0 {
		return c.data, nil
	}
	n := min(chunkSize, (b.bits+7)/8-i*chunkSize)
	if cap(c.data) < chunkSize {
		c.data = make([]byte, chunkSize)
	}
	c.i, c.data = i, c.data[:n]
	if err := dumpfile.ReadFull(b.r, c.data, b.off+int64(i*chunkSize)); err != nil {
		c.data = c.data[:0]
		return nil, fmt.Errorf("read bitmap: %w", err)
	}
	return c.data, nil
}

// has reports whether bit n is set.
func (b *bitmap) has(n uint64) (bool, error) {
	if n >= b.bits {
		return false, nil
	}
	c, err := b.chunk(n / chunkBits)
	if err != nil {
		return false, err
	}
	n %= chunkBits
	return c[n/8]>>(n%8)&1 != 0, nil
}

// rank returns the number of bits set from the bit from up to n, which must not be less.
func (b *bitmap) rank(n uint64) (uint64, error) {
	i := n / chunkBits
	if err := b.count(i - b.first); err != nil {
		return 0, err
	}
	c, err := b.chunk(i)
	if err != nil {
		return 0, err
	}
	start := uint64(0)
	if i == b.first {
		start = b.from % chunkBits
	}
	return b.ranks[i-b.first] + countRange(c, start, n%chunkBits), nil
}

// count extends ranks until it has the index i.
func (b *bitmap) count(i uint64) error {
	if b.ranks == nil {
		b.ranks = []uint64{0}
	}
	for uint64(len(b.ranks)) <= i {
		if b.buf == nil {
			b.buf = make([]byte, countedSize)
		}
		at := (b.first + uint64(len(b.ranks)) - 1) * chunkSize
		buf := b.buf[:min(countedSize, (b.bits+7)/8-at)]
		if err := dumpfile.ReadFull(b.r, buf, b.off+int64(at)); err != nil {
			return fmt.Errorf("read bitmap: %w", err)
		}
		for len(buf) >= chunkSize {
			start := uint64(0)
			if len(b.ranks) == 1 {
				start = b.from % chunkBits
			}
			n := countRange(buf[:chunkSize], start, chunkBits)
			b.ranks = append(b.ranks, b.ranks[len(b.ranks)-1]+n)
			buf = buf[chunkSize:]
		}
		if len(buf) > 0 {
			break // the last chunk needs no rank behind it
		}
	}
	if uint64(len(b.ranks)) <= i {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// next returns the first bit at or behind n that is set.
func (b *bitmap) next(n uint64) (uint64, bool, error) {
	for n < b.bits {
		c, err := b.chunk(n / chunkBits)
		if err != nil {
			return 0, false, err
		}
		base := n / chunkBits * chunkBits
		for at := n % chunkBits; at < uint64(len(c))*8; at = (at/8 + 1) * 8 {
			if set := c[at/8] >> (at % 8); set != 0 {
				n = base + at + uint64(bits.TrailingZeros8(set))
				return n, n < b.bits, nil
			}
		}
		n = base + chunkBits
	}
	return 0, false, nil
}

// countRange counts the bits set in c from start up to end.
func countRange(c []byte, start, end uint64) uint64 {
	if start >= end {
		return 0
	}
	n := countTo(c, end)
	return n - countTo(c, start)
}

// countTo counts the bits set in c before end.
func countTo(c []byte, end uint64) uint64 {
	n := 0
	whole := c[:end/8]
	for len(whole) >= 8 {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(whole))
		whole = whole[8:]
	}
	for _, b := range whole {
		n += bits.OnesCount8(b)
	}
	if end%8 != 0 {
		n += bits.OnesCount8(c[end/8] & (1<<(end%8) - 1))
	}
	return uint64(n)
}
