package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ukdump/test/debian"
)

// Parts of the paths of disks through sysfs.
var (
	virtioSCSI = []string{"pci0000:00", "0000:00:03.0|pci:v00001AF4d00001048sv00001AF4sd00001100bc01sc00i00|virtio-pci|virtio_pci",
		"virtio0|virtio:d00000008v00001AF4|virtio_scsi|virtio_scsi", "host7||||scsi", "target7:0:0||||scsi", "7:0:0:0|scsi:t-0x00|sd|sd_mod|scsi"}
	virtioBlk = []string{"pci0000:00", "0000:00:03.0|pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00|virtio-pci|virtio_pci",
		"virtio0|virtio:d00000002v00001AF4|virtio_blk|virtio_blk"}
	nvme = []string{"pci0000:00", "0000:00:04.0|pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02|nvme|nvme", "!nvme", "nvme0||||nvme"}
	ahci = []string{"pci0000:00", "0000:00:1f.2|pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01|ahci|ahci",
		"ata1", "host0||||scsi", "target0:0:0||||scsi", "0:0:0:0|scsi:t-0x00|sd|sd_mod|scsi"}
	usb = []string{"pci0000:00", "0000:00:05.0|pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30|xhci_hcd|xhci_pci",
		"usb1|usb:v1D6Bp0002d0612dc09dsc00dp01ic09isc00ip00in00|usb|usbcore|usb", "1-1|usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00|usb|usbcore|usb",
		"1-1:1.0|usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00|usb-storage|usb_storage|usb", "host2||||scsi", "target2:0:0||||scsi", "2:0:0:0|scsi:t-0x00|sd|sd_mod|scsi"}
	mmc = []string{"pci0000:00", "0000:00:06.0|pci:v00001B36d00000007sv00001AF4sd00001100bc08sc05i01|sdhci-pci|sdhci_pci",
		"!mmc_host", "mmc0||||mmc_host", "mmc0:4567|mmc:block|mmcblk|mmc_block|mmc"}
)

// fakeTrial is one machine whose image is built by mkkdumpinitrd.
type fakeTrial struct {
	name    string
	disk    debian.FakeDisk
	kernel  string                             // suite of the capture kernel; that of the running one, trixie, if empty
	change  func(t *testing.T, m *debian.Fake) // before the build
	packs   []string                           // modules of the image, by name
	lacks   []string                           // and those that are not in it
	refused string                             // part of the error
}

var fakeTrials = []fakeTrial{
	{name: "fake-virtio-scsi", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "ext4"},
		packs: []string{"virtio_scsi", "sd_mod", "ext4"}, lacks: []string{"virtio_blk", "nvme", "xfs"}},
	{name: "fake-virtio-blk", disk: debian.FakeDisk{Path: virtioBlk, Name: "vda1", Type: "ext4"},
		packs: []string{"virtio_blk", "ext4"}, lacks: []string{"sd_mod", "virtio_scsi"}},
	{name: "fake-nvme", disk: debian.FakeDisk{Path: nvme, Name: "nvme0n1p1", Type: "xfs"},
		packs: []string{"nvme", "nvme_core", "xfs"}, lacks: []string{"sd_mod", "ext4"}},
	{name: "fake-ahci", disk: debian.FakeDisk{Path: ahci, Name: "sda1", Type: "btrfs"},
		packs: []string{"ahci", "libahci", "sd_mod", "btrfs"}},
	{name: "fake-usb", disk: debian.FakeDisk{Path: usb, Name: "sda1", Type: "ext4"},
		packs: []string{"xhci_pci", "usb_storage", "sd_mod", "ext4"}},
	{name: "fake-mmc", disk: debian.FakeDisk{Path: mmc, Name: "mmcblk0p1", Type: "ext4"},
		packs: []string{"sdhci_pci", "mmc_block", "ext4"}},
	{name: "fake-xfs-crc-0", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-m", "crc=0"}}, packs: []string{"xfs"}},
	{name: "fake-xfs-crc-0-by-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-m", "crc=0"}}, kernel: "sid",
		refused: "format version 4 (crc=0), which needs CONFIG_XFS_SUPPORT_V4"},
	{name: "fake-xfs-ascii-ci-by-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-n", "version=ci"}}, kernel: "sid",
		refused: "ASCII case folding (ascii-ci=1), which needs CONFIG_XFS_SUPPORT_ASCII_CI"},
	{name: "fake-xfs-by-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "xfs"}, kernel: "sid", packs: []string{"xfs"}},
	{name: "fake-btrfs-16k-by-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "btrfs", Mkfs: []string{"mkfs.btrfs", "-q", "-s", "16k"}}, kernel: "sid",
		refused: "sectors neither of 4 KiB nor of the size of pages, which needs CONFIG_BTRFS_EXPERIMENTAL"},
	{name: "fake-ext4-64k-by-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "65536"}}, kernel: "sid", packs: []string{"ext4"}},
	{name: "fake-ext4-features-by-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "casefold,quota,project,encrypt,verity,fast_commit"}},
		kernel: "sid", packs: []string{"ext4", "quota_v2"}},
	{name: "fake-kernel-with-its-own-command-line", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "ext4"},
		change: setOption("CONFIG_CMDLINE_OVERRIDE", "y"), refused: "was built with CONFIG_CMDLINE_OVERRIDE"},
	{name: "fake-kernel-without-epoll", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "ext4"},
		change: setOption("CONFIG_EPOLL", "n"), refused: "was built without CONFIG_EPOLL"},
	{name: "fake-capture-kernel-of-sid", disk: debian.FakeDisk{Path: virtioSCSI, Name: "sda1", Type: "ext4"}, kernel: "sid",
		packs: []string{"virtio_scsi", "sd_mod", "ext4"}},
}

// setOption changes the configuration of the kernel.
func setOption(option, value string) func(*testing.T, *debian.Fake) {
	return func(t *testing.T, m *debian.Fake) {
		name := "boot/config-" + m.Release
		conf, err := m.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		line := option + "=" + value
		if value == "n" {
			line = "# " + option + " is not set"
		}
		var lines []string
		for _, l := range strings.Split(conf, "\n") {
			if !strings.HasPrefix(l, option+"=") {
				lines = append(lines, l)
			}
		}
		if err := m.Write(name, strings.Join(append(lines, line, ""), "\n")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFake builds images for machines that are only trees of files, but have the
// kernels of Debian: the aliases, dependencies and configurations are real.
func TestFake(t *testing.T) {
	if set := vmSet(t); set == "faults" {
		t.Skip("UKDUMP_VM=faults is for TestFaults")
	}
	kernels := t.TempDir()
	prepare := sync.OnceValue(func() map[string]string { return fakeKernels(t, kernels) })
	t.Run("fake", func(t *testing.T) {
		for _, trial := range fakeTrials {
			t.Run(trial.name, func(t *testing.T) {
				chosen.Add(1)
				trial.run(t, kernels, prepare())
			})
		}
	})
}

// fakeKernels installs kernels below dir, in a directory named after the suite, and
// returns their releases.
func fakeKernels(t *testing.T, dir string) map[string]string {
	releases := make(map[string]string)
	for _, suite := range []string{"trixie", "sid"} {
		root, _ := lab(t, suite)
		release, err := root.Kernel(debian.Generic, filepath.Join(dir, suite))
		if err != nil {
			t.Fatal(err)
		}
		releases[suite] = release
	}
	return releases
}

// run makes the machine beside the kernels, as hard links do not leave a file
// system, and builds its image.
func (trial *fakeTrial) run(t *testing.T, kernels string, releases map[string]string) {
	dir := filepath.Join(kernels, "machine")
	defer os.RemoveAll(dir)
	m, err := debian.NewFake(dir, filepath.Join(kernels, "trixie"), releases["trixie"], trial.disk)
	if err != nil {
		t.Fatal(err)
	}
	_, payload := lab(t, "trixie")
	usr := filepath.Join(payload.Trees[0], "usr")
	args := []string{"--root", dir, "--kdumpinit", usr + "/lib/ukdump/kdumpinit", "--output", filepath.Join(kernels, "image"), "--explain"}
	if trial.kernel != "" {
		if err := m.AddKernel(filepath.Join(kernels, trial.kernel)); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--kernel", releases[trial.kernel])
	}
	if trial.change != nil {
		trial.change(t, m)
	}
	trial.check(t, exec.Command(usr+"/bin/mkkdumpinitrd", args...))
}

// check runs mkkdumpinitrd and compares its image or its error.
func (trial *fakeTrial) check(t *testing.T, build *exec.Cmd) {
	var stdout, stderr bytes.Buffer
	build.Stdout, build.Stderr = &stdout, &stderr
	err := build.Run()
	if trial.refused != "" {
		if err == nil || !strings.Contains(stderr.String(), trial.refused) {
			t.Errorf("got error %v, want %q:\n%s", err, trial.refused, &stderr)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v:\n%s", err, &stderr)
	}
	var modules []string
	for _, word := range strings.Fields(stdout.String()) {
		if name, _, ok := strings.Cut(filepath.Base(word), ".ko"); ok {
			_, name, _ = strings.Cut(name, "-") // behind its place in the order
			modules = append(modules, strings.ReplaceAll(name, "-", "_"))
		}
	}
	for _, name := range trial.packs {
		if !slices.Contains(modules, name) {
			t.Errorf("%s is missing; the image has %s", name, modules)
		}
	}
	for _, name := range trial.lacks {
		if slices.Contains(modules, name) {
			t.Errorf("%s is in the image without need", name)
		}
	}
}
