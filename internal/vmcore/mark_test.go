package vmcore

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestMarksOfRealCores(t *testing.T) {
	for _, name := range []string{"debian-6.1", "debian-6.12", "debian-7.2"} {
		f := mustOpen(t, gunzip(t, filepath.Join("testdata", name+".core.gz")))
		// The addresses of the kernel, then those of VMCOREINFO.
		for range 2 {
			marks, err := f.Marks()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			logs := 0
			for _, m := range marks {
				if m.Byte == 0 || !f.Has(m) || m.Addr >= f.MemoryEnd() {
					t.Errorf("%s: %+v is not a byte of this core", name, m)
				}
				if m.What == "the kernel log" {
					logs++
				}
			}
			if logs < 16 {
				t.Errorf("%s: %d pages of the log", name, logs)
			}
			for i := range f.loads {
				f.loads[i].vaddr = 0
			}
		}
		if got := f.Info.ImageAddrs(f.Machine); len(got) != 3 || got[0]%4096 != 0 {
			t.Errorf("%s: addresses of the image: %#x", name, got)
		}
	}
}

// A log that cannot be located is not known, never present.
func TestMarksWithoutLog(t *testing.T) {
	good := func() *core {
		p := newPRB(4, 10)
		p.add(0, "text")
		return p.core()
	}
	for _, tt := range []struct {
		name string
		edit func(*core)
		want string
	}{
		{"no VMCOREINFO", func(c *core) { c.info = "" }, "no SYMBOL(log_buf)"},
		{"no symbol of the log", func(c *core) { c.info = strings.ReplaceAll(c.info, "SYMBOL(prb)", "X") }, "no SYMBOL(log_buf)"},
		{"no size of a descriptor", func(c *core) { c.info = strings.ReplaceAll(c.info, "SIZE(prb_desc)", "X") }, "SIZE(prb_desc)"},
		{"no memory", func(c *core) { c.mem = nil }, "not in the core"},
		{"memory of zeros", func(c *core) {
			for _, b := range c.mem {
				clear(b.data)
			}
		}, "not in the core"},
	} {
		c := good()
		tt.edit(c)
		marks, err := mustOpen(t, c.bytes()).Marks()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %d marks, error %v, want %q", tt.name, len(marks), err, tt.want)
		}
	}
}

// A page of zeros and a page that cannot be read are in no dump.
func TestMarksOmitsZeros(t *testing.T) {
	mem := make([]byte, 4*4096)
	mem[4096+7], mem[3*4096] = 1, 2
	c := &core{info: "PAGESIZE=4096\n", mem: []block{{vaddr: bufAddr, paddr: 0x100000, data: mem}}}
	m := marker{f: mustOpen(t, c.bytes()), page: make([]byte, 4096)}
	m.add("x", bufAddr+100, 6*4096)
	want := []Mark{{"x", 0x101007, 1}, {"x", 0x103000, 2}}
	if len(m.marks) != 2 || m.marks[0] != want[0] || m.marks[1] != want[1] {
		t.Errorf("got %+v, want %+v", m.marks, want)
	}
	mem[4096+7] = 3
	if f := mustOpen(t, c.bytes()); f.Has(want[0]) || !f.Has(want[1]) {
		t.Error("Has does not compare the byte")
	}
}

func FuzzMarks(f *testing.F) {
	p := newPRB(4, 10)
	addMany(p.add)
	f.Add(p.core().bytes())
	l := &records{buf: make([]byte, 256)}
	l.add(1, "text")
	f.Add(l.core("log").bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		marks, _ := v.Marks()
		if len(marks) > 4*(markedText+3*markedLog)/4096 {
			t.Fatalf("%d marks", len(marks))
		}
		v.Info.ImageAddrs(v.Machine)
	})
}
