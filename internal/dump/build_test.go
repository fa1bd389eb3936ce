package dump

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"ukdump/internal/dumpfile"
)

// machine is an invented machine: its memory and its dumps.
type machine struct {
	arch   string // amd64 or arm64
	block  int    // page size of the dump
	end    uint64 // page frames
	pages  map[uint64][]byte
	filter map[uint64]bool // page frames that are excluded
	info   string
	cpus   [][]uint64 // registers
}

func newMachine(arch string, pageSize int) *machine {
	return &machine{arch: arch, block: pageSize, end: 64, pages: map[uint64][]byte{}, filter: map[uint64]bool{}}
}

// page returns a page of memory to write to.
func (m *machine) page(pfn uint64) []byte {
	if m.pages[pfn] == nil {
		m.pages[pfn] = make([]byte, m.block)
		m.end = max(m.end, pfn+1)
	}
	return m.pages[pfn]
}

// write writes to physical memory.
func (m *machine) write(addr uint64, b ...byte) {
	for i, c := range b {
		at := addr + uint64(i)
		m.page(at / uint64(m.block))[at%uint64(m.block)] = c
	}
}

func (m *machine) write64(addr, v uint64) { m.write(addr, le.AppendUint64(nil, v)...) }

// pfns returns the page frames of memory in order.
func (m *machine) pfns() []uint64 { return slices.Sorted(maps.Keys(m.pages)) }

// notes returns the ELF notes.
func (m *machine) notes() []byte {
	var b []byte
	note := func(name string, typ uint32, desc []byte) {
		b = le.AppendUint32(b, uint32(len(name)+1))
		b = le.AppendUint32(b, uint32(len(desc)))
		b = le.AppendUint32(b, typ)
		b = append(b, name...)
		b = append(b, make([]byte, 4-len(name)%4)...)
		b = append(b, desc...)
		b = append(b, make([]byte, -len(desc)&3)...)
	}
	for i, regs := range m.cpus {
		desc := make([]byte, statusRegs)
		le.PutUint32(desc[statusPID:], uint32(100+i))
		for _, r := range regs {
			desc = le.AppendUint64(desc, r)
		}
		note("CORE", 1, append(desc, make([]byte, 8)...))
	}
	if m.info != "" {
		note("VMCOREINFO", 0, []byte(m.info))
	}
	return b
}

// elf returns an ELF core, with a segment for each run of pages.
func (m *machine) elf() []byte {
	type seg struct{ first, data, mem uint64 }
	var segs []seg
	for _, n := range m.pfns() {
		l := len(segs) - 1
		switch {
		case l < 0 || segs[l].first+segs[l].mem != n || segs[l].data != segs[l].mem && !m.filter[n]:
			segs = append(segs, seg{first: n})
			l++
		}
		segs[l].mem++
		if !m.filter[n] {
			segs[l].data++
		}
	}
	notes := m.notes()
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)
	le.PutUint16(b[18:], map[string]uint16{"amd64": 62, "arm64": 183}[m.arch])
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], uint16(1+len(segs)))
	off := uint64(64 + 56*(1+len(segs)))
	phdr := func(typ uint32, paddr, size, mem uint64) {
		b = le.AppendUint32(b, typ)
		b = le.AppendUint32(b, 0)
		for _, v := range []uint64{off, 0, paddr, size, mem, 0} {
			b = le.AppendUint64(b, v)
		}
		off += size
	}
	phdr(4, 0, uint64(len(notes)), 0)
	bs := uint64(m.block)
	for _, s := range segs {
		phdr(1, s.first*bs, s.data*bs, s.mem*bs)
	}
	b = append(b, notes...)
	for _, s := range segs {
		for n := s.first; n < s.first+s.data; n++ {
			b = append(b, m.pages[n]...)
		}
	}
	return b
}

// format says how to write a kdump-compressed dump.
type format struct {
	flag       uint32 // compression of the pages
	version    uint32
	split      bool
	first, end uint64
	noInfo     bool
}

// kdump returns a kdump-compressed dump. Pages of zeros share their data.
func (m *machine) kdump(f format) []byte {
	bs := m.block
	bitmap := make([]byte, ((m.end+7)/8+uint64(bs)-1)/uint64(bs)*uint64(bs))
	notes := m.notes()
	if f.noInfo {
		notes = nil
	}
	sub := make([]byte, bs)
	extra := 2*bs + 0
	sub = append(sub, make([]byte, (len(notes)+len(m.info)+bs-1)/bs*bs)...)
	b := make([]byte, bs)
	copy(b, "KDUMP   ")
	version := f.version
	if version == 0 {
		version = 6
	}
	le.PutUint32(b[8:], version)
	copy(b[142:], "6.1.0-test")
	copy(b[272:], map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[m.arch])
	le.PutUint64(b[408:], 1700000000)
	le.PutUint32(b[424:], f.flag)
	le.PutUint32(b[428:], uint32(bs))
	le.PutUint32(b[432:], uint32(len(sub)/bs))
	le.PutUint32(b[436:], uint32(2*len(bitmap)/bs))
	le.PutUint32(b[440:], uint32(m.end))
	le.PutUint32(sub[8:], 31)
	if f.split {
		le.PutUint32(sub[12:], 1)
		le.PutUint64(sub[16:], f.first)
		le.PutUint64(sub[24:], f.end)
	} else {
		f.end = m.end
	}
	if m.info != "" && !f.noInfo && version >= 3 {
		copy(sub[bs:], m.info)
		le.PutUint64(sub[32:], uint64(extra))
		le.PutUint64(sub[40:], uint64(len(m.info)))
		extra += len(m.info)
	}
	if len(notes) > 0 && version >= 4 {
		copy(sub[extra-bs:], notes)
		le.PutUint64(sub[48:], uint64(extra))
		le.PutUint64(sub[56:], uint64(len(notes)))
	}
	if version >= 6 {
		le.PutUint64(sub[80:], f.first)
		le.PutUint64(sub[88:], f.end)
		le.PutUint64(sub[96:], m.end)
	}
	memory, dumped := bytes.Clone(bitmap), bytes.Clone(bitmap)
	var here []uint64
	for _, n := range m.pfns() {
		memory[n/8] |= 1 << (n % 8)
		if m.filter[n] {
			continue
		}
		dumped[n/8] |= 1 << (n % 8)
		if n >= f.first && n < f.end {
			here = append(here, n)
		}
	}
	b = slices.Concat(b, sub, memory, dumped)
	var data []byte
	base := len(b) + len(here)*pageDescSize
	zero := uint64(0)
	for _, n := range here {
		page := m.pages[n]
		flag := f.flag
		packed := pack(page, flag)
		if len(packed) >= bs || flag == 0 {
			packed, flag = page, 0
		}
		off := uint64(base + len(data))
		isZero := len(bytes.Trim(page, "\x00")) == 0
		switch {
		case isZero && zero != 0:
			off = zero
		default:
			data = append(data, packed...)
			if isZero {
				zero = off
			}
		}
		b = le.AppendUint64(b, off)
		b = le.AppendUint32(b, uint32(len(packed)))
		b = le.AppendUint32(b, flag)
		b = le.AppendUint64(b, 0)
	}
	return append(b, data...)
}

var zstdWriter, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

// pack compresses a page.
func pack(page []byte, flag uint32) []byte {
	var b bytes.Buffer
	switch flag {
	case flagZlib:
		w := zlib.NewWriter(&b)
		w.Write(page)
		w.Close()
	case flagSnappy:
		return snappy.Encode(nil, page)
	case flagZstd:
		return zstdWriter.EncodeAll(page, nil)
	case flagLzo:
		return packLzo(page)
	}
	return b.Bytes()
}

// packLzo makes LZO1X of literals, and of runs of one byte: Documentation/staging/lzo.rst.
func packLzo(page []byte) []byte {
	var b []byte
	length := func(n int, base int) { // n-base as zeros of 255 and a rest
		n -= base
		for ; n > 255; n -= 255 {
			b = append(b, 0)
		}
		b = append(b, byte(n))
	}
	for i := 0; i < len(page); {
		lit := i + 4
		for lit < len(page) && (len(page)-lit < 40 || page[lit] != page[lit-1] || page[lit] != page[lit+38]) {
			lit++
		}
		lit = min(lit, len(page))
		if n := lit - i; n <= 18 { // 0000LLLL: copy 3+L literals
			b = append(b, byte(n-3))
		} else {
			b = append(b, 0)
			length(n, 18)
		}
		b = append(b, page[i:lit]...)
		run := lit
		for run < len(page)-4 && page[run] == page[lit-1] {
			run++
		}
		if n := run - lit; n > 33 { // 001LLLLL, distance 1
			b = append(b, 32)
			length(n, 33)
			b = append(b, 0, 0)
			i = run
		} else {
			i = lit
		}
	}
	return append(b, 0x11, 0, 0)
}

// flatten writes a dump as makedumpfile -F does, in records of several sizes. Its head is
// written wrong first: a later record counts.
func flatten(dump []byte) []byte {
	var b bytes.Buffer
	f, err := dumpfile.NewFlatWriter(&b)
	if err != nil {
		panic(err)
	}
	head := min(len(dump), 4096)
	f.WriteAt(bytes.Repeat([]byte{0x55}, head), 0)
	mid := len(dump) / 2
	for off := mid; off < len(dump); off += 1000 {
		f.WriteAt(dump[off:min(off+1000, len(dump))], int64(off))
	}
	for off := 0; off < mid; off += 700 {
		f.WriteAt(dump[off:min(off+700, mid)], int64(off))
	}
	f.Close()
	return b.Bytes()
}

func open(t testing.TB, b []byte) *Dump {
	t.Helper()
	d, err := New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// formats are all ways to write the dump of a machine.
func (m *machine) formats() map[string][]byte {
	all := map[string][]byte{"elf": m.elf(), "flattened elf": flatten(m.elf())}
	for name, flag := range map[string]uint32{"none": 0, "zlib": flagZlib, "lzo": flagLzo, "snappy": flagSnappy, "zstd": flagZstd} {
		all[name] = m.kdump(format{flag: flag})
	}
	for v := uint32(1); v <= 6; v++ {
		all[fmt.Sprintf("version %d", v)] = m.kdump(format{version: v})
	}
	all["flattened"] = flatten(all["zlib"])
	return all
}
