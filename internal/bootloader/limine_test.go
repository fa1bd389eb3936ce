package bootloader

import (
	"strings"
	"testing"
)

func TestLimineGolden(t *testing.T) {
	const conf = "/boot/limine.conf"
	s := golden(t, limine{}, "cachyos", conf, nil)
	apply(t, limine{}, s, setCrash)
	const root = "root=UUID=6e406612-0871-46bc-94d5-21177326edce"
	const words = "crashkernel=512M,high crashkernel=64M,low"
	compareLines(t, cmdlines(t, limine{}, s),
		"*CachyOS/linux-cachyos /boot/limine.conf:16: quiet nowatchdog splash rw rootflags=subvol=/@ "+root+" "+words,
		"CachyOS/Other kernel /boot/limine.conf:32: "+root+` rw dyndbg="file a.c +p" `+words,
		"Rescue /boot/limine.conf:37: "+words)
	p := plan(t, limine{}, s, removeCrash)
	if len(p.Notes) != 1 || len(p.Commands) != 0 {
		t.Errorf("got notes %q, commands %v", p.Notes, p.Commands)
	}
}

func TestLimineFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"lines of DOS", "/A\r\nprotocol: linux\r\ncmdline: a\r\n", "/A\r\nprotocol: linux\r\ncmdline: a CK\r\n"},
		{"byte order mark, no end", "\ufeff/A\nprotocol: linux\ncmdline: a", "\ufeff/A\nprotocol: linux\ncmdline: a CK"},
		{"spaces around", "/A\n protocol: linux\n cmdline:   a b \t\n", "/A\n protocol: linux\n cmdline:   a b CK \t\n"},
		{"no command line, no end", "/A\n\tprotocol: linux", "/A\n\tprotocol: linux\n\tcmdline: CK"},
		{"no command line, lines of DOS", "/A\r\nPROTOCOL: linux\r\npath: x\r\n/B\r\n", "/A\r\nPROTOCOL: linux\r\npath: x\r\ncmdline: CK\r\n/B\r\n"},
		{"kernel_cmdline wins", "/A\nprotocol: linux\ncmdline: a\nKERNEL_CMDLINE: b\nkernel_cmdline: c\n", "/A\nprotocol: linux\ncmdline: a\nKERNEL_CMDLINE: b CK\nkernel_cmdline: c\n"},
		{"the first of two", "/A\nprotocol: linux\ncmdline: a\ncmdline: b\n", "/A\nprotocol: linux\ncmdline: a CK\ncmdline: b\n"},
		{"a macro", "${C}=root=/dev/a\n/A\nprotocol: linux\ncmdline: ${C}\n", "${C}=root=/dev/a\n/A\nprotocol: linux\ncmdline: ${C} CK\n"},
		{"an image with a command line", "/A\nprotocol: efi\npath: boot():/EFI/Linux/a.efi\ncmdline: a\n", "/A\nprotocol: efi\npath: boot():/EFI/Linux/a.efi\ncmdline: a CK\n"},
		{"one entry of two has it", "/A\nprotocol: linux\ncmdline: CK a\n/B\nprotocol: linux\ncmdline: b\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			const conf = "/boot/limine/limine.conf"
			words := func(s string) string { return strings.ReplaceAll(s, "CK", strings.Join(setCrash.Words, " ")) }
			if c.want != "" {
				roundTrip(t, limine{}, map[string]string{conf: c.text}, map[string]string{conf: words(c.want)})
				return
			}
			s := tree(t, map[string]string{conf: words(c.text)})
			compareFiles(t, apply(t, limine{}, s, setCrash), map[string]string{conf: words(c.text[:len(c.text)-1] + " CK\n")})
			apply(t, limine{}, s, removeCrash)
			compareLines(t, cmdlines(t, limine{}, s), "*A "+conf+":3: a", "B "+conf+":6: b")
		})
	}
}

func TestLimineMacro(t *testing.T) {
	const conf = "/boot/limine.conf"
	s := tree(t, map[string]string{conf: "${C}=root=/dev/a crashkernel=1M\n/A\nprotocol: linux\ncmdline: ${C} quiet\n/B\nprotocol: linux\ncmdline: ${C} CK\n"})
	words := strings.Join(setCrash.Words, " ")
	compareFiles(t, apply(t, limine{}, s, setCrash), map[string]string{
		conf: "${C}=root=/dev/a\n/A\nprotocol: linux\ncmdline: ${C} quiet " + words + "\n/B\nprotocol: linux\ncmdline: ${C} CK " + words + "\n"})
	compareLines(t, cmdlines(t, limine{}, s), "*A /boot/limine.conf:4: root=/dev/a quiet "+words, "B /boot/limine.conf:7: root=/dev/a CK "+words)
}

func TestLimineDamaged(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"/A\n///B\nprotocol: linux\n", "/boot/limine.conf:2: an entry below an entry that is not there"},
		{"/A\nprotocol: linux\ncmdline: ${A\n", "/boot/limine.conf:3: ${ without }"},
		{"/A\nprotocol: li\x00nux\n", "/boot/limine.conf:2: a zero byte"},
	} {
		refused(t, limine{}, map[string]string{"/boot/limine.conf": c.text}, c.want)
	}
}

func TestLimineDefault(t *testing.T) {
	const entries = "/+D\n//A\nprotocol: linux\n//B\nprotocol: linux\n/E\n//F\nprotocol: linux\n/G\nprotocol: linux\n"
	for _, c := range []struct{ options, want string }{
		{"", ""}, // the directory
		{"default_entry: 3\n", "D/B"},
		{"DEFAULT_ENTRY: 5\n", "G"},
		{"default_entry: E/F\n", "E/F"},
		{"default_entry: 3\nremember_last_entry: yes\n", ""},
		{"default_entry: 9\n", ""},
	} {
		f, err := readLimine(newTextFile("f", []byte(c.options+entries)))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range f.boot(noImage) {
			if e.Default {
				got = e.Title
			}
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.options, got, c.want)
		}
	}
}

func TestLimineFind(t *testing.T) {
	files := bootedBy(`\EFI\limine\limine_x64.efi`)
	files["/efi/EFI/limine/limine.conf"] = "timeout: 1\n"
	files["/efi/limine.conf"] = "timeout: 2\n"
	f, err := limine{}.Find(tree(t, files))
	if err != nil || f.Booted != Yes || !strings.Contains(f.Because, `\EFI\limine`) {
		t.Fatalf("got %+v, %v", f, err)
	}
	compareLines(t, f.Files, "/efi/EFI/limine/limine.conf", "/efi/limine.conf")

	old := tree(t, map[string]string{"/boot/limine.cfg": ":A\nCMDLINE=a\n"})
	p, err := limine{}.Plan(old, setCrash)
	if err != nil || len(p.Files) > 0 || !strings.HasPrefix(p.Manual, "/boot/limine.cfg has the format of Limine before version 8.") {
		t.Errorf("limine.cfg: got %+v, %v", p, err)
	}
}

func TestLimineSeal(t *testing.T) {
	files := map[string]string{"/efi/limine.conf": "/A\nprotocol: linux\ncmdline: a\n"}
	for _, c := range []struct {
		digits string
		manual bool
	}{
		{strings.Repeat("0", 128), false},
		{strings.Repeat("0", 127) + "a", true},
		{"12", false}, // another program that has the word
	} {
		files["/efi/EFI/BOOT/BOOTX64.EFI"] = "MZ\x00" + limineSeal + c.digits
		p, err := limine{}.Plan(tree(t, files), setCrash)
		if err != nil || (p.Manual != "") != c.manual || (len(p.Files) > 0) == c.manual {
			t.Errorf("%s: got %+v, %v", c.digits, p, err)
		}
	}
}

func TestLimineImage(t *testing.T) {
	s := tree(t, map[string]string{
		"/boot/limine.conf":          "/A\nprotocol: efi\npath: boot():/EFI/Linux/a.efi#0123\n/B\nprotocol: efi\npath: boot():/EFI/Linux/gone.efi\n",
		"/boot/EFI/Linux/a.efi":      image(".linux", "k", ".cmdline", "root=/dev/a rw"),
		"/boot/EFI/BOOT/BOOTX64.EFI": "MZ",
	})
	compareLines(t, cmdlines(t, limine{}, s), "*A /boot/EFI/Linux/a.efi: root=/dev/a rw")
}

func noImage(*limineEntry) (Entry, bool) { return Entry{}, false }

func FuzzLimine(f *testing.F) {
	f.Add(testdata(f, "limine/cachyos"))
	f.Add("${A}=b\n/+A\n//${A}\nprotocol: efi\ncmdline: ${A}${B} crashkernel=1M -- x\nkernel_cmdline:\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := readLimine(newTextFile("f", []byte(text)))
		if err != nil {
			return
		}
		all := func(*limineEntry) bool { return true }
		file.edit(setCrash, all)
		once := string(file.content())
		again, err := readLimine(newTextFile("f", []byte(once)))
		if err != nil {
			t.Fatalf("%q became %q: %v", text, once, err)
		}
		for _, e := range again.boot(noImage) {
			if got := strings.Join(Of(e.Cmdline, "crashkernel"), " "); got != strings.Join(setCrash.Words, " ") && !strings.Contains(e.Cmdline, `"`) && !strings.Contains(e.Cmdline, "--") {
				t.Fatalf("%q became %q with the command line %q", text, once, e.Cmdline)
			}
		}
		again.edit(setCrash, all)
		if got := string(again.content()); got != once {
			t.Fatalf("%q: %q, then %q", text, once, got)
		}
	})
}
