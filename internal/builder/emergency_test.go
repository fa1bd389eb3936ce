package builder

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ukdump/initramfs"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/plan"
)

func TestEmergencyCommandLine(t *testing.T) {
	const running = `BOOT_IMAGE=/vmlinuz-6.1 root=zfs:rpool/root ro rootflags=noatime rd.luks.uuid=1 cryptdevice=UUID=2:c ip=dhcp netroot=iscsi:x ` +
		`console=tty0 console=ttyS0 crashkernel=256M quiet splash panic=30 nr_cpus=8 resume=/dev/a systemd.unit=graphical.target udev.children-max=9 single zswap.enabled=1 ` +
		`oops=panic panic_on_warn panic-on-warn=1 hung_task_panic=1 panic_on_taint=0x20 sysctl.kernel.panic_on_rcu_stall=1 sysctl.vm.panic_on_oom=1 ` +
		`workqueue.panic_on_stall=1 nmi_watchdog=panic -- x`
	for _, tt := range []struct {
		name, user string
		with, not  []string
		end        string
	}{
		{"inherited", "rootdelay=9", []string{"root=zfs:rpool/root", "rootflags=noatime", "rd.luks.uuid=1", "cryptdevice=UUID=2:c", "ip=dhcp", "netroot=iscsi:x",
			"console=tty0", "console=ttyS0", "zswap.enabled=1", "rootdelay=9", `"panic=10"`, "nr_cpus=1", "udev.children_max=2", "noresume"},
			[]string{"crashkernel=256M", "quiet", "splash", "panic=30", "panic=10", "nr_cpus=8", "resume=/dev/a", "systemd.unit=graphical.target", "BOOT_IMAGE=/vmlinuz-6.1", "udev.children-max=9",
				"single", "x", "--", "rootfstype=ramfs", "initramfs_options=size=90%"}, ""},
		{"simple-kdump.conf", "root=/dev/os/root rw loglevel=5", []string{"root=/dev/os/root", "rw", "console=ttyS0"},
			[]string{"root=zfs:rpool/root", "ip=dhcp", "ro"}, ""},
		{"user wins", "nr_cpus=2 panic=5 systemd.unit=rescue.target", []string{"nr_cpus=2", "panic=5"}, nil, ""},
		{"policies of the healthy system", "", []string{"rootflags=noatime"}, []string{"oops=panic", "panic_on_warn=1", "panic_on_warn", "hung_task_panic=1", "panic_on_taint=0x20",
			"sysctl.kernel.panic_on_rcu_stall=1", "sysctl.vm.panic_on_oom=1", "workqueue.panic_on_stall=1", "nmi_watchdog=panic"}, ""},
		{"words for init", "root=/dev/a -- --log-level=debug", []string{"root=/dev/a"}, nil, " -- --log-level=debug"},
	} {
		line := EmergencyCommandLine("amd64", nil, running, tt.user)
		if !strings.HasSuffix(line, " ukdump.emergency rdinit=/ukdump-guard systemd.unit=ukdump-emergency.target"+tt.end) {
			t.Errorf("%s: %s", tt.name, line)
		}
		words := splitWords(line)
		for _, w := range tt.with {
			if !slices.Contains(words, w) {
				t.Errorf("%s: no %s in %s", tt.name, w, line)
			}
		}
		for _, w := range tt.not {
			if slices.Contains(words, w) {
				t.Errorf("%s: %s in %s", tt.name, w, line)
			}
		}
	}
	// The tmpfs that is rootfs then is half of the memory by default.
	if line := EmergencyCommandLine("arm64", nil, "console=ttyAMA0", ""); !strings.Contains(line, " initramfs_options=size=90% ") {
		t.Errorf("without root=: %s", line)
	}
}

func TestWithoutPanic(t *testing.T) {
	for word, want := range map[string]string{
		"rootflags=errors=panic":            "rootflags=errors=continue",
		`"rootflags=noatime,errors=panic"`:  `"rootflags=noatime,errors=continue"`,
		"rootflags=errors=remount-ro":       "rootflags=errors=remount-ro",
		"rootflags=subvol=@,compress=zstd":  "rootflags=subvol=@,compress=zstd",
		"systemd.mount-extra=a:b:errors=pa": "systemd.mount-extra=a:b:errors=pa",
	} {
		if got := withoutPanic(word); got != want {
			t.Errorf("%s: got %s, want %s", word, got, want)
		}
	}
}

// As systemd-escape --path prints them.
func TestEscapePath(t *testing.T) {
	for path, want := range map[string]string{
		"/var/crash":      "var-crash",
		"/srv/my dumps":   `srv-my\x20dumps`,
		"/a-b/.c":         `a\x2db-.c`,
		"/.hidden":        `\x2ehidden`,
		"/mnt/ü":          `mnt-\xc3\xbc`,
		"/x:y_z.0/A":      "x:y_z.0-A",
		"/-/":             `\x2d`,
		"/run/media/u/@1": `run-media-u-\x401`,
	} {
		if got := escapePath(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func emergencyMachine(t *testing.T) (*buildtest.Machine, []byte) {
	m := buildtest.New(t)
	stock := m.Stock()
	m.Write("etc/ukdump.conf", "MODE=emergency\n")
	return m, stock
}

func TestEmergency(t *testing.T) {
	m, stock := emergencyMachine(t)
	// Storage that a dedicated image could not open.
	m.Mount("0:77 / /var/crash rw - zfs tank/crash rw,xattr")
	m.Write("etc/ukdump.conf", "MODE=emergency\nEVIDENCE=\"/srv pstore\"\n")
	b := newBuild(t, m)
	data, err := b.Plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	buildtest.Golden(t, "emergency.json", data)

	image, contents, err := b.EmergencyImage()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(image, stock) || (len(image)-len(stock))%512 != 0 {
		t.Errorf("the distribution's %d bytes are not the end of %d", len(stock), len(image))
	}
	if !bytes.Equal(contents.Plan, data) {
		t.Errorf("the plan in it is %s", contents.Plan)
	}
	// Both are read one after the other, as the kernel does.
	var names []string
	r, unpacked := initramfs.Open(bytes.NewReader(image)), int64(0)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names, unpacked = append(names, e.Path), unpacked+e.Size
	}
	for _, want := range []string{plan.GuardPath, plan.Path, "dev/null", "init"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %v", want, names)
		}
	}
	if contents.Unpacked != unpacked {
		t.Errorf("it unpacks to %d bytes, not %d", unpacked, contents.Unpacked)
	}
}

// With DUMP=log the system needs no makedumpfile.
func TestEmergencyLogOnly(t *testing.T) {
	m, _ := emergencyMachine(t)
	m.Remove("usr/bin/makedumpfile")
	if _, err := New(options(t, m)); err == nil {
		t.Fatal("the machine has a makedumpfile")
	}
	m.Write("etc/ukdump.conf", "MODE=emergency\nDUMP=log\n")
	if p := newBuild(t, m).Plan; !p.LogOnly || len(p.Collectors) > 0 {
		t.Errorf("LogOnly %v, collectors %v", p.LogOnly, p.Collectors)
	}
}

// Whatever goes into it changes the fingerprint, and nothing else does.
func TestEmergencyFingerprint(t *testing.T) {
	m, stock := emergencyMachine(t)
	fingerprint := func() string {
		f, err := newBuild(t, m).Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := fingerprint()
	if again := fingerprint(); again != first {
		t.Error("not the same twice")
	}
	m.Run(t, "initramfs", func(t *testing.T) {
		m.Write("boot/initrd.img-"+buildtest.Release, string(stock)+"\x00\x00\x00\x00")
		if fingerprint() == first {
			t.Error("the same")
		}
	})
	m.Run(t, "plan", func(t *testing.T) {
		m.Write("etc/ukdump.conf", "MODE=emergency\nDUMP_LEVEL=1\n")
		if fingerprint() == first {
			t.Error("the same")
		}
	})
}

func TestInitramfsNames(t *testing.T) {
	m, stock := emergencyMachine(t)
	initrd := "boot/initrd.img-" + buildtest.Release
	for _, tt := range []struct {
		name, want string
		change     func()
	}{
		{"Debian", "/" + initrd, func() {}},
		{"Fedora", "/boot/initramfs-" + buildtest.Release + ".img", func() {
			m.Remove(initrd)
			m.Write("boot/initramfs-"+buildtest.Release+".img", string(stock))
		}},
		{"Arch, by its path", "/boot/initramfs-linux-lts.img", func() {
			m.Remove(initrd)
			m.Write("boot/vmlinuz-linux-lts", string(buildtest.Kernel(buildtest.Release)))
			m.Write("boot/initramfs-linux-lts.img", string(stock))
			m.Write("etc/ukdump.conf", "MODE=emergency\nKERNEL=/boot/vmlinuz-linux-lts\n")
		}},
		{"Arch, by its release", "/boot/initramfs-linux.img", func() {
			m.Remove(initrd)
			m.Write("usr/lib/modules/"+buildtest.Release+"/pkgbase", "linux\n")
			m.Write("boot/initramfs-linux.img", string(stock))
		}},
		{"kernel-install", "/boot/0123/x/initrd", func() {
			m.Remove(initrd)
			m.Write("boot/0123/x/linux", string(buildtest.Kernel(buildtest.Release)))
			m.Write("boot/0123/x/initrd", string(stock))
			m.Write("etc/ukdump.conf", "MODE=emergency\nKERNEL=/boot/0123/x/linux\n")
		}},
		{"kernel-install, by its release", "/boot/efi/0123/" + buildtest.Release + "/initrd", func() {
			m.Remove(initrd)
			m.Write("boot/efi/0123/"+buildtest.Release+"/initrd", string(stock))
		}},
		{"kernel-install, beside those of others", "/boot/0123/" + buildtest.Release + "/initrd", func() {
			m.Remove(initrd)
			for _, name := range []string{"initrd", "initrd-fallback", "initrdkdump"} {
				m.Write("boot/0123/"+buildtest.Release+"/"+name, string(stock))
				stock = append(stock[:len(stock):len(stock)], 0)
			}
			stock = stock[:len(stock)-3]
		}},
		{"openSUSE, the newer one", "/boot/efi/opensuse/" + buildtest.Release + "/initrd-0b", func() {
			m.Remove(initrd)
			for _, hash := range []string{"0a", "0b", "0c"} {
				m.Write("boot/efi/opensuse/"+buildtest.Release+"/initrd-"+hash, string(stock))
			}
			now := time.Now()
			if err := os.Chtimes(filepath.Join(m.Root, "boot/efi/opensuse", buildtest.Release, "initrd-0b"), now, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}},
		{"NixOS", "/run/booted-system/initrd", func() {
			m.Remove(initrd)
			m.Write("nix/store/x-initrd/initrd", string(stock))
			m.Link("run/booted-system/initrd", "/nix/store/x-initrd/initrd")
		}},
		{"unified kernel image", "/boot/EFI/Linux/x.efi", func() {
			m.Remove(initrd)
			m.Remove("boot/vmlinuz-" + buildtest.Release)
			m.Write("boot/EFI/Linux/x.efi", string(buildtest.PE(".linux", string(buildtest.Kernel(buildtest.Release)), ".initrd", string(stock))))
		}},
		{"unified kernel image of another", "/boot/EFI/Linux/y.efi", func() {
			m.Write("boot/EFI/Linux/y.efi", string(buildtest.PE(".osrel", "x", ".initrd", string(stock))))
			m.Write("etc/ukdump.conf", "INITRAMFS=/boot/EFI/Linux/y.efi\n")
		}},
		{"simple-kdump.conf", "/boot/my.img", func() {
			m.Write("boot/my.img", string(stock))
			m.Write("etc/ukdump.conf", "INITRAMFS=/boot/my.img\n")
		}},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change()
			b := newBuild(t, m)
			if b.Initramfs != tt.want || !bytes.Equal(b.stock, stock) {
				t.Errorf("got %s of %d bytes, want %s", b.Initramfs, len(b.stock), tt.want)
			}
		})
	}
}

// File systems mounted by hand are missing after the crash.
func TestEmergencyMounts(t *testing.T) {
	m, _ := emergencyMachine(t)
	m.Write("etc/ukdump.conf", "MODE=emergency\nTARGET=/srv/my-dumps\n")
	for _, tt := range []struct {
		name, mount, file, content string
		warns                      bool
	}{
		{"root", "", "", "", false},
		{"by hand", "/srv/my-dumps rw - ext4 /dev/sdb1 rw", "etc/fstab", "/dev/sdb2 /srv ext4 defaults\n", true},
		{"fstab", "/srv/my-dumps rw - ext4 /dev/sdb1 rw", "etc/fstab", "# ours\n/dev/sdb1 /srv/my-dumps/ ext4 defaults\n", false},
		{"unit", "/srv/my-dumps rw - ext4 /dev/sdb1 rw", `etc/systemd/system/srv-my\x2ddumps.mount`, "", false},
		{"generated unit", "/srv rw - ext4 /dev/sdb1 rw", "run/systemd/generator.late/srv.mount", "", false},
		{"zfs", "/srv rw - zfs tank/srv rw", "", "", false},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			if tt.mount != "" {
				m.Mount("8:17 / " + tt.mount)
			}
			if tt.file != "" {
				m.Write(tt.file, tt.content)
			}
			all := strings.Join(newBuild(t, m).Warnings, "\n")
			if (all != "") != tt.warns || tt.warns && all != "a dump in /srv/my-dumps will be lost: no unit mounts /srv/my-dumps after a crash: put it into /etc/fstab" {
				t.Errorf("warnings: %q", all)
			}
		})
	}
}

func TestEmergencyErrors(t *testing.T) {
	m, stock := emergencyMachine(t)
	initrd := "boot/initrd.img-" + buildtest.Release
	for _, tt := range []struct {
		name, want string
		change     func()
	}{
		{"no units", "emergency mode: ukdump-emergency.service is not installed", func() { m.Remove("usr/lib/systemd/system/ukdump-emergency.service") }},
		{"no initramfs", "emergency mode: no initramfs of kernel " + buildtest.Release + ": looked for /boot/initrd.img-", func() { m.Remove(initrd) }},
		{"not there", "etc/ukdump.conf:1: initramfs /boot/x: no such file", func() { m.Write("etc/ukdump.conf", "INITRAMFS=/boot/x\n") }},
		{"no file", "etc/ukdump.conf:1: initramfs /boot/x: not a regular file", func() {
			m.Write("etc/ukdump.conf", "INITRAMFS=/boot/x\n")
			if err := syscall.Mkfifo(filepath.Join(m.Root, "boot/x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"unified kernel image without one", "initramfs /boot/x.efi: the kernel image has no initramfs", func() {
			m.Write("etc/ukdump.conf", "INITRAMFS=/boot/x.efi\n")
			m.Write("boot/x.efi", string(buildtest.PE(".linux", "x", ".initrd", "")))
		}},
		{"unified kernel image that is cut off", "initramfs /boot/x.efi: ", func() {
			m.Write("etc/ukdump.conf", "INITRAMFS=/boot/x.efi\n")
			uki := buildtest.PE(".linux", "x", ".initrd", "xxx")
			m.Write("boot/x.efi", string(uki[:len(uki)-1]))
		}},
		{"empty", "initramfs /" + initrd + ": the file is empty", func() { m.Write(initrd, "") }},
		{"a file for a target", "storage of /etc/passwd", func() {
			m.Write("etc/passwd", "x")
			m.Write("etc/ukdump.conf", "MODE=emergency\nTARGET=/etc/passwd\n")
		}},
		{"memory for a target", "tmpfs file system mounted on /scratch is not supported: its memory is lost at the reboot", func() {
			m.Mount("0:78 / /scratch rw - tmpfs tmpfs rw")
			m.Write("etc/ukdump.conf", "MODE=emergency\nTARGET=/scratch/crash\n")
		}},
		{"no makedumpfile", "makedumpfile: not found", func() { m.Remove("usr/bin/makedumpfile") }},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change()
			if _, err := New(options(t, m)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	m.Run(t, "damaged", func(t *testing.T) {
		m.Write(initrd, string(stock[:len(stock)/2]))
		if _, _, err := newBuild(t, m).EmergencyImage(); err == nil || !strings.Contains(err.Error(), "initramfs /"+initrd) {
			t.Errorf("got %v", err)
		}
	})
	for name, magic := range map[string]string{"LZ4": "\x02\x21\x4c\x18", "LZO": "\x89LZO", "BZIP2": "BZh9", "LZMA": "\x5d\x00\x00"} {
		m.Run(t, "a kernel without "+name, func(t *testing.T) {
			m.Write(initrd, magic+strings.Repeat("x", 1<<10))
			if _, err := New(options(t, m)); err == nil || !strings.Contains(err.Error(), "without CONFIG_RD_"+name+" (") {
				t.Errorf("got %v", err)
			}
		})
	}
	m.Run(t, "lz4", func(t *testing.T) {
		m.Write("boot/config-"+buildtest.Release, m.Read("boot/config-"+buildtest.Release)+"CONFIG_RD_LZ4=y\n")
		m.Write(initrd, "\x02\x21\x4c\x18"+strings.Repeat("x", 1<<20))
		b := newBuild(t, m)
		_, c, err := b.EmergencyImage()
		if err != nil || c.Unpacked < 3<<20 {
			t.Errorf("got %v, %v", c, err)
		}
		if w := strings.Join(b.Warnings, "\n"); !strings.Contains(w, "three times its size") {
			t.Errorf("warnings: %s", w)
		}
	})
}
