package bootloader

import (
	"strings"
	"testing"
)

const refindConf = "/efi/EFI/refind/refind.conf"

func TestRefindGolden(t *testing.T) {
	s := golden(t, refind{}, "stanzas", refindConf, nil)
	apply(t, refind{}, s, setCrash)
	const options = `root=PARTUUID=0b2c1f6e-3a54-4e0b-9d6c-5f1f6c0c7a11 rw dyndbg="file a.c +p" `
	words := strings.Join(setCrash.Words, " ")
	compareLines(t, cmdlines(t, refind{}, s),
		"Main system "+refindConf+":15: "+options+words,
		"Main system/All modules "+refindConf+":16: "+options+words,
		"Main system/Text console "+refindConf+":20: "+options+words+" systemd.unit=multi-user.target",
		"Main system/Other root "+refindConf+":23: root=/dev/sdb1 ro "+words,
		"Plain "+refindConf+":34: "+words)

	s = golden(t, refind{}, "linux", "/boot/refind_linux.conf", map[string]string{refindConf: "timeout 5\n"})
	compareLines(t, cmdlines(t, refind{}, s)[:2],
		"*Normal /boot/refind_linux.conf:1: root=UUID=3d1a2b4c-0000-4000-8000-1234567890ab ro quiet splash",
		"Single user /boot/refind_linux.conf:2: root=UUID=3d1a2b4c-0000-4000-8000-1234567890ab ro quiet single")
}

func TestRefindLinuxFiles(t *testing.T) {
	words := func(s string) string { return strings.ReplaceAll(s, "CK", strings.Join(setCrash.Words, " ")) }
	for _, c := range []struct{ name, text, want string }{
		{"lines of DOS, no end", "\"a\" \"ro\"\r\n'b' \"rw\"", "\"a\" \"ro CK\"\r\n'b' \"rw CK\""},
		{"byte order mark", "\ufeff\"a\"\t\"ro\"\n", "\ufeff\"a\"\t\"ro CK\"\n"},
		{"spaces inside", `"a" " ro "`, `"a" " ro CK "`},
		{"no options", `"a" ""`, `"a" "CK"`},
		{"comment behind", "\"a\" \"ro\" # x \"y\n", "\"a\" \"ro CK\" # x \"y\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			const name = "/efi/EFI/arch/refind_linux.conf"
			files := map[string]string{refindConf: "", name: c.text}
			roundTrip(t, refind{}, files, map[string]string{name: words(c.want)})
		})
	}
}

func TestRefindEntries(t *testing.T) {
	// One has the word already, another an older one; a submenu must not add an older one.
	words := strings.Join(setCrash.Words, " ")
	s := tree(t, map[string]string{refindConf: "menuentry A {\nloader vmlinuz\noptions \"" + words + " a\"\nsubmenuentry B {\nadd_options \"b crashkernel=2M\"\n}\n}\n" +
		"menuentry C {\nostype Linux\noptions crashkernel\n}\n"})
	compareFiles(t, apply(t, refind{}, s, setCrash), map[string]string{refindConf: "menuentry A {\nloader vmlinuz\noptions \"" + words + " a\"\nsubmenuentry B {\nadd_options \"b\"\n}\n}\n" +
		"menuentry C {\nostype Linux\noptions \"" + words + "\"\n}\n"})
}

func TestRefindInclude(t *testing.T) {
	const manual = "/efi/EFI/refind/manual.conf"
	roundTrip(t, refind{}, map[string]string{refindConf: "include manual.conf\ninclude gone.conf\n", manual: "menuentry A {\n loader vmlinuz\n options \"ro\"\n}"},
		map[string]string{manual: "menuentry A {\n loader vmlinuz\n options \"ro " + strings.Join(setCrash.Words, " ") + "\"\n}"})
}

func TestRefindDamaged(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"menuentry A {\noptions \"ro\n}\n", ":2: a quote that is not closed"},
		{"timeout 5\nmenuentry A {\noptions \"ro\"\n", ":2: menuentry without }"},
		{"menuentry A\n{\n}\n", ":1: menuentry without a name and {"},
		{"menuentry A {\noptions ro root=/dev/sda1\n}\n", ":2: options without quotes"},
	} {
		refused(t, refind{}, map[string]string{refindConf: c.text}, refindConf+c.want)
	}
	for _, c := range []struct{ text, want string }{
		{"\"a\" \"b\"\n\"c\" \"d\n", ":2: a quote that is not closed"},
		{"\"a\" ro root=/dev/sda1\n", ":1: more than a title and options"},
	} {
		refused(t, refind{}, map[string]string{refindConf: "", "/boot/refind_linux.conf": c.text}, "/boot/refind_linux.conf"+c.want)
	}
}

func TestRefindWithoutOptions(t *testing.T) {
	s := tree(t, map[string]string{refindConf: "timeout 5\n"})
	p, err := refind{}.Plan(s, setCrash)
	if err != nil || !strings.Contains(p.Manual, "Run mkrlconf") {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestRefindFind(t *testing.T) {
	files := bootedBy(`\EFI\refind\refind_x64.efi`)
	files[refindConf] = ""
	files["/boot/refind_linux.conf"] = ""
	f, err := refind{}.Find(tree(t, files))
	if err != nil || f.Booted != Yes {
		t.Fatalf("got %+v, %v", f, err)
	}
	compareLines(t, f.Files, "/boot/refind_linux.conf", refindConf)
}

func FuzzRefindQuote(f *testing.F) {
	f.Add(`a "b c" d=""`)
	f.Add(`"`)
	f.Add(`#,= \`)
	f.Fuzz(func(t *testing.T, text string) {
		tokens, ok := refindTokens("x " + refindQuote(text) + " # c")
		if !ok || len(tokens) != 2 || tokens[1].text != text {
			t.Fatalf("%q: %+v, %v", text, tokens, ok)
		}
	})
}

func FuzzRefind(f *testing.F) {
	f.Add(testdata(f, "refind/stanzas"))
	f.Add(testdata(f, "refind/linux"))
	f.Fuzz(func(t *testing.T, text string) {
		edit := func(text string) (string, string) {
			stanzas := ""
			if file, err := readRefind(newTextFile("f", []byte(text))); err == nil {
				file.edit(setCrash)
				stanzas = string(file.content())
			}
			linux := newTextFile("f", []byte(text))
			if _, err := editRefindLinux(linux, setCrash); err != nil {
				return stanzas, ""
			}
			return stanzas, string(linux.content())
		}
		stanzas, linux := edit(text)
		if again, _ := edit(stanzas); again != stanzas {
			t.Fatalf("%q: %q, then %q", text, stanzas, again)
		}
		if _, again := edit(linux); again != linux {
			t.Fatalf("%q: %q, then %q", text, linux, again)
		}
	})
}
