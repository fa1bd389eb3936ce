package ctl

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/initramfs"
	"ukdump/internal/advice"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

const (
	loadedLine = "loaded " + buildtest.Release + " with initramfs-" + buildtest.Release + ".img in N s; dumps go to /var/crash\n"
	builtLine  = "built ROOT/" + image + ", ..."

	stillLoaded = "; still loaded: " + buildtest.Release + " with initramfs-" + buildtest.Release + ".img"
)

// Each step begins with the state that the one before it left.
func TestLoad(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	// built is the end of the line that says why the image was built, "" if it
	// must not be.
	for i, step := range []struct {
		name   string
		change func()
		line   string
		built  string
	}{
		{"first", func() {}, "load", "no image yet"},
		{"again", func() {}, "load", ""},
		{"reload", func() {}, "reload", ""},
		{"other time, same content", func() { m.Write("usr/bin/makedumpfile", m.Read("usr/bin/makedumpfile")) }, "load", ""},
		{"configuration", func() { m.Write("etc/ukdump.conf", "DUMP_LEVEL=17\n") }, "load", "its inputs have changed"},
		{"command line only", func() { m.Write("etc/ukdump.conf", "DUMP_LEVEL=17\nBOOT_OPTIONS=debug\n") }, "load", ""},
		{"library", func() {
			m.Write("usr/lib/x86_64-linux-gnu/libz.so.1", string(buildtest.ELF{Text: "new"}.Bytes()))
		}, "reload", "its inputs have changed"},
		{"image damaged", func() { m.Write(image, flip(m.Read(image))) }, "load", "the old image is damaged: ..."},
		{"image truncated", func() { m.Write(image, m.Read(image)[:300]) }, "load", "the old image is damaged: ..."},
		{"image empty", func() { m.Write(image, "") }, "load", "the old image is damaged: not an initramfs: the file is empty"},
		{"image of something else", func() { m.Write(image, "text") }, "load", "the old image is damaged: not an initramfs: ..."},
		{"image removed", func() { m.Remove(image) }, "load", "no image yet"},
	} {
		step.change()
		got := m.kdumpctl(step.line)
		text, ok := strings.CutSuffix(got.stdout, loadedLine)
		if !ok || got.status != 0 || got.stderr != "" {
			t.Fatalf("%s: %+v", step.name, got)
		}
		if (text != "") != (step.built != "") {
			t.Errorf("%s: built: %q", step.name, text)
		}
		if _, why, _ := strings.Cut(text, " in N s: "); !matches(strings.TrimSpace(why), step.built) {
			t.Errorf("%s: built because %q, want %q", step.name, why, step.built)
		}
		if len(m.calls) != i+1 {
			t.Fatalf("%s: the kernel was called %d times", step.name, len(m.calls))
		}
		if string(m.initrd) != m.Read(image) || string(m.kernel) != m.Read("boot/vmlinuz-"+buildtest.Release) {
			t.Errorf("%s: %d and %d bytes were loaded", step.name, len(m.kernel), len(m.initrd))
		}
	}
	if last := m.calls[len(m.calls)-1]; !strings.HasPrefix(last, "rootfstype=ramfs ") || !strings.HasSuffix(last, " debug") {
		t.Errorf("command line %q", last)
	}
	if fi, err := os.Stat(filepath.Join(m.Root, "var/lib/ukdump/loaded.json")); err != nil || fi.Mode() != 0o600 {
		t.Errorf("loaded.json: %v, %v", fi.Mode(), err)
	}
}

// flip damages one bit in the middle.
func flip(s string) string {
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}

// An unpacked kernel is no file: it is loaded from memory.
func TestLoadUnpacked(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	kernel := buildtest.Kernel(buildtest.Release)
	m.Write("boot/vmlinuz-"+buildtest.Release, string(buildtest.UKI(kernel)))
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	if !bytes.Equal(m.kernel, kernel) {
		t.Errorf("%d bytes were loaded, want the %d inside the UKI", len(m.kernel), len(kernel))
	}
}

func TestLoadImage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.expect("build", result{0, builtLine + "\n", ""})
	m.Write("srv/my.img", m.Read(image))
	m.Remove("var/lib/ukdump")
	m.expect("load --image ROOT/srv/my.img", result{0, "loaded " + buildtest.Release + " with my.img in N s; dumps go to /var/crash\n", ""})
	if string(m.initrd) != m.Read("srv/my.img") {
		t.Error("another image was loaded")
	}
	if !strings.Contains(m.calls[0], " lockdown=") {
		t.Errorf("command line %q", m.calls[0])
	}
	// That the image in the usual place is missing is no fault then.
	if got := m.kdumpctl("status"); got.status != 0 || !strings.Contains(got.stdout, "\nmissing         nothing\n") {
		t.Errorf("got %+v", got)
	}
}

// Facts about the builder's own modules do not hold for another image.
func TestLoadForeignImage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.expect("build", result{0, builtLine + "\n", ""})
	m.Write("srv/my.img", m.Read(image))
	m.Write("etc/ukdump.conf", "DUMP_LEVEL=17\n")
	m.expect("load --image ROOT/srv/my.img", result{0, "loaded " + buildtest.Release + " with my.img in N s; dumps go to /var/crash\n", ""})
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	if len(m.calls) != 2 || strings.Contains(m.calls[0], "lockdown=") || !strings.Contains(m.calls[1], " lockdown=") {
		t.Errorf("command lines %q", m.calls)
	}
}

// The matrix of reasons that stop a load. A capture kernel is loaded before; after each
// failure it still is, which means that the kernel was not called.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	const (
		vmlinuz = "boot/vmlinuz-" + buildtest.Release
		conf    = "etc/ukdump.conf"
		tree    = "lib/modules/" + buildtest.Release
		mine    = "load --image ROOT/my.img"
	)
	m := newMachine(t)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	planned := func(change func(p map[string]any)) func(m *machine) {
		return func(m *machine) { m.Write("my.img", withPlan(t, m.Read(image), change)) }
	}
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		line   string
		want   string // the first line of stderr behind the program's name
		advice bool   // there is a second one
	}{
		{"unknown key", func(m *machine) { m.Write(conf, "\nTARGTE=/x\n") }, "load", "ROOT/etc/ukdump.conf:2: unknown key TARGTE (did you mean TARGET?)", true},
		{"bad value", func(m *machine) { m.Write(conf, "COMPRESS=rar\n") }, "load", "ROOT/etc/ukdump.conf:1: COMPRESS=rar: not auto, zstd, lzo, snappy, zlib or none", true},
		{"configuration a directory", func(m *machine) { m.Write(conf+"/x", "") }, "load", "read configuration: ROOT/etc/ukdump.conf: not a regular file", true},
		{"kernel missing", func(m *machine) { m.Write(conf, "KERNEL=/none\n") }, "load", "ROOT/etc/ukdump.conf:1: read kernel: ROOT/none: no such file or directory", false},
		{"kernel a directory", func(m *machine) { m.Write(conf, "KERNEL=/boot\n") }, "load", "ROOT/etc/ukdump.conf:1: read kernel: ROOT/boot: not a kernel image: a directory", false},
		{"kernel truncated", func(m *machine) { m.Write(vmlinuz, m.Read(vmlinuz)[:2000]); m.Write(conf, "KERNEL=/"+vmlinuz) }, "load",
			"ROOT/etc/ukdump.conf:1: read kernel: ROOT/" + vmlinuz + ": file is truncated: 2000 of 65536 bytes", false},
		{"not a kernel", func(m *machine) { m.Write(conf, "KERNEL=/usr/bin/makedumpfile\n") }, "load",
			"ROOT/etc/ukdump.conf:1: read kernel: ROOT/usr/bin/makedumpfile: not a kernel image: an ELF file (vmlinux?)", false},
		{"kernel of another architecture", func(m *machine) {
			m.Write("k", strings.Repeat("\x00", 48)+"RISCV\x00\x00\x00"+strings.Repeat("\x00", 100))
			m.Write(conf, "KERNEL=/k\n")
		}, "load", "ROOT/etc/ukdump.conf:1: read kernel: ROOT/k: not a kernel image: a kernel for riscv64, which is not supported", false},
		{"release without kernel", func(m *machine) { m.Write(conf, "KERNEL=1.2.3\n") }, "load", "ROOT/etc/ukdump.conf:1: find kernel: 1.2.3: no image of this release below ROOT, only of 6.1.0-50-amd64", true},
		{"release without module tree", func(m *machine) { m.Remove(tree) }, "load", "modules of kernel ROOT/" + vmlinuz + " (" + buildtest.Release + "): no directory ...", true},
		{"modules.dep truncated", func(m *machine) { m.Write(tree+"/modules.dep", "kernel/x.ko: ker") }, "load",
			"module tree of kernel " + buildtest.Release + ": no module for driver virtio_blk of /sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio5: modules.dep:1: the last line is cut off", true},
		{"no makedumpfile", func(m *machine) { m.Remove("usr/bin/makedumpfile") }, "load", "makedumpfile: not found in ...", true},
		{"no library", func(m *machine) { m.Remove("usr/lib/x86_64-linux-gnu/libz.so.1") }, "load", "library libz.so.1: needed by /usr/bin/makedumpfile: not found in ...", true},
		{"kdumpinit missing", func(m *machine) { m.Pid1 = m.Root + "/none" }, "load", "kdumpinit: ROOT/none: no such file or directory", true},
		{"kdumpinit dynamic", func(m *machine) {
			m.Write("pid1", string(buildtest.ELF{Interp: "/lib/ld.so", Text: plan.Stamp}.Bytes()))
			m.Pid1 = m.Root + "/pid1"
		}, "load", "kdumpinit: ROOT/pid1: dynamically linked, ...", true},
		{"kdumpinit of another version", func(m *machine) {
			m.Write("pid1", string(buildtest.Pid1(plan.Marker+"9;").Bytes()))
			m.Pid1 = m.Root + "/pid1"
		}, "load", `kdumpinit: ROOT/pid1: version "9", but this is version ` + plan.Software, true},
		{"directory not writable", func(m *machine) { m.Remove("var/lib/ukdump"); m.Write("var/lib/ukdump", "") }, "load", "mkdir ROOT/var/lib/ukdump: not a directory", false},
		{"image a directory", func(m *machine) { m.Remove(image); m.Write(image+"/x", "") }, "load", "write image ROOT/" + image + ": not a regular file", false},

		{"no crashkernel=", func(m *machine) { m.Write("sys/kernel/kexec_crash_size", "0\n"); m.Write("proc/cmdline", "quiet\n") }, "load",
			"load capture kernel: no memory is reserved, the running kernel's command line has no crashkernel=", true},
		{"crashkernel= without effect", func(m *machine) { m.Write("sys/kernel/kexec_crash_size", "0\n") }, "load",
			"load capture kernel: no memory is reserved, although the running kernel's command line has crashkernel=128M", true},
		{"reservation too small", func(m *machine) { m.Write("sys/kernel/kexec_crash_size", "33554432\n") }, "load",
			"load capture kernel: ROOT/" + vmlinuz + ": the reservation is too small: needs more than 49 MiB, has 32 MiB", true},
		{"kernel without crash slot", func(m *machine) { m.Remove("sys/kernel/kexec_crash_size") }, "load",
			"the running kernel cannot start a capture kernel ...", true},
		{"without CAP_SYS_BOOT", func(m *machine) { m.Write("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n") }, "load",
			"load capture kernel: ROOT/" + vmlinuz + ": needs root (CAP_SYS_BOOT)", true},
		{"kexec_load_disabled", func(m *machine) { m.Write("proc/sys/kernel/kexec_load_disabled", "1\n") }, "load",
			"load capture kernel: ROOT/" + vmlinuz + ": forbidden until the next boot by the sysctl kernel.kexec_load_disabled", true},
		{"command line too long", func(m *machine) { m.Write(conf, "BOOT_OPTIONS="+strings.Repeat("x", 2000)+"\n") }, "load",
			"ROOT/etc/ukdump.conf:1: BOOT_OPTIONS: the command line of the capture kernel would have ...", true},
		{"word that costs the dump", func(m *machine) { m.Write(conf, "KEEP=3\nBOOT_OPTIONS=\"debug hugepages=128 panic=0\"\n") }, "load",
			"ROOT/etc/ukdump.conf:2: BOOT_OPTIONS: hugepages=128 takes memory that the capture needs; panic=0 lets a machine hang whose capture kernel crashes", true},

		{"--image missing", nil, mine, "image ROOT/my.img: no such file or directory", false},
		{"--image a directory", func(m *machine) { m.Write("my.img/x", "") }, mine, "image ROOT/my.img: not a regular file", false},
		{"--image a FIFO", func(m *machine) {
			m.Write("fifo/x", "")
			if err := unix.Mkfifo(m.Root+"/fifo/my.img", 0o600); err != nil {
				m.t.Fatal(err)
			}
		}, "load --image ROOT/fifo/my.img", "image ROOT/fifo/my.img: not a regular file", false},
		{"--image huge", func(m *machine) {
			m.Write("my.img", "")
			if err := os.Truncate(m.Root+"/my.img", state.MaxImage+1); err != nil {
				m.t.Fatal(err)
			}
		}, mine, "image ROOT/my.img: larger than 1073741824 bytes", false},
		{"--image truncated", func(m *machine) { m.Write("my.img", m.Read(image)[:len(m.Read(image))-1]) }, mine, "image ROOT/my.img: corrupt initramfs: ...", false},
		{"--image damaged", func(m *machine) { m.Write("my.img", flip(m.Read(image))) }, mine, "image ROOT/my.img: corrupt initramfs: ...", false},
		{"--image no image", func(m *machine) { m.Write("my.img", "text\n") }, mine, "image ROOT/my.img: not an initramfs: ...", false},
		{"--image foreign", func(m *machine) {
			m.Write("my.img", pack(t, func(im *initramfs.Image) error { return im.AddFile("init", []byte("x"), 0o755) }))
		}, mine, "image ROOT/my.img: an initramfs, but not an image of ukdump: no file " + plan.Path, false},
		{"--image with a plan of another version", planned(func(p map[string]any) { p["version"] = 1 }), mine,
			"image ROOT/my.img: plan has format version 1, this program supports version 3", false},
		{"--image with a bad plan", planned(func(p map[string]any) { delete(p, "targets") }), mine,
			"image ROOT/my.img: invalid plan: no targets", false},
		{"--image for another kernel", planned(func(p map[string]any) { p["kernel"] = map[string]any{"release": "6.2.0", "arch": "amd64"} }), mine,
			"image ROOT/my.img: it was built for kernel 6.2.0, but the capture kernel is " + buildtest.Release, true},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(m)
			}
			before := buildtest.Snapshot(t, m.Root)
			want := "kdumpctl: " + tt.want + "\n"
			switch {
			case strings.HasSuffix(tt.want, "..."), strings.Contains(tt.want, "no memory is reserved"):
			case tt.name == "directory not writable": // neither is there loaded.json
				want = "kdumpctl: " + tt.want + "; the earlier capture kernel is still loaded\n"
			default:
				want = "kdumpctl: " + tt.want + stillLoaded + "\n"
			}
			if tt.advice {
				want += "kdumpctl: ...\n"
			}
			m.expect(tt.line, result{1, "", want})
			if len(m.calls) != 1 || m.Read("sys/kernel/kexec_crash_loaded") != "1\n" {
				t.Errorf("the kernel was called: %q", m.calls)
			}
			if !slices.Equal(buildtest.Snapshot(t, m.Root), before) {
				t.Error("files were changed")
			}
		})
	}
}

func pack(t testing.TB, fill func(im *initramfs.Image) error) string {
	t.Helper()
	var im initramfs.Image
	if err := fill(&im); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := im.Write(&b, initramfs.Gzip); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// withPlan returns an image with the plan of the given one, changed.
func withPlan(t *testing.T, image string, change func(p map[string]any)) string {
	t.Helper()
	raw, err := initramfs.Open(strings.NewReader(image)).ReadFile(plan.Path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	change(p)
	if raw, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	return pack(t, func(im *initramfs.Image) error { return im.AddFile(plan.Path, raw, 0o600) })
}

func TestLoadFullDisk(t *testing.T) {
	for _, line := range []string{"load", "build --force"} {
		m := newMachine(t)
		m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
		m.Grow()
		before := buildtest.Snapshot(t, m.Root)
		buildtest.FullDisk(t, func() {
			m.expect(line, result{1, "", "kdumpctl: write image ROOT/" + image + ": ...\n"})
		})
		if len(m.calls) != 1 || !slices.Equal(buildtest.Snapshot(t, m.Root), before) {
			t.Errorf("%s: %d calls, or files were changed", line, len(m.calls))
		}
	}
}

// Faults that only the kernel can find.
func TestLoadRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.err = unix.ENOEXEC
	m.expect("load", result{1, builtLine + "\n", "kdumpctl: load capture kernel: ROOT/boot/vmlinuz-" + buildtest.Release +
		": not a kernel image that this kernel can load: exec format error; nothing is loaded now, and no fallback set exists\nkdumpctl: Set KERNEL in ...\n"})
	m.err = unix.ENOSYS
	m.expect("load", result{1, "", "kdumpctl: load capture kernel: ROOT/boot/vmlinuz-" + buildtest.Release +
		": the running kernel has no kexec_file_load (CONFIG_KEXEC_FILE), and kexec of kexec-tools is not installed: ...\nkdumpctl: Install kexec-tools...\n"})
	if _, err := os.Stat(m.Root + "/var/lib/ukdump/loaded.json"); err == nil {
		t.Error("status would believe that something is loaded")
	}
}

func TestIfReserved(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("sys/kernel/kexec_crash_size", "0\n")
	m.Write("etc/ukdump.conf", "not even looked at\n")
	m.expect("load --if-reserved", result{0, "nothing loaded: load capture kernel: no memory is reserved, although the running kernel's command line has crashkernel=128M\n", ""})
	if len(m.calls) > 0 {
		t.Errorf("the kernel was called: %q", m.calls)
	}
	m.Remove("sys/kernel/kexec_crash_size") // a kernel without a crash slot
	m.expect("load --if-reserved", result{0, "nothing loaded: the running kernel cannot start a capture kernel ...\n", ""})
	if len(m.calls) > 0 {
		t.Errorf("the kernel was called: %q", m.calls)
	}
	m = newMachine(t)
	m.expect("load --if-reserved", result{0, builtLine + "\n" + loadedLine, ""})
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Remove("etc/machine-id")
	m.expect("load", result{0, builtLine + "\n" + loadedLine, "kdumpctl: warning: reports will have no machine ID: open ROOT/etc/machine-id: no such file or directory\n"})
}

func TestUnload(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.expect("unload", result{0, "nothing was loaded\n", ""})
	m.kdumpctl("load")
	m.err = unix.EPERM
	m.expect("unload", result{1, "", "kdumpctl: unload capture kernel: the kernel or a security module forbids it: operation not permitted\nkdumpctl: Find the denial ...\n"})
	if _, err := os.Stat(m.Root + "/var/lib/ukdump/loaded.json"); err != nil {
		t.Error("forgotten, though it is still loaded")
	}
	m.err = nil
	m.expect("unload", result{0, "unloaded\n", ""})
	if _, err := os.Stat(m.Root + "/var/lib/ukdump/loaded.json"); err == nil {
		t.Error("loaded.json is still there")
	}
	if want := "unload"; m.calls[len(m.calls)-1] != want || len(m.calls) != 3 {
		t.Errorf("calls %q", m.calls)
	}
}

// Only who has given an image can do without it.
func TestCheckAdvice(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	im, err := load.OpenImage(filepath.Join(m.Root, image))
	if err != nil {
		t.Fatal(err)
	}
	for _, im.Given = range []bool{false, true} {
		_, err := im.Check("6.2.0")
		if a := advice.For(err); err == nil || !strings.Contains(a, "KERNEL=") || strings.Contains(a, "--image") != im.Given {
			t.Errorf("given %v: %v, %q", im.Given, err, a)
		}
	}
}
