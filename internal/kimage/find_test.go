package kimage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/host"
)

func machine(t *testing.T, root string) Machine {
	t.Helper()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The places of one kernel, by distribution and boot loader. Every machine has other
// kernels that must not be taken.
func TestFindByRelease(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	kernel, image := bz(x86Version6, gz(nil)), arm("Linux version "+release+" (user@host) (gcc) #1 SMP\n\x00", 1)
	uki := peFile(".linux", kernel, 0)
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"usr/lib/modules/" + release + "/vmlinuz", kernel}, // Arch, Fedora, openSUSE
		{"lib/modules/" + release + "/vmlinuz", kernel},
		{"usr/lib/modules/" + release + "/Image", image}, // openSUSE arm64
		{"usr/lib/modules/" + release + "/Image.gz", gz(image)},
		{"boot/vmlinuz-" + release, kernel},    // Debian, Void
		{"boot/vmlinuz-" + release, gz(image)}, // Debian arm64, Asahi
		{"boot/Image-" + release, image},       // openSUSE arm64
		{"boot/vmlinux-" + release, image},     // Void arm64
		{"boot/bzImage-" + release, kernel},    // Yocto
		{"boot/kernel-" + release, kernel},     // Gentoo
		{"boot/kernel-genkernel-x86_64-" + release, kernel},
		{"boot/vmlinuz-" + release + "-x86_64", kernel},
		{"boot/bzImage", kernel}, // Buildroot, Gentoo by hand
		{"boot/bzImage.old", kernel},
		{"boot/kernel.old", kernel},
		{"boot/vmlinuz-linux", kernel},              // Arch
		{"boot/vmlinuz-lts", kernel},                // Alpine
		{"boot/vmlinuz-generic-" + release, kernel}, // Slackware
		{"boot/vmlinuz-huge", kernel},
		{"boot/Image", image},
		{"boot/Image.gz", gz(image)},
		{"boot/vmlinux", image},
		{"boot/kernel8.img", gz(image)}, // Raspberry Pi
		{"boot/firmware/kernel_2712.img", gz(image)},
		{"boot/firmware/vmlinuz", gz(image)},
		{"vmlinuz", kernel},
		{"usr/lib/ukdump/capture-kernel/vmlinuz", kernel}, // packaging/capture-kernel
		{"efi/vmlinuz-linux", kernel},                     // the EFI system partition
		{"boot/efi/vmlinuz-linux", kernel},
		{"efi/bzImage.efi", kernel},
		{"boot/EFI/vmlinuz.efi", kernel},
		{"boot/EFI/arch/vmlinuz-linux", kernel}, // EFI stub
		{"efi/EFI/arch/vmlinuz.efi", kernel},
		{"efi/EFI/Gentoo/bzImage.efi", kernel},
		{"boot/efi/EFI/Slackware/vmlinuz", kernel},
		{"boot/efi/EFI/BOOT/BOOTX64.EFI", kernel},
		{"boot/efi/EFI/Pop_OS-1234/vmlinuz.efi", kernel},
		{"boot/efi/EFI/com.solus-project/kernel-com.solus-project.current", kernel},
		{"boot/EFI/org.clearlinux/kernel-org.clearlinux.native.6.1.0-50", kernel}, // Clear Linux
		{"usr/lib/kernel/org.clearlinux.native.6.1.0-50", kernel},
		{"boot/" + token + "/" + release + "/linux", kernel}, // kernel-install(8)
		{"efi/" + token + "/" + release + "/linux", kernel},
		{"boot/efi/" + token + "/" + release + "/linux", kernel},
		{"boot/efi/opensuse-tumbleweed/" + release + "/linux-77c0ffee", kernel}, // sdbootutil
		{"boot/" + token + "/linux/vmlinuz-linux", kernel},                      // Limine
		{"boot/" + token + "/limine_history/vmlinuz-linux_abc", kernel},
		{"boot/limine/bzImage", kernel},
		{"efi/" + token + "/linux-cachyos/vmlinuz-linux-cachyos", kernel},
		{"boot/EFI/Linux/arch-linux.efi", uki}, // unified kernel images
		{"efi/EFI/Linux/fedora.efi", uki},
		{"boot/efi/EFI/Linux/fedora.efi", uki},
		{"efi/EFI/ubuntu/kernel.efi", uki},
		{"run/mnt/ubuntu-boot/EFI/ubuntu/kernel.efi", uki},
		{"run/booted-system/kernel", kernel},                 // NixOS
		{"boot/kernels/abc-linux-6.1-bzImage", kernel},       // NixOS with GRUB
		{"boot/EFI/nixos/abc-linux-6.1-bzImage.efi", kernel}, // NixOS with systemd-boot
		{"run/booted-system/kernel/bzImage", kernel},         // Guix
		{"run/booted-system/kernel/Image", image},
		{"boot/ostree/fedora-77c0ffee/vmlinuz-" + release, kernel}, // ostree
		{"usr/lib/ostree-boot/vmlinuz-" + release + "-77c0ffee", kernel},
		{"boot/flatcar/vmlinuz-a", kernel},
		{"boot/1.4-rolling/vmlinuz", kernel},               // VyOS
		{"host/image-4.1/boot/vmlinuz-" + release, kernel}, // SONiC
		{"efi/EFI/proxmox/" + release + "/vmlinuz-" + release, kernel},
		{"usr/src/linux-6.1/arch/x86/boot/bzImage", kernel}, // Gentoo
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "a[b]*") // taken literally
			other := bz("6.0.0\x00", gz(nil))
			write(t, root, "boot/vmlinuz-6.0.0", other)
			write(t, root, "boot/vmlinuz-broken", nil)
			write(t, root, "boot/initrd.img-"+release, gz([]byte("070701")))
			write(t, root, "boot/efi/EFI/debian/shimx64.efi", peFile(".text", noise(600), 0))
			write(t, root, tt.name, tt.data)
			im, err := Find(machine(t, root), root, release)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(root, tt.name); im.Path != want || im.Release != release || im.OtherBuild {
				t.Errorf("found %s of %s, want %s", im.Path, im.Release, want)
			}
		})
	}
}

// A boot loader is told where the kernel is.
func TestFindByBootLoader(t *testing.T) {
	kernel := bz(x86Version6, gz(nil))
	for _, tt := range []struct{ name, file, text, kernel string }{
		{"GRUB", "proc/cmdline", "BOOT_IMAGE=(hd0,gpt2)/strange/k1 root=/dev/sda1", "boot/strange/k1"},
		{"GRUB, /boot on the root", "proc/cmdline", "BOOT_IMAGE=/boot/odd root=/dev/sda1", "boot/odd"},
		{"GRUB on btrfs", "proc/cmdline", "BOOT_IMAGE=/@rootfs/boot/odd root=/dev/sda1", "boot/odd"},
		{"GRUB on btrfs with snapshots", "proc/cmdline", "BOOT_IMAGE=/@/.snapshots/1/boot/odd", ""},
		{"LILO", "proc/cmdline", "BOOT_IMAGE=Linux ro", ""},
		{"syslinux", "proc/cmdline", "BOOT_IMAGE=../x/odd", "boot/x/odd"},
		{"EFI stub", "proc/cmdline", `initrd=\EFI\a\b\initramfs.img root=x`, "efi/EFI/a/b/vmlinuz.efi"},
		{"systemd-boot", "boot/efi/loader/entries/a.conf", "title A\nlinux   /a/b/c/odd\ninitrd /x\n", "boot/efi/a/b/c/odd"},
		{"systemd-boot, UKI", "efi/loader/entries/a.conf", "efi\t/deep/down/here/x.efi\n", "efi/deep/down/here/x.efi"},
		{"Limine", "boot/limine.conf", "/Arch\n  protocol: linux\n  path: boot():/a/b/c/odd#c0ffee\n", "boot/a/b/c/odd"},
		{"Limine of old", "efi/EFI/limine/limine.conf", "KERNEL_PATH=guid(1-2):/odd\n", "efi/odd"},
		{"GRUB's configuration", "boot/grub/grub.cfg", "menuentry x {\n\tlinux\t/odd root=x ro\n}\n", "boot/odd"},
		{"extlinux", "boot/extlinux/extlinux.conf", "LABEL a\n  KERNEL /odd\n", "boot/odd"},
		{"rEFInd", "efi/EFI/refind/refind.conf", "menuentry a {\n loader \\deep\\a\\b\\odd\n}", "efi/deep/a/b/odd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, tt.file, []byte(tt.text))
			if tt.kernel != "" {
				write(t, root, tt.kernel, kernel)
			}
			im, err := Find(machine(t, root), root, release)
			if tt.kernel == "" {
				if err == nil {
					t.Errorf("found %s", im.Path)
				}
				return
			}
			if err != nil || im.Path != filepath.Join(root, tt.kernel) {
				t.Errorf("got %+v, %v, want %s", im, err, tt.kernel)
			}
		})
	}
}

// After an upgrade without a reboot the image may be of another release, or of the same
// release but another build.
func TestFindAfterUpgrade(t *testing.T) {
	const (
		by      = release + " (debian-kernel@lists.debian.org) "
		version = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-01-02)"
		newer   = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.172-1 (2026-02-03)"
		running = "Linux version " + by + "(gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) " + version + "\n"
	)
	// Debian's Images have it before linux_banner.
	weak := strings.Replace(running, "#1", "#", 1) + "\x00"
	x86 := func(version string) []byte { return bz(by+version+"\x00", gz(nil)) }
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		found string
		other bool
		err   string
		does  string // the advice begins so
	}{
		{"same build", map[string][]byte{"boot/vmlinuz-" + release: x86(version)}, "boot/vmlinuz-" + release, false, "", ""},
		{"newer build", map[string][]byte{"boot/vmlinuz-" + release: x86(newer)}, "boot/vmlinuz-" + release, true, "", ""},
		{"the old build elsewhere", map[string][]byte{"boot/vmlinuz-" + release: x86(newer), "boot/vmlinuz.old": x86(version)}, "boot/vmlinuz.old", false, "", ""},
		{"no banner in the header", map[string][]byte{"boot/vmlinuz-" + release: bz(release+"\x00", gz(nil))}, "boot/vmlinuz-" + release, false, "", ""},
		{"arm64", map[string][]byte{"boot/Image": arm(running, 1)}, "boot/Image", false, "", ""},
		{"arm64, newer build", map[string][]byte{"boot/Image": arm(strings.Replace(running, version, newer, 1), 1)}, "boot/Image", true, "", ""},
		{"arm64, weak banner", map[string][]byte{"boot/Image": arm(weak+running, 1)}, "boot/Image", false, "", ""},
		{"arm64, weak banner of a newer build", map[string][]byte{"boot/Image": arm(strings.ReplaceAll(weak+running, "6.1.170", "6.1.172"), 1)}, "boot/Image", true, "", ""},
		{"arm64, only the weak banner", map[string][]byte{"boot/Image": arm(weak, 1)}, "boot/Image", false, "", ""},
		{"other release, modules are gone", map[string][]byte{"boot/vmlinuz-linux": bz("6.9.2\x00", gz(nil)), "usr/lib/modules/6.9.2/x": nil}, "", false,
			", only of 6.9.2", "Reboot: "},
		{"other release, modules are kept", map[string][]byte{"boot/vmlinuz-linux": bz("6.9.2\x00", gz(nil)), "usr/lib/modules/" + release + "/x": nil}, "", false,
			", only of 6.9.2", "Reboot if "},
		{"many releases", map[string][]byte{"boot/vmlinuz-1": bz("6.1.1\x00", gz(nil)), "boot/vmlinuz-2": bz("6.1.2\x00", gz(nil)), "boot/vmlinuz-3": bz("6.1.3\x00", gz(nil)),
			"boot/vmlinuz-4": bz("6.1.4\x00", gz(nil))}, "", false, ", only of 6.1.1, 6.1.2, 6.1.3 and others", "Reboot: "},
		{"nothing", nil, "", false, "", "Mount "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "proc/version", []byte(running))
			for name, data := range tt.files {
				write(t, root, name, data)
			}
			im, err := Find(machine(t, root), root, release)
			if tt.found != "" {
				if err != nil || im.Path != filepath.Join(root, tt.found) || im.OtherBuild != tt.other {
					t.Errorf("got %+v, %v", im, err)
				}
				return
			}
			var none *NotFoundError
			if !errors.As(err, &none) {
				t.Fatalf("got %+v, %v", im, err)
			}
			if want := "find kernel: " + release + ": no image of this release below " + root + tt.err; err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if !strings.HasPrefix(none.Advice(), tt.does) {
				t.Errorf("advice is %q", none.Advice())
			}
		})
	}
	// Another release than the running one: its build does not matter.
	root := t.TempDir()
	write(t, root, "proc/version", []byte("Linux version 6.9.2 (a@b) (gcc) #1 SMP\n"))
	write(t, root, "boot/vmlinuz-"+release, x86(newer))
	if im, err := Find(machine(t, root), root, release); err != nil || im.OtherBuild {
		t.Errorf("got %+v, %v", im, err)
	}
}

func TestFindOrder(t *testing.T) {
	root := t.TempDir()
	write(t, root, "usr/lib/modules/"+release+"/vmlinuz", []byte("damaged"))
	write(t, root, "lib/modules/"+release+"/vmlinuz", bz("6.0.0\x00", gz(nil)))
	_, err := Find(machine(t, root), root, release)
	var none *NotFoundError
	if !errors.As(err, &none) || len(none.Errs) != 2 || !errors.As(err, new(*TruncatedError)) {
		t.Fatalf("got %v; want a NotFoundError with two reasons", err)
	}
	for _, text := range []string{release, root, "is of release 6.0.0"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not contain %q: %v", text, err)
		}
	}
	write(t, root, "boot/vmlinuz-linux", bz(x86Version6, gz(nil)))
	if im, err := Find(machine(t, root), root, release); err != nil || im.Path != filepath.Join(root, "boot/vmlinuz-linux") {
		t.Errorf("got %+v, %v", im, err)
	}
}

func TestFindByPath(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/my-kernel", bz(x86Version6, gz(nil)))
	if im, err := Find(machine(t, root), root, "/boot/my-kernel"); err != nil || im.Release != release {
		t.Errorf("absolute path: %+v, %v", im, err)
	}
	t.Chdir(root)
	if im, err := Find(nil, "/elsewhere", "./boot/my-kernel"); err != nil || im.Release != release {
		t.Errorf("relative path: %+v, %v", im, err)
	}
	if _, err := Find(machine(t, root), root, "/boot/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, spec := range []string{"", ".", "..", "vmlinuz", "6.1 x", "6.1\n"} {
		if _, err := Find(machine(t, root), root, spec); err == nil || !strings.Contains(err.Error(), "neither a path") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// The links of another machine are not followed on this one.
func TestFindThroughLinks(t *testing.T) {
	root := t.TempDir()
	write(t, root, "store/kernel", bz(x86Version6, gz(nil)))
	write(t, root, "store/config", []byte("CONFIG_A=y\n"))
	for name, target := range map[string]string{"vmlinuz": "/store/kernel", "vmlinuz-" + release: "/store/kernel", "config-" + release: "/store/config"} {
		write(t, root, "boot/x", nil)
		if err := os.Symlink(target, filepath.Join(root, "boot", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, spec := range []string{release, "/boot/vmlinuz"} {
		im, err := Find(machine(t, root), root, spec)
		if err != nil || filepath.Dir(im.Path) != filepath.Join(root, "boot") {
			t.Fatalf("%s: got %+v, %v", spec, im, err)
		}
		c, err := im.Config(machine(t, root), root)
		if err != nil || c.Get("CONFIG_A") != "y" || c.Source != filepath.Join(root, "boot/config-"+release) {
			t.Errorf("got %+v, %v", c, err)
		}
	}
}
