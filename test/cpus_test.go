package test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// TestProcessors captures with two processors after crashes on the processor that booted the
// machine and on another one. There x86 must not start the first: if a machine has only two,
// that leaves one, and makedumpfile compresses.
func TestProcessors(t *testing.T) {
	set := vmSet(t)
	if set == "faults" {
		t.Skip("no faults")
	}
	for _, c := range []struct {
		suite, compress string
		on, of          int // the processor that crashes, of so many
		bus             vmtest.Bus
		by              string // what auto chooses
	}{
		{"bookworm", "lzo", 0, 3, "", ""}, {"bookworm", "zlib", 2, 3, "", ""}, {"trixie", "zstd", 1, 3, "", ""}, {"sid", "lzo", 2, 3, "", ""},
		{"trixie", "auto", 0, 3, vmtest.AHCI, "zstd"}, // a hard disk, as the kernel says
		{"bookworm", "lzo", 0, 2, "", ""}, {"bookworm", "lzo", 1, 2, "", ""}, {"trixie", "zstd", 1, 2, "", ""}, {"sid", "zlib", 1, 2, "", ""},
		{"bookworm-arm64", "lzo", 0, 3, "", ""}, {"bookworm-arm64", "lzo", 1, 2, "", ""}, {"trixie-arm64", "zstd", 1, 2, "", ""},
	} {
		if set == "ci" && (c.suite != "bookworm" || c.of != 2) {
			continue
		}
		t.Run(fmt.Sprintf("%s-%s-crash-on-%d-of-%d", c.suite, c.compress, c.on, c.of), func(t *testing.T) {
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
			runMachine(t, m, debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Deadline: slowness(c.suite) * bootLimit, CPUs: c.of,
				Cmdline: "crashkernel=256M panic=5 printk.devkmsg=on"}, mark)
			payload.Run = ". /ukdump-test/lib.sh\nresults var/crash\nsay 'results written'\n"
			runMachine(t, m, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: slowness(c.suite) * bootLimit, Cmdline: "panic=5"}, "results written")
			dir, err := m.Results()
			if err != nil {
				t.Fatal(err)
			}
			dumps, err := crashdir.List(filepath.Join(dir, "var/crash"))
			if err != nil || len(dumps) != 1 || dumps[0].Report == nil {
				t.Fatalf("%d dumps, %v", len(dumps), err)
			}
			d := dumps[0]
			alone := c.of == 2 && c.on > 0 && root.Arch() == vmtest.AMD64
			if parallel := strings.HasSuffix(d.Report.Collector, cmp.Or(c.by, c.compress)+" by 2 processors"); d.Outcome != crashdir.Complete || len(d.Report.Errors) > 0 || parallel == alone {
				t.Errorf("%s by %q: %q", d.Outcome, d.Report.Collector, d.Report.Errors)
			}
			if _, err := dumpfile.VerifyFile(d.Vmcore); err != nil {
				t.Error(err)
			}
			if err := checkLog(filepath.Join(d.Path, crashdir.Dmesg), mark); err != nil {
				t.Error(err)
			}
			for _, a := range d.Report.Attempts {
				if strings.Contains(a.Stderr, "could not be mapped") {
					t.Errorf("slow: %s", a.Stderr)
				}
			}
			want := 2
			if alone {
				want = 1
			}
			if n, log, err := started(d); err != nil || n != want || bytes.Contains(log, []byte("not run: there is only one processor")) != alone {
				t.Errorf("%d processors started, want %d (%v):\n%s", n, want, err, log)
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

var startedLine = regexp.MustCompile(`Brought up 1 node, ([0-9]+) CPU|Total of ([0-9]+) processors activated`)

// started returns how many processors the capture kernel of a dump started, and its log.
func started(d crashdir.Dump) (n int, log []byte, err error) {
	if log, err = os.ReadFile(filepath.Join(d.Path, crashdir.CaptureLog)); err != nil {
		return 0, nil, err
	}
	found := startedLine.FindSubmatch(log)
	if found == nil {
		return 0, log, fmt.Errorf("%s says nothing of processors", crashdir.CaptureLog)
	}
	n, err = strconv.Atoi(string(found[1]) + string(found[2]))
	return n, log, err
}
