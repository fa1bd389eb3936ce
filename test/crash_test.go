// Package test crashes the kernels of virtual machines and checks their disks
// after the reboot.
//
// The tests are skipped unless UKDUMP_VM is ci (the representative set), matrix
// (every cell), faults (every fault) or luks (encrypted targets). UKDUMP_ACCEL=kvm
// makes them faster where KVM works.
package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// reservation of the machines: the smallest of docs/measured.md, and room for
// newer kernels.
const reservation = "crashkernel=192M"

// bootLimit is for one run of a machine. A run takes a minute, and ten if several
// machines share a processor.
const bootLimit = 20 * time.Minute

// vmSet returns the value of UKDUMP_VM or skips the test.
func vmSet(t *testing.T) string {
	set := os.Getenv("UKDUMP_VM")
	switch set {
	case "ci", "matrix", "faults":
	case "", "luks", "bench":
		t.Skip("needs virtual machines: run make test-vm, or set UKDUMP_VM=ci")
	default:
		t.Fatalf("UKDUMP_VM is %q, not ci, matrix or faults", set)
	}
	return set
}

// installed has the trees of "make install" by architecture, each made once for all
// tests.
var installed struct {
	sync.Mutex
	dir   string
	trees map[vmtest.Arch]string
}

// install returns the tree of "make install" for arch.
func install(ctx context.Context, repo string, arch vmtest.Arch) (string, error) {
	installed.Lock()
	defer installed.Unlock()
	if tree, ok := installed.trees[arch]; ok {
		return tree, nil
	}
	if installed.dir == "" {
		dir, err := os.MkdirTemp("", "ukdump-install-")
		if err != nil {
			return "", err
		}
		installed.dir, installed.trees = dir, make(map[vmtest.Arch]string)
	}
	tree, err := debian.Install(ctx, repo, installed.dir, arch)
	if err == nil {
		installed.trees[arch] = tree
	}
	return tree, err
}

// chosen counts the cells and faults of this run.
var chosen atomic.Int32

func TestMain(m *testing.M) {
	status := m.Run()
	if cell := os.Getenv("UKDUMP_CELL"); cell != "" && chosen.Load() == 0 {
		fmt.Fprintf(os.Stderr, "CELL=%s is the name of no cell or fault of this set\n", cell)
		status = 1
	}
	if installed.dir != "" {
		os.RemoveAll(installed.dir)
	}
	os.Exit(status)
}

// lab returns the root disk of suite and the payload that every machine gets:
// ukdump itself, configured for software emulation.
func lab(t *testing.T, suite string) (*debian.Root, debian.Payload) {
	t.Helper()
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := install(t.Context(), repo, debian.ArchOf(suite))
	if err != nil {
		t.Fatal(err)
	}
	root, err := debian.MakeRoot(t.Context(), repo, suite, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	payload := debian.Payload{Trees: []string{tree}}
	if root.Arch() == vmtest.AMD64 {
		payload = payload.With("etc/ukdump.conf.d/vm.conf", "BOOT_OPTIONS=\"no_timer_check\"\n")
	} else {
		payload = payload.With("etc/ukdump.conf.d/vm.conf", "TIMEOUT=1h\n")
	}
	return root, payload
}

// runMachine runs a machine until it switches itself off or resets. Its console must have the
// mark, unless that is empty.
func runMachine(t *testing.T, m *debian.Machine, b debian.Boot, mark string) {
	t.Helper()
	vm, err := m.Boot(t.Context(), b)
	if err == nil {
		err = vm.Wait()
	}
	if err == nil && mark != "" {
		err = vm.Expect("ukdump-test: "+mark, 0)
	}
	if err != nil {
		t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
	}
}

// TestCrash crashes one machine per cell: load, sysrq-c, capture, reboot, look.
func TestCrash(t *testing.T) {
	set := vmSet(t)
	if set == "faults" {
		t.Skip("UKDUMP_VM=faults is for TestFaults")
	}
	makeRoots(t, set)
	table := &results{}
	t.Run("cell", func(t *testing.T) {
		for _, c := range cells {
			if set == "ci" && !c.ci {
				continue
			}
			t.Run(c.String(), func(t *testing.T) {
				chosen.Add(1)
				t.Parallel()
				if c.secure && !debian.HasSecureBoot() {
					t.Skip("no Secure Boot here: apt-get install ovmf sbsigntool")
				}
				root, payload := lab(t, c.suite)
				start := time.Now()
				message, err := c.crash(t.Context(), root, payload)
				table.add(c, time.Since(start), message, err)
				if err != nil {
					t.Error(err)
				}
			})
		}
	})
	fmt.Print(table)
}

// makeRoots makes the root disks of all suites that the cells of this run need, together.
func makeRoots(t *testing.T, set string) {
	suites := make(map[string]bool)
	wanted, err := regexp.Compile(os.Getenv("UKDUMP_CELL"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		if (set == "matrix" || c.ci) && wanted.MatchString(c.String()) {
			suites[c.suite] = true
			if k := captures[c.capture]; k.suite != "" {
				suites[k.suite] = true
			}
		}
	}
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for suite := range suites {
		wg.Go(func() {
			if _, err := debian.MakeRoot(t.Context(), repo, suite, os.Stdout); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// crash runs one cell from the first boot to the check of its dump. It keeps
// the machine's disks and logs after a failure. message is kdumpctl's if it had
// to refuse.
func (c cell) crash(ctx context.Context, root *debian.Root, payload debian.Payload) (message string, err error) {
	h := debian.Hardware{Root: root, Flavour: c.flavour, KeepRAM: layouts[c.layout].keepRAM, UEFI: c.uefi, LPA2: c.lpa2, SecureBoot: c.secure}
	for _, name := range layouts[c.layout].disks() {
		h.Disks = append(h.Disks, debian.Disk{Name: name, Bus: c.bus})
	}
	if len(h.Disks) == 0 {
		h.RootBus = c.bus
	}
	m, err := debian.New(ctx, c.String(), h)
	if err != nil {
		return "", err
	}
	message, err = c.crashOn(ctx, m, payload)
	if err != nil {
		return "", fmt.Errorf("%w\n--- its disks and logs are kept in %s", err, m.Dir)
	}
	return message, m.Remove()
}

func (c cell) crashOn(ctx context.Context, m *debian.Machine, payload debian.Payload) (message string, err error) {
	mark, l := "mark-"+rand.Text(), layouts[c.layout]
	payload = payload.With("ukdump-test/cell", l.script(mark))
	if script := l.rootScript(); script != "" {
		payload = payload.With("ukdump-test/root", script)
	}
	image := "" // Debian's
	if c.running != "" {
		if payload, image, err = runs(ctx, payload, m, c.running); err != nil {
			return "", err
		}
	}
	if c.capture != "" {
		if payload, err = captures[c.capture].addTo(ctx, payload, m); err != nil {
			return "", err
		}
	}

	init, load := debian.Quick, "kdumpctl load"
	if c.service {
		init, load = "/ukdump-test/enable", "systemctl is-active ukdump.service"
		payload = payload.With("ukdump-test/enable", "#!/bin/sh\nsystemctl --root=/ enable ukdump.service\nexec /sbin/init\n")
	}
	payload.Run = "load='" + load + "'\nrefused='" + c.refused + "'\nproblem=\"" + c.copied + "\"\n. /ukdump-test/crash\n"
	vm, err := m.Boot(ctx, debian.Boot{
		Name:     "crash",
		Kernel:   image,
		Init:     init,
		Cmdline:  c.reservation() + " panic=5 printk.devkmsg=on " + l.words,
		Payload:  payload,
		Memory:   c.memory(),
		Deadline: c.deadline(),
	})
	if err != nil {
		return "", err
	}
	// The reset by the capture kernel ends the run, with or without a dump.
	if err := vm.Wait(); err != nil {
		return "", err
	}
	console := strings.Join(vm.Console(), "\n")
	switch {
	case strings.Contains(console, "ukdump-test: FAILED"):
		return "", vm.Fail("the machine was not crashed")
	case c.secure && !strings.Contains(console, "Secure boot enabled"):
		return "", vm.Fail("Secure Boot is off")
	case c.refused == "" && !strings.Contains(console, "ukdump-test: "+mark):
		return "", vm.Fail("the machine ended before it was to be crashed")
	case c.refused != "":
		return c.refusal(m)
	case panics(console) > 1:
		return "", vm.Fail("the capture kernel panicked")
	}

	payload.Run = ". /ukdump-test/after\n"
	after, err := m.Boot(ctx, debian.Boot{
		Name:     "after",
		Init:     debian.Quick,
		Cmdline:  "panic=5 printk.devkmsg=on " + l.words,
		Payload:  payload,
		Memory:   c.memory(),
		Deadline: c.deadline(),
	})
	if err != nil {
		return "", err
	}
	if err := after.Wait(); err != nil {
		return "", err
	}
	if err := after.Expect("ukdump-test: results written", 0); err != nil {
		return "", err
	}
	dir, err := m.Results()
	if err != nil {
		return "", err
	}
	if err := checkDump(dir, mark, c); err != nil {
		return "", vm.Fail("%v", err)
	}
	return "", nil
}

// reservation returns the word that reserves memory.
func (c cell) reservation() string {
	if c.mib == 0 {
		return reservation
	}
	return fmt.Sprintf("crashkernel=%dM", c.mib)
}

// memory returns the size of the machine's memory in MiB, 0 for the usual one. All of it
// is copied where makedumpfile is of no use.
func (c cell) memory() int {
	if c.copied != "" {
		return 640
	}
	return 0
}

// deadline is for one run of the cell's machine.
func (c cell) deadline() time.Duration { return slowness(c.suite) * bootLimit }

// slowness is by how much the machines of a suite are slower than those of amd64:
// emulation of arm64 is several times slower.
func slowness(suite string) time.Duration {
	if debian.ArchOf(suite) != vmtest.AMD64 {
		return 3
	}
	return 1
}

// refusal returns kdumpctl's message if it had to refuse.
func (c cell) refusal(m *debian.Machine) (string, error) {
	dir, err := m.Results()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(dir, "ukdump-test/out/refused.txt"))
	if err != nil {
		return "", err
	}
	message := strings.TrimSpace(string(b))
	if !strings.Contains(message, c.refused) {
		return "", fmt.Errorf("refused without %q: %s", c.refused, message)
	}
	return message, nil
}
