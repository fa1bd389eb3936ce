package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/vmtest"
)

// Machine is one computer that is switched on and off: its disks stay.
type Machine struct {
	Dir string // overlays, payloads, results and console logs

	root    *Root
	flavour Flavour
	accel   vmtest.Accel
	disks   []vmtest.Disk
}

// Hardware says what a machine is built of.
type Hardware struct {
	Root    *Root
	Flavour Flavour
	RootBus vmtest.Bus // controller of the root disk, VirtioBlk if empty
	// TargetBus is the controller of a second disk of 2 GiB. It begins with
	// TargetMagic, by which the guest finds it. No second disk if empty.
	TargetBus vmtest.Bus
}

// TargetMagic is what the second disk of a machine begins with when it is new.
const TargetMagic = "ukdump-target"

const (
	targetSize = 2 << 30
	resultSize = 2 << 30
)

// New makes the disks of a machine in a new directory in the cache. name is
// for that directory.
func New(name string, h Hardware) (*Machine, error) {
	// The cache, not /tmp, which may be small or in memory.
	parent := filepath.Join(filepath.Dir(filepath.Dir(h.Root.Dir)), "run")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	name = strings.NewReplacer("/", "-", " ", "-").Replace(name)
	dir, err := os.MkdirTemp(parent, name+"-")
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: dir, root: h.Root, flavour: h.Flavour, accel: accel(h)}

	overlay := filepath.Join(dir, "root.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", h.Root.disk(), overlay).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("overlay on %s: %w\n%s", h.Root.disk(), err, out)
	}
	m.disks = append(m.disks, vmtest.Disk{Path: overlay, Format: "qcow2", Bus: h.RootBus, Serial: "root"})

	if h.TargetBus != "" {
		target := filepath.Join(dir, "target.img")
		if err := os.WriteFile(target, []byte(TargetMagic+"\n"), 0o644); err != nil {
			return nil, err
		}
		if err := os.Truncate(target, targetSize); err != nil {
			return nil, err
		}
		m.disks = append(m.disks, vmtest.Disk{Path: target, Bus: h.TargetBus, Serial: "target"})
	}
	return m, nil
}

// accel obeys UKDUMP_ACCEL=kvm if KVM works here.
func accel(h Hardware) vmtest.Accel {
	if os.Getenv("UKDUMP_ACCEL") != "kvm" {
		return vmtest.TCG
	}
	if err := vmtest.KVMWorks(context.Background(), h.Root.vmlinuz(h.Flavour)); err != nil {
		fmt.Fprintf(os.Stderr, "UKDUMP_ACCEL=kvm: KVM does not work here, so TCG it is: %v\n", err)
		return vmtest.TCG
	}
	return vmtest.KVM
}

// Boot is one run of a machine, from power on to reset or power off.
type Boot struct {
	Name     string // for the console's log
	Payload  Payload
	Init     string       // Quick, or /sbin/init if empty
	Cmdline  string       // in addition to the console and what TCG needs
	Line     func(string) // as in vmtest.Options
	Deadline time.Duration
	Memory   int // MiB, 1024 if zero
}

// Quick is the init of machines that run Payload.Run without systemd.
const Quick = "/ukdump-test/init"

// Boot starts the machine. The payload is unpacked over its root first.
func (m *Machine) Boot(ctx context.Context, b Boot) (*vmtest.VM, error) {
	payload := filepath.Join(m.Dir, b.Name+"-payload.tar")
	if err := b.Payload.write(payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	result := m.result()
	if err := os.WriteFile(result, nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.Truncate(result, resultSize); err != nil {
		return nil, err
	}
	disks := append(m.disks[:len(m.disks):len(m.disks)],
		vmtest.Disk{Path: payload, Serial: "payload"},
		vmtest.Disk{Path: result, Serial: "result"})
	cmdline := fmt.Sprintf("console=ttyS0 ukdump-test.disks=%d %s", len(disks), b.Cmdline)
	if m.accel == vmtest.TCG {
		cmdline += " no_timer_check"
	}
	if b.Init != "" {
		cmdline += " init=" + b.Init
	}
	if b.Init != Quick {
		// A getty would hang up the test's terminal.
		cmdline += " systemd.mask=getty.target"
	}
	return vmtest.Start(ctx, vmtest.Options{
		Kernel:    m.root.vmlinuz(m.flavour),
		Initrd:    m.root.initrd(m.flavour),
		Cmdline:   cmdline,
		MemoryMiB: b.Memory,
		Accel:     m.accel,
		Disks:     disks,
		Deadline:  b.Deadline,
		Log:       filepath.Join(m.Dir, b.Name+"-console.log"),
		Line:      b.Line,
	})
}

func (m *Machine) result() string { return filepath.Join(m.Dir, "result.img") }

// Results unpacks what the guest left on the result disk in its last run and
// returns the directory.
func (m *Machine) Results() (string, error) {
	dir := filepath.Join(m.Dir, "result")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := unpack(m.result(), dir); err != nil {
		return "", fmt.Errorf("result disk: %w", err)
	}
	return dir, nil
}

// Remove deletes the machine with everything that was on its disks.
func (m *Machine) Remove() error { return os.RemoveAll(m.Dir) }
