package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/load"
	"ukdump/internal/state"
)

const (
	hotplug     = "reload --hotplug"
	hotplugFlag = "run/ukdump-hotplug"
	again       = "loaded " + setName + " again in N s\n"
)

// event acts like the udev rule, that many seconds ago.
func (m *machine) event(ago time.Duration) {
	m.t.Helper()
	name := filepath.Join(m.Root, hotplugFlag)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		m.t.Fatal(err)
	}
	f.Close()
	at := time.Now().Add(-ago)
	if err := os.Chtimes(name, at, at); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) pending() bool {
	_, err := os.Stat(filepath.Join(m.Root, hotplugFlag))
	return err == nil
}

// A reload for hotplug keeps the capture kernel that is loaded, whatever has
// happened since to what it was made of.
func TestB3HotplugKeepsWhatIsLoaded(t *testing.T) {
	t.Parallel()
	m, good := loadedMachine(t)
	for name, change := range map[string]func(){
		"nothing":            func() {},
		"configuration":      func() { m.Write(conf, "DUMP_LEVEL=17\nBOOT_OPTIONS=debug\n") },
		"bad configuration":  func() { m.Write(conf, "DUMP_LEVEL=99\n") },
		"kernel upgraded":    func() { m.Write(vmlinuz, m.Read(vmlinuz)+"x") },
		"kernel removed":     func() { m.Remove(vmlinuz); m.Remove("lib/modules/" + buildtest.Release) },
		"image removed":      func() { m.Remove(image) },
		"makedumpfile":       func() { m.Remove("usr/bin/makedumpfile") },
		"not enough to load": func() { m.Write("etc/modprobe.d/blk.conf", "options virtio_blk queue_depth=1\n") },
	} {
		m.run(t, name, func(t *testing.T) {
			change()
			m.rewrite("var/lib/ukdump/loaded.json")
			m.event(time.Hour)
			m.expect(hotplug, result{0, again, ""})
			if len(m.calls) != 2 || m.inKernel() != good || !m.isLoaded() {
				t.Errorf("calls %q", m.calls)
			}
			if m.pending() {
				t.Error("the event is still there")
			}
		})
	}
	// The set could not be kept: the configured one is loaded instead.
	m.Remove(lastGood)
	m.event(time.Hour)
	m.expect(hotplug, result{0, loadedLine, ""})
	if m.inKernel() != good {
		t.Error("something else was loaded")
	}
}

// The set that stands in for another stays one that stands in.
func TestHotplugFallback(t *testing.T) {
	t.Parallel()
	m, good := loadedMachine(t)
	m.reboot()
	m.Write(conf, "KERNEL=/none\n")
	m.kdumpctl("load")
	before := m.missing()
	m.event(time.Hour)
	m.expect(hotplug, result{0, again, ""})
	if after := m.missing(); after != before || m.inKernel() != good {
		t.Errorf("status says %q", after)
	}
}

func TestHotplugFails(t *testing.T) {
	t.Parallel()
	m, good := loadedMachine(t)
	m.event(time.Hour)
	m.failOnce(unix.ENOMEM)
	m.expect(hotplug, result{1, "", "kdumpctl: load capture kernel: ROOT/" + lastGood + "/kernel-...\nkdumpctl: Free some memory and try again.\n"})
	if !m.isLoaded() || m.inKernel() != good || len(m.calls) != 3 {
		t.Errorf("calls %q", m.calls)
	}
}

// A load that fails before the kernel is called is tried once for an event, or systemd
// would go on for ever.
func TestHotplugRefused(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	for name, change := range map[string]func(){
		"sysctl":        func() { m.Write("proc/sys/kernel/kexec_load_disabled", "1\n") },
		"limit":         func() { m.Write("proc/sys/kernel/kexec_load_limit_panic", "0\n") },
		"slot":          func() { m.Remove("sys/kernel/kexec_crash_loaded") },
		"configuration": func() { m.Remove(lastGood); m.Write(conf, "x") },
	} {
		m.run(t, name, func(t *testing.T) {
			change()
			m.event(time.Hour)
			if got := m.kdumpctl(hotplug); got.status != 1 || m.pending() {
				t.Errorf("event there: %v, %+v", m.pending(), got)
			}
		})
	}
}

// Where there is nothing to do, the event is dealt with all the same.
func TestHotplugNothingToDo(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	for _, tt := range []struct {
		name   string
		change func()
		want   string
	}{
		{"unloaded on purpose", func() { m.Write("sys/kernel/kexec_crash_loaded", "0\n") }, "no capture kernel is loaded"},
		{"the kernel updates", func() {
			m.Write("sys/devices/system/cpu/crash_hotplug", "1\n")
			m.Write("sys/devices/system/memory/crash_hotplug", "1\n")
		}, "the kernel updates its own ELF header"},
		{"loaded by another", func() { m.Remove("var/lib/ukdump/loaded.json") }, "kdumpctl has not loaded this capture kernel"},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			tt.change()
			m.event(time.Hour)
			m.expect(hotplug, result{0, "nothing to do: " + tt.want + "\n", ""})
			if len(m.calls) != 1 || m.pending() {
				t.Errorf("calls %q, event there: %v", m.calls, m.pending())
			}
		})
	}
	m.run(t, "kernel that updates for memory only", func(t *testing.T) {
		m.Write("sys/devices/system/cpu/crash_hotplug", "0\n")
		m.Write("sys/devices/system/memory/crash_hotplug", "1\n")
		m.rewrite("var/lib/ukdump/loaded.json")
		m.event(time.Hour)
		m.expect(hotplug, result{0, again, ""})
	})
	m.expect(hotplug, result{0, "nothing to do: no hotplug event since the last load\n", ""})
	m.event(time.Hour)
	m.expect("load", result{0, loadedLine, ""})
	if m.pending() {
		t.Error("the load has covered the event")
	}
	m.expect("load --hotplug", result{2, "", "kdumpctl: unknown flag: --hotplug: see kdumpctl load --help\n"})
	m.expect(hotplug+" --image x", result{2, "", "kdumpctl: --hotplug loads the same set again, so it excludes --image\n"})
}

// A burst of events leads to one reload, and none of them is lost. As systemd
// does, the program is run again as long as the file is there.
func TestB10OneReloadForABurst(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	// 500 events in 5 seconds; time passes in sleep alone.
	const events, every = 500, 10 * time.Millisecond
	sent := 0
	m.event(0)
	m.sleep = func(d time.Duration) {
		// The rest of the burst in d; the file's age is that of the last event.
		n := min(events-sent, int(d/every))
		if n == 0 && sent == events {
			m.event(time.Hour)
			return
		}
		sent += n
		m.event(0)
	}
	runs := 0
	for m.pending() && runs < 20 {
		m.expect(hotplug, result{0, again, ""})
		runs++
	}
	if sent != events || runs != 1 || len(m.calls) != 2 {
		t.Errorf("%d events led to %d runs and %d reloads", sent, runs, len(m.calls)-1)
	}

	// An event while the kernel is loading is for the next run.
	m.sleep = func(time.Duration) { m.event(time.Hour) }
	m.event(time.Hour)
	m.asked = func() {
		if len(m.calls) == 3 {
			m.event(time.Hour)
		}
	}
	m.expect(hotplug, result{0, again, ""})
	if !m.pending() {
		t.Fatal("an event was lost")
	}
	m.expect(hotplug, result{0, again, ""})
	if m.pending() || len(m.calls) != 4 {
		t.Errorf("%d reloads", len(m.calls)-2)
	}

	// Events that never end do not keep it from loading.
	var waited time.Duration
	m.sleep = func(d time.Duration) { waited += d; m.event(0) }
	m.event(0)
	m.expect(hotplug, result{0, again, ""})
	if waited < load.HotplugPatience || waited > load.HotplugPatience+load.HotplugQuiet || len(m.calls) != 5 {
		t.Errorf("waited %v, %d calls", waited, len(m.calls))
	}
}

// systemd limits how often a unit is started: a run takes a second even where
// there is nothing to do.
func TestHotplugIsNeverFast(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.event(time.Hour)
	var waited time.Duration
	m.sleep = func(d time.Duration) { waited += d }
	m.expect(hotplug, result{0, "nothing to do: no capture kernel is loaded\n", ""})
	if waited < load.HotplugQuiet {
		t.Errorf("waited %v", waited)
	}
}

// Two programs at once take turns, for a while.
func TestLock(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("run/x", "")
	f, err := os.OpenFile(m.Root+"/run/ukdump.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("4711\n"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"load", "reload", "unload", "build", "prune"} {
		var waited time.Duration
		m.sleep = func(d time.Duration) { waited += d }
		m.expect(line, result{1, "", "kdumpctl: " + line + ": another kdumpctl has been at work for 2m0s (process 4711)\n" +
			"kdumpctl: See what it does with ps 4711, and try again when it has ended.\n"})
		if waited != state.LockWait {
			t.Errorf("%s waited %v", line, waited)
		}
	}
	m.sleep = func(time.Duration) {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			t.Error(err)
		}
	}
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	if strings.Contains(m.Read("run/ukdump.lock"), "4711") {
		t.Error("the lock still names the other one")
	}
}
