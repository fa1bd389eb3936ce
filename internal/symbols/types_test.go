package symbols

import (
	"strings"
	"testing"
)

func TestFields(t *testing.T) {
	types, err := ParseTypes(sample().bytes())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Field{
		"module.name":            {Offset: 24, Size: 16, Len: 16, Type: "char"},
		"module.taints":          {Offset: 48, Size: 8, Type: "long unsigned int"},
		"module.version":         {Offset: 40, Size: 8, Pointer: true, Type: "char"},
		"module.mem":             {Offset: 56, Size: 32, Len: 2, Type: "module_memory"},
		"module.mem[1].size":     {Offset: 80, Size: 4, Type: "unsigned int"},
		"module.list.prev":       {Offset: 16, Size: 8, Type: "long unsigned int"},
		"mixed.all":              {Offset: 8, Size: 8, Type: "long unsigned int"},
		"mixed.low":              {Offset: 8, Size: 4, Bits: 3, Type: "unsigned int"},
		"mixed.high":             {Offset: 8, Size: 4, Bits: 5, Shift: 3, Signed: true, Type: "int"},
		"mixed.plain":            {Offset: 12, Size: 4, Type: "unsigned int"},
		"struct mixed.first":     {Offset: 0, Size: 8, Type: "long unsigned int"},
		"module_memory.base":     {Offset: 0, Size: 8, Pointer: true, Type: "char"},
		"mod_kallsyms.strtab":    {Offset: 16, Size: 8, Pointer: true, Type: "char"},
		"struct list_head.next":  {Offset: 0, Size: 8, Type: "long unsigned int"},
		"struct module.mem[0]":   {Offset: 56, Size: 16, Type: "module_memory"},
		"struct module.kallsyms": {Offset: 88, Size: 8, Pointer: true, Type: "char"},
	} {
		typ, member, _ := strings.Cut(path, ".")
		for range 2 { // the second comes from the cache
			if got, err := types.Field(typ, member); err != nil || got != want {
				t.Errorf("%s: got %+v %v, want %+v", path, got, err, want)
			}
		}
	}
	for path, want := range map[string]string{
		"module.missing":     "no member missing",
		"module.name.x":      "no member x",
		"module.mem[2].base": "no element 2",
		"module.taints[0]":   "no element 0",
		"missing.x":          "missing.x: the kernel has no such type",
		"twice.x":            "ambiguous",
		"module.":            "no member",
	} {
		typ, member, _ := strings.Cut(path, ".")
		if _, err := types.Field(typ, member); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if _, err := types.Offset("mixed", "low"); err == nil {
		t.Error("a bit field has an offset")
	}
}

func TestSizesAndEnums(t *testing.T) {
	types, err := ParseTypes(sample().bytes())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"module": 120, "ulong": 8, "unsigned int": 4, "enum module_state": 4, "twice": 8} {
		if got, err := types.Size(name); err != nil || got != want {
			t.Errorf("%s: got %d %v, want %d", name, got, err, want)
		}
	}
	for name, want := range map[string]int64{"module_state MODULE_STATE_COMING": 1, " MINUS": -1, " PLUS": 1, "wide WIDE": 1 | 2<<32} {
		enum, value, _ := strings.Cut(name, " ")
		if got, err := types.Enum(enum, value); err != nil || got != want {
			t.Errorf("%s: got %d %v, want %d", name, got, err, want)
		}
	}
	if _, err := types.Enum("module_state", "MISSING"); err == nil || !strings.Contains(err.Error(), "MISSING") {
		t.Errorf("got %v, want an error with the name", err)
	}
	if got := types.EnumName("module_state", 1); got != "MODULE_STATE_COMING" {
		t.Errorf("got %q", got)
	}
}

func TestHostileTypes(t *testing.T) {
	chain := &btfAsm{}
	for i := range uint32(500000) {
		chain.add("deep", kindTypedef, 0, i+2)
	}
	ring := &btfAsm{}
	ring.add("ring", kindTypedef, 0, 2)
	ring.add("", kindArray, 0, 0, 1, 0, 5)
	ring.add("self", kindStruct, 1, 8, 0, 3, 0)
	// Each structure has the next one twice, without names: 2^40 members.
	power := &btfAsm{}
	for i := range uint32(40) {
		name := ""
		if i == 0 {
			name = "power"
		}
		power.add(name, kindStruct, 2, 8, 0, i+2, 0, 0, i+2, 0)
	}
	huge := &btfAsm{}
	for i := range uint32(30) {
		huge.add("huge", kindArray, 0, 0, i+2, 0, 0xffffffff)
	}
	for name, a := range map[string]*btfAsm{"deep": chain, "ring": ring, "self": ring, "power": power, "huge": huge} {
		types, err := ParseTypes(a.bytes())
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := types.Field(name, "x"); err == nil {
			t.Errorf("%s has a member", name)
		}
		if size, err := types.Size(name); err == nil && size > 8 {
			t.Errorf("%s has the size %d", name, size)
		}
	}
	good := sample().bytes()
	for i := range good[:min(len(good), 200)] {
		types, err := ParseTypes(good[:i])
		if err == nil {
			t.Errorf("%d bytes of BTF are accepted: %v", i, types)
		}
	}
	if _, err := ParseTypes(make([]byte, maxBTF+1)); err == nil {
		t.Error("a BTF without limit is accepted")
	}
	unknown := &btfAsm{}
	unknown.add("new", 60, 0, 0)
	if _, err := ParseTypes(unknown.bytes()); err == nil || !strings.Contains(err.Error(), "kind 60") {
		t.Errorf("got %v, want an unknown kind", err)
	}
}

func FuzzTypes(f *testing.F) {
	f.Add(sample().bytes(), "module", "mem[1].base", "MINUS")
	f.Add(sample().bytes(), "mixed", "low", "WIDE")
	f.Fuzz(func(t *testing.T, raw []byte, typ, path, enum string) {
		types, err := ParseTypes(raw)
		if err != nil {
			return
		}
		types.Size(typ)
		types.Enum("", enum)
		types.EnumName(typ, 1)
		if field, err := types.Field(typ, path); err == nil && field.Shift+field.Bits > 64 {
			t.Errorf("got %+v", field)
		}
	})
}
