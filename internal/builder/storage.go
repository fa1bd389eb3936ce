package builder

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// addStorage plans the targets, the places for evidence and the watchdogs, and
// packs the modules and the firmware that reach them in the chosen kernel.
func (b *Build) addStorage(o Options) error {
	// Watchdogs first: they count while a slow disk comes up.
	requests, err := b.addWatchdogs()
	if err != nil {
		return err
	}
	for _, add := range []func(Options) ([]kmod.Request, error){b.addTargets, b.addEvidence} {
		more, err := add(o)
		if err != nil {
			return err
		}
		requests = append(requests, more...)
	}
	for _, m := range o.Config.Modules {
		requests = append(requests, kmod.Request{Names: []string{m}, Why: "MODULES of " + o.Config.Where("MODULES")})
	}
	return b.addModules(o, requests)
}

// shortWatchdog is a timeout in seconds that can be over before the capture
// kernel has loaded the watchdog's driver.
const shortWatchdog = 20

// addWatchdogs plans the watchdogs that are counting now. It returns the modules for
// them, and for those that may count by the time of a crash: most
// drivers see that the hardware runs, and then the kernel feeds it until somebody
// opens it (WDOG_HW_RUNNING in Documentation/watchdog/watchdog-kernel-api.rst), or
// they stop it. PID 1 would start any watchdog that it opens.
func (b *Build) addWatchdogs() ([]kmod.Request, error) {
	dogs, err := b.host.Watchdogs()
	if err != nil {
		return nil, err
	}
	var requests []kmod.Request
	for _, d := range dogs {
		requests = append(requests, d.Requests()...)
		if d.State == "" {
			b.warn("%s: state unknown, the running kernel lacks CONFIG_WATCHDOG_SYSFS: PID 1 will not feed this watchdog", d.Name)
		}
		if d.State != "active" {
			continue
		}
		b.Plan.Watchdogs = append(b.Plan.Watchdogs, plan.Watchdog{Name: d.Name, Identity: d.Identity, Timeout: d.Timeout})
		if d.Timeout > 0 && d.Timeout < shortWatchdog {
			b.warn("%s (%s) resets the machine after %d s, perhaps before the capture kernel can feed it: give it %d s or more",
				d.Name, d.Identity, d.Timeout, shortWatchdog)
		}
	}
	if b.host.IPMIWatchdog() {
		b.warn("ipmi_watchdog is loaded, which PID 1 cannot feed: if that watchdog counts, give it a timeout longer than a dump takes")
	}
	return requests, nil
}

// TreeError reports that a kernel has no module tree.
type TreeError struct {
	Kernel, Release string
	Modular         bool // the configuration is known to have modules
}

func (e *TreeError) Error() string {
	var dirs []string
	for _, d := range kmod.Dirs {
		if isOurs(d) == isOurs(e.Kernel) {
			dirs = append(dirs, path.Join(d, e.Release))
		}
	}
	return fmt.Sprintf("modules of kernel %s (%s): no directory %s", e.Kernel, e.Release, strings.Join(dirs, " or "))
}

// isOurs reports whether a file or directory is of the kernel of packaging/capture-kernel.
func isOurs(path string) bool { return strings.Contains(path, kmod.CaptureKernelDir) }

// Advice returns the remedy.
func (e *TreeError) Advice() string {
	text := "Install the modules of that kernel, or choose another one with KERNEL=."
	if !e.Modular {
		text += " If it was built without modules, put its configuration at /boot/config-" + e.Release + "."
	}
	return text
}

// openTree opens the module tree of the chosen kernel.
func (b *Build) openTree() (*kmod.Tree, error) {
	release := b.Kernel.Release
	dir := b.host.ModuleTree(release)
	if dir == "" {
		return nil, &TreeError{b.Kernel.Path, release, b.conf.Known()}
	}
	t, err := kmod.Open(b.host.FS(b.host.Inside(dir)), release)
	if err != nil {
		return nil, fmt.Errorf("modules in %s: %w", dir, err)
	}
	t.Arch = b.Kernel.Arch
	return t, nil
}

// addModules packs the modules that serve the requests, uncompressed and in
// load order, with their firmware.
func (b *Build) addModules(o Options, requests []kmod.Request) error {
	if monolithic(b.conf) {
		if err := b.findParts(nil, requests); err != nil {
			return err
		}
		return b.checkBuiltin(requests)
	}
	tree, err := b.openTree()
	if err != nil {
		return err
	}
	if err := b.findParts(tree, requests); err != nil {
		return err
	}
	res, err := tree.Resolve(requests...)
	if err != nil {
		return err
	}
	for _, broken := range res.Broken {
		b.warn("%v: omitted", broken)
	}
	options, err := kmod.ReadOptions(b.host.FS("/"))
	if err != nil {
		return err
	}
	if line, err := b.host.CommandLine(); err == nil {
		options.AddCommandLine(line)
	}
	options.AddCommandLine(o.Config.BootOptions)

	for _, x := range res.Builtin {
		b.Builtin = append(b.Builtin, x.Name+": "+x.Reason)
		for _, f := range x.Firmware {
			if err := b.addFirmware(f, x.Name); err != nil {
				return err
			}
		}
	}
	for _, r := range res.Unmet {
		if err := b.addBuiltin(r); err != nil {
			return err
		}
	}
	b.allSigned = true
	infos := make([]*kmod.Info, len(res.Modules))
	for i, m := range res.Modules {
		data, err := tree.Read(m)
		if err != nil {
			return err
		}
		info, err := tree.Info(m, data)
		if err != nil {
			return err
		}
		infos[i] = info
		b.parts.addPart(m, info)
		// Only modules that were built with the kernel are certain to be signed
		// with the key that it trusts.
		if !info.Signed || !strings.HasPrefix(m.Path, "kernel/") {
			b.allSigned = false
		}
		if err := b.checkSignature(m.Path, info.Signed); err != nil {
			return err
		}
		name := fmt.Sprintf("lib/modules/%03d-%s.ko", i, m.Name)
		if err := b.add(name, data, 0o600, m.Reason); err != nil {
			return err
		}
		b.Plan.Modules = append(b.Plan.Modules, plan.Module{Name: m.Name, Path: name, Params: b.parts.withoutKeepAway(m.Name, options.Params(m.Name))})
		for _, f := range info.Firmware {
			if err := b.addFirmware(f, m.Name); err != nil {
				return err
			}
		}
	}
	magic := kmod.KernelMagic(b.Kernel.Release, infos)
	for i, info := range infos {
		if !info.Fits(magic) {
			v, _, _ := strings.Cut(info.Vermagic, " ")
			return fmt.Errorf("module %s: built for kernel %q, not for %s: reinstall the kernel's modules", res.Modules[i].Path, v, b.Kernel.Release)
		}
	}
	return nil
}

// addFirmware packs one file that a module may ask for. Most modules name files
// for hardware that is not here, so one that is not installed is no error.
func (b *Build) addFirmware(name, module string) error {
	// The order in which the kernel searches, see
	// Documentation/driver-api/firmware/fw_search_path.rst.
	const standard = "/lib/firmware/"
	dirs := []string{standard + "updates/" + b.Kernel.Release, standard + "updates", standard + b.Kernel.Release, standard}
	if own, err := b.host.ReadFile("/sys/module/firmware_class/parameters/path"); err == nil && filepath.IsAbs(string(own)) {
		dirs = slices.Insert(dirs, 0, strings.TrimSpace(string(own)))
	}
	for _, dir := range dirs {
		for _, ext := range kmod.Compressions {
			file := filepath.Join(dir, name) + ext
			if !isFile(b.host, file) {
				continue
			}
			raw, err := b.host.ReadFile(file)
			if err != nil {
				return err
			}
			data, err := kmod.Unpack(raw, ext)
			if err != nil {
				return fmt.Errorf("firmware %s: %w", file, err)
			}
			return b.add(path.Join("lib/firmware", name), data, 0o600, "firmware of "+module)
		}
	}
	return nil
}
