package squeeze

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/anchore/go-lzo"
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
