package bootloader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// image is a PE file with sections: names and contents in turn.
func image(sections ...string) string {
	le := binary.LittleEndian
	head := make([]byte, 0x80)
	copy(head, "MZ")
	le.PutUint32(head[0x3c:], 0x80)
	head = append(head, "PE\x00\x00"...)
	coff := make([]byte, 20)
	le.PutUint16(coff, 0x8664)
	le.PutUint16(coff[2:], uint16(len(sections)/2))
	head = append(head, coff...)
	const align = 512
	at := (len(head) + 40*len(sections)/2 + align - 1) / align * align
	var body []byte
	for i := 0; i < len(sections); i += 2 {
		data := []byte(sections[i+1])
		h := make([]byte, 40)
		copy(h, sections[i])
		le.PutUint32(h[8:], uint32(len(data)))
		padded := append(data, make([]byte, (align-len(data)%align)%align)...)
		le.PutUint32(h[16:], uint32(len(padded)))
		le.PutUint32(h[20:], uint32(at+len(body)))
		head = append(head, h...)
		body = append(body, padded...)
	}
	return string(append(append(head, make([]byte, at-len(head))...), body...))
}

const ukiFile = "/efi/EFI/Linux/arch-linux.efi"

func ukiFiles(more map[string]string) map[string]string {
	files := map[string]string{ukiFile: image(".osrel", "ID=arch\n", ".cmdline", "root=/dev/sda2 rw\n\x00", ".linux", "k")}
	maps.Copy(files, more)
	return files
}

func TestUKIPlan(t *testing.T) {
	const (
		preset     = "/etc/mkinitcpio.d/linux.preset"
		presetText = "ALL_kver=\"/boot/vmlinuz-linux\"\nPRESETS=('default')\n#default_image=\"/boot/i.img\"\ndefault_uki=\"/efi/EFI/Linux/arch-linux.efi\"\n"
		mkinitcpio = "run mkinitcpio -P\n"
		own        = "/etc/cmdline.d/ukdump.conf"
		dracut     = "run dracut --regenerate-all --uefi --force\n"
		fedora     = "/etc/dracut.conf.d/uki.conf"
		dracutNew  = dracutOwn + ":\n\t# Written by kdumpctl setup.\n\tkernel_cmdline+=\" " + words + " \"\n"
	)
	arch := func(more map[string]string) map[string]string {
		files := ukiFiles(map[string]string{"/usr/bin/mkinitcpio": "", preset: presetText})
		maps.Copy(files, more)
		return files
	}
	kernelInstall := func(script string, more map[string]string) map[string]string {
		files := ukiFiles(map[string]string{"/usr/bin/kernel-install": script, "/usr/lib/kernel/install.conf": "# a\nlayout=auto\n",
			"/etc/kernel/install.conf": "layout=uki\n", "/usr/lib/modules/6.1/vmlinuz": ""})
		maps.Copy(files, more)
		return files
	}
	withDracut := func(more map[string]string) map[string]string {
		files := ukiFiles(map[string]string{"/usr/bin/dracut": "", "/usr/lib/dracut/dracut.conf.d/50-uki.conf": "uefi=\"yes\"\n"})
		maps.Copy(files, more)
		return files
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"mkinitcpio", arch(map[string]string{"/etc/kernel/cmdline": "root=/dev/sda2 rw\n"}),
			"/etc/kernel/cmdline:\n\troot=/dev/sda2 rw " + words + "\n" + mkinitcpio},
		{"mkinitcpio, drop-ins", arch(map[string]string{"/etc/cmdline.d/root.conf": "# root\nroot=/dev/sda2\n"}), own + ":\n\t" + words + "\n" + mkinitcpio},
		{"mkinitcpio, words in a drop-in and in the file", arch(map[string]string{"/etc/kernel/cmdline": "crashkernel=1M a", "/etc/cmdline.d/x.conf": "x\n# crashkernel=3M\ncrashkernel=2M\n"}),
			"/etc/kernel/cmdline:\n\t" + words + " a\n/etc/cmdline.d/x.conf:\n" + mkinitcpio},
		{"mkinitcpio, a file of the preset", arch(map[string]string{preset: presetText + "default_cmdline=/etc/cmd\nALL_options=\"--splash x --cmdline=/etc/cmd2\"\n",
			"/etc/cmd": "a\n", "/etc/cmd2": "b crashkernel=1M -- c\n"}), "/etc/cmd:\n\ta " + words + "\n/etc/cmd2:\n\tb " + words + " -- c\n" + mkinitcpio},
		{"mkinitcpio, a file that is computed", arch(map[string]string{preset: presetText + "default_cmdline=\"$(x)\"\n"}),
			"error: " + preset + ":5: a command line in a file that ukdump does not find: \"$(x)\"\n"},
		{"mkinitcpio without files", arch(nil), "manual: mkinitcpio takes the command line of the running kernel. Put the words \"" + words + "\", with all others, into /etc/kernel/cmdline and make the images again.\n"},
		{"mkinitcpio, damaged", arch(map[string]string{preset: "default_uki='\n"}), "error: " + preset + ":1: a quote (') that is not closed\n"},
		{"kernel-install", kernelInstall("add-all", map[string]string{"/etc/kernel/cmdline": "a"}), "/etc/kernel/cmdline:\n\ta " + words + "\nrun kernel-install add-all\n"},
		{"kernel-install with a kernel of Debian in /boot", kernelInstall("add-all", map[string]string{"/etc/kernel/cmdline": "a\n", "/usr/lib/modules/6.2/modules.dep": "", "/boot/vmlinuz-6.2": ""}), "/etc/kernel/cmdline:\n\ta " + words + "\n" +
			"run kernel-install add 6.1 /usr/lib/modules/6.1/vmlinuz\nrun kernel-install add 6.2 /boot/vmlinuz-6.2\n"},
		{"kernel-install before 255", kernelInstall("", map[string]string{"/etc/kernel/cmdline": "a\n", "/usr/lib/modules/6.2/modules.dep": "", "/boot/vmlinuz-6.2": ""}), "/etc/kernel/cmdline:\n\ta " + words + "\n" +
			"run kernel-install add 6.1 /usr/lib/modules/6.1/vmlinuz\nrun kernel-install add 6.2 /boot/vmlinuz-6.2\n"},
		{"uki.conf", kernelInstall("add-all", map[string]string{ukiConf: "[PCRSignature:x]\nCmdline=no\n[UKI]\r\n Cmdline = a b\r\nOSRelease=@x\n"}),
			ukiConf + ":\n\t Cmdline = a b " + words + "\r\nrun kernel-install add-all\n"},
		{"uki.conf, a file", kernelInstall("add-all", map[string]string{ukiConf: "[UKI]\nCmdline=@/etc/cmd\n", "/etc/cmd": "a"}), "/etc/cmd:\n\ta " + words + "\nrun kernel-install add-all\n"},
		{"uki.conf, several lines", kernelInstall("add-all", map[string]string{ukiConf: "[UKI]\nCmdline=a\n  b\n"}), "error: " + ukiConf + ":3: a command line of several lines is not supported\n"},
		{"kernel-install without a file", kernelInstall("add-all", nil), "manual: kernel-install takes the command line of the running kernel. Put the words \"" + words + "\", with all others, into /etc/kernel/cmdline and make the images again.\n"},
		{"dracut", withDracut(map[string]string{fedora: "kernel_cmdline=\"root=/dev/sda2\"\n"}), dracutNew + dracut},
		{"dracut, words", withDracut(map[string]string{fedora: "kernel_cmdline+=' crashkernel=1M x '\n"}), fedora + ":\n\tkernel_cmdline+=' " + words + " x '\n" + dracut},
		{"dracut, a file that comes later", withDracut(map[string]string{"/etc/dracut.conf.d/zz.conf": "kernel_cmdline=\"a\"\n"}),
			"error: crashkernel in /etc/dracut.conf.d: another variable or command decides about it\n"},
		{"dracut without a command line", withDracut(nil), "manual: dracut takes the command line of the running kernel. Put the words \"" + words + "\", with all others, into kernel_cmdline in /etc/dracut.conf.d and make the images again.\n"},
		{"no tool", ukiFiles(nil), "manual: ukdump does not know the tool that makes " + ukiFile + ". Make the images again with \"" + words + "\" in their command line.\n"},
		{"damaged image", ukiFiles(map[string]string{ukiFile: "MZ"}), "error: read " + ukiFile + ": EOF\n"},
	} {
		if got := planRoundTrip(t, c.name, uki{}, tree(t, c.files)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestUKIStale(t *testing.T) {
	s := tree(t, ukiFiles(map[string]string{"/usr/bin/mkinitcpio": "", "/etc/mkinitcpio.d/a.preset": "default_uki=x\n", "/etc/kernel/cmdline": words}))
	if got := summary(uki{}.Plan(s, testSet)); got != "run mkinitcpio -P\n" {
		t.Errorf("image without the words: got %s", got)
	}
	put(t, s, ukiFile, image(".linux", "k", ".cmdline", "a "+words))
	if got := summary(uki{}.Plan(s, testSet)); got != "" {
		t.Errorf("image with the words: got %s", got)
	}
}

func TestUKINext(t *testing.T) {
	s := tree(t, map[string]string{
		"/efi/EFI/Linux/debian-6.1+3.efi":                        image(".linux", "k", ".cmdline", " a\tb \n\x00junk", ".osrel", "PRETTY_NAME='Debian 12'\n"),
		"/efi/EFI/Linux/debian-6.12.efi":                         image(".cmdline", "", ".linux", "k"),
		"/efi/EFI/Linux/debian-6.12.efi.extra.d/y.addon.efi":     image(".cmdline", "y"),
		"/efi/EFI/Linux/debian-6.12.efi.extra.d/credential.cred": "",
		"/efi/loader/addons/x.addon.efi":                         image(".cmdline", "x=1"),
		"/efi/EFI/Linux/memtest.efi":                             image(".text", ""),
		"/efi/loader/entries/a.conf":                             "linux /k\n",
		"/efi/EFI/Linux/notes.txt":                               "",
		"/efi/loader/loader.conf":                                "default debian-6.1.efi\n",
	})
	const want = "  debian-6.12.efi [/efi/EFI/Linux/debian-6.12.efi] x=1 y\n* Debian 12 [/efi/EFI/Linux/debian-6.1+3.efi] a b x=1\n"
	if got := list(uki{}.Next(s)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestUKIFind(t *testing.T) {
	name, content := info("StubInfo", "systemd-stub 257")
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing", nil, "<nil>"},
		{"no image", map[string]string{"/efi/EFI/": ""}, "<nil>"},
		{"an image", ukiFiles(nil), "0 "},
		{"booted", ukiFiles(map[string]string{name: content}), `2 the EFI variable StubInfo is "systemd-stub 257"`},
		{"not booted", ukiFiles(bootedBy(`\EFI\debian\grubx64.efi`)), `1 the firmware started \EFI\debian\grubx64.efi, without the stub of a unified image`},
	} {
		f, err := uki{}.Find(tree(t, c.files))
		got := "<nil>"
		if f != nil {
			got = fmt.Sprintf("%d %s", f.Booted, f.Because)
		}
		if err != nil || got != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

func FuzzSections(f *testing.F) {
	f.Add([]byte(image(".linux", "k", ".cmdline", "root=/dev/sda quiet\x00")))
	f.Fuzz(func(t *testing.T, data []byte) {
		sections, err := readSections(bytes.NewReader(data), ".cmdline", ".osrel")
		if err != nil {
			return
		}
		if text := sectionText(sections[".cmdline"]); len(text) > maxSection || strings.Contains(text, "\x00") {
			t.Fatalf("got %d bytes", len(text))
		}
		osRelease(sections[".osrel"])
	})
}
