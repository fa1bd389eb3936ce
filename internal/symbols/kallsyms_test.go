package symbols

import (
	"encoding/binary"
	"strings"
	"testing"

	"ukdump/internal/vmcore"
)

func TestKallsyms(t *testing.T) {
	cpu := []symbol{{0, "A__per_cpu_start"}, {0x20, "Acurrent_task"}}
	for name, test := range map[string]struct {
		form    layout
		release string
		list    []symbol
	}{
		"absolute addresses":                {absolute, "6.1.0", image},
		"relative to a base":                {relative, "6.12.1-amd64", image},
		"relative with per-CPU offsets":     {percpu, "6.1.0-50-amd64", append(cpu, image...)},
		"relative to their own place":       {pcRelative, "7.2.1", image},
		"own place, first release":          {pcRelative, "7.0.0-rc1", image},
		"release that cannot be read":       {relative, "custom", image},
		"short names of 6.0, at most 127 B": {relative, "6.0.1", append(image[:6:6], image[7:]...)},
	} {
		t.Run(name, func(t *testing.T) {
			m := memory{}
			k, err := Open(m, vmcore.ParseInfo([]byte(m.assemble(test.form, test.release, test.list))), "amd64")
			if err != nil {
				t.Fatal(err)
			}
			if k.Count() != len(test.list) {
				t.Errorf("got %d symbols, want %d", k.Count(), len(test.list))
			}
			for _, s := range test.list {
				if list := k.LookupAll(s.text[1:]); len(list) == 0 || list[0] != s.addr && list[len(list)-1] != s.addr {
					t.Errorf("%s: got %#x, want %#x", s.text, list, s.addr)
				}
			}
		})
	}
}

func TestSymbolize(t *testing.T) {
	m := memory{}
	k, err := m.kernel(nil)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint64]string{
		imageBase - 1:        "",
		imageBase:            "_text+0x0/0x100",
		imageBase + 0x17f:    "sys_read+0x7f/0x80",
		imageBase + 0x180:    "do_init+0x0/0x80",
		imageBase + 0x2fff:   "__start_BTF+0xeff/0xf00",
		imageBase + 0xffff:   "kernel_config_data_end+0xcdef/0xcdf0",
		imageBase + 0x10000:  "",
		0:                    "",
		0xffffffffffffffff:   "",
		0xffff888000000000:   "",
		imageBase + 0x400:    strings.Repeat("long_", 60) + "+0x0/0xc00",
		imageBase + 0x400000: "",
	} {
		s, ok := k.Symbolize(addr)
		got := s.String()
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%#x: got %q, want %q", addr, got, want)
		}
	}
	if k.IsText(imageBase+0x1000) || !k.IsText(imageBase+0xfff) {
		t.Error("text does not end with _etext")
	}
	if _, err := k.Lookup("missing"); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v, want an error with the name", err)
	}
}

func TestKallsymsDamaged(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(m memory, info vmcore.Info) vmcore.Info
		want   string
	}{
		"no address in VMCOREINFO": {func(memory, vmcore.Info) vmcore.Info { return vmcore.Info{} }, "since 6.0"},
		"giant count": {func(m memory, info vmcore.Info) vmcore.Info {
			binary.LittleEndian.PutUint32(m[sym(info, "kallsyms_num_syms")], 0xffffffff)
			return info
		}, "4294967295 symbols"},
		"count beyond the names": {func(m memory, info vmcore.Info) vmcore.Info {
			binary.LittleEndian.PutUint32(m[sym(info, "kallsyms_num_syms")], 1000)
			return info
		}, "has no name"},
		"tokens are not in the dump": {func(m memory, info vmcore.Info) vmcore.Info {
			delete(m, sym(info, "kallsyms_token_table"))
			return info
		}, "kallsyms_token_table"},
		"offsets are not in the dump": {func(m memory, info vmcore.Info) vmcore.Info {
			delete(m, sym(info, "kallsyms_offsets"))
			return info
		}, "kallsyms_offsets"},
		"names of endless tokens": {func(m memory, info vmcore.Info) vmcore.Info {
			for i := range m[sym(info, "kallsyms_names")] {
				m[sym(info, "kallsyms_names")][i] = 0x80
			}
			return info
		}, "longer than 512"},
		"addresses contradict VMCOREINFO": {func(m memory, info vmcore.Info) vmcore.Info {
			m[sym(info, "kallsyms_offsets")][4*1] ^= 1
			return info
		}, "contradict VMCOREINFO"},
	} {
		t.Run(name, func(t *testing.T) {
			m := memory{}
			info := vmcore.ParseInfo([]byte(m.assemble(relative, "6.12.0", image)))
			_, err := Open(m, test.damage(m, info), "amd64")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func sym(info vmcore.Info, name string) uint64 {
	a, _ := info.Symbol(name)
	return a
}

func FuzzKallsyms(f *testing.F) {
	for _, form := range []layout{absolute, relative, percpu, pcRelative} {
		m := memory{}
		info := m.assemble(form, "6.12.0", image)
		in := vmcore.ParseInfo([]byte(info))
		f.Add(info, m[sym(in, "kallsyms_names")], m[sym(in, "kallsyms_token_table")], m[sym(in, "kallsyms_token_index")],
			m[sym(in, "kallsyms_offsets")], m[sym(in, "kallsyms_num_syms")])
	}
	f.Fuzz(func(t *testing.T, info string, names, tokens, index, offsets, count []byte) {
		in := vmcore.ParseInfo([]byte(info))
		m := memory{sym(in, "kallsyms_names"): names, sym(in, "kallsyms_token_table"): tokens, sym(in, "kallsyms_token_index"): index,
			sym(in, "kallsyms_offsets"): offsets, sym(in, "kallsyms_addresses"): offsets, sym(in, "kallsyms_num_syms"): count}
		k, err := Open(m, in, "amd64")
		if err != nil {
			return
		}
		for _, addr := range []uint64{0, k.start, k.text.Start, k.text.End - 1, k.end - 1, k.end, 1 << 63} {
			if s, ok := k.Symbolize(addr); ok && (s.Addr > addr || s.Offset >= s.Size || s.Addr+s.Offset != addr) {
				t.Errorf("%#x: got %+v", addr, s)
			}
		}
	})
}
