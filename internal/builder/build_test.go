package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ucpio "github.com/u-root/u-root/pkg/cpio"

	"ukdump/initramfs"
	"ukdump/internal/advice"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/config"
	"ukdump/internal/plan"
	"ukdump/internal/target"
)

// options are those for machine m with its own configuration.
func options(t *testing.T, m *buildtest.Machine) Options {
	t.Helper()
	c, err := config.Load(m.Root)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Root: m.Root, Config: c, Pid1: m.Pid1}
}

// newBuild builds for m or fails the test.
func newBuild(t *testing.T, m *buildtest.Machine) *Build {
	t.Helper()
	b, err := New(options(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func messages(errs []error) (list []string) {
	for _, err := range errs {
		list = append(list, err.Error())
	}
	return list
}

// describe lists everything that a Build says.
func describe(t *testing.T, m *buildtest.Machine, b *Build) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, f := range b.Files {
		if f.Path == plan.Path { // its size is that of the plan's golden file
			f.Size = 0
		}
		fmt.Fprintf(&out, "%6d %s: %s\n", f.Size, f.Path, f.Why)
	}
	for _, l := range []struct {
		name  string
		lines []string
	}{{"built in", b.Builtin}, {"left out", messages(b.LeftOut)}, {"warning", b.Warnings}} {
		for _, s := range l.lines {
			fmt.Fprintf(&out, "%s: %s\n", l.name, s)
		}
	}
	conf, err := b.Kernel.Config(b.host, m.Root)
	if err != nil && !strings.Contains(strings.Join(b.Warnings, "\n"), err.Error()) {
		t.Error(err)
	}
	own := CommandLine(b.Kernel.Arch, conf, nil, nil, "", nil, "") // has golden files of its own
	fmt.Fprintf(&out, "compression: %s\ncommand line: ...%s\n", b.Compression, strings.TrimPrefix(b.Cmdline, own))
	return bytes.ReplaceAll(out.Bytes(), []byte(m.Root), []byte("ROOT"))
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *buildtest.Machine)
	}{
		{"default", func(m *buildtest.Machine) {}},
		// Everything that the configuration can ask for, and a kernel of which
		// nothing more is known.
		{"configured", func(m *buildtest.Machine) {
			m.Remove("boot/config-" + buildtest.Release)
			m.Remove("etc/machine-id")
			m.Write("usr/bin/busybox", string(buildtest.ELF{}.Bytes()))
			m.Write("etc/ukdump.conf", "TARGET=/srv/dumps\nDUMP_LEVEL=1\nCOMPRESS=zlib\nFINAL_ACTION=poweroff\nFAILURE_ACTION=shell\n"+
				"TIMEOUT=10min\nMODULES=unused\nBOOT_OPTIONS=\"unused.a=1 nr_cpus=2\"\n")
		}},
		// Modules of both disks are there once.
		{"two-targets", func(m *buildtest.Machine) {
			m.AddDisk()
			m.Write("etc/ukdump.conf", "TARGET=\"/srv/dumps /var/crash\"\n")
		}},
		// The fallback that nobody configured.
		{"swap-partition", func(m *buildtest.Machine) { m.AddSwap() }},
		// Without a vmcore there is no makedumpfile, even on a machine that has none.
		{"log-only", func(m *buildtest.Machine) {
			m.AddSwap()
			m.Remove("usr/bin/makedumpfile")
			m.Write("etc/ukdump.conf", "DUMP=log\n")
		}},
		// A raw device needs no file system, evidence does.
		{"raw-and-evidence", func(m *buildtest.Machine) {
			m.AddSwap()
			m.AddDisk()
			m.Write("sys/module/pstore/parameters/backend", "efi_pstore\n")
			m.Write("etc/ukdump.conf", "TARGET=raw:PARTUUID=11111111-0000-4000-8000-000000000001\nEVIDENCE=/srv/log pstore\nDUMP_LEVEL=0\nCOMPRESS=none\nKEEP=0\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := buildtest.New(t)
			tt.change(m)
			b := newBuild(t, m)
			buildtest.Golden(t, tt.name+".txt", describe(t, m, b))
			data, err := b.Plan.Encode()
			if err != nil {
				t.Fatal(err)
			}
			buildtest.Golden(t, tt.name+".json", data)
		})
	}
}

// ukdump-rescue is packed in place of busybox, if a shell is asked for and it is of this
// version.
func TestRescue(t *testing.T) {
	m := buildtest.New(t)
	rescue := filepath.Join(filepath.Dir(m.Pid1), "ukdump-rescue")
	m.Write("usr/bin/busybox", string(buildtest.ELF{}.Bytes()))
	for _, tt := range []struct {
		name, conf, stamp string
		want              string // path in the image, "" for neither
		err               string
	}{
		{"asked for", "FAILURE_ACTION=shell\n", plan.Stamp, plan.RescuePath, ""},
		{"not asked for", "FAILURE_ACTION=halt\n", plan.Stamp, "", ""},
		{"another version", "FAILURE_ACTION=shell\n", plan.Marker + "0.0.1;", "", "ukdump-rescue: " + rescue + `: version "0.0.1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(rescue, buildtest.Pid1(tt.stamp).Bytes(), 0o755); err != nil {
				t.Fatal(err)
			}
			m.Write("etc/ukdump.conf", tt.conf)
			b, err := New(options(t, m))
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{plan.RescuePath, plan.ShellPath} {
				packed := slices.ContainsFunc(b.Files, func(f File) bool { return f.Path == path })
				if packed != (path == tt.want) {
					t.Errorf("%s: packed %v", path, packed)
				}
			}
			if (b.Plan.ShellTimeout == 600) != (tt.want != "") {
				t.Errorf("timeout %d", b.Plan.ShellTimeout)
			}
		})
	}
}

// Options win over the configuration, target by target.
func TestTargets(t *testing.T) {
	m := buildtest.New(t)
	m.AddDisk()
	m.Write("etc/ukdump.conf", "TARGET=/var/crash\n")
	o := options(t, m)
	o.Targets = []target.Target{{Name: "/srv"}, {Name: "/"}}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, p := range b.Plan.Targets {
		got += fmt.Sprintf("%s: %s on %s, %s; ", p.Dir, p.Filesystem.Type, p.Device.Name, p.Path)
	}
	if want := "/srv: xfs on sda, /; /: ext4 on vde1, /; "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A raw target that this machine has not got is an error where there is no other,
// and a line otherwise.
func TestRawTargets(t *testing.T) {
	const noSwap = "raw:swap: nothing is used for swap"
	m := buildtest.New(t)
	for _, tt := range []struct {
		name, conf string
		swap       bool
		targets    string
		warnings   string
		leftOut    string
		err        string
	}{
		{"default", "", true, "/var/crash raw:swap", "", "", ""},
		{"default without swap", "", false, "/var/crash", "", noSwap, ""},
		{"default set anew", "TARGET=/srv\nTARGET=\n", false, "/var/crash", "", noSwap, ""},
		{"wanted", "TARGET=/var/crash raw:swap", false, "/var/crash", noSwap + ": omitted", "", ""},
		{"turned off", "TARGET=/var/crash", true, "/var/crash", "", "", ""},
		{"only", "TARGET=raw:swap", true, "raw:swap", "", "", ""},
		{"only, but none", "TARGET=raw:swap", false, "", "", "", "no target is left for a dump: " + noSwap},
		{"no such device", "TARGET=/var/crash raw:/dev/sdz", false, "", "", "", "raw:/dev/sdz: no block device is called /dev/sdz"},
		{"twice", "TARGET=raw:swap raw:/dev/nvme0n1p1", true, "", "", "", "raw:/dev/nvme0n1p1: nvme0n1p1: the device of the target raw:swap"},
		{"mounted", "TARGET=/var/crash raw:/dev/vde1\nRAW_OVERWRITE=yes", false, "", "", "", "raw:/dev/vde1: vde1: a file system on it is mounted on /"},
		{"evidence on tmpfs", "EVIDENCE=/mnt", false, "", "", "", "storage of /mnt: tmpfs file system mounted on /mnt is not supported"},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			if tt.swap {
				m.AddSwap()
			}
			m.Mount("0:30 / /mnt rw - tmpfs tmpfs rw")
			m.Write("etc/ukdump.conf", tt.conf)
			b, err := New(options(t, m))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %s", err, tt.err)
				} else if advice.For(err) == "" {
					t.Errorf("no advice with %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range b.Plan.Targets {
				names = append(names, p.Dir)
				named, err := target.Parse(p.Dir)
				if want := err == nil && named.Raw(); (p.Kind == plan.Raw) != want || (b.RawSizes[p.Dir] == 128<<20) != want {
					t.Errorf("%s is %s with %d bytes", p.Dir, p.Kind, b.RawSizes[p.Dir])
				}
			}
			for _, x := range []struct{ got, want string }{
				{strings.Join(names, " "), tt.targets}, {strings.Join(b.Warnings, "\n"), tt.warnings}, {strings.Join(messages(b.LeftOut), "\n"), tt.leftOut},
			} {
				if x.got != x.want {
					t.Errorf("got %q, want %q", x.got, x.want)
				}
			}
		})
	}
}

// The fallback that nobody asked for must not stop the build.
func TestDefaultSwapWithoutModule(t *testing.T) {
	m := buildtest.New(t)
	m.AddSwap()
	dir := "lib/modules/" + buildtest.Release + "/"
	m.Remove(dir + "kernel/drivers/nvme/host/nvme.ko")
	for _, file := range []string{"modules.dep", "modules.alias"} {
		var keep []string
		for line := range strings.Lines(m.Read(dir + file)) {
			if !strings.Contains(line, "nvme") {
				keep = append(keep, line)
			}
		}
		m.Write(dir+file, strings.Join(keep, ""))
	}
	b := newBuild(t, m)
	if len(b.Plan.Targets) != 2 || len(b.Warnings) != 1 || !strings.Contains(b.Warnings[0], "driver nvme of ") {
		t.Errorf("got %+v, %q", b.Plan.Targets, b.Warnings)
	}
	m.Write("etc/ukdump.conf", "TARGET=raw:swap")
	if _, err := New(options(t, m)); err == nil {
		t.Error("no error for a target that cannot be reached")
	}
}

// Only KEEP, MAX_USE and KEEP_FREE let the capture kernel remove dumps, and only
// FAILURE_ACTION=shell lets it open a shell.
func TestConfiguredPlan(t *testing.T) {
	m := buildtest.New(t)
	m.Write("usr/bin/busybox", string(buildtest.ELF{}.Bytes()))
	for _, tt := range []struct {
		conf                     string
		makeSpace, pstore, shell bool
	}{
		{"", true, true, false},
		{"KEEP=0\nEVIDENCE=none", false, false, false},
		{"KEEP=0\nMAX_USE=1G\nFAILURE_ACTION=shell", true, true, true},
		{"KEEP=0\nKEEP_FREE=1G", true, true, false},
	} {
		m.Run(t, tt.conf, func(t *testing.T) {
			m.Write("etc/ukdump.conf", tt.conf)
			b := newBuild(t, m)
			if b.Plan.MakeSpace != tt.makeSpace || b.Plan.Pstore != tt.pstore {
				t.Errorf("make space: %v, pstore: %v", b.Plan.MakeSpace, b.Plan.Pstore)
			}
			for _, line := range []string{b.Cmdline, b.CmdlineForeign} {
				if slices.Contains(splitWords(line), "ukdump.shell") != tt.shell {
					t.Errorf("command line %s", line)
				}
			}
		})
	}
}

// Drivers that are built in ask for firmware, too.
func TestBuiltinFirmware(t *testing.T) {
	m := buildtest.New(t)
	m.Write("lib/modules/"+buildtest.Release+"/modules.builtin.modinfo", "virtio_pci.firmware=virtio/pci.bin\x00unused.firmware=virtio/unused.bin\x00")
	m.Write("lib/firmware/virtio/pci.bin", "x")
	m.Write("lib/firmware/virtio/unused.bin", "x")
	var got []string
	for _, f := range newBuild(t, m).Files {
		if strings.HasPrefix(f.Path, "lib/firmware/") {
			got = append(got, f.Path+": "+f.Why)
		}
	}
	want := []string{"lib/firmware/virtio/pci.bin: firmware of virtio_pci", "lib/firmware/virtio/blk.bin: firmware of virtio_blk"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// With --root, links are those of that machine.
func TestLinksStayInside(t *testing.T) {
	m := buildtest.New(t)
	const ext4 = "lib/modules/" + buildtest.Release + "/kernel/fs/ext4.ko"
	m.Write("elsewhere/ext4.ko", m.Read(ext4))
	m.Write("elsewhere/blk.conf", "options virtio_blk queue_depth=7\n")
	m.Remove(ext4)
	m.Remove("etc/modprobe.d/blk.conf")
	m.Link(ext4, "/elsewhere/ext4.ko")
	m.Link("etc/modprobe.d/blk.conf", "/elsewhere/blk.conf")
	for _, mod := range newBuild(t, m).Plan.Modules {
		if mod.Name == "virtio_blk" && mod.Params != "queue_depth=7" {
			t.Errorf("parameters %q", mod.Params)
		}
	}
}

// Two files cannot have one name in the image.
func TestAddTwice(t *testing.T) {
	var b Build
	for _, data := range []string{"one", "one", "two"} {
		if err := b.add("lib/x.so", []byte(data), 0o644, "needed by "+data); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.Files) != 1 || len(b.Warnings) != 1 || b.Warnings[0] != `lib/x.so is packed once: the file for "needed by two" differs from that for "needed by one"` {
		t.Errorf("got %+v, %q", b.Files, b.Warnings)
	}
}

// Watchdogs that count are fed; for others the image has drivers, in case they are armed later.
func TestWatchdogs(t *testing.T) {
	const dir = "sys/devices/virtual/watchdog/watchdog0/"
	m := buildtest.New(t)
	for _, tt := range []struct {
		name    string
		change  func()
		planned int
		driver  bool
		warns   string
	}{
		{"counts", func() {}, 1, true, ""},
		{"does not count", func() { m.Write(dir+"state", "inactive\n") }, 0, true, ""},
		{"not known", func() { m.Remove(dir + "state"); m.Remove(dir + "identity") }, 0, true, "watchdog0: state unknown"},
		{"only software", func() { m.Write(dir+"identity", "Software Watchdog\n") }, 0, false, ""},
		{"short", func() { m.Write(dir+"timeout", "10\n") }, 1, true, "resets the machine after 10 s"},
		{"of IPMI", func() { m.Write("sys/module/ipmi_watchdog/initstate", "live\n") }, 1, true, "ipmi_watchdog is loaded"},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change()
			b := newBuild(t, m)
			driver := slices.ContainsFunc(b.Plan.Modules, func(m plan.Module) bool { return m.Name == "i6300esb" })
			if len(b.Plan.Watchdogs) != tt.planned || driver != tt.driver {
				t.Errorf("planned: %+v, driver: %v", b.Plan.Watchdogs, driver)
			}
			if all := strings.Join(b.Warnings, "\n"); (all == "") != (tt.warns == "") || !strings.Contains(all, tt.warns) {
				t.Errorf("warnings: %q", all)
			}
		})
	}
}

// The modules of a build are no evidence about another image's.
func TestCmdlineForeign(t *testing.T) {
	b := newBuild(t, buildtest.New(t))
	own, foreign := splitWords(b.Cmdline), splitWords(b.CmdlineForeign)
	i := slices.Index(own, lockdownWord)
	if i < 0 || !slices.Equal(slices.Delete(own, i, i+1), foreign) {
		t.Errorf("got %q, its own image has %q", b.CmdlineForeign, b.Cmdline)
	}
}

// The kernel is the only reader that counts; u-root's is as far from ours.
func TestReadBack(t *testing.T) {
	m := buildtest.New(t)
	b := newBuild(t, m)
	var raw bytes.Buffer
	if _, err := b.image.WriteTo(&raw); err != nil {
		t.Fatal(err)
	}
	recs, err := ucpio.ReadAllRecords(ucpio.Newc.Reader(bytes.NewReader(raw.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	var listing bytes.Buffer
	for _, r := range recs {
		data, err := io.ReadAll(io.NewSectionReader(r.ReaderAt, 0, int64(r.FileSize)))
		if err != nil {
			t.Fatal(err)
		}
		contents[r.Name] = data
		fmt.Fprintf(&listing, "%06o %s\n", r.Mode, r.Name)
	}
	buildtest.Golden(t, "listing.txt", listing.Bytes())

	if len(contents["dev/null"]) != 0 {
		t.Error("dev/null is not empty")
	}
	p, err := plan.Parse(contents[plan.Path])
	if err != nil {
		t.Fatal(err)
	}
	for _, mod := range p.Modules {
		file := contents[mod.Path]
		if !bytes.HasSuffix(file, []byte("~Module signature appended~\n")) {
			t.Errorf("%s: %d bytes without the signature", mod.Path, len(file))
		}
		delete(contents, mod.Path)
	}
	for name, path := range map[string]string{
		"init": m.Pid1, "bin/makedumpfile": m.Root + "/usr/bin/makedumpfile", "lib/firmware/virtio/blk.bin": m.Root + "/lib/firmware/virtio/blk.bin",
	} {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(contents[name], want) {
			t.Errorf("%s is not %s", name, path)
		}
	}
	for name := range contents {
		if strings.HasSuffix(name, ".ko") {
			t.Errorf("%s is not in the plan", name)
		}
	}
}

func TestReproducible(t *testing.T) {
	m := buildtest.New(t)
	dir := t.TempDir()
	var images [][]byte
	var prints []string
	for i := range 2 {
		b := newBuild(t, m)
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := b.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode() != 0o600 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, data)
		own, err := b.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		packed, err := Fingerprint(initramfs.Open(bytes.NewReader(data)))
		if err != nil {
			t.Fatal(err)
		}
		prints = append(prints, own, packed)
		// The next one finds other times and another order of making.
		m.Write("usr/bin/makedumpfile", m.Read("usr/bin/makedumpfile"))
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two builds differ")
	}
	if len(slices.Compact(prints)) != 1 {
		t.Errorf("fingerprints %q", prints)
	}
}

// The files of the image change the fingerprint, nothing else does.
func TestFingerprint(t *testing.T) {
	m := buildtest.New(t)
	hash := func(t *testing.T) string {
		t.Helper()
		f, err := newBuild(t, m).Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	base := hash(t)
	for _, tt := range []struct {
		name   string
		change func(m *buildtest.Machine)
		same   bool
	}{
		{"comment in the configuration", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf", "# nothing\n") }, true},
		{"module that is not needed", func(m *buildtest.Machine) { m.Write("lib/modules/"+buildtest.Release+"/kernel/net/unused.ko", "") }, true},
		{"command line", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf", "BOOT_OPTIONS=debug\n") }, true},
		{"target", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf", "TARGET=/srv\n") }, false},
		{"second target", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf", "TARGET=/var/crash /srv\n") }, false},
		{"dump level", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf", "DUMP_LEVEL=17\n") }, false},
		{"module option", func(m *buildtest.Machine) { m.Write("etc/modprobe.d/blk.conf", "options virtio_blk queue_depth=1\n") }, false},
		{"module", func(m *buildtest.Machine) {
			m.Write("lib/modules/"+buildtest.Release+"/kernel/fs/ext4.ko", string(buildtest.Module("name=ext4", "vermagic="+buildtest.Release+" new")))
		}, false},
		{"makedumpfile", func(m *buildtest.Machine) {
			m.Write("usr/bin/makedumpfile", strings.Replace(m.Read("usr/bin/makedumpfile"), "20 Oct", "21 Oct", 1))
		}, false},
		{"library", func(m *buildtest.Machine) {
			m.Write("usr/lib/x86_64-linux-gnu/libz.so.1", string(buildtest.ELF{Text: "new"}.Bytes()))
		}, false},
		{"firmware", func(m *buildtest.Machine) { m.Write("lib/firmware/virtio/blk.bin", "new") }, false},
		{"host name", func(m *buildtest.Machine) { m.Write("etc/hostname", "other\n") }, false},
		{"no host name", func(m *buildtest.Machine) { m.Remove("etc/hostname") }, false},
		{"host name of DHCP", func(m *buildtest.Machine) { m.Write("proc/sys/kernel/hostname", "other\n") }, true},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change(m)
			if got := hash(t); (got == base) != tt.same {
				t.Errorf("same is %v", got == base)
			}
		})
	}
	if got := hash(t); got != base {
		t.Error("not the same once more")
	}
}

// The matrix of faults of a machine. New detects, names and explains each one
// before it writes anything.
func TestNewErrors(t *testing.T) {
	const (
		vmlinuz = "boot/vmlinuz-" + buildtest.Release
		tree    = "lib/modules/" + buildtest.Release
		conf    = "etc/ukdump.conf"
	)
	m := buildtest.New(t)
	fresh := buildtest.Snapshot(t, filepath.Dir(m.Root))
	for _, tt := range []struct {
		name   string
		change func(m *buildtest.Machine)
		want   string // with ROOT for the machine's directory
		advice bool
	}{
		{"kernel path missing", func(m *buildtest.Machine) { m.Write(conf, "KERNEL=/boot/none\n") },
			"ROOT/etc/ukdump.conf:1: read kernel: ROOT/boot/none: no such file or directory", false},
		{"kernel a directory", func(m *buildtest.Machine) { m.Write(conf, "KERNEL=/boot\n") },
			"ROOT/etc/ukdump.conf:1: read kernel: ROOT/boot: not a kernel image: a directory", false},
		{"kernel truncated", func(m *buildtest.Machine) {
			m.Write(vmlinuz, m.Read(vmlinuz)[:40000])
			m.Write(conf, "\nKERNEL=/"+vmlinuz)
		},
			"ROOT/etc/ukdump.conf:2: read kernel: ROOT/" + vmlinuz + ": file is truncated: 40000 of 65536 bytes", false},
		{"not a kernel", func(m *buildtest.Machine) { m.Write(conf, "KERNEL=/usr/bin/makedumpfile\n") },
			"ROOT/etc/ukdump.conf:1: read kernel: ROOT/usr/bin/makedumpfile: not a kernel image: an ELF file (vmlinux?)", false},
		{"kernel of 32 bit", func(m *buildtest.Machine) {
			b := []byte(m.Read(vmlinuz))
			b[0x206], b[0x207] = 0x0b, 0x02 // protocol 2.11
			m.Write(vmlinuz, string(b))
		}, "kernel ROOT/" + vmlinuz + ": built for 386, which is not supported", true},
		{"kernel without a 64-bit entry point above 4 GiB", func(m *buildtest.Machine) {
			b := []byte(m.Read(vmlinuz))
			b[0x236] &^= 2 // XLF_CAN_BE_LOADED_ABOVE_4G
			m.Write(vmlinuz, string(b))
		}, "kernel ROOT/" + vmlinuz + ": no 64-bit entry point above 4 GiB, which kexec_file_load needs", true},
		{"no such release", func(m *buildtest.Machine) { m.Write(conf, "KERNEL=5.10.0-9\n") },
			"ROOT/etc/ukdump.conf:1: find kernel: 5.10.0-9: no image of this release below ROOT, only of ", true},
		{"running kernel not installed", func(m *buildtest.Machine) { m.Remove(vmlinuz) },
			"find kernel: " + buildtest.Release + ": no image of this release below ROOT", true},
		{"kernel without /proc/vmcore", func(m *buildtest.Machine) {
			name := "boot/config-" + buildtest.Release
			m.Write(name, strings.Replace(m.Read(name), "CONFIG_PROC_VMCORE=y", "# CONFIG_PROC_VMCORE is not set", 1))
		},
			"kernel ROOT/" + vmlinuz + ": " + buildtest.Release + " was built without CONFIG_PROC_VMCORE (ROOT/boot/config-" + buildtest.Release + ")", true},
		{"running kernel with 5-level page tables", func(m *buildtest.Machine) {
			b := []byte(m.Read(vmlinuz))
			b[0x236] &^= 0x20 // XLF_5LEVEL
			m.Write(vmlinuz, string(b))
			m.Write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu lm la57 smep\n")
		}, "kernel ROOT/" + vmlinuz + ": cannot start from the 5-level page tables of the running kernel (XLF_5LEVEL)", true},
		{"unsigned module", func(m *buildtest.Machine) {
			name := "boot/config-" + buildtest.Release
			m.Write(name, m.Read(name)+"CONFIG_MODULE_SIG_FORCE=y\n")
			b, ok := strings.CutSuffix(m.Read(tree+"/kernel/drivers/block/virtio_blk.ko"), "~Module signature appended~\n")
			if !ok {
				t.Fatal("not signed")
			}
			m.Write(tree+"/kernel/drivers/block/virtio_blk.ko", b)
		}, "loads only signed modules (CONFIG_MODULE_SIG_FORCE in ROOT/boot/config-" + buildtest.Release + "), and kernel/drivers/block/virtio_blk.ko has no signature", true},
		{"no module tree", func(m *buildtest.Machine) { m.Remove(tree) },
			"modules of kernel ROOT/" + vmlinuz + " (" + buildtest.Release + "): no directory /usr/lib/modules/" + buildtest.Release + " or /lib/modules/" + buildtest.Release, true},
		{"modules.dep truncated", func(m *buildtest.Machine) { m.Write(tree+"/modules.dep", m.Read(tree + "/modules.dep")[:60]) },
			"module tree of kernel " + buildtest.Release + ": no module for driver virtio_blk of /sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio5: modules.dep:2: the last line is cut off", true},
		{"modules.dep with a needed line that is not understood", func(m *buildtest.Machine) {
			m.Write(tree+"/modules.dep", strings.Replace(m.Read(tree+"/modules.dep"), "kernel/fs/ext4.ko:", "kernel/fs/ext4.ko.lz4:", 1))
		}, "module tree of kernel " + buildtest.Release + ": modules.dep:", true},
		{"modules.dep missing", func(m *buildtest.Machine) { m.Remove(tree + "/modules.dep") },
			"modules in ROOT/" + tree + ": module tree of kernel " + buildtest.Release + ": modules.dep does not exist although there are modules", true},
		{"module missing", func(m *buildtest.Machine) { m.Remove(tree + "/kernel/fs/ext4.ko") }, "ext4.ko", true},
		{"module not in the kernel", func(m *buildtest.Machine) { m.Write(conf, "MODULES=none\n") },
			"kernel " + buildtest.Release + " has no module for MODULES of ROOT/etc/ukdump.conf:1: looked for none", true},
		{"module truncated", func(m *buildtest.Machine) { m.Write(tree+"/kernel/fs/ext4.ko", "\x7fELF") },
			"read module ext4: kernel/fs/ext4.ko: not an ELF file", true},
		{"module of another kernel", func(m *buildtest.Machine) {
			m.Write(tree+"/kernel/fs/ext4.ko", string(buildtest.Module("name=ext4", "vermagic=5.10.0 SMP")))
		}, `module kernel/fs/ext4.ko: built for kernel "5.10.0", not for ` + buildtest.Release, false},
		{"weak module without CRCs", func(m *buildtest.Machine) {
			weakExt4(m, buildtest.Module("name=ext4", "vermagic=5.10.0 SMP mod_unload "))
		}, `module weak-updates/ext4.ko: built for kernel "5.10.0", not for ` + buildtest.Release, false},
		{"weak module of another configuration", func(m *buildtest.Machine) {
			weakExt4(m, buildtest.WeakModule("name=ext4", "vermagic=5.10.0 mod_unload "))
		}, `module weak-updates/ext4.ko: built for kernel "5.10.0", not for ` + buildtest.Release, false},
		{"firmware damaged", func(m *buildtest.Machine) {
			m.Remove("lib/firmware/virtio/blk.bin")
			m.Write("lib/firmware/virtio/blk.bin.xz", "not xz")
		}, "firmware /lib/firmware/virtio/blk.bin.xz: ", false},
		{"makedumpfile missing", func(m *buildtest.Machine) { m.Remove("usr/bin/makedumpfile") }, "makedumpfile: not found in /usr/sbin /usr/bin ", true},
		{"makedumpfile a script", func(m *buildtest.Machine) {
			m.Write("usr/bin/makedumpfile", "#!/bin/sh\n# "+buildtest.MakedumpfileText)
		},
			"/usr/bin/makedumpfile: not a program: ", false},
		{"makedumpfile without that compression", func(m *buildtest.Machine) { m.Write(conf, "COMPRESS=zstd\n") },
			"ROOT/etc/ukdump.conf:1: COMPRESS=zstd: /usr/bin/makedumpfile 1.7.2 does not support zstd, only none, zlib, lzo", false},
		{"library missing", func(m *buildtest.Machine) { m.Remove("usr/lib/x86_64-linux-gnu/libz.so.1") },
			"library libz.so.1: needed by /usr/bin/makedumpfile: not found in /lib64 ", true},
		{"dynamic linker missing", func(m *buildtest.Machine) { m.Remove("usr/lib64/ld-linux-x86-64.so.2") }, "ld-linux-x86-64.so.2", true},
		{"kdumpinit missing", func(m *buildtest.Machine) { m.Pid1 += "-none" }, "kdumpinit: PID1: no such file or directory", true},
		{"no busybox", func(m *buildtest.Machine) { m.Write(conf, "FAILURE_ACTION=shell\n") },
			"ROOT/etc/ukdump.conf:1: FAILURE_ACTION=shell: neither DIR/ukdump-rescue nor busybox is installed", true},
		{"target on tmpfs", func(m *buildtest.Machine) {
			m.Write("proc/self/mountinfo", "1 0 0:1 / / rw - tmpfs tmpfs rw\n")
		}, "storage of /var/crash: tmpfs file system mounted on / is not supported", true},
		{"second target on tmpfs", func(m *buildtest.Machine) {
			m.Mount("0:30 / /mnt rw - tmpfs tmpfs rw")
			m.Write(conf, "TARGET=/var/crash /mnt/crash\n")
		}, "storage of /mnt/crash: tmpfs file system mounted on /mnt is not supported", true},
		{"no such root", func(m *buildtest.Machine) { m.Root += "-none" }, "stat ROOT: no such file or directory", false},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change(m)
			o := Options{Root: m.Root, Pid1: m.Pid1}
			var err error
			if o.Config, err = config.Load(m.Root); err != nil {
				o.Config = config.Default() // the root does not exist
			}
			before := buildtest.Snapshot(t, filepath.Dir(m.Root))
			b, err := New(o)
			if err == nil {
				t.Fatalf("no error, but %d files", len(b.Files))
			}
			got := strings.NewReplacer(m.Root, "ROOT", m.Pid1, "PID1", filepath.Dir(m.Root), "DIR").Replace(err.Error())
			if !strings.Contains(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			var a interface{ Advice() string }
			if advised := errors.As(err, &a) && a.Advice() != ""; advised != tt.advice {
				t.Errorf("advice: %v, want %v: %v", advised, tt.advice, err)
			}
			if !slices.Equal(buildtest.Snapshot(t, filepath.Dir(m.Root)), before) {
				t.Error("files were changed")
			}
		})
	}
	if !slices.Equal(buildtest.Snapshot(t, filepath.Dir(m.Root)), fresh) {
		t.Error("a case was not undone")
	}
}

// weakExt4 gives the kernel an ext4 that belongs to another one, as weak-modules(8)
// does.
func weakExt4(m *buildtest.Machine, ko []byte) {
	const tree = "lib/modules/" + buildtest.Release + "/"
	m.Write("lib/modules/5.10.0/extra/ext4.ko", string(ko))
	m.Link(tree+"weak-updates/ext4.ko", "../../5.10.0/extra/ext4.ko")
	m.Write(tree+"modules.dep", strings.ReplaceAll(m.Read(tree+"modules.dep"), "kernel/fs/ext4.ko:", "weak-updates/ext4.ko:"))
}

// Modules for another release of the kernel are taken if they have CRCs.
func TestWeakModule(t *testing.T) {
	m := buildtest.New(t)
	ko := buildtest.WeakModule("name=ext4", "vermagic=5.10.0 SMP mod_unload ")
	weakExt4(m, ko)
	b := newBuild(t, m)
	i := slices.IndexFunc(b.Plan.Modules, func(p plan.Module) bool { return p.Name == "ext4" })
	if i < 0 || len(b.Warnings) > 0 {
		t.Errorf("modules %v, warnings %q", b.Plan.Modules, b.Warnings)
	}
}

func TestWriteFileErrors(t *testing.T) {
	m := buildtest.New(t)
	m.Grow()
	b := newBuild(t, m)
	dir := t.TempDir()
	old := filepath.Join(dir, "old.img")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := buildtest.Snapshot(t, dir)
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(dir, "none", "x.img"), "no such file or directory"},
		{filepath.Join(old, "x.img"), "not a directory"},
		{dir, "not a regular file"},
	} {
		if err := b.WriteFile(tt.path); err == nil || !strings.HasPrefix(err.Error(), "write image "+tt.path+": ") || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.path, err, tt.want)
		}
	}
	var err error
	buildtest.FullDisk(t, func() { err = b.WriteFile(old) })
	if err == nil || !strings.Contains(err.Error(), "file too large") {
		t.Errorf("full disk: %v", err)
	}
	if after := buildtest.Snapshot(t, dir); !slices.Equal(after, before) {
		t.Errorf("left behind: %q", after)
	}
}

// NixOS has kernel, modules, firmware and programs in places of its own.
func TestNixOS(t *testing.T) {
	m := buildtest.New(t)
	plain := newBuild(t, m)
	const release = buildtest.Release
	for from, to := range map[string]string{
		"boot/vmlinuz-" + release: "nix/store/k/bzImage",
		"lib/modules/" + release:  "nix/store/m/lib/modules/" + release,
		"lib/firmware":            "nix/store/f/lib/firmware",
		"usr/bin/makedumpfile":    "nix/store/p/bin/makedumpfile",
	} {
		to = filepath.Join(m.Root, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(m.Root, from), to); err != nil {
			t.Fatal(err)
		}
	}
	m.Link("nix/store/s/kernel", "../k/bzImage")
	m.Link("nix/store/s/kernel-modules", "../m")
	m.Link("nix/store/s/sw", "../p")
	m.Link("run/booted-system", "../nix/store/s")
	m.Link("run/current-system", "../nix/store/s")
	m.Write("sys/module/firmware_class/parameters/path", "/nix/store/f/lib/firmware\n")
	b := newBuild(t, m)
	if !slices.Equal(b.Files, plain.Files) || !slices.Equal(b.Builtin, plain.Builtin) || b.Makedumpfile != "/run/current-system/sw/bin/makedumpfile" {
		t.Errorf("%s, files %v, want %v", b.Makedumpfile, b.Files, plain.Files)
	}
}

// A raw dump without a machine ID is not collected by itself: that is said before a crash.
func TestWarnRawWithoutMachineID(t *testing.T) {
	m := buildtest.New(t)
	m.AddSwap()
	named := strings.Join(newBuild(t, m).Warnings, "\n")
	m.Remove("etc/machine-id")
	nameless := strings.Join(newBuild(t, m).Warnings, "\n")
	const want = "raw:swap: only kdumpctl collect --foreign saves a dump there"
	if strings.Contains(named, want) || !strings.Contains(nameless, want) {
		t.Errorf("with an ID:\n%s\nwithout one:\n%s", named, nameless)
	}
}
