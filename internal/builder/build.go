// Package builder makes the image of a capture kernel out of a configuration, the
// machine and a kernel: it finds out on the healthy system everything that PID 1
// must know, and packs everything that PID 1 must have.
package builder

import (
	"crypto/sha256"
	"fmt"

	"ukdump/initramfs"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kimage"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/target"
)

// LogOnly describes the dumps of a plan without a vmcore to people.
const LogOnly = "only the kernel log and the report are saved (DUMP=log)"

// Options says what to build.
type Options struct {
	Root     string // of the machine that the image is for, "/" normally
	Config   *config.Config
	Kernel   string          // path or release instead of the configuration's, "" for that
	Targets  []target.Target // instead of the configuration's, none for those
	Compress string          // initramfs compression; "" or "auto" is the best that the kernel unpacks
	Pid1     string          // path of kdumpinit on this machine, not below Root; kdumpinit-net is beside it
	Route    Router          // finds the way to a server; nil for host.Route
}

// File is one file of an image and why it is there.
type File struct {
	Path string // inside the image
	Size int64  // bytes, unpacked
	Why  string

	sum [sha256.Size]byte
}

// Build is an image that is ready to be written, with everything that was found
// out about it.
type Build struct {
	Kernel  *kimage.Image
	Plan    *plan.Plan
	Cmdline string // of the capture kernel
	// CmdlineForeign is the command line for an image with other modules than
	// those of this build.
	CmdlineForeign string
	Makedumpfile   string // its path on the machine; "" if the plan is LogOnly
	DumpLevel      int    // of the first collector, as makedumpfile(8) -d
	CPUs           int    // that the capture kernel starts
	CPUsWhy        string // why so many
	Compress       string // compression of the vmcore, as in COMPRESS; "" without one
	CompressWhy    string // why this one
	Compression    initramfs.Compression
	Initramfs      string           // path of the distribution's own, in emergency mode alone
	Files          []File           // in the order in which they were added
	Builtin        []string         // drivers and features that the kernel has built in
	LeftOut        []error          // targets that nobody asked for and this machine has not got, with the reason
	RawSizes       map[string]int64 // bytes of the raw devices, by plan.Target.Dir
	Uncollected    []string         // raw targets with a dump that keeps the next one out
	ReadOnly       []*host.ReadOnlyTargetError
	Omitted        []*OmittedError // targets that cannot be reached at the moment, in their order
	Warnings       []string        // things a person should know, but that do not stop; without ReadOnly and Omitted

	host        *host.Host
	conf        *kimage.Config // of Kernel
	image       initramfs.Image
	built       *netplan.Plan // of the image that is there, see imagePlan
	stock       []byte        // content of Initramfs
	fingerprint string
	stacks      []Stack
	remoteFiles files
	packing     []remoteFile // of the server that is being planned
	parts       *parts       // nil in emergency mode
	allSigned   bool         // every module is the kernel's own and carries a signature
}

// open reads the machine, the kernel and its configuration.
func open(o Options) (*Build, error) {
	h, err := host.Open(o.Root)
	if err != nil {
		return nil, err
	}
	b := &Build{host: h, Plan: new(plan.Plan)}
	if err := b.openKernel(o); err != nil {
		return nil, err
	}
	if b.conf, err = b.Kernel.Config(b.host, o.Root); err != nil {
		b.warn("%v: assuming a kernel that can capture and unpacks gzip", err)
	}
	return b, nil
}

// Config returns the configuration of the capture kernel, nil if it is not known.
func (b *Build) Config() *kimage.Config { return b.conf }

// New resolves everything and reads every file, but writes nothing. Errors name
// the fault in the configuration, the kernel, its modules, the machine's
// storage or the programs to pack.
func New(o Options) (*Build, error) {
	b, err := open(o)
	if err != nil {
		return nil, err
	}
	conf := b.conf
	if err := checkKernel(b.Kernel, conf, o.Config.Emergency()); err != nil {
		return nil, err
	}
	if o.Config.Emergency() {
		if err := b.emergency(o, conf); err != nil {
			return nil, err
		}
		return b, nil
	}
	if b.Compression, err = chooseCompression(o.Compress, conf); err != nil {
		return nil, err
	}
	if err := b.startPlan(o); err != nil {
		return nil, err
	}
	if err := b.cpus(o); err != nil {
		return nil, err
	}
	// PID 1 first: it is the cheapest to check.
	if err := b.addPid1(o); err != nil {
		return nil, err
	}
	if err := b.addRecipients(o); err != nil {
		return nil, err
	}
	if err := b.addStorage(o); err != nil {
		return nil, err
	}
	if err := b.checkBootOptions(o.Config); err != nil {
		return nil, err
	}
	if err := b.addMakedumpfile(o); err != nil {
		return nil, err
	}
	if err := b.addShell(o); err != nil {
		return nil, err
	}
	if err := b.addPlan(); err != nil {
		return nil, err
	}
	running, err := b.host.CommandLine()
	if err != nil {
		return nil, err
	}
	shell := shellWords(o.Config)
	b.Cmdline = CommandLine(b.Kernel.Arch, conf, b.cpuWords(), b.parts, running, append(b.tracefsWords(conf), shell...), o.Config.BootOptions)
	b.CmdlineForeign = CommandLine(b.Kernel.Arch, conf, b.cpuWords(), b.parts, running, shell, o.Config.BootOptions)
	if err := b.checkKernelWords(o.Config); err != nil {
		return nil, err
	}
	b.warnBootConfig()
	if err := b.checkLength(o.Config); err != nil {
		return nil, err
	}
	return b, nil
}

// startPlan fills in the fields that depend only on the configuration and the machine.
func (b *Build) startPlan(o Options) error {
	mem, err := b.host.Memory()
	if err != nil {
		return err
	}
	name, err := b.host.Name()
	if err != nil {
		return fmt.Errorf("find the host name: %w", err)
	}
	id, err := b.host.MachineID()
	if err != nil {
		b.warn("reports will have no machine ID: %v", err)
	}
	b.Plan = &plan.Plan{
		Version: plan.Version, Software: plan.Software,
		Kernel:        plan.Kernel{Release: b.Kernel.Release, Arch: b.Kernel.Arch},
		Host:          plan.Host{Name: name, MachineID: id},
		Deadlines:     deadlines(o.Config, mem),
		FinalAction:   o.Config.FinalAction,
		FailureAction: o.Config.FailureAction,
		ShellTimeout:  shellTimeout(o.Config),
		LogOnly:       o.Config.LogOnly,
		MakeSpace:     o.Config.Keep > 0 || o.Config.MaxUse > 0 || o.Config.KeepFree > 0,
	}
	return nil
}
