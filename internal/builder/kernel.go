package builder

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"ukdump/initramfs"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
)

// KernelError reports a kernel that cannot be the capture kernel here.
type KernelError struct {
	Path   string
	Why    string
	Remedy string
}

func (e *KernelError) Error() string { return "kernel " + e.Path + ": " + e.Why }

// Advice returns the remedy.
func (e *KernelError) Advice() string { return e.Remedy }

// openKernel opens the kernel that the options or the configuration name, or
// the running one.
func (b *Build) openKernel(o Options) error {
	spec, where := o.Kernel, ""
	if spec == "" && o.Config.Kernel != "" {
		spec, where = o.Config.Kernel, o.Config.Where("KERNEL")+": "
	}
	var err error
	if spec == "" {
		if spec, err = b.host.Kernel(); err != nil {
			return fmt.Errorf("find the running kernel: %w", err)
		}
	}
	if b.Kernel, err = kimage.Find(b.host, o.Root, spec); err != nil {
		return fmt.Errorf("%s%w", where, err)
	}
	k := b.Kernel
	if k.OtherBuild {
		b.warn("%s is another build of %s than the running kernel: reboot to run the one that will capture", k.Path, k.Release)
	}
	if k.Arch != "amd64" && k.Arch != "arm64" {
		return &KernelError{k.Path, "built for " + k.Arch + ", which is not supported", "Choose a kernel for x86_64 or aarch64 with KERNEL=."}
	}
	if !k.KexecFile {
		return &KernelError{k.Path, "no 64-bit entry point above 4 GiB, which kexec_file_load needs",
			"Choose a kernel of version 3.8 or later for x86_64 with KERNEL=."}
	}
	if five, err := b.host.FiveLevel(); err == nil && five && !k.FiveLevel {
		return &KernelError{k.Path, "cannot start from the 5-level page tables of the running kernel (XLF_5LEVEL)",
			"Choose a kernel of version " + kfeature.FiveLevel.Since.String() + " or later with KERNEL=, or boot with no5lvl."}
	}
	if o.Root != "/" {
		return nil // the kernel that runs here says nothing about that machine
	}
	return checkMachine(k, runtime.GOARCH, os.Getpagesize())
}

// checkMachine looks whether k runs on a machine of an architecture (a GOARCH),
// and reads the dump of a kernel with pages of that many bytes.
func checkMachine(k *kimage.Image, arch string, pageSize int) error {
	if k.Arch != arch {
		return &KernelError{k.Path, fmt.Sprintf("built for %s, but this machine is %s", k.Arch, arch),
			"Choose a kernel for this machine with KERNEL=, or leave it unset for the running one."}
	}
	if k.PageSize != 0 && k.PageSize != pageSize {
		return &KernelError{k.Path, fmt.Sprintf("pages of %d bytes, the running kernel has %d: makedumpfile could not read the vmcore", k.PageSize, pageSize),
			"Choose a kernel with pages of the same size with KERNEL=."}
	}
	return nil
}

// checkKernel refuses a kernel that is known to lack a feature that each capture
// needs, or to have one that no capture kernel may have.
func checkKernel(k *kimage.Image, conf *kimage.Config, emergency bool) error {
	if !conf.Known() {
		return nil
	}
	required := kfeature.Required
	if emergency {
		required = slices.Concat(required, kfeature.RequiredBySystemd)
	}
	if err := checkRequired(k, conf, required); err != nil {
		return err
	}
	for _, f := range kfeature.Forbidden {
		if f.For(k.Arch) && f.In(k.Release, conf) == kfeature.Yes {
			return &KernelError{k.Path, fmt.Sprintf("%s was built with %s (%s): %s", k.Release, f.Option, conf.Source, f.Why),
				"Choose a kernel without it with KERNEL=."}
		}
	}
	return nil
}

// checkRequired refuses a kernel that is known to lack some of the features.
func checkRequired(k *kimage.Image, conf *kimage.Config, required []kfeature.Feature) error {
	var lacks []kfeature.Feature
	for _, f := range required {
		if f.For(k.Arch) && f.In(k.Release, conf) == kfeature.No {
			lacks = append(lacks, f)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return lacking(k, conf, lacks[0].Why, lacks...)
}

// lacking reports that a kernel was built without these features.
func lacking(k *kimage.Image, conf *kimage.Config, why string, features ...kfeature.Feature) error {
	var names []string
	for _, f := range features {
		names = append(names, f.Option)
	}
	return &KernelError{k.Path, fmt.Sprintf("%s was built without %s (%s): %s", k.Release, strings.Join(names, ", "), conf.Source, why),
		"Choose a kernel that has it with KERNEL=."}
}

// checkSignature refuses a module without a signature if the kernel would refuse it
// whatever its command line is.
func (b *Build) checkSignature(module string, signed bool) error {
	why := ""
	for _, f := range kfeature.OnlySigned {
		if f.In(b.Kernel.Release, b.conf) == kfeature.Yes {
			why = f.Option + " in " + b.conf.Source
		}
	}
	switch {
	case why == "":
		return nil
	case signed && !b.runs() && !strings.HasPrefix(module, "kernel/"):
		b.warn("%s loads only signed modules (%s): unknown whether it has the key of %s", b.Kernel.Release, why, module)
		return nil
	case signed:
		return nil // the kernel's own, or the running kernel has accepted it
	}
	return &KernelError{b.Kernel.Path, fmt.Sprintf("%s loads only signed modules (%s), and %s has no signature", b.Kernel.Release, why, module),
		"Sign that module, or choose another kernel with KERNEL= or another disk with TARGET=."}
}

// unpackers are the kernel options that unpack each compression.
var unpackers = map[initramfs.Compression]string{
	initramfs.Zstd: kfeature.UnpacksZstd.Option, initramfs.Gzip: kfeature.UnpacksGzip.Option, initramfs.XZ: kfeature.UnpacksXZ.Option,
}

// chooseCompression returns the image's compression. auto takes zstd if the kernel
// is known to unpack it: it is the smallest of those whose window
// is small. Every common kernel unpacks gzip.
func chooseCompression(want string, conf *kimage.Config) (initramfs.Compression, error) {
	if want != "auto" && want != "" {
		c, err := initramfs.ParseCompression(want)
		if opt := unpackers[c]; err == nil && opt != "" && conf.Known() && conf.Get(opt) != "y" {
			err = fmt.Errorf("compression %s: the kernel cannot unpack it: %s is not set in %s", c, opt, conf.Source)
		}
		return c, err
	}
	for _, c := range []initramfs.Compression{initramfs.Zstd, initramfs.Gzip, initramfs.XZ} {
		if conf.Get(unpackers[c]) == "y" {
			return c, nil
		}
	}
	if conf.Known() {
		return initramfs.None, nil
	}
	return initramfs.Gzip, nil
}

// lockdownWord keeps tracefs from making files (fs/tracefs, tracefs_create_file
// asks security_locked_down(LOCKDOWN_TRACEFS)). It also refuses modules without
// a valid signature.
const lockdownWord = "lockdown=confidentiality"

// tracefsWords returns lockdownWord where it saves memory and cannot cost the
// dump: an old kernel with the lockdown module active, and only modules that
// were built and signed together with it.
func (b *Build) tracefsWords(conf *kimage.Config) []string {
	switch {
	case kfeature.Eventfs.In(b.Kernel.Release, conf) != kfeature.No,
		kfeature.LockdownLSM.In(b.Kernel.Release, conf) != kfeature.Yes,
		kfeature.LockdownActive.In(b.Kernel.Release, conf) != kfeature.Yes,
		kfeature.ModuleSig.In(b.Kernel.Release, conf) != kfeature.Yes,
		!b.allSigned:
		return nil
	}
	return []string{lockdownWord}
}
