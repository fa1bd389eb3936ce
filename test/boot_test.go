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
	because  string // how kdumpctl knows that it has booted, a regular expression of grep
	suite    string
	uefi     bool
	packages []string
	install  string // runs after guest/boot-install
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
		vm, err := m.Boot(t.Context(), b)
		if err == nil {
			err = vm.Wait()
		}
		if err == nil {
			err = vm.Expect("ukdump-test: "+mark, 0)
		}
		if err != nil {
			t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
		}
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
	steps := fmt.Sprintf("loader=%s because='%s' faults=%s\n. /ukdump-test/boot\n", l.loader, l.because, faults)
	payload = payload.With("ukdump-test/steps", steps).With("etc/systemd/system/ukdump-test.service.d/alone.conf", aloneUnit)
	payload.Run = ". /ukdump-test/boot-install\nkeep_cloud\n" + l.install + "installed\n"
	return payload
}
