package test

import (
	"fmt"
	"os"
	"testing"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// loaderTest is a machine whose boot loader kdumpctl setup changes.
type loaderTest struct {
	name     string
	loader   string // as kdumpctl calls it
	because  string // how kdumpctl knows that it has booted, a regular expression of grep; "" if nothing tells
	suite    string
	uefi     bool
	packages []string
	install  string // runs after guest/boot-install
	first    string // runs in the first boot by the loader, before kdumpctl setup
	faults   bool   // also tries boot_faults of guest/boot
}

var loaderTests = []loaderTest{
	{
		name: "grub-bios", loader: "grub", because: "bootloader_type is 0x72", suite: "bookworm", packages: []string{"grub-pc"}, faults: true,
		install: `own_boot -O ^metadata_csum_seed
packages
grub_words
grub-install --target=i386-pc "$boot"
update-grub
`,
	},
	{
		name: "grub-efi", loader: "grub", because: "bootloader_type is 0x72", suite: "bookworm", uefi: true, packages: []string{"grub-efi-amd64"},
		// GRUB cannot read the root file system.
		install: `own_esp /boot
packages
grub_words
grub-install --target=x86_64-efi --efi-directory=/boot --removable --no-nvram
update-grub
`,
		// Only now there is EFI, for which it adds an entry.
		first: "update-grub",
	},
	{
		name: "systemd-boot", loader: "systemd-boot", because: "LoaderInfo is .systemd-boot", suite: "bookworm", uefi: true, packages: []string{"systemd-boot"},
		install: `own_esp /boot
packages
rm -rf /boot/loader /boot/EFI /boot/"$(cat /etc/machine-id)" /etc/kernel/postinst.d/*systemd-boot
bootctl install --no-variables
mkdir -p /boot/loader/entries
cat >/boot/loader/entries/debian.conf <<END
# by hand
title   Debian
linux   /vmlinuz-$release
options root=PARTUUID=$root rw
options $words
END
`,
	},
	{
		name: "kernel-install", loader: "systemd-boot", because: "LoaderInfo is .systemd-boot", suite: "trixie", uefi: true, packages: []string{"systemd-boot"},
		install: `own_esp /efi
mkdir -p /etc/kernel
echo "root=PARTUUID=$root rw $words" >/etc/kernel/cmdline
packages
bootctl install --no-variables
kernel-install add "$release" "/boot/vmlinuz-$release"
`,
	},
	{
		name: "uki", loader: "uki", because: "StubInfo is .systemd-stub", suite: "trixie", uefi: true, packages: []string{"systemd-boot", "systemd-boot-efi", "systemd-ukify"},
		install: `own_esp /efi
mkdir -p /etc/kernel
echo "root=PARTUUID=$root rw $words" >/etc/kernel/cmdline
packages
printf 'layout=uki\nuki_generator=ukify\n' >/etc/kernel/install.conf
bootctl install --no-variables
kernel-install add "$release" "/boot/vmlinuz-$release"
`,
	},
	{
		name: "refind", loader: "refind", suite: "bookworm", uefi: true, packages: []string{"refind"},
		install: `own_esp /boot
packages
mkdir -p /boot/EFI/BOOT
cp /usr/share/refind/refind/refind_x64.efi /boot/EFI/BOOT/bootx64.efi
printf 'timeout -1\ntextonly\nscanfor internal\n' >/boot/EFI/BOOT/refind.conf
echo "\"Boot with standard options\"  \"root=PARTUUID=$root rw $words\"" >/boot/refind_linux.conf
`,
	},
	{
		name: "extlinux", loader: "extlinux", because: "bootloader_type is 0x3", suite: "bookworm", packages: []string{"extlinux", "syslinux-common"},
		install: `own_boot -O ^64bit,^metadata_csum,^metadata_csum_seed
packages
mkdir -p /boot/extlinux
extlinux --install /boot/extlinux
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$boot" conv=notrunc status=none
cat >/boot/extlinux/extlinux.conf <<END
default debian
label debian
	linux /vmlinuz-$release
	append root=PARTUUID=$root rw $words
END
`,
	},
}

// aloneUnit starts the test's unit without the units of a usual boot, which it does not need.
const aloneUnit = "[Unit]\nDefaultDependencies=no\n"

// TestBoot lets kdumpctl setup change a machine, and take it back, between boots through
// real firmware and a real boot loader.
func TestBoot(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	for _, l := range loaderTests {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			if l.uefi && !debian.HasUEFI() {
				t.Skip("no OVMF here: apt-get install ovmf")
			}
			l.run(t)
		})
	}
}

func (l loaderTest) run(t *testing.T) {
	root, payload := lab(t, l.suite)
	m, err := debian.New(t.Context(), "boot-"+l.name, debian.Hardware{
		Root: root, Flavour: debian.Cloud, UEFI: l.uefi, RootBus: vmtest.NVMe, // built into this kernel
		Disks: []debian.Disk{{Name: "boot", Size: 256 << 20, First: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	boot := func(b debian.Boot, mark string) {
		t.Helper()
		b.Deadline = bootLimit
		runMachine(t, m, b, mark)
	}
	boot(debian.Boot{Name: "install", Init: debian.Quick, Payload: l.installer(t, root, payload)}, "the loader is installed")
	steps := 3
	if l.faults {
		steps = 4
	}
	for n := range steps {
		boot(debian.Boot{Name: fmt.Sprintf("boot%d", n+1), Firmware: true}, fmt.Sprintf("boot %d is as expected", n+1))
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}

// installer returns the payload that installs the loader, and the steps of the boots.
func (l loaderTest) installer(t *testing.T, root *debian.Root, payload debian.Payload) debian.Payload {
	t.Helper()
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := root.Packages(t.Context(), repo, l.packages, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	debs, err := debian.Files("ukdump-test/debs", packages)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range debs {
		payload = payload.With(name, content)
	}
	faults := ""
	if l.faults {
		faults = "yes"
	}
	steps := fmt.Sprintf("loader=%s because='%s' faults=%s first='%s'\n. /ukdump-test/boot\n", l.loader, l.because, faults, l.first)
	payload = payload.With("ukdump-test/steps", steps).With("etc/systemd/system/ukdump-test.service.d/alone.conf", aloneUnit)
	payload.Run = ". /ukdump-test/boot-install\nkeep_cloud\n" + l.install + "installed\n"
	return payload
}
