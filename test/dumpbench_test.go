package test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/evidence"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// dumpBench is a machine whose memory is saved.
type dumpBench struct {
	suite  string // bookworm if it is empty
	memory int    // GiB; half of it is anonymous memory, a quarter page cache, a 16th slabs
	name   string // of the row
	conf   string
	copies bool   // makedumpfile fails, so PID 1 copies
	cpus   int    // of the machine
	slow   bool   // each has slowPercent of one of this computer for the capture
	peer   string // the collector of kdump-tools, which saves the memory; else ukdump does
}

// TestBenchDump measures how fast memory is saved, for docs/measured.md: in machines, and on
// this computer with the memory of two of them, or only with the vmcore that UKDUMP_VMCORE
// names. It asserts nothing but that each dump is whole.
func TestBenchDump(t *testing.T) {
	if os.Getenv("UKDUMP_VM") != "bench" {
		t.Skip("measures: run make bench-dump")
	}
	if vmcore := os.Getenv("UKDUMP_VMCORE"); vmcore != "" {
		benchNative(t, vmcore)
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "memory\tdump\tMiB\tcollector s\tproof s\tall s\tMB of memory/s\tdisk MB/s")
	native := make(map[string]string)
	for _, b := range []dumpBench{
		{memory: 1, name: "-d 31, lzo"},
		{memory: 1, name: "-d 31, zlib", conf: "COMPRESS=zlib\n"}, // bookworm has no zstd
		{memory: 1, name: "-d 31, lzo, 2 processors", conf: "CPUS=2\n", cpus: 2},
		{memory: 1, name: "-d 1, lzo", conf: "DUMP_LEVEL=1\n"},
		{memory: 1, name: "-d 1, lzo, 2 processors", conf: "DUMP_LEVEL=1\nCPUS=2\n", cpus: 2},
		{memory: 1, name: "copy", copies: true},
		{memory: 1, name: "kdump-tools, zlib, its default", peer: "-c -d 31"},
		{memory: 1, name: "kdump-tools, lzo", peer: "-l -d 31"},
		{memory: 4, name: "-d 31, lzo"},
		{memory: 4, name: "-d 31, lzo, 2 processors", conf: "CPUS=2\n", cpus: 2},
		{memory: 4, name: "kdump-tools, lzo", peer: "-l -d 31"},
		{memory: 4, name: "copy", copies: true},
		{memory: 8, name: "-d 31, lzo"},
		{memory: 8, name: "kdump-tools, lzo", peer: "-l -d 31"},
		// Debian 13, whose makedumpfile has zstd, with four slow processors.
		{suite: "trixie", memory: 4, name: "-d 31, zstd, 1 of 4 slow processors", conf: "COMPRESS=zstd\nCPUS=1\n", cpus: 4, slow: true},
		{suite: "trixie", memory: 4, name: "-d 31, zstd, 4 slow processors", conf: "COMPRESS=zstd\nCPUS=4\n", cpus: 4, slow: true},
		{suite: "trixie", memory: 2, name: "-d 1, zstd, 1 of 4 slow processors", conf: "COMPRESS=zstd\nCPUS=1\nDUMP_LEVEL=1\n", cpus: 4, slow: true},
		{suite: "trixie", memory: 2, name: "-d 1, zstd, 4 slow processors", conf: "COMPRESS=zstd\nCPUS=4\nDUMP_LEVEL=1\n", cpus: 4, slow: true},
	} {
		all := t
		t.Run(fmt.Sprintf("%d GiB, %s", b.memory, b.name), func(t *testing.T) {
			root, payload := lab(t, cmp.Or(b.suite, "bookworm"))
			if err := buildFaultlab(installed.dir); err != nil {
				t.Fatal(err)
			}
			payload.Trees = append(payload.Trees, installed.dir+"/faultlab")
			line, vmcore := b.measure(all, t, root, payload)
			fmt.Fprintf(w, "%d GiB\t%s\t%s\n", b.memory, b.name, line)
			if b.copies {
				native[fmt.Sprintf("native, %d GiB", b.memory)] = vmcore
			}
		})
	}
	w.Flush()
	for _, name := range slices.Sorted(maps.Keys(native)) {
		t.Run(name, func(t *testing.T) { benchNative(t, native[name]) })
	}
}

// slowPercent of this computer's two processors are enough for four.
const slowPercent = 45

var diskLine = regexp.MustCompile(`ukdump-test: disk ([0-9.]+)`)

// measure returns a row and the vmcore, which stays until all ends.
func (b *dumpBench) measure(all, t *testing.T, root *debian.Root, payload debian.Payload) (row, vmcore string) {
	m, err := debian.New(t.Context(), "bench-dump", debian.Hardware{Root: root, Flavour: debian.Generic,
		Disks: []debian.Disk{{Name: "dump", Size: int64(b.memory+2) << 30, Bus: vmtest.VirtioBlk}}})
	if err != nil {
		t.Fatal(err)
	}
	all.Cleanup(func() {
		if !t.Failed() {
			m.Remove() // not before: the vmcore of a copy is used later
		}
	})
	copies := ""
	if b.copies {
		copies = "yes"
	}
	payload = payload.With("etc/ukdump.conf", "TARGET=/var/crash\n"+b.conf).
		With("ukdump-test/cell", fmt.Sprintf("anonymous=%d\ncache=%d\nfiles=%d\ncopies=%s\ncollector='%s'\n",
			b.memory*512, min(b.memory*256, 1900), b.memory<<16, copies, b.peer))
	if b.peer != "" {
		installKdumpTools(t, m, root, payload)
	}
	payload.Run = ". /ukdump-test/dumpbench\n"
	vm, err := m.Boot(t.Context(), debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Memory: b.memory << 10, CPUs: max(b.cpus, 1),
		Deadline: benchLimit, Cmdline: "crashkernel=256M panic=5 printk.devkmsg=on"})
	if err == nil {
		err = vm.Expect("ukdump-test: crash now", benchLimit)
	}
	if err == nil && b.slow {
		// Not before: QEMU's slow processors trip over kernels that patch themselves.
		if err = vm.Expect(evidence.Prefix, bootLimit); err == nil {
			err = vm.Throttle(slowPercent)
		}
	}
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	payload.Run = ". /ukdump-test/lib.sh\nmount \"$(findfs LABEL=dumps)\" /var/crash || fail mount\n" +
		"stat -c '%.3W %.3Y' /var/crash/*/dump.* 2>/dev/null >/var/crash/times || true\nresults var/crash\nsay 'results written'\n"
	runMachine(t, m, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: bootLimit, Cmdline: "panic=5"}, "results written")
	dir, err := m.Results()
	if err != nil {
		t.Fatal(err)
	}
	disk := 0.0
	if found := diskLine.FindStringSubmatch(strings.Join(vm.Console(), "\n")); found != nil {
		if s, err := strconv.ParseFloat(found[1], 64); err == nil && s > 0 {
			disk = 268.4 / s
		}
	}
	memory := float64(int64(b.memory)<<30) / 1e6
	if b.peer != "" {
		vmcore, seconds, err := kdumpToolsDump(filepath.Join(dir, "var/crash"), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%.1f\t%.1f\t-\t-\t%.0f\t%.0f", vmcore/(1<<20), seconds, memory/seconds, disk), ""
	}
	dumps, err := crashdir.List(filepath.Join(dir, "var/crash"))
	if err != nil || len(dumps) != 1 || dumps[0].Report == nil || dumps[0].Outcome != crashdir.Complete {
		t.Fatalf("%d dumps, %v", len(dumps), err)
	}
	d := dumps[0]
	if _, err := dumpfile.VerifyFile(d.Vmcore); err != nil {
		t.Fatal(err)
	}
	want := 1
	if strings.Contains(b.conf, "CPUS=") && !strings.Contains(b.conf, "CPUS=1\n") {
		want = b.cpus
	}
	if n, _, err := started(d); err != nil || n != want {
		t.Fatalf("%d processors started, want %d (%v)", n, want, err)
	}
	last := d.Report.Attempts[len(d.Report.Attempts)-1]
	var step float64
	for _, s := range d.Report.Steps {
		if s.Name == "vmcore" {
			step = s.Seconds
		}
	}
	others := 0.0
	for _, a := range d.Report.Attempts {
		others += a.Seconds
	}
	return fmt.Sprintf("%.1f\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f", float64(d.Report.Vmcore)/(1<<20), last.Seconds, step-others, step, memory/last.Seconds, disk), d.Vmcore
}

// installKdumpTools installs Debian's kdump-tools in a machine.
func installKdumpTools(t *testing.T, m *debian.Machine, root *debian.Root, payload debian.Payload) {
	t.Helper()
	tree, err := unpackedPackages(t, root, kdumpToolsPackages)
	if err != nil {
		t.Fatal(err)
	}
	payload.Trees = append(slices.Clone(payload.Trees), tree)
	payload.Run = "step=install\n. /ukdump-test/kdump-tools\n"
	runMachine(t, m, debian.Boot{Name: "install", Init: debian.Quick, Payload: payload, Deadline: 20 * time.Minute, Cmdline: "crashkernel=256M panic=5"}, "installed")
}

// kdumpToolsDump checks the only dump of kdump-tools in dir. It returns its bytes, and the
// seconds from its creation to its last write, which the guest has put into the file times. temp
// is for files.
func kdumpToolsDump(dir, temp string) (bytes, seconds float64, err error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", "dump.*"))
	if err != nil || len(found) != 1 {
		return 0, 0, fmt.Errorf("%d dumps in %s, not 1 (%v)", len(found), dir, err)
	}
	if err := checkFlat(found[0], temp, "crash now"); err != nil {
		return 0, 0, err
	}
	fi, err := os.Stat(found[0])
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "times"))
	if err != nil {
		return 0, 0, err
	}
	var from, to float64
	if n, err := fmt.Sscan(string(text), &from, &to); n != 2 || to <= from {
		return 0, 0, fmt.Errorf("times %q of the dump: %v", text, err)
	}
	return float64(fi.Size()), to - from, nil
}
