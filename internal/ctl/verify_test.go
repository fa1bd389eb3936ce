package ctl

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/initramfs"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/fsid"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

// Parts that differ from run to run.
var (
	sums     = regexp.MustCompile(`[0-9a-f]{64}`)
	moments  = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	hasSpace = regexp.MustCompile(` has [0-9.]+ ([KMGT]i)?B`)
)

// proven returns a machine on which a capture kernel is loaded and nothing is
// wrong.
func proven(t *testing.T) *machine {
	m := newMachine(t)
	m.Write("proc/meminfo", "MemTotal: 1900000 kB\nMemFree: 1700000 kB\n")
	m.Write("var/crash/lost+found/x", "")
	m.memUsage = func(program string) ([]byte, error) { return buildtest.MemUsage(t, "bookworm"), nil }
	m.AddSwap()
	m.load()
	return m
}

func (m *machine) load() {
	m.t.Helper()
	if got := m.kdumpctl("load"); got.status != 0 {
		m.t.Fatalf("load: %+v", got)
	}
}

// changed replaces the image by one with other files and loads that, as if build
// had made it so.
func (m *machine) changed(change func(files map[string]verify.File)) {
	m.t.Helper()
	files, err := verify.ReadFiles([]byte(m.Read(image)))
	if err != nil {
		m.t.Fatal(err)
	}
	change(files)
	for _, name := range []string{image, "var/lib/ukdump/loaded.json", "var/lib/ukdump/last-good/set.json", "sys/kernel/kexec_crash_loaded"} {
		m.rewrite(name)
	}
	m.Write(image, pack(m.t, func(im *initramfs.Image) error {
		for name, f := range files {
			if f.Mode.IsDir() {
				if err := im.AddDir(name, f.Mode.Perm()); err != nil {
					return err
				}
				continue
			}
			if err := im.AddFile(name, f.Data, f.Mode.Perm()); err != nil {
				return err
			}
		}
		return nil
	}))
	if got := m.kdumpctl("load --image ROOT/" + image); got.status != 0 {
		m.t.Fatalf("load: %+v", got)
	}
}

// module returns the path of a module in the image.
func module(files map[string]verify.File, name string) string {
	for path := range files {
		if strings.HasSuffix(path, "-"+name+".ko") {
			return path
		}
	}
	return "no module " + name
}

// Stack, findings and result of whole machines.
func TestVerifyGolden(t *testing.T) {
	t.Parallel()
	m := proven(t)
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		status int
	}{
		{"in-order", func(m *machine) {}, 0},
		{"two-targets", func(m *machine) {
			m.AddDisk()
			m.Write("etc/ukdump.conf", "TARGET=/srv/dumps /var/crash\nKEEP_FREE=100T\nMAX_USE=1M\n")
			m.rewrite(image)
			m.load()
		}, 0},
		{"module-missing", func(m *machine) {
			m.changed(func(files map[string]verify.File) { delete(files, module(files, "virtio")) })
		}, 1},
		{"monolithic", func(m *machine) {
			m.Remove("lib/modules/" + buildtest.Release)
			conf := "boot/config-" + buildtest.Release
			m.Write(conf, strings.NewReplacer("CONFIG_MODULES=y\n", "", "CONFIG_MODULE_SIG=y\n", "CONFIG_EXT4_FS=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_PCI=y\n").Replace(m.Read(conf)))
			m.Write("etc/ukdump.conf", "TARGET=/var/crash\n")
			m.rewrite(image)
			m.load()
		}, 0},
		// Nothing says whether the kernel has the driver, which the running one has.
		{"driver-unknown", func(m *machine) {
			m.Write("lib/modules/"+buildtest.Release+"/modules.builtin", "")
			m.Remove("sys/module/virtio_pci/initstate")
			m.Remove("boot/config-" + buildtest.Release)
			m.Write("etc/ukdump.conf", "KERNEL="+buildtest.Release+"\nTARGET=/var/crash\n")
			m.Write("proc/sys/kernel/osrelease", "7.0.0\n")
			m.rewrite(image)
			m.load()
		}, 0},
		{"driver-lacking", func(m *machine) {
			m.Write("lib/modules/"+buildtest.Release+"/modules.builtin", "")
			m.Remove("sys/module/virtio_pci/initstate")
		}, 1},
		{"not-loaded", func(m *machine) { m.kdumpctl("unload") }, 1},
		{"nothing-can-be-built", func(m *machine) { m.Remove("usr/bin/makedumpfile") }, 1},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			m.rewrite("var/lib/ukdump/loaded.json")
			m.rewrite("sys/kernel/kexec_crash_loaded")
			tt.change(m)
			calls := len(m.calls)
			r := m.kdumpctl("verify")
			if r.status != tt.status || (r.stderr != "") != (tt.status != 0) {
				t.Errorf("status %d, stderr %s", r.status, r.stderr)
			}
			harmless(t, "verify", r.stdout)
			out := sums.ReplaceAllString(hasSpace.ReplaceAllString(r.stdout, " has N"), "SUM") + r.stderr
			buildtest.Golden(t, "verify-"+tt.name+".txt", []byte(out))
			if len(m.calls) != calls {
				t.Errorf("the kernel was called: %q", m.calls)
			}
			if left, _ := filepath.Glob(m.Root + state.Dir + "/" + state.UnpackedDirs); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// In emergency mode there is less to prove.
func TestVerifyEmergency(t *testing.T) {
	t.Parallel()
	const initrd = "boot/initrd.img-" + buildtest.Release
	m := newMachine(t)
	for _, unit := range []string{"ukdump-emergency.target", "ukdump-emergency.service"} {
		m.Write("usr/lib/systemd/system/"+unit, "")
	}
	m.Write(initrd, pack(t, func(im *initramfs.Image) error { return im.AddFile("init", []byte("x"), 0o755) }))
	m.Write("etc/ukdump.conf", "MODE=emergency\n")
	m.Write("proc/meminfo", "MemTotal: 1900000 kB\nMemFree: 1700000 kB\n")
	m.memUsage = func(program string) ([]byte, error) {
		if program != "/usr/bin/makedumpfile" {
			t.Errorf("asked %s", program)
		}
		return buildtest.MemUsage(t, "bookworm"), nil
	}
	m.load()
	r := m.kdumpctl("verify")
	if r.status != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	buildtest.Golden(t, "verify-emergency.txt", []byte(sums.ReplaceAllString(hasSpace.ReplaceAllString(r.stdout, " has N"), "SUM")))
	if r := m.kdumpctl("status"); !strings.Contains(r.stdout, "(the loaded one)") {
		t.Error(r.stdout)
	}
	m.Write(initrd, m.Read(initrd)+strings.Repeat("\x00", 512))
	if r := m.kdumpctl("verify"); !found(r.stdout, "image", "/"+initrd+" or the plan has changed since it was loaded", "Run kdumpctl reload.") {
		t.Error(r.stdout)
	}
	// A machine that can build nothing says nothing about the image.
	m.Remove("usr/lib/systemd/system/ukdump-emergency.target")
	if r := m.kdumpctl("verify"); !found(r.stdout, "machine", "emergency mode: ukdump-emergency.target is not installed", "Install ukdump") || strings.Contains(r.stdout, " image ") {
		t.Error(r.stdout)
	}
}

// Modules for another release of the kernel are taken if they have CRCs.
func TestVerifyWeakModule(t *testing.T) {
	t.Parallel()
	m := proven(t)
	m.changed(func(f map[string]verify.File) {
		f[module(f, "ext4")] = verify.File{Mode: 0o600, Link: "", Data: buildtest.WeakModule("name=ext4", "vermagic=6.1.0-49-amd64 SMP mod_unload ")}
	})
	want := regexp.MustCompile(`(?m)^ok +modules +7, all built for ` + buildtest.Release + ` or, with CRCs, for one like it, `)
	if r := m.kdumpctl("verify"); !want.MatchString(r.stdout) {
		t.Error(r.stdout)
	}
}

// Each way in which something can be wrong, with its message.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	const reload = "Run kdumpctl reload."
	m := proven(t)
	files := func(change func(files map[string]verify.File)) func(m *machine) {
		return func(m *machine) { m.changed(change) }
	}
	write := func(err error) func(m *machine) {
		return func(m *machine) { m.tryWrite = func(string) error { return err } }
	}
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		topic  string
		want   string // the beginning of the finding
		advice string // its beginning
	}{
		{"nothing loaded", func(m *machine) { m.Write("sys/kernel/kexec_crash_loaded", "0\n") }, "loaded", "no capture kernel is loaded", "Run kdumpctl load now"},
		{"loaded by somebody else", func(m *machine) { m.Remove("var/lib/ukdump/loaded.json") }, "loaded", "kdumpctl has not loaded this capture kernel since this boot", reload},
		{"kernel replaced", func(m *machine) {
			k := []byte(m.Read("boot/vmlinuz-" + buildtest.Release))
			k[len(k)-1]++
			m.Write("boot/vmlinuz-"+buildtest.Release, string(k))
		}, "loaded", "ROOT/boot/vmlinuz-" + buildtest.Release + " has changed since it was loaded", reload},
		{"command line", func(m *machine) { m.Write("etc/ukdump.conf", "BOOT_OPTIONS=debug\n") }, "loaded", "the command line of the loaded capture kernel is not the configured one", reload},
		{"image and copy gone", func(m *machine) { m.Remove(image); m.Remove("var/lib/ukdump/last-good") }, "image", "image ROOT/" + image + ": no such file or directory", reload},

		{"stale: makedumpfile", func(m *machine) { m.Write("usr/bin/makedumpfile", m.Read("usr/bin/makedumpfile")+"x") }, "image", "out of date: bin/makedumpfile has changed", reload},
		{"stale: a library", func(m *machine) {
			m.Write("usr/lib/x86_64-linux-gnu/libz.so.1", m.Read("usr/lib/x86_64-linux-gnu/libc.so.6")+"x")
		}, "image", "out of date: lib/libz.so.1 has changed", reload},
		{"stale: the configuration", func(m *machine) { m.Write("etc/ukdump.conf", "TIMEOUT=1h\n") }, "plan", "differs from the configuration: the deadlines", reload},
		{"file too many", files(func(f map[string]verify.File) { f["etc/passwd"] = verify.File{Mode: 0o644} }), "image", "out of date: etc/passwd is not needed", reload},

		{"foreign plan", func(m *machine) { m.Write("etc/machine-id", "00112233445566778899aabbccddeeff\n") }, "plan", "built for another machine, ", reload},
		{"another file system", func(m *machine) {
			m.Write("etc/ukdump.conf", "TARGET=/var/crash\n")
		}, "plan", "the targets are /var/crash, or else raw:swap; a build now has /var/crash", reload},

		{"module removed", files(func(f map[string]verify.File) { delete(f, module(f, "ext4")) }), "modules", "in the plan, but not in the image: lib/modules/", reload},
		{"module removed, by its level", files(func(f map[string]verify.File) { delete(f, module(f, "ext4")) }), "drivers", "/var/crash cannot be reached: neither in the image nor in the kernel: ext4 (file system ext4)", reload},
		{"dependency removed", files(func(f map[string]verify.File) { delete(f, module(f, "crc16")) }), "drivers", "/var/crash cannot be reached: neither in the image nor in the kernel: crc16 (file system ext4)", reload},
		{"modules of another kernel", files(func(f map[string]verify.File) {
			f[module(f, "ext4")] = verify.File{Mode: 0o600, Link: "", Data: buildtest.Module("name=ext4", "vermagic=6.1.0-49-amd64 SMP")}
		}), "modules", "not built for " + buildtest.Release + ", which refuses them: ext4 (for 6.1.0-49-amd64)", reload},
		{"module before what it needs", files(func(f map[string]verify.File) {
			f[module(f, "crc16")] = verify.File{Mode: 0o600, Link: "", Data: buildtest.Module("name=crc16", "vermagic="+buildtest.Release+" SMP", "depends=ext4")}
		}), "modules", "loaded before their dependencies: crc16 (before ext4)", reload},
		{"module damaged", files(func(f map[string]verify.File) {
			f[module(f, "ext4")] = verify.File{Mode: 0o600, Link: "", Data: []byte("x")}
		}), "modules", "lib/modules/", reload},
		{"firmware removed", files(func(f map[string]verify.File) { delete(f, "lib/firmware/virtio/blk.bin") }), "modules", "firmware is installed, but not in the image: virtio/blk.bin of virtio_blk", reload},

		{"library missing", files(func(f map[string]verify.File) { delete(f, "lib/libz.so.1") }), "programs", "the image lacks libz.so.1, which /bin/makedumpfile needs", reload},
		{"loader missing", files(func(f map[string]verify.File) { delete(f, "lib64/ld-linux-x86-64.so.2") }), "programs", "the image lacks /lib64/ld-linux-x86-64.so.2, which /bin/makedumpfile needs", reload},
		{"makedumpfile missing", files(func(f map[string]verify.File) { delete(f, "bin/makedumpfile") }), "programs", "the image lacks /bin/makedumpfile, which the plan runs", reload},
		{"PID 1 of another version", files(func(f map[string]verify.File) {
			f["init"] = verify.File{Mode: 0o755, Link: "", Data: buildtest.Pid1("this is ukdump version 9;").Bytes()}
		}), "programs", `kdumpinit: /init of the image: version "9", but this is version `, "Reinstall ukdump"},
		{"PID 1 missing", files(func(f map[string]verify.File) { delete(f, "init") }), "programs", "kdumpinit: /init of the image: no such file or directory", "Reinstall ukdump"},
		{"no dev/null", files(func(f map[string]verify.File) { delete(f, "dev/null") }), "programs", "the image lacks dev/null", reload},

		{"makedumpfile fails", func(m *machine) {
			m.memUsage = func(string) ([]byte, error) { return []byte("The kernel version is not supported.\n"), nil }
		}, "makedumpfile", "makedumpfile of the image fails on the running kernel 6.1.0-50-amd64: makedumpfile --mem-usage did not print its table", "Install a newer makedumpfile"},
		{"reservation shrunk", func(m *machine) { m.Write("sys/kernel/kexec_crash_size", "33554432\n") }, "memory", "load capture kernel: ROOT/boot/vmlinuz-" + buildtest.Release + ": the reservation is too small: needs more than 49 MiB, has 32 MiB", "Run kdumpctl setup --crashkernel=256M"},

		{"target read-only", write(unix.EROFS), "target", "/var/crash is on a file system that is mounted read-only", "See why with dmesg"},
		{"target full", write(unix.ENOSPC), "target", "write to /var/crash: no space left on device", "Free some space"},
		{"target with an error", write(unix.EIO), "target", "write to /var/crash: input/output error", ""},
		{"target a file", func(m *machine) { m.Write("var/crash", "") }, "machine", "storage of /var/crash: not a directory", ""},
		{"raw device taken", func(m *machine) {
			m.Write("dev/nvme0n1p1", fsid.RawDumpMagic+strings.Repeat("\x00", 1<<20))
		}, "target", "raw:swap has a dump that was not collected, and takes no other", "Run kdumpctl collect."},
		{"dump larger than all targets", func(m *machine) {
			m.memUsage = func(string) ([]byte, error) {
				out := strings.NewReplacer("KERN_DATA\t37590", "KERN_DATA\t3759000000000", "Total pages on system:\t471976", "Total pages on system:\t4719760000000")
				return []byte(out.Replace(string(buildtest.MemUsage(m.t, "bookworm")))), nil
			}
		}, "space", "the next dump may not fit: a dump takes up to ", "Make room there"},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			tt.change(m)
			r := m.kdumpctl("verify")
			if r.status != 1 || !strings.HasPrefix(r.stderr, "kdumpctl: verify: ") {
				t.Errorf("status %d, stderr %s", r.status, r.stderr)
			}
			if !found(r.stdout, tt.topic, tt.want, tt.advice) {
				t.Errorf("no problem %s %q with the advice %q in\n%s", tt.topic, tt.want, tt.advice, r.stdout)
			}
		})
	}
}

// found looks for a problem and its advice in the output of verify.
func found(out, topic, text, advice string) bool {
	lines := strings.Split(out, "\n")
	for i, line := range lines[:len(lines)-1] {
		kind, rest, _ := strings.Cut(line, " ")
		name, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if kind == "PROBLEM" && name == topic && strings.HasPrefix(strings.TrimSpace(rest), text) {
			next := lines[i+1]
			return strings.HasPrefix(strings.TrimSpace(next), advice) && (advice == "") == !strings.HasPrefix(next, "  ")
		}
	}
	return false
}

// status reports whether the last result still holds.
func TestVerifiedStatus(t *testing.T) {
	t.Parallel()
	m := proven(t)
	row := func() string {
		for line := range strings.Lines(m.kdumpctl("status").stdout) {
			if rest, ok := strings.CutPrefix(line, "verified"); ok {
				return moments.ReplaceAllString(strings.TrimSpace(rest), "TIME")
			}
		}
		return ""
	}
	expect := func(when, want string) {
		t.Helper()
		if got := row(); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	expect("at first", "no: kdumpctl verify was not run")
	if r := m.kdumpctl("verify"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	holds := "TIME, image sha256:" + state.ID([]byte(m.Read(image)))[:12] + "… (the loaded one)"
	expect("verified", holds)
	m.run(t, "unloaded", func(t *testing.T) {
		m.rewrite("var/lib/ukdump/loaded.json")
		m.rewrite("sys/kernel/kexec_crash_loaded")
		m.kdumpctl("unload")
		expect("unloaded", "no: TIME: the verified set is not loaded now")
	})
	m.run(t, "other image", func(t *testing.T) {
		m.changed(func(files map[string]verify.File) { files["x"] = verify.File{Mode: 0o644} })
		expect("loaded another", "no: TIME: another set was loaded since")
	})
	m.run(t, "other kernel", func(t *testing.T) {
		m.Write("proc/sys/kernel/osrelease", "7.1.0\n")
		m.Write("etc/ukdump.conf", "KERNEL="+buildtest.Release+"\n")
		expect("another kernel", "no: TIME: verified under another running kernel, "+buildtest.Release)
	})
	m.run(t, "problem", func(t *testing.T) {
		m.rewrite("var/lib/ukdump/verified.json")
		m.Write("sys/kernel/kexec_crash_size", "33554432\n")
		m.kdumpctl("verify")
		const small = "memory: load capture kernel: ROOT/boot/vmlinuz-" + buildtest.Release + ": the reservation is too small: needs more than 49 MiB, has 32 MiB"
		expect("one problem", "no: TIME: "+small)
		m.tryWrite = func(string) error { return unix.EIO }
		m.memUsage = func(string) ([]byte, error) { return nil, unix.EIO }
		m.kdumpctl("verify")
		if got := row(); !strings.HasPrefix(got, "no: TIME: 3 problems, the first: ") {
			t.Error(got)
		}
	})
	m.run(t, "bad configuration", func(t *testing.T) {
		m.rewrite("var/lib/ukdump/verified.json")
		m.Write("etc/ukdump.conf", "x\n")
		m.expect("verify", result{1, "", "kdumpctl: ROOT/etc/ukdump.conf:1: no = in ...\nkdumpctl: See ukdump.conf(5) ...\n"})
		m.Remove("etc/ukdump.conf")
		if got := row(); !strings.HasPrefix(got, "no: TIME: configuration: ROOT/etc/ukdump.conf:1: no = in ") {
			t.Error(got)
		}
	})
	m.run(t, "damaged", func(t *testing.T) {
		m.Write("var/lib/ukdump/verified.json", "{")
		expect("damaged", "no: ROOT/var/lib/ukdump/verified.json: unexpected end of JSON input")
	})
	expect("at last", holds)
	if fi, err := os.Stat(m.Root + "/var/lib/ukdump/verified.json"); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi, err)
	}
}
