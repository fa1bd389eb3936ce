package builder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
	"ukdump/internal/kmod"
)

// monolithic reports whether a kernel is known to have no loadable modules
// (Documentation/kbuild/kconfig-language.rst, "modules").
func monolithic(conf *kimage.Config) bool { return kfeature.Modules.In("", conf) == kfeature.No }

// checkBuiltin is addModules for a monolithic kernel: it looks into the
// configuration for options that serve the requests.
func (b *Build) checkBuiltin(requests []kmod.Request) error {
	for _, r := range requests {
		if err := b.addBuiltin(r); err != nil {
			return err
		}
	}
	return nil
}

// addBuiltin handles a request that no module and no list of the kernel's parts
// serves. If it knows no kernel option for the request, it warns.
func (b *Build) addBuiltin(r kmod.Request) error {
	modules := "no such module"
	if monolithic(b.conf) {
		modules = "no modules"
	}
	switch proof, lacks := b.builtin(r); {
	case proof != "":
		b.Builtin = append(b.Builtin, proof+": "+r.Why)
	case lacks != "" && r.Optional:
		b.warn("the kernel has nothing for %s: %s is not built in", r.Why, lacks)
	case lacks != "":
		return &KernelError{b.Kernel.Path,
			fmt.Sprintf("%s has %s and was built without %s (%s), needed for %s", b.Kernel.Release, modules, lacks, b.conf.Source, r.Why),
			"Choose a kernel that has it with KERNEL=, or storage that this one can reach with TARGET=."}
	case !r.Optional:
		b.warn("the kernel has %s: unknown whether it has %s built in", modules, r.Why)
	case !monolithic(b.conf):
		b.warn("the kernel has nothing for %s", r.Why)
	}
	return nil
}

// builtin returns the evidence that the kernel has r built in: an option of its
// configuration, or the driver that is at work, if that kernel is the one
// that runs. If nothing does, lacks is the option that it was built without, empty
// if that is not known.
func (b *Build) builtin(r kmod.Request) (proof, lacks string) {
	if options := optionsFor(r); b.conf.Known() && len(options) > 0 {
		for _, o := range options {
			if b.conf.Get(o) == "y" {
				return o, ""
			}
		}
		return "", options[0]
	}
	if running, err := b.host.Kernel(); err == nil && running == b.Kernel.Release && r.Unlisted {
		return r.Names[0], ""
	}
	return "", ""
}

// explain adds to a *kmod.MissingError which option of the kernel's configuration makes the
// module.
func (b *Build) explain(err error) error {
	missing := (*kmod.MissingError)(nil)
	if !errors.As(err, &missing) {
		return err
	}
	options := optionsFor(missing.Request)
	if !b.conf.Known() || len(options) == 0 {
		return err
	}
	if i := slices.IndexFunc(options, func(o string) bool { return b.conf.Get(o) == "m" }); i >= 0 {
		remedy := "Install the package with the other modules of that kernel, such as linux-modules-extra or kernel-modules-extra, or choose another one with KERNEL=."
		if isOurs(b.Kernel.Path) {
			remedy = "Install the capture kernel again, with its modules."
		}
		return advice.With(fmt.Errorf("%w; %s makes it a module, which is not installed", err, options[i]), remedy)
	}
	if _, lacks := b.builtin(missing.Request); lacks != "" {
		return fmt.Errorf("%w; it was built without %s (%s)", err, lacks, b.conf.Source)
	}
	return err // built in, and listed in no table
}

// optionsFor returns the options of the first name of r that has any.
func optionsFor(r kmod.Request) []string {
	for _, n := range r.Names {
		n = strings.ReplaceAll(strings.TrimPrefix(n, "fs-"), "-", "_")
		if o := kfeature.Drivers[n]; o != nil {
			return o
		}
	}
	return nil
}
