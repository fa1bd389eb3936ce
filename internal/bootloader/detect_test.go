package bootloader

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"ukdump/internal/advice"
)

func TestEvidence(t *testing.T) {
	loaderInfo := func(text string) map[string]string {
		name, content := info("LoaderInfo", text)
		return map[string]string{name: content}
	}
	kind := func(n int, cmdline string) map[string]string {
		return map[string]string{"/proc/sys/kernel/bootloader_type": fmt.Sprintln(n), "/proc/cmdline": cmdline}
	}
	for _, c := range []struct {
		name    string
		files   map[string]string
		program string
	}{
		{"systemd-boot", loaderInfo("systemd-boot 257.9-1~deb13u1"), programSystemdBoot},
		{"GRUB with its module bli", loaderInfo("GRUB 2.12"), programGRUB},
		{"rEFInd", loaderInfo("rEFInd 0.14.2"), programREFInd},
		{"unified image without a loader", loaderInfo("systemd-stub 257"), programFirmware},
		{"a loader with the interface that nobody knows", loaderInfo("Visor 1"), programOther},
		{"shim", bootedBy(`\EFI\debian\shimx64.efi`), programGRUB},
		{"GRUB alone", bootedBy(`\EFI\arch\grubx64.efi`), programGRUB},
		{"Limine without the interface", bootedBy(`\EFI\limine\BOOTX64.EFI`), programLimine},
		{"the name for removable media", bootedBy(`\EFI\BOOT\BOOTX64.EFI`), ""},
		{"a kernel in the firmware's menu", bootedBy(`\vmlinuz-linux`), programFirmware},
		{"a kernel, of EFI/Linux", bootedBy(`\EFI\Linux\arch-linux.efi`), programFirmware},
		{"GRUB 2 by the boot protocol", kind(0x72, ""), programGRUB},
		{"GRUB Legacy", kind(0x71, ""), programOther},
		{"SYSLINUX", kind(0x34, "BOOT_IMAGE=vmlinuz"), programSyslinux},
		{"QEMU", kind(0xb0, ""), programOutside},
		{"kexec", kind(0xd0, ""), ""},
		{"the kernel's stub says nothing", kind(0x21, `initrd=\initrd.img`), ""},
		{"the stub, and GRUB's path", kind(0x21, "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.1 ro"), programGRUB},
		{"a path without a device, no EFI", kind(0x21, "BOOT_IMAGE=/vmlinuz-6.1 ro"), ""},
		{"damaged files", map[string]string{
			efivars + "LoaderInfo-" + loaderVendor:   "\x06\x00",
			efivars + "BootCurrent-" + globalVendor:  "\x06\x00\x00\x00\x01",
			"/proc/sys/kernel/bootloader_type":       "GRUB",
			"/proc/cmdline":                          "",
			"/sys/firmware/efi/efivars/Boot0001-foo": "",
		}, ""},
		{"nothing", nil, ""},
	} {
		e := tree(t, c.files).evidence()
		if e.program != c.program {
			t.Errorf("%s: got %q, want %q", c.name, e.program, c.program)
		}
		if (e.because == "") != (e.program == "") {
			t.Errorf("%s: %q because %q", c.name, e.program, e.because)
		}
	}
}

func TestEvidenceOrder(t *testing.T) {
	files := bootedBy(`\EFI\debian\grubx64.efi`)
	name, content := info("LoaderInfo", "systemd-boot 257")
	files[name] = content // started by GRUB's menu
	e := tree(t, files).evidence()
	if e.program != programSystemdBoot || e.version != "257" {
		t.Errorf("got %q %q", e.program, e.version)
	}
}

// fake is a loader that is installed if the machine has its file.
type fake struct {
	name, program, file string
	err                 error
}

func (f fake) Name() string                      { return f.name }
func (f fake) Plan(*System, Edit) (*Plan, error) { return nil, nil }
func (f fake) Next(*System) ([]Entry, error)     { return nil, nil }
func (f fake) found(b Booted, because string) Found {
	return Found{Loader: f.name, Files: []string{f.file}, Booted: b, Because: because}
}
func (f fake) Find(s *System) (*Found, error) {
	if f.err != nil || !s.exists(f.file) {
		return nil, f.err
	}
	e := s.evidence()
	found := f.found(e.owned(f.program))
	return &found, nil
}

func TestDetect(t *testing.T) {
	list := []Loader{
		fake{name: "grub", program: programGRUB, file: "/etc/default/grub"},
		fake{name: "limine", program: programLimine, file: "/boot/limine.conf"},
	}
	both := map[string]string{"/etc/default/grub": "", "/boot/limine.conf": ""}
	with := func(files map[string]string) map[string]string {
		m := maps.Clone(both)
		maps.Copy(m, files)
		return m
	}
	for _, c := range []struct {
		name, option string
		files        map[string]string
		want         string // name of the loader, or the error with its advice
	}{
		{"the only one", "", map[string]string{"/boot/limine.conf": ""}, "limine"},
		{"two, and no evidence", "", both, "the boot loader of this kernel is ambiguous; installed: grub (/etc/default/grub); limine (/boot/limine.conf). Choose one: --loader=grub or --loader=limine."},
		{"two, and evidence", "", with(bootedBy(`\EFI\limine\limine.efi`)), "limine"},
		{"by the option", "grub", with(bootedBy(`\EFI\limine\limine.efi`)), "grub"},
		{"one that is not installed", "limine", map[string]string{"/etc/default/grub": ""}, "the boot loader limine is not installed. Omit --loader: kdumpctl setup then prints the boot loader of this machine."},
		{"one that nobody knows", "lilo", both, `unknown boot loader "lilo": known ones are grub, limine. `},
		{"none", "", nil, "no boot loader found that ukdump knows. Add the words to the kernel's command line by hand."},
		{"none, in a virtual machine", "", map[string]string{"/proc/sys/kernel/bootloader_type": "176\n"},
			"no boot loader found that ukdump knows: the virtual machine's host started the kernel, as /proc/sys/kernel/bootloader_type is 0xb0. Add the words to the command line that the virtual machine's host gives the kernel."},
		{"one that did not boot", "", map[string]string{"/etc/default/grub": "", "/proc/sys/kernel/bootloader_type": "176\n"},
			"the boot loader of this kernel is ambiguous; installed: grub (/etc/default/grub), although /proc/sys/kernel/bootloader_type is 0xb0. Choose one: --loader=grub."},
		{"files that OSTree writes", "", map[string]string{"/etc/default/grub": "", "/run/ostree-booted": ""},
			"the boot loader of this kernel is ambiguous; installed: grub (/etc/default/grub), although OSTree owns the configuration of the boot loader. Choose one: --loader=grub."},
	} {
		s := tree(t, c.files)
		got := ""
		founds, err := detect(s, list)
		if err == nil {
			var l Loader
			if l, err = choose(list, founds, c.option); err == nil {
				got = l.Name()
			}
		}
		if err != nil {
			got = err.Error() + ". " + advice.For(err)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestDetectErrors(t *testing.T) {
	broken := fake{name: "limine", err: errors.New("no access")}
	list := []Loader{fake{name: "grub", program: programGRUB, file: "/etc/default/grub"}, broken}
	files := map[string]string{"/etc/default/grub": ""}
	founds, err := detect(tree(t, files), list)
	if err == nil || !strings.Contains(err.Error(), "detect the boot loader limine: no access") || len(founds) != 1 {
		t.Errorf("got %v, %v", founds, err)
	}
	// Certainty about one makes the other unimportant.
	maps.Copy(files, bootedBy(`\EFI\debian\shimx64.efi`))
	if founds, err = detect(tree(t, files), list); err != nil || len(founds) != 1 {
		t.Errorf("got %v, %v", founds, err)
	}
}

func TestAll(t *testing.T) {
	seen := make(map[string]bool)
	for _, l := range All() {
		if seen[l.Name()] || l.Name() == "" {
			t.Errorf("two loaders have the name %q", l.Name())
		}
		seen[l.Name()] = true
		// Nothing is installed in an empty tree.
		if f, err := l.Find(tree(t, nil)); f != nil || err != nil {
			t.Errorf("%s: found %v, %v", l.Name(), f, err)
		}
	}
}

func TestESP(t *testing.T) {
	const root = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
	for _, c := range []struct {
		name            string
		files           map[string]string
		esp, xbootldr   string
		problem, remedy string
	}{
		{name: "tree without /proc", files: map[string]string{"/boot/EFI/": "", "/boot/loader/entries/": ""}, esp: "/boot"},
		{name: "tree with two partitions", files: map[string]string{"/efi/EFI/": "", "/boot/loader/entries/": ""}, esp: "/efi", xbootldr: "/boot"},
		{name: "no EFI", files: map[string]string{"/proc/self/mountinfo": root, "/boot/EFI/": ""}},
		{name: "mounted on /boot/efi", files: map[string]string{"/boot/efi/efi/": "",
			"/proc/self/mountinfo": root + "2 1 8:2 / /boot/efi rw - vfat /dev/sda2 rw\n"}, esp: "/boot/efi"},
		{name: "with XBOOTLDR", files: map[string]string{"/efi/EFI/": "",
			"/proc/self/mountinfo": root + "2 1 8:2 / /efi rw - vfat /dev/sda2 rw\n3 1 8:3 / /boot rw - vfat /dev/sda3 rw\n"}, esp: "/efi", xbootldr: "/boot"},
		{name: "automount", files: map[string]string{"/efi/EFI/": "",
			"/proc/self/mountinfo": root + "2 1 0:30 / /efi rw - autofs systemd-1 rw\n3 2 8:2 / /efi rw - vfat /dev/sda2 rw\n"}, esp: "/efi"},
		{name: "of fstab, not mounted", files: map[string]string{"/boot/efi/": "", "/proc/self/mountinfo": root,
			"/etc/fstab": "UUID=AAAA-BBBB /boot/efi vfat umask=0077 0 1\n"},
			problem: "the EFI system partition is not mounted on /boot/efi", remedy: `Run "mount /boot/efi".`},
		{name: "only the loader knows it", files: map[string]string{"/efi/": "", "/proc/self/mountinfo": root,
			efivars + "LoaderDevicePartUUID-" + loaderVendor: variable(utf16Bytes("A0B1-C"))},
			problem: "the EFI system partition, /dev/disk/by-partuuid/a0b1-c, is not mounted", remedy: "Mount it: mount /dev/disk/by-partuuid/a0b1-c /efi"},
		{name: "damaged mountinfo", files: map[string]string{"/proc/self/mountinfo": "garbage\n"}, problem: `mountinfo:1: "garbage" is not a mount`},
	} {
		s := tree(t, c.files)
		esp, err := s.esp()
		if got := fmt.Sprint(err); esp != c.esp || err != nil && got != c.problem || err == nil && c.problem != "" {
			t.Errorf("%s: got %q, %v; want %q, %v", c.name, esp, err, c.esp, c.problem)
		}
		if err != nil {
			if got := advice.For(err); got != c.remedy {
				t.Errorf("%s: advice %q, want %q", c.name, got, c.remedy)
			}
			continue
		}
		if x, err := s.xbootldr(esp); err != nil || x != c.xbootldr {
			t.Errorf("%s: XBOOTLDR %q, %v; want %q", c.name, x, err, c.xbootldr)
		}
	}
}

func TestInESP(t *testing.T) {
	s := tree(t, map[string]string{"/efi/EFI/Linux/a.efi": ""})
	if got := s.inESP("/efi", `\efi\LINUX\A.EFI`); got != "/efi/EFI/Linux/a.efi" {
		t.Errorf("got %s", got)
	}
}

func FuzzLoadOption(f *testing.F) {
	f.Add(option("debian", `\EFI\debian\shimx64.efi`))
	f.Add([]byte{1, 0, 0, 0, 4, 0, 'a', 0, 0, 0, 4, 4, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseLoadOption(data)
		if err == nil && len(o.Title)+len(o.Path) > 3*len(data) {
			t.Fatalf("%d bytes have become %d", len(data), len(o.Title)+len(o.Path))
		}
	})
}

func TestParseLoadOption(t *testing.T) {
	o, err := parseLoadOption(option("Linux Boot Manager", `\EFI\systemd\systemd-bootx64.efi`))
	if err != nil || o.Title != "Linux Boot Manager" || o.Path != `\EFI\systemd\systemd-bootx64.efi` {
		t.Errorf("got %+v, %v", o, err)
	}
	good := option("x", `\a`)
	for n := range len(good) - len("options") {
		if o, err := parseLoadOption(good[:n]); err == nil {
			t.Errorf("the first %d bytes give %+v", n, o)
		}
	}
}
