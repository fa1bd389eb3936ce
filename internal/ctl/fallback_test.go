package ctl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/host"
)

const (
	conf     = "etc/ukdump.conf"
	lastGood = "var/lib/ukdump/last-good"
	vmlinuz  = "boot/vmlinuz-" + buildtest.Release
	setName  = buildtest.Release + " with initramfs-" + buildtest.Release + ".img"
	instead  = "; loaded instead: the fallback set, " + setName + "\n"
	cannot   = "kdumpctl: load capture kernel: ROOT/" + vmlinuz + ": not a kernel image that this kernel can load: exec format error"
	tryThis  = "kdumpctl: Set KERNEL in ...\n"
)

// loadedSet is the set in the kernel.
type loadedSet struct{ kernel, initrd, cmdline string }

func (m *machine) inKernel() loadedSet {
	return loadedSet{string(m.kernel), string(m.initrd), m.calls[len(m.calls)-1]}
}

// loadedMachine returns a machine with a loaded capture kernel, and that set.
func loadedMachine(t *testing.T) (*machine, loadedSet) {
	t.Helper()
	m := newMachine(t)
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	return m, m.inKernel()
}

// reboot empties the slot.
func (m *machine) reboot() {
	m.t.Helper()
	m.Write("sys/kernel/kexec_crash_loaded", "0\n")
	m.Write("proc/sys/kernel/random/boot_id", "22222222-2222-4333-8444-555555555555\n")
}

// failOnce makes the kernel refuse the next set, after it has dropped the old
// one.
func (m *machine) failOnce(errno unix.Errno) {
	calls := len(m.calls)
	m.asked = func() {
		if m.err = nil; len(m.calls) == calls+1 {
			m.err = errno
		}
	}
}

// missing returns the line of status about the first problem.
func (m *machine) missing() string {
	m.t.Helper()
	_, rest, _ := strings.Cut(m.kdumpctl("status").stdout, "\nmissing         ")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func (m *machine) isLoaded() bool { return m.Read("sys/kernel/kexec_crash_loaded") == "1\n" }

// The kernel has dropped the old image before it refuses the new one.
func TestFallbackRefused(t *testing.T) {
	t.Parallel()
	for _, errno := range []unix.Errno{unix.ENOEXEC, unix.EADDRNOTAVAIL, unix.EPERM} {
		m, good := loadedMachine(t)
		m.Write(conf, "DUMP_LEVEL=17\nBOOT_OPTIONS=debug\n")
		m.failOnce(errno)
		got := m.kdumpctl("reload")
		if line, _, _ := strings.Cut(got.stderr, "\n"); got.status != 1 || !strings.HasPrefix(got.stderr, "kdumpctl: load capture kernel: ") ||
			!strings.HasSuffix(line+"\n", instead) {
			t.Errorf("%v: %+v", errno, got)
		}
		if !m.isLoaded() || m.inKernel() != good {
			t.Errorf("%v: the good set is not loaded", errno)
		}
		if line := m.missing(); !strings.HasPrefix(line, "the fallback set is loaded, because the last load failed: load capture kernel: ") {
			t.Errorf("%v: status says %q", errno, line)
		}
		// The one that failed has not taken the place of the good one.
		m.reboot()
		m.Write(vmlinuz, "")
		if m.kdumpctl("load"); m.inKernel() != good {
			t.Errorf("%v: the good set is not loaded after a reboot", errno)
		}
	}
}

// Loads that fail before the kernel is called, while nothing is loaded.
func TestFallbackAtBoot(t *testing.T) {
	t.Parallel()
	m, good := loadedMachine(t)
	m.reboot()
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		want   string
	}{
		{"configuration", func(m *machine) { m.Write(conf, "TARGTE=x\n") }, "ROOT/etc/ukdump.conf:1: unknown key TARGTE (did you mean TARGET?)"},
		{"kernel missing", func(m *machine) { m.Write(conf, "KERNEL=/none\n") }, "ROOT/etc/ukdump.conf:1: read kernel: ROOT/none: no such file or directory"},
		{"kernel truncated", func(m *machine) { m.Write(conf, "KERNEL=/"+vmlinuz+"\n"); m.Write(vmlinuz, m.Read(vmlinuz)[:2000]) },
			"ROOT/etc/ukdump.conf:1: read kernel: ROOT/" + vmlinuz + ": file is truncated: 2000 of 65536 bytes"},
		{"nothing to build from", func(m *machine) { m.Remove("usr/bin/makedumpfile"); m.Remove(image) }, "makedumpfile: not found in PATH..."},
		{"command line", func(m *machine) { m.Write(conf, "BOOT_OPTIONS="+strings.Repeat("x", 2000)+"\n") },
			"ROOT/etc/ukdump.conf:1: BOOT_OPTIONS: the command line of the capture kernel would have ..."},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			tt.change(m)
			calls := len(m.calls)
			m.rewrite("var/lib/ukdump/loaded.json")
			got := m.kdumpctl("load")
			line, _, _ := strings.Cut(got.stderr, "\n")
			want, _ := strings.CutSuffix(tt.want, "...")
			want, _ = strings.CutSuffix(want, " in PATH")
			if got.status != 1 || !strings.HasPrefix(line, "kdumpctl: "+want) || !strings.HasSuffix(line+"\n", instead) {
				t.Errorf("got %+v", got)
			}
			if !m.isLoaded() || m.inKernel() != good || len(m.calls) != calls+1 {
				t.Errorf("%d calls, loaded %v", len(m.calls)-calls, m.isLoaded())
			}
			if line := m.missing(); !strings.HasPrefix(line, "the fallback set is loaded, because the last load failed: ") {
				t.Errorf("status says %q", line)
			}
		})
	}
}

func TestFallbackFullDisk(t *testing.T) {
	m, good := loadedMachine(t)
	m.reboot()
	m.Grow()
	buildtest.FullDisk(t, func() {
		m.expect("load", result{1, "loaded the fallback set, " + setName + ", until the image is built\n", "kdumpctl: write image ROOT/" + image + ": ...\n"})
	})
	if !m.isLoaded() || m.inKernel() != good {
		t.Error("the good set is not loaded")
	}
	if line := m.missing(); !strings.Contains(line, "write image") {
		t.Errorf("status says %q", line)
	}
}

// When the fallback set fails as well, status must not believe in anything.
func TestFallbackFails(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	m.err = unix.ENOEXEC
	m.expect("reload", result{1, "", cannot + "; nothing is loaded now, as the fallback set fails with the same error\n" + tryThis})
	if m.isLoaded() || len(m.calls) != 3 {
		t.Errorf("calls %q", m.calls)
	}
	if _, err := os.Stat(m.Root + "/var/lib/ukdump/loaded.json"); err == nil {
		t.Error("loaded.json tells of what is not loaded")
	}
	m.err = nil
	m.expect("load", result{0, loadedLine, ""}) // it was the same, so it is good still
}

// A set of which a bit is wrong is not loaded.
func TestFallbackDamaged(t *testing.T) {
	t.Parallel()
	m, good := loadedMachine(t)
	m.reboot()
	m.Write(conf, "KERNEL=/none\n")
	const failed = "kdumpctl: ROOT/etc/ukdump.conf:1: read kernel: ROOT/none: no such file or directory"
	files, err := filepath.Glob(m.Root + "/" + lastGood + "/*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, path := range files {
		name, _ := filepath.Rel(m.Root, path)
		for what, change := range map[string]func(string) string{
			"flipped": flip, "cut off": func(s string) string { return s[:len(s)/2] }, "empty": func(string) string { return "" },
		} {
			m.run(t, filepath.Base(name)+" "+what, func(t *testing.T) {
				if strings.HasSuffix(name, ".json") && what == "flipped" {
					change = func(s string) string { return strings.Replace(s, `"kernel_sha256": "`, `"kernel_sha256": "../`, 1) }
				}
				m.Write(name, change(m.Read(name)))
				calls := len(m.calls)
				m.expect("load", result{1, "", failed + "; nothing is loaded now, as this failed too: read the fallback set: ...\n"})
				if len(m.calls) != calls {
					t.Error("the kernel was asked")
				}
			})
		}
		m.run(t, filepath.Base(name)+" missing", func(t *testing.T) {
			m.Remove(name)
			if got := m.kdumpctl("load"); got.status != 1 || !strings.Contains(got.stderr, "; nothing is loaded now, ") {
				t.Errorf("got %+v", got)
			}
		})
	}
	m.expect("load", result{1, "", failed + instead})
	if m.inKernel() != good {
		t.Error("the good set is not loaded")
	}
	// The next load that works makes a damaged set whole.
	m.Write(conf, "")
	m.Write(strings.TrimPrefix(files[0], m.Root+"/"), "")
	m.expect("load", result{0, loadedLine, ""})
	m.reboot()
	m.Write(conf, "KERNEL=/none\n")
	m.expect("load", result{1, "", failed + instead})
}

func TestFallbackOtherPages(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	m.reboot()
	m.Write(lastGood+"/set.json", strings.Replace(m.Read(lastGood+"/set.json"), `"page_size": 4096`, `"page_size": 65536`, 1))
	m.Write(conf, "KERNEL=/none\n")
	if got := m.kdumpctl("load"); got.status != 1 || !strings.Contains(got.stderr, "from a kernel with pages of 65536 bytes") {
		t.Errorf("got %+v", got)
	}
}

// The set is written when it changes only, and holds nothing of earlier ones.
func TestFallbackFiles(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	list := func() (names []string) {
		ents, err := os.ReadDir(m.Root + "/" + lastGood)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ents {
			fi, err := e.Info()
			if err != nil || fi.Mode() != 0o600 {
				t.Errorf("%s: mode %v, %v", e.Name(), fi.Mode(), err)
			}
			names = append(names, e.Name()+fi.ModTime().String())
		}
		return names
	}
	fi, err := os.Stat(m.Root + "/" + lastGood)
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", fi.Mode(), err)
	}
	before := list()
	m.expect("load", result{0, loadedLine, ""})
	if after := list(); !slices.Equal(after, before) {
		t.Errorf("the same set was written again: %q", after)
	}
	m.Write(lastGood+"/image-x-incomplete", "")
	m.Write(conf, "DUMP_LEVEL=17\n")
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	after := list()
	if len(after) != 3 || after[0] == before[0] || after[1] != before[1] {
		t.Errorf("before %q, after %q", before, after)
	}
}

// A set that cannot be kept is no reason not to be protected, and takes no space.
func TestFallbackNotKept(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const inTheWay = lastGood + "/set.json-incomplete/x"
	m.Write(inTheWay, "")
	m.expect("load", result{0, builtLine + "\n" + loadedLine, "kdumpctl: warning: loaded, but not saved as the fallback set: ...\n"})
	if ents, err := os.ReadDir(m.Root + "/" + lastGood); err != nil || len(ents) != 1 {
		t.Errorf("left: %v, %v", ents, err)
	}
}

// While the image is built, the fallback set protects the machine.
func TestBridge(t *testing.T) {
	t.Parallel()
	m, good := loadedMachine(t)
	m.reboot()
	m.Write(conf, "DUMP_LEVEL=17\n")
	old, n := m.Read(image), 0
	m.asked = func() {
		if n++; n == 1 && m.Read(image) != old {
			t.Error("it was built first")
		}
	}
	m.expect("load", result{0, "loaded the fallback set, " + setName + ", until the image is built\n" + builtLine + "\n" + loadedLine, ""})
	if n != 2 || m.inKernel() == good {
		t.Errorf("%d calls, what is loaded is old: %v", n, m.inKernel() == good)
	}
	if line := m.missing(); line != "nothing" {
		t.Errorf("status says %q", line)
	}
}

// Swap that appears in the course of the boot is waited for, with protection, and
// the image stays as it is.
func TestBridgeUntilTargetAppears(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	m.AddSwap()
	m.Write("etc/fstab", "/dev/nvme0n1p1 none swap sw 0 0\n")
	m.Write("proc/swaps", "Filename Type Size Used Priority\n")
	const device = "sys/class/block/nvme0n1p1"
	if r := m.kdumpctl("load"); r.status != 0 || !strings.Contains(r.stdout, "or else raw:swap") {
		t.Fatalf("%+v", r)
	}
	link, err := os.Readlink(m.Root + "/" + device)
	if err != nil {
		t.Fatal(err)
	}
	m.reboot()
	m.Remove(device)
	naps := 0
	m.sleep = func(time.Duration) {
		if naps++; naps == 1 && !m.isLoaded() {
			t.Error("not protected meanwhile")
		}
		if naps == 3 {
			if err := os.Symlink(link, m.Root+"/"+device); err != nil {
				t.Error(err)
			}
		}
	}
	const loadedLine = "loaded " + setName + " in ...\n"
	m.expect("load --if-reserved", result{0, "loaded the fallback set, " + setName + ", until the raw targets are there\n" + loadedLine, ""})
	if naps != 3 {
		t.Errorf("it was looked for %d times", naps)
	}

	// One that does not come is done without.
	m.reboot()
	m.Remove(device)
	var waited time.Duration
	m.sleep = func(d time.Duration) { waited += d }
	r := m.kdumpctl("load --if-reserved")
	if waited != host.AppearLimit || r.status != 0 || !m.isLoaded() || strings.Contains(r.stdout, "raw:swap") {
		t.Errorf("waited %v: %+v", waited, r)
	}
}

// A sysctl can limit the loads; then there is none to spare.
func TestBridgeLimit(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	m.reboot()
	m.Write(conf, "DUMP_LEVEL=17\n")
	m.Write("proc/sys/kernel/kexec_load_limit_panic", "1\n")
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	if len(m.calls) != 2 {
		t.Errorf("calls %q", m.calls)
	}
}

// A locked down kernel is not asked to load an unsigned kernel.
func TestLoadUnsigned(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	m.Write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
	m.expect("load", result{1, "", "kdumpctl: load capture kernel: ROOT/" + vmlinuz +
		": not signed, and the running kernel is locked down (integrity)" + stillLoaded +
		"\nkdumpctl: Sign it with sbsign and a key that mokutil has enrolled, or set KERNEL in /etc/ukdump.conf to a kernel that your distribution has signed.\n"})
	if len(m.calls) != 1 || !m.isLoaded() {
		t.Error("the kernel was asked")
	}
}

// A kernel that was busy has dropped nothing, and loaded.json stays.
func TestLoadBusy(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	before := m.Read("var/lib/ukdump/loaded.json")
	m.err = unix.EBUSY
	m.expect("load", result{1, "", "kdumpctl: load capture kernel: ROOT/" + vmlinuz +
		": the crash slot stayed in use by another load: device or resource busy" + stillLoaded + "\nkdumpctl: Try again in a moment.\n"})
	if m.Read("var/lib/ukdump/loaded.json") != before {
		t.Error("loaded.json has changed")
	}
}

// The check counts the image that will be loaded, as it unpacks, and not what
// runs on this machine.
func TestB7MemoryOfTheImage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	// 48 MiB for the kernel and next to nothing for the packed image.
	m.Write("sys/kernel/kexec_crash_size", "83886080\n")
	m.Write("proc/modules", strings.Repeat("huge 104857600 0 - Live 0x0000000000000000\n", 500))
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	m.Write("lib/firmware/virtio/blk.bin", strings.Repeat("x", 40<<20))
	m.expect("load", result{1, builtLine + "\n", "kdumpctl: load capture kernel: ROOT/" + vmlinuz +
		": the reservation is too small: needs more than 89 MiB, has 80 MiB" + stillLoaded + "\nkdumpctl: Run kdumpctl setup --crashkernel=...\n"})
	if packed := len(m.Read(image)); packed > 1<<20 {
		t.Errorf("the packed image has %d bytes: this test proves nothing", packed)
	}
}

// A reload never unloads, and asks the kernel only when everything is ready.
func TestB4ReloadNeverUnloads(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	m.Write(conf, "DUMP_LEVEL=17\n")
	m.asked = func() {
		if !m.isLoaded() {
			t.Error("nothing is loaded when the kernel is asked")
		}
		if len(m.calls) == 2 && m.calls[1] == "unload" {
			t.Error("unloaded first")
		}
	}
	m.expect("reload", result{0, builtLine + "\n" + loadedLine, ""})
	if len(m.calls) != 2 || string(m.initrd) != m.Read(image) {
		t.Errorf("calls %q", m.calls)
	}
	// A load that cannot work is refused without the kernel.
	for name, change := range map[string]func(){
		"kernel":        func() { m.Write(vmlinuz, "x") },
		"configuration": func() { m.Write(conf, "x") },
		"module tree":   func() { m.Remove("lib/modules/" + buildtest.Release) },
		"reservation":   func() { m.Write("sys/kernel/kexec_crash_size", "1048576\n") },
		"sysctl":        func() { m.Write("proc/sys/kernel/kexec_load_disabled", "1\n") },
		"signature":     func() { m.Write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n") },
		"command line":  func() { m.Write(conf, "DUMP_LEVEL=17\nBOOT_OPTIONS="+strings.Repeat("x", 2000)) },
	} {
		m.run(t, name, func(t *testing.T) {
			change()
			if got := m.kdumpctl("reload"); got.status != 1 || !strings.Contains(got.stderr, "still loaded") {
				t.Errorf("got %+v", got)
			}
			if len(m.calls) != 2 || !m.isLoaded() {
				t.Errorf("calls %q", m.calls)
			}
		})
	}
}
