package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"filippo.io/age"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// Reservations of the bench, in MiB. The rate is that of all rows with the same one.
const (
	benchMemory = 2048 // of the machine
	benchRoomy  = 256  // for the rate
	benchLeast  = 64   // the generic kernel alone takes 54
	benchStep   = 8
)

const (
	benchRounds = 3                // crashes for the rate of a row, one round after the other
	benchCopy   = 64               // MiB of the plain copy before each of them, about the size of a dump
	benchLimit  = 40 * time.Minute // of a boot up to its crash
)

// errLost is a crash of which no whole dump was saved.
var errLost = errors.New("not captured")

// netBench is a row: a machine with a tool that saves its dumps to a target.
type netBench struct {
	name    string
	machine *debian.Machine
	payload debian.Payload
	run     string // script of the boot that crashes
	init    string // of that boot
	words   string // added to the command line of its kernel
	first   int    // MiB, with which the search for the smallest reservation begins
	// prepare runs once before the first crash.
	prepare func(ctx context.Context) error
	// read returns the dump of the last crash, and removes it and its parts. console is that
	// of the crash.
	read func(ctx context.Context, console string) (savedDump, error)

	prepared bool
	image    int64 // bytes, packed
	dumps    []savedDump
	copies   []float64 // MB/s of the plain copies
	smallest int       // MiB of crashkernel=
	lowest   int64     // bytes of MemAvailable with the smallest
}

// savedDump is a dump that is whole.
type savedDump struct {
	vmcore  int64 // bytes at the target
	seconds float64
	lowest  int64 // bytes of MemAvailable, 0 if the tool does not measure it
}

// mbs returns the rate in MB/s.
func (d savedDump) mbs() float64 { return float64(d.vmcore) / 1e6 / d.seconds }

// TestBenchNetwork measures the network targets and the peers for docs/measured.md. It asserts
// nothing but that each captures. UKDUMP_CELL chooses rows, and KDUMP_UTILS is a source tree of kdump-utils
// for its row.
func TestBenchNetwork(t *testing.T) {
	if os.Getenv("UKDUMP_VM") != "bench" {
		t.Skip("measures: run make bench")
	}
	wanted, err := regexp.Compile(os.Getenv("UKDUMP_CELL"))
	if err != nil {
		t.Fatal(err)
	}
	root, payload := lab(t, "bookworm")
	var rows []*netBench
	add := func(name string, row func(name string) (*netBench, error)) {
		if !wanted.MatchString(name) {
			return
		}
		chosen.Add(1)
		b, err := row(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.machine.Remove() })
		rows = append(rows, b)
	}
	targets := []string{"", "sftp", "https", "s3"}
	if hasNFS() {
		targets = append(targets, "nfs")
	} else {
		fmt.Println("nfs is not measured: install nfs-ganesha-vfs and be root")
	}
	for _, server := range targets {
		start := sync.OnceValue(func() dumpServer {
			if server == "" {
				return dumpServer{target: "/var/crash"}
			}
			return servers[server](t, hostIPv4)
		})
		for _, encrypt := range []bool{false, true} {
			name := server
			if server == "" {
				name = "/var/crash"
			}
			if encrypt {
				name += " encrypted"
			}
			add(name, func(name string) (*netBench, error) { return ukdumpBench(t, name, root, payload, start(), encrypt) })
		}
	}
	add("kdump-tools ssh", func(name string) (*netBench, error) { return kdumpToolsBench(t, name, root) })
	if source := os.Getenv("KDUMP_UTILS"); source != "" {
		add("kdump-utils ssh", func(name string) (*netBench, error) { return kdumpUtilsBench(t, name, root, source) })
	} else {
		fmt.Println("kdump-utils is not measured: set KDUMP_UTILS to its source tree")
	}

	// In turns, so that a busy moment of this computer meets all of them.
	for round := range benchRounds {
		t.Run(fmt.Sprintf("rate/%d", round+1), func(t *testing.T) {
			for _, b := range rows {
				t.Run(b.name, b.measureRate)
			}
		})
	}
	t.Run("smallest", func(t *testing.T) {
		for _, b := range rows {
			t.Run(b.name, b.measureSmallest)
		}
	})
	printNetBench(rows)
}

// printNetBench prints the table. A rate is the median of its rounds.
func printNetBench(rows []*netBench) {
	number := func(x float64) string {
		if x == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", x)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\timage bytes\tsmallest crashkernel= MiB\tlowest MemAvailable MiB\tvmcore MB\ts\tMB/s\tplain copy MB/s\tratio")
	for _, b := range rows {
		var size, seconds, rate, ratio []float64
		for i, d := range b.dumps {
			size, seconds, rate = append(size, float64(d.vmcore)/1e6), append(seconds, d.seconds), append(rate, d.mbs())
			ratio = append(ratio, d.mbs()/b.copies[i])
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%.2f\n", b.name, b.image, b.smallest, number(float64(b.lowest)/(1<<20)),
			number(median(size)), number(median(seconds)), number(median(rate)), number(median(b.copies)), median(ratio))
	}
	w.Flush()
}

// median returns 0 for an empty list.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// measureRate crashes the machine with a roomy reservation, after a plain copy by TCP from the
// same guest.
func (b *netBench) measureRate(t *testing.T) {
	sink, err := listenForCopy()
	if err != nil {
		t.Fatal(err)
	}
	defer sink.listener.Close()
	d, err := b.crash(t.Context(), benchRoomy, fmt.Sprintf("copy_mib=%d\ncopy_port=%d\n", benchCopy, sink.port()))
	if err != nil {
		t.Fatal(err)
	}
	copied := <-sink.rates
	b.dumps, b.copies = append(b.dumps, d), append(b.copies, copied)
	fmt.Printf("%s: image %d bytes, vmcore %.1f MB in %.1f s, %.1f MB/s, plain copy %.1f MB/s, lowest MemAvailable %.1f MiB\n",
		b.name, b.image, float64(d.vmcore)/1e6, d.seconds, d.mbs(), copied, float64(d.lowest)/(1<<20))
}

// measureSmallest finds the smallest reservation that captures.
func (b *netBench) measureSmallest(t *testing.T) {
	smallest, err := smallestOf(b.first, benchLeast, benchRoomy, benchStep, func(mib int) (bool, error) {
		d, err := b.crash(t.Context(), mib, "")
		fmt.Printf("%s: crashkernel=%dM: %s\n", b.name, mib, firstLine(err))
		if errors.Is(err, errLost) {
			return false, nil
		}
		b.lowest = d.lowest
		return err == nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.smallest = smallest
	fmt.Printf("%s: smallest crashkernel=%dM, lowest MemAvailable %.1f MiB\n", b.name, smallest, float64(b.lowest)/(1<<20))
}

// firstLine returns the first line of an error, or "captured".
func firstLine(err error) string {
	if err == nil {
		return "captured"
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// smallestOf returns the smallest multiple of step, from least to most, that captures, where
// the next smaller one does not. It goes down or up from first.
func smallestOf(first, least, most, step int, captures func(mib int) (bool, error)) (int, error) {
	ok, err := captures(first)
	for mib := first; ok && err == nil; {
		if mib -= step; mib < least {
			return mib + step, nil
		}
		if ok, err = captures(mib); !ok && err == nil {
			return mib + step, nil
		}
	}
	for mib := first + step; err == nil && mib <= most; mib += step {
		if ok, err = captures(mib); ok && err == nil {
			return mib, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("crashkernel=%dM: %w", most, errLost)
	}
	return 0, err
}

func TestSmallestOf(t *testing.T) {
	for _, tt := range []struct{ first, smallest, tries int }{
		{first: 96, smallest: 96, tries: 2},
		{first: 96, smallest: 80, tries: 4},
		{first: 96, smallest: 104, tries: 2},
		{first: 96, smallest: 64, tries: 5},
		{first: 96, smallest: 128, tries: 5},
	} {
		tries := 0
		got, err := smallestOf(tt.first, 64, 128, 8, func(mib int) (bool, error) {
			tries++
			return mib >= tt.smallest, nil
		})
		if got != tt.smallest || err != nil || tries != tt.tries {
			t.Errorf("%+v: got %d after %d tries, %v", tt, got, tries, err)
		}
	}
	if got, err := smallestOf(96, 64, 128, 8, func(int) (bool, error) { return false, nil }); !errors.Is(err, errLost) {
		t.Errorf("none captures: got %d, %v", got, err)
	}
	broken := errors.New("broken")
	if _, err := smallestOf(96, 64, 128, 8, func(int) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// copySink measures one copy by TCP.
type copySink struct {
	listener net.Listener
	rates    chan float64 // MB/s
}

func listenForCopy() (*copySink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &copySink{listener: l, rates: make(chan float64, 1)}
	go func() {
		defer close(s.rates)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		begin := time.Now()
		if n, err := io.Copy(io.Discard, c); err == nil {
			s.rates <- float64(n) / 1e6 / time.Since(begin).Seconds()
		}
	}()
	return s, nil
}

func (s *copySink) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

var builtLine = regexp.MustCompile(`ukdump-test: image (\d+)`)

// benchMark is what the guest prints before it crashes.
const benchMark = "bench"

// crash crashes the machine with a reservation of mib MiB and returns its dump. An error that
// is not errLost is one of the bench. cell is added to /ukdump-test/cell.
func (b *netBench) crash(ctx context.Context, mib int, cell string) (d savedDump, err error) {
	if b.prepare != nil && !b.prepared {
		if err := b.prepare(ctx); err != nil {
			return d, err
		}
	}
	b.prepared = true
	payload := b.payload.With("ukdump-test/cell", fmt.Sprintf("mark=%s\nset_up='%s'\nverify=skip\n%s", benchMark, addressings["static"].setUp, cell))
	payload.Run = b.run
	vm, err := b.machine.Boot(ctx, debian.Boot{Name: "crash", Init: b.init, Payload: payload, Memory: benchMemory, Deadline: 6 * benchLimit,
		Cmdline: fmt.Sprintf("crashkernel=%dM panic=5 printk.devkmsg=on %s", mib, b.words)})
	if err != nil {
		return d, err
	}
	begin := time.Now()
	if err := vm.Expect("ukdump-test: "+benchMark, benchLimit); err != nil {
		vm.Kill()
		if strings.Contains(strings.Join(vm.Console(), "\n"), "ukdump-test: FAILED load") {
			return d, fmt.Errorf("%w: not loaded: %w", errLost, err) // a tool may refuse a small reservation
		}
		return d, fmt.Errorf("the machine was not crashed: %w", err)
	}
	// A capture that has no memory may hang. The time before the crash tells how busy this
	// computer is.
	ended := vm.WaitFor(max(5*time.Minute, 5*time.Since(begin)))
	console := strings.Join(vm.Console(), "\n")
	if found := builtLine.FindStringSubmatch(console); found != nil {
		b.image, _ = strconv.ParseInt(found[1], 10, 64)
	}
	// In any case, as a part of a dump has to be removed.
	d, err = b.read(ctx, console)
	if err = errors.Join(ended, err); err != nil {
		return d, fmt.Errorf("%w: %w", errLost, err)
	}
	return d, nil
}

// ukdumpBench is the row of a target of ukdump. One that is no server has no directory.
func ukdumpBench(t *testing.T, name string, root *debian.Root, payload debian.Payload, s dumpServer, encrypt bool) (*netBench, error) {
	if encrypt {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, err
		}
		s.conf += fmt.Sprintf("ENCRYPT=%s\nENCRYPT_REPORT=no\n", id.Recipient())
	}
	for name, text := range s.files {
		payload = payload.With(name, text)
	}
	m, err := benchMachine(t, name, root)
	if err != nil {
		return nil, err
	}
	b := &netBench{name: name, machine: m, init: debian.Quick, first: 96, run: "rm -rf /var/crash/2*\n. /ukdump-test/network\n",
		payload: payload.With("etc/ukdump.conf", fmt.Sprintf("TARGET=%q\n%s", s.target, s.conf))}
	b.read = func(context.Context, string) (savedDump, error) { return readReport(s.dir) }
	if s.dir == "" {
		b.read = func(ctx context.Context, console string) (savedDump, error) {
			if !strings.Contains(console, "kdumpinit: outcome: complete") {
				return savedDump{}, errors.New("kdumpinit saved no whole dump") // without another boot
			}
			return readLocal(ctx, m, payload)
		}
	}
	return b, nil
}

// benchMachine is the machine of every row.
func benchMachine(t *testing.T, name string, root *debian.Root) (*debian.Machine, error) {
	return debian.New(t.Context(), "bench-"+name, debian.Hardware{Root: root, Flavour: debian.Generic,
		NICs: []vmtest.NIC{{Model: "virtio-net-pci", MAC: "52:54:00:12:34:56", Backend: "user"}}})
}

// readLocal boots the machine again to fetch the report.
func readLocal(ctx context.Context, m *debian.Machine, payload debian.Payload) (d savedDump, err error) {
	payload.Run = ". /ukdump-test/lib.sh\nresults var/crash\nrm -rf /var/crash/2*\nsay 'results written'\n"
	vm, err := m.Boot(ctx, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: benchLimit, Cmdline: "panic=5"})
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		return d, err
	}
	dir, err := m.Results()
	if err != nil {
		return d, err
	}
	return readReport(filepath.Join(dir, "var"))
}

// readReport reads the report of the only dump below dir and removes all dumps.
func readReport(dir string) (d savedDump, err error) {
	defer func() { err = errors.Join(err, removeDumps(dir)) }()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", crashdir.ReportFile))
	if err != nil || len(found) != 1 {
		return d, fmt.Errorf("%d reports below %s, not 1 (%v)", len(found), dir, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		return d, err
	}
	r, err := crashdir.ParseReport(b)
	if err != nil {
		return d, err
	}
	if r.Outcome != crashdir.Complete {
		return d, fmt.Errorf("%s says %s: %s", found[0], r.Outcome, strings.Join(r.Errors, "; "))
	}
	d = savedDump{vmcore: r.Vmcore, lowest: r.LowestMem}
	for _, s := range r.Steps {
		if s.Name == "vmcore" {
			d.seconds = s.Seconds
		}
	}
	return d, nil
}

// removeDumps removes all dumps below dir. The directories of machines stay: NFS-Ganesha does
// not notice that one is gone.
func removeDumps(dir string) error {
	machines, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, m := range machines {
		err = errors.Join(err, removeAllIn(m))
	}
	return err
}

// removeAllIn removes everything in dir.
func removeAllIn(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
