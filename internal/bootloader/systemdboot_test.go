package bootloader

import (
	"maps"
	"strings"
	"testing"
)

const (
	machineID = "0123456789abcdef0123456789abcdef"
	sdEntry   = "/efi/loader/entries/" + machineID + "-6.12.9.conf"
	sdOld     = "/efi/loader/entries/" + machineID + "-6.1.0.conf"
	sdOptions = "options root=/dev/sda2 rw"
)

func systemdBootFiles(more map[string]string) map[string]string {
	entry := func(version string) string {
		return "# Boot Loader Specification type#1 entry\ntitle      Debian GNU/Linux\nversion    " + version + "\nmachine-id " + machineID +
			"\nsort-key   debian\noptions    root=/dev/sda2 rw\nlinux      /" + machineID + "/" + version + "/linux\ninitrd     /i\n"
	}
	files := map[string]string{
		"/etc/machine-id":                      machineID + "\n",
		"/efi/EFI/systemd/systemd-bootx64.efi": "",
		"/efi/loader/loader.conf":              "timeout 3\n#default x\n",
		sdEntry:                                entry("6.12.9"),
		sdOld:                                  entry("6.1.0"),
		"/efi/loader/entries/memtest.conf":     "title Memory\nefi /memtest.efi\n",
	}
	maps.Copy(files, more)
	return files
}

func TestSystemdBootPlan(t *testing.T) {
	const (
		options = "\toptions    root=/dev/sda2 rw " + words + "\n"
		both    = sdEntry + ":\n" + options + sdOld + ":\n" + options
		other   = "/efi/loader/entries/ffffffffffffffffffffffffffffffff-5.4.conf"
	)
	manage := map[string]string{"/usr/bin/sdboot-manage": "", sdbootManage: "#LINUX_OPTIONS=\"old\"\nLINUX_OPTIONS=\"zswap.enabled=0 nowatchdog\"\n"}
	with := func(base map[string]string, name, content string) map[string]string {
		files := maps.Clone(base)
		files[name] = content
		return files
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"entries", systemdBootFiles(nil), both},
		{"kernel-install", systemdBootFiles(map[string]string{"/usr/bin/kernel-install": "", "/etc/kernel/cmdline": "root=/dev/sda2\nrw\n"}),
			both + "/etc/kernel/cmdline:\n\trw " + words + "\n"},
		{"kernel-install without a file", systemdBootFiles(map[string]string{"/usr/bin/kernel-install": ""}),
			both + "note: A kernel that is installed before the next boot gets the command line of the running kernel, as /etc/kernel/cmdline is missing.\n"},
		{"another system's entry", systemdBootFiles(map[string]string{other: "linux /k\noptions a\n"}),
			both + "note: " + other + " is an entry of another system and stays.\n"},
		{"by hand, XBOOTLDR, CRLF, no line end, not UTF-8", map[string]string{
			"/efi/EFI/": "", "/boot/loader/entries/arch.conf": "title \xff\r\nlinux /k\r\noptions quiet"},
			"/boot/loader/entries/arch.conf:\n\toptions quiet " + words + "\n"},
		{"a symbolic link", map[string]string{"/efi/EFI/": "", "/efi/loader/entries/a.conf": "-> ../a", "/efi/loader/a": "linux /k\noptions a\n"},
			"/efi/loader/a:\n\toptions a " + words + "\n"},
		{"a counter of boots", map[string]string{"/efi/EFI/": "", "/efi/loader/entries/a+2-1.conf": "linux /k\noptions a\n"},
			"/efi/loader/entries/a+2-1.conf:\n\toptions a " + words + "\n"},
		{"sdboot-manage", systemdBootFiles(manage), sdbootManage + ":\n\tLINUX_OPTIONS=\"zswap.enabled=0 nowatchdog " + words + "\"\nrun sdboot-manage gen\n"},
		{"sdboot-manage without a setting", systemdBootFiles(with(manage, sdbootManage, "#LINUX_OPTIONS=\"\"\n")),
			sdbootManage + ":\n\t# Added by kdumpctl setup.\n\tLINUX_OPTIONS=\"" + words + "\"\nrun sdboot-manage gen\n"},
		{"sdboot-manage, words twice", systemdBootFiles(with(manage, sdbootManage, "LINUX_OPTIONS='crashkernel=1M a'\nLINUX_OPTIONS+=\" b crashkernel=2M\"\n")),
			sdbootManage + ":\n\tLINUX_OPTIONS='a'\n\tLINUX_OPTIONS+=\" b " + words + "\"\nrun sdboot-manage gen\n"},
		{"sdboot-manage, words of another variable", systemdBootFiles(with(manage, sdbootManage, "A=crashkernel=1M\nLINUX_OPTIONS=\"$A\"\n")),
			"error: crashkernel in /etc/sdboot-manage.conf: another variable or command decides about it\n"},
		{"sdboot-manage, an open quote", systemdBootFiles(with(manage, sdbootManage, "\nA='\n")), "error: /etc/sdboot-manage.conf:2: a quote (') that is not closed\n"},
		{"a zero byte", systemdBootFiles(map[string]string{sdEntry: "linux /k\n\n\x00"}), "error: " + sdEntry + ":3: a zero byte: not a text file\n"},
		{"no entries", map[string]string{"/efi/EFI/": ""}, "error: systemd-boot: no entries of this system with a command line in /efi\n"},
		{"no EFI", nil, "error: systemd-boot: this machine has no EFI system partition on /efi, /boot, /boot/efi\n"},
		{"the partition is not mounted", map[string]string{"/etc/fstab": "UUID=A /efi vfat defaults 0 0\n", "/efi/": "",
			"/proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"}, "error: the EFI system partition is not mounted on /efi\n"},
	} {
		if got := planRoundTrip(t, c.name, systemdBoot{}, tree(t, c.files)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestSystemdBootStale(t *testing.T) {
	files := systemdBootFiles(map[string]string{"/usr/bin/sdboot-manage": "", sdbootManage: "LINUX_OPTIONS=\"rw\"\n"})
	s := tree(t, files)
	if got := summary(systemdBoot{}.Plan(s, testNone)); got != "" {
		t.Errorf("nothing to do: got %s", got)
	}
	put(t, s, sdbootManage, "LINUX_OPTIONS=\""+words+"\"\n")
	if got := summary(systemdBoot{}.Plan(s, testSet)); got != "run sdboot-manage gen\n" {
		t.Errorf("entries without the words: got %s", got)
	}
}

func TestSystemdBootNext(t *testing.T) {
	const (
		newest = "Debian GNU/Linux [" + sdEntry + "] root=/dev/sda2 rw\n"
		old    = "Debian GNU/Linux [" + sdOld + "] root=/dev/sda2 rw\n"
		manual = "b [/efi/loader/entries/b.conf] x y\n"
	)
	efi := func(name, text string) map[string]string {
		file, content := info(name, text)
		return map[string]string{file: content}
	}
	b := map[string]string{"/efi/loader/entries/b.conf": "linux /k\noptions x\noptions  y\n"}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"the first", b, "* " + newest + "  " + old + "  " + manual},
		{"loader.conf", map[string]string{"/efi/loader/loader.conf": "default *-6.1.*\r\n"}, "  " + newest + "* " + old},
		{"loader.conf without the suffix", map[string]string{"/efi/loader/loader.conf": "default b\n", "/efi/loader/entries/b.conf": b["/efi/loader/entries/b.conf"]},
			"  " + newest + "  " + old + "* " + manual},
		{"chosen in the menu", efi("LoaderEntryDefault", machineID+"-6.1.0.conf"), "  " + newest + "* " + old},
		{"once", efi("LoaderEntryOneShot", machineID+"-6.1.0.conf"), "  " + newest + "* " + old},
		{"the firmware", efi("LoaderEntryOneShot", "auto-reboot-to-firmware-setup"), "  " + newest + "  " + old},
		{"saved", func() map[string]string {
			m := efi("LoaderEntryLastBooted", machineID+"-6.1.0.conf")
			m["/efi/loader/loader.conf"] = "default @saved\n"
			return m
		}(), "  " + newest + "* " + old},
		{"spent", map[string]string{sdEntry: "", "/efi/loader/entries/a+0-3.conf": "linux /k\nsort-key a\noptions z\n"},
			"* " + old + "  a [/efi/loader/entries/a+0-3.conf] z\n"},
		{"an image", map[string]string{"/efi/EFI/Linux/z.efi": image(".linux", "kernel", ".cmdline", "c\x00", ".osrel", "ID=aaa\nPRETTY_NAME=\"A B\"\n")},
			"* A B [/efi/EFI/Linux/z.efi] c\n  " + newest + "  " + old},
	} {
		s := tree(t, systemdBootFiles(c.files))
		if got := list(systemdBoot{}.Next(s)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestSystemdBootFind(t *testing.T) {
	name, content := info("LoaderInfo", "systemd-boot 257.9")
	booted := map[string]string{name: content}
	mountinfo := "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
	stub, stubContent := info("StubInfo", "systemd-stub 257.9")
	for _, c := range []struct {
		name   string
		files  map[string]string
		found  bool
		booted Booted
	}{
		{"installed", systemdBootFiles(nil), true, Unknown},
		{"booted", systemdBootFiles(booted), true, Yes},
		{"booted, an image", systemdBootFiles(map[string]string{name: content, stub: stubContent}), true, No},
		{"another loader", systemdBootFiles(bootedBy(`\EFI\debian\shimx64.efi`)), true, No},
		{"booted, partition not mounted", map[string]string{name: content, "/proc/self/mountinfo": mountinfo, "/etc/fstab": "UUID=A /efi vfat x 0 0\n"}, true, Yes},
		{"GRUB's entries", map[string]string{"/boot/efi/EFI/": "", "/boot/loader/entries/a.conf": "linux /k\n"}, false, No},
	} {
		f, err := systemdBoot{}.Find(tree(t, c.files))
		if err != nil || (f != nil) != c.found || f != nil && f.Booted != c.booted {
			t.Errorf("%s: got %+v, %v", c.name, f, err)
		}
		if f != nil && f.Booted != Unknown && strings.TrimSpace(f.Because) == "" {
			t.Errorf("%s: no reason", c.name)
		}
	}
}
