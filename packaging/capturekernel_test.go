package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
)

// fragment is what packaging/capture-kernel asks of Kconfig. An option that it does not
// name is off: build starts from allnoconfig.
type fragment map[string]string

func (f fragment) Known() bool { return true }

func (f fragment) Get(option string) string {
	if v, ok := f[option]; ok {
		return v
	}
	return "n"
}

func (f fragment) Names(option string) bool { _, ok := f[option]; return ok }

// leftOut has the options of kfeature that the capture kernel does without, by the reason.
var leftOut = map[string][]string{
	"no network": {
		"CONFIG_VIRTIO_NET", "CONFIG_E1000", "CONFIG_E1000E", "CONFIG_IGB", "CONFIG_IXGBE", "CONFIG_I40E", "CONFIG_R8169", "CONFIG_8139CP",
		"CONFIG_TIGON3", "CONFIG_VMXNET3", "CONFIG_HYPERV_NET", "CONFIG_XEN_NETDEV_FRONTEND", "CONFIG_ENA_ETHERNET", "CONFIG_VLAN_8021Q",
		"CONFIG_BONDING", "CONFIG_IPV6", "CONFIG_PACKET",
	},
	"controllers of servers: --add":          {"CONFIG_MEGARAID_SAS", "CONFIG_FUSION_SAS", "CONFIG_SCSI_MPT3SAS", "CONFIG_SCSI_SYM53C8XX_2", "CONFIG_XEN_BLKDEV_FRONTEND"},
	"volumes that few targets are on: --add": {"CONFIG_DM_THIN_PROVISIONING", "CONFIG_DM_SNAPSHOT", "CONFIG_DM_CACHE", "CONFIG_DM_CACHE_SMQ", "CONFIG_BCACHE"},
	"a table of 300 KiB for case folding":    {"CONFIG_UNICODE"},
	"rare properties of file systems": {
		"CONFIG_BLK_DEV_ZONED", "CONFIG_XFS_SUPPORT_ASCII_CI", "CONFIG_XFS_RT", "CONFIG_BTRFS_EXPERIMENTAL", "CONFIG_BTRFS_DEBUG", "CONFIG_TRANSPARENT_HUGEPAGE",
	},
	"partition tables of other systems": {
		"CONFIG_AIX_PARTITION", "CONFIG_ATARI_PARTITION", "CONFIG_BSD_DISKLABEL", "CONFIG_MAC_PARTITION", "CONFIG_MINIX_SUBPARTITION", "CONFIG_SGI_PARTITION",
		"CONFIG_SOLARIS_X86_PARTITION", "CONFIG_SUN_PARTITION", "CONFIG_ULTRIX_PARTITION", "CONFIG_UNIXWARE_DISKLABEL", "CONFIG_CMDLINE_PARTITION",
	},
}

// leftOutOf has the same for one architecture or version: drivers of the other
// architecture's machines, and MD_LINEAR, which Linux 6.8 to 6.13 do not have.
var leftOutOf = map[string][]string{
	"amd64": {"CONFIG_VIRTIO_MMIO", "CONFIG_PCI_HOST_GENERIC", "CONFIG_ARM_SBSA_WATCHDOG"},
	"6.12":  {"CONFIG_MD_LINEAR"},
	"arm64": {"CONFIG_ATA_PIIX", "CONFIG_VMWARE_PVSCSI", "CONFIG_HYPERV_VMBUS", "CONFIG_HYPERV_STORAGE", "CONFIG_VMD",
		"CONFIG_ITCO_WDT", "CONFIG_SP5100_TCO", "CONFIG_I6300ESB_WDT", "CONFIG_WDAT_WDT"},
}

// The fragments have each option of kfeature, or leave it out for a reason.
func TestCaptureKernel(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, version := range []kfeature.Version{{6, 12}, {7, 2}} {
			t.Run(arch+" "+version.String(), func(t *testing.T) {
				f, release := fragment(buildtest.CaptureKernel(t, "capture-kernel", arch, version)), version.String()+".0-ukdump"
				must := func(x kfeature.Feature, want kfeature.Answer) {
					if x.For(arch) && x.In(release, f) != want {
						t.Errorf("%s (%s): answer %d, want %d", x.Name, x.Option, x.In(release, f), want)
					}
				}
				for _, x := range slices.Concat(kfeature.Required, []kfeature.Feature{
					kfeature.UnpacksZstd, kfeature.UnpacksGzip, kfeature.XFSVersion4, kfeature.FiveLevel,
					kfeature.PartitionTables["gpt"], kfeature.PartitionTables["dos"],
				}) {
					must(x, kfeature.Yes)
				}
				for _, x := range kfeature.IOMMUs {
					must(x.Feature, kfeature.Yes)
				}
				for _, x := range slices.Concat(kfeature.Forbidden, kfeature.OnlySigned, []kfeature.Feature{kfeature.Tracing, kfeature.LoadPinEnforced,
					kfeature.BootConfig, kfeature.BootConfigForced, kfeature.CmdlineFirst, kfeature.CmdlineLast}) {
					must(x, kfeature.No)
				}
				volumeKeys := kfeature.Yes
				if kfeature.CrashDMCrypt.Since.After(release) {
					volumeKeys = kfeature.No
				}
				must(kfeature.CrashDMCrypt, volumeKeys)
				f.compare(t, arch, version)
			})
		}
	}
}

// compare looks at the options that serve one disk, volume or file system.
func (f fragment) compare(t *testing.T, arch string, version kfeature.Version) {
	optional := make(map[string]bool)
	for _, options := range kfeature.Drivers {
		if !slices.ContainsFunc(options, func(o string) bool { return f.Get(o) != "n" }) {
			optional[options[0]] = true
		}
	}
	var features []kfeature.Feature
	for _, flags := range [][]kfeature.Flag{
		kfeature.Ext4Compat, kfeature.Ext4Incompat, kfeature.Ext4ReadOnly, kfeature.XFSVersion, kfeature.XFSFeatures2, kfeature.XFSReadOnly,
		kfeature.XFSIncompat, kfeature.XFSLogIncompat, kfeature.BtrfsReadOnly, kfeature.BtrfsIncompat, kfeature.F2FSFeatures,
	} {
		for _, x := range flags {
			features = append(features, x.Feature)
		}
	}
	for _, x := range kfeature.PartitionTables {
		features = append(features, x)
	}
	features = append(features, kfeature.XFSRealtime)
	for _, typ := range []string{"ext4", "xfs", "btrfs", "f2fs"} {
		if x, ok := kfeature.BlockSize(typ, 8192, 4096); ok {
			features = append(features, x)
		}
	}
	for _, x := range features {
		if o := x.OptionIn(version.String()); o != "" && f.Get(o) == "n" {
			optional[o] = true
		}
	}
	allowed := slices.Concat(leftOutOf[arch], leftOutOf[version.String()])
	for _, options := range leftOut {
		allowed = append(allowed, options...)
	}
	for _, o := range allowed {
		if f.Get(o) != "n" {
			t.Errorf("%s is there, and in the list of those that are left out", o)
		}
	}
	for o := range optional {
		if !slices.Contains(allowed, o) {
			t.Errorf("%s is neither there nor left out for a reason", o)
		}
	}
}

// fakeKernel is a directory that build has made, as far as an installation needs it.
func fakeKernel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"vmlinuz": "kernel", "config": "CONFIG_PROC_VMCORE=y\nCONFIG_MODULES=y\n", "release": "6.12.1-ukdump\n", "modules/modules.dep": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// An installed kernel has one path whatever its release is. Its configuration and modules lie
// where mkkdumpinitrd looks for them; those of an earlier one are gone.
func TestInstallCaptureKernel(t *testing.T) {
	dest, built := t.TempDir(), fakeKernel(t)
	dir := filepath.Join(dest, "usr/lib/ukdump/capture-kernel")
	modules := filepath.Join(dir, "modules")
	if err := os.MkdirAll(filepath.Join(modules, "6.11.0-ukdump"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config-6.11.0-ukdump"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("capture-kernel/build", "--install", built, dest).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for d, want := range map[string][]string{
		dir:                                     {"config-6.12.1-ukdump", "modules", "vmlinuz"},
		modules:                                 {"6.12.1-ukdump"},
		filepath.Join(modules, "6.12.1-ukdump"): {"modules.dep"},
	} {
		entries, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s has %q, want %q", d, names, want)
		}
	}
	conf, err := kimage.ReadConfig(filepath.Join(dir, "config-6.12.1-ukdump"))
	if err != nil || conf.Get("CONFIG_PROC_VMCORE") != "y" {
		t.Errorf("configuration: %v %v", conf, err)
	}
}

// Mistakes of the user end with 1 or 2 and say the next thing to do.
func TestBuildCaptureKernelErrors(t *testing.T) {
	old := fakeKernel(t)
	if err := os.Remove(filepath.Join(old, "modules/modules.dep")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"nothing", nil, 2, "--source DIR"},
		{"an unknown option", []string{"--sources", "x", "out"}, 2, "--source DIR"},
		{"another architecture", []string{"--arch", "s390x", "out"}, 1, "architecture s390x: not supported\nChoose x86_64 or arm64"},
		{"no source tree", []string{"--source", "testdata", "out"}, 1, "testdata: no kernel source tree\nName another one"},
		{"nothing to install", []string{"--install", "testdata"}, 1, "install: testdata: no kernel\nBuild it first"},
		{"modules are missing", []string{"--install", old, filepath.Join(old, "dest")}, 1, "the modules are missing\nBuild it again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, program := range []string{"flex", "bison", "bc", "gcc", "make", "zstd", "xz", "depmod"} {
				if _, err := exec.LookPath(program); err != nil && tt.status == 1 {
					t.Skipf("%s is not installed", program)
				}
			}
			cmd := exec.Command("capture-kernel/build", tt.args...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("exit status %d (%v), want %d", got, err, tt.status)
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("got\n%swithout %s", out.String(), fmt.Sprintf("%q", tt.want))
			}
		})
	}
}
