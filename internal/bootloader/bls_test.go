package bootloader

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

const (
	fedoraEntry = "/boot/loader/entries/6d1f-6.11.4-301.fc41.x86_64.conf"
	rescueEntry = "/boot/loader/entries/6d1f-0-rescue.conf"
	rhelEntry   = "/boot/loader/entries/6d1f-4.18.0-553.el8_10.x86_64.conf"
	grubenvFile = "/boot/grub2/grubenv"
)

// grubenv is an environment block with variables.
func grubenv(vars string) string {
	text := "# GRUB Environment Block\n" + vars
	return text + strings.Repeat("#", grubenvSize-len(text))
}

func fedora(t *testing.T, more map[string]string) map[string]string {
	entry := readTestdata(t, "bls/fedora.conf")
	files := map[string]string{
		"/boot/grub2/grub.cfg": readTestdata(t, "bls/grub.cfg"),
		grubenvFile:            grubenv("saved_entry=6d1f-6.11.4-301.fc41.x86_64\nboot_success=1\n"),
		fedoraEntry:            entry,
		rescueEntry:            strings.ReplaceAll(entry, "6.11.4-301.fc41.x86_64", "0-rescue"),
		"/etc/kernel/cmdline":  "root=UUID=0a1b2c3d-1111-4222-8333-444455556666 ro rhgb quiet\n",
		"/etc/default/grub":    "GRUB_CMDLINE_LINUX=\"rhgb quiet\"\nGRUB_ENABLE_BLSCFG=true\n",
	}
	maps.Copy(files, more)
	return files
}

func TestBLSPlan(t *testing.T) {
	const (
		args    = "root=UUID=0a1b2c3d-1111-4222-8333-444455556666 ro rhgb quiet"
		options = "\toptions " + args + " $tuned_params " + words + "\n"
		added   = "/etc/default/grub:\n\t# Added by kdumpctl setup.\n\tGRUB_CMDLINE_LINUX_DEFAULT=\"" + words + "\"\n"
		grubby  = "run grubby --update-kernel=ALL --args=" + words + "; undo "
	)
	rhel := map[string]string{
		"/boot/grub2/grub.cfg": readTestdata(t, "bls/grub.cfg"),
		grubenvFile:            grubenv("saved_entry=6d1f-4.18.0-553.el8_10.x86_64\nkernelopts=root=/dev/mapper/rhel-root ro crashkernel=auto\n"),
		rhelEntry:              readTestdata(t, "bls/rhel8.conf"),
	}
	padding := grubenvSize - len("# GRUB Environment Block\nsaved_entry=6d1f-4.18.0-553.el8_10.x86_64\nkernelopts=root=/dev/mapper/rhel-root ro \n"+words)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"Fedora", fedora(t, nil), fedoraEntry + ":\n" + options + rescueEntry + ":\n" + options +
			"/etc/kernel/cmdline:\n\t" + args + " " + words + "\n" + added},
		{"RHEL 8", rhel, grubenvFile + ":\n\tkernelopts=root=/dev/mapper/rhel-root ro " + words + "\n\t" + strings.Repeat("#", padding) + "\n"},
		{"grubby", fedora(t, map[string]string{"/usr/sbin/grubby": ""}), grubby + "grubby --update-kernel=ALL --remove-args=crashkernel\n"},
		{"grubby, and kernelopts", func() map[string]string {
			files := maps.Clone(rhel)
			files["/usr/sbin/grubby"] = ""
			return files
		}(), grubby + "grubby --update-kernel=ALL --args=crashkernel=auto\n"},
		{"grubby, and different words", fedora(t, map[string]string{"/usr/sbin/grubby": "",
			rescueEntry: "linux /k\noptions crashkernel=1M\n"}), grubby + "true\n"},
		{"words in one of two lines, CRLF, a tab, no line end", fedora(t, map[string]string{
			fedoraEntry: "linux /k\r\noptions\ta  crashkernel=1M\r\noptions b crashkernel=2M c", rescueEntry: "linux /k\noptions " + words + "\n",
			"/etc/default/grub": "GRUB_CMDLINE_LINUX=\"" + words + "\"\n", "/etc/kernel/cmdline": words}),
			fedoraEntry + ":\n\toptions\ta  " + words + "\r\n\toptions b c\n"},
		{"no options", fedora(t, map[string]string{fedoraEntry: "\ufefftitle \xff\nlinux /k\ninitrd /i", rescueEntry: "efi /shell.efi\n",
			"/etc/default/grub": "", "/etc/kernel/cmdline": ""}),
			fedoraEntry + ":\n\toptions " + words + "\n" +
				"/etc/kernel/cmdline:\n\t" + words + "\n" + added},
		{"a zero byte", fedora(t, map[string]string{fedoraEntry: "linux /k\n\x00"}), "error: " + fedoraEntry + ":2: a zero byte: not a text file\n"},
		{"no entries", map[string]string{"/boot/grub2/grub.cfg": "blscfg\n"}, "error: /boot/loader/entries has no entries, but /boot/grub2/grub.cfg reads them from there\n"},
		{"a full environment block", func() map[string]string {
			files := maps.Clone(rhel)
			files[grubenvFile] = grubenv("kernelopts=" + strings.Repeat("x", 960) + "\n")
			return files
		}(), "error: " + grubenvFile + ": no room for " + words + ", its 1024 bytes are full\n"},
		{"damaged defaults", fedora(t, map[string]string{"/etc/default/grub": "A='\n"}), "error: /etc/default/grub:1: a quote (') that is not closed\n"},
	} {
		s := tree(t, c.files)
		got := planRoundTrip(t, c.name, bls{}, s)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestBLSNothingToDo(t *testing.T) {
	files := fedora(t, map[string]string{
		"/usr/sbin/grubby": "", fedoraEntry: "linux /k\noptions crashkernel=1M\n", rescueEntry: "linux /k\noptions crashkernel=1M\n"})
	e := Edit{Name: "crashkernel", Words: []string{"crashkernel=1M"}}
	if got := summary(bls{}.Plan(tree(t, files), e)); !strings.HasPrefix(got, "run grubby") {
		t.Errorf("new kernels would not get the words: %s", got)
	}
	files["/etc/kernel/cmdline"] = "a crashkernel=1M\n"
	if got := summary(bls{}.Plan(tree(t, files), e)); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestBLSNext(t *testing.T) {
	const (
		args   = "root=UUID=0a1b2c3d-1111-4222-8333-444455556666 ro rhgb quiet skew_tick=1 tsc=reliable"
		newest = "Fedora Linux (6.11.4-301.fc41.x86_64) 41 (Server Edition) [" + fedoraEntry + "] " + args + "\n"
		rescue = "Fedora Linux (0-rescue) 41 (Server Edition) [" + rescueEntry + "] " + args + "\n"
	)
	for _, c := range []struct{ name, env, want string }{
		{"saved", "saved_entry=6d1f-0-rescue\n", "  " + newest + "* " + rescue},
		{"by number", "saved_entry=1\n", "  " + newest + "* " + rescue},
		{"by title", "saved_entry=Fedora Linux (0-rescue) 41 (Server Edition)\n", "  " + newest + "* " + rescue},
		{"none saved", "", "* " + newest + "  " + rescue},
		{"once", "saved_entry=0\nnext_entry=6d1f-0-rescue\n", "  " + newest + "* " + rescue},
		{"one that has gone", "saved_entry=6d1f-5.0\n", "  " + newest + "  " + rescue},
	} {
		s := tree(t, fedora(t, map[string]string{grubenvFile: grubenv(c.env)}))
		if got := list(bls{}.Next(s)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	s := tree(t, map[string]string{"/boot/grub2/grub.cfg": readTestdata(t, "bls/grub.cfg"), rhelEntry: readTestdata(t, "bls/rhel8.conf")})
	if got := list(bls{}.Next(s)); !strings.HasSuffix(got, "] root=/dev/mapper/rhel-root ro rhgb quiet skew_tick=1 tsc=reliable\n") {
		t.Errorf("kernelopts of grub.cfg: got %s", got)
	}
}

func TestBLSFind(t *testing.T) {
	s := tree(t, fedora(t, nil))
	if f, err := (bls{}).Find(s); err != nil || f == nil || f.Booted != Unknown {
		t.Errorf("bls: got %v, %v", f, err)
	}
	if f, err := (grub{}).Find(s); err != nil || f != nil {
		t.Errorf("grub: got %v, %v", f, err)
	}
	put(t, s, "/run/ostree-booted", "")
	if f, err := (bls{}).Find(s); err != nil || f == nil || f.Booted != No {
		t.Errorf("with OSTree: got %v, %v", f, err)
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"", "a", "0", "1~rc1", "1", "1-1", "1^2", "1.1", "1.2", "1.10", "2", "10"}
	for i := range ordered {
		for j := range ordered {
			want := max(-1, min(1, i-j))
			a, b := ordered[i], ordered[j]
			if (a == "" || b == "") && strings.Contains(a+b, "~") {
				continue
			}
			if got := max(-1, min(1, compareVersions(a, b))); got != want {
				t.Errorf("%q, %q: got %d, want %d", a, b, got, want)
			}
		}
	}
	ids := []string{"6d1f-0-rescue", "6d1f-6.9.4-301.fc41.x86_64", "6d1f-6.11.4-301.fc41.x86_64"}
	if !slices.IsSortedFunc(ids, compareVersions) {
		t.Error("not in order")
	}
}

func FuzzBLS(f *testing.F) {
	f.Add([]byte(readTestdata(f, "bls/fedora.conf")), "6.1~rc1-2")
	f.Add([]byte("linux x\r\noptions\toptions\noptions -- crashkernel=1M"), "1^-.~a")
	e := Edit{Name: "crashkernel", Words: []string{"crashkernel=8M"}}
	f.Fuzz(func(t *testing.T, data []byte, version string) {
		b := parseBLS(newTextFile("/x.conf", data))
		if compareVersions(b.id, version) != 0 && compareVersions(version, version) != 0 {
			t.Fatalf("%q differs from itself", version)
		}
		if b.values["linux"] == "" {
			return
		}
		had := Of(b.cmdline(), e.Name)
		b.edit(e)
		again := parseBLS(newTextFile("/x.conf", b.file.content()))
		got := Of(again.cmdline(), e.Name)
		if !slices.Contains(got, "crashkernel=8M") {
			t.Fatalf("%q has become %q with %q", data, b.file.content(), got)
		}
		if len(had) > 0 || len(b.options) == 0 {
			return
		}
		again.edit(e.without())
		if back := string(again.file.content()); back != string(data) && strings.TrimSpace(parseBLS(newTextFile("/x.conf", data)).cmdline()) != "" {
			t.Fatalf("%q: back to %q", data, back)
		}
	})
}
