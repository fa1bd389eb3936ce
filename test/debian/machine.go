package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/vmtest"
)

// Machine is one computer. Its disks stay when it is switched off.
type Machine struct {
	Dir string // overlays, payloads, results and console logs

	hardware Hardware
	accel    vmtest.Accel
	disks    []vmtest.Disk
	servers  map[string]*vmtest.NBD
}

// Hardware lists the parts of a machine.
type Hardware struct {
	Root    *Root
	Flavour Flavour
	RootBus vmtest.Bus // controller of the root disk, VirtioBlk if empty
	// Base is a machine that has ended. This one begins with its root disk
	// instead of that of Root. Base must not run again, nor be removed before
	// this machine.
	Base     *Machine
	Disks    []Disk // beside the root; for the monitor the first is disk1
	Watchdog bool   // an i6300esb
	KeepRAM  bool   // the memory outlives a reset, for persistent memory in it
	ERST     bool   // storage for pstore that outlives a reset
	NICs     []vmtest.NIC
	// UEFI is OVMF in place of SeaBIOS, for Boot.Firmware; its variables outlive a reset. An
	// arm64 machine has it at every boot, and with it ACPI in place of a device tree.
	UEFI bool
	// SecureBoot is OVMF with Secure Boot at every boot. It starts QEMU's -kernel with any
	// signature, by a loader that it calls legacy (2022.11, 2025.02).
	SecureBoot bool
	LPA2       bool // as in vmtest.Options
}

// Disk is a disk beside the root disk. The guest finds it by Magic in its first
// bytes.
type Disk struct {
	Name  string     // in the magic, and the serial number
	Bus   vmtest.Bus // VirtioBlk if empty
	Size  int64      // bytes, 2 GiB if zero
	NBD   bool       // the server that Machine.NBD returns can make it fail
	First bool       // Boot.Firmware boots it
}

// Magic returns the first bytes of a new disk with that name.
func Magic(name string) string { return "ukdump-" + name + "\n" }

const (
	diskSize   = 2 << 30
	resultSize = 8 << 30
)

// New makes the disks of a machine in a new directory in the cache, which gets
// its name from name. Call Close or Remove in the end.
func New(ctx context.Context, name string, h Hardware) (*Machine, error) {
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
	m := &Machine{Dir: dir, hardware: h, accel: accel(h), servers: make(map[string]*vmtest.NBD)}

	backing, format := h.Root.disk(), "raw"
	if h.Base != nil {
		backing, format = h.Base.overlay(), "qcow2"
	}
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", backing, m.overlay()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("overlay on %s: %w\n%s", backing, err, out)
	}
	m.disks = append(m.disks, vmtest.Disk{Path: m.overlay(), Format: "qcow2", Bus: h.RootBus, Serial: "root"})
	for _, d := range h.Disks {
		if err := m.addDisk(ctx, d); err != nil {
			m.Close()
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
	}
	if h.ERST {
		if err := zeros(m.erst(), 64<<10); err != nil {
			return nil, err
		}
	}
	if h.UEFI || h.SecureBoot {
		vars, err := os.ReadFile(m.firmware().Vars)
		if err == nil {
			err = os.WriteFile(m.vars(), vars, 0o644)
		}
		if err != nil {
			return nil, fmt.Errorf("firmware: %w", err)
		}
	}
	return m, nil
}

func (m *Machine) overlay() string { return filepath.Join(m.Dir, "root.qcow2") }
func (m *Machine) erst() string    { return filepath.Join(m.Dir, "erst") }
func (m *Machine) vars() string    { return filepath.Join(m.Dir, "vars.fd") }

func (m *Machine) firmware() vmtest.UEFI {
	if m.hardware.SecureBoot {
		return secureBoot
	}
	return firmware[m.arch()]
}

// firmware has the files of Debian's packages ovmf, whose files of 4 MiB are in all
// suites, and qemu-efi-aarch64.
var firmware = map[vmtest.Arch]vmtest.UEFI{
	vmtest.AMD64: {Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	vmtest.ARM64: {Code: "/usr/share/AAVMF/AAVMF_CODE.fd", Vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},
}

// HasUEFI reports whether amd64 machines with Hardware.UEFI can be made here.
func HasUEFI() bool {
	_, err := os.Stat(firmware[vmtest.AMD64].Code)
	return err == nil
}

func (m *Machine) arch() vmtest.Arch { return m.hardware.Root.Arch() }

func (m *Machine) addDisk(ctx context.Context, d Disk) error {
	size := d.Size
	if size == 0 {
		size = diskSize
	}
	image := filepath.Join(m.Dir, d.Name+".img")
	if err := zeros(image, size); err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(Magic(d.Name))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	disk := vmtest.Disk{Path: image, Bus: d.Bus, Serial: d.Name, First: d.First}
	if d.NBD {
		n, err := vmtest.ServeNBD(ctx, image)
		if err != nil {
			return err
		}
		m.servers[d.Name] = n
		disk.Path = n.URI()
	}
	m.disks = append(m.disks, disk)
	return nil
}

// Root returns the root disk from which the machine was made.
func (m *Machine) Root() *Root { return m.hardware.Root }

// Flavour returns the kernel of the machine.
func (m *Machine) Flavour() Flavour { return m.hardware.Flavour }

// NBD returns the server of a disk, nil if the disk has none.
func (m *Machine) NBD(name string) *vmtest.NBD { return m.servers[name] }

// zeros makes a sparse file of size bytes.
func zeros(name string, size int64) error {
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(name, size)
}

// accel obeys UKDUMP_ACCEL=kvm if KVM works here.
func accel(h Hardware) vmtest.Accel {
	if os.Getenv("UKDUMP_ACCEL") != "kvm" || h.Root.Arch() != vmtest.AMD64 {
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
	Cmdline  string       // added to the words for the console and TCG
	Line     func(string) // as in vmtest.Options
	Deadline time.Duration
	Memory   int    // MiB, 1024 if zero
	RTC      string // as in vmtest.Options
	Kernel   string // an image instead of one of the root disk
	Initrd   string // instead of the one that boots the root disk
	CPUs     int    // 1 if zero
	// Firmware lets the firmware and a boot loader start the machine. Payload, Init and
	// the command line are then those that are on the disks.
	Firmware bool
}

// Quick is the init of machines that run Payload.Run without systemd.
const Quick = "/ukdump-test/init"

// Boot starts the machine. Its initramfs first unpacks the payload over the
// root.
func (m *Machine) Boot(ctx context.Context, b Boot) (*vmtest.VM, error) {
	payload := filepath.Join(m.Dir, b.Name+"-payload.tar")
	if err := b.Payload.write(payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if err := zeros(m.result(), resultSize); err != nil {
		return nil, err
	}
	disks := append(m.disks[:len(m.disks):len(m.disks)],
		vmtest.Disk{Path: payload, Serial: "payload"},
		vmtest.Disk{Path: m.result(), Serial: "result"})
	arch := m.arch()
	cmdline := fmt.Sprintf("console=%s ukdump-test.disks=%d %s", arch.Console(), len(disks), b.Cmdline)
	if m.accel == vmtest.TCG && arch == vmtest.AMD64 {
		cmdline += " no_timer_check"
	}
	if b.Init != "" {
		cmdline += " init=" + b.Init
	}
	if b.Init != Quick {
		// A getty would hang up the terminal of the test.
		cmdline += " systemd.mask=getty.target"
	}
	o := vmtest.Options{
		Arch:      arch,
		Kernel:    m.hardware.Root.vmlinuz(m.hardware.Flavour),
		Initrd:    m.hardware.Root.initrd(m.hardware.Flavour),
		Cmdline:   cmdline,
		MemoryMiB: b.Memory,
		CPUs:      b.CPUs,
		Accel:     m.accel,
		LPA2:      m.hardware.LPA2,
		Disks:     disks,
		NICs:      m.hardware.NICs,
		Watchdog:  m.hardware.Watchdog,
		RTC:       b.RTC,
		Deadline:  b.Deadline,
		Log:       filepath.Join(m.Dir, b.Name+"-console.log"),
		Line:      b.Line,
	}
	if m.hardware.ERST {
		o.ERST = m.erst()
	}
	if m.hardware.SecureBoot || m.hardware.UEFI && (b.Firmware || arch == vmtest.ARM64) {
		o.UEFI = m.firmware()
		o.UEFI.Vars = m.vars()
	}
	if m.hardware.KeepRAM {
		o.Memory = filepath.Join(m.Dir, "memory")
	}
	if b.Kernel != "" {
		o.Kernel = b.Kernel
	}
	if b.Initrd != "" {
		o.Initrd = b.Initrd
	}
	if b.Firmware {
		o.Kernel, o.Initrd, o.Cmdline = "", "", ""
	}
	return vmtest.Start(ctx, o)
}

func (m *Machine) result() string { return filepath.Join(m.Dir, "result.img") }

// Results unpacks the files that the guest left on the result disk in its last
// run, and returns their directory.
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

// Close ends the servers of the machine's disks.
func (m *Machine) Close() error {
	var err error
	for _, n := range m.servers {
		err = errors.Join(err, n.Close())
	}
	clear(m.servers)
	return err
}

// Remove deletes the machine and its disks.
func (m *Machine) Remove() error { return errors.Join(m.Close(), os.RemoveAll(m.Dir)) }
