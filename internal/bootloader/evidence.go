package bootloader

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Programs that can have started the running kernel, as evidence names them.
const (
	programGRUB        = "GRUB"
	programSystemdBoot = "systemd-boot"
	programREFInd      = "rEFInd"
	programLimine      = "Limine"
	programSyslinux    = "SYSLINUX" // also EXTLINUX
	programFirmware    = "the firmware"
	programOutside     = "the virtual machine's host"
	programOther       = "another boot loader" // named by the reason
)

// evidence is what the running kernel and the firmware know of the boot.
type evidence struct {
	program string // "" if not known
	version string // of the program
	because string // the fact: "the EFI variable LoaderInfo is GRUB 2.12"
	// stub is the version of the systemd-stub in the unified image that was booted, "" if
	// it was none.
	stub string
	// manager is the system that owns the loader's files, such as "OSTree"; "" for none.
	manager string
}

// evidence collects what is known of the running kernel's boot. The facts are asked in
// the order of their precision.
func (s *System) evidence() evidence {
	var e evidence
	for _, ask := range []func(*evidence) bool{s.askLoaderInfo, s.askBootOption, s.askBootType, s.askCommandLine} {
		if ask(&e) {
			break
		}
	}
	e.stub = s.efiString("StubInfo")
	switch {
	case s.exists("/run/ostree-booted"): // ostree-prepare-root(1)
		e.manager = "OSTree"
	case s.exists("/etc/NIXOS"): // made by NixOS' activation
		e.manager = "NixOS"
	}
	return e
}

// booted says whether the program started the running kernel.
func (e *evidence) booted(program string) (Booted, string) {
	switch {
	case e.program == "":
		return Unknown, ""
	case e.program == program:
		return Yes, e.because
	}
	return No, e.because
}

// owned is booted for loaders whose files a manager would write again.
func (e *evidence) owned(program string) (Booted, string) {
	if e.manager != "" {
		return No, e.manager + " owns the configuration of the boot loader"
	}
	return e.booted(program)
}

// infos are the beginnings of LoaderInfo. The stubs write it if no loader has.
var infos = []struct{ prefix, program string }{
	{"systemd-boot ", programSystemdBoot},
	{"GRUB ", programGRUB},
	{"rEFInd ", programREFInd},
	{"Limine ", programLimine},
	{"systemd-stub ", programFirmware},
	{"Linux EFI stub ", programFirmware},
}

func (s *System) askLoaderInfo(e *evidence) bool {
	info := s.efiString("LoaderInfo")
	if info == "" {
		return false
	}
	e.because = fmt.Sprintf("the EFI variable LoaderInfo is %.80q", info)
	e.program = programOther
	for _, i := range infos {
		if version, ok := strings.CutPrefix(info, i.prefix); ok {
			e.program, e.version = i.program, version
		}
	}
	return true
}

// images are names of programs in the EFI system partition, in lower case. A name such as
// bootx64.efi, the one for removable media, does not say whose it is.
var images = []struct{ pattern, program string }{
	{`\efi\systemd\*`, programSystemdBoot},
	{`*\systemd-boot*.efi`, programSystemdBoot},
	{`*\grub*.efi`, programGRUB},
	{`*\refind*.efi`, programREFInd},
	{`\efi\refind\*`, programREFInd},
	{`*\limine*.efi`, programLimine},
	{`\efi\limine\*`, programLimine},
	{`*\shim*.efi`, programGRUB}, // shim starts the grub*.efi beside it
	{`\efi\linux\*.efi`, programFirmware},
	{`*\vmlinuz*`, programFirmware},
	{`*\linux*.efi`, programFirmware},
}

func (s *System) askBootOption(e *evidence) bool {
	o, ok := s.bootOption()
	if !ok || o.Path == "" {
		return false
	}
	// path.Match has * for all but slashes, and backslashes escape there.
	name := strings.ToLower(strings.ReplaceAll(o.Path, `\`, "|"))
	for _, i := range images {
		if ok, _ := path.Match(strings.ReplaceAll(i.pattern, `\`, "|"), name); ok {
			e.program = i.program
			e.because = fmt.Sprintf("the firmware started %.120s", o.Path)
			return true
		}
	}
	return false
}

// bootTypes are loaders by their number in the boot protocol of x86, type_of_loader in
// Documentation/arch/x86/boot.rst. 2, the stub in the kernel, and 13, kexec, say nothing.
var bootTypes = map[int]string{
	0x3:  programSyslinux,
	0x7:  programGRUB,
	0x9:  programOutside, // Xen
	0xb:  programOutside, // QEMU -kernel
	0x12: programOutside, // OVMF, which was given a kernel by QEMU
}

func (s *System) askBootType(e *evidence) bool {
	data, err := s.read("/proc/sys/kernel/bootloader_type")
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return false
	}
	// The low 4 bits are the version, the others the type (bootloader_type of
	// Documentation/admin-guide/sysctl/kernel.rst).
	e.program = bootTypes[n>>4]
	if n>>4 == 7 && n&0xf < 2 {
		e.program = programOther // GRUB Legacy
	}
	if e.program == "" {
		return false
	}
	e.because = fmt.Sprintf("/proc/sys/kernel/bootloader_type is %#x", n)
	return true
}

// askCommandLine looks for words that loaders add. On x86 without EFI many loaders add
// BOOT_IMAGE, but there the boot protocol has told more.
func (s *System) askCommandLine(e *evidence) bool {
	data, err := s.read("/proc/cmdline")
	if err != nil {
		return false
	}
	for _, w := range Of(string(data), "BOOT_IMAGE") {
		image := strings.TrimPrefix(w, "BOOT_IMAGE=")
		if strings.HasPrefix(image, "(") || strings.HasPrefix(image, "/") && s.exists("/sys/firmware/efi") {
			e.program = programGRUB
			e.because = fmt.Sprintf("the command line has %.120s", w)
			return true
		}
	}
	return false
}
