package test

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// TestProcessors captures with two processors after crashes on the processor that booted the
// machine and on another one, whose capture kernel must not start the first.
func TestProcessors(t *testing.T) {
	if set := vmSet(t); set != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	for _, c := range []struct {
		suite, compress string
		on              int
		bus             vmtest.Bus
		by              string // what auto chooses
	}{
		{"bookworm", "lzo", 0, "", ""}, {"bookworm", "zlib", 2, "", ""}, {"trixie", "zstd", 1, "", ""}, {"sid", "lzo", 2, "", ""},
		{"trixie", "auto", 0, vmtest.AHCI, "zstd"}, // a hard disk, as the kernel says
	} {
		t.Run(fmt.Sprintf("%s-%s-crash-on-%d", c.suite, c.compress, c.on), func(t *testing.T) {
			chosen.Add(1)
			t.Parallel()
			root, payload := lab(t, c.suite)
			m, err := debian.New(t.Context(), "processors", debian.Hardware{Root: root, Flavour: debian.Generic, RootBus: c.bus})
			if err != nil {
				t.Fatal(err)
			}
			mark := "mark-" + rand.Text()
			payload = payload.With("etc/ukdump.conf", fmt.Sprintf("TARGET=/var/crash\nCPUS=2\nCOMPRESS=%s\n", c.compress))
			payload.Run = fmt.Sprintf(". /ukdump-test/lib.sh\nkdumpctl load || fail load\nkdumpctl verify || fail verify\nsync\nsay %s\ntaskset -c %d sh -c 'echo c >/proc/sysrq-trigger'\n", mark, c.on)
			runMachine(t, m, debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Deadline: bootLimit, CPUs: 3,
				Cmdline: "crashkernel=256M panic=5 printk.devkmsg=on"}, mark)
			payload.Run = ". /ukdump-test/lib.sh\nresults var/crash\nsay 'results written'\n"
			runMachine(t, m, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: bootLimit, Cmdline: "panic=5"}, "results written")
			dir, err := m.Results()
			if err != nil {
				t.Fatal(err)
			}
			dumps, err := crashdir.List(filepath.Join(dir, "var/crash"))
			if err != nil || len(dumps) != 1 || dumps[0].Report == nil {
				t.Fatalf("%d dumps, %v", len(dumps), err)
			}
			d := dumps[0]
			if d.Outcome != crashdir.Complete || len(d.Report.Errors) > 0 || !strings.HasSuffix(d.Report.Collector, cmp.Or(c.by, c.compress)+" by 2 processors") {
				t.Errorf("%s by %q: %q", d.Outcome, d.Report.Collector, d.Report.Errors)
			}
			if _, err := dumpfile.VerifyFile(d.Vmcore); err != nil {
				t.Error(err)
			}
			if err := checkLog(filepath.Join(d.Path, crashdir.Dmesg), mark); err != nil {
				t.Error(err)
			}
			b, err := os.ReadFile(filepath.Join(d.Path, crashdir.CaptureLog))
			if err != nil || !strings.Contains(string(b), "Brought up 1 node, 2 CPUs") && !strings.Contains(string(b), "Total of 2 processors activated") {
				t.Errorf("the capture kernel did not start two processors (%v)", err)
			}
			if t.Failed() {
				t.Fatalf("its disks and logs are kept in %s", m.Dir)
			}
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}
