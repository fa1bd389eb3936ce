package bootloader

import (
	"strings"
	"testing"
)

func TestExtlinuxGolden(t *testing.T) {
	const conf = "/boot/syslinux/syslinux.cfg"
	words := strings.Join(setCrash.Words, " ")
	s := golden(t, extlinux{}, "syslinux", conf, nil)
	apply(t, extlinux{}, s, setCrash)
	compareLines(t, cmdlines(t, extlinux{}, s),
		"*Arch Linux "+conf+`:14: root=/dev/sda3 rw dyndbg="file a.c +p" `+words,
		"The options of the file "+conf+":9: root=/dev/sda3 rw "+words,
		"none "+conf+":23: "+words)

	s = golden(t, extlinux{}, "u-boot", "/boot/extlinux/extlinux.conf", nil)
	compareLines(t, cmdlines(t, extlinux{}, s),
		"*Debian GNU/Linux 12 (bookworm) 6.1.0-28-arm64 /boot/extlinux/extlinux.conf:17: root=/dev/mmcblk0p2 ro quiet",
		"Debian GNU/Linux 12 (bookworm) 6.1.0-28-arm64 (rescue target) /boot/extlinux/extlinux.conf:24: root=/dev/mmcblk0p2 ro single")
}

func TestExtlinuxFiles(t *testing.T) {
	words := func(s string) string { return strings.ReplaceAll(s, "CK", strings.Join(setCrash.Words, " ")) }
	for _, c := range []struct{ name, text, want string }{
		{"lines of DOS", "label a\r\nlinux /a\r\nappend ro\r\n", "label a\r\nlinux /a\r\nappend ro CK\r\n"},
		{"byte order mark, no end", "\ufefflabel a\n linux /a\n append ro", "\ufefflabel a\n linux /a\n append ro CK"},
		{"spaces behind", "label a\nlinux /a\nAppend\t ro \t\n", "label a\nlinux /a\nAppend\t ro CK \t\n"},
		{"no options", "label a\n\tlinux /a", "label a\n\tlinux /a\n\tappend CK"},
		{"no options, lines of DOS", "label a\r\n\tlinux /a\r\n\tfdtdir /b\r\n\r\n", "label a\r\n\tlinux /a\r\n\tappend CK\r\n\tfdtdir /b\r\n\r\n"},
		{"options of the file", "append ro\nlabel a\nkernel /vmlinuz\nlabel b\nkernel x.c32\n", "append ro CK\nlabel a\nkernel /vmlinuz\nlabel b\nkernel x.c32\n"},
		{"options of the file that nobody takes", "append ro\nlabel a\nkernel /vmlinuz\nappend rw\n", "append ro\nlabel a\nkernel /vmlinuz\nappend rw CK\n"},
		{"an image with a tree", "label a\n\tfit /fit.itb#conf-1\n\tappend ro\n", "label a\n\tfit /fit.itb#conf-1\n\tappend ro CK\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			const conf = "/boot/extlinux.conf"
			roundTrip(t, extlinux{}, map[string]string{conf: c.text}, map[string]string{conf: words(c.want)})
		})
	}
}

func TestExtlinuxEntries(t *testing.T) {
	const conf = "/boot/extlinux/extlinux.conf"
	words := strings.Join(setCrash.Words, " ")
	s := tree(t, map[string]string{conf: "label a\nlinux /a\nappend " + words + "  ro\nlabel b\nlinux /b\nappend crashkernel=1M\n"})
	compareFiles(t, apply(t, extlinux{}, s, setCrash), map[string]string{conf: "label a\nlinux /a\nappend " + words + "  ro\nlabel b\nlinux /b\nappend " + words + "\n"})
	compareFiles(t, apply(t, extlinux{}, s, removeCrash), map[string]string{conf: "label a\nlinux /a\nappend  ro\nlabel b\nlinux /b\n"})

	// Without options of its own a label would have those of the file.
	s = tree(t, map[string]string{conf: "append rw\nlabel b\nlinux /b\nappend crashkernel=1M\n"})
	compareFiles(t, apply(t, extlinux{}, s, removeCrash), map[string]string{conf: "append rw\nlabel b\nlinux /b\nappend -\n"})
}

func TestExtlinuxInclude(t *testing.T) {
	words := strings.Join(setCrash.Words, " ")
	const dir = "/boot/extlinux/"
	s := roundTrip(t, extlinux{}, map[string]string{
		dir + "extlinux.conf": "include a.conf\nMENU INCLUDE /extlinux/b.conf Title\ninclude gone.conf\ndefault b\n",
		dir + "a.conf":        "include extlinux.conf\nlabel a\nlinux /a\nappend ro\n",
		dir + "b.conf":        "label b\nlinux /b\nappend rw\n",
	}, map[string]string{
		dir + "a.conf": "include extlinux.conf\nlabel a\nlinux /a\nappend ro " + words + "\n",
		dir + "b.conf": "label b\nlinux /b\nappend rw " + words + "\n",
	})
	compareLines(t, cmdlines(t, extlinux{}, s), "a "+dir+"a.conf:4: ro", "*b "+dir+"b.conf:3: rw")
}

func TestExtlinuxStart(t *testing.T) {
	const labels = "label a\nlinux /a\nlabel b\nlinux /b\n"
	for _, c := range []struct{ text, want string }{
		{labels, "a"},
		{"default b\n" + labels, "b"},
		{"default b quiet\n" + labels, "b"},
		{"default menu.c32\n" + labels, "a"},
		{"default a\n" + labels + "menu default\n", "b"},
	} {
		f, err := readExtlinux(newTextFile("f", []byte(c.text)))
		if err != nil {
			t.Fatal(err)
		}
		if got := extlinuxStart([]*extlinuxFile{f}); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestExtlinuxDamaged(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"label a\nlinux /a\nlabel\n", ":3: label without a name"},
		{"label a\nap\x00pend ro\n", ":2: a zero byte"},
	} {
		refused(t, extlinux{}, map[string]string{"/boot/extlinux.conf": c.text}, "/boot/extlinux.conf"+c.want)
	}
}

func TestExtlinuxFind(t *testing.T) {
	f, err := extlinux{}.Find(tree(t, map[string]string{"/boot/extlinux.conf": "", "/proc/sys/kernel/bootloader_type": "52\n"}))
	if err != nil || f.Booted != Yes {
		t.Errorf("got %+v, %v", f, err)
	}
}

func FuzzExtlinux(f *testing.F) {
	f.Add(testdata(f, "extlinux/syslinux"))
	f.Add("append crashkernel=1\nlabel a\nlinux b\nappend -\nlabel c\nkernel d\n append")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := readExtlinux(newTextFile("f", []byte(text)))
		if err != nil {
			return
		}
		file.edit(setCrash)
		once := string(file.content())
		again, err := readExtlinux(newTextFile("f", []byte(once)))
		if err != nil {
			t.Fatalf("%q became %q: %v", text, once, err)
		}
		if len(again.labels) != len(file.labels) {
			t.Fatalf("%q became %q with %d labels", text, once, len(again.labels))
		}
		again.edit(setCrash)
		if got := string(again.content()); got != once {
			t.Fatalf("%q: %q, then %q", text, once, got)
		}
	})
}
