package symbols

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const (
	modulesHead = imageBase + 0x3000
	moduleAddr  = 0xffffffffc0010000
	moduleText  = 0xffffffffc0000000
	moduleData  = 0xffffffffc0008000
)

// withModule adds a module "mod" with two functions to m.
func (m memory) withModule() {
	list := uint64(moduleAddr + 8)
	m.put(modulesHead, list, list)
	m.put(moduleAddr, uint64(0), uint64(modulesHead), uint64(modulesHead), "mod", make([]byte, 13),
		uint64(moduleData+0x800), uint64(1<<12), // version, taints
		uint64(moduleText), uint64(0x1000), uint64(moduleData), uint64(0x1000), uint64(moduleData))
	symbol := func(name uint32, section uint16, value uint64) []byte {
		n := memory{}
		n.put(0, name, uint16(0), section, value, uint64(0))
		return n[0]
	}
	m.put(moduleData, uint64(moduleData+0x100), uint64(6), uint64(moduleData+0x400), make([]byte, 0xe8),
		symbol(0, 0, 0), symbol(1, 1, moduleText), symbol(7, 1, moduleText+0x100), symbol(14, 0, moduleText+0x80),
		symbol(20, 1, moduleText+0x90), symbol(27, 2, moduleData+0x10), make([]byte, 0x300-6*24),
		"\x00first\x00second\x00undef\x00$x\x00.Lx\x00data\x00", make([]byte, 0x400-32), "1.5", make([]byte, 0x800-3))
}

func TestModules(t *testing.T) {
	m := memory{}
	m.withModule()
	k, err := m.kernel(sample().bytes())
	if err != nil {
		t.Fatal(err)
	}
	modules, err := k.Modules()
	if err != nil || len(modules) != 1 {
		t.Fatal(len(modules), err)
	}
	got := fmt.Sprintf("%+v", *modules[0])
	mod := modules[0]
	want := &Module{Name: "mod", State: "live", Version: "1.5", Taints: 1 << 12, Addr: moduleAddr, Size: 0x2000,
		Text: []Range{{moduleText, moduleText + 0x1000}}, Memory: []Range{{moduleText, moduleText + 0x1000}, {moduleData, moduleData + 0x1000}}}
	if !reflect.DeepEqual(mod, want) {
		t.Errorf("got %s, want %+v", got, *want)
	}
	if n, err := k.ModuleSymbols(mod); err != nil || n != 3 {
		t.Errorf("got %d symbols and %v, want 3", n, err)
	}
	for addr, want := range map[uint64]string{
		moduleText + 0x10:   "first+0x10/0x100 [mod]",
		moduleText + 0x123:  "second+0x23/0xf00 [mod]",
		moduleText + 0x1000: "",
		moduleData:          "",
	} {
		s, ok := k.Symbolize(addr)
		if got := s.String(); ok && got != want || !ok && want != "" {
			t.Errorf("%#x: got %q, want %q", addr, got, want)
		}
	}
	if !k.IsText(moduleText+0xfff) || k.IsText(moduleData) {
		t.Error("text of the module is wrong")
	}
}

func TestLists(t *testing.T) {
	for name, test := range map[string]struct {
		build func(m memory)
		count int
		want  string
	}{
		"empty": {func(m memory) { m.put(0x1000, uint64(0x1000)) }, 0, ""},
		"two": {func(m memory) {
			m.put(0x1000, uint64(0x2000))
			m.put(0x2000, uint64(0x3000))
			m.put(0x3000, uint64(0x1000))
		}, 2, ""},
		"loop without head": {func(m memory) {
			m.put(0x1000, uint64(0x2000))
			m.put(0x2000, uint64(0x3000))
			m.put(0x3000, uint64(0x2000))
		}, 2, "loop"},
		"entry out of memory": {func(m memory) { m.put(0x1000, uint64(0x2000)) }, 1, "after 1 entries"},
		"too long": {func(m memory) {
			for i := range uint64(20) {
				m.put(0x1000*(i+1), 0x1000*(i+2))
			}
		}, 10, "more than 10"},
	} {
		t.Run(name, func(t *testing.T) {
			m := memory{}
			test.build(m)
			k := &Kernel{Reader: NewReader(m)}
			got, err := k.list(0x1000, 0, 10)
			if len(got) != test.count || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %d entries and %v, want %d and %q", len(got), err, test.count, test.want)
			}
		})
	}
}

func TestValues(t *testing.T) {
	m := memory{}
	m.withModule()
	m.put(0x1000, uint64(7), uint32(0b11110_101), uint32(9))
	m.put(imageBase+0x3010, uint64(0x100), uint64(0x5000))
	m.put(imageBase+0x3050, uint32(2))
	k, err := m.kernel(sample().bytes())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint64{"first": 7, "low": 5, "high": ^uint64(1), "plain": 9} {
		if got, err := k.Value(0x1000, "mixed", path); err != nil || got != want {
			t.Errorf("%s: got %d %v, want %d", path, got, err, want)
		}
	}
	if _, err := k.Value(moduleAddr, "module", "name"); err == nil {
		t.Error("an array is an integer")
	}
	if got, err := k.TextField(moduleAddr, "module", "name"); err != nil || got != "mod" {
		t.Errorf("got %q %v", got, err)
	}
	if got, err := k.PerCPUAddr(0x20, 1); err != nil || got != 0x5020 {
		t.Errorf("got %#x %v, want 0x5020", got, err)
	}
	if _, err := k.PerCPUAddr(0x20, 2); err == nil {
		t.Error("CPU 2 of 2 exists")
	}
	if _, err := k.String(0x1000, 1<<40); err == nil {
		t.Error("a string ends nowhere")
	}
}

func FuzzModules(f *testing.F) {
	m := memory{}
	m.withModule()
	f.Add(m[modulesHead], m[moduleAddr], m[moduleData])
	f.Fuzz(func(t *testing.T, head, module, data []byte) {
		m := memory{modulesHead: head, moduleAddr: module, moduleData: data}
		k, err := m.kernel(sample().bytes())
		if err != nil {
			t.Fatal(err)
		}
		modules, _ := k.Modules()
		for _, m := range modules {
			k.ModuleSymbols(m)
		}
		for _, addr := range []uint64{moduleText, moduleText + 0x123, moduleData, 0, ^uint64(0)} {
			if s, ok := k.Symbolize(addr); ok && (s.Addr+s.Offset != addr || s.Offset >= s.Size) {
				t.Errorf("%#x: got %+v", addr, s)
			}
		}
	})
}
