package symbols

import (
	"bytes"
	"strings"
	"testing"

	"ukdump/internal/dump"
	"ukdump/internal/dump/dumptest"
)

const (
	btfModules = imageBase + 0x3070
	btfModule  = moduleData + 0x4000
	btfData    = moduleData + 0x5000
)

// withBTF gives the module of withModule BTF of that size.
func (m memory) withBTF(size uint32, data string) {
	m.withModule()
	m.put(btfModules, uint64(btfModule), uint64(btfModule))
	m.put(btfModule, uint64(btfModules), uint64(btfModules), uint64(moduleAddr), uint64(btfModule+32), uint64(btfData), size, uint32(0))
	m.put(btfData, data+strings.Repeat("\x00", 0x1000-len(data)))
	m.put(imageBase+0x3200, "0123456789abcdef")
}

func TestBTF(t *testing.T) {
	const data = "\x9f\xeb\x01\x00rest"
	for _, tt := range []struct {
		name string
		size uint32
		data string
		err  string
	}{
		{"good", uint32(len(data)), data, ""},
		{"empty", 0, data, "no BTF header"},
		{"no BTF", 8, "\x7fELF\x01\x00\x00\x00", "no BTF header"},
		{"huge", maxModuleBTF + 1, data, "expected at most"},
		{"beyond memory", 0x10000, data, "moduledata"},
	} {
		m := memory{}
		m.withBTF(tt.size, tt.data)
		sampled := sample().bytes()
		k, err := m.kernel(sampled)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := k.BTF(); err != nil || !bytes.HasPrefix(b, sampled) {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if b, err := k.Config(); err != nil || string(b) != "0123456789abcdef" {
			t.Errorf("configuration %q, %v", b, err)
		}
		list, err := k.ModuleBTFs()
		if err != nil || len(list) != 1 || list[0].Name != "mod" {
			t.Fatalf("%s: %+v, %v", tt.name, list, err)
		}
		b, err := k.ReadModuleBTF(list[0])
		if tt.err == "" && (err != nil || string(b) != data) || tt.err != "" && err == nil {
			t.Errorf("%s: %q, %v", tt.name, b, err)
		}
	}
}

// The BTF of each module in a real dump continues that of the image.
func TestBTFReal(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		k, err := Open(d, d.Info(), d.Machine())
		if err != nil {
			t.Fatal(err)
		}
		modules, err := k.Modules()
		if err != nil {
			t.Fatal(err)
		}
		list, err := k.ModuleBTFs()
		if err != nil || len(list) == 0 || len(list) > len(modules) {
			t.Errorf("%s: %d of %d modules, %v", name, len(list), len(modules), err)
		}
		total := 0
		for _, m := range list {
			b, err := k.ReadModuleBTF(m)
			if err != nil {
				t.Error(err)
			}
			total += len(b)
		}
		image, err := k.BTF()
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s: image %d bytes, %d modules %d bytes", name, len(image), len(list), total)
	}
}
