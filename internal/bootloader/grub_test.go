package bootloader

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	testSet  = Edit{Name: "crashkernel", Words: []string{"crashkernel=512M,high", "crashkernel=64M,low"}}
	testNone = Edit{Name: "crashkernel"}
)

func readTestdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// summary is a plan in a few lines: the new content of its files, its commands and notes.
func summary(p *Plan, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, f := range p.Files {
		if f.New == nil {
			fmt.Fprintf(&b, "remove %s\n", f.Path)
			continue
		}
		old := make(map[string]bool)
		for line := range strings.Lines(string(f.Old)) {
			old[line] = true
		}
		fmt.Fprintf(&b, "%s:\n", f.Path)
		for line := range strings.Lines(string(f.New)) {
			if !old[line] {
				fmt.Fprintf(&b, "\t%s\n", strings.TrimSuffix(line, "\n"))
			}
		}
	}
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "run %s", strings.Join(c.Args, " "))
		if c.Undo != nil {
			fmt.Fprintf(&b, "; undo %s", strings.Join(c.Undo, " "))
		}
		fmt.Fprintf(&b, "\n")
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if p.Manual != "" {
		fmt.Fprintf(&b, "manual: %s\n", p.Manual)
	}
	return b.String()
}

// content reads the files of the machine, but for those that programs write.
func content(t testing.TB, s *System) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(s.Root, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, s.Root)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// planRoundTrip plans testSet and checks that the result is what it is for, that nothing is
// left to do and that testNone gives the same files again.
func planRoundTrip(t *testing.T, name string, l Loader, s *System) string {
	t.Helper()
	before := content(t, s)
	p, err := l.Plan(s, testSet)
	got := summary(p, err)
	if err != nil {
		return got
	}
	write(t, s, p)
	again, err := l.Plan(s, testSet)
	if err != nil || len(again.Files) > 0 {
		t.Errorf("%s: the second time: %s", name, summary(again, err))
	}
	back, err := l.Plan(s, testNone)
	if err != nil {
		t.Errorf("%s: back: %v", name, err)
		return got
	}
	write(t, s, back)
	had := false
	for _, f := range p.Files {
		had = had || len(Of(string(f.Old), "crashkernel")) > 0 || strings.Contains(string(f.Old), "crashkernel=")
	}
	if after := content(t, s); !had && !maps.Equal(before, after) {
		t.Errorf("%s: the files differ after the words have gone again\n got %q\nwant %q", name, after, before)
	}
	return got
}

const (
	debianMkconfig = "#!/bin/sh\nfor x in ${sysconfdir}/default/grub.d/*.cfg ; do\n"
	otherMkconfig  = "#!/bin/sh\n. ${sysconfdir}/default/grub\n"
	words          = "crashkernel=512M,high crashkernel=64M,low"
)

func TestGRUBPlan(t *testing.T) {
	debian := map[string]string{
		"/usr/sbin/update-grub":   "#!/bin/sh\n",
		"/usr/sbin/grub-mkconfig": debianMkconfig,
		"/etc/default/grub":       readTestdata(t, "grub/debian-default"),
		"/boot/grub/grub.cfg":     "menuentry 'a' {\n linux /vmlinuz\n}\n",
	}
	suse := map[string]string{
		"/usr/sbin/grub2-mkconfig": otherMkconfig,
		"/etc/default/grub":        "GRUB_CMDLINE_LINUX_DEFAULT=\"splash=silent quiet\"\n",
		"/boot/grub2/grub.cfg":     "",
	}
	const (
		own    = "/etc/default/grub.d/ukdump.cfg"
		header = "\t# Written by kdumpctl setup. update-grub reads this file.\n"
		wrote  = own + ":\n" + header + "\tGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT " + words + "\"\n"
		update = "run update-grub\n"
		make2  = "run grub2-mkconfig -o /boot/grub2/grub.cfg\n"
	)
	for _, c := range []struct {
		name  string
		base  map[string]string
		files map[string]string
		want  string
	}{
		{"Debian as installed", debian, nil, wrote + update},
		{"kdump-tools' file", debian, map[string]string{
			"/etc/default/grub.d/kdump-tools.cfg": "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=384M-:128M\"\n"},
			"/etc/default/grub.d/kdump-tools.cfg:\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT " + words + "\"\n" + update},
		{"words in three places", debian, map[string]string{
			"/etc/default/grub":         "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet crashkernel=1M\"\nGRUB_CMDLINE_LINUX='crashkernel=2M x'\n",
			"/etc/default/grub.d/a.cfg": "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX y crashkernel=3M\"\n"},
			"/etc/default/grub:\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"quiet " + words + "\"\n\tGRUB_CMDLINE_LINUX='x'\n" +
				"/etc/default/grub.d/a.cfg:\n\tGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX y\"\n" + update},
		{"words that a drop-in overrides", debian, map[string]string{
			"/etc/default/grub":                            "GRUB_CMDLINE_LINUX_DEFAULT=\"crashkernel=1M\"\n",
			"/etc/default/grub.d/50-cloudimg-settings.cfg": "GRUB_CMDLINE_LINUX_DEFAULT=\"console=tty1 console=ttyS0\"\n"},
			"/etc/default/grub:\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"\"\n" + wrote + update},
		{"a drop-in that comes later and overrides", debian, map[string]string{
			"/etc/default/grub.d/zz.cfg": "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n"},
			"error: crashkernel in /etc/default/grub, /etc/default/grub.d/zz.cfg: another variable or command decides about it\n"},
		{"our file with another parameter", debian, map[string]string{
			own: "# mine\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT nmi_watchdog=1\"\n"},
			own + ":\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT nmi_watchdog=1 " + words + "\"\n" + update},
		{"words of another variable", debian, map[string]string{
			"/etc/default/grub": "ARGS=\"crashkernel=1M\"\nGRUB_CMDLINE_LINUX=\"$ARGS\"\n"},
			"error: crashkernel in /etc/default/grub: another variable or command decides about it\n"},
		{"openSUSE", suse, nil, "/etc/default/grub:\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"splash=silent quiet " + words + "\"\n" + make2},
		{"a symbolic link", suse, map[string]string{"/etc/default/grub": "-> ../grub.conf", "/etc/grub.conf": "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n"},
			"/etc/grub.conf:\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"" + words + "\"\n" + make2},
		{"only words of all entries, no newline at the end", suse, map[string]string{"/etc/default/grub": "GRUB_CMDLINE_LINUX=\"rhgb quiet\""},
			"/etc/default/grub:\n\tGRUB_CMDLINE_LINUX=\"rhgb quiet\"\n\t# Added by kdumpctl setup.\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"" + words + "\"\n" + make2},
		{"bytes that are not UTF-8", suse, map[string]string{"/etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=\"\xff x\"\n"},
			"/etc/default/grub:\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"\xff x " + words + "\"\n" + make2},
		{"in a condition", suse, map[string]string{"/etc/default/grub": "#\nif x; then\n  GRUB_CMDLINE_LINUX_DEFAULT=a\nfi\n"},
			"error: /etc/default/grub:3: GRUB_CMDLINE_LINUX_DEFAULT is set in a way that ukdump does not understand\n"},
		{"an open quote", suse, map[string]string{"/etc/default/grub": "#\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\n"},
			"error: /etc/default/grub:2: a quote (\") that is not closed\n"},
		{"UTF-16", suse, map[string]string{"/etc/default/grub": "#\nG\x00R\x00"}, "error: /etc/default/grub:2: a zero byte: not a text file\n"},
		{"no command", suse, map[string]string{"/usr/sbin/grub2-mkconfig": "-> nowhere"}, "error: neither update-grub nor grub-mkconfig is installed\n"},
		{"damaged grub.cfg", suse, map[string]string{"/boot/grub2/grub.cfg": "menuentry 'a' {\n\n"}, "error: /boot/grub2/grub.cfg:1: a brace ({) that is not closed\n"},
	} {
		files := maps.Clone(c.base)
		maps.Copy(files, c.files)
		if got := planRoundTrip(t, c.name, grub{}, tree(t, files)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// If only grub.cfg lacks the words, the command alone is left to do.
func TestGRUBStale(t *testing.T) {
	files := map[string]string{
		"/usr/sbin/update-grub": "#!/bin/sh\n",
		"/etc/default/grub":     "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet crashkernel=384M-:128M\"\n",
		"/boot/grub/grub.cfg":   readTestdata(t, "grub/debian.cfg"),
	}
	e := Edit{Name: "crashkernel", Words: []string{"crashkernel=384M-:128M"}}
	if got := summary(grub{}.Plan(tree(t, files), e)); got != "" {
		t.Errorf("up to date: got %s", got)
	}
	files["/boot/grub/grub.cfg"] = strings.Replace(files["/boot/grub/grub.cfg"], "crashkernel=384M-:128M", "", 1)
	if got := summary(grub{}.Plan(tree(t, files), e)); got != "run update-grub\n" {
		t.Errorf("without the words in one entry: got %s", got)
	}
}

func TestGRUBNext(t *testing.T) {
	cfg := readTestdata(t, "grub/debian.cfg")
	files := map[string]string{"/boot/grub/grub.cfg": cfg}
	const first = `* Debian GNU/Linux [/boot/grub/grub.cfg:116] root=/dev/vda1 ro quiet crashkernel=384M-:128M
  Debian GNU/Linux, with Linux 6.1.0-31-amd64 [/boot/grub/grub.cfg:134] root=/dev/vda1 ro quiet crashkernel=384M-:128M
  Debian GNU/Linux, with Linux 6.1.0-31-amd64 (recovery mode) [/boot/grub/grub.cfg:151] root=/dev/vda1 ro single
  Debian GNU/Linux, with Linux 6.1.0-28-amd64 [/boot/grub/grub.cfg:168] root=/dev/vda1 ro quiet crashkernel=384M-:128M
  Debian GNU/Linux, with Linux 6.1.0-28-amd64 (recovery mode) [/boot/grub/grub.cfg:185] root=/dev/vda1 ro single
`
	if got := list(grub{}.Next(tree(t, files))); got != first {
		t.Errorf("got %s\nwant %s", got, first)
	}
	for _, c := range []struct{ name, setting, grubenv, want string }{
		{"saved", `set default="${saved_entry}"`, "# GRUB Environment Block\nsaved_entry=1>2\n####", "with Linux 6.1.0-28-amd64 ["},
		{"by identifiers", `set default="gnulinux-advanced-3c7a4c2e-1d57-4a3b-9d2b-5f6f3c1f9a11>gnulinux-6.1.0-28-amd64-recovery-3c7a4c2e-1d57-4a3b-9d2b-5f6f3c1f9a11"`, "", "6.1.0-28-amd64 (recovery mode) ["},
		{"by the title", `set default='Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-28-amd64'`, "", "with Linux 6.1.0-28-amd64 ["},
		{"a submenu", `set default=1`, "", "with Linux 6.1.0-31-amd64 ["},
		{"once", `set default=0`, "next_entry=1>1\n", "6.1.0-31-amd64 (recovery mode) ["},
		{"one that is not there", `set default=7`, "", ""},
	} {
		s := tree(t, map[string]string{
			"/boot/grub/grub.cfg": strings.Replace(cfg, `   set default="0"`, c.setting, 1),
			"/boot/grub/grubenv":  c.grubenv,
		})
		got := ""
		for line := range strings.Lines(list(grub{}.Next(s))) {
			if strings.HasPrefix(line, "*") {
				got += line
			}
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// list is one line for each entry; * is the default.
func list(entries []Entry, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, e := range entries {
		mark := " "
		if e.Default {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %s [%s] %s\n", mark, e.Title, e.Source, e.Cmdline)
	}
	return b.String()
}

func TestParseGrubMenu(t *testing.T) {
	const script = "set a='x y'\r\n" +
		"function f { linux /no; }\n" +
		"if [ \"$b\" ]; then menuentry \"It's $a\" --class c --id=one { linux (hd0,gpt1)/k root=1 'a b' $a \"$a\" c\\\"d; initrd /i; }; fi\n" +
		"menuentry 'other' --hotkey=x { chainloader /x.efi\n}\n" +
		"submenu 's' {\n  menuentry t { linuxefi /k `x` $(y) {}\n}\n}\n"
	m, err := parseGrubMenu("f", []byte(script), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	m.root.walk(func(n *menuNode) {
		for _, l := range n.lines {
			got = append(got, fmt.Sprintf("%s|%s|%d|%s", n.title, n.id, l.line, l.cmdline))
		}
	})
	want := []string{`It's x y|one|3|root=1 "a b" x y "x y" c\"d`, "t||7|`x` $(y) {}"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if len(m.root.nodes) != 3 {
		t.Errorf("got %d entries at the top", len(m.root.nodes))
	}
	for script, want := range map[string]string{
		"a\n}\n":          "f:2: a brace (}) that was not opened",
		"set a='x\n\n":    "f:1: a quote (') that is not closed",
		"submenu a {\n\n": "f:1: a brace ({) that is not closed",
	} {
		if _, err := parseGrubMenu("f", []byte(script), nil); fmt.Sprint(err) != want {
			t.Errorf("%q: got %v, want %s", script, err, want)
		}
	}
}

func TestParseGrubenv(t *testing.T) {
	env := parseGrubenv([]byte("# GRUB Environment Block\n# WARNING=1\nsaved_entry=a>b\nkernelopts=root=x ro\nx=a\\\\b\\\nc\n#####"))
	want := map[string]string{"saved_entry": "a>b", "kernelopts": "root=x ro", "x": "a\\b\nc"}
	if !maps.Equal(env, want) {
		t.Errorf("got %q, want %q", env, want)
	}
}

func FuzzGrubMenu(f *testing.F) {
	f.Add([]byte(readTestdata(f, "grub/debian.cfg")))
	f.Add([]byte("set a=$a$a\nmenuentry x --id {\n linux /k $a\n}\nsubmenu y {\n}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseGrubMenu("f", data, parseGrubenv(data))
		if err != nil {
			return
		}
		m.defaultEntry(m.env)
	})
}
