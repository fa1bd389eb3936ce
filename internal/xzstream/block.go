package xzstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

var errBlockHeader = errors.New("bad xz block header")

// block is the packed data of a block.
type block struct {
	lzma     *lzma.Reader2
	header   int64 // bytes of the block header
	start    int64 // position of the packed data
	unpacked int64 // bytes read

	// Sizes as the header states them; -1 if it does not.
	wantPacked, wantUnpacked int64
}

// newBlock reads a block header, of whose size field the first byte was read.
func newBlock(in *input, size byte) (*block, error) {
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if err := in.full(h[1:]); err != nil {
		return nil, err
	}
	body := h[:len(h)-4]
	if binary.LittleEndian.Uint32(h[len(body):]) != crc32.ChecksumIEEE(body) {
		return nil, errBlockHeader
	}
	b := &block{header: int64(len(h)), start: in.n}
	dict, err := b.parse(body[1], bytes.NewReader(body[2:]))
	if err != nil {
		return nil, err
	}
	if b.wantUnpacked >= 0 && b.wantUnpacked < dict {
		dict = max(b.wantUnpacked, lzma.MinDictCap) // most modules are far smaller than their 1 MiB
	}
	b.lzma, err = lzma.Reader2Config{DictCap: int(dict)}.NewReader2(in)
	return b, err
}

// parse reads the fields of a block header and returns the size of the
// dictionary in bytes.
func (b *block) parse(flags byte, r *bytes.Reader) (int64, error) {
	if flags&0x3f != 0 {
		return 0, UnsupportedError("xz with other filters than LZMA2")
	}
	b.wantPacked, b.wantUnpacked = -1, -1
	for _, f := range []struct {
		present byte
		size    *int64
	}{{0x40, &b.wantPacked}, {0x80, &b.wantUnpacked}} {
		if flags&f.present == 0 {
			continue
		}
		n, err := binary.ReadUvarint(r)
		if *f.size = int64(n); err != nil || *f.size < 0 {
			return 0, errBlockHeader
		}
	}
	var filter [3]byte // identifier, size of the properties, dictionary
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return 0, errBlockHeader
	}
	if filter[0] != 0x21 {
		return 0, UnsupportedError("xz with other filters than LZMA2")
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	if err != nil || filter[1] != 1 {
		return 0, errBlockHeader
	}
	if dict > MaxDict {
		return 0, UnsupportedError(fmt.Sprintf("xz with a dictionary of %d bytes, the limit is %d", dict, int64(MaxDict)))
	}
	for range r.Len() {
		if c, _ := r.ReadByte(); c != 0 {
			return 0, errBlockHeader
		}
	}
	return dict, nil
}

func (b *block) read(p []byte) (int, error) {
	n, err := b.lzma.Read(p)
	b.unpacked += int64(n)
	if b.wantUnpacked >= 0 && b.unpacked > b.wantUnpacked {
		return 0, errSizes
	}
	if err == io.EOF && !b.lzma.EOS() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
