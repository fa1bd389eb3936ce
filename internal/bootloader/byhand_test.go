package bootloader

import (
	"maps"
	"strings"
	"testing"

	"ukdump/internal/advice"
)

// prepared returns what a person reads of a plan: the notes and what is to be done by hand, or
// the error with its advice.
func prepared(s *System, l Loader) string {
	p, err := Prepare(s, l, Edit{Name: "crashkernel", Words: []string{"crashkernel=128M"}})
	if err != nil {
		return "error: " + err.Error() + ". " + advice.For(err)
	}
	var parts []string
	for _, f := range p.Files {
		parts = append(parts, "writes "+f.Path)
	}
	for _, c := range p.Commands {
		parts = append(parts, "runs "+c.Args[0])
	}
	if p.Manual != "" {
		parts = append(parts, "manual: "+p.Manual)
	}
	return strings.Join(append(parts, p.Notes...), "\n")
}

// A plan never does nothing without a word: either something boots with the words already, or
// the user is told what to do.
func TestPrepareNothing(t *testing.T) {
	const word = "crashkernel=128M"
	esp := map[string]string{"/efi/EFI/systemd/systemd-bootx64.efi": "", "/efi/loader/entries/": "", "/proc/self/mountinfo": ""}
	with := func(base map[string]string, name, content string) map[string]string {
		files := maps.Clone(base)
		files[name] = content
		return files
	}
	const (
		limineStep   = " Put " + word + " into a line \"cmdline:\" of the entry of your kernel in /boot/limine.conf, below \"protocol: linux\"."
		limineNo     = "manual: ukdump finds no entry with \"protocol: linux\" in /boot/limine.conf." + limineStep
		extlinuxNo   = "manual: ukdump finds no label with a line \"linux\" or \"kernel\" in /boot/extlinux/extlinux.conf. Put " + word + " into a line \"append\" below the label of your kernel in /boot/extlinux/extlinux.conf."
		refindLinux  = "manual: /boot/refind_linux.conf has no line with a title and options. Run mkrlconf --force, which writes it again, then run kdumpctl setup again."
		extlinuxConf = "/boot/extlinux/extlinux.conf"
	)
	grubMachine := map[string]string{"/usr/sbin/update-grub": "", "/usr/sbin/grub-mkconfig": "", grubDefaults: "GRUB_CMDLINE_LINUX_DEFAULT=\"" + word + "\"\n"}
	uboot := uBootMachine(t, map[string]string{"/etc/default/u-boot": "U_BOOT_PARAMETERS=\"ro " + word + "\"\n"})
	for _, c := range []struct {
		name  string
		l     Loader
		files map[string]string
		want  string
	}{
		{"limine, an entry without a protocol", limine{}, map[string]string{"/boot/limine.conf": "/Linux\n  path: boot():/vmlinuz\n  cmdline: ro\n"}, limineNo},
		{"limine, entries of other systems", limine{}, map[string]string{"/boot/limine.conf": "/Windows\n  protocol: efi\n  path: boot():/w.efi\n/X\n  protocol: multiboot2\n  path: boot():/x\n"}, limineNo},
		{"limine, a protocol that nobody knows", limine{}, map[string]string{"/boot/limine.conf": "/Linux\n  protocol: linus\n  path: boot():/vmlinuz\n"}, limineNo},
		{"limine, empty", limine{}, map[string]string{"/boot/limine.conf": ""}, limineNo},
		{"limine, only comments", limine{}, map[string]string{"/boot/limine.conf": "# nothing\n\n"}, limineNo},
		{"limine, only entries of snapshots", limine{}, map[string]string{"/boot/limine.conf": "/Snapshots\n//1\n  protocol: linux\n  path: boot():/vmlinuz\n"}, limineNo},
		{"limine, the words are there", limine{}, map[string]string{"/boot/limine.conf": "/Linux\n  protocol: linux\n  cmdline: " + word + "\n"}, ""},
		{"limine-entry-tool, not run since", limine{}, entryToolMachine(map[string]string{"/etc/default/limine": "KERNEL_CMDLINE[default]=\"a " + word + "\"\n",
			"/boot/limine.conf": "/+Linux\n  //linux\n  comment: kernel-id=linux\n  protocol: linux\n  cmdline: a\n"}), "runs /usr/bin/limine-update"},
		{"extlinux, empty", extlinux{}, map[string]string{extlinuxConf: ""}, extlinuxNo},
		{"extlinux, a label without a kernel", extlinux{}, map[string]string{extlinuxConf: "LABEL a\n  APPEND ro\n"}, extlinuxNo},
		{"extlinux, only modules of SYSLINUX", extlinux{}, map[string]string{extlinuxConf: "DEFAULT a\nLABEL a\n  COM32 reboot.c32\nLABEL b\n  KERNEL memdisk\n"}, extlinuxNo},
		{"extlinux, an include that is not there", extlinux{}, map[string]string{extlinuxConf: "INCLUDE linux.cfg\n"}, extlinuxNo},
		{"extlinux, options before the first label", extlinux{}, map[string]string{extlinuxConf: "APPEND ro\n"}, extlinuxNo},
		{"extlinux, a label without options", extlinux{}, map[string]string{extlinuxConf: "LABEL a\n  LINUX /vmlinuz\n"}, "writes " + extlinuxConf},
		{"rEFInd, refind_linux.conf is empty", refind{}, map[string]string{refindConf: "timeout 5\n", "/boot/refind_linux.conf": ""}, refindLinux},
		{"rEFInd, refind_linux.conf of comments", refind{}, map[string]string{refindConf: "timeout 5\n", "/boot/refind_linux.conf": "# \"a\" \"b\"\n\n"}, refindLinux},
		{"rEFInd, a title without options", refind{}, map[string]string{refindConf: "timeout 5\n", "/boot/refind_linux.conf": "\"Linux\"\n"}, refindLinux},
		{"rEFInd, stanzas of other systems", refind{}, map[string]string{refindConf: "menuentry W {\n loader /w.efi\n}\n", "/boot/refind_linux.conf": ""}, refindLinux},
		{"u-boot-menu, not run since", uBootMenu, uboot, "runs /usr/sbin/u-boot-update"},
		{"u-boot-menu, no label", uBootMenu, with(uboot, extlinuxConf, "## "+uBootMenu.mark+"\n"),
			"manual: ukdump finds no label with a line \"linux\" in /etc/default/u-boot or " + extlinuxConf + ". Put " + word + " into U_BOOT_PARAMETERS of /etc/default/u-boot, then run u-boot-update."},
		{"flash-kernel, not run since", flashKernel{}, flashKernelMachine(map[string]string{flashKernelDefaults: "LINUX_KERNEL_CMDLINE=\"" + word + "\"\n"}), "runs /usr/sbin/flash-kernel"},
		{"grub, an empty grub.cfg", grub{}, with(grubMachine, "/boot/grub/grub.cfg", ""),
			"runs update-grub"},
		{"grub, entries that grub-mkconfig has not made", grub{}, with(grubMachine, "/boot/grub/grub.cfg", "menuentry a {\n linux /vmlinuz ro\n}\n"),
			"runs update-grub"},
		{"bls, no entries", bls{}, map[string]string{"/boot/grub2/grub.cfg": "blscfg\n", "/boot/loader/entries/": ""},
			"error: /boot/loader/entries has no entries, but /boot/grub2/grub.cfg reads them from there. Put " + word + " into the line \"options\" of each file in /boot/loader/entries."},
		{"bls, an entry without options", bls{}, map[string]string{"/boot/grub2/grub.cfg": "blscfg\n", "/boot/loader/entries/a.conf": "title a\nlinux /vmlinuz\n"}, "writes /boot/loader/entries/a.conf"},
		{"systemd-boot, no entries", systemdBoot{}, esp,
			"error: systemd-boot: no entries of this system with a command line in /efi. If the kernels are unified images, use --loader=uki."},
		{"systemd-boot, an entry without options", systemdBoot{}, with(esp, "/efi/loader/entries/a.conf", "title a\nlinux /vmlinuz\n"), "writes /efi/loader/entries/a.conf"},
		{"systemd-boot, an entry without a kernel", systemdBoot{}, with(esp, "/efi/loader/entries/a.conf", "title a\nefi /shell.efi\n"),
			"error: systemd-boot: no entries of this system with a command line in /efi. If the kernels are unified images, use --loader=uki."},
		{"unified images, none", uki{}, esp, "manual: ukdump finds no unified image with a kernel. Put " + word + " into the command line of the unified image and make it again."},
		{"Raspberry Pi, an empty cmdline.txt", raspberryPi{}, map[string]string{"/boot/config.txt": "", "/boot/cmdline.txt": ""}, "writes /boot/cmdline.txt"},
		{"OSTree, no entries", ostree{}, map[string]string{"/run/ostree-booted": ""},
			"error: /boot/loader/entries has no entry of OSTree. Put " + word + " into the command line with rpm-ostree kargs --append=WORD for each word."},
	} {
		if got := prepared(tree(t, c.files), c.l); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A refusal says where, why, and what the user does next.
func TestPrepareRefused(t *testing.T) {
	const (
		word    = "crashkernel=128M"
		correct = " Correct this line, then run kdumpctl setup again."
		grubby  = " Put " + word + " into GRUB_CMDLINE_LINUX_DEFAULT of /etc/default/grub, then run grub2-mkconfig -o /boot/grub2/grub.cfg."
		broken  = "/boot/grub2/grub.cfg:1: a brace ({) that is not closed."
	)
	esp := func(more map[string]string) map[string]string {
		files := map[string]string{"/efi/EFI/systemd/systemd-bootx64.efi": "", "/efi/loader/entries/a.conf": "title a\nlinux /vmlinuz\noptions ro\n"}
		maps.Copy(files, more)
		return files
	}
	grubMachine := func(defaults string) map[string]string {
		return map[string]string{"/usr/sbin/grub2-mkconfig": "", "/boot/grub2/grub.cfg": "menuentry a {\n linux /vmlinuz ro\n}\n", grubDefaults: defaults}
	}
	limineConf := func(text string) map[string]string { return map[string]string{"/boot/limine.conf": text} }
	refindMachine := func(text string) map[string]string {
		return map[string]string{refindConf: "timeout 5\n", "/boot/refind_linux.conf": text}
	}
	for _, c := range []struct {
		name  string
		l     Loader
		files map[string]string
		want  string
	}{
		{"grub, an array", grub{}, grubMachine("#\nGRUB_CMDLINE_LINUX_DEFAULT=(quiet splash)\n"),
			"/etc/default/grub:2: GRUB_CMDLINE_LINUX_DEFAULT is an array, which ukdump does not change." + grubby},
		{"grub, an array of the other variable", grub{}, grubMachine("GRUB_CMDLINE_LINUX=(a)\n"),
			"/etc/default/grub:1: GRUB_CMDLINE_LINUX is an array, which ukdump does not change. Put " + word + " into GRUB_CMDLINE_LINUX of /etc/default/grub, then run grub2-mkconfig -o /boot/grub2/grub.cfg."},
		{"grub, an array that is extended", grub{}, grubMachine("GRUB_CMDLINE_LINUX_DEFAULT+=(quiet)\n"),
			"/etc/default/grub:1: GRUB_CMDLINE_LINUX_DEFAULT is an array, which ukdump does not change." + grubby},
		{"grub, declared", grub{}, grubMachine("declare -a GRUB_CMDLINE_LINUX_DEFAULT\n"),
			"/etc/default/grub:1: GRUB_CMDLINE_LINUX_DEFAULT is set in a way that ukdump does not understand." + grubby},
		{"grub, an open quote", grub{}, grubMachine("A=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\n\nB=2\n"), "/etc/default/grub:2: a quote (\") that is not closed." + correct},
		{"grub, another open quote", grub{}, grubMachine("A='\n"), "/etc/default/grub:1: a quote (') that is not closed." + correct},
		{"grub, an open parenthesis", grub{}, grubMachine("A=(1 2\n"), "/etc/default/grub:1: a parenthesis that is not closed." + correct},
		{"grub, a here-document", grub{}, grubMachine("cat <<END\nEND\n"), "/etc/default/grub:1: a here-document is not supported." + grubby},
		{"grub, $'…'", grub{}, grubMachine("A=$'a'\n"), "/etc/default/grub:1: $'…' is not supported." + grubby},
		{"grub, a condition", grub{}, grubMachine("if true; then\nGRUB_CMDLINE_LINUX_DEFAULT=ro\nfi\n"),
			"/etc/default/grub:2: GRUB_CMDLINE_LINUX_DEFAULT is set in a way that ukdump does not understand." + grubby},
		{"grub, another variable decides", grub{}, grubMachine("ARGS=\"crashkernel=1M\"\nGRUB_CMDLINE_LINUX=\"$ARGS\"\n"),
			"crashkernel in /etc/default/grub: another variable or command decides about it." + grubby},
		{"grub, a damaged grub.cfg", grub{}, map[string]string{"/usr/sbin/grub2-mkconfig": "", "/boot/grub2/grub.cfg": "menuentry a {\n"},
			broken + " Run grub2-mkconfig -o /boot/grub2/grub.cfg, which writes the file again, then run kdumpctl setup again."},
		{"limine, a macro", limine{}, limineConf("/a\n  protocol: linux\n  cmdline: ${X\n"), "/boot/limine.conf:3: ${ without }." + correct},
		{"limine, an entry below none", limine{}, limineConf("//a\n"), "/boot/limine.conf:1: an entry below an entry that is not there." + correct},
		{"limine, UTF-16", limine{}, limineConf("/\x00a\x00"), "/boot/limine.conf:1: a zero byte: not a text file." + correct},
		{"extlinux, a label", extlinux{}, map[string]string{"/boot/extlinux/extlinux.conf": "LABEL\n"}, "/boot/extlinux/extlinux.conf:1: label without a name." + correct},
		{"rEFInd, an open quote", refind{}, refindMachine("\"a\" \"ro\n"), "/boot/refind_linux.conf:1: a quote that is not closed." + correct},
		{"rEFInd, options without quotes", refind{}, refindMachine("\"a\" ro root=/dev/a\n"), "/boot/refind_linux.conf:1: more than a title and options, both in quotes." + correct},
		{"u-boot-menu, a condition", uBootMenu, uBootMachine(t, map[string]string{"/etc/default/u-boot": "if true; then\nU_BOOT_PARAMETERS=ro\nfi\n"}),
			"/etc/default/u-boot:2: U_BOOT_PARAMETERS is set in a way that ukdump does not understand. Put " + word + " into U_BOOT_PARAMETERS of /etc/default/u-boot, then run u-boot-update."},
		{"u-boot-menu, an empty command line of the system", uBootMenu, uBootMachine(t, map[string]string{kernelCmdline: "# none\n", "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/a ro\n"}),
			"/etc/kernel/cmdline is empty, and a kernel with the new words alone would not find its root file system. Put the whole command line into it: root=/dev/a ro " + word},
		{"flash-kernel, an array", flashKernel{}, flashKernelMachine(map[string]string{flashKernelDefaults: "LINUX_KERNEL_CMDLINE=(a)\n"}),
			"/etc/default/flash-kernel:1: LINUX_KERNEL_CMDLINE is an array, which ukdump does not change. Put " + word + " into LINUX_KERNEL_CMDLINE of /etc/default/flash-kernel, then run flash-kernel."},
		{"flash-kernel, a damaged script", flashKernel{}, flashKernelMachine(map[string]string{flashKernelDefaults: "LINUX_KERNEL_CMDLINE=" + word + "\n", "/boot/boot.scr": "x"}),
			"/boot/boot.scr: not a script of U-Boot. Put " + word + " into LINUX_KERNEL_CMDLINE of /etc/default/flash-kernel, then run flash-kernel."},
		{"sdboot-manage, an array", systemdBoot{}, esp(map[string]string{"/usr/bin/sdboot-manage": "", sdbootManage: "LINUX_OPTIONS=(a)\n"}),
			"/etc/sdboot-manage.conf:1: LINUX_OPTIONS is an array, which ukdump does not change. Put " + word + " into LINUX_OPTIONS of /etc/sdboot-manage.conf, then run sdboot-manage gen."},
		{"systemd-boot, no EFI system partition", systemdBoot{}, map[string]string{"/etc/x": ""},
			"systemd-boot: this machine has no EFI system partition on /efi, /boot, /boot/efi. Mount it, then run kdumpctl setup again."},
		{"kernel-install, a command line of several lines", uki{}, ukiFiles(map[string]string{"/usr/bin/kernel-install": "", "/etc/kernel/install.conf": "layout=uki\n", ukiConf: "[UKI]\nCmdline=a\n  b\n"}),
			"/etc/kernel/uki.conf:3: a command line of several lines is not supported. Put " + word + " into Cmdline= of /etc/kernel/uki.conf, then run kernel-install add-all."},
		{"Raspberry Pi, two lines", raspberryPi{}, map[string]string{"/boot/config.txt": "", "/boot/cmdline.txt": "ro\nquiet\n"},
			"/boot/cmdline.txt:2: a second line, which the firmware does not read. Write all into the first line of /boot/cmdline.txt."},
	} {
		if got, want := prepared(tree(t, c.files), c.l), "error: "+c.want; got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
	}
}
