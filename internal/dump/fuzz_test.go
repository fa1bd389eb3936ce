package dump

import (
	"bytes"
	"testing"
)

func fuzzOpen(f *testing.F, seeds ...[]byte) {
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		p := make([]byte, 100)
		n := 0
		for addr, ok := d.mem.next(0); ok && n < 50; addr, ok = d.mem.next(addr + d.blockSize) {
			d.ReadPhys(p, addr+d.blockSize-50)
			n++
		}
		for _, addr := range []uint64{0, 5000, d.MemoryEnd() - 1, ^uint64(0) - 50} {
			d.ReadPhys(p, addr)
		}
		d.ReadVirt(p, 0xffffffff81000000)
		d.Missing()
	})
}

// fuzzMachine is small: the fuzzer changes one byte in many.
func fuzzMachine() *machine {
	m := newMachine("amd64", 4096)
	m.info = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff80001000\nNUMBER(phys_base)=0\n"
	m.cpus = [][]uint64{make([]uint64, 27)}
	copy(m.page(1), bytes.Repeat([]byte("abc"), 500))
	m.page(2)
	m.page(3)
	m.filter[3] = true
	return m
}

func FuzzOpenKdump(f *testing.F) {
	m := fuzzMachine()
	fuzzOpen(f, m.kdump(format{}), m.kdump(format{flag: flagZlib}), m.kdump(format{flag: flagLzo}), m.kdump(format{flag: flagSnappy}),
		m.kdump(format{flag: flagZstd}), m.kdump(format{version: 1}), m.kdump(format{flag: flagZlib, split: true, first: 1, end: 3}))
}

func FuzzOpenFlattened(f *testing.F) {
	m := fuzzMachine()
	fuzzOpen(f, flatten(m.kdump(format{flag: flagZlib})), flatten(m.elf()))
}

func FuzzOpenELF(f *testing.F) { fuzzOpen(f, fuzzMachine().elf()) }

// FuzzUnpack checks that a decompressor writes nothing behind its page.
func FuzzUnpack(f *testing.F) {
	page := bytes.Repeat([]byte("abcd"), 1024)
	for _, flag := range []uint32{flagZlib, flagLzo, flagSnappy, flagZstd} {
		f.Add(flag, pack(page, flag))
	}
	f.Fuzz(func(t *testing.T, flag uint32, b []byte) {
		var u unpack
		buf := make([]byte, 8192)
		u.page(buf[:4096], bytes.NewReader(b), pageDesc{0, min(len(b), 4096), flag})
		if len(bytes.Trim(buf[4096:], "\x00")) > 0 {
			t.Error("wrote behind the page")
		}
	})
}

// FuzzReadVirt reads through invented page tables.
func FuzzReadVirt(f *testing.F) {
	all := geometries()
	for i, g := range all {
		m := newMapped(g)
		m.mapPage(^uint64(0)<<(g.vaBits-1)+0x3000, 8*uint64(g.page), 0)
		f.Add(uint8(i), ^uint64(0)<<(g.vaBits-1)+0x3000, m.page(rootPFN)[:64], m.page(rootPFN + 1)[:64])
	}
	f.Fuzz(func(t *testing.T, i uint8, addr uint64, root, next []byte) {
		g := all[int(i)%len(all)]
		m := newMapped(g)
		copy(m.page(rootPFN), root)
		copy(m.page(rootPFN+1), next)
		d := open(t, m.elf())
		p := make([]byte, 64)
		d.ReadVirt(p, addr)
		if phys, err := d.Translate(addr); err == nil && phys>>52 != 0 {
			t.Errorf("physical address %#x", phys)
		}
	})
}

// FuzzFlat compares the index of a flattened file with the plain way: each record is
// written to its place.
func FuzzFlat(f *testing.F) {
	head := flatten(nil)[:4096]
	f.Add(flatten(bytes.Repeat([]byte("0123456789"), 500))[4096:])
	f.Add(flatten([]byte("abc"))[4096:])
	f.Fuzz(func(t *testing.T, records []byte) {
		file := append(bytes.Clone(head), records...)
		fl, err := newFlat(bytes.NewReader(file), int64(len(file)))
		if err != nil || fl.size > 1<<20 {
			return
		}
		want, has := plainFlat(file)
		got := make([]byte, fl.size)
		n, err := fl.ReadAt(got, 0)
		for i := range n {
			if got[i] != want[i] {
				t.Fatalf("byte %d: got %d, want %d", i, got[i], want[i])
			}
			if !fl.whole && !has[i] {
				t.Fatalf("byte %d is in no record", i)
			}
		}
		if fl.whole && (int64(n) != fl.size || err != nil) {
			t.Fatalf("%d of %d bytes: %v", n, fl.size, err)
		}
	})
}

// plainFlat unpacks a flattened file, and says which bytes a record has.
func plainFlat(file []byte) (out []byte, has []bool) {
	be := func(b []byte) int64 {
		var n uint64
		for _, c := range b[:8] {
			n = n<<8 | uint64(c)
		}
		return int64(n)
	}
	for at := 4096; at+16 <= len(file); {
		off, size := be(file[at:]), be(file[at+8:])
		if off == -1 && size == -1 {
			break
		}
		at += 16
		for i := int64(0); i < size && at < len(file); i++ {
			for off+i >= int64(len(out)) {
				out, has = append(out, 0), append(has, false)
			}
			out[off+i], has[off+i] = file[at], true
			at++
		}
	}
	return out, has
}
