// Package vmtest runs QEMU for tests that crash real kernels.
//
// A machine is described by Options, started by Start, followed on its serial console
// by VM.Expect and ended by itself or by VM.Wait's deadline. Failures are an *Error
// with the last lines of the console and the command that starts the same machine
// again.
package vmtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Accel names the accelerator that executes the guest, as in QEMU's -accel.
type Accel string

const (
	// TCG is software emulation. It works everywhere and is the default.
	// An amd64 guest under TCG needs no_timer_check on its command line, or it may
	// find its timer broken: the host does not always run it in time.
	TCG Accel = "tcg"
	// KVM is to be used only where KVMWorks said so.
	KVM Accel = "kvm"
)

// Arch is the architecture of a machine, as GOARCH names it.
type Arch string

// The architectures that machines can have.
const (
	AMD64 Arch = "amd64" // a PC with the chipset Q35
	ARM64 Arch = "arm64" // QEMU's virt, described by a device tree
)

// Console returns the name of the serial console, for console=.
func (a Arch) Console() string {
	if a == ARM64 {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// qemu returns the program that emulates a.
func (a Arch) qemu() string {
	if a == ARM64 {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// machine returns the options for the board and its processor.
func (a Arch) machine(accel Accel, lpa2 bool) []string {
	switch {
	case a != ARM64:
		return []string{"-machine", "q35,sata=off"}
	case accel == KVM:
		return []string{"-machine", "virt,gic-version=host", "-cpu", "host"}
	}
	// Of all that a processor can have, signing pointers with its own cipher is
	// the slowest to emulate.
	cpu := "max,pauth-impdef=on"
	if !lpa2 {
		cpu += ",lpa2=off"
	}
	return []string{"-machine", "virt,gic-version=3", "-cpu", cpu}
}

// Options describe a machine. Without Kernel its firmware boots the disk with First.
type Options struct {
	Arch    Arch   // AMD64 if empty
	Kernel  string // bzImage, or Image of arm64
	Initrd  string
	Cmdline string // console= is for the caller to give: Arch.Console
	UEFI    UEFI   // SeaBIOS if zero, and none on ARM64, where it brings ACPI

	// LPA2 gives an arm64 processor addresses of 52 bits with pages of 4 and 16 KiB
	// (FEAT_LPA2), which many do not have.
	LPA2 bool

	MemoryMiB int    // 1024 if zero
	Memory    string // file that keeps the memory, also over runs; none if empty
	CPUs      int    // 1 if zero
	Disks     []Disk
	NICs      []NIC
	Accel     Accel  // TCG if empty
	Watchdog  bool   // an i6300esb on the PCI bus, which resets the machine
	ERST      string // file of 64 KiB that ACPI's error record storage keeps, for pstore; none if empty
	RTC       string // time of the hardware clock at power on, 2026-01-02T03:04:05 in UTC; the host's if empty

	// Reboot lets a reset start the machine again. Without it a reset ends
	// QEMU. The jump into a crash kernel is no reset.
	Reboot bool

	Deadline time.Duration // for the whole run, 5 minutes if zero
	Log      string        // file for the console's output; none if empty
	// Line, if not nil, is called with each line of the console as it comes,
	// without terminal control sequences.
	Line func(string)
}

// NIC is a network card.
type NIC struct {
	Model string // of QEMU: virtio-net-pci, e1000e
	MAC   string // 52:54:00:…
	// Backend is QEMU's -netdev without its id: "user" reaches servers of the host at
	// 10.0.2.2 and fec0::2.
	Backend string
}

// UEFI is a firmware such as OVMF or AAVMF in two flash chips.
type UEFI struct {
	Code string // file that is only read
	Vars string // file that keeps the variables
	// Secure says that only the firmware itself can change the variables (SMM), without
	// which a firmware with Secure Boot does not start.
	Secure bool
}

// Args returns the arguments of QEMU for o. It fails for a bus that it does not know.
func (o *Options) Args() ([]string, error) {
	accel, memory, cpus := o.Accel, o.MemoryMiB, o.CPUs
	if accel == "" {
		accel = TCG
	}
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = 1
	}
	a := append(o.Arch.machine(accel, o.LPA2), "-accel", string(accel),
		"-m", strconv.Itoa(memory)+"M", "-smp", strconv.Itoa(cpus),
		"-nodefaults", "-display", "none", "-serial", "mon:stdio")
	if o.Kernel != "" {
		a = append(a, "-kernel", o.Kernel)
	} else {
		a = append(a, "-device", "VGA") // boot loaders want to draw their menus
	}
	if o.UEFI != (UEFI{}) {
		a = append(a, "-drive", "if=pflash,format=raw,readonly=on,file="+comma(o.UEFI.Code),
			"-drive", "if=pflash,format=raw,file="+comma(o.UEFI.Vars))
	}
	if o.UEFI.Secure {
		a = append(a, "-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	if o.Memory != "" {
		a = append(a, "-object", fmt.Sprintf("memory-backend-file,id=memory,size=%dM,share=on,mem-path=%s", memory, comma(o.Memory)),
			"-machine", "memory-backend=memory")
	}
	if o.Initrd != "" {
		a = append(a, "-initrd", o.Initrd)
	}
	if o.Cmdline != "" {
		a = append(a, "-append", o.Cmdline)
	}
	if !o.Reboot {
		a = append(a, "-no-reboot")
	}
	if o.Watchdog {
		a = append(a, "-device", "i6300esb", "-action", "watchdog=reset")
	}
	if o.ERST != "" {
		a = append(a, "-object", "memory-backend-file,id=erst,size=64K,share=on,mem-path="+comma(o.ERST), "-device", "acpi-erst,memdev=erst")
	}
	if o.RTC != "" {
		a = append(a, "-rtc", "base="+o.RTC)
	}
	for i, d := range o.Disks {
		disk, err := d.args(fmt.Sprintf("disk%d", i))
		if err != nil {
			return nil, err
		}
		a = append(a, disk...)
	}
	for i, n := range o.NICs {
		a = append(a, "-netdev", fmt.Sprintf("%s,id=net%d", n.Backend, i), "-device", fmt.Sprintf("%s,netdev=net%d,mac=%s", n.Model, i, n.MAC))
	}
	return a, nil
}

// Command returns the shell command that starts the machine described by o.
func (o *Options) Command() (string, error) {
	args, err := o.Args()
	if err != nil {
		return "", err
	}
	words := []string{o.Arch.qemu()}
	for _, a := range args {
		words = append(words, shellQuote(a))
	}
	return strings.Join(words, " "), nil
}

// shellQuote returns s as one word of sh(1).
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=+@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
