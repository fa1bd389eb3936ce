package vmcore

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const manyLines = "[    1.000002] one\n" +
	"[    1.000002] two\tand tab\n" +
	"[    1.000002] \\x1b[31mred \\xc3\\xa9\\x0d\n" +
	"[12345.678901] last\n"

func addMany(add func(uint64, string)) {
	add(1000002999, "one\ntwo\tand tab\n\x1b[31mred \u00e9\r")
	add(12345678901234, "last")
}

func TestWriteLog(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		p := newPRB(4, 10)
		p.swapped = swapped
		addMany(p.add)
		if got, err := decode(t, p.core()); got != manyLines || err != nil {
			t.Errorf("ring, swapped %v: %v\n%s", swapped, err, got)
		}
	}
	for _, name := range []string{"printk_log", "log"} {
		l := &records{buf: make([]byte, 1024)}
		addMany(l.add)
		if got, err := decode(t, l.core(name)); got != manyLines || err != nil {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

func TestWriteLogEmpty(t *testing.T) {
	for name, c := range map[string]*core{
		"ring":    newPRB(4, 10).core(),
		"records": (&records{buf: make([]byte, 1024)}).core("log"),
	} {
		if got, err := decode(t, c); got != "" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestWriteLogWraps writes far more than fits, with every length, so that
// blocks end before, at and behind the end of the array.
func TestWriteLogWraps(t *testing.T) {
	const n = 500
	text := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("y", i*7%120)) }
	check := func(name string, c *core, least int) {
		t.Helper()
		got, err := decode(t, c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if len(lines) < least {
			t.Errorf("%s: only %d records", name, len(lines))
		}
		for i, l := range lines {
			k := n - len(lines) + i
			if want := fmt.Sprintf("[%5d.000000] %s", k, text(k)); l != want {
				t.Fatalf("%s: record %d of %d is %q, want %q", name, i, len(lines), l, want)
			}
		}
	}
	for _, exact := range []bool{false, true} {
		for _, descBits := range []uint{3, 8} { // either array is the smaller one
			p := newPRB(descBits, 11)
			p.exactFit = exact
			for i := range n {
				p.add(uint64(i)*1e9, text(i))
			}
			check(fmt.Sprintf("ring, exact %v, %d bits", exact, descBits), p.core(), 8)
		}
	}
	l := &records{buf: make([]byte, 2048)}
	for i := range n {
		l.add(uint64(i)*1e9, text(i))
	}
	if l.next >= l.first {
		t.Error("the test's log does not wrap")
	}
	check("records", l.core("printk_log"), 8)
}

func TestRingExactFit(t *testing.T) {
	for _, exact := range []bool{false, true} {
		p := newPRB(4, 8)
		p.exactFit = exact
		for i := range 4 {
			p.add(0, strings.Repeat(string(rune('a'+i)), 64-8)) // four blocks fill the ring
		}
		want := 4
		if !exact {
			want = 3 // the last crosses and pushes the first out
		}
		got, err := decode(t, p.core())
		if lines := strings.Count(got, "\n"); lines != want || err != nil {
			t.Errorf("exact %v: %d lines, want %d, error %v\n%s", exact, lines, want, err, got)
		}
	}
}

func TestRingSpecialRecords(t *testing.T) {
	p := newPRB(4, 10)
	p.add(0, "first")
	p.set(p.reserve(), descCommitted, emptyLine, emptyLine, 1e9, 0)
	p.set(p.reserve(), descFinalized, 1, 1, 2e9, 50) // text found no room
	p.set(p.reserve(), 0, 0, 0, 3e9, 5)              // writer had not finished
	p.set(p.reserve(), 3, 0, 0, 4e9, 5)              // free
	p.add(5e9, "last")
	got, err := decode(t, p.core())
	if want := "[    0.000000] first\n[    1.000000] \n[    5.000000] last\n"; got != want || err != nil {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestDamagedRing(t *testing.T) {
	const both = "[    0.000000] first\n[    2.000000] last\n"
	for _, x := range []struct {
		name   string
		damage func(*prb)
		log    string
		err    string
	}{
		{"illegal block", func(p *prb) { p.set(p.tail+2, descFinalized, 64, 8, 0, 5) }, both, "illegal block"},
		{"unaligned block", func(p *prb) { p.set(p.tail+2, descFinalized, 12, 64, 0, 5) }, both, "illegal block"},
		{"text too long", func(p *prb) { p.set(p.tail+2, descFinalized, p.headPos-24, p.headPos, 1e9, 50) },
			"[    0.000000] first\n[    1.000000] last\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\n[    2.000000] last\n", "50 bytes"},
		{"tail far away", func(p *prb) { p.tail -= 1000 }, "[    0.000000] first\n[    1.000000] middle\n[    2.000000] last\n", "claims"},
		{"size", func(p *prb) { p.textBits = 40 }, "", "is damaged"},
	} {
		p := newPRB(4, 10)
		p.add(0, "first")
		p.add(1e9, "middle")
		p.add(2e9, "last")
		if x.name == "text too long" {
			p.headPos = p.ends[p.head] - 16 + 24
		}
		x.damage(p)
		got, err := decode(t, p.core())
		if got != x.log || err == nil || !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: error %v\n%s", x.name, err, got)
		}
	}
}

func TestTruncatedCore(t *testing.T) {
	p := newPRB(4, 10)
	p.add(0, "first")
	p.add(1e9, "last")
	l := &records{buf: make([]byte, 1024)}
	l.add(0, "first")
	l.add(1e9, "last")
	for name, x := range map[string]struct {
		core *core
		keep int // bytes of the arrays
	}{
		"ring":    {p.core(), len(p.descs) + len(p.infos) + 16}, // the first text is whole
		"records": {l.core("log"), 30},
	} {
		b := x.core.bytes()
		b = b[:len(b)-len(x.core.mem[1].data)+x.keep]
		var w bytes.Buffer
		err := mustOpen(t, b).WriteLog(&w)
		if w.String() != "[    0.000000] first\n" || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "stopped") {
			t.Errorf("%s: %v\n%s", name, err, w.String())
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	for _, x := range []struct {
		name   string
		damage func(*records)
		err    string
	}{
		{"length", func(l *records) { le.PutUint16(l.buf[l.used[1]+8:], 3) }, "impossible record"},
		{"text length", func(l *records) { le.PutUint16(l.buf[l.used[1]+10:], 5000) }, "impossible record"},
		{"beyond next", func(l *records) { le.PutUint16(l.buf[l.used[1]+8:], 500) }, "impossible record"},
		{"endless", func(l *records) { l.next = 1000; clear(l.buf[l.used[1]:]) }, "again"},
	} {
		l := &records{buf: make([]byte, 1024)}
		l.add(0, "first")
		l.add(1e9, "last")
		x.damage(l)
		got, err := decode(t, l.core("log"))
		if !strings.HasPrefix(got, "[    0.000000] first\n") || err == nil || !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: error %v\n%s", x.name, err, got)
		}
	}
}

func TestWriteLogNeedsInfo(t *testing.T) {
	for _, drop := range []string{"SYMBOL(prb)", "SIZE(prb_desc)", "OFFSET(prb_desc_ring.infos)"} {
		c := newPRB(4, 10).core()
		c.info = strings.ReplaceAll(c.info, drop, "X")
		if _, err := decode(t, c); err == nil || !strings.Contains(err.Error(), "VMCOREINFO") {
			t.Errorf("without %s: %v", drop, err)
		}
	}
	c := newPRB(4, 10).core()
	c.info = strings.ReplaceAll(c.info, "OFFSET(printk_info.ts_nsec)=8", "OFFSET(printk_info.ts_nsec)=60")
	if _, err := decode(t, c); err == nil || !strings.Contains(err.Error(), "beyond the end") {
		t.Errorf("field outside of its structure: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriteLogReportsWriter(t *testing.T) {
	p := newPRB(4, 10)
	p.add(0, "text")
	if err := mustOpen(t, p.core().bytes()).WriteLog(fullDisk{}); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

func gunzip(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRealCores decodes excerpts of the /proc/vmcore of Debian kernels that
// sysrq-c crashed in QEMU: headers, notes and the log's memory.
func TestRealCores(t *testing.T) {
	for name, release := range map[string]string{
		"debian-6.1":  "6.1.0-50-cloud-amd64",
		"debian-6.12": "6.12.117+deb13-cloud-amd64",
		"debian-7.2":  "7.2.13+deb14-cloud-amd64",
	} {
		b := gunzip(t, filepath.Join("testdata", name+".core.gz"))
		want := gunzip(t, filepath.Join("testdata", name+".dmesg.gz"))
		f := mustOpen(t, b)
		if f.Info.Release() != release || f.CPUs != 1 {
			t.Errorf("%s: release %q, %d CPUs", name, f.Info.Release(), f.CPUs)
		}
		// With addresses as the kernel gave them, then without.
		for range 2 {
			var got bytes.Buffer
			if err := f.WriteLog(&got); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: decoded log of %d bytes differs from the expected %d", name, got.Len(), len(want))
			}
			for i := range f.loads {
				f.loads[i].vaddr = 0
			}
		}
		p := FindPanic(want)
		if p.Line != "Kernel panic - not syncing: sysrq triggered crash" || p.Cause != "" || p.Instruction != "" {
			t.Errorf("%s: %+v", name, p)
		}
		if len(p.Trace) < 8 || !strings.HasPrefix(p.Trace[0], "dump_stack_lvl+") || !strings.HasPrefix(p.Trace[len(p.Trace)-1], "entry_SYSCALL_64_after_hwframe+") {
			t.Errorf("%s: trace %q", name, p.Trace)
		}
	}
}

func FuzzWriteLog(f *testing.F) {
	p := newPRB(4, 10)
	addMany(p.add)
	f.Add(p.core().bytes())
	p = newPRB(3, 8)
	for i := range 50 {
		p.add(uint64(i), strings.Repeat("z", i*5%100))
	}
	f.Add(p.core().bytes())
	l := &records{buf: make([]byte, 256)}
	for i := range 50 {
		l.add(uint64(i), strings.Repeat("z", i))
	}
	f.Add(l.core("log").bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		var w bytes.Buffer
		v.WriteLog(&w)
		for _, c := range w.Bytes() {
			if c != '\n' && c != '\t' && (c < ' ' || c > '~') {
				t.Fatalf("byte %#x in the log", c)
			}
		}
	})
}
