package xzstream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ulikunitz/xz"
)

func pack(t testing.TB, data []byte, c xz.WriterConfig) []byte {
	t.Helper()
	if c.DictCap == 0 {
		c.DictCap = 4 << 10
	}
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(packed []byte) ([]byte, error) {
	x, err := NewReader(bufio.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(x)
}

// sample is n bytes that compress to about half, always the same.
func sample(n int) []byte {
	b := make([]byte, 0, n)
	r := rand.New(rand.NewPCG(1, 2))
	for len(b) < n {
		if k := r.IntN(len(b) + 1); k > 8 {
			b = append(b, b[k-8:k]...)
		}
		b = append(b, byte(r.IntN(16)))
	}
	return b[:n]
}

// sizes returns a file of three blocks whose headers have sizes, of
// "seq 2000 | xz -T2 --block-size=4096", and its content.
func sizes(t testing.TB) (packed, plain []byte) {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", "sizes.xz"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		plain = fmt.Appendln(plain, i+1)
	}
	return packed, plain
}

func TestReader(t *testing.T) {
	data := sample(50_000)
	for name, c := range map[string]xz.WriterConfig{
		"no check": {NoCheckSum: true},
		"CRC32":    {CheckSum: xz.CRC32},
		"CRC64":    {CheckSum: xz.CRC64},
		"SHA-256":  {CheckSum: xz.SHA256},
		"blocks":   {CheckSum: xz.CRC64, BlockSize: 999},
	} {
		if got, err := unpack(pack(t, data, c)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
	if got, err := unpack(pack(t, nil, xz.WriterConfig{})); err != nil || len(got) != 0 {
		t.Errorf("nothing: got %d bytes, %v", len(got), err)
	}
	packed, plain := sizes(t)
	x, err := NewReader(bufio.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(x, plain); err != nil {
		t.Errorf("sizes in the headers: %v", err)
	}
}

func TestMultistream(t *testing.T) {
	a := pack(t, []byte("a"), xz.WriterConfig{CheckSum: xz.CRC32})
	b := pack(t, []byte("b"), xz.WriterConfig{CheckSum: xz.SHA256, BlockSize: 1})
	for _, tt := range []struct {
		after string
		want  string
		err   string
	}{
		{"", "a", ""},
		{string(b), "ab", ""},
		{"\x00\x00\x00\x00" + string(b) + "\x00\x00\x00\x00\x00\x00\x00\x00" + string(a), "aba", ""},
		{"\x00\x00\x00\x00", "a", ""},
		{"\x00\x00\x00", "a", "something else follows the xz data"},
		{"\x00" + string(b), "a", "something else follows the xz data"},
		{"junk", "a", "something else follows the xz data"},
		{string(b[:8]), "a", "unexpected EOF"},
	} {
		packed := string(a) + tt.after
		got, err := unpack([]byte(packed))
		if string(got) != tt.want || tt.err == "" && err != nil || tt.err != "" && fmt.Sprint(err) != tt.err {
			t.Errorf("%q: got %q, %v", tt.after, got, err)
		}
		r := bufio.NewReader(strings.NewReader(packed))
		x, err := NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		x.Multistream(false)
		one, err := io.ReadAll(x)
		rest, _ := io.ReadAll(r)
		if err != nil || string(one) != "a" || string(rest) != tt.after {
			t.Errorf("%q: the first stream is %q, %v, and leaves %q", tt.after, one, err, rest)
		}
	}
}

// Every truncation is noticed as such, and with a check every changed byte that
// matters. The decoder ignores some, like a chunk's packed size that is too big.
func TestDamage(t *testing.T) {
	sized, plain := sizes(t)
	short := plain[:1000]
	for _, tt := range []struct {
		name   string
		packed []byte
		plain  []byte // nil if only truncation can be noticed
	}{
		{"no check", pack(t, short, xz.WriterConfig{NoCheckSum: true}), nil},
		{"CRC32", pack(t, short, xz.WriterConfig{CheckSum: xz.CRC32, BlockSize: 400}), short},
		{"SHA-256", pack(t, short, xz.WriterConfig{CheckSum: xz.SHA256}), short},
		{"sizes", sized, plain},
	} {
		for n := range tt.packed {
			if _, err := unpack(tt.packed[:n]); err != io.ErrUnexpectedEOF {
				t.Errorf("%s: cut to %d of %d bytes: %v", tt.name, n, len(tt.packed), err)
			}
			if tt.plain == nil {
				continue
			}
			bad := bytes.Clone(tt.packed)
			bad[n] ^= 0x10
			if got, err := unpack(bad); err == nil && !bytes.Equal(got, tt.plain) {
				t.Errorf("%s: byte %d changed: other data and no error", tt.name, n)
			}
		}
	}
}

// repair makes the checksums of the headers of the stream and its first block
// right.
func repair(b []byte) []byte {
	b = bytes.Clone(b)
	sum := func(from, to int) {
		if to+4 <= len(b) {
			binary.LittleEndian.PutUint32(b[to:], crc32.ChecksumIEEE(b[from:to]))
		}
	}
	sum(6, 8)
	if len(b) > 12 && b[12] != 0 {
		sum(12, 12+int(b[12])*4)
	}
	return b
}

func TestHeaders(t *testing.T) {
	unsized := pack(t, make([]byte, 1000), xz.WriterConfig{CheckSum: xz.CRC32})
	sized, _ := sizes(t)
	for _, tt := range []struct {
		name        string
		packed      []byte
		at          int
		value       byte
		want        string
		unsupported bool
	}{
		{"magic", unsized, 0, 'x', "not xz data", false},
		{"version", unsized, 6, 1, "xz stream of a newer format", true},
		{"check", unsized, 7, 2, "xz with integrity check 2", true},
		{"other check", unsized, 7, 4, "checksum is wrong", false},
		{"two filters", unsized, 12 + 1, 1, "xz with other filters than LZMA2", true},
		{"reserved flag", unsized, 12 + 1, 4, "xz with other filters than LZMA2", true},
		{"x86 filter", unsized, 12 + 2, 4, "xz with other filters than LZMA2", true},
		{"properties", unsized, 12 + 3, 2, "bad xz block header", false},
		{"4 GiB dictionary", unsized, 12 + 4, 40, "xz with a dictionary of 4294967295 bytes, the limit is 134217728", true},
		{"192 MiB dictionary", unsized, 12 + 4, 31, "xz with a dictionary of 201326592 bytes, the limit is 134217728", true},
		{"unknown dictionary", unsized, 12 + 4, 41, "bad xz block header", false},
		{"header padding", unsized, 12 + 5, 1, "bad xz block header", false},
		{"packed size", sized, 12 + 2, sized[12+2] ^ 1, "sizes in the xz headers do not match the data", false},
		{"unpacked size", sized, 12 + 4, sized[12+4] ^ 1, "sizes in the xz headers do not match the data", false},
	} {
		bad := bytes.Clone(tt.packed)
		bad[tt.at] = tt.value
		_, err := unpack(repair(bad))
		if fmt.Sprint(err) != tt.want || errors.As(err, new(UnsupportedError)) != tt.unsupported {
			t.Errorf("%s: got %v (%T), want %s", tt.name, err, err, tt.want)
		}
	}
}

// The decoder ends quietly where its first bytes are missing.
func TestShortChunk(t *testing.T) {
	packed := pack(t, make([]byte, 1000), xz.WriterConfig{NoCheckSum: true})
	const chunk = 12 + 12 // control, unpacked size - 1, packed size - 1
	packed[chunk+3], packed[chunk+4] = 0, 2
	if got, err := unpack(packed); fmt.Sprint(err) != "LZMA2 data are damaged" {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestReadError(t *testing.T) {
	packed, _ := sizes(t)
	broken := errors.New("input/output error")
	for n := range packed {
		x, err := NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(broken))))
		if err == nil {
			_, err = io.ReadAll(x)
		}
		if err != broken {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// Data that is read without an error is the same as that of the xz package.
func FuzzReader(f *testing.F) {
	sized, _ := sizes(f)
	f.Add(sized)
	f.Add(pack(f, make([]byte, 3000), xz.WriterConfig{CheckSum: xz.CRC32}))
	f.Add(pack(f, []byte("text"), xz.WriterConfig{CheckSum: xz.CRC64}))
	f.Add(pack(f, []byte("two blocks"), xz.WriterConfig{CheckSum: xz.SHA256, BlockSize: 5}))
	f.Add(append(pack(f, []byte("two"), xz.WriterConfig{}), pack(f, []byte("streams"), xz.WriterConfig{NoCheckSum: true})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		for _, b := range [][]byte{b, repair(b)} {
			x, err := NewReader(bufio.NewReader(bytes.NewReader(b)))
			if err != nil {
				continue
			}
			got, err := io.ReadAll(io.LimitReader(x, limit))
			if err != nil || len(got) == limit {
				continue
			}
			ref, err := xz.NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if want, err := io.ReadAll(ref); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d, %v", len(got), len(want), err)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	data := sample(1 << 20)
	packed := pack(b, data, xz.WriterConfig{DictCap: 1 << 20, CheckSum: xz.CRC32})
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unpack(packed); err != nil {
			b.Fatal(err)
		}
	}
}
