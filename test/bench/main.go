// Bench measures ukdump in a virtual machine, prints the results beside those of
// its peers, and keeps them in results.json.
//
// Synopsis:
//
//	go run ./test/bench
//	go run ./test/bench -suite SUITE
//	go run ./test/bench -small MIB [-suite SUITE]
//
// For Debian's generic and cloud kernel, with ext4 on virtio-blk: the size of the
// image, the time to build and load it, the smallest crashkernel= with which a
// crash is captured, the time from the panic to the reset of the machine, and
// the lowest MemAvailable of the capture. Seconds under software emulation are
// several times those of hardware and depend on the load of the computer: compare
// only the rows of one column.
//
// With -suite it measures the sizes, the estimate of kdumpctl and the smallest crashkernel=
// of ukdump alone, on the kernels of another suite of Debian, and keeps nothing.
//
// With -small it measures only the smallest crashkernel= of the capture kernel in
// packaging/capture-kernel, from MIB down in steps of 2 MiB, and prints it. It is that of
// the suite's architecture, for sid of its source and else of trixie's, and the suite's generic
// kernel crashes.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/setup"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

const (
	suite   = "bookworm"
	roomy   = 512 // MiB of crashkernel= for everything but the smallest
	runs    = 3   // crashes for the median of the time
	biggest = 128 // MiB where the search for the smallest begins
	step    = 8   // MiB
	memory  = 2048
)

func main() {
	small := flag.Int("small", 0, "measure the capture kernel of packaging/capture-kernel, from so many `MiB` down")
	other := flag.String("suite", "", "measure the smallest crashkernel= of another suite, and keep nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *other, *small); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, other string, small int) error {
	repo, err := debian.Repository()
	if err != nil {
		return err
	}
	all, err := readResults(filepath.Join(repo, resultsFile))
	if err != nil {
		return err
	}
	root, err := debian.MakeRoot(ctx, repo, cmp.Or(other, suite), os.Stderr)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "ukdump-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	staging, err := debian.Install(ctx, repo, tmp, root.Arch())
	if err != nil {
		return err
	}
	pid1, err := os.Stat(filepath.Join(staging, "usr/lib/ukdump/kdumpinit"))
	if err != nil {
		return err
	}
	fmt.Printf("kdumpinit: %d bytes\n", pid1.Size())
	if small > 0 {
		return measureSmall(ctx, repo, root, staging, small)
	}
	for _, flavour := range []debian.Flavour{debian.Generic, debian.Cloud} {
		b := &bench{ctx: ctx, root: root, flavour: flavour, runs: runs, payload: payload(root, staging, "")}
		if other != "" {
			b.runs, b.near = 1, true
		}
		r, err := b.measure()
		if err != nil {
			return fmt.Errorf("%s kernel: %w", flavour, err)
		}
		b.print(root.Suite+" "+string(flavour), &r)
		if other != "" {
			continue
		}
		all.replace(flavour, r)
		all.print(os.Stdout, flavour)
	}
	if other != "" {
		return nil
	}
	return all.write(filepath.Join(repo, resultsFile))
}

// bench measures one kernel.
type bench struct {
	ctx     context.Context
	root    *debian.Root
	flavour debian.Flavour
	payload debian.Payload
	search  search
	near    bool // the search begins at safe
	runs    int  // crashes for the median

	estimate float64 // MiB, of kdumpctl without a capture on this machine
	safe     int     // MiB, the crashkernel= of kdumpctl estimate
}

// search is for the smallest crashkernel=, in MiB.
type search struct {
	from, step int
}

// payload has the programs in staging and a configuration.
func payload(root *debian.Root, staging, conf string) debian.Payload {
	if root.Arch() == vmtest.AMD64 {
		conf += "BOOT_OPTIONS=\"no_timer_check\"\n"
	}
	return debian.Payload{Trees: []string{staging}, Files: map[string]string{"etc/ukdump.conf.d/vm.conf": conf}}
}

// measureSmall measures the capture kernel that is made for it.
func measureSmall(ctx context.Context, repo string, root *debian.Root, staging string, from int) error {
	variant := "small"
	if strings.HasPrefix(root.Suite, "sid") {
		variant += "-sid" // of the source of that suite
	}
	if root.Arch() == vmtest.ARM64 {
		variant += "-arm64"
	}
	kernel, err := debian.MakeKernel(ctx, repo, variant, os.Stderr)
	if err != nil {
		return err
	}
	if err := kernel.InstallSmall(ctx, repo, staging); err != nil {
		return err
	}
	b := &bench{ctx: ctx, root: root, flavour: debian.Generic, search: search{from: from, step: 2}, runs: 1,
		payload: payload(root, staging, "KERNEL="+setup.CaptureKernel+"\n")}
	r, err := b.measure()
	if err != nil {
		return err
	}
	b.print(kernel.Release, &r)
	return nil
}

// measureScript does everything up to the crash. The first build counts: the page
// cache is empty, as in the peers' measurements.
const measureScript = `. /ukdump-test/lib.sh
now() { read up rest </proc/uptime; echo "$up"; }
rm -rf /var/crash/2*
echo 3 >/proc/sys/vm/drop_caches
begin=$(now)
mkkdumpinitrd --explain --output /tmp/bench.img >/tmp/explain
built=$(now)
kdumpctl build
ready=$(now)
kdumpctl load
loaded=$(now)
cpio=0
for size in $(mkkdumpinitrd ls --long /tmp/bench.img | sed -n 's/^[^ ]* *\([0-9]*\) .*/\1/p'); do cpio=$((cpio + size)); done
estimate=$(kdumpctl estimate --json | sed -n 's/^ *"\(estimate\|smallest\)": \([0-9]*\),*$/\2/p')
say "bench $begin $built $ready $loaded $(stat -c %s /tmp/bench.img) $cpio" $estimate
sync
echo c >/proc/sysrq-trigger
`

const crashScript = `. /ukdump-test/lib.sh
kdumpctl load
sync
echo c >/proc/sysrq-trigger
`

// afterScript opens the dump with makedumpfile, but not on arm64, where it does not know the
// kernels of trixie and sid.
const afterScript = `. /ukdump-test/lib.sh
for core in /var/crash/*/vmcore; do
	[ "$(uname -m)" != aarch64 ] || break
	makedumpfile --dump-dmesg "$core" /tmp/dmesg.txt >/dev/null
	grep -q 'sysrq triggered crash' /tmp/dmesg.txt
done
results var/crash
say "results written"
`

func (b *bench) measure() (r result, err error) {
	r.Name, r.Date = "ukdump", time.Now().Format(time.DateOnly)
	m, err := debian.New(b.ctx, "bench", debian.Hardware{Root: b.root, Flavour: b.flavour})
	if err != nil {
		return r, err
	}
	defer m.Remove()
	var seconds []float64
	for i := range b.runs {
		script := measureScript
		if i > 0 {
			script = crashScript
		}
		run, err := b.crash(m, roomy, script)
		if err != nil {
			return r, err
		}
		if !run.complete {
			return r, run.vm.Fail("the crash was not captured")
		}
		seconds = append(seconds, run.seconds)
		if i == 0 {
			if err := b.parse(&r, run.bench); err != nil {
				return r, run.vm.Fail("%v", err)
			}
		}
	}
	slices.Sort(seconds)
	r.Reboot = tenths(seconds[len(seconds)/2])

	if b.near {
		b.search.from = b.safe
	}
	r.Smallest, r.Lowest, err = b.smallest(m)
	return r, err
}

// smallest returns the smallest crashkernel= with which a crash is captured, and the
// lowest MemAvailable of that capture, both in MiB.
func (b *bench) smallest(m *debian.Machine) (mib int, lowest float64, err error) {
	first, by := cmp.Or(b.search.from, biggest), cmp.Or(b.search.step, step)
	for size := first; size >= by; size -= by {
		run, err := b.crash(m, size, "rm -rf /var/crash/2*\n"+crashScript)
		if err == nil && !run.complete {
			err = run.vm.Fail("not captured")
		}
		var n int64
		if err == nil {
			n, err = b.verify(m)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "crashkernel=%dM: %v\n", size, err)
			break
		}
		mib, lowest = size, tenths(float64(n)/(1<<20))
		fmt.Fprintf(os.Stderr, "crashkernel=%dM: complete, lowest MemAvailable %.1f MiB\n", mib, lowest)
	}
	if mib == 0 {
		return 0, 0, fmt.Errorf("not captured with crashkernel=%dM", first)
	}
	return mib, lowest, nil
}

// parse reads the line of measureScript.
func (b *bench) parse(r *result, line string) error {
	f := strings.Fields(line)
	if len(f) != 8 {
		return fmt.Errorf("the guest measured %q", line)
	}
	var v [8]float64
	for i := range f {
		var err error
		if v[i], err = strconv.ParseFloat(f[i], 64); err != nil {
			return err
		}
	}
	r.Build, r.Load = tenths(v[1]-v[0]), tenths(v[3]-v[2])
	r.Packed, r.Unpacked = int64(v[4]), int64(v[5])
	b.estimate, b.safe = tenths(v[6]/(1<<20)), int(v[7])>>20
	return nil
}

// print prints what is needed and what was estimated.
func (b *bench) print(kernel string, r *result) {
	fmt.Printf("%s: %d bytes packed, %d unpacked, estimate %.1f MiB, smallest safe %d MiB, smallest that captured %d MiB with %.1f MiB to spare\n",
		kernel, r.Packed, r.Unpacked, b.estimate, b.safe, r.Smallest, r.Lowest)
}

// tenths rounds to the precision of the table.
func tenths(x float64) float64 { return math.Round(x*10) / 10 }

// crashRun is one crash.
type crashRun struct {
	vm       *vmtest.VM
	bench    string  // the line of measureScript
	seconds  float64 // from the panic to the machine's reset
	complete bool    // according to kdumpinit
}

// crash boots the machine with a reservation and crashes it.
func (b *bench) crash(m *debian.Machine, mib int, script string) (*crashRun, error) {
	var mu sync.Mutex
	var panicked time.Time
	run := new(crashRun)
	p := b.payload
	p.Run = script
	vm, err := m.Boot(b.ctx, debian.Boot{
		Name: "crash", Init: debian.Quick, Payload: p, Memory: memory,
		Cmdline: fmt.Sprintf("crashkernel=%dM panic=5 printk.devkmsg=on", mib),
		Line: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			if _, said, ok := strings.Cut(line, "ukdump-test: bench "); ok {
				run.bench = said
			}
			if panicked.IsZero() && strings.Contains(line, "sysrq: Trigger a crash") {
				panicked = time.Now()
			}
			if strings.Contains(line, "kdumpinit: outcome: complete") {
				run.complete = true
			}
		},
	})
	if err != nil {
		return nil, err
	}
	err = vm.Wait()
	end := time.Now()
	mu.Lock()
	defer mu.Unlock()
	run.vm = vm
	switch {
	case err != nil:
		return nil, err
	case panicked.IsZero():
		return nil, vm.Fail("the machine did not crash")
	}
	run.seconds = end.Sub(panicked).Seconds()
	return run, nil
}

// verify boots the machine again, lets makedumpfile read the log of the dump and
// returns the lowest MemAvailable of its capture.
func (b *bench) verify(m *debian.Machine) (int64, error) {
	p := b.payload
	p.Run = afterScript
	vm, err := m.Boot(b.ctx, debian.Boot{Name: "after", Init: debian.Quick, Payload: p, Memory: memory, Cmdline: "panic=5 printk.devkmsg=on"})
	if err != nil {
		return 0, err
	}
	if err := vm.Wait(); err != nil {
		return 0, err
	}
	if err := vm.Expect("ukdump-test: results written", 0); err != nil {
		return 0, err
	}
	dir, err := m.Results()
	if err != nil {
		return 0, err
	}
	dumps, err := crashdir.List(filepath.Join(dir, "var/crash"))
	if err != nil {
		return 0, err
	}
	if len(dumps) != 1 || dumps[0].Outcome != crashdir.Complete || dumps[0].Report == nil {
		return 0, errors.New("no complete dump")
	}
	if _, err := dumpfile.VerifyFile(dumps[0].Vmcore); err != nil {
		return 0, err
	}
	return dumps[0].Report.LowestMem, nil
}
