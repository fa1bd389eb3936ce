package squeeze

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// benchPages returns the pages of the file that UKDUMP_PAGES names, or invented ones.
func benchPages(b *testing.B) []byte {
	if name := os.Getenv("UKDUMP_PAGES"); name != "" {
		p, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return p[:len(p)&^4095]
	}
	return mixedPages(4096, 1024)
}

// mixedPages returns pages of several kinds: pointers, text, random bytes, zeros.
func mixedPages(size, n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var out []byte
	for i := range n {
		p := make([]byte, size)
		switch i % 5 {
		case 0: // structures with pointers
			for at := 0; at+64 <= size; at += 64 {
				le.PutUint64(p[at:], 0xffff888000000000+uint64(r.IntN(1<<30)))
				le.PutUint64(p[at+8:], 0xffffffff81000000+uint64(r.IntN(1<<12))*64)
				le.PutUint32(p[at+24:], uint32(r.IntN(100)))
			}
		case 1:
			words := []string{"page ", "frame ", "memory ", "crash ", "kernel\n"}
			for at := 0; at < size; {
				at += copy(p[at:], words[r.IntN(len(words))])
			}
		case 2:
			for at := 0; at < size; at += 8 {
				le.PutUint64(p[at:], r.Uint64())
			}
		case 3:
			for at := 0; at < size; at += 100 + r.IntN(size/2) {
				p[at] = byte(r.Uint32())
			}
		}
		out = append(out, p...)
	}
	return out
}

func TestLzo(t *testing.T) {
	for _, size := range []int{4096, 16384, 65536} {
		z := newLzo()
		dst := make([]byte, scratchSize(size))
		pages := mixedPages(size, 200)
		total := 0
		for i := 0; i < len(pages); i += size {
			page := pages[i : i+size]
			p := z.pack(dst, page)
			if len(p) >= size {
				total += size
				continue
			}
			if q := newLzo().pack(make([]byte, len(dst)), page); !bytes.Equal(p, q) {
				t.Fatalf("page %d depends on earlier ones", i/size)
			}
			total += len(p)
			got := make([]byte, size)
			if n, err := lzo.Decompress(p, got); err != nil || n != size || !bytes.Equal(got, page) {
				t.Fatalf("page %d of %d: %d bytes, %v", i/size, size, n, err)
			}
		}
		t.Logf("%d of %d", total, len(pages))
	}
}

// strewnPages returns pages of random alphabets, repeats and literals, in sizes that take
// all forms of a frame.
func strewnPages(seed uint64, n int) [][]byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var pages [][]byte
	for i := range n {
		size := 4096
		if i%16 == 0 {
			size <<= r.IntN(5)
		}
		p := make([]byte, size)
		kind, alphabet := r.IntN(6), 1+r.IntN(256)
		for at := 0; at < size; {
			if kind > 1 && at > 0 && r.IntN(kind) > 0 {
				from := r.IntN(at)
				for range 1 + r.IntN(1<<r.IntN(12)) {
					if at < size {
						p[at] = p[from]
						at, from = at+1, from+1
					}
				}
				continue
			}
			for range min(1+r.IntN(1<<r.IntN(10)), size-at) {
				v := r.IntN(alphabet)
				if kind&1 != 0 {
					v = v * r.IntN(alphabet) / alphabet
				}
				p[at] = byte(v)
				at++
			}
		}
		pages = append(pages, p)
	}
	return pages
}

// checkZstd packs a page with each packer and returns the size.
func checkZstd(t *testing.T, d *zstd.Decoder, page []byte, packers ...*zstdPacker) int {
	t.Helper()
	var first []byte
	for i, z := range packers {
		p := z.pack(make([]byte, scratchSize(len(page))), page)
		if len(p) >= len(page) {
			p = nil
		} else if got, err := d.DecodeAll(p, nil); err != nil || !bytes.Equal(got, page) {
			t.Fatalf("%d bytes of %d: %v\n%x", len(p), len(page), err, page)
		}
		if i == 0 {
			first = p
		}
		if !bytes.Equal(first, p) || (first == nil) != (p == nil) {
			t.Fatalf("the result depends on earlier pages\n%x", page)
		}
	}
	if first == nil {
		return len(page)
	}
	return len(first)
}

func zstdDecoder(t testing.TB) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestZstd(t *testing.T) {
	d := zstdDecoder(t)
	z := newZstd()
	for size := 4096; size <= maxPage; size *= 2 {
		pages := mixedPages(size, 200)
		for i := 0; i < len(pages); i += size {
			checkZstd(t, d, pages[i:i+size], z, newZstd())
		}
	}
	for _, page := range strewnPages(1, 2000) {
		checkZstd(t, d, page, z, newZstd())
	}
}

// TestZstdSequences has what search does not find: long codes and all kinds of tables.
func TestZstdSequences(t *testing.T) {
	d := zstdDecoder(t)
	z := newZstd()
	dst := make([]byte, 4*maxPage)
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 3))
		page, seqs, lits := inventSequences(r, 4096<<r.IntN(5))
		n := z.frame(dst, seqs, lits, len(page))
		if n >= len(page) {
			continue
		}
		if got, err := d.DecodeAll(dst[:n], nil); err != nil || !bytes.Equal(got, page) {
			t.Fatalf("seed %d, %d sequences, %d literals: %v", seed, len(seqs), len(lits), err)
		}
	}
}

// inventSequences returns a page, and the sequences and literals that make it.
func inventSequences(r *rand.Rand, size int) (page []byte, seqs []sequence, lits []byte) {
	few, same := 1+r.IntN(1<<(1+r.IntN(14))), r.IntN(3) == 0
	alphabet, skew := 1+r.IntN(256), r.IntN(4)
	literal := func() byte {
		v := r.IntN(alphabet)
		for range skew {
			v = v * r.IntN(alphabet) / alphabet
		}
		return byte(v)
	}
	length := func(most int) int {
		if same {
			return min(most, few)
		}
		return min(most, r.IntN(few+1))
	}
	last, before := 1, 4 // distances
	for {
		run := length(size - len(page))
		if len(page) == 0 {
			run = max(run, 4)
		}
		if left := size - len(page); left-run < minMatch {
			run = left
		}
		for range run {
			lits = append(lits, literal())
			page = append(page, lits[len(lits)-1])
		}
		left := size - len(page)
		if left == 0 {
			return page, seqs, lits
		}
		s := sequence{run: uint16(run), offset: 1}
		switch {
		case r.IntN(2) > 0 || last == before && run == 0:
			last, before = 1+r.IntN(min(len(page), maxPage-zstdTail-1)), last
			s.offset = uint16(last + 3)
		case run == 0:
			last, before = before, last
		}
		match := minMatch + length(left-minMatch)
		s.match = uint16(match - 3)
		for range match {
			page = append(page, page[len(page)-last])
		}
		seqs = append(seqs, s)
	}
}

// TestPackersStayInside packs pages that end where memory ends, into room that ends there.
func TestPackersStayInside(t *testing.T) {
	room := func(n int) []byte {
		pages := (n + 4095) / 4096 * 4096
		p, err := unix.Mmap(-1, 0, pages+4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Munmap(p) })
		if err := unix.Mprotect(p[pages:], unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
		return p[pages-n : pages : pages]
	}
	for size := 4096; size <= maxPage; size *= 4 {
		page, dst := room(size), room(scratchSize(size))
		for _, name := range Compressions {
			p, _, err := newPacker(name)
			if err != nil {
				t.Fatal(err)
			}
			pages := mixedPages(size, 50)
			for i := 0; i < len(pages); i += size {
				copy(page, pages[i:])
				p.pack(dst, page)
			}
			for _, q := range strewnPages(4, 200) {
				if len(q) == size {
					copy(page, q)
					p.pack(dst, page)
				}
			}
		}
	}
}

// TestZstdSize compares with the library at its fastest, which is as zstd -1.
func TestZstdSize(t *testing.T) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := zstdDecoder(t)
	z := newZstd()
	ours, theirs := 0, 0
	for i := 0; i+4096 <= len(program); i += 4096 {
		page := program[i : i+4096]
		ours += checkZstd(t, d, page, z)
		theirs += min(len(page), len(w.EncodeAll(page, nil)))
	}
	if ours > theirs {
		t.Errorf("%d bytes, the library has %d", ours, theirs)
	}
}

func BenchmarkPack(b *testing.B) {
	pages := benchPages(b)
	for _, name := range Compressions {
		b.Run(name, func(b *testing.B) {
			p, _, err := newPacker(name)
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, scratchSize(4096))
			b.SetBytes(int64(len(pages)))
			b.ReportAllocs()
			var total int
			start := cpuTime()
			for b.Loop() {
				total = 0
				for i := 0; i < len(pages); i += 4096 {
					total += min(4096, len(p.pack(dst, pages[i:i+4096])))
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(pages))/1e6/(cpuTime()-start).Seconds(), "MB/CPU-s")
			b.ReportMetric(100*float64(total)/float64(len(pages)), "%size")
		})
	}
}

// cpuTime returns the CPU time of this process. The wall clock means little on a machine
// that is busy.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func FuzzLzo(f *testing.F) {
	pages := mixedPages(4096, 5)
	for i := range 5 {
		f.Add(pages[i*4096:][:4096])
	}
	f.Add(mixedPages(1<<16, 2)[1<<16:])
	f.Fuzz(func(t *testing.T, page []byte) {
		if len(page) < lzoTail || len(page) > maxPage {
			return
		}
		z := newLzo()
		dst := make([]byte, scratchSize(len(page)))
		for range 2 {
			p := z.pack(dst, page)
			if len(p) >= len(page) {
				continue
			}
			got := make([]byte, len(page))
			if n, err := lzo.Decompress(p, got); err != nil || n != len(page) || !bytes.Equal(got, page) {
				t.Fatalf("%d bytes of %d, %v", n, len(page), err)
			}
		}
	})
}

func FuzzZstd(f *testing.F) {
	pages := mixedPages(4096, 5)
	for i := range 5 {
		f.Add(pages[i*4096:][:4096])
	}
	for _, page := range strewnPages(2, 20) {
		f.Add(page)
	}
	d := zstdDecoder(f)
	f.Fuzz(func(t *testing.T, page []byte) {
		if len(page) < zstdLeast || len(page) > maxPage {
			return
		}
		z := newZstd()
		checkZstd(t, d, page, z, z)
	})
}
