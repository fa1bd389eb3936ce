package squeeze

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/dump"
	"ukdump/internal/dumpfile"
	"ukdump/internal/streamcheck"
	"ukdump/internal/vmcore"
)

// machine is an invented machine whose dump makedumpfile(8) would stream.
type machine struct {
	pageSize int
	memory   []byte         // whole pages from address 0
	absent   func(int) bool // pages that the dump lacks; nil for none
	keepZero bool           // the dump level does not exclude pages of zeros
	order    int            // log2 of the pages in makedumpfile's cache; 0 for its default
	erase    string         // erase information
	status   uint32
	split    uint32
	version  uint32
	cycles   int // of makedumpfile; 0 if it has the bitmap in a file
}

// stream returns the flattened dump, written as write_kdump_pages_and_bitmap_cyclic does.
func (m machine) stream() []byte {
	var b bytes.Buffer
	w, err := dumpfile.NewFlatWriter(&b)
	if err != nil {
		panic(err)
	}
	size := m.pageSize
	n := len(m.memory) / size
	bitmap := (n/8 + size) / size * size
	notes := []byte("\x05\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00TEST\x00\x00\x00\x00note")
	header, sub := make([]byte, headerSize), make([]byte, subSize)
	copy(header, kdumpMagic)
	le.PutUint32(header[8:], max(m.version, 6))
	copy(header[142:], "6.1.0-test")
	copy(header[272:], "x86_64")
	le.PutUint32(header[statusAt:], m.status)
	le.PutUint32(header[428:], uint32(size))
	le.PutUint32(header[432:], 1)
	le.PutUint32(header[436:], uint32(2*bitmap/size))
	le.PutUint32(header[440:], uint32(n))
	sub[8] = 31 // dump level
	if m.keepZero {
		sub[8] = 30
	}
	le.PutUint32(sub[splitAt:], m.split)
	le.PutUint64(sub[48:], uint64(size+subSize))
	le.PutUint64(sub[56:], uint64(len(notes)))
	le.PutUint64(sub[96:], uint64(n))
	w.WriteAt(header, 0)
	w.WriteAt(notes, int64(size+subSize))
	w.WriteAt(sub, int64(size))

	first, second := make([]byte, bitmap), make([]byte, bitmap)
	count := 0
	for i := range n {
		first[i/8] |= 1 << (i % 8)
		if m.absent == nil || !m.absent(i) {
			second[i/8] |= 1 << (i % 8)
			count++
		}
	}
	for i := 0; i < bitmap; i += 4096 {
		w.WriteAt(first[i:i+4096], int64(2*size+i))
	}
	if m.cycles == 0 {
		for i := 0; i < bitmap; i += 4096 {
			w.WriteAt(second[i:i+4096], int64(2*size+bitmap+i))
		}
	}

	order := m.order
	if order == 0 {
		order = 4
	}
	cache := size << order
	var descs, data []byte
	descOff := int64(2*size + 2*bitmap)
	dataOff := descOff + int64(count*descSize)
	start := uint64(dataOff)
	next := start
	if !m.keepZero {
		data = make([]byte, size)
		next += uint64(size)
	}
	flush := func() {
		w.WriteAt(descs, descOff)
		w.WriteAt(data, dataOff)
		descOff, dataOff = descOff+int64(len(descs)), dataOff+int64(len(data))
		descs, data = descs[:0], data[:0]
	}
	desc := func(off uint64) {
		descs = le.AppendUint64(descs, off)
		descs = le.AppendUint32(descs, uint32(size))
		descs = append(descs, make([]byte, 12)...)
		if len(descs) >= cache {
			w.WriteAt(descs[:cache], descOff)
			descOff += int64(cache)
			descs = append(descs[:0], descs[cache:]...)
		}
	}
	var perCycle int // page frames
	if m.cycles > 0 {
		perCycle = (n/m.cycles/8 + 1) * 8
	}
	for i := range n {
		if perCycle > 0 && i%perCycle == 0 {
			w.WriteAt(second[i/8:(min(i+perCycle, n)+7)/8], int64(2*size+bitmap+i/8))
		}
		page := m.memory[i*size:][:size]
		switch {
		case second[i/8]&(1<<(i%8)) == 0:
			continue
		case !m.keepZero && zeros(page):
			desc(start)
			continue
		}
		if len(descs)+descSize >= cache || len(data)+size >= cache {
			flush()
		}
		desc(next)
		next += uint64(size)
		data = append(data, page...)
	}
	w.WriteAt(data, dataOff)
	dataOff += int64(len(data))
	w.WriteAt(descs, descOff)
	if m.erase != "" {
		w.WriteAt([]byte(m.erase), dataOff)
		le.PutUint64(sub[eraseAt:], uint64(dataOff))
		le.PutUint64(sub[eraseAt+8:], uint64(len(m.erase)))
		w.WriteAt(sub, int64(size))
	}
	w.Close()
	return b.Bytes()
}

// memoryOutput is an Output in memory.
type memoryOutput struct {
	b        []byte
	finished int
}

func (o *memoryOutput) WriteAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); end > int64(len(o.b)) {
		o.b = append(o.b, make([]byte, end-int64(len(o.b)))...)
	}
	return copy(o.b[off:], p), nil
}

func (o *memoryOutput) Finish() error {
	o.finished++
	return nil
}

func squeezed(t *testing.T, stream []byte, o Options) []byte {
	t.Helper()
	var out memoryOutput
	if err := Run(bytes.NewReader(stream), &out, o); err != nil {
		t.Fatal(err)
	}
	if out.finished != 1 {
		t.Fatalf("finished %d times", out.finished)
	}
	return out.b
}

// check compares the pages of a dump with the memory.
func (m machine) check(t *testing.T, b []byte) {
	t.Helper()
	r := bytes.NewReader(b)
	d, err := dump.New(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if h := d.Header(); h.Format == dumpfile.Kdump {
		if err := h.Verify(r, int64(len(b))); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, m.pageSize)
	for i := range len(m.memory) / m.pageSize {
		err := d.ReadPhys(got, uint64(i*m.pageSize))
		var excluded *dump.ExcludedError
		if m.absent != nil && m.absent(i) {
			if !errors.As(err, &excluded) {
				t.Fatalf("page %d: got %v, want it excluded", i, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, m.memory[i*m.pageSize:][:m.pageSize]) {
			t.Fatalf("page %d: other bytes, %v", i, err)
		}
	}
}

// sparse returns n pages, most of them zeros.
func sparse(size, n int) []byte {
	b := make([]byte, size*n)
	pages := mixedPages(size, 8)
	for i := 0; i < n; i += 97 {
		copy(b[i*size:], pages[i%8*size:][:size])
	}
	return b
}

// incompressible returns random pages.
func incompressible(n int) []byte {
	var b []byte
	pages := mixedPages(4096, 5*n)
	for i := range n {
		b = append(b, pages[(5*i+2)*4096:][:4096]...)
	}
	return b
}

func machines() map[string]machine {
	return map[string]machine{
		"pages of 4 KiB":             {pageSize: 4 << 10, memory: mixedPages(4<<10, 2000)},
		"pages of 16 KiB":            {pageSize: 16 << 10, memory: mixedPages(16<<10, 300)},
		"pages of 64 KiB":            {pageSize: 64 << 10, memory: mixedPages(64<<10, 100)},
		"mostly zeros":               {pageSize: 4 << 10, memory: sparse(4<<10, 8000)},
		"zeros only":                 {pageSize: 4 << 10, memory: make([]byte, 3000*4<<10)},
		"one page":                   {pageSize: 4 << 10, memory: mixedPages(4<<10, 1)},
		"zeros first":                {pageSize: 4 << 10, memory: append(make([]byte, 4000*4<<10), mixedPages(4<<10, 50)...)},
		"zeros last":                 {pageSize: 4 << 10, memory: append(mixedPages(4<<10, 50), make([]byte, 4000*4<<10)...)},
		"zeros not excluded":         {pageSize: 4 << 10, memory: mixedPages(4<<10, 1000), keepZero: true},
		"first page not excluded":    {pageSize: 4 << 10, memory: sparse(4<<10, 97), keepZero: true},
		"pages that do not shrink":   {pageSize: 4 << 10, memory: incompressible(300)},
		"some pages excluded":        {pageSize: 4 << 10, memory: mixedPages(4<<10, 2000), absent: func(i int) bool { return i%7 < 3 }},
		"large caches":               {pageSize: 4 << 10, memory: mixedPages(4<<10, 2500), order: 10},
		"erase information":          {pageSize: 4 << 10, memory: mixedPages(4<<10, 100), erase: "erase jprobe 0x40\n"},
		"much erase information":     {pageSize: 4 << 10, memory: mixedPages(4<<10, 100), erase: strings.Repeat("erase\n", 1<<17)},
		"one cycle":                  {pageSize: 4 << 10, memory: mixedPages(4<<10, 700), cycles: 1},
		"three cycles":               {pageSize: 4 << 10, memory: mixedPages(4<<10, 700), cycles: 3},
		"vmemmap excluded":           {pageSize: 4 << 10, memory: mixedPages(4<<10, 100), status: 0x10},
		"a later version of headers": {pageSize: 4 << 10, memory: mixedPages(4<<10, 100), version: 7},
	}
}

func TestRun(t *testing.T) {
	for name, m := range machines() {
		t.Run(name, func(t *testing.T) {
			stream := m.stream()
			for i, c := range Compressions {
				b := squeezed(t, stream, Options{Compression: c, Workers: 1 + i})
				m.check(t, b)
				h, err := dumpfile.ReadHeader(bytes.NewReader(b))
				if err != nil || h.Compression != c || !h.Complete {
					t.Errorf("header %+v, %v; want compression %s", h, err, c)
				}
				if got := string(b[len(b)-len(m.erase):]); got != m.erase {
					t.Errorf("erase information %.20q at the end", got)
				}
				sub := b[m.pageSize:]
				if off, n := le.Uint64(sub[eraseAt:]), le.Uint64(sub[eraseAt+8:]); n != uint64(len(m.erase)) || n > 0 && off != uint64(len(b))-n {
					t.Errorf("erase information of %d bytes at %d", n, off)
				}
				if again := squeezed(t, stream, Options{Compression: c, Workers: 4}); !bytes.Equal(again, b) {
					t.Error("the dump depends on the number of workers")
				}
			}
		})
	}
}

func TestFlattened(t *testing.T) {
	for name, m := range machines() {
		t.Run(name, func(t *testing.T) {
			stream := m.stream()
			var flat bytes.Buffer
			out, err := NewFlattened(&flat)
			if err != nil {
				t.Fatal(err)
			}
			o := Options{Compression: "lzo", Workers: 3}
			if err := Run(bytes.NewReader(stream), out, o); err != nil {
				t.Fatal(err)
			}
			c := streamcheck.New(nil)
			c.Write(flat.Bytes())
			if _, err := c.Close(); err != nil {
				t.Error(err)
			}
			m.check(t, flat.Bytes())
			program, err := exec.LookPath("makedumpfile")
			if err != nil {
				return
			}
			name := filepath.Join(t.TempDir(), "vmcore")
			cmd := exec.Command(program, "-R", name)
			cmd.Stdin = &flat
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("makedumpfile -R: %v\n%s", err, text)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, squeezed(t, stream, o)) {
				t.Errorf("makedumpfile -R makes another dump, %v", err)
			}
		})
	}
}

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	m := machine{pageSize: 4096, memory: mixedPages(4096, 6000)}
	stream := m.stream()
	in, cut, name := filepath.Join(dir, "in"), filepath.Join(dir, "cut"), filepath.Join(dir, "out")
	os.WriteFile(in, stream, 0o600)
	os.WriteFile(cut, stream[:len(stream)-dumpfile.FlatRecordSize], 0o600)
	run := func(stdin string, args ...string) (status int, stderr string, stdout []byte) {
		t.Helper()
		f, err := os.Open(stdin)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out, err := os.Create(filepath.Join(dir, "stdout"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		var text bytes.Buffer
		status = Main(args, f, out, &text)
		b, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return status, text.String(), b
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))

	status, text, _ := run(in, "-c", "lzo", "-j", "2", name)
	b, err := os.ReadFile(name)
	if status != 0 || err != nil || !strings.Contains(text, "Copying data") || !strings.Contains(text, ": [100.0 %]") {
		t.Errorf("status %d, %q, %v", status, text, err)
	}
	m.check(t, b)
	if h, err := dumpfile.VerifyFile(name); err != nil || !h.Complete {
		t.Errorf("complete %v, %v", h.Complete, err)
	}

	status, text, flat := run(in, "-q", "-c", "zstd")
	if status != 0 || text != "" {
		t.Errorf("to standard output: status %d, %q", status, text)
	}
	m.check(t, flat)

	for _, args := range [][]string{{"-j", "2", name}, {"-j", "2"}} {
		status, text, flat = run(cut, args...)
		if status != 1 || !strings.Contains(text, "ends without an end mark") {
			t.Errorf("a cut stream: status %d, %q", status, text)
		}
	}
	if h, err := dumpfile.ReadHeader(openFile(t, name)); err != nil || h.Complete {
		t.Errorf("of a cut stream: complete %v, %v", h.Complete, err)
	}
	if end := bytes.Repeat([]byte{0xff}, dumpfile.FlatRecordSize); bytes.HasSuffix(flat, end) {
		t.Error("a cut stream got an end mark")
	}

	if status, text, _ := run(in, "-q", filepath.Join(dir, "no", "out")); status != 1 || !strings.Contains(text, "no such file") {
		t.Errorf("a directory that is missing: status %d, %q", status, text)
	}
	for _, args := range [][]string{{"-c", "lz4"}, {"-j", "0"}, {"-j", "65"}, {"-x"}, {"a", "b"}} {
		if status, text, _ := run(in, args...); status != 2 || !strings.Contains(text, "ukdump-compress -h") {
			t.Errorf("%q: status %d, %q", args, status, text)
		}
	}
	if status, _, help := run(in, "-h"); status != 0 || !strings.Contains(string(help), "lzo, snappy, zlib, zstd") {
		t.Errorf("-h: status %d, %q", status, help)
	}
}

func openFile(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// record is a record of a flattened dump.
type record struct {
	off  int64
	data []byte
}

// records splits a stream, without its end mark.
func records(stream []byte) []record {
	var rs []record
	r := bytes.NewReader(stream)
	for at := int64(dumpfile.FlatHeaderSize); ; {
		rec, err := dumpfile.ReadFlatRecord(r, at)
		if err != nil || rec.End {
			return rs
		}
		at += dumpfile.FlatRecordSize
		rs = append(rs, record{rec.Off, bytes.Clone(stream[at : at+rec.Size])})
		at += rec.Size
	}
}

func join(rs []record) []byte {
	var b bytes.Buffer
	w, _ := dumpfile.NewFlatWriter(&b)
	for _, r := range rs {
		w.WriteAt(r.data, r.off)
	}
	w.Close()
	return b.Bytes()
}

func TestRefused(t *testing.T) {
	m := machine{pageSize: 4096, memory: mixedPages(4096, 200)}
	good := m.stream()
	descs := int64(4 * 4096)
	start := func(rs []record) int { // of the descriptors
		for i, r := range rs {
			if r.off == descs {
				return i
			}
		}
		panic("no descriptors")
	}
	edit := func(f func(rs []record) []record) []byte { return join(f(records(good))) }
	tests := []struct {
		name   string
		stream []byte
		want   string
	}{
		{"nothing", nil, "read head of the flattened dump: unexpected EOF"},
		{"no flattened dump", bytes.Repeat([]byte("KDUMP   "), 600), "makedumpfile needs -F"},
		{"head only", good[:dumpfile.FlatHeaderSize], "without an end mark"},
		{"end mark only", join(nil), "flattened dump has no header"},
		{"headers only", edit(func(rs []record) []record { return rs[:start(rs)] }), "flattened dump has no pages"},
		{"no end mark", good[:len(good)-dumpfile.FlatRecordSize], "without an end mark"},
		{"cut in a page", good[:len(good)-6000], "without an end mark"},
		{"bytes behind the end", append(bytes.Clone(good), 0), "behind its end mark: bytes follow"},
		{"ELF core", join([]record{{0, []byte("\x7fELF\x02\x01\x01")}}), "makedumpfile must not have -E"},
		{"other data", join([]record{{0, make([]byte, 4096)}}), "not a kdump-compressed dump"},
		{"header not first", edit(func(rs []record) []record { return rs[1:] }), "offset 4200 of the dump before its header"},
		{"short header", edit(func(rs []record) []record { rs[0].data = rs[0].data[:400]; return rs }), "header: a record has only a part of it"},
		{"short sub header", edit(func(rs []record) []record { rs[2].data = rs[2].data[:100]; return rs }), "sub header: a record has only a part of it"},
		{"header written for another layout", edit(func(rs []record) []record {
			h := bytes.Clone(rs[0].data)
			h[436] += 2
			return append(rs, record{0, h})
		}), "the header was written again for another layout"},
		{"compressed dump", machine{pageSize: 4096, memory: m.memory, status: flagLzo}.stream(), "compressed already: makedumpfile must not have -c, -l, -p or -z"},
		{"incomplete dump", machine{pageSize: 4096, memory: m.memory, status: flagIncomplete}.stream(), "marked as incomplete"},
		{"part of a split dump", machine{pageSize: 4096, memory: m.memory, split: 1}.stream(), "a part of a split dump"},
		{"old header", edit(func(rs []record) []record { rs[0].data[8] = 5; return rs }), "header version 5, only 6 and later"},
		{"impossible page size", edit(func(rs []record) []record { rs[0].data[429] = 0x11; return rs }), "block size 4352 is not a page size"},
		{"odd bitmaps", edit(func(rs []record) []record { rs[0].data[436]++; return rs }), "bitmaps of 3 blocks"},
		{"impossible record", append(bytes.Clone(good[:dumpfile.FlatHeaderSize]), bytes.Repeat([]byte{0xfe}, 100)...), "record at offset 4096: impossible size"},
		{"records swapped", edit(func(rs []record) []record {
			i := start(rs) + 1
			rs[i], rs[i+2] = rs[i+2], rs[i]
			return rs
		}), "out of order: expected descriptors at"},
		{"record missing", edit(func(rs []record) []record {
			i := start(rs) + 1
			return append(rs[:i], rs[i+2:]...)
		}), "out of order: expected descriptors at"},
		{"last descriptors missing", edit(func(rs []record) []record { return rs[:len(rs)-1] }), "flattened dump has descriptors up to offset"},
		{"last data missing", edit(func(rs []record) []record { return append(rs[:len(rs)-2], rs[len(rs)-1]) }), "its descriptors need them up to"},
		{"half a page", edit(func(rs []record) []record {
			d := &rs[len(rs)-2].data
			*d = (*d)[:len(*d)-100]
			return rs
		}), "its descriptors need them up to"},
		{"compressed page", edit(func(rs []record) []record { rs[start(rs)].data[12] = 2; return rs }), "it is compressed already"},
		{"short page", edit(func(rs []record) []record { rs[start(rs)].data[9] = 1; return rs }), "it is compressed already"},
		{"page elsewhere", edit(func(rs []record) []record { rs[start(rs)].data[descSize+2]++; return rs }), "a page at offset"},
		{"impossible page", edit(func(rs []record) []record { rs[start(rs)].data[7] = 0xff; return rs }), "impossible offset"},
		{"too many descriptors", edit(func(rs []record) []record {
			rs[0].data[436], rs[start(rs)].off = 2, descs
			rs[start(rs)].data[4] = 1
			return rs
		}), "descriptors at 16384 of at most 32768 pages"},
		{"data far ahead", edit(func(rs []record) []record {
			i := start(rs)
			big := record{rs[i+1].off, make([]byte, (maxAhead+100)*4096)}
			return append(rs[:i], big)
		}), "data are more than 8192 pages ahead of their descriptors"},
		{"descriptors far ahead", farDescs(), "descriptors are more than 8192 pages ahead of the data"},
		{"erase information in front of the data", edit(func(rs []record) []record {
			sub := bytes.Clone(rs[2].data)
			le.PutUint64(sub[eraseAt:], 20000)
			le.PutUint64(sub[eraseAt+8:], 10)
			return append(rs, record{4096, sub})
		}), "erase information at offset 20000, not behind the data"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for workers := 1; workers < 4; workers++ {
				var out memoryOutput
				err := Run(bytes.NewReader(test.stream), &out, Options{Compression: "lzo", Workers: workers})
				if err == nil || !strings.Contains(err.Error(), test.want) || out.finished != 0 {
					t.Errorf("got %v, finished %d, want %s", err, out.finished, test.want)
				}
			}
		})
	}
}

// farDescs returns a stream whose descriptors all come first.
func farDescs() []byte {
	m := machine{pageSize: 4096, memory: bytes.Repeat([]byte{1}, 4096*(maxAhead+500))}
	rs := records(m.stream())
	var head, descs, data []record
	for _, r := range rs {
		switch {
		case r.off < 4*4096:
			head = append(head, r)
		case len(r.data)%descSize == 0 && len(r.data) < 4096:
			descs = append(descs, r)
		default:
			data = append(data, r)
		}
	}
	return join(append(append(head, descs...), data...))
}

func TestUnknownCompression(t *testing.T) {
	err := Run(strings.NewReader(""), &memoryOutput{}, Options{Compression: "lz4", Workers: 1})
	if err == nil || err.Error() != `unknown compression "lz4"` {
		t.Errorf("got %v", err)
	}
}

// failing is an Output that fails from an offset on.
type failing struct {
	memoryOutput
	limit int64
	err   error
}

func (o *failing) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > o.limit {
		return 0, o.err
	}
	return o.memoryOutput.WriteAt(p, off)
}

func TestWriteError(t *testing.T) {
	stream := machine{pageSize: 4096, memory: mixedPages(4096, 4000)}.stream()
	full := errors.New("no space left on device")
	for _, limit := range []int64{0, 4096, 20000, 200000, 2000000} {
		for workers := 1; workers < 5; workers++ {
			out := failing{limit: limit, err: full}
			err := Run(bytes.NewReader(stream), &out, Options{Compression: "lzo", Workers: workers})
			if !errors.Is(err, full) || out.finished != 0 {
				t.Errorf("limit %d: got %v, finished %d", limit, err, out.finished)
			}
		}
	}
}

// TestCut cuts a stream everywhere in its heads, and at some places in its data.
func TestCut(t *testing.T) {
	stream := machine{pageSize: 4096, memory: mixedPages(4096, 100), erase: "erase\n"}.stream()
	for n := 0; n < len(stream); n += 1 + n%997 {
		var out memoryOutput
		if err := Run(bytes.NewReader(stream[:n]), &out, Options{Compression: "lzo", Workers: 2}); !errors.Is(err, io.ErrUnexpectedEOF) || out.finished != 0 {
			t.Fatalf("cut at %d: got %v, finished %d", n, err, out.finished)
		}
	}
}

// discard is an Output that keeps nothing.
type discard struct{ size int64 }

func (o *discard) WriteAt(p []byte, off int64) (int, error) {
	o.size = max(o.size, off+int64(len(p)))
	return len(p), nil
}

func (o *discard) Finish() error { return nil }

func TestMemoryDoesNotGrow(t *testing.T) {
	stream := func(pages int) []byte {
		return machine{pageSize: 4096, memory: bytes.Repeat(mixedPages(4096, 50), pages/50)}.stream()
	}
	allocated := func(stream []byte, c string) int64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := Run(bytes.NewReader(stream), &discard{}, Options{Compression: c, Workers: 2}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	large := stream(10000)
	for _, c := range Compressions {
		if n := allocated(large, c); n > 6<<20 {
			t.Errorf("%s: %d bytes for a stream of %d", c, n, len(large))
		}
	}
}

func FuzzSqueeze(f *testing.F) {
	for _, m := range []machine{
		{pageSize: 4096, memory: mixedPages(4096, 5)},
		{pageSize: 4096, memory: mixedPages(4096, 40), erase: "erase\n", keepZero: true},
		{pageSize: 4096, memory: make([]byte, 4096*20), absent: func(i int) bool { return i == 3 }},
	} {
		f.Add(m.stream(), false)
		f.Add(m.stream(), true)
	}
	m := machine{pageSize: 4096, memory: mixedPages(4096, 40)}
	_, core := openCore(f, m.elf(20, 22))
	f.Fuzz(func(t *testing.T, stream []byte, direct bool) {
		o, most := Options{Compression: "lzo", Workers: 2}, 2*len(stream)+descsSize
		if direct {
			o.Core = core
			most += len(m.memory)
		}
		var out fuzzOutput
		err := Run(bytes.NewReader(stream), &out, o)
		if (err == nil) != (out.finished == 1) {
			t.Errorf("error %v, finished %d times", err, out.finished)
		}
		if out.written > int64(most) {
			t.Errorf("%d bytes of output from %d", out.written, len(stream))
		}
	})
}

// elf returns the memory as an ELF core, in two segments and without the pages from..to-1.
func (m machine) elf(from, to int) []byte {
	b := make([]byte, 64+2*56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	for i, r := range [][2]int{{to * m.pageSize, len(m.memory)}, {0, from * m.pageSize}} {
		p := b[64+56*i:]
		le.PutUint32(p, 1)
		le.PutUint64(p[8:], uint64(len(b)))
		le.PutUint64(p[24:], uint64(r[0]))
		le.PutUint64(p[32:], uint64(r[1]-r[0]))
		le.PutUint64(p[40:], uint64(r[1]-r[0]))
		b = append(b, m.memory[r[0]:r[1]]...)
	}
	return b
}

func openCore(t testing.TB, elf []byte) (*os.File, *Core) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "core")
	if err := os.WriteFile(name, elf, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c, err := NewCore(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

// closing is a stream that can be closed.
type closing struct {
	*bytes.Reader
	closed int
}

func (c *closing) Close() error {
	c.closed++
	return nil
}

func TestCore(t *testing.T) {
	for name, m := range machines() {
		if m.erase != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			stream := m.stream()
			half := len(m.memory) / m.pageSize / 2
			_, core := openCore(t, m.elf(half, half))
			want := squeezed(t, stream, Options{Compression: "lzo", Workers: 1})
			for workers := 1; workers < 4; workers++ {
				o := Options{Compression: "lzo", Workers: workers, Core: core}
				in := &closing{Reader: bytes.NewReader(stream)}
				var out memoryOutput
				if err := Run(in, &out, o); err != nil {
					t.Fatal(err)
				}
				// Padding behind the bitmap may be missing; offsets are the same.
				if !bytes.Equal(out.b, want) {
					t.Error("the dump differs from that without a core")
				}
				if early := in.closed == 1; early != (m.cycles < 2) || early && in.Len() == 0 && len(stream) > 30000 {
					t.Errorf("closed %d times, %d bytes were not read", in.closed, in.Len())
				}
				if workers > 1 {
					continue
				}
				var flat bytes.Buffer
				f, _ := NewFlattened(&flat)
				if err := Run(bytes.NewReader(stream), f, o); err != nil {
					t.Fatal(err)
				}
				c := streamcheck.New(nil)
				c.Write(flat.Bytes())
				if _, err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			name := filepath.Join(t.TempDir(), "vmcore")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := Run(bytes.NewReader(stream), NewFile(f), Options{Compression: "lzo", Workers: 2, Core: core}); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the file differs, %v", err)
			}
		})
	}
}

// changer changes the core while a page is packed.
type changer struct {
	t *testing.T
	f *os.File
}

func (c changer) pack(dst, src []byte) []byte {
	before := bytes.Clone(src)
	if _, err := c.f.WriteAt(bytes.Repeat([]byte("new "), 4096*16), 64+2*56); err != nil {
		c.t.Fatal(err)
	}
	if !bytes.Equal(src, before) {
		c.t.Error("the page changes while it is packed")
	}
	return dst[:copy(dst, "packed")]
}

func TestCoreChanges(t *testing.T) {
	m := machine{pageSize: 4096, memory: mixedPages(4096, 64)}
	f, core := openCore(t, m.elf(64, 64))
	r := pageReader{core: core}
	defer r.close()
	var b batch
	b.reset(4096)
	b.pfns = []uint64{5}
	if err := b.packCore(changer{t, f}, &r); err != nil || r.part == nil || len(b.results) != 1 || b.results[0] != 6 {
		t.Errorf("%d results, mapped %v, %v", len(b.results), r.part != nil, err)
	}
}

// TestCoreShared reads with two workers: they map the same part once, and unmap it.
func TestCoreShared(t *testing.T) {
	const pages = windowSize / 4096 // of a part
	m := machine{pageSize: 4096, memory: bytes.Repeat(mixedPages(4096, 128), 3*pages/128)}
	_, core := openCore(t, m.elf(3*pages, 3*pages))
	a, b := pageReader{core: core}, pageReader{core: core}
	page := make([]byte, 4096)
	for _, step := range []struct {
		r     *pageReader
		pfn   uint64
		parts int
	}{{&a, 5, 1}, {&b, 6, 1}, {&b, pages + 5, 2}, {&a, pages + 6, 1}, {&a, 7, 2}, {&a, 2*pages - 1, 1}, {&a, 2*pages + 5, 2}, {&b, 2*pages + 6, 1}} {
		if err := step.r.read(page, step.pfn*4096); err != nil || !bytes.Equal(page, m.memory[step.pfn*4096:][:4096]) {
			t.Fatalf("page %d is wrong, %v", step.pfn, err)
		}
		if len(core.parts) != step.parts {
			t.Errorf("page %d: %d parts are mapped, not %d", step.pfn, len(core.parts), step.parts)
		}
	}
	a.close()
	b.close()
	if len(core.parts) != 0 {
		t.Errorf("%d parts stay mapped", len(core.parts))
	}
}

// A part lies in one segment, and one that cannot be mapped is read, but no other.
func TestCoreMaps(t *testing.T) {
	const pages = windowSize / 4096
	m := machine{pageSize: 4096, memory: bytes.Repeat(mixedPages(4096, 128), 3*pages/128)}
	border := 2*pages - 100 // of the segments
	_, core := openCore(t, m.elf(border, border))
	var mapped []int
	defer func() { mmap = unix.Mmap }()
	mmap = func(fd int, off int64, n, prot, flags int) ([]byte, error) {
		mapped = append(mapped, n)
		i := slices.IndexFunc(core.segs, func(s vmcore.Segment) bool { return off >= s.Off-s.Off%mapUnit && off+int64(n) <= s.Off+s.Size })
		if i < 0 {
			t.Errorf("%d bytes at %d are in no segment", n, off)
		}
		if len(mapped) == 2 {
			return nil, unix.EAGAIN
		}
		return unix.Mmap(fd, off, n, prot, flags)
	}
	r := pageReader{core: core}
	page := make([]byte, 4096)
	for pfn := range uint64(3 * pages) {
		if err := r.read(page, pfn*4096); err != nil || !bytes.Equal(page, m.memory[pfn*4096:][:4096]) {
			t.Fatalf("page %d is wrong, %v", pfn, err)
		}
	}
	r.close()
	if len(mapped) != 4 || core.unmapped != 1 {
		t.Errorf("parts of %d bytes, want four; %d were not mapped, want one", mapped, core.unmapped)
	}
}

func TestCoreFails(t *testing.T) {
	m := machine{pageSize: 4096, memory: mixedPages(4096, 3000)}
	run := func(core *Core, stream []byte) error {
		var out memoryOutput
		err := Run(bytes.NewReader(stream), &out, Options{Compression: "lzo", Workers: 2, Core: core})
		if out.finished != 0 {
			t.Error("the dump was finished")
		}
		return err
	}
	_, gap := openCore(t, m.elf(1000, 1001))
	if err := run(gap, m.stream()); err == nil || !strings.Contains(err.Error(), "the page at address 0x3e8000 is not in the core") {
		t.Errorf("a page that is missing: got %v", err)
	}
	f, core := openCore(t, m.elf(3000, 3000))
	if err := f.Truncate(5 << 20); err != nil {
		t.Fatal(err)
	}
	if err := run(core, m.stream()); err == nil || !strings.Contains(err.Error(), "read "+f.Name()+": bus error at address 0x") {
		t.Errorf("a core that became shorter: got %v", err)
	}
	stream := m.stream()
	_, core = openCore(t, m.elf(3000, 3000))
	for _, n := range []int{5000, 9000, 12000} { // in the headers and in the bitmaps
		if err := run(core, stream[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a stream cut at %d: got %v", n, err)
		}
	}
	if _, err := NewCore(openFile(t, os.Args[0])); err == nil || !strings.Contains(err.Error(), "not an ELF core") {
		t.Errorf("a program: got %v", err)
	}
}

func TestCommand(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	dir := t.TempDir()
	m := machine{pageSize: 4096, memory: mixedPages(4096, 3000)}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, m.stream(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := openCore(t, m.elf(1500, 1500))
	for _, test := range []struct {
		name, command string
		direct        bool
		want          int
		complete      bool
	}{
		{"stream", "cat " + in, false, 0, true},
		{"pages from the core", "cat " + in, true, 0, true},
		{"failure behind the bitmap", "head -c 20000 " + in + "; exit 1", true, 0, true},
		{"failure behind the stream", "cat " + in + "; exit 1", false, 1, true},
		{"failure in the stream", "head -c 20000 " + in + "; exit 1", false, 1, false},
		{"failure in the bitmap", "head -c 9000 " + in + "; exit 1", true, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"-q", "-j", "2", "-o", out}
			if test.direct {
				args = append(args, "-r", f.Name())
			}
			var text bytes.Buffer
			if got := Main(append(args, "-x", shell, "-c", test.command), nil, os.Stdout, &text); got != test.want {
				t.Fatalf("status %d, %q; want %d", got, text.Bytes(), test.want)
			}
			h, err := dumpfile.ReadHeader(openFile(t, out))
			if h.Complete != test.complete || err != nil && test.complete {
				t.Errorf("complete %v, %v", h.Complete, err)
			}
		})
	}
}

// TestPagesOfTwoSegments reads a page that two segments share, as at the border of memory.
func TestPagesOfTwoSegments(t *testing.T) {
	m := machine{pageSize: 64 << 10, memory: mixedPages(64<<10, 4)}
	small := machine{pageSize: 4096, memory: m.memory}
	_, core := openCore(t, small.elf(20, 24)) // without a part of the second page
	copy(m.memory[20*4096:], make([]byte, 4*4096))
	var out memoryOutput
	if err := Run(bytes.NewReader(m.stream()), &out, Options{Compression: "zlib", Workers: 2, Core: core}); err != nil {
		t.Fatal(err)
	}
	m.check(t, out.b)
}

type fuzzOutput struct {
	finished int
	written  int64
}

func (o *fuzzOutput) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("write at %d", off)
	}
	o.written += int64(len(p))
	return len(p), nil
}

func (o *fuzzOutput) Finish() error {
	o.finished++
	return nil
}
