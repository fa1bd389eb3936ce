package ctl

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/state"
	"ukdump/internal/verify"
)

// unit reads a file of systemd.syntax(7): section.key to its values.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	f, err := os.Open("../../packaging/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := make(map[string][]string)
	section := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Errorf("%s: %q", name, line)
			}
			key = section + "." + key
			values[key] = append(values[key], strings.Fields(value)...)
		}
	}
	return values
}

// The capture kernel is loaded as early as its files can be read, and what is
// up to date is not built again first.
func TestB12EarlyAndWithoutBuilding(t *testing.T) {
	t.Parallel()
	u := unit(t, "ukdump.service")
	for key, words := range u {
		for _, w := range words {
			if strings.Contains(w, "network") || strings.Contains(w, "multi-user") || strings.Contains(w, "remote-fs") || strings.Contains(w, "time-sync") {
				t.Errorf("%s=%s", key, w)
			}
		}
	}
	for key, want := range map[string]string{
		"Unit.DefaultDependencies": "no", // else it is after basic.target
		"Install.WantedBy":         "sysinit.target",
		"Unit.IgnoreOnIsolate":     "yes",
	} {
		if !slices.Equal(u[key], []string{want}) {
			t.Errorf("%s is %q, want %s", key, u[key], want)
		}
	}
	// A unit that requires a mount is stopped with it, before the kernel is.
	for _, key := range []string{"Unit.Requires", "Unit.RequiresMountsFor", "Unit.BindsTo", "Unit.PartOf", "Unit.Conflicts"} {
		if len(u[key]) > 0 {
			t.Errorf("%s=%s", key, u[key])
		}
	}

	// The command of the unit, at the boot after the one in which the image was built.
	m, good := loadedMachine(t)
	m.reboot()
	fi, err := os.Stat(m.Root + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimPrefix(strings.Join(u["Service.ExecStart"], " "), "/usr/bin/kdumpctl ")
	m.expect(line, result{0, loadedLine, ""})
	if now, err := os.Stat(m.Root + "/" + image); err != nil || now.ModTime() != fi.ModTime() || m.inKernel() != good {
		t.Error("it was built again")
	}
	// TestBridge is for the image that has to be built.
}

// One command enables all: the advice of status is enough.
func TestUnitsEnabledTogether(t *testing.T) {
	t.Parallel()
	also := append(unit(t, verify.LoadUnit)["Install.Also"], verify.LoadUnit)
	paths, err := filepath.Glob("../../packaging/*.service")
	if err != nil || len(paths) < 3 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, p := range paths {
		name := filepath.Base(p)
		if wanted := len(unit(t, name)["Install.WantedBy"]) > 0; wanted != slices.Contains(also, name) {
			t.Errorf("%s has WantedBy=: %v; enabled are %q", name, wanted, also)
		}
	}
}

// A dump on a swap area is collected before that is turned on.
func TestSwapUnits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, key, want string }{
		{"swap.d/ukdump.conf", "Unit.After", "ukdump-collect.service"},
		{"ukdump-collect.service", "Unit.Before", "swap.target"},
		{"ukdump-collect.service", "Service.RemainAfterExit", "yes"},
	} {
		if u := unit(t, tt.file); !slices.Contains(u[tt.key], tt.want) {
			t.Errorf("%s: %s is %q, without %s", tt.file, tt.key, u[tt.key], tt.want)
		}
	}
}

// Units that read untrusted bytes may do least. No unit makes directories read-only that
// TARGET and EVIDENCE may name.
func TestUnitsAreConfined(t *testing.T) {
	t.Parallel()
	loads := []string{verify.LoadUnit, "ukdump-hotplug.service", "ukdump-forecast.service", "ukdump-retry.service"}
	reads := []string{verify.CollectUnit, "ukdump-announce.service", "ukdump-announce-late.service", "ukdump-report.service"}
	looks := []string{"ukdump-metrics.service"} // as status does
	for _, name := range slices.Concat(loads, reads, looks) {
		u := unit(t, name)
		for _, key := range []string{"NoNewPrivileges", "MemoryDenyWriteExecute", "RestrictNamespaces", "ProtectControlGroups"} {
			if !slices.Equal(u["Service."+key], []string{"yes"}) {
				t.Errorf("%s: %s=%q", name, key, u["Service."+key])
			}
		}
		for _, key := range []string{"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices"} {
			if v := u["Service."+key]; v != nil {
				t.Errorf("%s: %s=%s", name, key, v)
			}
		}
		for _, dir := range u["Service.ReadOnlyPaths"] {
			if dir = strings.TrimPrefix(dir, "-"); !slices.Contains([]string{"/usr", "/etc", "/var/spool/cron"}, dir) {
				t.Errorf("%s: %s is read-only", name, dir)
			}
		}
		calls, caps := u["Service.SystemCallFilter"], u["Service.CapabilityBoundingSet"]
		canLoad := slices.Contains(calls, "kexec_file_load") && slices.Contains(caps, "CAP_SYS_BOOT") && slices.Contains(caps, "CAP_SYS_RAWIO")
		if canLoad != slices.Contains(loads, name) || !slices.Contains(calls, "@system-service") {
			t.Errorf("%s: SystemCallFilter=%s, CapabilityBoundingSet=%s", name, calls, caps)
		}
	}
	for _, name := range reads {
		u := unit(t, name)
		if u["Service.MemoryMax"] == nil || !slices.Equal(u["Service.DevicePolicy"], []string{"closed"}) || slices.Contains(u["Service.CapabilityBoundingSet"], "CAP_SYS_ADMIN") {
			t.Errorf("%s reads untrusted bytes: %q", name, u)
		}
	}
}

// Reports are made at each boot, and the boot does not wait for them.
func TestReportUnit(t *testing.T) {
	t.Parallel()
	u := unit(t, "ukdump-report.service")
	for key, want := range map[string]string{
		"Service.ExecStart": "/usr/bin/kdumpctl report --missing", "Service.Type": "exec",
		"Service.Nice": "19", "Service.IOSchedulingClass": "idle",
	} {
		if got := strings.Join(u[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	if !slices.Contains(u["Unit.After"], "ukdump-announce-late.service") || u["Service.RuntimeMaxSec"] == nil {
		t.Errorf("After=%q, RuntimeMaxSec=%q", u["Unit.After"], u["Service.RuntimeMaxSec"])
	}
	if !slices.Contains(unit(t, "ukdump-announce.service")["Unit.Wants"], "ukdump-report.service") {
		t.Error("nothing starts ukdump-report.service")
	}
}

// The metrics are written where the unit may write.
func TestMetricsUnit(t *testing.T) {
	t.Parallel()
	u := unit(t, "ukdump-metrics.service")
	dir := strings.Join(u["Unit.ConditionPathIsDirectory"], " ")
	// status looks at mounts, modules and devices: the unit must see those of the machine.
	for _, key := range []string{"ProtectSystem", "ProtectHome", "ProtectKernelModules", "ProtectKernelTunables", "ProtectClock", "PrivateDevices", "DevicePolicy"} {
		if v := u["Service."+key]; v != nil {
			t.Errorf("%s=%s", key, v)
		}
	}
	if got, want := strings.Join(u["Service.ExecStart"], " "), "/usr/bin/kdumpctl metrics --output "+dir+"/ukdump.prom"; got != want {
		t.Errorf("ExecStart=%s, want %s", got, want)
	}
	if got := unit(t, "ukdump-metrics.timer")["Install.WantedBy"]; !slices.Equal(got, []string{"timers.target"}) {
		t.Errorf("WantedBy=%q", got)
	}
}

// The program and the units must agree on the file that stands for an event.
func TestHotplugUnits(t *testing.T) {
	t.Parallel()
	flag := state.Store{Root: "/"}.HotplugFile()
	if got := unit(t, "ukdump-hotplug.path")["Path.PathExists"]; !slices.Equal(got, []string{flag}) {
		t.Errorf("PathExists=%q, want %s", got, flag)
	}
	rules, err := os.ReadFile("../../packaging/98-ukdump.rules")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(rules), `RUN+="/bin/touch `+flag+`"`) {
		t.Errorf("the rule does not touch %s", flag)
	}
	if got := strings.Join(unit(t, "ukdump-hotplug.service")["Service.ExecStart"], " "); got != "/usr/bin/kdumpctl "+hotplug {
		t.Errorf("ExecStart=%s", got)
	}
	if !slices.Contains(unit(t, "ukdump.service")["Unit.Wants"], "ukdump-hotplug.path") {
		t.Error("nothing starts ukdump-hotplug.path")
	}
}

// The load does not wait for makedumpfile, and nothing waits for its trial.
func TestForecastUnit(t *testing.T) {
	t.Parallel()
	if !slices.Contains(unit(t, "ukdump.service")["Unit.Wants"], "ukdump-forecast.service") {
		t.Error("nothing starts ukdump-forecast.service")
	}
	u := unit(t, "ukdump-forecast.service")
	for key, want := range map[string]string{
		"Service.ExecStart": "/usr/bin/kdumpctl reload --forecast", "Service.Type": "exec", "Service.KeyringMode": "shared",
		"Unit.After": "ukdump.service", "Unit.Before": "shutdown.target",
	} {
		if got := strings.Join(u[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}

// A mount of the network comes after sysinit.target and basic.target, which must
// not wait for what waits for it, nor must a login; and in the capture kernel it
// starts what boots the machine.
func TestUnitsWithNetworkMount(t *testing.T) {
	t.Parallel()
	// waits reports whether a unit is after such a mount, by whatever way.
	var waits func(name string) bool
	waits = func(name string) bool {
		u := unit(t, name)
		if slices.Contains(u["Unit.RequiresMountsFor"], "/var/crash") {
			return true
		}
		return slices.ContainsFunc(u["Unit.After"], func(after string) bool {
			_, err := os.Stat("../../packaging/" + after)
			return after == "var-crash.mount" || after == "remote-fs.target" || err == nil && waits(after)
		})
	}
	for _, name := range []string{verify.LoadUnit, verify.CollectUnit, "ukdump-announce.service", "ukdump-announce-late.service", "ukdump-report.service", "ukdump-hotplug.path", "ukdump-forecast.service", "ukdump-retry.timer"} {
		u := unit(t, name)
		if !slices.Contains(u["Unit.ConditionKernelCommandLine"], "!ukdump.emergency") {
			t.Errorf("%s is started in the capture kernel", name)
		}
		for _, target := range []string{"basic.target", "sysinit.target", "swap.target", "systemd-user-sessions.service"} {
			if waits(name) && slices.Contains(u["Unit.Before"], target) {
				t.Errorf("%s is after /var/crash and before %s", name, target)
			}
		}
	}
	for name, want := range map[string]bool{verify.LoadUnit: true, "ukdump-announce-late.service": true, "ukdump-report.service": true, verify.CollectUnit: false, "ukdump-announce.service": false} {
		if waits(name) != want {
			t.Errorf("%s waits for /var/crash: %v", name, !want)
		}
	}
	u := unit(t, "ukdump-announce.service")
	if !slices.Contains(u["Unit.Before"], "systemd-user-sessions.service") || !slices.Contains(u["Unit.Wants"], "ukdump-announce-late.service") {
		t.Errorf("ukdump-announce.service: Before=%q, Wants=%q", u["Unit.Before"], u["Unit.Wants"])
	}
	if got := strings.Join(unit(t, "ukdump-announce-late.service")["Service.ExecStart"], " "); got != "/usr/bin/kdumpctl announce" {
		t.Errorf("ExecStart=%s", got)
	}
}
