package test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
	"ukdump/test/faultlab/found"
)

// fault is one failure, and the outcome that it must have all the same. Every script is
// for sh(1) in the guest; test/debian/guest/fault has the functions for it.
type fault struct {
	name string
	ci   bool // belongs to the representative set
	pc   bool // its sizes, its devices or all that the kernel shows are those of a PC: not for arm64

	// The machine.
	flavour     debian.Flavour // Cloud if empty
	reservation int            // MiB of crashkernel=, 160 if zero
	crashkernel string         // words of the command line in place of that
	memory      int            // MiB, faultMemory if zero
	conf        string         // lines of the configuration
	words       string         // BOOT_OPTIONS beside those for emulation
	watchdog    bool
	erst        bool
	rtc         string // time at the crash, as in vmtest.Options

	// The target: /var/crash on the root disk, or first /dump on a disk of its
	// own, with the file system fs, and then /var/crash.
	fs        string
	alone     bool       // /var/crash is no second target
	bus       vmtest.Bus // of that disk, VirtioBlk if empty
	size      int64      // of that disk in MiB, 1024 if zero
	nbd       bool       // the host can make it fail
	mkfs      string     // further options of mkfs
	make      string     // instead of mkfs on $target, with the functions of test/debian/guest/storage
	mount     string     // instead of mount LABEL=dump /dump, with the same functions
	noEarlier bool       // has no earlier dump
	dir       string     // directory on that disk, /dump if empty
	raw       bool       // one more disk, with the partition $raw; prepare sets TARGET

	// The failure, in this order.
	prepare string   // before the image is loaded
	change  []string // of the image, as in faultlab edit; kdumpctl does not check it
	load    string   // instead of kdumpctl load
	inject  string   // just before the crash
	crash   string   // instead of sysrq-c
	events  []event  // actions of the host at lines of the console, in order
	byHand  bool     // no crash: the image is booted as any other initramfs

	// Afterwards.
	repair string // before the target is mounted again
	check  string // further checks in the guest

	want want
}

// event is an action of the host on a running machine.
type event struct {
	line  string // of the console that triggers it; the next line if empty
	after time.Duration
	do    func(m *debian.Machine, vm *vmtest.VM) error
}

// want is the outcome that a fault must have. Every fault has three more: the
// machine is back in time, no incomplete dump is called complete, and each
// earlier dump is in its place, unchanged.
type want struct {
	// outcomes are those that the best new dump may have; none means no new
	// dump.
	outcomes []crashdir.Outcome
	dir      string // where the best new dump must be; anywhere if empty
	dmesg    string // directory in which the log of the crashed kernel must be; beside the best dump if empty
	says     string // text that a report or the console must have
	format   dumpfile.Format
	within   time.Duration // from the crash to the reset, 2 minutes if zero
	panics   bool          // the capture kernel may panic too
}

const none crashdir.Outcome = "none"

// Frequent sets of outcomes.
var (
	complete  = []crashdir.Outcome{crashdir.Complete}
	dmesgOnly = []crashdir.Outcome{crashdir.Complete, crashdir.Incomplete, crashdir.DmesgOnly}
	nothing   = []crashdir.Outcome{none}
	anything  = []crashdir.Outcome{crashdir.Complete, crashdir.Incomplete, crashdir.DmesgOnly, crashdir.Failed, none}
)

// faults are all faults, from the files by topic.
var faults = slices.Concat(collectorFaults, spaceFaults, deviceFaults, filesystemFaults, imageFaults, moduleFaults, timeFaults, loadFaults, kernelFaults, rawFaults, evidenceFaults, storageFaults, slotFaults)

func TestFaultTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range faults {
		if seen[f.name] {
			t.Errorf("%s is there twice", f.name)
		}
		seen[f.name] = true
		if len(f.want.outcomes) == 0 {
			t.Errorf("%s requires no outcome", f.name)
		}
		if f.fs != "" && mkfs[f.fs] == "" {
			t.Errorf("%s: no file system %q", f.name, f.fs)
		}
		if f.name != strings.ToLower(f.name) || strings.ContainsAny(f.name, " _/") {
			t.Errorf("%s: names have lower case letters and dashes", f.name)
		}
	}
	if len(faults) < 60 {
		t.Errorf("%d faults, fewer than 60", len(faults))
	}
}

// TestFaults crashes one machine per fault.
func TestFaults(t *testing.T) {
	set := vmSet(t)
	if set == "matrix" {
		t.Skip("UKDUMP_VM=matrix is for TestCrash")
	}
	table := &faultTable{}
	t.Run("fault", func(t *testing.T) {
		for _, f := range faults {
			if set == "ci" && !f.ci {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				if f.pc && debian.ArchOf(faultSuite) != vmtest.AMD64 {
					t.Skip("only on a PC")
				}
				chosen.Add(1)
				t.Parallel()
				base := baseMachine(t, f.kernel())
				o, err := f.run(t.Context(), base)
				table.add(f, o, err)
				if err != nil {
					t.Error(err)
				}
			})
		}
	})
	fmt.Print(table)
	for _, b := range bases {
		if b.machine != nil && !t.Failed() {
			b.machine.Remove()
		}
	}
}

func (f fault) kernel() debian.Flavour {
	if f.flavour == "" {
		return debian.Cloud
	}
	return f.flavour
}

// base is a machine that has crashed once and recovered. The machines of the
// faults begin with its root disk; its dumps are the earlier ones.
type base struct {
	sync.Once
	machine *debian.Machine
	payload debian.Payload
	dumps   []found.Dump
	err     error
}

var bases = map[debian.Flavour]*base{debian.Cloud: new(base), debian.Generic: new(base)}

const (
	faultMemory = 448 // MiB: fewer pages to filter
	rawSize     = 640 // MiB
)

// faultSuite is the suite of the machines. UKDUMP_SUITE=bookworm-arm64 makes them arm64
// machines.
var faultSuite = cmp.Or(os.Getenv("UKDUMP_SUITE"), "bookworm")

// baseMachine returns the first machine of a flavour, on which its faults are
// based.
func baseMachine(t *testing.T, flavour debian.Flavour) *base {
	t.Helper()
	b := bases[flavour]
	b.Do(func() {
		var root *debian.Root
		root, b.payload = lab(t, faultSuite)
		if b.err = buildFaultlab(installed.dir); b.err != nil {
			return
		}
		b.payload.Trees = append(b.payload.Trees, installed.dir+"/faultlab")
		// Not the context of the first fault: the other faults need the machine
		// too.
		if b.machine, b.err = debian.New(context.Background(), "base-"+string(flavour), debian.Hardware{Root: root, Flavour: flavour}); b.err != nil {
			return
		}
		b.err = b.crash(context.Background())
	})
	if b.err != nil {
		t.Fatalf("the machine to begin with: %v", b.err)
	}
	return b
}

// buildFaultlab builds the programs of the fault tests into a tree for the
// payload.
func buildFaultlab(dir string) error {
	out := filepath.Join(dir, "faultlab/ukdump-test")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./faultlab", "./faultlab/badcollector")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+string(debian.ArchOf(faultSuite)))
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build faultlab: %w\n%s", err, text)
	}
	return nil
}

// crash makes the earlier dumps: one of a real crash, and a copy with a date six years
// earlier.
func (b *base) crash(ctx context.Context) error {
	f := fault{name: "base"}
	mark := "mark-base"
	payload := f.payload(b.payload, mark)
	if _, err := f.boot(ctx, b.machine, payload, mark); err != nil {
		return err
	}
	payload.Run = "(cd /var/crash && cp -a 20* 2020-01-01T00-00-00Z)\n. /ukdump-test/fault-after\n"
	all, err := f.after(ctx, b.machine, payload)
	if err != nil {
		return err
	}
	b.dumps = all.Dumps
	if len(b.dumps) != 2 {
		return fmt.Errorf("%d dumps in a healthy machine", len(b.dumps))
	}
	for _, d := range b.dumps {
		if err := whole(d); err != nil || d.Outcome != crashdir.Complete {
			return fmt.Errorf("%s in a healthy machine: %s: %w", d.Name, d.Outcome, err)
		}
	}
	return nil
}

// observed is the outcome of a fault.
type observed struct {
	took    time.Duration // from the crash to the reset
	console string        // of the first boot
	dumps   []found.Dump  // after the second one
}

// run runs one fault from the first boot to the verdict. It keeps the machine's disks
// and logs after a failure.
func (f fault) run(ctx context.Context, b *base) (*observed, error) {
	h := debian.Hardware{Root: nil, Flavour: f.kernel(), Base: b.machine, Watchdog: f.watchdog, ERST: f.erst}
	h.Root = b.machine.Root()
	if f.fs != "" {
		size := f.size
		if size == 0 {
			size = 1024
		}
		h.Disks = []debian.Disk{{Name: "target", Bus: f.bus, Size: size << 20, NBD: f.nbd}}
	}
	if f.raw {
		h.Disks = append(h.Disks, debian.Disk{Name: "raw", Size: rawSize << 20, NBD: f.fs == "" && f.nbd})
	}
	m, err := debian.New(ctx, "fault-"+f.name, h)
	if err != nil {
		return nil, err
	}
	o, err := f.runOn(ctx, m, b)
	if err != nil {
		return o, errors.Join(fmt.Errorf("%w\n--- its disks and logs are kept in %s", err, m.Dir), m.Close())
	}
	return o, m.Remove()
}

func (f fault) runOn(ctx context.Context, m *debian.Machine, b *base) (*observed, error) {
	mark := "mark-" + f.name
	payload := f.payload(b.payload, mark)
	o, err := f.boot(ctx, m, payload, mark)
	if err != nil {
		return o, err
	}
	for _, disk := range []string{"target", "raw"} {
		if n := m.NBD(disk); n != nil {
			if err := n.Heal(); err != nil {
				return o, err
			}
		}
	}
	payload.Run = ". /ukdump-test/fault-after\n"
	all, err := f.after(ctx, m, payload)
	if err != nil {
		return o, err
	}
	o.dumps = all.Dumps
	if err := f.judge(o, b.dumps); err != nil {
		return o, fmt.Errorf("%w\n--- the end of its console:\n%s", err, tailLines(o.console, 60))
	}
	return o, nil
}

// payload returns base with the files for f.
func (f fault) payload(p debian.Payload, mark string) debian.Payload {
	p = p.With("ukdump-test/lab", f.script(mark))
	conf := "BOOT_OPTIONS=\"no_timer_check " + f.words + "\"\n"
	switch {
	case f.fs != "" && f.alone:
		conf += "TARGET=" + f.target() + "\n"
	case f.fs != "":
		conf += "TARGET=\"" + f.target() + " /var/crash\"\n"
	}
	p = p.With("etc/ukdump.conf.d/vm.conf", conf+f.conf)
	p.Run = ". /ukdump-test/fault\n"
	return p
}

// target returns the directory of the first target if it is on a disk of its
// own.
func (f fault) target() string {
	if f.dir != "" {
		return f.dir
	}
	return "/dump"
}

// mkfs makes each of the file systems on $target.
var mkfs = map[string]string{
	"ext4":  "mkfs.ext4 -q -m 0 -L dump",
	"xfs":   "mkfs.xfs -q -f -L dump",
	"btrfs": "mkfs.btrfs -q -f -L dump",
}

// script returns f as /ukdump-test/lab.
func (f fault) script(mark string) string {
	makeTarget, mount, earlier, dirs := "", "", "", "/var/crash"
	if f.raw {
		makeTarget = "make_raw\n"
	}
	if f.fs != "" {
		if f.make == "" {
			f.make = mkfs[f.fs] + " " + f.mkfs + " $target"
		}
		if f.mount == "" {
			f.mount = "mount LABEL=dump /dump"
		}
		makeTarget += f.make
		mount = "mkdir -p /dump\n" + f.mount
		if !f.noEarlier {
			earlier = "yes"
		}
		dirs = f.target() + " /var/crash"
	}
	load := f.load
	if load == "" {
		load = "kdumpctl load"
		if len(f.change) > 0 {
			load = "load_changed"
			for _, c := range f.change {
				load += " '" + strings.ReplaceAll(c, "'", `'\''`) + "'"
			}
		}
	}
	crash := f.crash
	switch {
	case f.byHand:
		crash = "cp $image $out/image\nresults ukdump-test/out\nswitch_off"
	case crash == "":
		crash = "echo c >/proc/sysrq-trigger"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mark='%s'\nearlier=%s\ndirs='%s'\n. /ukdump-test/storage\n", mark, earlier, dirs)
	for _, x := range []struct{ name, body string }{
		{"make_target", makeTarget}, {"mount_target", mount}, {"prepare", f.prepare}, {"load", load},
		{"inject", f.inject}, {"crash", crash}, {"repair", f.repair}, {"check", f.check},
	} {
		if x.body == "" {
			x.body = ":"
		}
		fmt.Fprintf(&b, "%s() {\n%s\n}\n", x.name, x.body)
	}
	return b.String()
}

// boot runs the machine until the reset after the crash.
func (f fault) boot(ctx context.Context, m *debian.Machine, payload debian.Payload, mark string) (*observed, error) {
	within := f.want.within
	if within == 0 {
		within = 2 * time.Minute
	}
	within *= slowness(faultSuite)
	o := new(observed)
	b := f.powerOn("crash", payload, within)
	b.RTC = f.rtc
	vm, err := m.Boot(ctx, b)
	if err != nil {
		return o, err
	}
	defer func() { vm.Kill() }()
	err = f.follow(m, vm, mark, within, o)
	if err == nil && f.byHand {
		vm, err = f.bootImage(ctx, m, within)
		if err != nil {
			return o, err
		}
		crash := time.Now()
		err = vm.WaitFor(within)
		o.took = time.Since(crash)
	}
	o.console = strings.Join(vm.Console(), "\n")
	return o, err
}

// bootImage boots the image that the guest left, as any other initramfs.
func (f fault) bootImage(ctx context.Context, m *debian.Machine, within time.Duration) (*vmtest.VM, error) {
	dir, err := m.Results()
	if err != nil {
		return nil, err
	}
	b := f.powerOn("by-hand", debian.Payload{}, within)
	b.Initrd, b.Init = filepath.Join(dir, "ukdump-test/out/image"), ""
	b.Cmdline = "rootfstype=ramfs panic=10"
	return m.Boot(ctx, b)
}

func (f fault) powerOn(name string, payload debian.Payload, within time.Duration) debian.Boot {
	words := f.crashkernel
	if words == "" {
		words = fmt.Sprintf("crashkernel=%dM", cmp.Or(f.reservation, 160))
	}
	return debian.Boot{
		Name: name, Init: debian.Quick, Payload: payload, Memory: cmp.Or(f.memory, faultMemory), Deadline: slowness(faultSuite)*4*time.Minute + within,
		Cmdline: words + " panic=5 printk.devkmsg=on loglevel=5",
	}
}

// follow waits for the crash, triggers the events and waits for the reset.
func (f fault) follow(m *debian.Machine, vm *vmtest.VM, mark string, within time.Duration, o *observed) error {
	if err := vm.Expect("ukdump-test: "+mark, slowness(faultSuite)*4*time.Minute); err != nil {
		return err
	}
	crash := time.Now()
	for _, e := range f.events {
		if e.line != "" {
			if err := vm.Expect(e.line, within); err != nil {
				return err
			}
		}
		time.Sleep(e.after)
		if err := e.do(m, vm); err != nil {
			return vm.Fail("%v", err)
		}
	}
	if err := vm.WaitFor(within - time.Since(crash)); err != nil {
		return err
	}
	o.took = time.Since(crash)
	return nil
}

// after boots the machine once more and returns the findings of the guest.
func (f fault) after(ctx context.Context, m *debian.Machine, payload debian.Payload) (*found.Found, error) {
	vm, err := m.Boot(ctx, f.powerOn("after", payload, 0))
	if err != nil {
		return nil, err
	}
	if err := vm.Wait(); err != nil {
		return nil, err
	}
	if err := vm.Expect("ukdump-test: results written", 0); err != nil {
		return nil, err
	}
	dir, err := m.Results()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "ukdump-test/out/found.json"))
	if err != nil {
		return nil, err
	}
	all := new(found.Found)
	if err := json.Unmarshal(b, all); err != nil {
		return nil, err
	}
	return all, nil
}

func tailLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
