package kfeature

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"
)

// config is a configuration with these options and no other.
type config map[string]string

func (c config) Known() bool { return c != nil }
func (c config) Get(name string) string {
	if c == nil {
		return ""
	}
	if v, ok := c[name]; ok {
		return v
	}
	return "n"
}
func (c config) Names(name string) bool { _, ok := c[name]; return ok }

func TestIn(t *testing.T) {
	until := Feature{Option: "CONFIG_X", OptionUntil: Version{6, 17}}
	blocks := func(typ string) Feature {
		f, ok := BlockSize(typ, 65536, 4096)
		if !ok {
			t.Fatal(typ)
		}
		return f
	}
	var stripeTree Feature
	for _, f := range BtrfsIncompat {
		if f.Name == "raid-stripe-tree" {
			stripeTree = f.Feature
		}
	}
	for _, tt := range []struct {
		name    string
		f       Feature
		release string
		conf    Config
		want    Answer
	}{
		{"older", Eventfs, "6.5.13-amd64", nil, No},
		{"first", Eventfs, "6.6", nil, Yes},
		{"younger by two digits", Eventfs, "6.10.1", nil, Yes},
		{"no release", Eventfs, "next", nil, Unknown},
		{"older, no configuration", CrashDMCrypt, "6.12.0", config(nil), No},
		{"younger, no configuration", CrashDMCrypt, "6.17.0", config(nil), Unknown},
		{"younger without it", CrashDMCrypt, "6.17.0", config{}, No},
		{"taken back", CrashDMCrypt, "5.14.0-700.el9", config{"CONFIG_CRASH_DM_CRYPT": "y"}, Yes},
		{"a module", Modules, "6.1", config{"CONFIG_MODULES": "m"}, Yes},
		{"only an option, no configuration", ModuleSig, "6.1", nil, Unknown},
		{"only an option, absent", ModuleSig, "6.1", config{}, No},
		{"only an option, not set", ModuleSig, "6.1", config{"CONFIG_MODULE_SIG": "n"}, No},
		{"embedded", BootConfig, "6.1", config{"CONFIG_BOOT_CONFIG_EMBED": "y"}, Yes},
		{"embedded, not set", BootConfig, "6.1", config{"CONFIG_BOOT_CONFIG_EMBED": "n"}, No},
		{"an empty string", CmdlineLast, "5.11", config{"CONFIG_CMDLINE_EXTEND": `""`}, No},
		{"the number 0", Words["sysctl.kernel.hung_task_panic=0"], "6.19", config{"CONFIG_BOOTPARAM_HUNG_TASK_PANIC": "0"}, No},
		{"a number", Words["sysctl.kernel.hung_task_panic=0"], "6.19", config{"CONFIG_BOOTPARAM_HUNG_TASK_PANIC": "3"}, Yes},

		{"before the option", XFSVersion4, "5.9.16", config{}, Yes},
		{"before the option, no configuration", XFSVersion4, "5.9.16", nil, Yes},
		{"before the option, set back", XFSVersion4, "4.18.0-553.el8", config{"CONFIG_XFS_SUPPORT_V4": "n"}, No},
		{"with the option, absent", XFSVersion4, "5.10.0", config{}, No},
		{"with the option, no configuration", XFSVersion4, "5.10.0", nil, Unknown},
		{"with the option, set", XFSVersion4, "6.12", config{"CONFIG_XFS_SUPPORT_V4": "y"}, Yes},
		{"no release, absent", XFSVersion4, "next", config{}, Unknown},
		{"after the option", until, "6.17", config{}, Yes},
		{"at the end of the option", until, "6.16", config{}, No},
		{"removed", CmdlineLast, "5.12", config{}, No},
		{"removed, no configuration", CmdlineLast, "5.12", nil, No},
		{"never", Feature{Until: never}, "7.2", nil, No},
		{"never, no release", Feature{Until: never}, "next", nil, Unknown},

		{"in the list", LockdownActive, "6.1", config{"CONFIG_LSM": `"landlock,lockdown,yama"`}, Yes},
		{"alone in the list", LockdownActive, "6.1", config{"CONFIG_LSM": `"lockdown"`}, Yes},
		{"a part of a name in the list", LockdownActive, "6.1", config{"CONFIG_LSM": `"nolockdown,lockdown2"`}, No},
		{"empty list", LockdownActive, "6.1", config{"CONFIG_LSM": `""`}, No},

		{"shared option, old", blocks("ext4"), "6.12", config{"CONFIG_TRANSPARENT_HUGEPAGE": "y"}, No},
		{"shared option, new", blocks("ext4"), "6.19", config{"CONFIG_TRANSPARENT_HUGEPAGE": "y"}, Yes},
		{"shared option, new without it", blocks("xfs"), "6.19", config{}, No},
		{"shared option, new, no configuration", blocks("xfs"), "6.12", nil, Unknown},
		{"other name of the option", stripeTree, "6.12", config{"CONFIG_BTRFS_DEBUG": "y"}, Yes},
		{"other name of the option, not set", stripeTree, "6.12", config{"CONFIG_BTRFS_DEBUG": "n"}, No},
		{"the name that is gone", stripeTree, "6.13", config{"CONFIG_BTRFS_DEBUG": "y"}, No},
		{"older than the feature", stripeTree, "6.1", config{"CONFIG_BTRFS_DEBUG": "y"}, No},
	} {
		if got := tt.f.In(tt.release, tt.conf); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAfter(t *testing.T) {
	for release, want := range map[string]bool{
		"6.5.13-amd64": true, "5.10.0": true, "4.19": true, "6.1": true,
		"6.6.0": false, "6.12.1": false, "7.0.0-rc1": false, "10.0": false,
		"6.": false, "6": false, "": false, "next": false, "6.x": false, "99999999999999999999.1": false,
		"6.6-rc1": false, "6.5-rc7+": true,
	} {
		if got := (Version{6, 6}).After(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

// Every row says who relies on it, why and where that is written.
func TestRows(t *testing.T) {
	rows := slices.Concat(Required, RequiredBySystemd, RequiredByServers, Forbidden, OnlySigned, []Feature{
		UnpacksZstd, UnpacksGzip, CrashDMCrypt, Eventfs, Tracing, BtrfsAtMount, LockdownLSM, LockdownActive, ModuleSig, Modules, FiveLevel,
		CmdlineFirst, CmdlineLast, BootConfig, BootConfigForced, LoadPinEnforced, XFSVersion4, XFSRealtime, BtrfsChecksums,
	})
	for _, f := range PartitionTables {
		rows = append(rows, f)
	}
	for _, f := range Words {
		rows = append(rows, f)
	}
	for _, m := range IOMMUs {
		rows = append(rows, m.Feature)
	}
	for _, u := range Unpacks {
		rows = append(rows, u.Feature)
	}
	for name, flags := range map[string][]Flag{
		"Ext4Compat": Ext4Compat, "Ext4Incompat": Ext4Incompat, "Ext4ReadOnly": Ext4ReadOnly, "XFSVersion": XFSVersion,
		"XFSFeatures2": XFSFeatures2, "XFSReadOnly": XFSReadOnly, "XFSIncompat": XFSIncompat, "XFSLogIncompat": XFSLogIncompat,
		"BtrfsReadOnly": BtrfsReadOnly, "BtrfsIncompat": BtrfsIncompat, "F2FSFeatures": F2FSFeatures,
	} {
		seen := uint64(0)
		for _, f := range flags {
			if f.Bit == 0 || f.Bit&(f.Bit-1) != 0 || seen&f.Bit != 0 {
				t.Errorf("%s: %s: bit %#x is not one bit, or there twice", name, f.Name, f.Bit)
			}
			seen |= f.Bit
			rows = append(rows, f.Feature)
		}
	}
	for _, f := range rows {
		if f.Name == "" || f.By == "" || f.Why == "" || f.Source == "" {
			t.Errorf("incomplete row %+v", f)
		}
		if f.Option != "" && !strings.HasPrefix(f.Option, "CONFIG_") {
			t.Errorf("%s: option %q", f.Name, f.Option)
		}
	}
}

// debian reads the lines of testdata/debian.txt: SUITE-FLAVOUR RELEASE OPTION=VALUE....
func debian(t *testing.T) map[string]config {
	t.Helper()
	f, err := os.Open("testdata/debian.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kernels := make(map[string]config)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] == "#" {
			continue
		}
		c := config{}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			c["CONFIG_"+name] = value
		}
		kernels[words[0]] = c
	}
	return kernels
}

// The kernels of Debian can capture, mount what their installer makes, and see the
// partitions that it makes.
func TestDebian(t *testing.T) {
	kernels := debian(t)
	if len(kernels) != 6 {
		t.Fatalf("%d kernels", len(kernels))
	}
	for release, c := range kernels {
		for _, f := range slices.Concat(Required, RequiredBySystemd, []Feature{PartitionTables["gpt"], PartitionTables["dos"], UnpacksGzip, UnpacksZstd}) {
			if f.In(release, c) != Yes {
				t.Errorf("%s: %s: got %d", release, f.Name, f.In(release, c))
			}
		}
		for _, f := range slices.Concat(Forbidden, OnlySigned, []Feature{CmdlineLast, CmdlineFirst}) {
			if f.In(release, c) != No {
				t.Errorf("%s: %s: got %d", release, f.Option, f.In(release, c))
			}
		}
		want := Yes
		if strings.HasPrefix(release, "7.2") {
			want = No
		}
		if got := XFSVersion4.In(release, c); got != want {
			t.Errorf("%s: version 4 of xfs: got %d", release, got)
		}
	}
}
