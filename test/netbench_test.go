package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"filippo.io/age"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// benchMemory is that of the machines of the bench, in MiB.
const benchMemory = 2048

// netBench is one row: a target, plain or encrypted.
type netBench struct {
	name    string
	server  string // a key of servers, "" for /var/crash
	encrypt bool
}

// netBenchRow is what a row shows.
type netBenchRow struct {
	name     string
	image    int64   // bytes, packed
	smallest int     // MiB of crashkernel=
	rate     float64 // MB/s of the vmcore, with its proof
	lowest   float64 // MiB of MemAvailable with the smallest
}

// TestBenchNetwork measures the network targets for docs/measured.md. It asserts nothing but
// that each captures.
func TestBenchNetwork(t *testing.T) {
	if os.Getenv("UKDUMP_VM") != "bench" {
		t.Skip("measures: run make bench")
	}
	root, payload := lab(t, "bookworm")
	var rows []netBenchRow
	for _, b := range []netBench{
		{name: "/var/crash"}, {name: "/var/crash, encrypted", encrypt: true},
		{name: "sftp", server: "sftp"}, {name: "sftp, encrypted", server: "sftp", encrypt: true},
		{name: "https", server: "https"}, {name: "https, encrypted", server: "https", encrypt: true},
		{name: "s3", server: "s3"},
	} {
		t.Run(b.name, func(t *testing.T) {
			r, err := b.measure(t, root, payload)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, r)
		})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\timage MB\tsmallest crashkernel= MiB\tMB/s\tlowest MemAvailable MiB")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%.2f\t%d\t%.1f\t%.1f\n", r.name, float64(r.image)/1e6, r.smallest, r.rate, r.lowest)
	}
	w.Flush()
}

var builtLine = regexp.MustCompile(`ukdump-test: image (\d+)`)

func (b *netBench) measure(t *testing.T, root *debian.Root, payload debian.Payload) (r netBenchRow, err error) {
	r.name = b.name
	s := dumpServer{target: "/var/crash"}
	if b.server != "" {
		s = servers[b.server](t, hostIPv4)
	}
	if b.encrypt {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return r, err
		}
		s.conf += fmt.Sprintf("ENCRYPT=%s\nENCRYPT_REPORT=no\n", id.Recipient())
	}
	for name, text := range s.files {
		payload = payload.With(name, text)
	}
	payload = payload.With("etc/ukdump.conf", fmt.Sprintf("TARGET=%q\n%s", s.target, s.conf)).
		With("ukdump-test/cell", fmt.Sprintf("mark=bench\nset_up='%s'\nverify=skip\n", addressings["static"].setUp))
	m, err := debian.New(t.Context(), "bench-"+b.name, debian.Hardware{Root: root, Flavour: debian.Generic,
		NICs: []vmtest.NIC{{Model: "virtio-net-pci", MAC: "52:54:00:12:34:56", Backend: "user"}}})
	if err != nil {
		return r, err
	}
	defer m.Remove()
	for mib := 128; mib >= 64; mib -= 8 {
		report, image, err := b.crash(t.Context(), m, payload, s, mib)
		if err != nil && r.smallest == 0 {
			return r, err
		}
		if err != nil {
			break // not captured, for any reason
		}
		r.image, r.smallest, r.lowest = image, mib, float64(report.LowestMem)/(1<<20)
		for _, s := range report.Steps {
			if s.Name == "vmcore" && r.rate == 0 {
				r.rate = float64(report.Vmcore) / 1e6 / s.Seconds
			}
		}
	}
	return r, nil
}

// crash crashes the machine with a reservation, and returns the report and the size of the
// image.
func (b *netBench) crash(ctx context.Context, m *debian.Machine, payload debian.Payload, s dumpServer, mib int) (*crashdir.Report, int64, error) {
	payload.Run = "rm -rf /var/crash/2*\n. /ukdump-test/network\n"
	vm, err := m.Boot(ctx, debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Memory: benchMemory, Deadline: bootLimit,
		Cmdline: fmt.Sprintf("crashkernel=%dM panic=5 printk.devkmsg=on", mib)})
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		return nil, 0, err
	}
	console := strings.Join(vm.Console(), "\n")
	var image int64
	if found := builtLine.FindStringSubmatch(console); found != nil {
		image, _ = strconv.ParseInt(found[1], 10, 64)
	}
	if !strings.Contains(console, "kdumpinit: outcome: complete") {
		return nil, image, vm.Fail("not captured")
	}
	dir := s.dir
	if b.server == "" {
		payload.Run = ". /ukdump-test/encrypted-after\n"
		after, err := m.Boot(ctx, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: bootLimit, Cmdline: "panic=5"})
		if err == nil {
			err = after.Wait()
		}
		if err != nil {
			return nil, image, err
		}
		if dir, err = m.Results(); err != nil {
			return nil, image, err
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", crashdir.ReportFile))
	if err == nil && len(found) == 0 {
		found, err = filepath.Glob(filepath.Join(dir, "*", "*", crashdir.ReportFile))
	}
	if err != nil || len(found) == 0 {
		return nil, image, fmt.Errorf("no report below %s (%v)", dir, err)
	}
	at := found[len(found)-1]
	data, err := os.ReadFile(at)
	if err != nil {
		return nil, image, err
	}
	report, err := crashdir.ParseReport(data)
	if err == nil && report.Outcome != crashdir.Complete {
		err = fmt.Errorf("%s says %s", at, report.Outcome)
	}
	return report, image, errors.Join(err, os.RemoveAll(filepath.Dir(at)))
}
