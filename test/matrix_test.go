package test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/matrix.md")

const matrixFile = "../docs/matrix.md"

const matrixHead = `# What is crashed

Each entry is a machine that "make test-matrix" makes, crashes and looks at after the reboot, with
the result that the test demands. What is not here was not crashed: where a stack and a controller
are here, but not together, "kdumpctl verify" and a crash of your own tell.
[ukdump-storage(7)](ukdump-storage.7) has the rules.

bookworm is Debian 12 with Linux 6.1, trixie is Debian 13 with 6.12, sid has 7.x. The kernel is the
generic one and captures itself, and the machine amd64, if nothing else is said. The arm64 processors
have 48-bit addresses. On those with 52 bits the makedumpfile of Debian does not know the kernel, and
kdumpinit copies the memory. Debian's kernels of arm64 lack kexec_file_load(2): kernels that have it are
built for the tests (scripts/testkernel).

Do not edit: "go test ./test -run TestMatrix -update" writes this file from
[test/cells_test.go](../test/cells_test.go).
`

// matrix returns docs/matrix.md.
func matrix() string {
	var b strings.Builder
	b.WriteString(matrixHead)
	b.WriteString("\n## Captured\n\n| file system | on | machines |\n|---|---|---|\n")
	for _, name := range layoutsOf(func(c cell) bool { return c.refused == "" }) {
		l := layouts[name]
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.fs, l.stack, machines(name))
	}
	b.WriteString("\n## Refused when the image is built or loaded\n\n| file system | on | machine | the message has |\n|---|---|---|---|\n")
	for _, c := range cells {
		if c.refused != "" {
			l := layouts[c.layout]
			fmt.Fprintf(&b, "| %s | %s | %s: %s | %s |\n", l.fs, l.stack, c.bus, c.kernels(), c.refused)
		}
	}
	var names []string
	for _, c := range emergencyCells {
		if !c.peer {
			names = append(names, c.name)
		}
	}
	b.WriteString("\n## Besides\n\n")
	fmt.Fprintf(&b, "- LUKS, with a kernel of sid built with `CONFIG_CRASH_DM_CRYPT` (`make test-luks`): %s.\n",
		strings.Join(slices.Sorted(maps.Keys(encrypted)), ", "))
	fmt.Fprintf(&b, "- Emergency mode, with bookworm's own initramfs or that of dracut (TestEmergency): %s.\n", strings.Join(names, ", "))
	b.WriteString("- Storage that is changed after the load, or lacks a member in the capture kernel (`make test-faults`): `test/faults_storage_test.go`.\n" +
		"- Swap partitions and other raw devices: `test/faults_raw_test.go`, `test/collect_test.go`.\n" +
		"- Machines that QEMU does not make, such as Hyper-V and Xen: recorded in `internal/host/testdata/hosts`,\n" +
		"  with the storage that must be found in them. These were not crashed.\n")
	b.WriteString(networkMatrix())
	return b.String()
}

// layoutsOf returns the layouts of the cells that pass a filter, in their
// order.
func layoutsOf(want func(cell) bool) (names []string) {
	for _, c := range cells {
		if want(c) && !slices.Contains(names, c.layout) {
			names = append(names, c.layout)
		}
	}
	return names
}

// machines lists the captures of a layout by controllers.
func machines(layout string) string {
	var buses []string
	kernels := make(map[string][]string)
	for _, c := range cells {
		if c.layout != layout || c.refused != "" {
			continue
		}
		bus := string(c.bus)
		if !slices.Contains(buses, bus) {
			buses = append(buses, bus)
		}
		if k := c.kernels(); !slices.Contains(kernels[bus], k) {
			kernels[bus] = append(kernels[bus], k)
		}
	}
	for i, bus := range buses {
		buses[i] += ": " + strings.Join(kernels[bus], ", ")
	}
	return strings.Join(buses, "; ")
}

// capturedBy are the capture kernels that differ from Debian's, in words for
// the table.
var capturedBy = map[string]string{"zstd": "one with modules in zstd", "monolithic": "a monolithic one", "small": "the small one",
	"small-arm64": "the small one",
	"signed":      "a cloud kernel of bookworm with a key of db", "unsigned": "an unsigned cloud kernel"}

// networkMatrix returns the part about targets at servers.
func networkMatrix() string {
	var b strings.Builder
	b.WriteString("\n## At servers\n\nThe server is OpenSSH, nginx with DAV or versitygw (S3) on the host. static, ipv6, dhcp and slaac are how\n" +
		"the machine got its address. With router-gone it has one of a router, and the recorded route leads nowhere.\n\n| server | card | address | machine |\n|---|---|---|---|\n")
	for _, c := range netCells {
		card, kind := c.card, c.suite
		if c.before != "" {
			card += ", which has another name in the capture kernel"
		}
		if c.flavour != "generic" {
			kind += " " + string(c.flavour)
		}
		server := c.server
		switch c.encrypt {
		case "yes":
			server += ", all encrypted"
		case "no":
			server += ", vmcore encrypted"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", server, card, c.address, kind)
	}
	b.WriteString("\nThe server is a second machine, on virtio-net if nothing else is said:\n\n| name | target | machine |\n|---|---|---|\n")
	for _, c := range wiredCells {
		name := c.name
		if c.model != "" {
			name += " on " + c.model
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, c.target, c.suite)
	}
	b.WriteString("\nFaults of the server or the line, each with /var/crash as the next target:\n\n| fault | the complete dump is |\n|---|---|\n")
	for _, f := range netFaults {
		where := "at the server"
		if f.local {
			where = "in /var/crash"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(f.name, "-", " "), where)
	}
	return b.String()
}

// kernels returns the kernel of a cell and its capture kernel.
func (c cell) kernels() string {
	s := strings.Replace(c.suite, "-", " ", 1)
	if c.flavour != "generic" {
		s += " " + string(c.flavour)
	}
	if c.running != "" {
		s += " on a kernel with " + running[c.running]
	}
	switch by := capturedBy[c.capture]; {
	case by != "":
		s += " by " + by
	case c.capture != "":
		s += " by " + strings.TrimSuffix(strings.Replace(c.capture, "-", " ", 1), " generic")
	}
	if c.mib != 0 {
		s += fmt.Sprintf(" in %d MiB", c.mib)
	}
	if c.service {
		s += " loaded at boot"
	}
	if c.uefi {
		s += " with UEFI and ACPI"
	}
	if c.secure {
		s += " under Secure Boot"
	}
	if c.lpa2 {
		s += " with 52-bit addresses"
	}
	return s
}

// The documentation must name the machines that the tests crash.
func TestMatrix(t *testing.T) {
	want := matrix()
	if *update {
		if err := os.WriteFile(matrixFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the cells are: run go test ./test -run TestMatrix -update", matrixFile)
	}
}
