package builder

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/config"
)

// How many processors the capture kernel starts, with which words and which first rung.
// The quick rung of several processors compresses by the fastest method.
func TestQuickCompressor(t *testing.T) {
	m := buildtest.New(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(m.Pid1), "ukdump-compress"), buildtest.Pid1("compressor").Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	m.Write("sys/devices/system/cpu/online", "0-7\n")
	for text, want := range map[string]string{
		"COMPRESS=zlib\n":               "makedumpfile -d 31, lzo by 2 processors, makedumpfile -l -d 31",
		"COMPRESS=lzo\nDUMP_LEVEL=1\n":  "makedumpfile -d 31, lzo by 2 processors, makedumpfile -l -d 31",
		"COMPRESS=lzo\n":                "",
		"COMPRESS=none\n":               "",
		"COMPRESS=none\nDUMP_LEVEL=1\n": "makedumpfile -d 31",
	} {
		var got []string
		m.Write(config.File, "CPUS=2\n"+text)
		for _, c := range newBuild(t, m).Plan.Collectors {
			if c.Quick {
				got = append(got, c.Name)
			}
		}
		if names := strings.Join(got, ", "); names != want {
			t.Errorf("%q: quick are %q, want %q", text, names, want)
		}
	}
}

func TestCPUs(t *testing.T) {
	for _, tt := range []struct {
		name, conf, online, mem, reserved, apic string
		moved                                   bool // where Linux 6.19 has the reservation
		want                                    int
		words                                   string // in the command line
		all                                     bool   // the machine has no more
	}{
		{name: "small memory", online: "0-7", mem: "8000000", reserved: "536870912", want: 1},
		{name: "large memory", online: "0-7", mem: "33000000", reserved: "536870912", apic: "2", want: 2, words: "nr_cpus=2 disable_cpu_apicid=2 "},
		{name: "large memory, new name", online: "0-7", mem: "33000000", reserved: "536870912", moved: true, apic: "2", want: 2, words: "nr_cpus=2 disable_cpu_apicid=2 "},
		{name: "very large memory", online: "0-127", mem: "1056000000", reserved: "536870912", apic: "0", want: 4, words: "nr_cpus=4 disable_cpu_apicid=0 "},
		{name: "small reservation", online: "0-7", mem: "33000000", reserved: "134217728", want: 1},
		{name: "few processors", online: "0", mem: "1056000000", reserved: "536870912", want: 1},
		{name: "gaps", online: "0-1,4,6-7", mem: "8000000", reserved: "134217728", conf: "CPUS=16\n", apic: "x", want: 5, words: "nr_cpus=5 panic", all: true},
		{name: "asked for", online: "0-7", mem: "8000000", reserved: "134217728", conf: "CPUS=3\n", want: 3, words: "nr_cpus=3 "},
		{name: "asked for one", online: "0-7", mem: "33000000", reserved: "536870912", conf: "CPUS=1\n", want: 1},
		{name: "only the log", online: "0-7", mem: "33000000", reserved: "536870912", conf: "DUMP=log\n", want: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := buildtest.New(t)
			compress := filepath.Join(filepath.Dir(m.Pid1), "ukdump-compress")
			if err := os.WriteFile(compress, buildtest.Pid1("compressor").Bytes(), 0o755); err != nil {
				t.Fatal(err)
			}
			m.Write("sys/devices/system/cpu/online", tt.online+"\n")
			m.Write("proc/meminfo", "MemTotal:       "+tt.mem+" kB\n")
			size := "sys/kernel/kexec_crash_size"
			if tt.moved {
				size = "sys/kernel/kexec/crash_size"
			}
			m.Write(size, tt.reserved+"\n")
			if tt.apic != "" {
				m.Write("proc/cpuinfo", "processor\t: 0\ninitial apicid\t: "+tt.apic+"\nflags\t\t: fpu\n\nprocessor\t: 1\ninitial apicid\t: 99\n")
			}
			m.Write(config.File, tt.conf)
			b := newBuild(t, m)
			if b.CPUs != tt.want {
				t.Errorf("%d processors (%s), want %d", b.CPUs, b.CPUsWhy, tt.want)
			}
			if all := strings.Contains(b.CPUsWhy, "one less"); all != tt.all {
				t.Errorf("all processors: %v, %s", all, b.CPUsWhy)
			}
			if !strings.Contains(b.Cmdline, tt.words) {
				t.Errorf("command line %s, want %s", b.Cmdline, tt.words)
			}
			packed := slices.ContainsFunc(b.Files, func(f File) bool { return f.Path == compressPath })
			first := len(b.Plan.Collectors) > 0 && b.Plan.Collectors[0].Argv[0] == "/"+compressPath
			if several := tt.want > 1; packed != several || first != several {
				t.Errorf("packed: %v, first: %v", packed, first)
			}
		})
	}
}
